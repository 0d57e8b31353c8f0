"""divide: the mantissa divided by a positive integer, towards zero, as C++ divides integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape, is_float
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    divisor = inputs[1]
    if divisor.format.fraction != 0:
        raise errors.FormatError(f"divide: {divisor.name} ({divisor.format}) is not an integer")
    return broadcast_shape(inputs, "divide")


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    # a quotient by 1 is the number itself; two's complement has no -min, but by >= 1
    return inputs[0].format.lossless


def _quotient(x: Array, by: Array) -> Array:
    if is_float(x):
        # the correctly rounded quotient of integers below the carrier's limit reaches the next
        # integer only if the exact one does
        return np.asarray(np.trunc(x / by))
    return np.asarray(np.where(x < 0, -(-x // by), x // by))


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    x, by = intervals
    if by.minimum < 1:
        raise errors.FormatError(
            f"divide {site.output.name}: {site.inputs[1].name} can be {by.minimum}, "
            "wanted 1 or more"
        )
    corners = [_quotient(a, b) for a in (x.low, x.high) for b in (by.low, by.high)]
    return Interval(np.min(corners, axis=0), np.max(corners, axis=0))


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return max(interval.magnitude for interval in intervals)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return _quotient(arrays[0], arrays[1])


OPERATION = Operation(
    name="divide",
    family="cast",
    equation="y = x / by, mantissa by integer, towards zero; shapes broadcast",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
