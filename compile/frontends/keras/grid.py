"""Fixed-point grids: which numbers a quantizer gives, and constants that stand on them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_CONSTANT_BITS = 24  # a constant that needs more is a float, not a fixed-point number


@dataclass(frozen=True)
class Grid:
    """Fixed-point numbers k * 2^exponent with k in `bits` bits (two's complement if signed)."""

    bits: int
    exponent: int
    signed: bool
    narrow: bool = False

    @property
    def lsb(self) -> float:
        """Distance between neighbours."""
        return float(2.0**self.exponent)


def smallest_grid(values: ArrayLike) -> Grid | None:
    """The narrowest grid that holds all values exactly; None if it needs over 24 bits."""
    array = np.asarray(values, np.float64).ravel()
    if not np.all(np.isfinite(array)):
        return None
    if not np.any(array):
        return Grid(bits=2, exponent=0, signed=True)
    numerators_exponents = (float(v).as_integer_ratio() for v in array if v)
    exponent = min(_trailing_zeros(n) - (d.bit_length() - 1) for n, d in numerators_exponents)
    scaled = array / 2.0**exponent
    signed = bool(scaled.min() < 0)
    top = int(max(scaled.max(), -scaled.min() - 1))
    bits = max(2, max(top, 0).bit_length() + signed)
    return Grid(bits, exponent, signed) if bits <= MAX_CONSTANT_BITS else None


def _trailing_zeros(value: int) -> int:
    return (value & -value).bit_length() - 1


@dataclass(frozen=True)
class Weight:
    """A constant as its layer uses it.

    Args:
        value: the numbers.
        grid: what they stand on; None: floats.
        scale: where the step is no single power of two, the steps; it broadcasts with `value`, and
            of `grid` only the width and the sign count.
        deviation: how far a number is from Keras's at most: its straight-through form
            x + (q - x) may miss q by the last place of float32.
    """

    value: NDArray[np.float32]
    grid: Grid | None = None
    scale: NDArray[np.float32] | None = None
    deviation: float = 0.0

    def map(self, move: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> "Weight":
        """The same numbers, moved."""
        if self.scale is None:
            return replace(self, value=move(self.value))
        scale = move(np.broadcast_to(self.scale, self.value.shape))
        for axis in range(scale.ndim):  # back to size 1 where all are equal
            first = scale.take([0], axis=axis)
            if np.array_equal(np.broadcast_to(first, scale.shape), scale):
                scale = first
        return replace(self, value=move(self.value), scale=scale)
