"""Rates, cuts at a fixed rate and menus, against counts done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from samebits import errors
from samebits.sim.intervals import clopper_pearson, fraction
from samebits.sim.trigger import (
    Beam,
    compare_at_rate,
    compare_at_rates,
    menu,
    point_at_rate,
    rate_curve,
    threshold_scan,
)

FULL = Beam(3564)


def test_a_full_machine_crosses_at_40_mhz() -> None:
    assert FULL.crossings_khz == pytest.approx(40_079.3, abs=0.1)
    assert Beam(1782, 4.0).crossings_khz == pytest.approx(2 * FULL.crossings_khz)


@pytest.mark.parametrize(("bunches", "ratio"), [(0, 1.0), (3565, 1.0), (1, 0.0), (1, float("nan"))])
def test_beams_that_cannot_be(bunches: int, ratio: float) -> None:
    with pytest.raises(errors.UsageError):
        Beam(bunches, ratio)


def test_the_interval_holds_its_probability_on_both_sides() -> None:
    low, high = clopper_pearson(7, 20)
    assert binom.sf(6, 20, low) == pytest.approx(0.16)
    assert binom.cdf(7, 20, high) == pytest.approx(0.16)
    assert clopper_pearson(0, 5)[0] == 0
    assert clopper_pearson(5, 5)[1] == 1


def test_weights_of_one_size_are_no_weights() -> None:
    passed = np.arange(10) < 3
    assert fraction(passed, np.full(10, 0.25)) == fraction(passed)
    half = fraction(passed, np.repeat([1.0, 0.0], 5))  # only five events count
    assert (half.value, half.events) == (0.6, 5)


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[int], list[int], float]:
    scores = st.lists(st.integers(0, 6), min_size=1, max_size=30)
    return draw(scores), draw(scores), draw(st.floats(0.01, 1.0))


@given(sample=samples())
def test_the_cut_is_the_loosest_that_keeps_the_rate(
    sample: tuple[list[int], list[int], float],
) -> None:
    unbiased, signal, allowed = sample
    beam = Beam(100)
    asked = allowed * beam.crossings_khz
    point = point_at_rate(unbiased, {"s": signal}, beam, asked)
    fitting = [
        t
        for t in sorted(set(unbiased))
        if sum(x >= t for x in unbiased) / len(unbiased) <= asked / beam.crossings_khz
    ]
    if not fitting:
        assert point.threshold is None
        top = sum(x == max(unbiased) for x in unbiased) / len(unbiased)
        assert point.next_rate_khz == pytest.approx(top * beam.crossings_khz)
        return
    threshold = fitting[0]
    assert point.threshold == threshold
    assert point.rate_khz is not None
    assert point.rate_khz.value <= asked * (1 + 1e-12)
    assert point.unbiased_passed == sum(x >= threshold for x in unbiased)
    assert point.unbiased_at_cut == unbiased.count(threshold)
    assert point.signal_at_cut == {"s": signal.count(threshold)}
    assert point.efficiency["s"].value == sum(x >= threshold for x in signal) / len(signal)
    looser = [t for t in set(unbiased) if t < threshold]
    assert (point.next_rate_khz is None) == (not looser)


def test_the_curve_knows_the_granularity() -> None:
    curve = rate_curve([0, 0.25, 0.25, 1.0], Beam(3564, 0.5))
    assert curve.thresholds == (1.0, 0.25, 0.0)
    assert curve.rates_khz == pytest.approx([x * FULL.crossings_khz / 8 for x in (1, 3, 4)])
    assert (curve.levels, curve.step) == (3, 0.25)
    assert rate_curve([1, 1], FULL).step is None


def test_a_score_coarser_by_rounding_costs_efficiency_at_a_rate() -> None:
    rng = np.random.default_rng(5)
    noise, peak = rng.normal(0, 1, 4000), rng.normal(2, 1, 1500)
    fine, coarse = {"x": noise, "y": np.floor(noise)}, {"x": peak, "y": np.floor(peak)}
    beam = Beam(1000)
    asked = 0.03 * beam.crossings_khz
    (difference,) = compare_at_rate(fine, coarse, beam, asked, reference="x", replicates=100)
    points = [point_at_rate(fine[k], {"s": coarse[k]}, beam, asked) for k in "xy"]
    lost = points[1].efficiency["s"].value - points[0].efficiency["s"].value
    assert difference.value == pytest.approx(lost)
    assert difference.low_95 <= difference.low_68 <= lost <= difference.high_68
    assert difference.high_95 < 0


def test_a_model_does_not_differ_from_itself() -> None:
    x, y = np.arange(50.0), np.arange(20.0, 70)
    (difference,) = compare_at_rate(
        {"a": x, "b": 2 * x}, {"a": y, "b": 2 * y}, Beam(10), 10.0, reference="a", replicates=50
    )
    assert (difference.value, difference.low_95, difference.high_95) == (0, 0, 0)


def test_a_menu_adds_up() -> None:
    decisions = {"jet": [1, 1, 0, 0, 0, 0, 0, 0], "met": [0, 1, 1, 0, 0, 0, 0, 0], "off": [0] * 8}
    total, rows = menu(decisions, FULL)
    crossings = FULL.crossings_khz
    assert total.value == pytest.approx(3 / 8 * crossings)
    jet, met, off = rows
    assert jet.total_khz.value == pytest.approx(2 / 8 * crossings)
    assert jet.pure_khz.value == pytest.approx(1 / 8 * crossings)
    assert jet.overlap_khz == pytest.approx({"met": 1 / 8 * crossings, "off": 0})
    assert met.shared_khz == pytest.approx(1.5 / 8 * crossings)
    assert sum(row.shared_khz for row in rows) == pytest.approx(total.value)
    assert (off.total_khz.value, off.pure_khz.value, off.shared_khz) == (0, 0, 0)


@st.composite
def menus(draw: st.DrawFn) -> tuple[list[list[bool]], list[int]]:
    """What up to four seeds take of each event, and weights of which one is not 0."""
    events = draw(st.integers(1, 12))
    row = st.lists(st.booleans(), min_size=events, max_size=events)
    weights = draw(st.lists(st.integers(0, 3), min_size=events, max_size=events))
    weights[draw(st.integers(0, events - 1))] = 1
    return draw(st.lists(row, min_size=1, max_size=4)), weights


@given(sample=menus())
def test_total_pure_and_shared_rates_are_counts(
    sample: tuple[list[list[bool]], list[int]],
) -> None:
    table, weights = sample
    seeds = {str(number): row for number, row in enumerate(table)}
    total, rows = menu(seeds, FULL, weights)
    khz = FULL.crossings_khz / sum(weights)
    taken = [[name for name, row in seeds.items() if row[i]] for i in range(len(weights))]
    events = list(zip(taken, weights, strict=True))
    assert total.value == pytest.approx(khz * sum(w for names, w in events if names))
    for row in rows:
        mine = [(names, w) for names, w in events if row.seed in names]
        assert row.total_khz.value == pytest.approx(khz * sum(w for _, w in mine))
        pure = sum(w for names, w in mine if names == [row.seed])
        assert row.pure_khz.value == pytest.approx(khz * pure)
        assert row.shared_khz == pytest.approx(khz * sum(w / len(names) for names, w in mine))
        for other, rate in row.overlap_khz.items():
            assert rate == pytest.approx(khz * sum(w for names, w in mine if other in names))


@given(sample=samples(), weights=st.lists(st.integers(1, 3), min_size=30, max_size=30))
def test_an_event_of_weight_two_is_two_events(
    sample: tuple[list[int], list[int], float], weights: list[int]
) -> None:
    unbiased, signal, allowed = sample
    beam, weight = Beam(100), weights[: len(unbiased)]
    # between two rates that occur, so that rounding decides nothing
    kept = min(round(allowed * sum(weight)), sum(weight) - 1)
    asked = (kept + 0.5) / sum(weight) * beam.crossings_khz
    repeated = np.repeat(unbiased, weight)
    one = point_at_rate(unbiased, {"s": signal}, beam, asked, weight)
    other = point_at_rate(repeated, {"s": signal}, beam, asked)
    assert one.threshold == other.threshold
    assert one.efficiency == other.efficiency
    if one.rate_khz is not None and other.rate_khz is not None:
        assert one.rate_khz.value == pytest.approx(other.rate_khz.value)
        assert one.rate_khz.events <= len(unbiased) + 1e-9
    given_ = {"a": unbiased, "b": [x // 2 for x in unbiased]}
    peaks = {"a": signal, "b": [x // 2 for x in signal]}
    more = {name: np.repeat(x, weight) for name, x in given_.items()}
    few = {"reference": "a", "replicates": 2}
    weighted = compare_at_rate(given_, peaks, beam, asked, weights=weight, **few)
    plain = compare_at_rate(more, peaks, beam, asked, **few)
    assert weighted[0].value == plain[0].value


@pytest.mark.parametrize(
    ("unbiased", "match"),
    [([], "not empty"), ([1.0, float("nan")], "NaN"), ([[1.0]], "shape"), (["a"], "real numbers")],
)
def test_scores_that_are_none(unbiased: list[float], match: str) -> None:
    with pytest.raises(errors.DataError, match=match):
        rate_curve(unbiased, FULL)


def test_bad_weights_and_rates() -> None:
    with pytest.raises(errors.DataError, match="weights"):
        rate_curve([1.0, 2.0], FULL, [-1.0, 2.0])
    with pytest.raises(errors.DataError, match="weights"):
        menu({"a": [True, False]}, FULL, [0.0, 0.0])
    with pytest.raises(errors.UsageError, match="above 0 kHz"):
        point_at_rate([1.0], {}, FULL, 0)
    point_at_rate([1.0], {}, FULL, FULL.crossings_khz)
    above = r"a rate of 1e\+06 kHz is above all bunch crossings' rate of [\d,.]+ kHz"
    with pytest.raises(errors.UsageError, match=above):
        point_at_rate([1.0], {}, FULL, 1e6)
    with pytest.raises(errors.UsageError, match=above):
        compare_at_rate({"a": [1.0]}, {"a": [1.0]}, FULL, 1e6, reference="a")
    with pytest.raises(errors.UsageError, match="same models"):
        compare_at_rate({"a": [1.0]}, {"b": [1.0]}, FULL, 1.0, reference="a")


def test_a_scan_has_the_cuts_of_the_rates() -> None:
    rng = np.random.default_rng(12)
    noise, peak = np.floor(rng.uniform(size=500) * 64) / 64, rng.uniform(size=300)
    found = threshold_scan(noise, {"H": peak}, FULL)
    assert list(found.thresholds) == sorted(found.thresholds, reverse=True)
    for k, threshold in enumerate(found.thresholds):
        passed = noise >= threshold
        assert found.rates_khz[k] == pytest.approx(passed.mean() * FULL.crossings_khz)
        assert found.rate_low[k] <= found.rates_khz[k] <= found.rate_high[k]
        assert found.unbiased_at_cut[k] == (noise == threshold).sum()
        assert found.efficiency["H"][k] == (peak >= threshold).mean()
    assert found.thresholds[0] == noise.max()
    assert found.rates_khz[-1] == pytest.approx(FULL.crossings_khz)


def test_several_rates_at_once_are_the_single_ones() -> None:
    rng = np.random.default_rng(13)
    noise, peak = rng.normal(size=(2, 200)), 1 + rng.normal(size=(2, 150))
    models = [{"a": x[0], "b": np.round(x[1], 1)} for x in (noise, peak)]
    rates = [1000.0, 9000.0]
    both = compare_at_rates(*models, FULL, rates, reference="a", replicates=50)
    single = [
        compare_at_rate(*models, FULL, rate, reference="a", replicates=50)[0] for rate in rates
    ]
    assert both == single
