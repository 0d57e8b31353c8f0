"""Regression metrics of models on the same events: errors, response, differences, with intervals.

Intervals are percentiles of one bootstrap that all models share (68 %, of differences 95 % too):
events are drawn with replacement. An error is prediction minus target.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .bootstrap import replicate_weights
from .intervals import numbers, weights_of
from .metric_checks import sklearn_metrics

__all__ = [
    "Estimate",
    "RegressionComparison",
    "RegressionDifference",
    "ResponseBin",
    "TargetMetrics",
    "regression_metrics",
]

Array = NDArray[np.float64]
_BINS = 12
_BIN_EVENTS = 10  # fewer make no bin of the response
_WIDTH = (0.16, 0.5, 0.84)


@dataclass(frozen=True)
class Estimate:
    """A number with its 68 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ResponseBin:
    """Events whose target lies in [low, high): the median of prediction minus target, and the
    quantiles that hold 68 % of it."""

    low: float
    high: float
    events: int
    median: float
    quantile_16: float
    quantile_84: float


@dataclass(frozen=True)
class TargetMetrics:
    """One model's prediction of one target.

    Attributes:
        rms: root mean squared error; `mae`: mean absolute error; `bias`: mean error; `r2`: 1 minus
            the mean squared error over the target's variance, None for a constant target.
        resolution: half the distance of the quantiles that hold the central 68 % of the errors.
        response: errors by bins of the target with equally many events.
    """

    rms: Estimate
    mae: Estimate
    bias: Estimate
    resolution: Estimate
    r2: Estimate | None
    response: tuple[ResponseBin, ...]


@dataclass(frozen=True)
class RegressionDifference:
    """A quantity of `model` minus that of the reference, with percentile intervals."""

    model: str
    target: str
    quantity: str
    value: float
    low_68: float
    high_68: float
    low_95: float
    high_95: float


@dataclass(frozen=True)
class RegressionComparison:
    """All models on the same events; `models` holds the metrics by model, then by target."""

    events: int
    weighted: bool
    n_bootstrap: int
    seed: int
    reference: str
    models: dict[str, dict[str, TargetMetrics]]
    differences: tuple[RegressionDifference, ...]


def regression_metrics(
    predictions: Mapping[str, ArrayLike],
    targets: Mapping[str, ArrayLike],
    weights: ArrayLike | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> RegressionComparison:
    """Metrics of every model, and the other models' differences to the first one.

    Args:
        predictions: by model (N, targets), all for the same events.
        targets: by name (N,) what should have come out, in the order of the predictions' columns.
        weights: (N,) not negative; None: all the same.

    >>> found = regression_metrics({"float": [[1.0], [2.0]]}, {"pt": [1.0, 4.0]}, n_bootstrap=20)
    >>> round(found.models["float"]["pt"].rms.value, 4), found.models["float"]["pt"].bias.value
    (1.4142, -1.0)

    Raises:
        DataError: wrong shapes, NaN or infinity, no replicates.
        MissingToolError: without scikit-learn.
    """
    sklearn = sklearn_metrics()
    if n_bootstrap < 1 or not predictions or not targets:
        raise errors.DataError("regression needs models, targets and at least one replicate")
    wanted = {name: numbers(values, f"target {name}") for name, values in targets.items()}
    count = len(next(iter(wanted.values())))
    answers = _answers(predictions, wanted)
    weight = None if weights is None else weights_of(weights, count)
    single = {
        (model, name): _Errors(numbers(answer[:, column], f"{model}, {name}") - target, target)
        for model, answer in answers.items()
        for column, (name, target) in enumerate(wanted.items())
    }
    whole = np.ones((count, 1)) if weight is None else weight[:, None]
    values = {key: one.quantities(whole) for key, one in single.items()}
    parts: dict[tuple[str, str], list[dict[str, Array]]] = {key: [] for key in single}
    for drawn in replicate_weights(np.zeros(count, dtype=np.int64), n_bootstrap, seed):
        draw = drawn if weight is None else drawn * weight[:, None]
        for key, one in single.items():
            parts[key].append(one.quantities(draw))
    replicates = {
        key: {what: np.concatenate([part[what] for part in found]) for what in found[0]}
        for key, found in parts.items()
    }
    reference = next(iter(answers))
    found: dict[str, dict[str, TargetMetrics]] = {model: {} for model in answers}
    differences: list[RegressionDifference] = []
    for column, (name, target) in enumerate(wanted.items()):
        for model, answer in answers.items():
            key = model, name
            exact = sklearn.mean_squared_error(target, answer[:, column], sample_weight=weight)
            values[key]["rms"] = np.array([math.sqrt(exact)])
            found[model][name] = _of_model(values[key], replicates[key], single[key].error, target)
        for model in answers:
            if model != reference:
                pair, base = (model, name), (reference, name)
                differences += _differences(
                    pair, values[pair], values[base], replicates[pair], replicates[base]
                )
    return RegressionComparison(
        events=count,
        weighted=weight is not None,
        n_bootstrap=n_bootstrap,
        seed=seed,
        reference=reference,
        models=found,
        differences=tuple(differences),
    )


def _answers(
    predictions: Mapping[str, ArrayLike], targets: Mapping[str, Array]
) -> dict[str, Array]:
    """By model (N, targets).

    Raises: DataError for other shapes.
    """
    count = len(next(iter(targets.values())))
    shape = (count, len(targets))
    answers = {}
    for model, given in predictions.items():
        answer = np.asarray(given, dtype=np.float64)
        if answer.shape != shape or any(len(one) != count for one in targets.values()):
            raise errors.DataError(
                f"{model}: predictions of shape {answer.shape}, wanted {shape}: one column for "
                f"each target ({', '.join(targets)})"
            )
        answers[model] = answer
    return answers


def _differences(
    key: tuple[str, str],
    values: Mapping[str, Array],
    base: Mapping[str, Array],
    replicates: Mapping[str, Array],
    base_replicates: Mapping[str, Array],
) -> Iterator[RegressionDifference]:
    """Of one model and target, to the same quantities of the reference (`base`)."""
    model, target = key
    for what in ("rms", "bias", "resolution"):
        change = replicates[what] - base_replicates[what]
        low_95, low_68, high_68, high_95 = map(
            float, np.quantile(change, [0.025, 0.16, 0.84, 0.975])
        )
        yield RegressionDifference(
            model=model,
            target=target,
            quantity=what,
            value=float(values[what][0]) - float(base[what][0]),
            low_68=low_68,
            high_68=high_68,
            low_95=low_95,
            high_95=high_95,
        )


class _Errors:
    """One model's errors for one target, sorted once, whose quantities are then cheap."""

    def __init__(self, error: Array, target: Array) -> None:
        self.error = error
        self._order = np.argsort(error, kind="stable")
        self._sorted = error[self._order]
        away = target - target.mean()
        self._moments = np.stack([np.square(error), np.abs(error), error, away, np.square(away)])
        self._varies = bool(np.ptp(target) > 0)

    def quantities(self, weights: Array) -> dict[str, Array]:
        """By quantity (B,), under weights (N, B)."""
        square, mae, bias, mean, variance = (self._moments @ weights) / weights.sum(axis=0)
        found = {"rms": np.sqrt(square), "mae": mae, "bias": bias}
        found["resolution"] = self._half_width(weights)
        if self._varies:
            variance = variance - np.square(mean)
            with np.errstate(divide="ignore", invalid="ignore"):
                found["r2"] = np.where(variance > 0, 1 - square / variance, np.nan)
        return found

    def _half_width(self, weights: Array) -> Array:
        """Half the distance of the 84 % and the 16 % quantile, (B,): of events that occur."""
        reached = np.cumsum(weights[self._order], axis=0)
        widths = []
        for column in reached.T:
            places = np.searchsorted(column, column[-1] * np.array([_WIDTH[0], _WIDTH[2]]))
            low, high = self._sorted[places]
            widths.append((high - low) / 2)
        return np.array(widths)


def _of_model(
    values: dict[str, Array], replicates: dict[str, Array], error: Array, target: Array
) -> TargetMetrics:
    def estimate(key: str) -> Estimate:
        usable = replicates[key][np.isfinite(replicates[key])]
        low, high = np.quantile(usable, [0.16, 0.84]) if len(usable) else (np.nan, np.nan)
        return Estimate(float(values[key][0]), float(low), float(high))

    r2 = estimate("r2") if "r2" in values else None
    return TargetMetrics(
        rms=estimate("rms"),
        mae=estimate("mae"),
        bias=estimate("bias"),
        resolution=estimate("resolution"),
        r2=r2 if r2 is not None and math.isfinite(r2.low) else None,
        response=_response(error, target),
    )


def _response(error: Array, target: Array) -> tuple[ResponseBin, ...]:
    """Without weights: what single events do."""
    edges = np.unique(np.quantile(target, np.linspace(0, 1, _BINS + 1)))
    if len(edges) < 2:
        edges = np.array([edges[0], edges[0]])
    place = np.clip(np.searchsorted(edges, target, side="right") - 1, 0, len(edges) - 2)
    rows = []
    for k in range(len(edges) - 1):
        inside: Sequence[float] = error[place == k].tolist()
        if len(inside) < _BIN_EVENTS:
            continue
        low, middle, high = np.quantile(inside, _WIDTH)
        rows.append(
            ResponseBin(
                low=float(edges[k]),
                high=float(edges[k + 1]),
                events=len(inside),
                median=float(middle),
                quantile_16=float(low),
                quantile_84=float(high),
            )
        )
    return tuple(rows)
