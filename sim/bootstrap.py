"""Paired bootstrap of accuracy and AUC: all models see the same resampled events.

Resampling is stratified by class (simulated samples have chosen class fractions, and no class can
go missing): every replicate draws n_c events with replacement out of the n_c events of class c.
A replicate is a column of integer weights, one per event; accuracy and AUC are weighted counts,
exact in float64 below 2^53 pairs, so that two models with the same ranking differ by exactly zero.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 (strata) and 13
(percentile intervals).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# N x replicates held at once, 8 MB of weights.
_ELEMENTS_PER_BATCH = 1 << 20
# With fewer events float32 holds every sum of their whole weights, and twice it, exactly.
EXACT_FLOAT32 = 1 << 23


def replicate_weights(
    labels: NDArray[np.int64], n_replicates: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Weights (N, B) in batches of B replicates; a column sums to n_c over class c."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    batch = max(1, _ELEMENTS_PER_BATCH // len(labels))
    for start in range(0, n_replicates, batch):
        b = min(batch, n_replicates - start)
        weights = np.empty((len(labels), b))
        for index in members:
            n = len(index)
            # Draw number j of replicate k falls into cell (event, k) of an (n, b) table of counts.
            cells = rng.integers(0, n, size=(n, b)) * b + np.arange(b)
            weights[index] = np.bincount(cells.ravel(), minlength=n * b).reshape(n, b)
        yield weights


class RankedScores:
    """One score of one model, sorted once, whose weighted AUC is then cheap for any weights.

    AUC = P(signal score > background score) + 1/2 P(equal): the Mann-Whitney statistic.

    >>> ranked = RankedScores(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True]))
    >>> float(ranked.auc(np.ones((4, 1)))[0])
    0.875
    """

    def __init__(self, score: NDArray[np.float64], is_signal: NDArray[np.bool_]) -> None:
        order = np.argsort(score, kind="stable")
        signal = is_signal[order]
        self._signal, self._background = order[signal], order[~signal]
        below = score[self._background]
        # how many background events are below a signal event, and how many not above it
        self._lower = np.searchsorted(below, score[self._signal], side="left")
        self._upper = np.searchsorted(below, score[self._signal], side="right")

    def auc(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Weighted AUC of every replicate, (B,), for weights (N, B) in the events' own order.

        Sums up to 2 N are made in the weights' own type: see `EXACT_FLOAT32`.
        """
        signal = weights[self._signal]
        below = np.zeros((len(self._background) + 1, weights.shape[1]), weights.dtype)
        np.cumsum(weights[self._background], axis=0, out=below[1:])
        pairs = 2 * below[-1].astype(np.float64) * signal.sum(axis=0, dtype=np.float64)
        both = below[self._lower]
        both += below[self._upper]
        won: NDArray[np.float64] = np.einsum("gb,gb->b", signal, both, dtype=np.float64) / pairs
        return won
