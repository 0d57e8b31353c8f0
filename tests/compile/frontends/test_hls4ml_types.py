"""Types of a converted model replaced: in a copy, under names of their own, in C++ as well."""

from pathlib import Path
from typing import Any

import pytest

from samebits import Design
from samebits.compile.frontends.hls4ml_types import (
    configuration,
    family,
    predecessors,
    with_types,
)
from samebits.firmware.hls_project import write_project

from ...models import float_mlp, quantized_mlp


@pytest.fixture(scope="module")
def model() -> Any:
    """Two dense layers of one default type, whose typedefs hls4ml lets share a name."""
    return Design.from_onnx(float_mlp().model())._model_graph


def types(model: Any, layer: str) -> dict[str, str]:
    found = model.graph[layer]
    return {
        "result": str(found.get_output_variable().type.precision),
        **{kind: str(found.get_attr(f"{kind}_t").precision) for kind in ("accum", "weight")},
    }


def defines(model: Any, folder: Path) -> list[str]:
    write_project(model, folder)
    return (folder / "firmware" / "defines.h").read_text().splitlines()


def test_only_the_copy_changes(model: Any, tmp_path: Path) -> None:
    before = types(model, "Dense_MatMul_0"), defines(model, tmp_path / "before")
    widths = {("Dense_MatMul_0", "result"): (20, 9), ("Dense_MatMul_0", "weight"): (7, 2)}
    copy = with_types(model, widths)
    assert types(copy, "Dense_MatMul_0") == {
        **before[0],
        "result": "fixed<20,9,TRN,WRAP,0>",
        "weight": "fixed<7,2,TRN,WRAP,0>",
    }
    assert types(copy, "Dense_MatMul_1") == types(model, "Dense_MatMul_1")
    assert (types(model, "Dense_MatMul_0"), defines(model, tmp_path / "after")) == before
    assert copy.config.backend is model.config.backend
    assert copy.config.config["OnnxModel"] is model.config.config["OnnxModel"]
    assert configuration(copy, widths) == {
        "Dense_MatMul_0": {
            "Precision": {"result": "fixed<20,9,TRN,WRAP,0>", "weight": "fixed<7,2,TRN,WRAP,0>"}
        }
    }


def test_the_project_has_the_new_types_under_their_own_names(model: Any, tmp_path: Path) -> None:
    widths = {
        ("Dense_MatMul_0", "weight"): (7, 2),
        ("Dense_MatMul_1", "weight"): (8, 3),
        ("Dense_MatMul_1", "accum"): (21, 9),
    }
    lines = defines(with_types(model, widths), tmp_path / "hls")
    found = dict(line.removeprefix("typedef ").removesuffix(";").split(" ")[::-1]
                 for line in lines if line.startswith("typedef ap_"))  # fmt: skip
    layers = [name for name, text in found.items() if text == "ap_fixed<7,2>"]
    assert len(layers) == 1
    assert [text for text in found.values()].count("ap_fixed<8,3>") == 1
    assert [text for text in found.values()].count("ap_fixed<21,9>") == 1
    parameters = (tmp_path / "hls" / "firmware" / "parameters.h").read_text()
    assert f"typedef {layers[0]} weight_t;" in parameters
    weights = (tmp_path / "hls" / "firmware" / "weights").glob("*.h")
    assert any(layers[0] in path.read_text() for path in weights)


def test_weights_are_printed_with_the_digits_of_their_type(model: Any) -> None:
    copy = with_types(model, {("Dense_MatMul_0", "weight"): (5, 2)})
    for one, digits in ((model, 10), (copy, 3)):
        text = next(iter(one.graph["Dense_MatMul_0"].weights["weight"]))
        assert len(text.partition(".")[2]) == digits


def test_which_types_can_be_set(model: Any) -> None:
    assert family(model, "Dense_MatMul_0", "accum") == "fixed"
    assert family(model, "Dense_MatMul_0", "result") == "fixed"
    assert family(model, "Dense_MatMul_0", "no_such") == ""
    assert family(model, "no_such", "result") == ""
    scale = Design.from_onnx(quantized_mlp().model())._model_graph
    assert family(scale, "Dense_MatMul_0", "index") == "integer"


def test_predecessors(model: Any) -> None:
    assert predecessors(model, "Relu_0") == ["Dense_MatMul_0"]
    assert predecessors(model, "in_x") == []
