"""argmax: the position of the first largest element along the first axis."""

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
    return Format.spanning(0, inputs[0].shape[0] - 1, 0)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    zeros = np.zeros(site.output.shape, dtype=object)
    return Interval(zeros, zeros + (site.inputs[0].shape[0] - 1))


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    return max(result_peak(site, intervals), site.inputs[0].shape[0])


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return np.asarray(arrays[0].argmax(axis=0)).astype(arrays[0].dtype)


OPERATION = Operation(
    name="argmax",
    family="arithmetic",
    equation="y = the smallest i with x[i, ...] = max over j of x[j, ...]",
    arity=(1, 1),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
