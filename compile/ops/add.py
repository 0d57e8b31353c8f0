"""add: the exact sum of two tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape, result_peak, to_common
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION", "sum_format"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return broadcast_shape(inputs, "add")


def sum_format(a: Format, b: Format) -> Format:
    """The type of `a + b` and `a - b`: one integer bit more than the wider one.

    Source: ap_fixed_base.h, struct `RType`, `plus_w`, `plus_i`.
    """
    signed = a.signed or b.signed
    integer = max(a.integer + (b.signed and not a.signed), b.integer + (a.signed and not b.signed))
    return Format(signed, max(0, integer + 1 + max(a.fraction, b.fraction)), integer + 1)


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return sum_format(inputs[0].format, inputs[1].format)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low = to_common(site, [interval.low for interval in intervals], site.output.format)
    high = to_common(site, [interval.high for interval in intervals], site.output.format)
    return Interval(low[0] + low[1], high[0] + high[1])


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return 2 * result_peak(site, intervals)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    left, right = to_common(site, arrays, site.output.format)
    return left + right


def _into(site: Site, arrays: Sequence[Array], out: Array) -> Array:
    left, right = to_common(site, arrays, site.output.format)
    return np.add(left, right, out=out)


OPERATION = Operation(
    name="add",
    family="arithmetic",
    equation="y = a + b, shapes broadcast",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
    into=_into,
)
