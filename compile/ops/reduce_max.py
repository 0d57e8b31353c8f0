"""reduce_max: the largest element along the first axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir import Format, Interval, Tensor
from .arith import result_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return inputs[0].shape[1:]


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return inputs[0].format.lossless


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low, high = intervals[0].low.max(axis=0), intervals[0].high.max(axis=0)
    return Interval(np.asarray(low, dtype=object), np.asarray(high, dtype=object))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return np.asarray(np.maximum.reduce(arrays[0], axis=0))


OPERATION = Operation(
    name="reduce_max",
    family="arithmetic",
    equation="y = max over i of x[i, ...]",
    arity=(1, 1),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=result_peak,
    kernel=_kernel,
)
