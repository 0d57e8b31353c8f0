"""Other widths for a quantized model: which quantizers change, and to what."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.onnx.rewidth import rewidth

from ...models import ModelWriter, float_mlp, quantized_mlp


def quantizers(model: onnx.ModelProto) -> dict[str, tuple[Any, float]]:
    """The scale and the bits of every Quant node."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.name: (held[node.input[1]].tolist(), float(held[node.input[3]]))
        for node in model.graph.node
        if node.op_type == "Quant"
    }


def test_weights_and_inner_activations_change_and_keep_their_range() -> None:
    model = quantized_mlp().model()
    before = quantizers(model)
    fresh, changed = rewidth(model, 4)
    after = quantizers(fresh)
    first, *rest = before
    assert set(changed) == set(rest)
    assert after[first] == before[first], "the input keeps its format"
    for name in changed:
        scale, bits = before[name]
        assert after[name] == (scale * 2 ** (bits - 4), 4)
    assert quantizers(model) == before, "the model given is left alone"


def test_onnx_runtime_runs_it_as_the_firmware_does() -> None:
    fresh, _ = rewidth(quantized_mlp(seed=8, softmax=False).model(), 4)
    onnx.checker.check_model(fresh, full_check=True)
    session = onnxruntime.InferenceSession(fresh.SerializeToString())
    x = np.random.default_rng(1).normal(0, 2, (200, 4)).astype(np.float32)
    (expected,) = session.run(None, {"x": x})
    found: Any = Design.from_onnx(fresh).simulate(x)
    assert np.array_equal(found, expected)


def test_the_width_it_has_changes_nothing() -> None:
    model = quantized_mlp().model()
    fresh, changed = rewidth(model, 6)
    assert changed == ()
    assert quantizers(fresh) == quantizers(model)


@pytest.mark.parametrize("bits", [3, 5, 9])
def test_the_firmware_has_the_width(bits: int) -> None:
    model = quantized_mlp(softmax=False).model()
    design = Design.from_onnx(rewidth(model, bits)[0])
    formats = {
        layer.kind: design.graph.tensors[layer.tensor].format for layer in design.graph.layers
    }
    assert (formats["Activation"].width, formats["Activation"].integer) == (bits, 2)
    given = design.graph.tensors[design.graph.inputs[0]].format
    assert (given.width, given.integer) == (8, 4)


def test_scaling_before_the_first_layer_and_scores_stay() -> None:
    write = ModelWriter()
    x = write.quant(write.input(), 12, 6)
    scale = write.quant(write.weight([0.5, 0.25, 1.0, 2.0]), 7, 3, signed=False)
    x = write.quant(write.node("Mul", x, scale), 8, 3)
    x = write.gemm(x, 4, 3, bits=6)
    write.output(write.quant(x, 10, 5), 3)
    before = quantizers(write.model())
    fresh, changed = rewidth(write.model(), 5)
    assert list(changed) == [name for name, (_, bits) in before.items() if bits == 6]
    assert [bits for _, bits in quantizers(fresh).values()] == [12, 7, 8, 5, 5, 10]


def test_scales_of_channels() -> None:
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    weights = write.weight(write.grid(4, 3))
    scales = np.array([0.125, 0.25, 0.5], np.float32)
    product = write.node("MatMul", x, write.quant(weights, 6, 1, scale=scales))
    write.output(product, 3)
    fresh, changed = rewidth(write.model(), 3)
    assert quantizers(fresh)[changed[0]] == ([1.0, 2.0, 4.0], 3)


def test_zero_points_are_refused() -> None:
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    weights = write.quant(write.weight(write.grid(4, 3)), 6, 1, zero=3.0)
    write.output(write.node("MatMul", x, weights), 3)
    with pytest.raises(errors.UnsupportedError) as raised:
        rewidth(write.model(), 4)
    assert str(raised.value) == (
        "width: quantizers with a zero point other than 0 cannot be rounded to another width: "
        "quant1; export the model with symmetric quantizers"
    )


def test_float_models_are_refused() -> None:
    with pytest.raises(errors.UnsupportedError) as raised:
        rewidth(float_mlp().model(), 4)
    assert str(raised.value) == (
        "width: the model has no quantizer of weights or of what one layer hands to the next; "
        "a float model is quantized with data: --calibrate"
    )
