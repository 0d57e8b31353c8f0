"""mul: the exact product of two tensors, element by element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION", "product_format", "product_interval"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return broadcast_shape(inputs, "mul")


def product_format(a: Format, b: Format) -> Format:
    """The type of `a * b`: widths and integer bits add.

    Source: ap_fixed_base.h, struct `RType`, `mult_w`, `mult_i`.
    """
    return Format(a.signed or b.signed, a.width + b.width, a.integer + b.integer)


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return product_format(inputs[0].format, inputs[1].format)


def product_interval(a: Interval, b: Interval) -> Interval:
    """Bounds of the element-wise product."""
    low, high = _extremes(b.low, a)
    if b.low is not b.high:  # no constant
        others = _extremes(b.high, a)
        low, high = np.minimum(low, others[0]), np.maximum(high, others[1])
    return Interval(low, high)


def _extremes(factor: Array, interval: Interval) -> tuple[Array, Array]:
    """Smallest and largest product of every element of an array with an interval's."""
    one = factor * interval.low
    if interval.low is interval.high:
        return one, one
    other = factor * interval.high
    return np.minimum(one, other), np.maximum(one, other)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    return product_interval(intervals[0], intervals[1])


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    product = product_interval(intervals[0], intervals[1])
    return max(product.magnitude, intervals[0].magnitude, intervals[1].magnitude)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    product: Array = arrays[0] * arrays[1]
    return product


def _into(site: Site, arrays: Sequence[Array], out: Array) -> Array:
    return np.multiply(arrays[0], arrays[1], out=out)


OPERATION = Operation(
    name="mul",
    family="arithmetic",
    equation="y = a * b, shapes broadcast",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
    into=_into,
)
