"""max: the maximum of two tensors, element by element."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .arith import broadcast_shape, common_format, result_peak, to_common
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION", "extremum"]


def extremum(name: str, function: np.ufunc) -> Operation:
    """The operation that takes the larger or the smaller of two elements."""

    def shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
        return broadcast_shape(inputs, name)

    def fmt(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
        return common_format([tensor.format for tensor in inputs])

    def bounds(site: Site, intervals: Sequence[Interval]) -> Interval:
        low = to_common(site, [interval.low for interval in intervals], site.output.format)
        high = to_common(site, [interval.high for interval in intervals], site.output.format)
        return Interval(function(low[0], low[1]), function(high[0], high[1]))

    def kernel(site: Site, arrays: Sequence[Array]) -> Array:
        left, right = to_common(site, arrays, site.output.format)
        return np.asarray(function(left, right))

    def into(site: Site, arrays: Sequence[Array], out: Array) -> Array:
        left, right = to_common(site, arrays, site.output.format)
        return np.asarray(function(left, right, out=out))

    return Operation(
        name=name,
        family="arithmetic",
        equation=f"y = {name}(a, b), shapes broadcast",
        arity=(2, 2),
        attributes={},
        shape=shape,
        format=fmt,
        range=bounds,
        peak=result_peak,
        kernel=kernel,
        into=into,
    )


OPERATION = extremum("max", np.maximum)
