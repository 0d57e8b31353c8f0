"""A network that cannot learn a few events by heart has a bug in data, loss or layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .bench import standardisation
from .build import build
from .config import FitOptions
from .diagnosis import loss_without_inputs
from .layers import Activation, Dropout, Noise, Penalty
from .network import Network
from .optimize import Samples, fit_samples
from .splits import strata

__all__ = ["SubsetCheck", "overfit_subset"]

STANDARDISED_BITS = 10  # of the grid on which the shifts of Standardise stand
SHARE = 0.01  # of the loss without inputs
RANDOM = (Dropout, Noise, Penalty)  # layers that keep a network from learning by heart


@dataclass(frozen=True)
class SubsetCheck:
    """Whether the float network learned `events` by heart, and the numbers behind it."""

    passed: bool
    events: int
    epochs: int
    loss: float
    without_inputs: float

    def __str__(self) -> str:
        return (
            f"{'passed' if self.passed else 'FAILED'}: {self.events} events, lowest loss "
            f"{self.loss:.3g} in {self.epochs} epochs; wanted below {100 * SHARE:g} % of the loss "
            f"without inputs, {self.without_inputs:.3g}"
        )


def overfit_subset(
    network: Network, train: Samples, options: FitOptions, *, events: int = 32, epochs: int = 1000
) -> SubsetCheck:
    """Trains the float network on a few events, the same number of every class, without brakes.

    Penalties, dropout and noise are left out; all events are one batch, and the learning rate of
    `options` stays constant. Passed is a training loss below 1 % of the loss of the best constant
    answer.
    """
    part = train.take(_first_of_each(strata(train), min(events, len(train))))
    layers = tuple(
        Activation("linear", name=name) if isinstance(layer, RANDOM) else replace(layer, name=name)
        for name, layer in network
    )
    plain = replace(network, layers=layers, l1=0.0, l2=0.0)
    chosen = options.model_copy(
        update={
            "batch_size": len(part),
            "epochs": epochs,
            "schedule": "constant",
            "input_noise": 0.0,
            "patience": None,
            "checkpoints": None,
            "tensorboard": None,
        }
    )
    scaling = standardisation(plain, train.inputs, STANDARDISED_BITS)
    model = build(plain, scaling=scaling, seed=options.seed)
    without = loss_without_inputs(part.targets, options.loss)
    curve = fit_samples(model, part, part, chosen, until=SHARE * without)
    lowest = min(entry.loss for entry in curve.passes)
    return SubsetCheck(
        bool(lowest < SHARE * without), len(part), len(curve.passes), lowest, without
    )


def _first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` events, taken from the classes in turn."""
    places = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        places[mine] = np.arange(len(mine))
    return np.sort(np.lexsort((labels, places))[:count])
