"""dot: the exact product of a vector with a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .base import Array, Attrs, Operation, Site
from .mul import product_format, product_interval

__all__ = ["OPERATION"]


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    vector, matrix = inputs[0].shape, inputs[1].shape
    if len(vector) != 1 or len(matrix) != 2 or vector[0] != matrix[0]:
        raise errors.FormatError(f"dot: shapes {vector} and {matrix} do not fit")
    return (matrix[1],)


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    product = product_format(inputs[0].format, inputs[1].format)
    growth = max(0, inputs[0].shape[0] - 1).bit_length()
    return Format(product.signed, product.width + growth, product.integer + growth)


def _products(intervals: Sequence[Interval]) -> Interval:
    column = Interval(intervals[0].low[:, None], intervals[0].high[:, None])
    return product_interval(column, intervals[1])


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    products = _products(intervals)
    return Interval(products.low.sum(axis=0), products.high.sum(axis=0))


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    # Whatever the order in which a BLAS adds, no partial sum exceeds the sum of magnitudes.
    products = _products(intervals)
    sums = np.maximum(abs(products.low), abs(products.high)).sum(axis=0)
    return max(int(sums.max()), intervals[0].magnitude, intervals[1].magnitude)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    vector, matrix = arrays
    if len(matrix) == 1:
        result: Array = vector @ matrix[0]
    else:
        result = (vector[:, None, :] @ matrix)[:, 0]
    return result


OPERATION = Operation(
    name="dot",
    family="arithmetic",
    equation="y[m] = sum over k of x[k] * w[k, m]",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
