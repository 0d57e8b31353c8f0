"""Softmax in ONNX models: along which axes, of which opset, and the format in front of it."""

from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design, errors
from samebits.fidelity import measure_fidelity

from ...models import ModelWriter, float_mlp


def test_softmax_inputs_without_a_quantizer_are_rounded_and_noted() -> None:
    design = Design.from_onnx(float_mlp("Softmax", axis=-1).model())
    assert design.facts["notes"] == [
        "the input of softmax Softmax_0 has no quantizer: rounded to ap_fixed<10,5,RND_CONV,SAT>"
    ]


@pytest.mark.parametrize("signed", [True, False])
def test_quantized_softmax_inputs_keep_their_values(signed: bool) -> None:
    # signed: one bit more, or (maximum - x) wraps in hls4ml's inp_norm_t
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4, signed=signed)
    write.output(write.node("Softmax", x), 4)
    design = Design.from_onnx(write.model())
    assert design.facts["notes"] == []
    extremes = np.array([[7.9375, -8, 0, 7]]) if signed else np.array([[15.9375, 0, 8, 15]])
    expected = np.exp(extremes) / np.exp(extremes).sum()
    assert np.abs(design.simulate(extremes) - expected).max() < 0.01


def softmax(rank: int, opset: int = 17, **attrs: Any) -> onnx.ModelProto:
    write = ModelWriter()
    size = (2, 3) if rank == 3 else 3
    write.output(write.node("Softmax", write.node("Relu", write.input(size=size)), **attrs), size)
    model = write.model()
    model.opset_import[0].version = opset
    model.ir_version = 7
    return model


def test_a_softmax_of_an_old_opset_runs_over_all_axes_behind() -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(softmax(3, opset=11))
    assert str(caught.value) == (
        "unsupported operators: Softmax (softmax1: axis=1 of 3 axes, the batch axis included); "
        "until opset 12 they run over all axes behind, too; supported is the last axis"
    )


@pytest.mark.parametrize("axis", [0, -2])
def test_a_softmax_over_events_is_refused(axis: int) -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(softmax(2, axis=axis))
    assert str(caught.value) == (
        "unsupported operators: Softmax (Softmax_0: runs along the batch axis)"
    )


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_a_softmax_along_any_axis_is_right(axis: int) -> None:
    (output,) = measure_fidelity(Design.from_onnx(softmax(3, axis=axis))).outputs
    assert output.largest_difference < 0.02


@pytest.mark.parametrize("model", [softmax(2), softmax(2, axis=1), softmax(2, opset=11)])
def test_a_softmax_along_the_last_axis_is_right(model: onnx.ModelProto) -> None:
    (output,) = measure_fidelity(Design.from_onnx(model)).outputs
    assert output.largest_difference < 0.02
