"""min: the minimum of two tensors, element by element."""

from __future__ import annotations

import numpy as np

from .max import extremum

__all__ = ["OPERATION"]

OPERATION = extremum("min", np.minimum)
