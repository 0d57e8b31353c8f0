"""lookup: an entry of a table for every element of an index tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    if not inputs[1].shape:
        raise errors.FormatError(f"lookup: table {inputs[1].name} has no entries")
    return inputs[0].shape + inputs[1].shape[1:]


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
    low = np.empty(site.output.shape, dtype=object)
    high = np.empty(site.output.shape, dtype=object)
    known: dict[tuple[int, int], tuple[Any, Any]] = {}  # few spans are common to many elements
    for position in np.ndindex(index.low.shape):
        span = int(index.low[position]), int(index.high[position]) + 1
        if span not in known:
            part = slice(*span)
            known[span] = table.low[part].min(axis=0), table.high[part].max(axis=0)
        low[position], high[position] = known[span]
    return Interval(low, high)


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return max(intervals[0].magnitude, intervals[1].magnitude)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return _into(site, arrays, None)


def _into(site: Site, arrays: Sequence[Array], out: Array | None) -> Array:
    index, table = arrays[0].astype(np.intp), arrays[1]
    if table.ndim == 2 and table.shape[-1] == 1:
        # the range analysis has checked the index: "clip" only saves NumPy a copy
        return np.asarray(table[:, 0].take(index, out=out, mode="clip"))
    if table.shape[-1] == 1:
        found = table[..., 0].take(index, axis=0)
    else:
        found = np.moveaxis(table, -1, 1)[index, np.arange(table.shape[-1])]
    return np.asarray(np.moveaxis(found, index.ndim - 1, -1))


OPERATION = Operation(
    name="lookup",
    family="table",
    equation="y[i..., e...] = table[x[i...], e...], x the mantissas of the first input",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
    into=_into,
)
