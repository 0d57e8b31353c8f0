"""transpose: the axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import result_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    perm = attrs["perm"]
    assert isinstance(perm, tuple)
    if sorted(perm) != list(range(len(inputs[0].shape))):
        raise errors.FormatError(f"transpose: {perm} does not order the axes of {inputs[0].shape}")
    return tuple(inputs[0].shape[axis] for axis in perm)


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    return inputs[0].format


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    perm = site.integers("perm")
    return Interval(intervals[0].low.transpose(perm), intervals[0].high.transpose(perm))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    perm = site.integers("perm")
    return arrays[0].transpose(*perm, len(perm))


OPERATION = Operation(
    name="transpose",
    family="movement",
    equation="y[i_perm(0), i_perm(1), ...] = x[i_0, i_1, ...]",
    arity=(1, 1),
    attributes={"perm": tuple},
    shape=_shape,
    format=_format,
    range=_range,
    peak=result_peak,
    kernel=_kernel,
)
