"""gather: elements or slices along the first axis, picked by constant positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import result_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    x, index = inputs
    if not x.shape or not index.shape or index.format.fraction != 0:
        raise errors.FormatError(
            f"gather: {index.name} {index.shape} ({index.format}) cannot number the slices of "
            f"{x.name} {x.shape}"
        )
    return index.shape + x.shape[1:]


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return inputs[0].format


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    x, index = intervals
    if index.low is not index.high:
        raise errors.FormatError(
            f"gather {site.output.name}: index {site.inputs[1].name} is not a constant"
        )
    if not index.within(0, len(x.low) - 1):
        raise errors.FormatError(
            f"gather {site.output.name}: index {site.inputs[1].name} holds {index.minimum} .. "
            f"{index.maximum}, {site.inputs[0].name} has slices 0 .. {len(x.low) - 1}"
        )
    places = index.low.astype(np.intp)
    return Interval(x.low[places], x.high[places])


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return max(
        result_peak(Site(site.inputs[:1], {}, site.output), intervals[:1]), intervals[1].magnitude
    )


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    x, index = arrays[0], arrays[1][..., 0].astype(np.intp)
    first, count = int(index.flat[0]) if index.size else 0, index.size
    if np.array_equal(index.reshape(-1), np.arange(first, first + count)):
        return x[first : first + count].reshape(*index.shape, *x.shape[1:])
    return np.asarray(x.take(index, axis=0))


OPERATION = Operation(
    name="gather",
    family="movement",
    equation="y[i..., r...] = x[index[i...], r...]; the index is a constant",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
