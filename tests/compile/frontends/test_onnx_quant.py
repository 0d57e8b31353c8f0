"""Quant nodes of QONNX: formats of inputs, scales, zero points and bit widths."""

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from samebits import Design, Target
from samebits.fidelity import measure_fidelity

from ...models import ModelWriter, quantized_mlp, refusal


def quantized_input(scale: Any = 1 / 16, zero: float = 0, **attrs: Any) -> ModelWriter:
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4, **attrs)
    write.weights[0].CopyFrom(numpy_helper.from_array(np.array(scale, np.float32), "w0"))
    write.weights[1].CopyFrom(numpy_helper.from_array(np.array(zero, np.float32), "w1"))
    write.output(write.gemm(x, 4, 3, bits=6), 3)
    return write


@pytest.mark.parametrize(
    ("attrs", "fmt"),
    [
        ({}, "ap_fixed<8,4,RND_CONV,SAT>"),
        ({"narrow": True}, "ap_fixed<8,4,RND_CONV,SAT_SYM>"),
        ({"signed": False}, "ap_ufixed<8,4,RND_CONV,SAT>"),
        ({"mode": "FLOOR"}, "ap_fixed<8,4,TRN,SAT>"),
        ({"scale": 4.0}, "ap_fixed<8,10,RND_CONV,SAT>"),
    ],
)
def test_the_input_takes_its_quantizers_format(attrs: dict[str, Any], fmt: str) -> None:
    design = Design.from_onnx(quantized_input(**attrs).model())
    assert str(design.graph.tensors["x"].format) == fmt
    rng = np.random.default_rng(3)
    x = rng.normal(0, 5, (2000, 4)).astype(np.float32)  # raw: rounded once, as the model rounds
    from samebits.compile.frontends.onnx import runnable
    from samebits.sim.onnx_engine import OnnxEngine

    assert design.model_bytes is not None
    (expected,) = OnnxEngine(runnable(design.model_bytes)).run([x]).values()
    assert np.array_equal(design.simulate(x), expected)


def test_a_zero_point_of_an_input_is_refused() -> None:
    assert refusal(quantized_input(zero=1).model()) == (
        "input x: its quantizer must have one scale, a power of two, and zero point 0; got scale "
        "[0.0625]"
    )


def test_other_rounding_modes_are_refused() -> None:
    write = quantized_mlp()
    for node in write.nodes:
        if node.op_type == "Quant":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("rounding_mode", "CEIL"))
    message = refusal(write.model())
    assert "Quant (quant0: rounding_mode 'CEIL': supported are ROUND, FLOOR)" in message
    assert "quant1" not in message  # of a constant, which is computed


@pytest.mark.parametrize("seed", range(4))
def test_quantized_networks_without_softmax_are_exact(seed: int) -> None:
    design = Design.from_onnx(quantized_mlp(seed, softmax=False).model())
    (output,) = measure_fidelity(design).outputs
    assert output.largest_difference == 0.0
    assert output.equal_decisions == 1.0


def scaled(weights: Any = 1 / 32, activations: Any = 1 / 16, **attrs: Any) -> ModelWriter:
    """Two layers, quantized with any scales."""
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    w = write.quant(write.weight(write.rng.normal(0, 0.5, (4, 6))), 6, 0, scale=weights, **attrs)
    x = write.node("Add", write.node("MatMul", x, w), write.weight(write.grid(6)))
    x = write.quant(write.node("Relu", x), 8, 0, scale=activations)
    write.output(write.gemm(x, 6, 3, bits=6), 3)
    return write


CHANNELS = 2.0 ** -np.array([5, 4, 5, 6, 5, 4])


@pytest.mark.parametrize("shape", [(6,), (1, 6)])
@pytest.mark.parametrize("attrs", [{}, {"narrow": True}, {"mode": "FLOOR"}, {"zero": 2.0}])
def test_weights_with_a_power_of_two_per_channel_are_exact(
    shape: tuple[int, ...], attrs: dict[str, Any]
) -> None:
    design = Design.from_onnx(scaled(CHANNELS.reshape(shape), **attrs).model())
    (output,) = measure_fidelity(design).outputs
    assert output.largest_difference == 0.0
    assert output.largest_output > 1


@pytest.mark.parametrize(
    "scales",
    [
        {"weights": 0.03},
        {"weights": np.linspace(0.02, 0.05, 6)},
        {"weights": np.linspace(0.02, 0.05, 6)[None]},
        {"activations": 0.07},
        {"activations": np.linspace(0.05, 0.1, 6)},
        {"weights": 0.03, "activations": 0.07},
    ],
)
def test_other_scales_are_right_to_a_step_of_the_activation(scales: dict[str, Any]) -> None:
    (output,) = measure_fidelity(Design.from_onnx(scaled(**scales).model())).outputs
    assert output.largest_difference < 0.15
    assert output.largest_output > 4
    assert (output.equal_decisions or 0) > 0.99


def zero_pointed(where: str, scale: Any, zero: Any, signed: bool) -> ModelWriter:
    """Two layers; the activations, weights or bias have a zero point."""
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    x = write.gemm(x, 4, 4, 6)
    options: dict[str, Any] = {"scale": scale, "zero": zero, "signed": signed}
    weights, bias = write.weight(write.grid(4, 3)), write.weight(write.grid(3))
    if where == "activation":
        x = write.quant(x, 6, 0, **options)
        weights, bias = write.quant(weights, 6, 2), write.quant(bias, 6, 2)
    else:
        x = write.quant(x, 6, 4)
        weights = write.quant(weights, 6, 2, **(options if where == "weight" else {}))
        bias = write.quant(bias, 6, 2, **(options if where == "bias" else {}))
    write.output(write.node("Gemm", x, weights, bias), 3)
    return write


@pytest.mark.parametrize(
    ("where", "scale", "zero", "signed"),
    [
        ("activation", 0.25, 32.0, False),
        ("activation", 0.25, 5.0, True),  # odd: ties are even in x / s + z
        ("activation", 1.0, -3.0, True),
        ("activation", [0.25] * 4, [1.0, 2.0, 3.0, 4.0], True),
        ("weight", 0.0625, 8.0, False),
        ("weight", 0.0625, 5.0, True),
        ("weight", [0.0625, 0.125, 0.25], [1.0, 8.0, 3.0], True),
        ("bias", 0.0625, 8.0, False),
    ],
)
def test_zero_points_are_exact(where: str, scale: Any, zero: Any, signed: bool) -> None:
    design = Design.from_onnx(zero_pointed(where, scale, zero, signed).model())
    (output,) = measure_fidelity(design).outputs
    assert output.largest_difference == 0.0
    assert output.largest_output > 2


@pytest.mark.parametrize("where", ["activation", "weight"])
def test_zero_points_do_not_depend_on_the_default_precision(where: str) -> None:
    write = zero_pointed(where, 0.5, 100.0, False)  # 50 does not fit in fixed<8,5>
    design = Design.from_onnx(write.model(), Target(precision="fixed<8,5>"))
    assert measure_fidelity(design).outputs[0].largest_difference == 0.0


@pytest.mark.parametrize("where", ["activation", "weight", "bias"])
def test_zero_points_of_other_scales(where: str) -> None:
    write = zero_pointed(where, 0.3 if where == "activation" else 0.07, 8.0, False)
    (output,) = measure_fidelity(Design.from_onnx(write.model())).outputs
    assert output.largest_difference < (0.5 if where == "activation" else 0.001)
    assert output.largest_output > 2


def test_a_broken_bit_width_is_refused() -> None:
    # hls4ml rounds it up, the model does not
    write = ModelWriter()
    x = write.quant(write.gemm(write.input(), 4, 4), 6, 2)
    write.weights[-1].CopyFrom(numpy_helper.from_array(np.float32(5.5), write.weights[-1].name))
    write.output(write.gemm(x, 4, 3), 3)
    assert refusal(write.model()) == "Quant Quant_0: bit width [5.5] must be a whole number"


def test_a_zero_point_between_steps_is_refused() -> None:
    assert refusal(zero_pointed("activation", 0.25, 0.5, True).model()) == (
        "Quant Quant_5: zero point [0.5] of an activation must be a whole number"
    )
