"""Steps on the inputs that a network does not do itself: written into its name, then refused.

A network that was trained on inputs changed outside of it would meet other numbers in firmware. The
mark is part of the name because names are what every way of saving a network keeps.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np

from samebits import errors

from .passes import Samples

__all__ = ["mark", "outside", "refuse_outside", "warn_of_standardised"]

MARK = "__outside__"
TELLING = 1e-4  # so close to 0 and 1 are means and deviations only behind a standardisation
_log = logging.getLogger("samebits")


def warn_of_standardised(samples: Samples) -> None:
    """A warning if every column has mean 0 and deviation 1, and nobody said what was done to it.

    Constant columns do not count.
    """
    x = samples.inputs.reshape(len(samples), -1).astype(np.float64)
    means, deviations = x.mean(axis=0), x.std(axis=0)
    varied = deviations > 0
    off = np.maximum(np.abs(means), np.abs(deviations - 1))[varied]
    if varied.sum() > 1 and off.max() < TELLING and not samples.outside:
        _log.warning(
            "samples: all %d columns have mean 0 and standard deviation 1: they seem to have been "
            "standardised before. Firmware gets the raw numbers: train on these and put "
            'Standardise into the network, or say Samples(..., outside=("standardisation",))',
            varied.sum(),
        )


def mark(model: Any, steps: tuple[str, ...]) -> None:
    """Names the steps that the network's inputs go through outside of it; none takes them out."""
    name = str(model.name).split(MARK)[0]
    words = [re.sub(r"[^A-Za-z0-9]+", "_", step).strip("_") for step in steps]
    model._name = MARK.join([name, *words])


def outside(model: Any) -> tuple[str, ...]:
    """The steps that were marked.

    >>> import types
    >>> network = types.SimpleNamespace(name="net", _name="net")
    >>> mark(network, ("whitening",))
    >>> outside(types.SimpleNamespace(name=network._name))
    ('whitening',)
    """
    return tuple(word.replace("_", " ") for word in str(model.name).split(MARK)[1:])


def refuse_outside(model: Any) -> Any:
    """The model; raises UnsupportedError if steps on its inputs stand outside of it."""
    steps = outside(model)
    if not steps:
        return model
    raise errors.UnsupportedError(
        f"network {str(model.name).split(MARK)[0]!r} was trained on inputs that went through "
        f"{', '.join(steps)} outside of it; firmware would get other numbers. Put the step "
        "into the network (Standardise, train_network(whiten=True)), or train on the inputs "
        "that the firmware gets"
    )
