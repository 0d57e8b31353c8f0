"""The search for hyperparameters: its rules on made-up trainings, and a small real one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.bit_operations import ebops_of_model
from samebits.train import search
from samebits.train.config import fit_options
from samebits.train.layers import Dense
from samebits.train.network import Network
from samebits.train.optimize import Pass, Samples
from samebits.train.search import Choice, Found, Range, Setup, Trial, bayesian_search, grid_search

pytest.importorskip("optuna", reason="optuna is in the extra train")

SPACE = {"units": Range(2, 9), "rate": Range(1e-3, 1.0, log=True)}


def samples(events: int, seed: int) -> Samples:
    x = np.random.default_rng(seed).uniform(-1, 1, (events, 2)).astype(np.float32)
    return Samples(x, (x[:, 0] * x[:, 1] > 0).astype(np.int64))


def setup(values: Mapping[str, Any]) -> Setup:
    layers = (Dense(int(values["units"])), "relu", Dense(2), "softmax")
    rate = values.get("rate", 0.05)
    return Setup(Network((2,), layers), fit_options(epochs=6, learning_rate=rate, batch_size=32))


class Made:
    """Instead of `train_network`: the score peaks at 6 units and a rate of 0.1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[int, float]] = []
        monkeypatch.setattr(search, "train_network", self)

    def __call__(self, network: Network, *_: Any, **options: Any) -> Any:
        units, rate = network.layers[0].units, _[2].learning_rate  # type: ignore[union-attr]
        self.calls.append((units, rate))
        lost = (units - 6) ** 2 / 16 + np.log10(rate / 0.1) ** 2
        if rate > 0.9:
            raise errors.DataError("the loss is nan")
        for number in range(1, 7):
            loss = 0.1 + lost / number
            options["on_pass"]("float", Pass(number, loss, loss, rate, None, None))
        score = 1 / (1 + lost)
        return type("T", (), {"scores": lambda *_: {"quantized": score}, "units": units})()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


PARTS = samples(40, 1), samples(40, 2)


def test_it_finds_more_than_chance(made: Made) -> None:
    told: list[Trial] = []
    found = bayesian_search(setup, SPACE, *PARTS, trials=40, on_trial=told.append)
    assert tuple(told) == found.trials
    assert len(found.trials) == 40
    assert found.best.score is not None
    assert found.best.score > 0.9
    learned = np.mean([t.score for t in found.done if t.number >= 20])
    assert learned > np.mean([t.score for t in found.done if t.number < 10])
    stopped = [t for t in found.trials if t.state == "stopped"]
    assert stopped
    assert all("above the median" in t.why and t.score is None for t in stopped)
    assert min(t.number for t in stopped) >= 5
    again = bayesian_search(setup, SPACE, *PARTS, trials=40)
    assert [t.values for t in again.trials] == [t.values for t in found.trials]


def test_an_interrupted_search_goes_on_as_it_would_have(made: Made, tmp_path: Path) -> None:
    def stop(trial: Trial) -> None:
        if trial.number == 11:
            raise KeyboardInterrupt

    file = tmp_path / "deep" / "search.journal"
    with pytest.raises(KeyboardInterrupt):
        bayesian_search(setup, SPACE, *PARTS, trials=16, file=file, on_trial=stop)
    calls = len(made.calls)
    found = bayesian_search(setup, SPACE, *PARTS, trials=16, file=file)
    whole = bayesian_search(setup, SPACE, *PARTS, trials=16)
    assert [(t.values, t.score) for t in found.trials] == [
        (t.values, t.score) for t in whole.trials
    ]
    assert calls < len(made.calls)
    made.calls.clear()
    assert bayesian_search(setup, SPACE, *PARTS, trials=16, file=file).trials == found.trials
    assert not made.calls
    with pytest.raises(errors.UsageError, match="another search"):
        bayesian_search(setup, {"units": Range(2, 9)}, *PARTS, file=file)
    (tmp_path / "bad").write_text("nothing\n")
    with pytest.raises(errors.UsageError, match="cannot be used as a journal"):
        bayesian_search(setup, SPACE, *PARTS, file=tmp_path / "bad")


def test_two_objectives(made: Made, tmp_path: Path) -> None:
    found = bayesian_search(
        setup, {"units": Range(2, 9)}, *PARTS, trials=14, cost=lambda t: 10.0 * t.units
    )
    front = [(t.cost, t.score) for t in found.front]
    assert front == sorted(front)
    assert found.front[-1].score == found.best.score
    for trial in found.done:
        assert any(f.cost <= trial.cost and f.score >= trial.score for f in found.front)
    repeats = [t for t in found.trials if t.why.startswith("as trial")]
    assert len(made.calls) == 14 - len(repeats)
    found.draw(tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 5000


def test_what_predicts_the_mean_is_stopped_when_there_is_a_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lazy(*_: Any, **options: Any) -> Any:
        for number in range(1, 7):
            options["on_pass"]("float", Pass(number, 0.69, 0.69, 1.0, None, None))
        raise AssertionError

    monkeypatch.setattr(search, "train_network", lazy)
    found = bayesian_search(setup, SPACE, *PARTS, trials=2, cost=lambda _: 1.0)
    assert [t.why for t in found.trials] == ["predicts the mean after 3 passes"] * 2
    with pytest.raises(errors.DataError, match="none of 2 trials"):
        _ = found.best


def test_grids(made: Made, tmp_path: Path) -> None:
    grid = {"units": [4, 6], "rate": [0.01, 0.1, 0.95]}
    file = tmp_path / "grid.journal"
    found = grid_search(setup, grid, *PARTS, file=file)
    assert made.calls == [(u, r) for u in (4, 6) for r in (0.01, 0.1, 0.95)]
    assert found.best.values == {"units": 6, "rate": 0.1}
    failed = [t for t in found.trials if t.state == "failed"]
    assert [(t.values["rate"], t.why) for t in failed] == [(0.95, "the loss is nan")] * 2
    assert grid_search(setup, grid, *PARTS, file=file).trials == found.trials
    assert len(made.calls) == 6
    found.draw(tmp_path / "map.png")
    one = grid_search(setup, {"units": [2, 4, 6, 8]}, *PARTS)
    assert one.best.values == {"units": 6}
    one.draw(tmp_path / "curve.png")
    assert {path.name for path in tmp_path.glob("*.png")} == {"map.png", "curve.png"}
    with pytest.raises(errors.UsageError, match="one or two parameters"):
        grid_search(setup, {}, *PARTS)


def test_tables_and_ranges() -> None:
    trials = (
        Trial(0, {"units": 4}, "done", 0.5, 100.0, 1.0),
        Trial(1, {"units": 8}, "failed", None, None, 0.5, "the loss is nan"),
        Trial(2, {"units": 2}, "done", 0.25, 50.0, 1.0),
    )
    found = Found(trials, ("units",), rising=False, has_cost=True)
    assert found.best.number == 2
    assert [t.number for t in found.front] == [2]
    assert found.table().splitlines()[2].split() == [
        *("1", "8", "-", "-", "0.5", "failed:", "the", "loss", "is", "nan"),
    ]
    for wrong in ((3, 3, False), (0.0, 1.0, True)):
        with pytest.raises(errors.UsageError, match="wanted low below"):
            Range(*wrong)
    with pytest.raises(errors.UsageError, match="different values"):
        Choice(1, 1)


def test_a_real_search() -> None:
    found = grid_search(
        setup,
        {"units": [2, 6]},
        samples(300, 1),
        samples(100, 2),
        cost=lambda trained: ebops_of_model(trained.model),
    )
    small, large = found.trials
    assert small.cost is not None
    assert large.cost is not None
    assert 0 < small.cost < large.cost
    assert all(t.score is not None and 0.3 < t.score <= 1 for t in found.trials)
