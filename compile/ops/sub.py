"""sub: the exact difference of two tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .add import sum_format
from .arith import broadcast_shape, result_peak, to_common
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return broadcast_shape(inputs, "sub")


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    grown = sum_format(inputs[0].format, inputs[1].format)
    return Format(True, grown.width, grown.integer)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low = to_common(site, [interval.low for interval in intervals], site.output.format)
    high = to_common(site, [interval.high for interval in intervals], site.output.format)
    return Interval(low[0] - high[1], high[0] - low[1])


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return 2 * result_peak(site, intervals)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    left, right = to_common(site, arrays, site.output.format)
    return left - right


def _into(site: Site, arrays: Sequence[Array], out: Array) -> Array:
    left, right = to_common(site, arrays, site.output.format)
    return np.subtract(left, right, out=out)


OPERATION = Operation(
    name="sub",
    family="arithmetic",
    equation="y = a - b, shapes broadcast; always signed",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
    into=_into,
)
