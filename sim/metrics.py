"""Classification metrics of a model, and the differences between models with bootstrap intervals.

Everything returned is a frozen dataclass of plain numbers, strings and tuples, so that
`dataclasses.asdict` and JSON take it as it is. Efficiencies, purities and accuracies are fractions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .bootstrap import RankedScores, replicate_weights
from .intervals import clopper_pearson

__all__ = [
    "AccuracyGate",
    "ClassMetrics",
    "ClassificationMetrics",
    "Difference",
    "ModelComparison",
    "ModelValues",
    "RocCurve",
    "ScoreHistogram",
    "WorkingPoint",
    "classification_metrics",
    "compare_models",
]

BACKGROUND_EFFICIENCIES = (1e-1, 1e-2, 1e-3)
_HISTOGRAM_BINS = 40
_ROC_POINTS = 120  # per direction: log-spaced in background and evenly spaced in signal efficiency


@dataclass(frozen=True)
class RocCurve:
    """Points of the full curve, thinned for plotting; from (0, 0) to (1, 1)."""

    background_efficiency: tuple[float, ...]
    signal_efficiency: tuple[float, ...]


@dataclass(frozen=True)
class ScoreHistogram:
    """Events per bin of one class's score, for the events of that class and for all others."""

    edges: tuple[float, ...]
    signal: tuple[int, ...]
    background: tuple[int, ...]


@dataclass(frozen=True)
class WorkingPoint:
    """The loosest cut `score >= threshold` that does not exceed the asked background efficiency.

    `signal_low` and `signal_high` bound the signal efficiency at 68 % (Clopper-Pearson).
    `signal_at_cut` and `background_at_cut` count the events whose score equals the threshold.
    `next_background_efficiency` is what the next looser cut would let through: the granularity of
    the choice. When even the tightest cut lets too much through, `reached` is False, the values at
    the cut are None and the next cut is the tightest one.
    """

    asked_background_efficiency: float
    reached: bool
    threshold: float | None
    background_efficiency: float | None
    background_passed: int
    signal_efficiency: float | None
    signal_low: float | None
    signal_high: float | None
    signal_at_cut: int
    background_at_cut: int
    next_background_efficiency: float | None
    note: str


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest. Purity is None when no event was put into the class.

    `score_step` is the smallest distance between two scores that occur (None: only one occurs).
    """

    name: str
    events: int
    purity: float | None
    efficiency: float
    auc: float
    distinct_scores: int
    score_step: float | None
    roc: RocCurve
    histogram: ScoreHistogram
    working_points: tuple[WorkingPoint, ...]


@dataclass(frozen=True)
class ClassificationMetrics:
    """All metrics of one model; rows of the confusion matrix are true classes, columns predicted.

    `tied_events` counts the events whose largest score is shared by several classes; the class with
    the lowest index wins.
    """

    events: int
    class_names: tuple[str, ...]
    accuracy: float
    tied_events: int
    confusion: tuple[tuple[int, ...], ...]
    confusion_by_row: tuple[tuple[float, ...], ...]
    classes: tuple[ClassMetrics, ...]


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


def classification_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    background_efficiencies: Sequence[float] = BACKGROUND_EFFICIENCIES,
    where: str = "scores",
) -> ClassificationMetrics:
    """Metrics of scores (N, C) against labels (N,) of class indices.

    Thresholds are scanned on the scores as they are, so quantised scores show their granularity and
    ties. `where` names the scores in error messages.

    >>> m = classification_metrics([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 0, 1], ["bkg", "sig"])
    >>> round(m.accuracy, 3), m.classes[1].auc, m.confusion
    (0.667, 1.0, ((1, 1), (0, 1)))

    Raises: DataError for wrong shapes, NaN or infinity, labels outside the classes, absent classes;
    MissingToolError without scikit-learn.
    """
    sklearn_metrics = _sklearn_metrics()
    names = _class_names(class_names)
    s = _scores(scores, len(names), where)
    y = _labels(labels, len(s), names)
    for asked in background_efficiencies:
        if not 0 < asked <= 1:
            raise errors.DataError(
                f"background efficiency {asked!r} makes no sense; give fractions above 0 and up "
                "to 1, for example 0.01"
            )
    predicted = s.argmax(axis=1)
    confusion = sklearn_metrics.confusion_matrix(y, predicted, labels=np.arange(len(names)))
    per_true = confusion.sum(axis=1)
    per_predicted = confusion.sum(axis=0)
    is_unit = bool(s.min() >= 0 and s.max() <= 1)
    score_range = (0.0, 1.0) if is_unit else (float(s.min()), float(s.max()))
    classes = []
    for c, name in enumerate(names):
        purity = float(confusion[c, c] / per_predicted[c]) if per_predicted[c] else None
        is_signal, score = y == c, s[:, c]
        background, signal, thresholds = sklearn_metrics.roc_curve(
            is_signal, score, drop_intermediate=False
        )
        classes.append(
            ClassMetrics(
                name=name,
                events=int(per_true[c]),
                purity=purity,
                efficiency=float(confusion[c, c] / per_true[c]),
                auc=float(sklearn_metrics.roc_auc_score(is_signal, score)),
                distinct_scores=len(thresholds) - 1,
                score_step=float(-np.diff(thresholds[1:]).max()) if len(thresholds) > 2 else None,
                roc=_thin(background, signal),
                histogram=_histogram(score, is_signal, score_range),
                working_points=tuple(
                    _working_point(asked, background, signal, thresholds, is_signal)
                    for asked in background_efficiencies
                ),
            )
        )
    largest = s.max(axis=1, keepdims=True)
    return ClassificationMetrics(
        events=len(y),
        class_names=names,
        accuracy=float(np.mean(predicted == y)),
        tied_events=int(np.count_nonzero((s == largest).sum(axis=1) > 1)),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        confusion_by_row=tuple(
            tuple(float(n / total) for n in row)
            for row, total in zip(confusion, per_true, strict=True)
        ),
        classes=tuple(classes),
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
    names = _class_names(class_names)
    if reference not in scores:
        raise errors.DataError(
            f"reference model {reference!r} has no scores; there are scores of: {', '.join(scores)}"
        )
    if n_bootstrap < 1:
        raise errors.DataError(f"n_bootstrap is {n_bootstrap}; give at least 1, 1000 is usual")
    arrays = {m: _scores(s, len(names), f"scores of {m!r}") for m, s in scores.items()}
    for model, s in arrays.items():
        if len(s) != len(arrays[reference]):
            raise errors.DataError(
                f"scores of {model!r} have {len(s)} events, those of {reference!r} "
                f"{len(arrays[reference])}; a paired comparison needs the same events in one order"
            )
    y = _labels(labels, len(arrays[reference]), names)

    correct = {m: s.argmax(axis=1) == y for m, s in arrays.items()}
    ranked = {
        m: [RankedScores(s[:, c], y == c) for c in range(len(names))] for m, s in arrays.items()
    }
    values = {m: _evaluate(correct[m], ranked[m], np.ones((len(y), 1)))[:, 0] for m in arrays}
    batches: dict[str, list[NDArray[np.float64]]] = {m: [] for m in arrays}
    for weights in replicate_weights(y, n_bootstrap, seed):
        for m in arrays:
            batches[m].append(_evaluate(correct[m], ranked[m], weights))
    replicates = {m: np.concatenate(parts, axis=1) for m, parts in batches.items()}

    differences = []
    for m in arrays:
        if m == reference:
            continue
        value = values[m] - values[reference]
        low_95, low_68, high_68, high_95 = np.quantile(
            replicates[m] - replicates[reference], [0.025, 0.16, 0.84, 0.975], axis=1
        )
        for k, class_name in enumerate((None, *names)):
            differences.append(
                Difference(
                    model=m,
                    quantity="accuracy" if class_name is None else "auc",
                    class_name=class_name,
                    value=float(value[k]),
                    low_68=float(low_68[k]),
                    high_68=float(high_68[k]),
                    low_95=float(low_95[k]),
                    high_95=float(high_95[k]),
                )
            )
    gate = None
    if gated in arrays and gated != reference:
        lost = int(correct[reference].sum()) - int(correct[gated].sum())
        gate = AccuracyGate(
            model=gated,
            reference=reference,
            drop_points=100 * lost / len(y),
            limit_points=limit_points,
            passed=100 * lost <= limit_points * len(y),
        )
    return ModelComparison(
        reference=reference,
        class_names=names,
        events=len(y),
        n_bootstrap=n_bootstrap,
        seed=seed,
        models=tuple(
            ModelValues(m, float(v[0]), tuple(float(a) for a in v[1:])) for m, v in values.items()
        ),
        differences=tuple(differences),
        gate=gate,
    )


def _evaluate(
    correct: NDArray[np.bool_], ranked: list[RankedScores], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Accuracy and AUC of every class, (1 + C, B), under weights (N, B)."""
    accuracy = weights[correct].sum(axis=0) / weights.sum(axis=0)
    return np.stack([accuracy, *(r.auc(weights) for r in ranked)])


def _working_point(
    asked: float,
    background: NDArray[np.float64],
    signal: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    is_signal: NDArray[np.bool_],
) -> WorkingPoint:
    """The cut for one asked background efficiency on the full curve (index 0 selects nothing)."""
    n_signal = int(is_signal.sum())
    n_background = len(is_signal) - n_signal
    # Both sides are correctly rounded quotients, so that 3 of 30 does not exceed an asked 0.1.
    cut = int(np.searchsorted(background, asked, side="right")) - 1
    following = float(background[cut + 1]) if cut + 1 < len(background) else None
    if cut == 0:
        top = round(float(background[1]) * n_background)
        return WorkingPoint(
            asked_background_efficiency=asked,
            reached=False,
            threshold=None,
            background_efficiency=None,
            background_passed=0,
            signal_efficiency=None,
            signal_low=None,
            signal_high=None,
            signal_at_cut=0,
            background_at_cut=0,
            next_background_efficiency=following,
            note=f"cannot be reached: {top} of {n_background} background events share the highest "
            f"score {float(thresholds[1]):g}",
        )
    passed = round(float(background[cut]) * n_background)
    kept = round(float(signal[cut]) * n_signal)
    low, high = clopper_pearson(kept, n_signal)
    note = ""
    if asked * n_background < 10:
        note = f"only {n_background} background events: fewer than 10 are expected to pass"
    return WorkingPoint(
        asked_background_efficiency=asked,
        reached=True,
        threshold=float(thresholds[cut]),
        background_efficiency=float(background[cut]),
        background_passed=passed,
        signal_efficiency=float(signal[cut]),
        signal_low=low,
        signal_high=high,
        signal_at_cut=kept - round(float(signal[cut - 1]) * n_signal),
        background_at_cut=passed - round(float(background[cut - 1]) * n_background),
        next_background_efficiency=following,
        note=note,
    )


def _thin(background: NDArray[np.float64], signal: NDArray[np.float64]) -> RocCurve:
    """Points of the curve that draw it well on a linear and on a logarithmic background axis."""
    first = background[background > 0][0]
    by_background = np.searchsorted(background, np.geomspace(first, 1, _ROC_POINTS), side="left")
    by_signal = np.searchsorted(signal, np.linspace(0, 1, _ROC_POINTS), side="left")
    last = len(background) - 1
    # The corner before each background step is kept too: a log axis starts there.
    chosen = np.concatenate([[0], by_background, by_background - 1, by_signal, [last]])
    keep = np.unique(np.clip(chosen, 0, last))
    return RocCurve(
        background_efficiency=tuple(background[keep].tolist()),
        signal_efficiency=tuple(signal[keep].tolist()),
    )


def _histogram(
    score: NDArray[np.float64], is_signal: NDArray[np.bool_], score_range: tuple[float, float]
) -> ScoreHistogram:
    edges = np.histogram_bin_edges(score, bins=_HISTOGRAM_BINS, range=score_range)
    return ScoreHistogram(
        edges=tuple(edges.tolist()),
        signal=tuple(np.histogram(score[is_signal], bins=edges)[0].tolist()),
        background=tuple(np.histogram(score[~is_signal], bins=edges)[0].tolist()),
    )


def _class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(str(n) for n in class_names)
    if len(names) < 2 or len(set(names)) < len(names):
        raise errors.DataError(f"class names {list(names)}: give at least two, all different")
    return names


def _scores(scores: ArrayLike, n_classes: int, where: str) -> NDArray[np.float64]:
    """Scores as float64 (N, C), all finite."""
    try:
        s = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise errors.DataError(f"{where} are not an array of real numbers: {error}") from error
    if s.ndim != 2 or s.shape[1] != n_classes or len(s) == 0:
        hint = ""
        if s.size and n_classes == 2 and (s.ndim == 1 or (s.ndim == 2 and s.shape[1] == 1)):
            hint = "; for one sigmoid output p pass the two columns 1 - p and p"
        raise errors.DataError(
            f"{where} have shape {s.shape}; wanted (events, {n_classes}), one column per class"
            f"{hint}"
        )
    bad = ~np.isfinite(s)
    if bad.any():
        event, column = (int(i) for i in np.argwhere(bad)[0])
        raise errors.DataError(
            f"{where} hold {int(bad.sum())} values that are NaN or infinite, the first at event "
            f"{event}, class {column}; every score must be finite"
        )
    return s


def _labels(labels: ArrayLike, n_events: int, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels as int64 (N,), every class present."""
    y = np.asarray(labels)
    if y.dtype.kind not in "iub":
        raise errors.DataError(
            f"labels have type {y.dtype}; wanted integers, the index of each event's class"
        )
    if y.shape != (n_events,):
        raise errors.DataError(
            f"labels have shape {y.shape}; wanted ({n_events},), one class index per event"
        )
    y = y.astype(np.int64)
    outside = (y < 0) | (y >= len(names))
    if outside.any():
        event = int(np.flatnonzero(outside)[0])
        raise errors.DataError(
            f"{int(outside.sum())} labels lie outside 0 to {len(names) - 1}, the first is "
            f"{y[event]} at event {event}; the classes are {', '.join(names)}"
        )
    absent = [name for c, name in enumerate(names) if not (y == c).any()]
    if absent:
        raise errors.DataError(
            f"no event of class {', '.join(absent)} among {n_events} events; ROC and efficiency "
            "are undefined there: use more events, or leave the class out"
        )
    return y


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics  # type: ignore[import-untyped]
    except ImportError as error:
        raise errors.MissingToolError(
            'metrics need scikit-learn, which is not installed: pip install "samebits[hep]"'
        ) from error
    return metrics
