"""min: the minimum of two tensors, element by element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape, common_format, result_peak, to_common
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return broadcast_shape(inputs, "min")


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return common_format([tensor.format for tensor in inputs])


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low = to_common(site, [interval.low for interval in intervals], site.output.format)
    high = to_common(site, [interval.high for interval in intervals], site.output.format)
    return Interval(np.minimum(low[0], low[1]), np.minimum(high[0], high[1]))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    left, right = to_common(site, arrays, site.output.format)
    return np.asarray(np.minimum(left, right))


OPERATION = Operation(
    name="min",
    family="arithmetic",
    equation="y = min(a, b), shapes broadcast",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=result_peak,
    kernel=_kernel,
)
