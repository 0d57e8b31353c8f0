"""Parts of events with binomial intervals, and the checks of what they are made from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

__all__ = ["Fraction", "clopper_pearson", "fraction", "numbers", "weights_of"]

Array = NDArray[np.float64]
_LEVEL = 0.68


@dataclass(frozen=True)
class Fraction:
    """A part of events with its 68 % interval; `events` is effective where events have weights."""

    value: float
    low: float
    high: float
    events: float

    def scaled(self, factor: float) -> "Fraction":
        """The same times a number, for example a rate."""
        return Fraction(self.value * factor, self.low * factor, self.high * factor, self.events)


def fraction(passed: ArrayLike, weights: ArrayLike | None = None) -> Fraction:
    """The part of events that pass.

    Args:
        passed: (N,) true or false.
        weights: (N,) not negative; None: all the same.

    Raises:
        DataError: no events, other shapes, negative weights or all zero.
    """
    chosen = np.asarray(passed, dtype=bool)
    if chosen.ndim != 1 or not len(chosen):
        raise errors.DataError(f"events that pass: got shape {chosen.shape}, wanted (events,)")
    weight = weights_of(weights, len(chosen))
    total = float(weight.sum())
    value = float(weight[chosen].sum()) / total
    effective = total * total / float(np.square(weight).sum())
    return Fraction(value, *clopper_pearson(value * effective, effective), effective)


def clopper_pearson(passed: float, events: float, level: float = _LEVEL) -> tuple[float, float]:
    """Exact binomial interval; the numbers may be effective ones of weighted events.

    Source: Clopper and Pearson, Biometrika 26 (1934) 404.
    """
    from scipy.stats import beta  # type: ignore[import-untyped]

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, passed, events - passed + 1)) if passed > 0 else 0.0
    high = float(beta.ppf(1 - tail, passed + 1, events - passed)) if passed < events else 1.0
    return low, high


def numbers(values: ArrayLike, what: str) -> Array:
    """One finite number per event.

    Raises:
        DataError: something else.
    """
    try:
        score = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise errors.DataError(f"{what}: not an array of real numbers: {error}") from None
    if score.ndim != 1 or not len(score):
        raise errors.DataError(f"{what}: got shape {score.shape}, wanted (events,), not empty")
    bad = ~np.isfinite(score)
    if bad.any():
        raise errors.DataError(
            f"{what}: {int(bad.sum())} of {len(score)} values are NaN or infinite, the first at "
            f"event {int(np.flatnonzero(bad)[0])}"
        )
    return score


def weights_of(weights: ArrayLike | None, events: int) -> Array:
    """The weights of so many events; None: ones.

    Raises:
        DataError: wrong number, negative, or all zero.
    """
    if weights is None:
        return np.ones(events)
    weight = numbers(weights, "weights")
    if weight.shape != (events,) or (weight < 0).any() or not weight.sum() > 0:
        raise errors.DataError(
            f"weights: got {len(weight)} for {events} events; wanted one for each, none negative "
            "and not all zero"
        )
    return weight
