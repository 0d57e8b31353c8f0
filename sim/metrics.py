"""Classification metrics of a model; differences between models: `model_comparison`.

Everything returned is a frozen dataclass of plain numbers, strings and tuples, so that
`dataclasses.asdict` and JSON take it as it is. Efficiencies, purities and accuracies are fractions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

from .intervals import Fraction, fraction, weights_of
from .metric_checks import checked_labels, checked_names, checked_scores, sklearn_metrics
from .model_comparison import (
    AccuracyGate,
    Difference,
    ModelComparison,
    ModelValues,
    compare_models,
)

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
    """Events (or their weights) per bin of one class's score: of that class, and of all others."""

    edges: tuple[float, ...]
    signal: tuple[int | float, ...]
    background: tuple[int | float, ...]


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
    Of the decisions for the largest score: `efficiency` (recall, 1 - FNR), `purity` (precision) and
    `false_positive_rate` (of the other classes' events, those put into this one), with 68 %
    intervals in `efficiency_68`, `purity_68` and `false_positive_68`; these are None in records of
    earlier versions.
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
    false_positive_rate: float | None = None
    efficiency_68: Fraction | None = None
    purity_68: Fraction | None = None
    false_positive_68: Fraction | None = None

    @property
    def false_negative_rate(self) -> float:
        """Events of the class that were put into another one."""
        return 1 - self.efficiency


@dataclass(frozen=True)
class ClassificationMetrics:
    """All metrics of one model; rows of the confusion matrix are true classes, columns predicted.

    `tied_events` counts the events whose largest score is shared by several classes; the class with
    the lowest index wins. `log_loss` is in nats, of the scores divided by their sum, None where
    they cannot be probabilities (`log_loss_note` says why). With `weighted` events the confusion
    matrix holds sums of weights, and all fractions are weighted.
    """

    events: int
    class_names: tuple[str, ...]
    accuracy: float
    tied_events: int
    confusion: tuple[tuple[int | float, ...], ...]
    confusion_by_row: tuple[tuple[float, ...], ...]
    classes: tuple[ClassMetrics, ...]
    accuracy_68: Fraction | None = None
    log_loss: float | None = None
    log_loss_note: str = ""
    weighted: bool = False


def classification_metrics(
    scores: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    background_efficiencies: Sequence[float] = BACKGROUND_EFFICIENCIES,
    where: str = "scores",
    weights: ArrayLike | None = None,
) -> ClassificationMetrics:
    """Metrics of scores (N, C) against labels (N,) of class indices.

    Thresholds are scanned on the scores as they are, so quantised scores show their granularity and
    ties. `where` names the scores in error messages. `weights` (N,) are not negative; intervals are
    then of the effective number of events.

    >>> m = classification_metrics([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], [0, 0, 1], ["bkg", "sig"])
    >>> round(m.accuracy, 3), m.classes[1].auc, m.confusion
    (0.667, 1.0, ((1, 1), (0, 1)))

    Raises: DataError for wrong shapes, NaN or infinity, labels outside the classes, absent classes
    or weights; MissingToolError without scikit-learn.
    """
    sklearn = sklearn_metrics()
    names = checked_names(class_names)
    s = checked_scores(scores, len(names), where)
    y = checked_labels(labels, len(s), names)
    for asked in background_efficiencies:
        if not 0 < asked <= 1:
            raise errors.DataError(
                f"background efficiency {asked!r} makes no sense; give fractions above 0 and up "
                "to 1, for example 0.01"
            )
    w = None if weights is None else weights_of(weights, len(y))
    if w is not None:
        empty = [name for c, name in enumerate(names) if not w[y == c].sum() > 0]
        if empty:
            raise errors.DataError(f"weights: all events of {', '.join(empty)} have weight 0")
    predicted = s.argmax(axis=1)
    confusion = sklearn.confusion_matrix(y, predicted, labels=np.arange(len(names)))
    if w is not None:  # scikit-learn's would be of whole numbers where the weights are
        confusion = np.zeros((len(names), len(names)))
        np.add.at(confusion, (y, predicted), w)
    per_true = confusion.sum(axis=1)
    per_predicted = confusion.sum(axis=0)
    is_unit = bool(s.min() >= 0 and s.max() <= 1)
    score_range = (0.0, 1.0) if is_unit else (float(s.min()), float(s.max()))
    classes = []
    for c, name in enumerate(names):
        is_signal, is_put, score = y == c, predicted == c, s[:, c]
        background, signal, thresholds = sklearn.roc_curve(
            is_signal, score, drop_intermediate=False, sample_weight=w
        )
        purity_68 = _part(is_signal, is_put, w) if per_predicted[c] else None
        false_positive = _part(is_put, ~is_signal, w)
        classes.append(
            ClassMetrics(
                name=name,
                events=int(is_signal.sum()),
                purity=float(confusion[c, c] / per_predicted[c]) if per_predicted[c] else None,
                efficiency=float(confusion[c, c] / per_true[c]),
                auc=float(sklearn.roc_auc_score(is_signal, score, sample_weight=w)),
                distinct_scores=len(thresholds) - 1,
                score_step=float(-np.diff(thresholds[1:]).max()) if len(thresholds) > 2 else None,
                roc=_thin(background, signal),
                histogram=_histogram(score, is_signal, score_range, w),
                working_points=tuple(
                    _working_point(asked, background, thresholds, score, is_signal, w)
                    for asked in background_efficiencies
                ),
                false_positive_rate=false_positive.value,
                efficiency_68=_part(is_put, is_signal, w),
                purity_68=purity_68,
                false_positive_68=false_positive,
            )
        )
    largest = s.max(axis=1, keepdims=True)
    right = fraction(predicted == y, w)
    log_loss, note = _log_loss(sklearn, s, y, w)
    return ClassificationMetrics(
        events=len(y),
        class_names=names,
        accuracy=float(np.average(predicted == y, weights=w)),
        tied_events=int(np.count_nonzero((s == largest).sum(axis=1) > 1)),
        confusion=tuple(tuple(row.tolist()) for row in confusion),
        confusion_by_row=tuple(
            tuple(float(n / total) for n in row)
            for row, total in zip(confusion, per_true, strict=True)
        ),
        classes=tuple(classes),
        accuracy_68=right,
        log_loss=log_loss,
        log_loss_note=note,
        weighted=w is not None,
    )


def _part(
    passed: NDArray[np.bool_], among: NDArray[np.bool_], weights: NDArray[np.float64] | None
) -> Fraction:
    return fraction(passed[among], None if weights is None else weights[among])


def _log_loss(
    sklearn: Any,
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
) -> tuple[float | None, str]:
    """Mean negative logarithm of the probability of the true class, in nats.

    A score of 0 counts as the smallest float64 step, as in scikit-learn.
    """
    total = scores.sum(axis=1, keepdims=True)
    if scores.min() < 0 or not (total > 0).all():
        return None, "the scores are no probabilities: some are below 0, or all of an event are 0"
    shares = scores / total
    columns = list(range(shares.shape[1]))
    return float(sklearn.log_loss(labels, shares, labels=columns, sample_weight=weights)), ""


def _working_point(
    asked: float,
    background: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    score: NDArray[np.float64],
    is_signal: NDArray[np.bool_],
    weights: NDArray[np.float64] | None,
) -> WorkingPoint:
    """The cut for one asked background efficiency on the full curve (index 0 selects nothing)."""
    n_background = int((~is_signal).sum())
    # Both sides are correctly rounded quotients, so that 3 of 30 does not exceed an asked 0.1.
    cut = int(np.searchsorted(background, asked, side="right")) - 1
    following = float(background[cut + 1]) if cut + 1 < len(background) else None
    if cut == 0:
        top = int((score[~is_signal] == thresholds[1]).sum())
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
    threshold = float(thresholds[cut])
    passes, at_cut = score >= threshold, score == threshold
    kept = _part(passes, is_signal, weights)
    effective = n_background if weights is None else _part(passes, ~is_signal, weights).events
    note = ""
    if asked * effective < 10:
        note = f"only {n_background} background events: fewer than 10 are expected to pass"
    return WorkingPoint(
        asked_background_efficiency=asked,
        reached=True,
        threshold=threshold,
        background_efficiency=float(background[cut]),
        background_passed=int(passes[~is_signal].sum()),
        signal_efficiency=kept.value,
        signal_low=kept.low,
        signal_high=kept.high,
        signal_at_cut=int(at_cut[is_signal].sum()),
        background_at_cut=int(at_cut[~is_signal].sum()),
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
    score: NDArray[np.float64],
    is_signal: NDArray[np.bool_],
    score_range: tuple[float, float],
    weights: NDArray[np.float64] | None,
) -> ScoreHistogram:
    edges = np.histogram_bin_edges(score, bins=_HISTOGRAM_BINS, range=score_range)

    def counts(chosen: NDArray[np.bool_]) -> tuple[int | float, ...]:
        part = None if weights is None else weights[chosen]
        return tuple(np.histogram(score[chosen], bins=edges, weights=part)[0].tolist())

    return ScoreHistogram(
        edges=tuple(edges.tolist()), signal=counts(is_signal), background=counts(~is_signal)
    )
