"""Calibration: formats from ranges, what rounding costs, and data that cannot be used."""

import json
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import samebits
from samebits import Design, errors
from samebits.calibration import calibrate
from samebits.compile.frontends.onnx.quantize import fixed_format
from samebits.fidelity import measure_fidelity
from samebits.sim.onnx_engine import OnnxEngine

from ..models import ModelWriter, float_mlp, quantized_mlp

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (500, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)


def formats(result: samebits.calibration.Calibration) -> dict[str, str]:
    return {row.tensor: row.format for row in result.formats}


@pytest.mark.parametrize("bits", [2, 6, 8, 16])
def test_formats_hold_the_range_with_the_smallest_steps(bits: int) -> None:
    for low, high in [(0.0, 3.2), (-1.0, 1.5), (-1.0, 0.1), (0.0, 1.0), (-1e-3, 2e-3), (-700, 5)]:
        grid = fixed_format(low, high, bits)
        signed = grid.attributes.signed
        assert signed == (low < 0)
        least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        step = 2.0 ** (grid.integer - bits)
        for size, fits in ((step, True), (step / 2, False)):
            inside = np.rint(low / size) >= least and np.rint(high / size) <= most
            assert inside == fits


def test_every_layer_gets_its_formats() -> None:
    result = calibrate(float_mlp().model(), X, bits={"default": 6, "w2": 4, "biases": 10})
    kinds = {row.tensor: row.kind for row in result.formats}
    assert kinds == {
        "x": "input", "w0": "weight", "w1": "bias", "relu1_out": "activation", "w2": "weight",
        "w3": "bias",
    }  # fmt: skip
    widths = {name: int(text.split("<")[1].split(",")[0]) for name, text in formats(result).items()}
    assert widths == {"x": 16, "w0": 6, "w1": 10, "relu1_out": 6, "w2": 4, "w3": 10}
    assert formats(result)["relu1_out"].startswith("ap_ufixed<6,")


SIZES = np.array([500.0, 1.0, 0.02, 4.0])  # a mass beside ratios


def test_an_input_holds_its_largest_column_and_resolves_its_finest() -> None:
    x = (X * SIZES).astype(np.float32)
    result = calibrate(float_mlp().model(), x, feature_names=("mass", "ratio", "width", "count"))
    ((width, integer),) = [
        map(int, row.format.split("<")[1].split(",")[:2])
        for row in result.formats
        if row.kind == "input"
    ]
    assert 2.0 ** (integer - 1) > np.abs(x).max() >= 2.0 ** (integer - 2)
    spread = x[:, 2].std(dtype=np.float64)
    step = 2.0 ** (integer - width)
    assert spread / 64 < step <= spread / 32
    columns = {row.column: row for row in result.columns}
    assert list(columns) == ["mass", "ratio", "width", "count"]
    wrong = np.rint(x[:, 2] / step) * step - x[:, 2]
    assert columns["width"].error == pytest.approx(np.sqrt(np.mean(wrong**2)) / spread)
    assert max(row.error or 0.0 for row in result.columns) == columns["width"].error
    assert json.loads(result.model.metadata_props[0].value)["columns"][2]["column"] == "width"


@pytest.mark.parametrize(
    ("finest", "bits", "width"),
    [
        (0.02, {"inputs": 16}, 16),  # as asked for
        (1e-6, 8, 24),  # no more than a float32 holds
        (1.0, 8, 17),
        (0.0, 8, 16),  # a column that never varies needs no bits
        (100.0, 8, 16),
    ],
)
def test_width_of_an_input(finest: float, bits: Any, width: int) -> None:
    x = X * 500.0
    x[:, 2] = X[:, 2] * np.float32(finest)
    result = calibrate(float_mlp().model(), x, bits=bits)
    assert formats(result)["x"].startswith(f"ap_fixed<{width},")
    assert [row.error is None for row in result.columns] == [False, False, finest == 0.0, False]


def test_columns_on_a_grid_need_no_finer_step() -> None:
    x = X * 500.0
    x[:, 2] = np.rint(X[:, 2]) * 2.0**-4  # its spread over 32 would be finer than the grid
    result = calibrate(float_mlp().model(), x)
    assert formats(result)["x"].startswith("ap_fixed<16,12,")
    assert result.columns[2].error == 0


def test_the_quantized_model_has_one_answer_everywhere() -> None:
    result = calibrate(float_mlp().model(), X, bits=7)
    design = Design.from_onnx(result.model)
    wanted = OnnxEngine(result.model, "disabled").run([X])  # as it is: Quant nodes have bodies
    assert np.array_equal(design.simulate(X), wanted["gemm2_out"])
    assert measure_fidelity(design).outputs[0].largest_difference == 0
    (note,) = design.facts["notes"]
    (loss,) = result.loss
    assert loss.equal_decisions is not None
    assert note == (
        f"calibrated on 500 events: gemm2_out against float: largest difference "
        f"{loss.largest_difference:.3g} (mean {loss.mean_difference:.3g}), same decision in "
        f"{100 * loss.equal_decisions:.2f} %"
    )


def test_more_bits_lose_less() -> None:
    losses = [
        calibrate(float_mlp("Tanh").model(), X, bits=bits).loss[0].mean_difference
        for bits in (4, 8, 12)
    ]
    assert losses[0] > 4 * losses[1] > 16 * losses[2]


def test_labels_give_metrics_before_and_after() -> None:
    write = float_mlp()
    result = calibrate(write.model(), X, bits=5, labels=LABELS, class_names=("a", "b", "c"))
    assert [name for name, _, _ in result.metrics] == ["accuracy", "AUC a", "AUC b", "AUC c"]
    scores = OnnxEngine(write.model(), "disabled").run([X])["gemm2_out"]
    assert result.metrics[0][1] == np.mean(scores.argmax(axis=1) == LABELS)
    notes = Design.from_onnx(result.model).facts["notes"]
    assert notes[1].startswith("calibrated: accuracy 0.")
    result = calibrate(write.model(), X, labels=LABELS % 2)
    assert result.notes == ("no metrics: outputs of 3 numbers are not scores of 2 classes",)


def test_a_batch_normalization_is_folded_into_its_layer() -> None:
    write = ModelWriter()
    x = write.node("MatMul", write.input(), write.weight(write.grid(4, 6)))
    x = write.node("Add", x, write.weight(write.grid(6)))
    rows = write.rng.uniform(0.5, 1.5, (4, 6))
    x = write.node("BatchNormalization", x, *(write.weight(row) for row in rows))
    x = write.node("Mul", x, write.weight(np.array(0.5)))
    write.output(write.gemm(write.node("Relu", x), 6, 3), 3)
    result = calibrate(write.model(), X, bits={"default": 20, "inputs": 20})
    operators = [n.op_type for n in result.model.graph.node if n.op_type != "Quant"]
    assert operators == ["MatMul", "Add", "Relu", "Gemm"]
    assert result.loss[0].largest_difference < 1e-4


def test_a_percentile_lets_rare_events_saturate() -> None:
    x = X.copy()
    x[0] *= 50
    whole = calibrate(float_mlp().model(), x)
    cut = calibrate(float_mlp().model(), x, percentile=99.0)
    rows = {row.tensor: row for row in cut.formats}
    assert 0 < rows["relu1_out"].outside <= 0.01
    assert not any(row.outside for row in whole.formats)
    assert rows["relu1_out"].high < 0.5 * {r.tensor: r for r in whole.formats}["relu1_out"].high


def dead() -> ModelWriter:
    write = ModelWriter()
    x = write.node("Add", write.gemm(write.input(), 4, 6), write.weight(np.full(6, -100)))
    write.output(write.gemm(write.node("Relu", x), 6, 3), 3)
    return write


def two_inputs() -> ModelWriter:
    write = ModelWriter()
    x, y = write.gemm(write.input("x"), 4, 3), write.gemm(write.input("y", 2), 2, 3)
    write.output(write.node("Add", x, y), 3)
    return write


def with_nan() -> Any:
    x = X.copy()
    x[7, 2] = np.nan
    return x


@pytest.mark.parametrize(
    ("write", "x", "options", "error", "message"),
    [
        (float_mlp(), X[:5], {}, errors.DataError,
         "calibration: got 5 events, wanted 100 or more that are like those the network will meet"),
        (float_mlp(), with_nan(), {}, errors.DataError,
         "input x: 1 value is NaN or infinite, the first in event 7, feature 2"),
        (float_mlp(), X[:, :3], {}, errors.DataError,
         "input x: got events of shape (3,), wanted (4,) (4 features), with the batch axis first"),
        (float_mlp(), 0 * X, {}, errors.DataError,
         "input x: is 0 in all 500 events, so that no format can be chosen; give events that reach "
         "it, or take the layer out"),
        (dead(), X, {}, errors.DataError,
         "activation relu2_out: is 0 in all 500 events, so that no format can be chosen; give "
         "events that reach it, or take the layer out"),
        (two_inputs(), X, {}, errors.DataError,
         "inputs: the network has 2 (x, y); give a list of as many arrays, or a dict by name"),
        (two_inputs(), {"x": X}, {}, errors.DataError, "inputs: got ['x'], wanted ['x', 'y']"),
        (quantized_mlp(), X, {}, errors.UsageError,
         "calibration is for float models, and this one has quantizers (quant0, ...); compile it "
         "without calibration"),
        (float_mlp(), X, {"bits": 1}, errors.UsageError,
         "bits must be a whole number 2 to 24, got 1"),
        (float_mlp(), X, {"bits": {"w9": 4}}, errors.UsageError,
         "bits: there is no tensor 'w9' to round; give a number, inputs=N, activations=N, "
         "weights=N, biases=N, or one of: x, w0, w1, relu1_out, w2, w3"),
        (float_mlp(), X, {"percentile": 5}, errors.UsageError,
         "percentile must be above 50 and up to 100, got 5"),
        (float_mlp("HardSwish"), X, {}, errors.UnsupportedError,
         "unsupported operators: HardSwish (hardswish1); supported: "),
    ],
)  # fmt: skip
def test_what_cannot_be_calibrated(
    write: ModelWriter, x: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        calibrate(write.model(), x, **options)
    assert str(caught.value).startswith(message)
    assert message.endswith(": ") or str(caught.value) == message


def test_broken_weights_are_refused() -> None:
    write = float_mlp()
    write.weights[2].CopyFrom(numpy_helper.from_array(np.full((6, 3), np.inf, np.float32), "w2"))
    with pytest.raises(errors.DataError, match="weight w2: is NaN or infinite"):
        calibrate(write.model(), X)


def test_several_inputs_by_name() -> None:
    result = calibrate(two_inputs().model(), {"x": X, "y": X[:, :2]})
    assert [row.tensor for row in result.formats if row.kind == "input"] == ["x", "y"]
