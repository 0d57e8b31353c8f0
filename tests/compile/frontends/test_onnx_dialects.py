"""Files as older Brevitas, qonnx, keras2onnx and PyTorch wrote them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.onnx import read_onnx, runnable
from samebits.compile.frontends.onnx.qdq import to_qonnx
from samebits.fidelity import measure_fidelity
from samebits.sim.onnx_engine import OnnxEngine

from ...models import ModelWriter, float_mlp, quantized_mlp


def run(model: onnx.ModelProto, x: Any) -> Any:
    (answer,) = OnnxEngine(runnable(model.SerializeToString()), "disabled").run([x]).values()
    return answer


def renamed(write: ModelWriter, domain: str) -> onnx.ModelProto:
    """The model with its quantizers in another domain, which it does not import."""
    model = write.model()
    for node in model.graph.node:
        node.domain = domain if node.domain else ""
    del model.opset_import[1:]
    return model


@pytest.mark.parametrize(
    "domain", ["onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general"]
)
def test_a_domain_without_import(domain: str, tmp_path: Path) -> None:
    path = tmp_path / "old.onnx"
    path.write_bytes(
        renamed(quantized_mlp(softmax=False, bodies=False), domain).SerializeToString()
    )
    design = Design.from_onnx(path)
    assert measure_fidelity(design).outputs[0].largest_difference == 0


def bipolar(bits: float = 0.0) -> ModelWriter:
    """Signs of dense sums, by BipolarQuant or by a Quant of one signed bit."""
    write = ModelWriter(3, bodies=False)
    x = write.gemm(write.quant(write.input(), 4, 2), 4, 6)
    if bits:
        x = write.quant(x, 1, 1)
    else:
        x = write.node("BipolarQuant", x, write.weight(1.0), domain="onnx.brevitas")
    write.output(write.node("MatMul", x, write.weight(write.grid(6, 3))), 3)
    return write


@pytest.mark.parametrize("bits", [0, 1])
def test_signs_have_a_body_of_their_own(bits: int) -> None:
    model = bipolar(bits).model()
    x = np.random.default_rng(1).integers(-8, 8, (300, 4)) / 4
    x[0] = 0
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    first, bias, last = (w.astype(float) for w in (weights[3], weights[4], weights[-1]))
    signs = np.where(x @ first + bias >= 0, 1, -1)  # qonnx 1.0, `binary_quant`
    assert np.array_equal(run(model, x), signs @ last)
    assert np.array_equal(run(model, x), run(to_qonnx(model)[0], x))
    assert measure_fidelity(Design.from_onnx(model)).outputs[0].largest_difference == 0


def test_operands_may_be_integers() -> None:
    write = quantized_mlp(softmax=False, bodies=False)
    model = write.model()
    for node in model.graph.node:
        if node.op_type == "Quant":
            (zero,) = (t for t in model.graph.initializer if t.name == node.input[2])
            zero.CopyFrom(numpy_helper.from_array(np.array(0, np.int64), zero.name))
    x = np.random.default_rng(1).normal(0, 2, (200, 4))
    assert np.array_equal(run(model, x), run(write.model(), x))
    assert measure_fidelity(Design.from_onnx(model)).outputs[0].largest_difference == 0


def channels_last() -> ModelWriter:
    """qonnx's channels-last Conv, with channels-last weights, and MaxPool."""
    write, domain = ModelWriter(5, bodies=False), "qonnx.custom_op.channels_last"
    x = write.quant(write.input(size=(6, 6, 2)), 6, 3)
    weights = write.quant(write.weight(write.grid(3, 3, 3, 2)), 6, 2)
    x = write.node("Conv", x, weights, domain=domain, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    x = write.quant(write.node("Relu", x), 6, 3, signed=False)
    x = write.node("MaxPool", x, domain=domain, kernel_shape=[2, 2], strides=[2, 2])
    scales, empty = write.weight([1.0, 2.0, 2.0, 1.0]), write.weight(np.zeros(0))
    x = write.node(
        *("Resize", x, empty, scales),
        coordinate_transformation_mode="asymmetric",
        mode="nearest",
        nearest_mode="floor",
    )
    write.output(x, (6, 6, 3))
    return write


def test_channels_last_operators() -> None:
    model = channels_last().model()
    del model.opset_import[1:]
    x = np.random.default_rng(1).integers(-32, 32, (3, 6, 6, 2)) / 8
    kernel = next(numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) == 4)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    sums = sum(  # weights (out, height, width, in): qonnx 1.0, channels_last/base_wrapped_op.py
        padded[:, row : row + 6, column : column + 6] @ kernel[:, row, column].T.astype(float)
        for row in range(3)
        for column in range(3)
    )
    rounded = np.clip(np.rint(np.maximum(sums, 0) * 8), 0, 63) / 8
    pooled = rounded.reshape(3, 3, 2, 3, 2, 3).max(axis=(2, 4))
    wanted = pooled.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(run(model, x), wanted)
    design = Design.from_onnx(model)
    assert np.array_equal(design.simulate(x), wanted)


def of_a_batch(events: int) -> onnx.ModelProto:
    """Written for so many events at once, a Reshape included."""
    write = ModelWriter(2)
    write.weights.append(numpy_helper.from_array(np.array([events, 4]), "shape"))
    x = write.node("Reshape", write.input(size=(2, 2), batch=events), "shape")
    write.output(write.gemm(write.node("Relu", write.gemm(x, 4, 6)), 6, 3), 3)
    model = write.model()
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = events
    inner = helper.make_tensor_value_info("relu2_out", onnx.TensorProto.FLOAT, [events, 6])
    model.graph.value_info.append(inner)
    return model


@pytest.mark.parametrize("events", [1, 64, 789444])
def test_a_model_for_many_events_is_one_for_each(events: int) -> None:
    fidelity = measure_fidelity(Design.from_onnx(of_a_batch(events)))
    assert fidelity.reason == ""
    assert fidelity.outputs[0].largest_difference < 0.03


def flattened(axis: int, batch: Any) -> onnx.ModelProto:
    write = ModelWriter(2)
    x = write.node("Flatten", write.input(size=(2, 2), batch=batch), axis=axis)
    write.output(write.gemm(x, 4, 3), 3)
    return write.model()


def test_one_event_may_be_flattened_from_its_batch_axis() -> None:
    x = np.random.default_rng(1).normal(0, 1, (5, 2, 2))
    assert np.array_equal(run(flattened(0, 1), x), run(flattened(1, "N"), x))
    assert not measure_fidelity(Design.from_onnx(flattened(0, 1))).warning
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(flattened(0, "N"))
    assert str(caught.value).startswith(
        "unsupported operators: Flatten (flatten0: axis=0, only 1 is supported)"
    )


def test_unknown_quantizers_of_constants_are_listed_with_the_others() -> None:
    write = ModelWriter(2, bodies=False)
    operands = [write.weight(value) for value in (1.0, 8.0, 3.0, 4.0, 7.0, 480.0)]
    weights = write.weight(write.grid(4, 3))
    x, weights = (
        write.node("FloatQuant", name, *operands, domain="onnx.brevitas")
        for name in (write.input(), weights)
    )
    write.output(write.node("MatMul", x, weights), 3)
    model = write.model()
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(model)
    reason = "rounds to floating point, which is no ap_fixed type"
    assert str(caught.value).startswith(
        f"unsupported operators: FloatQuant (floatquant0: {reason}), "
        f"FloatQuant (floatquant1: {reason}); supported: Add, "
    )


def test_opset_6_is_read(tmp_path: Path) -> None:
    """PyTorch 0.3 wrote `broadcast` and `is_test`, which opset 7 does not have."""
    write = ModelWriter(4)
    x = write.node("Gemm", write.input(batch=8), write.weight(write.grid(6, 4)),
                   write.weight(write.grid(6)), transB=1, broadcast=1)  # fmt: skip
    axes = {"axes": [2]}
    rows = [write.weight(row) for row in write.rng.uniform(0.5, 1.5, (4, 6))]
    x = write.node("BatchNormalization", write.node("Unsqueeze", x, **axes), *rows, is_test=1)
    write.output(write.node("Relu", write.node("Squeeze", x, **axes)), 6)
    model = write.model()
    model.opset_import[0].version, model.ir_version = 6, 3
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in model.graph.initializer
    )
    path = tmp_path / "old.onnx"
    path.write_bytes(model.SerializeToString())
    fidelity = measure_fidelity(Design.from_onnx(read_onnx(path)))
    assert fidelity.reason == ""
    assert not fidelity.warning


def test_factors_of_a_batch_normalisation_keep_their_places() -> None:
    """A small factor decides a sign: 16 fraction bits would round it by a percent."""
    write = ModelWriter(6, bodies=False)
    x = write.quant(write.input(size=64), 2, 2)
    x = write.node("MatMul", x, write.quant(write.weight(np.sign(write.grid(64, 8)) + 0.0), 2, 2))
    scale = write.rng.uniform(0.5, 1.5, 8) / 3000
    mean = write.rng.integers(-20, 20, 8) + 0.49
    rows = [scale, 0 * scale, mean, 0 * scale + 1]
    x = write.node("BatchNormalization", x, *(write.weight(row) for row in rows), epsilon=0.0)
    write.output(write.node("BipolarQuant", x, write.weight(1.0), domain="onnx.brevitas"), 8)
    assert measure_fidelity(Design.from_onnx(write.model())).outputs[0].largest_difference == 0


def of_many_widths(activations: Any) -> ModelWriter:
    """Weights of 2 to 5 bits, element by element, as HGQ2 trains them."""
    write = ModelWriter(7, bodies=False)
    x = write.quant(write.input(), activations, 2, scale=1 / 4)
    widths, places = write.rng.integers(2, 6, (4, 3)), write.rng.integers(1, 4, (4, 3))
    weights = write.weight(write.rng.normal(0, 1, (4, 3)))
    weights = write.quant(weights, widths, 0, scale=2.0**-places)
    write.output(write.node("MatMul", x, weights), 3)
    return write


def test_constants_may_have_a_width_for_each_element() -> None:
    for width in (5, np.full((4,), 5.0)):
        design = Design.from_onnx(of_many_widths(width).model())
        assert measure_fidelity(design).outputs[0].largest_difference == 0
        assert str(design.graph.tensors["x"].format) == "ap_fixed<5,3,RND_CONV,SAT>"


def test_activations_have_one_width() -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(of_many_widths(np.array([4, 5, 6, 4])).model())
    assert str(caught.value) == (
        "Quant Quant_0: bit width [4.0, 5.0, 6.0] must be one whole number: hls4ml gives all "
        "elements of an ONNX tensor one type. A model of HGQ2 keeps its formats if the .keras file "
        "is compiled"
    )


def test_float_mlp_is_untouched() -> None:
    model = float_mlp().model()
    before = model.SerializeToString()
    Design.from_onnx(model)
    assert model.SerializeToString() == before
