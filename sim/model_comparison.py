"""Accuracy and AUC of several models on the same events, with paired bootstrap intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .bootstrap import EXACT_FLOAT32, RankedScores, replicate_weights
from .intervals import weights_of
from .metric_checks import checked_labels, checked_names, checked_scores

__all__ = ["AccuracyGate", "Difference", "ModelComparison", "ModelValues", "compare_models"]


@dataclass(frozen=True)
class ModelValues:
    """Accuracy and one-vs-rest AUC per class of one model, on all events."""

    model: str
    accuracy: float
    auc: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """`model` minus the reference, with percentile intervals; no `class_name` for the accuracy."""

    model: str
    quantity: str
    class_name: str | None
    value: float
    low_68: float
    high_68: float
    low_95: float
    high_95: float

    def __str__(self) -> str:
        """The value with its 95 % interval; accuracies in percentage points."""
        scale, digits, unit = (1, 4, "") if self.class_name else (100, 2, " points")
        value, low, high = (
            f"{scale * x:+.{digits}f}" for x in (self.value, self.low_95, self.high_95)
        )
        return f"{value}{unit}, 95 % interval {low} to {high}"


@dataclass(frozen=True)
class AccuracyGate:
    """Whether `model` loses at most `limit_points` percentage points of accuracy."""

    model: str
    reference: str
    drop_points: float
    limit_points: float
    passed: bool


@dataclass(frozen=True)
class ModelComparison:
    """Values of every model, differences to the reference, and the accuracy gate if any."""

    reference: str
    class_names: tuple[str, ...]
    events: int
    n_bootstrap: int
    seed: int
    models: tuple[ModelValues, ...]
    differences: tuple[Difference, ...]
    gate: AccuracyGate | None

    def difference(self, model: str, class_name: str | None = None) -> Difference:
        """That of a model's accuracy, or of its AUC for a class.

        Raises: DataError for what was not compared.
        """
        for one in self.differences:
            if (one.model, one.class_name) == (model, class_name):
                return one
        compared = dict.fromkeys(one.model for one in self.differences)
        raise errors.DataError(
            f"no difference of {model!r}{f', class {class_name!r}' if class_name else ''}; models "
            f"compared with {self.reference!r}: {', '.join(compared)}; classes: "
            f"{', '.join(self.class_names)}"
        )


def compare_models(
    scores: Mapping[str, ArrayLike],
    labels: ArrayLike,
    class_names: Sequence[str],
    reference: str = "float",
    n_bootstrap: int = 1000,
    seed: int = 0,
    gated: str = "firmware",
    limit_points: float = 0.5,
    weights: ArrayLike | None = None,
) -> ModelComparison:
    """Differences of accuracy and AUCs to the reference model, with paired 68 % and 95 % intervals.

    `scores` holds (N, C) per model, all for the same events. The gate asks that the model named
    `gated` loses at most `limit_points` percentage points of accuracy; a gain never fails it.

    >>> s = np.eye(2)[[0, 1, 1, 0]]
    >>> c = compare_models({"float": s, "firmware": s}, [0, 1, 1, 1], ["b", "s"], n_bootstrap=50)
    >>> c.differences[0].value, c.differences[0].low_95, c.gate.passed
    (0.0, 0.0, True)

    Raises: DataError as `classification_metrics`, and for an unknown reference or no replicates.
    """
    names = checked_names(class_names)
    if n_bootstrap < 1:
        raise errors.DataError(f"n_bootstrap is {n_bootstrap}; give at least 1, 1000 is usual")
    arrays = _checked(scores, names, reference)
    y = checked_labels(labels, len(arrays[reference]), names)
    correct = {m: s.argmax(axis=1) == y for m, s in arrays.items()}
    ranked = {
        m: [RankedScores(s[:, c], y == c) for c in range(len(names))] for m, s in arrays.items()
    }
    w = None if weights is None else weights_of(weights, len(y))[:, None]
    values = {
        m: _evaluate(correct[m], ranked[m], np.ones((len(y), 1)) if w is None else w)[:, 0]
        for m in arrays
    }
    batches: dict[str, list[NDArray[np.float64]]] = {m: [] for m in arrays}
    for drawn in replicate_weights(y, n_bootstrap, seed):
        replicate: NDArray[np.floating] = drawn
        if w is not None:
            replicate = drawn * w
        elif len(y) < EXACT_FLOAT32:
            replicate = drawn.astype(np.float32)
        for m in arrays:
            batches[m].append(_evaluate(correct[m], ranked[m], replicate))
    replicates = {m: np.concatenate(parts, axis=1) for m, parts in batches.items()}
    gate = None
    if gated in arrays and gated != reference:
        change = correct[reference].astype(int) - correct[gated].astype(int)
        gate = _gate(gated, reference, change, w, limit_points)
    return ModelComparison(
        reference=reference,
        class_names=names,
        events=len(y),
        n_bootstrap=n_bootstrap,
        seed=seed,
        models=tuple(
            ModelValues(m, float(v[0]), tuple(float(a) for a in v[1:])) for m, v in values.items()
        ),
        differences=tuple(
            difference
            for m in arrays
            if m != reference
            for difference in _differences(
                m, values[m] - values[reference], replicates[m] - replicates[reference], names
            )
        ),
        gate=gate,
    )


def _checked(
    scores: Mapping[str, ArrayLike], names: tuple[str, ...], reference: str
) -> dict[str, NDArray[np.float64]]:
    """Scores (N, C) of every model.

    Raises: DataError for wrong shapes, different numbers of events, and an unknown reference.
    """
    if reference not in scores:
        raise errors.DataError(
            f"reference model {reference!r} has no scores; there are scores of: {', '.join(scores)}"
        )
    arrays = {m: checked_scores(s, len(names), f"scores of {m!r}") for m, s in scores.items()}
    for model, s in arrays.items():
        if len(s) != len(arrays[reference]):
            raise errors.DataError(
                f"scores of {model!r} have {len(s)} events, those of {reference!r} "
                f"{len(arrays[reference])}; a paired comparison needs the same events in one order"
            )
    return arrays


def _differences(
    model: str,
    values: NDArray[np.float64],
    replicates: NDArray[np.float64],
    names: tuple[str, ...],
) -> Iterator[Difference]:
    """Of the accuracy and of every AUC; `values` (1 + C,) and `replicates` (1 + C, B)."""
    ends = np.quantile(replicates, [0.025, 0.16, 0.84, 0.975], axis=1)
    for k, class_name in enumerate((None, *names)):
        low_95, low_68, high_68, high_95 = map(float, ends[:, k])
        yield Difference(
            model=model,
            quantity="accuracy" if class_name is None else "auc",
            class_name=class_name,
            value=float(values[k]),
            low_68=low_68,
            high_68=high_68,
            low_95=low_95,
            high_95=high_95,
        )


def _gate(
    model: str,
    reference: str,
    change: NDArray[np.int_],
    weights: NDArray[np.float64] | None,
    limit_points: float,
) -> AccuracyGate:
    """`change` (N,) is 1 where only the reference is right, -1 where only the model is."""
    lost, total = float(change.sum()), float(len(change))
    if weights is not None:
        lost, total = float((weights[:, 0] * change).sum()), float(weights.sum())
    return AccuracyGate(
        model=model,
        reference=reference,
        drop_points=100 * lost / total,
        limit_points=limit_points,
        passed=100 * lost <= limit_points * total,
    )


def _evaluate(
    correct: NDArray[np.bool_], ranked: list[RankedScores], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Accuracy and AUC of every class, (1 + C, B), under weights (N, B)."""
    right = np.asarray(correct.astype(weights.dtype) @ weights, dtype=np.float64)
    accuracy = right / weights.sum(axis=0, dtype=np.float64)
    return np.stack([accuracy, *(r.auc(weights) for r in ranked)])
