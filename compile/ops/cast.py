"""cast: the only operation, with accumulate, that may lose a bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Overflow, Tensor
from .arith import cast_mantissas, overflow, overflow_peak, rescale, rescale_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION", "cast_interval", "rounded_interval"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return inputs[0].shape


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    target = attrs["format"]
    assert isinstance(target, Format)
    return target


def rounded_interval(interval: Interval, source: Format, target: Format) -> Interval:
    """Bounds after rounding, before overflow. All rounding modes are non-decreasing."""
    return interval.map(lambda bound: rescale(bound, source, target))


def cast_interval(interval: Interval, source: Format, target: Format) -> Interval:
    """Bounds after the cast."""
    rounded = rounded_interval(interval, source, target)
    low, high = target.min_mantissa, target.max_mantissa
    if target.overflow in (Overflow.SAT, Overflow.SAT_SYM) or rounded.within(low, high):
        return rounded.map(lambda bound: overflow(bound, target))
    fits = (rounded.low >= low) & (rounded.high <= high)
    return Interval(np.where(fits, rounded.low, low), np.where(fits, rounded.high, high))


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    return cast_interval(intervals[0], site.inputs[0].format, site.output.format)


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    source, target = site.inputs[0].format, site.output.format
    peak = rescale_peak(intervals[0].magnitude, source, target)
    if site.integer("bounded"):
        return peak
    rounded = rounded_interval(intervals[0], source, target)
    return max(peak, overflow_peak(rounded.magnitude, target))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return _cast(site, arrays[0])


def _into(site: Site, arrays: Sequence[Array], out: Array) -> Array:
    return _cast(site, arrays[0], out)


def _cast(site: Site, values: Array, out: Array | None = None) -> Array:
    source, target = site.inputs[0].format, site.output.format
    if site.integer("bounded"):
        return rescale(values, source, target, out)
    return cast_mantissas(values, source, target, out)


OPERATION = Operation(
    name="cast",
    family="cast",
    equation="y = overflow(round(x)) as the target format's modes say; `bounded` 1: range analysis "
    "has proved that the overflow mode never acts",
    arity=(1, 1),
    attributes={"format": Format, "bounded": int},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
    into=_into,
)
