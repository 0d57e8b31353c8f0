"""Names of layers and tensors that no language would take, from the model to every file."""

from pathlib import Path

import pytest

from samebits import Design, errors
from samebits.compile.emitters.cpp import to_cpp
from samebits.firmware.toolchain import find_cxx

from ..models import ModelWriter

INPUTS = ("a; rm -rf $HOME", "reg", 'Ünïcode "x"\n*/', "tail\\")
NODES = ("`touch pwned`", "int", "module", "x\n#error y", "../../etc", "con|aux", "\\", "'", "%s")


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Design:
    """A layer for every input, summed; every node and tensor has a name from above."""
    writer = ModelWriter()
    layers = [
        writer.node("Relu", writer.gemm(writer.quant(writer.input(name, 2), 8, 4), 2, 3, 6))
        for name in INPUTS
    ]
    total = layers[0]
    for layer in layers[1:]:
        total = writer.node("Add", total, layer)
    writer.output(writer.quant(total, 12, 6), 3)
    model = writer.model()
    table = {}
    for i, node in enumerate(model.graph.node):
        node.name = f"{NODES[i % len(NODES)]}{i}"
        table |= {name: f"{node.name} {name}" for name in node.output}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [table.get(name, name) for name in names]
    for value in model.graph.output:
        value.name = table[value.name]
    path = tmp_path_factory.mktemp("names") / "m; $(x).onnx"
    path.write_bytes(model.SerializeToString())
    return Design.from_onnx(path)


def test_inputs_keep_their_names(design: Design) -> None:
    assert tuple(design.graph.inputs) == INPUTS


def test_no_name_leaves_a_comment_of_the_emulator(design: Design) -> None:
    header = to_cpp(design.graph).header
    listed = [line for line in header.splitlines() if line.startswith("//   inputs[")]
    assert len(listed) == len(INPUTS)
    assert not any(line.endswith("\\") for line in listed)
    code = [line for line in header.splitlines() if not line.startswith("//")]
    assert not any("rm -rf" in line or "*/" in line or "code" in line for line in code)


def test_the_bits_are_the_same_through_the_c_simulation(design: Design, tmp_path: Path) -> None:
    try:
        find_cxx()
    except errors.MissingToolError as error:
        pytest.skip(str(error))
    folder = tmp_path / "b; touch pwned"
    design.save(folder)
    result = Design.load(folder).verify(against=("csim", "onnxruntime"))
    assert result.passed
    assert {engine.status for engine in result.engines} == {"equal"}
    assert not list(tmp_path.rglob("pwned"))
