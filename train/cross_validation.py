"""K-fold cross-validation: every event is judged once, by a fit that has not seen it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from samebits import errors

from .bench import standardisation
from .build import build
from .config import FitOptions
from .network import Network
from .optimize import Samples, fit_samples, outputs, score
from .splits import parts, strata

__all__ = ["CrossValidation", "cross_validate", "folds", "network_score"]

STANDARDISED_BITS = 10  # of the grid on which the shifts of Standardise stand
STOPPING_SHARE = 0.2  # of a training part, held back to choose the best pass


@dataclass(frozen=True)
class CrossValidation:
    """The score of each fold; `spread` is their standard deviation.

    The spread says how much a score moves with the events. It is not the error of the mean: the
    training parts overlap, and no unbiased estimate of that error exists.

    Source: Y. Bengio, Y. Grandvalet, J. Mach. Learn. Res. 5 (2004) 1089.
    """

    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the folds."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """Standard deviation of the folds' scores."""
        return float(np.std(self.scores, ddof=1))

    def __str__(self) -> str:
        each = ", ".join(f"{value:.4g}" for value in self.scores)
        return f"{self.mean:.4g}, spread {self.spread:.2g} ({len(self.scores)} folds: {each})"


def folds(samples: Samples, count: int, seed: int = 0) -> Iterator[tuple[Samples, Samples]]:
    """`count` pairs of training part and fold, stratified by class; each event is in one fold.

    Raises:
        UsageError: fewer than two folds.
        DataError: fewer events than folds.
    """
    if count < 2:
        raise errors.UsageError(f"cross-validation: got {count} folds; wanted 2 or more")
    if len(samples) < count:
        raise errors.DataError(f"cross-validation: {len(samples)} events for {count} folds")
    pieces = parts(strata(samples), seed, (1 / count,) * count, "cross-validation")
    for number, fold in enumerate(pieces):
        rest = np.concatenate([piece for other, piece in enumerate(pieces) if other != number])
        yield samples.take(rest), samples.take(fold)


def cross_validate(
    fit: Callable[[Samples, Samples], float],
    samples: Samples,
    *,
    count: int = 5,
    seed: int = 0,
    on_fold: Callable[[int, float], None] | None = None,
) -> CrossValidation:
    """The scores of `fit`, which trains on its first argument and is judged on its second.

    `network_score` makes such a function of a network; that of a simple fit is
    `lambda train, fold: fit_baselines(train, fold, loss)[1].score`. Leave the test part out.
    """
    scores = []
    for number, (train, fold) in enumerate(folds(samples, count, seed), 1):
        scores.append(float(fit(train, fold)))
        if on_fold is not None:
            on_fold(number, scores[-1])
    return CrossValidation(tuple(scores))


def network_score(
    network: Network, options: FitOptions, **fit: Any
) -> Callable[[Samples, Samples], float]:
    """The float network's score (accuracy; regression: rms error) for `cross_validate`.

    The best pass is chosen on a fifth of the training part, so that no fold helps to choose the
    weights it judges; Standardise takes its numbers from the training part. `fit` goes to
    `fit_samples`.
    """
    alone = options.model_copy(update={"checkpoints": None, "tensorboard": None})

    def found(train: Samples, fold: Samples) -> float:
        kept, stopping = parts(
            strata(train), options.seed, (1 - STOPPING_SHARE, STOPPING_SHARE), "cross-validation"
        )
        scaling = standardisation(network, train.inputs, STANDARDISED_BITS)
        model = build(network, scaling=scaling, seed=options.seed)
        fit_samples(model, train.take(kept), train.take(stopping), alone, **fit)
        return score(outputs(model, fold.inputs), fold.targets, options.loss)

    return found
