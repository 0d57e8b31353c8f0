"""Steps on the inputs that a network does not do itself: written into its name, then refused.

A network that was trained on inputs changed outside of it would meet other numbers in firmware. The
mark is part of the name because names are what every way of saving a network keeps.
"""

from __future__ import annotations

import re
from typing import Any

from samebits import errors

__all__ = ["mark", "outside", "refuse_outside"]

MARK = "__outside__"


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
