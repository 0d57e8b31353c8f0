"""`Interval`: for every element of a tensor, the smallest and largest mantissa it can take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format import Format

__all__ = ["IntArray", "Interval", "as_python_ints"]

IntArray = NDArray[np.object_]  # Python integers: no width to overflow


def as_python_ints(values: Any) -> IntArray:
    """An object array of Python integers with the values of an integer array."""
    return np.asarray(values).astype(object)


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Element-wise closed bounds `low <= mantissa <= high`, both of the tensor's shape."""

    low: IntArray
    high: IntArray

    def __post_init__(self) -> None:
        # NumPy makes bare Python integers of object arrays of rank 0
        for field in ("low", "high"):
            object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=object))

    @classmethod
    def of_format(cls, fmt: Format, shape: tuple[int, ...]) -> Interval:
        """Everything the format can hold."""
        return cls(_full(shape, fmt.min_mantissa), _full(shape, fmt.max_mantissa))

    @classmethod
    def of_constant(cls, mantissas: Any) -> Interval:
        """The points of a constant."""
        exact = as_python_ints(mantissas)
        return cls(exact, exact)

    def map(self, function: Callable[[IntArray], Any]) -> Interval:
        """Both bounds through a non-decreasing function of arrays."""
        return Interval(function(self.low), function(self.high))

    @property
    def minimum(self) -> int:
        """The smallest mantissa of any element (0 for an empty tensor)."""
        return int(self.low.min()) if self.low.size else 0

    @property
    def maximum(self) -> int:
        """The largest mantissa of any element (0 for an empty tensor)."""
        return int(self.high.max()) if self.high.size else 0

    @property
    def magnitude(self) -> int:
        """The largest absolute mantissa of any element."""
        return max(abs(self.minimum), abs(self.maximum))

    def within(self, low: int, high: int) -> bool:
        """True if no element can leave low .. high."""
        return self.low.size == 0 or (low <= self.minimum and self.maximum <= high)


def _full(shape: tuple[int, ...], value: int) -> IntArray:
    out = np.empty(shape, dtype=object)
    out[...] = value
    return out
