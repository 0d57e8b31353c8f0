"""Turn-on curves: efficiency against an offline quantity, with a fit of the plateau."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .intervals import Fraction, clopper_pearson, numbers

__all__ = ["Plateau", "TurnOn", "turn_on"]

Array = NDArray[np.float64]
_HALF = np.array([0.0, 1.0, 0.0])  # of plateau, 50 % point and width, as the fit has them
_Z95 = 1.6448536269514722  # the standard normal distribution reaches 95 % there
_DOUBTFUL = 1e-3
_MOST_SLICES, _LEAST_SLICES = 20, 5
_SLICE_VARIANCE = 5.0  # of the events that pass: enough for a normal distribution


@dataclass(frozen=True)
class Plateau:
    """Fit of a turn-on: plateau x (1 + erf((x - x50) / (sqrt 2 width))) / 2.

    `half` and `at_95` are where 50 % and 95 % of the plateau are reached; errors are 68 %, from the
    expected information of the binomial likelihood. `chi_squared` of the events that pass in slices
    of equal expected variance, with `degrees` of freedom; None for too few events.
    """

    plateau: float
    plateau_error: float
    half: float
    half_error: float
    width: float
    width_error: float
    at_95: float
    at_95_error: float
    chi_squared: float | None = None
    degrees: int = 0

    @property
    def p_value(self) -> float | None:
        """How often events of this shape deviate from it as far; None where that is not known."""
        from scipy.special import chdtrc  # type: ignore[import-untyped]

        if self.chi_squared is None:
            return None
        return float(chdtrc(self.degrees, self.chi_squared))

    @property
    def is_doubtful(self) -> bool:
        """True if the events hardly have this shape."""
        return self.p_value is not None and self.p_value < _DOUBTFUL


@dataclass(frozen=True)
class TurnOn:
    """Efficiency in bins of an offline quantity; bins without events have none.

    Where there is no `fit`, `note` says why.
    """

    edges: tuple[float, ...]
    events: tuple[int, ...]
    passed: tuple[int, ...]
    efficiency: tuple[Fraction | None, ...]
    fit: Plateau | None
    note: str


def turn_on(offline: ArrayLike, passed: ArrayLike, edges: Sequence[float]) -> TurnOn:
    """Efficiency against an offline quantity, with a fit of plateau, 50 % and 95 % points.

    Args:
        offline: (N,) the quantity of every event, for example its offline pT in GeV.
        passed: (N,) whether the trigger takes it.
        edges: of the bins, rising; at least two.

    Raises:
        UsageError: edges that do not rise.
        DataError: NaN, infinity or wrong shapes.
    """
    quantity, chosen = numbers(offline, "offline"), np.asarray(passed, dtype=bool)
    if chosen.shape != quantity.shape:
        raise errors.DataError(
            f"turn-on: {len(quantity)} offline values, decisions of shape {chosen.shape}"
        )
    borders = np.asarray(edges, dtype=np.float64)
    if len(borders) < 2 or not (np.isfinite(borders).all() and (np.diff(borders) > 0).all()):
        raise errors.UsageError(f"turn-on: the edges must rise, got {list(edges)}")
    events = np.histogram(quantity, borders)[0]
    kept = np.histogram(quantity[chosen], borders)[0]
    found = [
        Fraction(k / n, *clopper_pearson(k, n), float(n)) if n else None
        for n, k in zip(events.tolist(), kept.tolist(), strict=True)
    ]
    # the last bin of a histogram is closed
    inside = (quantity >= borders[0]) & (quantity <= borders[-1])
    fit, note = _fit_turn_on(quantity[inside], chosen[inside])
    return TurnOn(
        tuple(borders.tolist()),
        tuple(events.tolist()),
        tuple(kept.tolist()),
        tuple(found),
        fit,
        note,
    )


def _fit_turn_on(x: Array, passed: NDArray[np.bool_]) -> tuple[Plateau | None, str]:
    """Largest binomial likelihood of the single events."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]
    from scipy.special import expit, log_ndtr, ndtr

    if len(x) < 10 or passed.all() or not passed.any():
        return None, "no fit: needs ten events in the bins, of which some pass and some do not"
    spread = max(float(np.std(x)), 1e-12)
    start = np.array([3.0, float(np.median(x[passed])) - spread / 2, np.log(spread / 3)])

    # a step has no width: the likelihood of a sharp turn-on rises down to 0
    limits = np.log(spread * 1e-6), np.log(spread * 1e6)

    def loss(p: Array) -> float:
        z = (x - p[1]) / np.exp(np.clip(p[2], *limits))
        eps = expit(p[0]) * ndtr(z)
        log_pass = -np.logaddexp(0, -p[0]) + log_ndtr(z)
        return -float(np.where(passed, log_pass, np.log1p(-np.minimum(eps, 1 - 1e-12))).sum())

    options = {"maxiter": 4000, "xatol": 1e-6 * spread, "fatol": 1e-9}
    found = [
        minimize(loss, start + shift * spread * _HALF, method="Nelder-Mead", options=options)
        for shift in (-0.5, 0.0, 0.5)
    ]
    best = min(found, key=lambda result: float(result.fun))
    plateau, half = float(expit(best.x[0])), float(best.x[1])
    width = float(np.exp(np.clip(best.x[2], *limits)))
    if not (x.min() <= half <= x.max()) or width > 10 * (x.max() - x.min()):
        return None, "no fit: the events show no turn-on inside the bins"
    errors_ = _turn_on_errors(x, plateau, half, width)
    if errors_ is None:
        return None, "no fit: the events do not determine plateau, 50 % point and width"
    at_95 = half + _Z95 * width
    chi_squared, degrees = _goodness(x, passed, plateau * ndtr((x - half) / width))
    fit = Plateau(
        *(plateau, errors_[0], half, errors_[1], width, errors_[2], at_95, errors_[3]),
        chi_squared=chi_squared,
        degrees=degrees,
    )
    return fit, ""


def _goodness(x: Array, passed: NDArray[np.bool_], expected: Array) -> tuple[float | None, int]:
    """Pearson's chi squared of the events that pass, and its degrees of freedom.

    Three parameters were fitted to single events, so that the true number lies between slices - 3
    and slices - 1 (Chernoff and Lehmann, Ann. Math. Stat. 25 (1954) 579); the smaller is taken.
    """
    order = np.argsort(x, kind="stable")
    variance = np.cumsum((expected * (1 - expected))[order])
    slices = min(_MOST_SLICES, int(variance[-1] / _SLICE_VARIANCE))
    if slices < _LEAST_SLICES:
        return None, 0
    place = np.minimum((variance / variance[-1] * slices).astype(int), slices - 1)
    parts = [
        np.bincount(place, weights=values[order], minlength=slices)
        for values in (passed - expected, expected * (1 - expected))
    ]
    return float((parts[0] ** 2 / np.maximum(parts[1], 1e-12)).sum()), slices - 3


def _turn_on_errors(x: Array, plateau: float, half: float, width: float) -> Any:
    from scipy.special import ndtr

    z = (x - half) / width
    density = np.exp(-z * z / 2) / sqrt(2 * np.pi)
    eps = np.clip(plateau * ndtr(z), 1e-12, 1 - 1e-12)
    slopes = np.stack([ndtr(z), -plateau * density / width, -plateau * density * z / width])
    information = (slopes / (eps * (1 - eps))) @ slopes.T
    if np.linalg.cond(information) > 1e14:
        return None
    covariance = np.linalg.inv(information)
    direction = np.array([0.0, 1.0, _Z95])
    squares = [*np.diag(covariance), direction @ covariance @ direction]
    return [sqrt(max(0.0, float(s))) for s in squares]
