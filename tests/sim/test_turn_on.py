"""Turn-on curves: bins counted by hand, and fits that find what events were drawn with."""

import numpy as np
import pytest
from scipy.stats import norm

from samebits import errors
from samebits.sim.turn_on import turn_on


def test_bins_and_what_lies_outside() -> None:
    found = turn_on([-1, 5, 5, 15, 20, 25], [1, 0, 1, 1, 1, 1], [0, 10, 12, 20])
    assert found.events == (2, 0, 2)  # the last bin holds its upper edge
    assert found.passed == (1, 0, 2)
    first, empty, last = found.efficiency
    assert first is not None
    assert last is not None
    assert (first.value, empty, last.value, last.high) == (0.5, None, 1, 1)
    assert found.fit is None
    assert "ten events" in found.note


def test_the_fit_finds_what_the_events_were_drawn_with(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 100, 40_000)
    passed = rng.random(len(x)) < 0.93 * norm.cdf((x - 40) / 6)
    fit = turn_on(x, passed, list(range(0, 101, 5))).fit
    assert fit is not None
    for value, error, truth in (
        (fit.plateau, fit.plateau_error, 0.93),
        (fit.half, fit.half_error, 40),
        (fit.width, fit.width_error, 6),
        (fit.at_95, fit.at_95_error, 40 + 6 * norm.ppf(0.95)),
    ):
        assert abs(value - truth) < 4 * error
        assert 0 < error < 0.05 * truth


def test_errors_are_the_spread_of_many_fits(rng: np.random.Generator) -> None:
    fits = []
    for _ in range(25):
        x = rng.uniform(0, 10, 600)
        fits.append(turn_on(x, rng.random(600) < norm.cdf(x - 4), [0, 5, 10]).fit)
    halves = [fit.half for fit in fits if fit is not None]
    assert len(halves) == len(fits)
    mean_error = np.mean([fit.half_error for fit in fits if fit is not None])
    assert 0.6 < np.std(halves) / mean_error < 1.6


def test_no_turn_on_gives_no_fit(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 10, 500)
    assert turn_on(x, np.ones(500, bool), [0, 10]).fit is None


def test_bad_edges_and_shapes() -> None:
    with pytest.raises(errors.UsageError, match="rise"):
        turn_on([1.0], [True], [1, 1])
    with pytest.raises(errors.DataError, match="decisions"):
        turn_on([1.0], [True, False], [0, 1])


def test_a_step_has_no_width(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 100, 400)
    step = turn_on(x, x > 40, [0, 50, 100])
    assert step.fit is None
    assert step.note == "no fit: the events do not determine plateau, 50 % point and width"


def test_a_shape_that_the_events_do_not_have_is_doubtful(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 100, 1200)
    rise = norm.cdf((x - 40) / 6)
    values = [
        fit.p_value
        for _ in range(8)
        if (fit := turn_on(x, rng.random(1200) < 0.9 * rise, [0, 100]).fit) is not None
    ]
    assert len(values) == 8
    assert min(filter(None, values)) > 1e-4
    assert 0.1 < np.median(np.array(values, float)) < 0.9
    falling = turn_on(x, rng.random(1200) < rise * np.where(x > 70, 0.4, 0.9), [0, 100]).fit
    assert falling is not None
    assert falling.is_doubtful
    few = turn_on(x[:150], rng.random(150) < rise[:150], [0, 100]).fit
    assert few is not None
    assert few.p_value is None
    assert not few.is_doubtful
