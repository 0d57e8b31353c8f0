"""Signal efficiency against rate: scans of the threshold, and models compared at the same rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .beam import Beam
from .bootstrap import replicate_weights
from .intervals import fraction, numbers, weights_of

__all__ = [
    "EfficiencyDifference",
    "ThresholdScan",
    "check_rate",
    "compare_at_rate",
    "compare_at_rates",
    "cuts_of",
    "threshold_scan",
]

_REPLICATES = 400
_SCAN_POINTS = 60

Array = NDArray[np.float64]


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
class ThresholdScan:
    """Cuts from the tightest to the loosest, of which those that are evenly spread in log(rate).

    Attributes:
        thresholds: scores that occur, falling.
        rates_khz, rate_low, rate_high: with 68 % intervals.
        unbiased_at_cut: unbiased events whose score equals the threshold.
        efficiency, efficiency_low, efficiency_high: by signal, with 68 % intervals.
    """

    thresholds: tuple[float, ...]
    rates_khz: tuple[float, ...]
    rate_low: tuple[float, ...]
    rate_high: tuple[float, ...]
    unbiased_at_cut: tuple[int, ...]
    efficiency: dict[str, tuple[float, ...]]
    efficiency_low: dict[str, tuple[float, ...]]
    efficiency_high: dict[str, tuple[float, ...]]


def threshold_scan(
    unbiased: ArrayLike,
    signals: Mapping[str, ArrayLike],
    beam: Beam,
    weights: ArrayLike | None = None,
) -> ThresholdScan:
    """Rate and efficiency of cuts over the whole range of a score.

    Args:
        unbiased: (N,) scores of unbiased events.
        signals: by name (M,) scores of signal events.
        weights: (N,) of the unbiased events; None: all the same.

    Raises:
        DataError: NaN, infinity or wrong shapes.
    """
    score = numbers(unbiased, "unbiased")
    weight = weights_of(weights, len(score))
    peaks = {name: numbers(given, name) for name, given in signals.items()}
    thresholds, passed, at_cut = cuts_of(score, weight)
    first = passed[passed > 0][0]
    kept = np.unique(np.searchsorted(passed, np.geomspace(first, passed[-1], _SCAN_POINTS)))
    kept = kept[kept < len(thresholds)]
    rates = [fraction(score >= t, weights).scaled(beam.crossings_khz) for t in thresholds[kept]]
    found = {name: [fraction(peak >= t) for t in thresholds[kept]] for name, peak in peaks.items()}
    return ThresholdScan(
        thresholds=tuple(thresholds[kept].tolist()),
        rates_khz=tuple(rate.value for rate in rates),
        rate_low=tuple(rate.low for rate in rates),
        rate_high=tuple(rate.high for rate in rates),
        unbiased_at_cut=tuple(at_cut[kept].tolist()),
        efficiency={name: tuple(p.value for p in parts) for name, parts in found.items()},
        efficiency_low={name: tuple(p.low for p in parts) for name, parts in found.items()},
        efficiency_high={name: tuple(p.high for p in parts) for name, parts in found.items()},
    )


def compare_at_rate(
    unbiased: Mapping[str, ArrayLike],
    signal: Mapping[str, ArrayLike],
    beam: Beam,
    asked_khz: float,
    *,
    reference: str,
    name: str = "signal",
    weights: ArrayLike | None = None,
    replicates: int = _REPLICATES,
    seed: int = 0,
) -> list[EfficiencyDifference]:
    """`compare_at_rates` at one rate."""
    return compare_at_rates(
        unbiased,
        signal,
        beam,
        [asked_khz],
        reference=reference,
        name=name,
        weights=weights,
        replicates=replicates,
        seed=seed,
    )


def compare_at_rates(
    unbiased: Mapping[str, ArrayLike],
    signal: Mapping[str, ArrayLike],
    beam: Beam,
    asked_khz: Sequence[float],
    *,
    reference: str,
    name: str = "signal",
    weights: ArrayLike | None = None,
    replicates: int = _REPLICATES,
    seed: int = 0,
) -> list[EfficiencyDifference]:
    """How much signal every model keeps at each rate, against the reference, with intervals.

    Args:
        unbiased: by model (N,) scores of the same unbiased events.
        signal: by model (M,) scores of the same signal events.
        reference: one of the models.
        weights: (N,) of the unbiased events; None: all the same. A replicate multiplies each with
            how often the event is drawn.

    Raises:
        UsageError: an unknown reference, or a rate that is not above 0, or too large.
        DataError: NaN, infinity or wrong shapes.
    """
    for rate in asked_khz:
        check_rate(rate, beam)
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
    weight = weights_of(weights, n)[:, None]
    allowed = [rate / beam.crossings_khz for rate in asked_khz]
    kept = {model: _Kept(backgrounds[model], signals[model], allowed) for model in backgrounds}
    labels = np.repeat(np.array([0, 1], dtype=np.int64), (n, m))
    found: dict[str, list[Array]] = {model: [] for model in kept}
    for drawn in replicate_weights(labels, replicates, seed):
        for model, one in kept.items():
            found[model].append(one.efficiency(drawn[:n] * weight, drawn[n:]))
    ones = np.ones((m, 1))
    whole = {model: one.efficiency(weight, ones)[:, 0] for model, one in kept.items()}
    spreads = {model: np.concatenate(parts, axis=1) for model, parts in found.items()}
    differences = []
    for place, rate in enumerate(asked_khz):
        for model in kept:
            if model == reference:
                continue
            spread = spreads[model][place] - spreads[reference][place]
            low_95, low_68, high_68, high_95 = np.percentile(spread, (2.5, 16, 84, 97.5)).tolist()
            value = float(whole[model][place] - whole[reference][place])
            differences.append(
                EfficiencyDifference(
                    model, reference, name, rate, value, low_68, high_68, low_95, high_95
                )
            )
    return differences


class _Kept:
    """One model's signal efficiency at allowed fractions, cheap for any weights of the events."""

    def __init__(self, background: Array, signal: Array, allowed: Sequence[float]) -> None:
        self._allowed = allowed
        self._order = np.argsort(-background, kind="stable")
        ordered = background[self._order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        thresholds = ordered[self._ends]
        # how many thresholds are above a signal event's score: it passes from that cut on
        first_cut = np.searchsorted(-thresholds, -signal, side="left")
        self._signal_order = np.argsort(first_cut, kind="stable")
        self._first_cut = first_cut[self._signal_order]

    def efficiency(self, background: Array, signal: Array) -> Array:
        """(rates, B) for weights (N, B) and (M, B)."""
        passed = np.cumsum(background[self._order], axis=0)[self._ends] / background.sum(axis=0)
        kept = np.zeros((len(signal) + 1, signal.shape[1]))
        np.cumsum(signal[self._signal_order], axis=0, out=kept[1:])
        columns = np.arange(signal.shape[1])
        parts = []
        for allowed in self._allowed:
            cuts = (passed <= allowed).sum(axis=0)  # cuts 0 .. cuts - 1 are tight enough
            parts.append(kept[np.searchsorted(self._first_cut, cuts, side="left"), columns])
        efficiencies: Array = np.stack(parts) / kept[-1]
        return efficiencies


def cuts_of(score: Array, weights: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Scores that occur, falling; the fraction that passes each; the events that equal it."""
    values, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    at = np.bincount(inverse, weights=weights, minlength=len(values))
    passed = np.cumsum(at[::-1]) / weights.sum()
    return values[::-1], passed, counts[::-1]


def check_rate(asked_khz: float, beam: Beam) -> None:
    """Raises UsageError for a rate that is not above 0, or above that of all crossings."""
    if not (np.isfinite(asked_khz) and asked_khz > 0):
        raise errors.UsageError(f"a rate must be above 0 kHz, got {asked_khz}")
    if asked_khz > beam.crossings_khz * (1 + 1e-9):  # rounded where it is all of them
        raise errors.UsageError(
            f"a rate of {asked_khz:g} kHz is above all bunch crossings' rate of "
            f"{beam.crossings_khz:,.1f} kHz"
        )
