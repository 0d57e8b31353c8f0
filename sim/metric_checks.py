"""What metrics are made from, checked: class names, scores, labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samebits import errors

__all__ = ["checked_labels", "checked_names", "checked_scores", "sklearn_metrics"]


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Two names or more, all different.

    Raises:
        DataError: fewer, or equal ones.
    """
    names = tuple(str(n) for n in class_names)
    if len(names) == 1:
        raise errors.DataError(
            f"all events are of one class, {names[0]!r}; two or more are needed to tell them apart"
        )
    if len(names) < 2 or len(set(names)) < len(names):
        raise errors.DataError(f"class names {list(names)}: give at least two, all different")
    return names


def checked_scores(scores: ArrayLike, n_classes: int, where: str) -> NDArray[np.float64]:
    """Scores as float64 (N, C), all finite.

    Raises:
        DataError: other shapes, no real numbers, NaN or infinity.
    """
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


def checked_labels(labels: ArrayLike, n_events: int, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels as int64 (N,), every class present.

    Raises:
        DataError: other shapes or types, an index beyond the classes, a class without events.
    """
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


def sklearn_metrics() -> Any:
    """The module sklearn.metrics.

    Raises:
        MissingToolError: scikit-learn is not installed.
    """
    try:
        from sklearn import metrics  # type: ignore[import-untyped]
    except ImportError as error:
        raise errors.MissingToolError(
            'metrics need scikit-learn, which is not installed: pip install "samebits[hep]"'
        ) from error
    return metrics
