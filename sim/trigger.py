"""The trigger's own numbers: rates, efficiency at a fixed rate, menus of seeds.

A rate comes from unbiased events (zero bias or minimum bias), each of which stands for one bunch
crossing:

    rate = bunches x 11,245.6 Hz x (target / run luminosity) x events that pass / events

Source: the LHC's revolution frequency and filling schemes, LHC Design Report, CERN-2004-003.
Thresholds are those values of a score that occur, since the firmware's scores are quantized: a cut
`score >= threshold` between two of them is the cut at the upper one. Intervals hold 68 %
(Clopper-Pearson; for weighted events with the effective number of events, Kish 1965).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .bootstrap import replicate_weights
from .intervals import Fraction, fraction, numbers, weights_of

__all__ = [
    "BUNCH_SLOTS",
    "REVOLUTION_HZ",
    "Beam",
    "EfficiencyDifference",
    "MenuRow",
    "RateCurve",
    "RatePoint",
    "compare_at_rate",
    "menu",
    "point_at_rate",
    "rate_curve",
]

REVOLUTION_HZ = 11_245.6
BUNCH_SLOTS = 3564
_CURVE_POINTS = 200
_REPLICATES = 400

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Beam:
    """The beam that a rate is quoted for.

    Attributes:
        bunches: colliding bunches in the machine, 1 to 3564.
        luminosity_ratio: instantaneous luminosity per bunch of the target over that of the
            unbiased events.
    """

    bunches: int
    luminosity_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.bunches <= BUNCH_SLOTS:
            raise errors.UsageError(
                f"bunches must be 1 to {BUNCH_SLOTS} (the LHC's slots), got {self.bunches}"
            )
        if not (np.isfinite(self.luminosity_ratio) and self.luminosity_ratio > 0):
            raise errors.UsageError(
                f"the luminosity ratio must be above 0, got {self.luminosity_ratio}"
            )

    @property
    def crossings_khz(self) -> float:
        """The rate of a trigger that takes every crossing, in kHz."""
        return self.bunches * REVOLUTION_HZ * self.luminosity_ratio / 1000


@dataclass(frozen=True)
class RateCurve:
    """Rate in kHz against threshold, from the tightest cut on, thinned for plotting.

    `levels` counts the scores that occur, `step` is the smallest distance between two of them (None
    if only one occurs).
    """

    thresholds: tuple[float, ...]
    rates_khz: tuple[float, ...]
    levels: int
    step: float | None


@dataclass(frozen=True)
class RatePoint:
    """The loosest cut whose rate does not exceed the one asked for.

    `unbiased_at_cut` counts the unbiased events whose score equals the threshold, and
    `next_rate_khz` is the rate of the next looser cut: the granularity of the choice. Where even
    the tightest cut gives too high a rate, the threshold and what belongs to it are None and
    `next_rate_khz` is the rate of the tightest cut.
    """

    asked_khz: float
    threshold: float | None
    rate_khz: Fraction | None
    next_rate_khz: float | None
    unbiased_passed: int
    unbiased_at_cut: int
    efficiency: dict[str, Fraction]
    signal_at_cut: dict[str, int]


@dataclass(frozen=True)
class EfficiencyDifference:
    """Signal efficiency at a rate, `model` minus the reference, with percentile intervals.

    Every replicate of the bootstrap, in which all models see the same events, finds its own cut.
    """

    model: str
    reference: str
    signal: str
    asked_khz: float
    value: float
    low_68: float
    high_68: float
    low_95: float
    high_95: float


@dataclass(frozen=True)
class MenuRow:
    """One seed's rates in kHz: alone (total), exclusively its own (pure), shared out equally.

    Every event is shared out among the seeds that take it, so that the shared rates add up to the
    rate of the menu. `overlap_khz`: the rate that it has in common with each seed, by name.
    """

    seed: str
    total_khz: Fraction
    pure_khz: Fraction
    shared_khz: float
    overlap_khz: dict[str, float]


def rate_curve(unbiased: ArrayLike, beam: Beam, weights: ArrayLike | None = None) -> RateCurve:
    """The rate of every cut on a score.

    Args:
        unbiased: (N,) scores of unbiased events.
        weights: (N,) of these events; None: all the same.

    Raises:
        DataError: NaN, infinity or wrong shapes.
    """
    score = numbers(unbiased, "unbiased")
    thresholds, passed, _ = _cuts(score, weights_of(weights, len(score)))
    step = float(-np.diff(thresholds).max()) if len(thresholds) > 1 else None
    last, half = len(thresholds) - 1, _CURVE_POINTS // 2
    # half of the points close to the tightest cuts, where triggers work
    spread = np.concatenate([np.linspace(0, last, half), np.geomspace(1, last + 1, half) - 1])
    kept = np.unique(spread.round().astype(int))
    rates = passed[kept] * beam.crossings_khz
    return RateCurve(tuple(thresholds[kept].tolist()), tuple(rates.tolist()), len(thresholds), step)


def point_at_rate(
    unbiased: ArrayLike,
    signals: Mapping[str, ArrayLike],
    beam: Beam,
    asked_khz: float,
    weights: ArrayLike | None = None,
) -> RatePoint:
    """The cut for a rate, and the efficiency of every signal there.

    Args:
        unbiased: (N,) scores of unbiased events.
        signals: by name (M,) scores of signal events.
        asked_khz: rate in kHz, above 0.
        weights: (N,) of the unbiased events; None: all the same.

    Raises:
        UsageError: a rate that is not above 0.
        DataError: NaN, infinity or wrong shapes.
    """
    _check_rate(asked_khz)
    score = numbers(unbiased, "unbiased")
    weight = weights_of(weights, len(score))
    thresholds, passed, at_cut = _cuts(score, weight)
    cut = int(np.searchsorted(passed, asked_khz / beam.crossings_khz, side="right")) - 1
    following = float(passed[cut + 1]) * beam.crossings_khz if cut + 1 < len(passed) else None
    if cut < 0:
        return RatePoint(asked_khz, None, None, following, 0, 0, {}, {})
    threshold = float(thresholds[cut])
    rates = fraction(score >= threshold, weight).scaled(beam.crossings_khz)
    values = {name: numbers(given, name) for name, given in signals.items()}
    return RatePoint(
        asked_khz=asked_khz,
        threshold=threshold,
        rate_khz=rates,
        next_rate_khz=following,
        unbiased_passed=int((score >= threshold).sum()),
        unbiased_at_cut=int(at_cut[cut]),
        efficiency={name: fraction(given >= threshold) for name, given in values.items()},
        signal_at_cut={name: int((given == threshold).sum()) for name, given in values.items()},
    )


def compare_at_rate(
    unbiased: Mapping[str, ArrayLike],
    signal: Mapping[str, ArrayLike],
    beam: Beam,
    asked_khz: float,
    *,
    reference: str,
    name: str = "signal",
    replicates: int = _REPLICATES,
    seed: int = 0,
) -> list[EfficiencyDifference]:
    """How much signal every model keeps at a rate, against the reference, with intervals.

    Args:
        unbiased: by model (N,) scores of the same unbiased events.
        signal: by model (M,) scores of the same signal events.
        reference: one of the models.

    Raises:
        UsageError: an unknown reference, or a rate that is not above 0.
        DataError: NaN, infinity or wrong shapes.
    """
    _check_rate(asked_khz)
    if reference not in unbiased or set(unbiased) != set(signal):
        raise errors.UsageError(
            f"comparing {sorted(unbiased)} and {sorted(signal)} with {reference!r}: give the same "
            "models, the reference among them"
        )
    backgrounds = {model: numbers(values, model) for model, values in unbiased.items()}
    signals = {model: numbers(values, model) for model, values in signal.items()}
    sizes = {len(s) for s in backgrounds.values()}, {len(s) for s in signals.values()}
    if len(sizes[0]) > 1 or len(sizes[1]) > 1:
        raise errors.DataError(f"{name}: the models have different numbers of events")
    n, m = sizes[0].pop(), sizes[1].pop()
    allowed = asked_khz / beam.crossings_khz
    kept = {model: _Kept(backgrounds[model], signals[model], allowed) for model in backgrounds}
    labels = np.repeat(np.array([0, 1], dtype=np.int64), (n, m))
    found: dict[str, list[Array]] = {model: [] for model in kept}
    for weights in replicate_weights(labels, replicates, seed):
        for model, one in kept.items():
            found[model].append(one.efficiency(weights[:n], weights[n:]))
    whole = {
        model: float(one.efficiency(np.ones((n, 1)), np.ones((m, 1)))[0])
        for model, one in kept.items()
    }
    differences = []
    for model in kept:
        if model == reference:
            continue
        spread = np.concatenate(found[model]) - np.concatenate(found[reference])
        low_95, low_68, high_68, high_95 = np.percentile(spread, (2.5, 16, 84, 97.5)).tolist()
        differences.append(
            EfficiencyDifference(
                model,
                reference,
                name,
                asked_khz,
                whole[model] - whole[reference],
                low_68,
                high_68,
                low_95,
                high_95,
            )
        )
    return differences


class _Kept:
    """One model's signal efficiency at an allowed fraction, cheap for any weights of the events."""

    def __init__(self, background: Array, signal: Array, allowed: float) -> None:
        self._allowed = allowed
        self._order = np.argsort(-background, kind="stable")
        ordered = background[self._order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        thresholds = ordered[self._ends]
        # how many thresholds are above a signal event's score: it passes from that cut on
        self._first_cut = np.searchsorted(-thresholds, -signal, side="left")

    def efficiency(self, background: Array, signal: Array) -> Array:
        """(B,) for weights (N, B) and (M, B)."""
        passed = np.cumsum(background[self._order], axis=0)[self._ends] / background.sum(axis=0)
        cuts = (passed <= self._allowed).sum(axis=0)  # cuts 0 .. cuts - 1 are tight enough
        passes = self._first_cut[:, None] < cuts
        kept: Array = (signal * passes).sum(axis=0) / signal.sum(axis=0)
        return kept


def menu(
    decisions: Mapping[str, ArrayLike], beam: Beam, weights: ArrayLike | None = None
) -> tuple[Fraction, list[MenuRow]]:
    """The rate in kHz of a menu of seeds, and what every seed adds to it.

    Args:
        decisions: by seed (N,) whether it takes each unbiased event.
        weights: (N,) of these events; None: all the same.

    Raises:
        DataError: no seeds, or other shapes.
    """
    if not decisions:
        raise errors.DataError("a menu needs at least one seed")
    taken = {name: np.asarray(given, dtype=bool) for name, given in decisions.items()}
    shapes = {given.shape for given in taken.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise errors.DataError(f"menu: decisions of shapes {sorted(map(str, shapes))}")
    table = np.stack(list(taken.values()))
    weight, scale = weights_of(weights, table.shape[1]), beam.crossings_khz
    count, total = table.sum(axis=0), float(weight.sum())
    rows = []
    for name, mine in taken.items():
        others = {
            other: float(weight[mine & given].sum()) / total * scale
            for other, given in taken.items()
            if other != name
        }
        rows.append(
            MenuRow(
                name,
                fraction(mine, weight).scaled(scale),
                fraction(mine & (count == 1), weight).scaled(scale),
                float((weight[mine] / count[mine]).sum()) / total * scale,
                others,
            )
        )
    return fraction(count > 0, weight).scaled(scale), rows


def _cuts(score: Array, weights: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Scores that occur, falling; the fraction that passes each; the events that equal it."""
    values, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    at = np.bincount(inverse, weights=weights, minlength=len(values))
    passed = np.cumsum(at[::-1]) / weights.sum()
    return values[::-1], passed, counts[::-1]


def _check_rate(asked_khz: float) -> None:
    if not (np.isfinite(asked_khz) and asked_khz > 0):
        raise errors.UsageError(f"a rate must be above 0 kHz, got {asked_khz}")
