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

from .beam import BUNCH_SLOTS, REVOLUTION_HZ, Beam
from .efficiency import (
    EfficiencyDifference,
    ThresholdScan,
    check_rate,
    compare_at_rate,
    compare_at_rates,
    cuts_of,
    threshold_scan,
)
from .intervals import Fraction, fraction, numbers, weights_of

__all__ = [
    "BUNCH_SLOTS",
    "REVOLUTION_HZ",
    "Beam",
    "EfficiencyDifference",
    "MenuRow",
    "RateCurve",
    "RatePoint",
    "ThresholdScan",
    "compare_at_rate",
    "compare_at_rates",
    "menu",
    "point_at_rate",
    "rate_curve",
    "threshold_scan",
]

_CURVE_POINTS = 200

Array = NDArray[np.float64]


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
    thresholds, passed, _ = cuts_of(score, weights_of(weights, len(score)))
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
        UsageError: a rate that is not above 0, or above that of all crossings.
        DataError: NaN, infinity or wrong shapes.
    """
    check_rate(asked_khz, beam)
    score = numbers(unbiased, "unbiased")
    weight = weights_of(weights, len(score))
    thresholds, passed, at_cut = cuts_of(score, weight)
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
