"""Files that PyTorch, Keras 3, scikit-learn and Brevitas wrote; exports/README.md says how."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from samebits import Design, errors
from samebits.calibration import calibrate
from samebits.compile.frontends.onnx import read_onnx, runnable
from samebits.compile.frontends.onnx.opset import upgraded
from samebits.compile.frontends.onnx.qdq import to_qonnx
from samebits.fidelity import measure_fidelity
from samebits.sim.onnx_engine import OnnxEngine

FOLDER = Path(__file__).parent / "exports"
FILES = sorted(path.stem for path in FOLDER.glob("*.onnx"))
FLOAT = [name for name in FILES if not name.startswith("brevitas")]
# These write operators of their own or fold products, which rounds in another order.
REWRITTEN = {"sklearn_logistic": 3e-7}


def read(name: str) -> onnx.ModelProto:
    return read_onnx(FOLDER / f"{name}.onnx")


def events(model: onnx.ModelProto, count: int = 400) -> Any:
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(3).normal(0, 1.5, (count, *sizes)).astype(np.float32)


def answers(model: onnx.ModelProto, x: Any) -> list[Any]:
    engine = OnnxEngine(runnable(model.SerializeToString()), "disabled")
    return list(engine.run([x]).values())


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_has_the_files_bits(name: str) -> None:
    model = read(name)
    x = events(model)
    fresh, refused = to_qonnx(model)
    assert refused == {}
    (before,), (after,) = answers(model, x), answers(fresh, x)
    if name in REWRITTEN:
        assert np.abs(before - after).max() <= REWRITTEN[name]
    else:
        assert np.array_equal(before, after)


@pytest.mark.parametrize("name", FLOAT)
def test_float_exports_compile_by_calibration(name: str) -> None:
    model = read(name)
    calibration = calibrate(model, events(model), bits=8)
    (loss,) = calibration.loss
    assert loss.largest_difference < 0.15 * loss.largest_output
    design = Design.from_onnx(calibration.model)
    assert not measure_fidelity(design).warning
    assert design.facts["notes"][0].startswith("calibrated on 400 events: ")


@pytest.mark.parametrize("name", ["brevitas_po2_qonnx", "brevitas_po2_qcdq"])
def test_brevitas_of_powers_of_two(name: str) -> None:
    model = read(name)
    design = Design.from_onnx(model)
    (output,) = measure_fidelity(design).outputs
    assert output.largest_difference < 2**-15  # its bias has no quantizer: 16 fraction bits
    assert output.largest_output > 1


def old(node: onnx.NodeProto, opset: int, size: int = 4) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size]) for n in "xy"]
    graph = helper.make_graph([node], "old", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


@pytest.mark.parametrize("opset", [9, 10])
def test_attributes_of_old_opsets_become_inputs(opset: int) -> None:
    model = old(helper.make_node("Clip", ["x"], ["y"], min=-0.5, max=2.0), opset)
    fresh = upgraded(model)
    assert [item.version for item in fresh.opset_import] == [13]
    assert len(fresh.graph.node[-1].input) == 3
    x = events(model)
    assert np.array_equal(answers(model, x), answers(fresh, x))


def test_the_axis_of_an_old_softmax_is_written_out() -> None:
    model = old(helper.make_node("Softmax", ["x"], ["y"]), 11)
    fresh = upgraded(model)
    assert [node.op_type for node in fresh.graph.node] == ["Softmax"]
    x = events(model)
    assert np.array_equal(answers(model, x), answers(fresh, x))


def test_what_cannot_be_upgraded_is_refused() -> None:
    with pytest.raises(errors.ModelError) as caught:
        upgraded(old(helper.make_node("Relu", ["x"], ["y"]), 5))
    assert str(caught.value) == (
        "the model is of ONNX opset 5; 6 and later are read: export it again"
    )


def test_huge_constants_are_refused_before_they_are_made() -> None:
    shape = helper.make_node("Constant", [], ["shape"], value_ints=[1 << 20, 1 << 20])
    huge = helper.make_node("ConstantOfShape", ["shape"], ["huge"], name="fill")
    model = old(helper.make_node("Add", ["x", "huge"], ["y"]), 17)
    model.graph.node.insert(0, huge)
    model.graph.node.insert(0, shape)
    with pytest.raises(errors.ModelError) as caught:
        to_qonnx(model)
    assert str(caught.value) == (
        "ConstantOfShape fill: makes a constant of shape [1048576, 1048576]; at most 2^26 numbers "
        "are read"
    )
