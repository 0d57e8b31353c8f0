"""select: one of two tensors, element by element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape, common_format, result_peak, scale_up
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return broadcast_shape(inputs, "select")


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return common_format([tensor.format for tensor in inputs[1:]])


def _aligned(site: Site, arrays: Sequence[Array]) -> list[Array]:
    fraction = site.output.format.fraction
    return [
        scale_up(array, fraction - tensor.format.fraction)
        for tensor, array in zip(site.inputs[1:], arrays[1:], strict=True)
    ]


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low = _aligned(site, [interval.low for interval in intervals])
    high = _aligned(site, [interval.high for interval in intervals])
    smallest, largest = np.minimum(low[0], low[1]), np.maximum(high[0], high[1])
    shape = site.output.shape
    return Interval(np.broadcast_to(smallest, shape), np.broadcast_to(largest, shape))


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    chosen = Site(site.inputs[1:], site.attrs, site.output)
    return max(intervals[0].magnitude, result_peak(chosen, intervals[1:]))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    left, right = _aligned(site, arrays)
    return np.where(arrays[0] != 0, left, right)


OPERATION = Operation(
    name="select",
    family="arithmetic",
    equation="y = a if condition is not 0 else b, shapes broadcast",
    arity=(3, 3),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
