"""Functions that Keras does not have."""

from __future__ import annotations

from typing import Any

from .tensorflow import load

__all__ = ["FUNCTIONS", "square_root"]


def square_root(x: Any) -> Any:
    """The root of what is above 0, else 0; its derivative at 0 is taken as 0, not as infinite."""
    tf = load().tf
    positive = x > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, x, tf.ones_like(x))), tf.zeros_like(x))


FUNCTIONS = {"square_root": square_root}  # by the names in files of networks
