"""Files that mean harm, or were damaged: a clear error, soon, and in little memory."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.onnx import read_onnx

from ...fuzz.fuzzer import fuzzer
from ...models import OPSET, ModelWriter, float_mlp, quantized_mlp

hostile: Any = fuzzer("hostile")

SEED = 20_000
OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid("f", 1)]
Nodes = list[onnx.NodeProto]


def tensor(name: str, values: Any, kind: Any = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def model(
    nodes: Nodes,
    tensors: Any = (),
    functions: Any = (),
    size: Any = (4,),
) -> onnx.ModelProto:
    """x (N, *size) -> y of the same shape."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *size]) for name in ("x", "y")
    )
    graph = helper.make_graph(nodes, "g", [x], [y], list(tensors))
    return helper.make_model(graph, opset_imports=OPSETS, functions=list(functions), ir_version=10)


def with_weights(change: Callable[[TensorProto], object]) -> onnx.ModelProto:
    weights = tensor("w", np.eye(4), np.float32)
    change(weights)
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights])


def calling(name: str, *called: str) -> onnx.FunctionProto:
    """A function that calls others, one after the other."""
    tensors = ["a", *(f"t{number}" for number in range(len(called) - 1)), "b"]
    nodes = [
        helper.make_node(op, [tensors[i]], [tensors[i + 1]], domain="" if op == "Relu" else "f")
        for i, op in enumerate(called)
    ]
    return helper.make_function("f", name, ["a"], ["b"], nodes, OPSETS)


def one_call(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    return model([helper.make_node("A0", ["x"], ["y"], domain="f")], functions=functions)


def dims(*sizes: int) -> Callable[[TensorProto], object]:
    def change(weights: TensorProto) -> None:
        weights.dims[:] = sizes

    return change


def huge_input() -> onnx.ModelProto:
    return model([helper.make_node("Relu", ["x"], ["y"])], size=(10**9,))


def twice(field: str) -> onnx.ModelProto:
    made = with_weights(lambda w: None)
    values = getattr(made.graph, field)
    values.add().CopyFrom(values[0])
    return made


def sparse() -> onnx.ModelProto:
    made = with_weights(lambda w: None)
    values, indices = tensor("s", [1.0], np.float32), tensor("", [[0, 0]])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**6, 10**6]))
    return made


def not_text() -> bytes:
    return with_weights(lambda w: None).SerializeToString().replace(b"MatMul", b"Mat\xff\xfel")


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph in an attribute of ..., as bytes."""

    def field(number: int, content: bytes) -> bytes:
        size, header = len(content), bytearray([number << 3 | 2])
        while size > 127:
            header.append(size & 127 | 128)
            size >>= 7
        return bytes(header) + bytes([size]) + content

    graph = b""
    for _ in range(depth):
        attribute = field(1, b"body") + field(6, graph)
        graph = field(1, field(4, b"Loop") + field(5, attribute))  # node: op_type, attribute
    return b"\x08\x0a" + field(8, b"\x10\x11") + field(7, graph)


def metadata(key: str, value: str) -> onnx.ModelProto:
    made = with_weights(lambda w: None)
    made.metadata_props.add(key=key, value=value)
    return made


TOO_LARGE = "has more than 2^22 numbers, more than samebits takes"
READ: dict[str, tuple[Callable[[], Any], str]] = {
    "a billion numbers": (
        lambda: with_weights(dims(4, 10**9)),
        "tensor w of shape [4, 1000000000] needs 16000000000 bytes, the file has 64",
    ),
    "more than memory": (
        lambda: with_weights(dims(2**62, 2**62)),
        f"needs {2**126} bytes, the file has 64",
    ),
    "negative": (lambda: with_weights(dims(-4, -4)), "tensor w has the negative shape [-4, -4]"),
    "data cut": (
        lambda: with_weights(lambda w: setattr(w, "raw_data", w.raw_data[:-3])),
        "tensor w of shape [4, 4] needs 64 bytes, the file has 61",
    ),
    "no such type": (
        lambda: with_weights(lambda w: setattr(w, "data_type", 12345)),
        "tensor w has element type 12345, unknown to ONNX",
    ),
    "huge input": (huge_input, f"of shape [0, 1000000000] {TOO_LARGE}"),
    "sparse": (sparse, "sparse tensors are not supported; export dense ones"),
    "not text": (not_text, "a name in it is not text (UTF-8)"),
    "two inputs": (lambda: twice("input"), "input 'x' stands in it twice"),
    "two outputs": (lambda: twice("output"), "output 'y' stands in it twice"),
    "two initializers": (lambda: twice("initializer"), "initializer 'w' stands in it twice"),
    "two makers": (lambda: twice("node"), "has been used as output names multiple times"),
    "cycle": (
        lambda: model(
            [helper.make_node("Relu", ["z"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
        ),
        "must be topologically sorted",
    ),
    "recursion": (lambda: one_call(calling("A0", "A0")), "function A0 calls itself"),
    "mutual recursion": (
        lambda: one_call(calling("A0", "A1"), calling("A1", "A0")),
        "function A0 calls itself",
    ),
    "2^40 calls": (
        lambda: one_call(
            *(calling(f"A{i}", f"A{i + 1}", f"A{i + 1}") for i in range(40)), calling("A40", "Relu")
        ),
        "has more than 131072 nodes, functions written out",
    ),
    "missing function": (lambda: one_call(calling("A1", "Relu")), ""),
    "metadata": (
        lambda: metadata("samebits.features", "[1, 2]"),
        "its metadata samebits.features are damaged",
    ),
    "nested metadata": (
        lambda: metadata("samebits.calibration", "[" * 10**5),
        "its metadata samebits.calibration are damaged",
    ),
    "no end of subgraphs": (lambda: nested(1000), "is not an ONNX file, or is truncated"),
    "many subgraphs": (lambda: nested(25), ""),
}


def write(path: Path, content: Any) -> Path:
    data = content if isinstance(content, bytes) else content.SerializeToString()
    path.write_bytes(data)
    return path


def _good(found: dict[str, Any]) -> bool:
    return bool(hostile.is_good(found) and found["seconds"] < 3 and found["megabytes"] < 400)


@pytest.mark.parametrize("name", READ)
def test_what_the_reader_refuses(name: str, tmp_path: Path) -> None:
    make, message = READ[name]
    path = write(tmp_path / "m.onnx", make())
    if not message:  # valid, but nothing that can become firmware
        with pytest.raises(errors.SamebitsError):
            Design.from_onnx(path)
        return
    with pytest.raises(errors.ModelError) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def external(location: str, **more: str) -> onnx.ModelProto:
    def move(weights: TensorProto) -> None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            weights.external_data.add(key=key, value=value)

    return with_weights(move)


def in_constant(location: str) -> onnx.ModelProto:
    """The same in an attribute of a node."""
    weights = external(location).graph.initializer[0]
    constant = helper.make_node("Constant", [], ["w"], value=weights)
    return model([constant, helper.make_node("MatMul", ["x", "w"], ["y"])])


@pytest.mark.parametrize("make", [external, in_constant])
@pytest.mark.parametrize(
    "location",
    ["../outside.bin", "/etc/hostname", "link.bin", "folder/../../outside.bin", "", "a\0"],
)
def test_data_elsewhere_on_the_disk_are_not_read(
    make: Callable[[str], onnx.ModelProto], location: str, tmp_path: Path
) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(64))
    (tmp_path / "here" / "folder").mkdir(parents=True)
    os.symlink(tmp_path / "outside.bin", tmp_path / "here" / "link.bin")
    path = write(tmp_path / "here" / "m.onnx", make(location))
    with pytest.raises(errors.ModelError, match="outside the model's folder; this is refused"):
        read_onnx(path)


def test_data_beside_the_model_are_read_if_they_are_all_there(tmp_path: Path) -> None:
    weights = np.arange(16, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(b"1234" + weights.tobytes())
    read = read_onnx(write(tmp_path / "m.onnx", external("w.bin", offset="4", length="64")))
    assert np.array_equal(numpy_helper.to_array(read.graph.initializer[0]), weights.reshape(4, 4))
    for more in ({"offset": "8", "length": "64"}, {"offset": "-4"}, {"length": "1e3"}):
        path = write(tmp_path / "m.onnx", external("w.bin", **more))
        with pytest.raises(errors.ModelError, match=r"is not in its data file 'w.bin'"):
            read_onnx(path)
    with pytest.raises(errors.ModelError, match="needs 64 bytes, the file has 68"):
        read_onnx(write(tmp_path / "m.onnx", external("w.bin")))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.ModelError, match="the data file 'pipe' of tensor w is missing"):
        read_onnx(write(tmp_path / "m.onnx", external("pipe")))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(errors.ModelError, match="is no file, wanted ONNX"):
        read_onnx(tmp_path / "m.onnx")
    with pytest.raises(errors.ModelError, match="is no file, wanted ONNX"):
        read_onnx("/dev/zero")
    with (tmp_path / "large.onnx").open("wb") as stream:
        stream.truncate(3 << 30)  # a hole: no byte is on the disk
    with pytest.raises(errors.ModelError, match="is larger than 2 GB"):
        read_onnx(tmp_path / "large.onnx")


def blown_up(op: str, operand: Any, then: Nodes | None = None, **attrs: Any) -> onnx.ModelProto:
    """x joined with a constant of few bytes that stands for very many."""
    operands = [f"c{i}" for i in range(len(operand))]
    nodes = [
        helper.make_node(op, operands, ["c"], **attrs),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return model(
        nodes, [tensor(name, value) for name, value in zip(operands, operand, strict=True)]
    )


def stretched(op: str, *operands: Any, size: Any = (4, 4, 4)) -> onnx.ModelProto:
    """x made very large by an operator."""
    names = ["x", *(f"c{i}" if operand is not None else "" for i, operand in enumerate(operands))]
    tensors = [
        tensor(f"c{i}", *operand) for i, operand in enumerate(operands) if operand is not None
    ]
    made = model([helper.make_node(op, names, ["y"])], tensors, size=size)
    for dim in made.graph.output[0].type.tensor_type.shape.dim:
        dim.dim_param = "M"
    return made


def quantizer(bits: float = 8, scale: float = 0.25, zero: float = 0) -> onnx.ModelProto:
    made = quantized_mlp(softmax=False).model()
    values = dict(zip(made.graph.node[0].input[1:], (scale, zero, bits), strict=True))
    for one in made.graph.initializer:
        if one.name in values:
            one.CopyFrom(tensor(one.name, values[one.name], np.float32))
    return made


FLOATS, INTS = np.float32, np.int64
COMPILED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "ConstantOfShape": (lambda: blown_up("ConstantOfShape", [[10**6, 10**6]]), "2^26"),
    "Range": (lambda: blown_up("Range", [0, 10**12, 1]), ""),
    "Expand": (lambda: stretched("Expand", ([1, 10**6, 10**6, 4], INTS)), ""),
    "Tile": (lambda: stretched("Tile", ([1, 10**6, 10**6, 1], INTS)), ""),
    "Pad": (lambda: stretched("Pad", ([0, 0, 10**6, 10**6] * 2, INTS)), "more than 2^22 numbers"),
    "Resize": (
        lambda: stretched("Resize", None, ([1, 1, 1e6, 1e6], FLOATS)),
        "more than 2^22 numbers",
    ),
    "bits 0": (lambda: quantizer(bits=0), "bit width"),
    "bits 1000": (lambda: quantizer(bits=1000), "bit width"),
    "bits NaN": (lambda: quantizer(bits=float("nan")), ""),
    "scale NaN": (lambda: quantizer(scale=float("nan")), ""),
    "scale inf": (lambda: quantizer(scale=float("inf")), ""),
    "scale 0": (lambda: quantizer(scale=0), ""),
    "scale below zero": (lambda: quantizer(scale=-0.25), ""),
    "zero point 1e30": (lambda: quantizer(zero=1e30), ""),
    "scale 1e-38": (lambda: quantizer(scale=2.0**-126), ""),
    "scale 1e38": (lambda: quantizer(scale=2.0**127), ""),
    "alpha NaN": (
        lambda: float_mlp("LeakyRelu", alpha=float("nan")).model(),
        "LeakyRelu (leakyrelu1): alpha is NaN or infinite",
    ),
    "calibration": (lambda: metadata("samebits.calibration", "{}"), "are damaged"),
    "weights NaN": (
        lambda: with_weights(lambda w: setattr(w, "raw_data", b"\0\0\xc0\x7f" * 16)),
        "16 of the 16 numbers of w are NaN or infinite",
    ),
}


def test_what_grows_or_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """Each in a process of its own with 2 GB to spare."""
    paths = [
        write(tmp_path / f"{number}.onnx", make())
        for number, (make, _) in enumerate(COMPILED.values())
    ]
    results = hostile.opened(paths, "compile", 20, 2000)
    for (name, (_, message)), found in zip(COMPILED.items(), results, strict=True):
        assert _good(found), (name, found)
        assert found["kind"] != "good" or "scale 1e" in name, (name, found)
        assert message in found["message"], (name, found)


def seeds() -> list[bytes]:
    """Valid files: plain and quantized, with and without bodies, a convolution, constants."""
    image = ModelWriter()
    x = image.node("Conv", image.input(size=(3, 8, 8)), image.weight(image.grid(4, 3, 3, 3)))
    x = image.node("MaxPool", image.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    image.output(image.gemm(image.node("Flatten", x), 36, 3), 3)
    shapes = ModelWriter()
    shapes.weights += [tensor("to", [-1, 4]), tensor("shape", [4, 3])]
    rows = shapes.node("Expand", shapes.weight([0.5]), "shape")
    rows = shapes.node("Add", rows, shapes.node("ConstantOfShape", "shape"))
    x = shapes.node("Reshape", shapes.input(size=(2, 2)), "to")
    shapes.output(shapes.node("Softmax", shapes.node("MatMul", x, rows), axis=-1), 3)
    writers = float_mlp(), quantized_mlp(), quantized_mlp(bodies=False), image, shapes
    return [writer.model().SerializeToString() for writer in writers]


@pytest.mark.parametrize(("action", "count"), [("read", 300), ("compile", 120)])
def test_random_mutations_end_in_a_design_or_a_clear_error(
    action: str, count: int, tmp_path: Path
) -> None:
    files = seeds()
    change = hostile.mutated if action == "read" else hostile.mutated_but_valid
    paths = []
    for number in range(count):
        rng = np.random.default_rng(SEED + number)
        content = change(files[number % len(files)], rng)
        paths.append(write(tmp_path / f"{SEED + number}.onnx", content))
    results = hostile.opened(paths, action, 20, 2000)
    assert len(results) == count
    bad = [found for found in results if not _good(found)]
    assert not bad
    assert sum(found["kind"] == "good" for found in results) > count // 20
    assert sum(found["kind"] != "good" for found in results) > count // 3
