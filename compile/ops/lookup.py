"""lookup: an entry of a table for every element of an index tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    if len(inputs[1].shape) != 1:
        raise errors.FormatError(f"lookup: table {inputs[1].name} {inputs[1].shape} is not flat")
    return inputs[0].shape


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return inputs[1].format.lossless


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    index, table = intervals
    size = len(table.low)
    if not index.within(0, size - 1):
        raise errors.FormatError(
            f"lookup {site.output.name}: index {site.inputs[0].name} can reach {index.minimum} .. "
            f"{index.maximum}, the table has entries 0 .. {size - 1}"
        )
    low, high = np.empty_like(index.low), np.empty_like(index.high)
    for position in np.ndindex(low.shape):
        span = slice(index.low[position], index.high[position] + 1)
        low[position], high[position] = table.low[span].min(), table.high[span].max()
    return Interval(low, high)


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return max(intervals[0].magnitude, intervals[1].magnitude)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    index, table = arrays[0].astype(np.intp), arrays[1]
    if len(table) == 1:
        return np.asarray(table[0].take(index))
    events = np.arange(len(table)).reshape(-1, *(1,) * (index.ndim - 1))
    return np.asarray(table[events, index])


OPERATION = Operation(
    name="lookup",
    family="table",
    equation="y = table[index], index = the mantissa of the first input",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
