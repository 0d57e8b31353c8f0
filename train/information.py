"""AIC and BIC: how good a small model is, less what its parameters would gain by chance.

They hold for parameters at the maximum of the likelihood, and for many more events than parameters.
Early stopping, penalties and quantized weights are not that: read them beside cross-validation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

__all__ = ["Information", "information"]

TINY = 1e-7  # the smallest probability, as in Keras's losses


@dataclass(frozen=True)
class Information:
    """A model's likelihood on the events that it was fitted on; lower criteria are better.

    AIC = 2 k - 2 ln L, AICc = AIC + 2 k (k + 1) / (n - k - 1), BIC = k ln n - 2 ln L, with k
    parameters and n events.

    Source: K. Burnham, D. Anderson, Sociol. Methods Res. 33 (2004) 261, equations 1, 2, 5.
    """

    likelihood: str
    log_likelihood: float
    parameters: int
    events: int

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return 2 * self.parameters - 2 * self.log_likelihood

    @property
    def aicc(self) -> float:
        """Akaike's criterion, corrected for few events; infinite where n < k + 2."""
        k, n = self.parameters, self.events
        return self.aic + 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else math.inf

    @property
    def bic(self) -> float:
        """Schwarz's criterion."""
        return self.parameters * math.log(self.events) - 2 * self.log_likelihood


def information(
    answers: npt.NDArray[Any], targets: npt.NDArray[Any], loss: str, parameters: int
) -> Information:
    """The criteria of a model from its answers (N, K) to the events that it was fitted on.

    `parameters` are the trainable ones (`model.count_params()` of a network without
    normalisations). Likelihoods: cross entropies, the probability of the class of each event;
    mean squared error, a normal distribution around the answer, whose variance per output is fitted
    too and counts as a parameter.

    >>> found = information(np.zeros(4), np.array([1.0, -1.0, 1.0, -1.0]), "mean_squared_error", 1)
    >>> round(found.log_likelihood, 3), found.parameters  # -2 (ln(2 pi) + 1)
    (-5.676, 2)

    Raises:
        UsageError: kl_divergence, whose targets are no events of one class.
        DataError: answers equal to the targets, whose likelihood is infinite.
    """
    count = len(targets)
    if loss == "categorical_crossentropy":
        chosen = answers[np.arange(count), targets].astype(np.float64)
        value = float(np.log(np.clip(chosen, TINY, 1)).sum())
        return Information("probability of each event's class", value, parameters, count)
    wanted = np.asarray(targets, np.float64).reshape(count, -1)
    found = np.asarray(answers, np.float64).reshape(wanted.shape)
    if loss == "binary_crossentropy":
        chosen = np.clip(np.where(wanted > 0.5, found, 1 - found), TINY, 1)
        value = float(np.log(chosen).sum())
        return Information("probability of each event's class", value, parameters, count)
    if loss != "mean_squared_error":
        raise errors.UsageError(
            f"AIC and BIC: {loss} has no likelihood of events; give class numbers and a cross "
            "entropy"
        )
    variances = np.mean((found - wanted) ** 2, axis=0)
    if not variances.all():
        raise errors.DataError("AIC and BIC: the answers are the targets; no variance is left")
    value = float(-count / 2 * np.sum(np.log(2 * np.pi * variances) + 1))
    name = "normal distribution around the answer"
    return Information(name, value, parameters + len(variances), count)
