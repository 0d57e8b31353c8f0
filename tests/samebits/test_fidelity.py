"""How far the firmware is from the model: measured on the grid of its inputs, or "not run"."""

import numpy as np
import pytest

from samebits import Design, Target
from samebits.compile.ir import Format, Overflow
from samebits.fidelity import Fidelity, OutputFidelity, _on_grid, measure_fidelity

from ..firmware.networks import classifier
from ..models import ModelWriter, float_mlp, quantized_mlp


def test_an_exact_network_is_exact() -> None:
    found = measure_fidelity(Design.from_onnx(quantized_mlp(softmax=False).model()), events=500)
    assert found.events == 500
    assert found.tool.startswith("onnxruntime 1.")
    (output,) = found.outputs
    assert output.largest_difference == 0.0
    assert output.equal_decisions == 1.0
    assert str(found) == (
        f"largest difference 0 (outputs up to {output.largest_output:.2g}), same decision in "
        f"100 %; 500 random events, {found.tool}"
    )


def test_events_of_the_calibration_are_used_where_they_fit() -> None:
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    x = np.random.default_rng(3).normal(0, 9, (40, 4)).astype(np.float32)
    found = measure_fidelity(design, events=30, calibration=[x])
    assert found.outputs[0].largest_difference == 0.0
    assert str(found).endswith(f"; 30 calibration events, {found.tool}")
    assert found == measure_fidelity(design, events=30, calibration=[x[:30]])
    assert measure_fidelity(design, calibration=[x[:, :3]]) == measure_fidelity(design)


def test_bodies_of_quant_nodes_change_nothing() -> None:
    with_bodies, without = (
        measure_fidelity(Design.from_onnx(quantized_mlp(bodies=bodies).model()))
        for bodies in (True, False)
    )
    assert with_bodies == without


def test_coarse_formats_show() -> None:
    found = [
        measure_fidelity(Design.from_onnx(float_mlp("Tanh").model(), Target(precision=precision)))
        for precision in ("fixed<24,8>", "fixed<10,4>", "fixed<6,4>")
    ]
    differences = [f.outputs[0].largest_difference for f in found]
    assert differences[0] < differences[1] < differences[2]
    decisions = [f.outputs[0].equal_decisions or 0 for f in found]
    assert decisions[0] > decisions[2]


def test_a_wrong_conversion_shows() -> None:
    right = Design.from_onnx(float_mlp(seed=1).model())
    right._model = float_mlp(seed=2).model().SerializeToString()
    (output,) = measure_fidelity(right).outputs
    assert output.largest_difference > 1
    assert (output.equal_decisions or 0) < 0.9


def test_one_number_per_event_decides_nothing() -> None:
    write = ModelWriter()
    write.output(write.gemm(write.input(), 4, 1), 1)
    found = measure_fidelity(Design.from_onnx(write.model()))
    assert found.outputs[0].equal_decisions is None
    assert "decision" not in str(found)


def test_several_outputs_are_named() -> None:
    write = ModelWriter()
    x = write.input()
    write.output(write.gemm(x, 4, 3), 3)
    write.output(write.gemm(x, 4, 2), 2)
    text = str(measure_fidelity(Design.from_onnx(write.model())))
    assert text.startswith("gemm0_out: largest difference ")
    assert "; gemm1_out: largest difference " in text


def test_shares_are_rounded_down() -> None:
    def text(share: float) -> str:
        return str(Fidelity((OutputFidelity("y", 0.5, 2.0, share),), 10, "tool 1"))

    assert "same decision in 99.9 %" in text(0.99999)
    assert "same decision in 100 %" in text(1.0)


def test_what_is_too_far_is_warned_of() -> None:
    def warning(difference: float, share: float | None) -> str:
        return Fidelity((OutputFidelity("y", difference, 4.0, share),), 10, "tool 1").warning

    assert warning(1.0, 0.9) == warning(0.0, None) == ""
    assert Fidelity(reason="no model").warning == ""
    assert warning(1.5, 0.899) == (
        "the firmware is far from the model: y: same decision in only 89.9 % of the events (warned "
        "below 90 %); y: differs by up to 1.5, outputs reach 4 (warned beyond 25 % of that). Give "
        "wider formats (--precision), or the conversion is wrong"
    )
    assert "same decision in only 50 %" in warning(0.0, 0.5)
    assert "differs by up to nan" in warning(float("nan"), 1.0)


@pytest.mark.parametrize("precision", ["fixed<80,10>", "fixed<80,10,RND,SAT>", "fixed<100,80>"])
def test_very_wide_formats_are_measured(precision: str) -> None:
    found = measure_fidelity(
        Design.from_onnx(float_mlp().model(), Target(precision=precision)), events=50
    )
    assert found.reason == ""
    assert found.outputs[0].largest_difference < 0.5 * found.outputs[0].largest_output


def test_what_cannot_be_measured_says_why() -> None:
    assert str(measure_fidelity(Design.from_hls4ml(classifier()))) == (
        "not run: the design has no model.onnx"
    )
    design = Design.from_onnx(float_mlp().model())
    design._model = b"broken"
    assert str(measure_fidelity(design)).startswith("not run: ")


@pytest.mark.parametrize(
    ("fmt", "low", "high"),
    [
        (Format(True, 16, 6), -4, 4),
        (Format(False, 16, 6), 0, 4),
        (Format(True, 8, 3), -4, 4 - 1 / 32),
        (Format(True, 8, 6, overflow=Overflow.SAT), -32, 31.75),
        (Format(True, 8, 6, overflow=Overflow.SAT_SYM), -31.75, 31.75),
        (Format(True, 8, 12), -16, 16),  # one step is already 16
    ],
)
def test_events_lie_on_the_grid(fmt: Format, low: float, high: float) -> None:
    values = _on_grid(fmt, (20_000, 1), np.random.default_rng(1))
    assert (values.min(), values.max()) == (low, high)
    assert np.array_equal(values / fmt.lsb, np.floor(values / fmt.lsb))
