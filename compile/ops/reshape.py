"""reshape: the same elements in C order under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import result_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    shape = attrs["shape"]
    assert isinstance(shape, tuple)
    if prod(shape) != prod(inputs[0].shape):
        raise errors.FormatError(f"reshape: {inputs[0].name} {inputs[0].shape} cannot be {shape}")
    return shape


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return inputs[0].format


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    shape = site.output.shape
    return Interval(intervals[0].low.reshape(shape), intervals[0].high.reshape(shape))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return arrays[0].reshape(*site.output.shape, arrays[0].shape[-1])


OPERATION = Operation(
    name="reshape",
    family="movement",
    equation="y = x in C order under the new shape",
    arity=(1, 1),
    attributes={"shape": tuple},
    shape=_shape,
    format=_format,
    range=_range,
    peak=result_peak,
    kernel=_kernel,
)
