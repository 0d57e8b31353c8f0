"""Losses: which targets each takes, its Keras function, and what a network scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .passes import Samples

__all__ = ["KERAS_LOSSES", "check_targets", "column", "score", "score_name", "score_text"]

KERAS_LOSSES = {
    "mean_squared_error": "mean_squared_error",
    "binary_crossentropy": "binary_crossentropy",
    "categorical_crossentropy": "sparse_categorical_crossentropy",
    "kl_divergence": "kl_divergence",
}
SUM_ERROR = 1e-3  # of a distribution: softmax in float32 and sums of many classes stay far below


def score(answers: npt.NDArray[Any], targets: npt.NDArray[Any], loss: str) -> float:
    """The share of right decisions; for regression the root mean squared error.

    Of distributions the largest entry is the right decision.

    >>> score(np.array([[0.2], [0.9]]), np.array([0, 1]), "binary_crossentropy")
    1.0
    """
    if loss == "kl_divergence":
        targets = targets.argmax(axis=1)
    if loss in ("categorical_crossentropy", "kl_divergence"):
        return float(np.mean(answers.argmax(axis=1) == targets))
    answers = np.asarray(answers, np.float64).reshape(targets.shape)
    if loss == "binary_crossentropy":
        return float(np.mean((answers > 0.5) == (targets > 0.5)))
    return float(np.sqrt(np.mean((answers - targets) ** 2)))


def score_name(loss: str) -> str:
    """What `score` is of a network with this loss."""
    return "root mean squared error" if loss == "mean_squared_error" else "accuracy"


def score_text(value: float, loss: str) -> str:
    """A score as it is printed: accuracies in percent."""
    return f"{value:.4f}" if loss == "mean_squared_error" else f"{100 * value:.1f} %"


def column(targets: npt.NDArray[Any], loss: str) -> npt.NDArray[Any]:
    """Targets as Keras takes them: class numbers (N,), else float32 with (N,) as (N, 1)."""
    if loss == "categorical_crossentropy":
        return targets
    values = targets.astype(np.float32)
    return values[:, None] if values.ndim == 1 else values


def check_targets(model: Any, samples: Samples, loss: str) -> None:
    """Raises DataError unless inputs and targets fit the network."""
    wanted, got = tuple(model.input_shape[1:]), samples.inputs.shape[1:]
    where = f"training of {model.name!r}"
    if wanted != got:
        raise errors.DataError(f"{where}: the network takes events of shape {wanted}, got {got}")
    count, targets = int(model.output_shape[-1]), samples.targets
    if loss == "categorical_crossentropy":
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise errors.DataError(
                f"{where}: got targets of type {targets.dtype} and shape {targets.shape}; wanted "
                "class numbers (events,)"
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= count:
            raise errors.DataError(
                f"{where}: got class numbers {low} to {high} for {count} outputs; wanted 0 to "
                f"{count - 1}"
            )
        if samples.classes and count > len(samples.classes):
            raise errors.DataError(
                f"{where}: the network has {count} outputs, the events have "
                f"{len(samples.classes)} classes ({', '.join(samples.classes)}); give the last "
                f"layer {len(samples.classes)} units, or name the other classes in class_names"
            )
        return
    if targets.size != len(targets) * count:
        raise errors.DataError(
            f"{where}: got targets of shape {targets.shape} for {count} outputs; wanted one "
            "number for each output"
        )
    if loss == "binary_crossentropy" and not np.isin(targets, (0, 1)).all():
        raise errors.DataError(f"{where}: got targets other than 0 and 1")
    if loss == "kl_divergence":
        sums = np.asarray(targets, np.float64).reshape(len(targets), -1).sum(axis=1)
        off = np.abs(sums - 1) > SUM_ERROR
        if off.any() or targets.min() < 0:
            raise errors.DataError(
                f"{where}: kl_divergence needs a distribution for every event, without negative "
                f"numbers; got a smallest number of {targets.min():g} and sums from "
                f"{sums.min():g} to {sums.max():g}, wanted 1"
            )
