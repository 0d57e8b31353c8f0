"""concat: tensors one behind the other along the first axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import common_format, result_peak, to_common
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]

_MANY = 1 << 20


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    rest = {tensor.shape[1:] for tensor in inputs}
    if len(rest) != 1 or not all(tensor.shape for tensor in inputs):
        shapes = " and ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs)
        raise errors.FormatError(f"concat: shapes do not fit behind the first axis: {shapes}")
    return (sum(tensor.shape[0] for tensor in inputs), *rest.pop())


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return common_format([tensor.format for tensor in inputs])


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    low = to_common(site, [interval.low for interval in intervals], site.output.format)
    high = to_common(site, [interval.high for interval in intervals], site.output.format)
    return Interval(np.concatenate(low), np.concatenate(high))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    events = max(array.shape[-1] for array in arrays)
    return np.concatenate(
        [
            np.broadcast_to(array, (*array.shape[:-1], events))
            for array in to_common(site, arrays, site.output.format)
        ]
    )


OPERATION = Operation(
    name="concat",
    family="movement",
    equation="y = x0, x1, ... one behind the other along the first axis",
    arity=(1, _MANY),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=result_peak,
    kernel=_kernel,
)
