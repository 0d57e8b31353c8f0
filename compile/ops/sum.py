"""sum: the exact sum over the first axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return inputs[0].shape[1:]


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    fmt = inputs[0].format
    growth = max(0, inputs[0].shape[0] - 1).bit_length()
    return Format(fmt.signed, fmt.width + growth, fmt.integer + growth)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low, high = intervals[0].low.sum(axis=0), intervals[0].high.sum(axis=0)
    return Interval(np.asarray(low, dtype=object), np.asarray(high, dtype=object))


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    magnitudes = np.maximum(abs(intervals[0].low), abs(intervals[0].high))
    return int(np.max(magnitudes.sum(axis=0), initial=0))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return np.asarray(np.add.reduce(arrays[0], axis=0))


OPERATION = Operation(
    name="sum",
    family="arithmetic",
    equation="y = sum over i of x[i, ...]",
    arity=(1, 1),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
