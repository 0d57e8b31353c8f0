"""The sweep: what decides bits, accuracy, fronts, the best row, rows taken over, the files."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors
from samebits.compile.frontends.onnx.rewidth import rewidth
from samebits.firmware.results import NotRun, Quantity, ResourceEstimate, latency_estimate
from samebits.sweep import Events, Grid, Row, Sweep, accuracy_of, best, read_sweep, sweep, write

from ..models import quantized_mlp


def events(design: Design, count: int = 200) -> Events:
    """Events labelled by the design itself, a tenth of them wrongly."""
    rng = np.random.default_rng(3)
    x = rng.normal(0, 2, (count, 4)).astype(np.float32)
    answer: Any = design.simulate(x)
    labels = answer.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 3
    return Events(x, labels, ("a", "b", "c"), "made up")


def row(accuracy: float, lut: float | None, ns: float, note: str = "", clock: float = 200) -> Row:
    def quantity(value: float, unit: str) -> Quantity:
        return Quantity(value=value, unit=unit, kind="estimated", tool="test")

    used = NotRun(reason="too large") if lut is None else quantity(lut, "LUT")
    return Row(
        implementation="RTL",
        width_bits=int(accuracy),
        reuse_factor=1,
        clock_mhz=clock,
        accuracy=quantity(accuracy, "%"),
        accuracy_error=quantity(1.0, "points"),
        latency=latency_estimate("test", 1, 1000 / ns, 1, "estimated", "test"),
        resources=ResourceEstimate(source="test", used={"LUT": used}),
        clock_note=note,
    )


def found(*rows: Row) -> Sweep:
    return Sweep(
        network="n",
        part="p",
        lut_total=1000,
        events=10,
        data="d",
        widths_by="",
        inputs={},
        rows=rows,
    )


@pytest.mark.parametrize("strategy", ["Latency", "Resource"])
def test_neither_clock_nor_reuse_factor_changes_bits(strategy: str) -> None:
    model = quantized_mlp(seed=8).model()
    x = np.random.default_rng(5).normal(0, 3, (500, 4)).astype(np.float32)
    answers: list[Any] = [
        Design.from_onnx(model, Target(strategy=strategy, reuse_factor=reuse, clock_mhz=clock))
        .trace(x)
        for reuse, clock in ((1, 200), (1, 480), (2, 200), (6, 200))
    ]  # fmt: skip
    for other in answers[1:]:
        assert other.keys() == answers[0].keys()
        assert all(np.array_equal(answers[0][name], other[name]) for name in other)


def test_a_sweep(tmp_path: Path) -> None:
    pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")
    model = quantized_mlp(seed=8).model()
    asked: list[int | None] = []

    def at_width(width: int | None) -> Design:
        asked.append(width)
        return Design.from_onnx(model if width is None else rewidth(model, width)[0])

    data = events(Design.from_onnx(model))
    grid = Grid((None, 3), (1,), (200.0, 400.0))
    steps: list[int] = []

    def run(widths: tuple[int | None, ...], known: Sweep | None) -> Sweep:
        return sweep(
            at_width,
            data,
            Grid(widths, grid.reuse, grid.clocks_mhz),
            Target(),
            network="net",
            model_sha256="1",
            known=known,
            save=lambda partly: write(partly, tmp_path),
            progress=steps.append,
        )

    result = run(grid.widths, None)
    assert asked == [None, 3]
    assert steps == sorted(steps)
    assert steps[-1] == grid.steps
    rtl = [r for r in result.rows if r.implementation == "RTL"]
    assert [(r.width_bits, r.clock_mhz) for r in rtl] == [
        (None, 200),
        (None, 400),
        (3, 200),
        (3, 400),
    ]
    assert rtl[0].accuracy == Quantity(
        value=90.0, unit="%", kind="measured", tool=rtl[0].accuracy.tool
    )
    assert rtl[0].accuracy == rtl[1].accuracy
    assert rtl[0].number("LUT") == rtl[1].number("LUT")
    lut = [r.number("LUT") or 0 for r in rtl]
    assert lut[2] < lut[0]
    assert rtl[2].accuracy.value < 90
    assert "LUT" in rtl[0].front
    assert "LUT" in rtl[2].front
    assert read_sweep(tmp_path) == result
    with (tmp_path / "sweep.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(result.rows)
    assert lines[0]["LUT"] == str(int(lut[0]))
    assert lines[0]["LUT_kind"] == "estimated"
    assert lines[0]["accuracy_percent_kind"] == "measured"

    asked.clear()
    again = run((3, 4), read_sweep(tmp_path))
    assert asked == [4], "3 bits are taken over"
    rows = {row.key: row.model_copy(update={"front": ()}) for row in again.rows}
    assert all(rows[row.key] == row.model_copy(update={"front": ()}) for row in result.rows)
    assert [key[1] for key in rows if key[0] == "RTL"] == [None, None, 3, 3, 4, 4]
    assert read_sweep(tmp_path) == again
    other = result.model_copy(update={"inputs": {"model": "another"}})
    asked.clear()
    assert {row.width_bits for row in run((3,), other).rows} == {3}, "of another network"
    assert asked == [3]


def test_accuracy_of_one_score() -> None:
    design = Design.from_onnx(quantized_mlp(seed=8, softmax=False).model())

    class One:
        def simulate(self, x: Any) -> Any:
            answer: Any = design.simulate(x)
            return answer[:, :1]

    data = events(design)
    right = (np.asarray(design.simulate(data.x))[:, 0] > 0).astype(int)
    accuracy, error = accuracy_of(One(), Events(data.x, right, ("bkg", "sig"), "x"))  # type: ignore[arg-type]
    assert (accuracy.value, error.value) == (100, 0)
    with pytest.raises(errors.UsageError, match="are not scores of the 4 classes of x"):
        accuracy_of(design, Events(data.x, right, tuple("abcd"), "x"))


def test_the_best_row() -> None:
    rows = row(70, 500, 50), row(69.5, 200, 60), row(60, 100, 10), row(99, None, 5)
    assert best(found(*rows)) == (rows[0], rows[1])
    assert best(found(*rows), budget_ns=50) == (rows[0], rows[0])
    assert best(found(*rows), max_lut_share=0.2) == (rows[1], rows[1])
    assert best(found(*rows), budget_ns=20, max_lut_share=0.15) == (rows[2], rows[2])
    assert best(found(*rows), budget_ns=9) is None


def test_among_equal_rows_a_doubtful_clock_is_the_last_choice() -> None:
    fast, slow = row(70, 500, 40, "doubtful", 480), row(70, 500, 50, "doubtful", 200)
    sure = row(70, 500, 60)
    assert best(found(fast, slow, sure)) == (sure, sure)
    assert best(found(fast, slow)) == (slow, slow)
    assert best(found(slow, row(70, 600, 10))) == (slow, slow)


def test_a_damaged_sweep_is_none(tmp_path: Path) -> None:
    assert read_sweep(tmp_path) is None
    (tmp_path / "sweep.json").write_text('{"rows": 1}')
    assert read_sweep(tmp_path) is None
