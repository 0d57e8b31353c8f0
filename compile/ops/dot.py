"""dot: the exact sum of products over the first axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from samebits import errors

from ..ir import Carrier, Format, Interval, Tensor
from .arith import broadcast_shape
from .base import Array, Attrs, Operation, Site
from .mul import product_format, product_interval

__all__ = ["OPERATION", "Axes"]


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes behind the first: of both tensors, of the left one alone, of the right one alone."""

    both: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]

    @classmethod
    def of(cls, left: tuple[int, ...], right: tuple[int, ...]) -> Axes:
        """How two tensors of these shapes, first axis included, broadcast.

        >>> Axes.of((9, 100, 1), (9, 1, 16))
        Axes(both=(), left=(1,), right=(2,))
        """
        rank = range(1, len(left))
        return cls(
            both=tuple(axis for axis in rank if left[axis] == right[axis] != 1),
            left=tuple(axis for axis in rank if right[axis] == 1),
            right=tuple(axis for axis in rank if left[axis] == 1 != right[axis]),
        )


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    shape = broadcast_shape(inputs, "dot")
    left, right = inputs
    if not shape or left.shape[0] != right.shape[0]:
        raise errors.FormatError(f"dot: shapes {left.shape} and {right.shape} do not fit")
    return shape[1:]


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    product = product_format(inputs[0].format, inputs[1].format)
    growth = max(0, inputs[0].shape[0] - 1).bit_length()
    return Format(product.signed, product.width + growth, product.integer + growth)


def _constant(interval: Interval) -> bool:
    return interval.low is interval.high


def _bounds(intervals: Sequence[Interval]) -> tuple[Interval, int]:
    """Bounds of the sum, and of all its partial sums in any order."""
    left, right = intervals
    if _constant(left):
        left, right = right, left
    if not _constant(right):
        products = product_interval(left, right)
        sums = np.maximum(abs(products.low), abs(products.high)).sum(axis=0)
        total = Interval(products.low.sum(axis=0), products.high.sum(axis=0))
        return total, int(np.max(sums, initial=0))
    weight = right.low
    largest = left.magnitude * right.magnitude * len(weight)
    exact = Carrier.FLOAT64.holds(2 * largest)

    def numbers(values: Array) -> Array:
        return values.astype(np.float64 if exact else object)

    low, high = numbers(left.low)[..., None], numbers(left.high)[..., None]
    up, down = numbers(np.maximum(weight, 0)), numbers(np.minimum(weight, 0))

    def product(x: Array, w: Array) -> Array:
        return _matrix_product(x, w)[..., 0]

    smallest = product(low, up) + product(high, down)
    biggest = product(high, up) + product(low, down)
    magnitudes = product(np.maximum(abs(low), abs(high)), up - down)

    def integers(values: Array) -> Array:
        return values.astype(np.int64).astype(object) if exact else np.asarray(values)

    return Interval(integers(smallest), integers(biggest)), int(np.max(magnitudes, initial=0))


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    return _bounds(intervals)[0]


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    # Whatever the order in which a BLAS adds, no partial sum exceeds the sum of magnitudes.
    return max(_bounds(intervals)[1], intervals[0].magnitude, intervals[1].magnitude)


@dataclass(frozen=True, slots=True)
class _Product:
    """How x (K, ..., N) and a weight (K, ...) become matrices, and their product a tensor.

    Axes of the weight alone become rows, axes of x alone and the events columns; there is one
    product for every position on the axes of both.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    batch: tuple[int, ...]
    rows: int
    columns: int
    shape: tuple[int, ...]
    order: tuple[int, ...]


@lru_cache(maxsize=1024)
def _product(x: tuple[int, ...], weight: tuple[int, ...]) -> _Product:
    """For shapes without the events."""
    axes, events = Axes.of(x, weight), len(x)
    places = (*axes.both, *axes.right, *axes.left, events)
    rows = tuple(weight[axis] for axis in axes.right)
    batch = tuple(x[axis] for axis in axes.both)
    return _Product(
        (*axes.both, *axes.right, 0, *axes.left),
        (*axes.both, *axes.right, 0, *axes.left, events),
        batch,
        math.prod(rows),
        math.prod(x[axis] for axis in axes.left),
        (*batch, *rows, *(x[axis] for axis in axes.left)),
        tuple(places.index(axis) for axis in sorted(places)),
    )


def _matrix_product(x: Array, weight: Array, out: Array | None = None) -> Array:
    """The sum of x (K, ..., N) times weight (K, ...)."""
    how, count = _product(x.shape[:-1], weight.shape), len(weight)
    left = weight.transpose(how.left).reshape(*how.batch, how.rows, count)
    right = x.transpose(how.right).reshape(*how.batch, count, how.columns * x.shape[-1])
    if out is not None and how.order == tuple(range(len(how.order))):
        np.matmul(left, right, out=out.reshape(*how.batch, how.rows, -1))
        return out
    product = (left @ right).reshape(*how.shape, x.shape[-1])
    return np.asarray(product.transpose(how.order))


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    return _into(site, arrays, None)


def _into(site: Site, arrays: Sequence[Array], out: Array | None) -> Array:
    left, right = arrays
    if left.shape[-1] == 1:
        left, right = right, left
    if right.shape[-1] == 1 and _product(left.shape[:-1], right.shape[:-1]).rows > 1:
        return _matrix_product(left, right[..., 0], out)
    total = np.asarray(np.multiply(left[0], right[0], out=out))
    term = np.empty_like(total)
    for a, b in zip(left[1:], right[1:], strict=True):
        np.multiply(a, b, out=term)
        total += term
    return total


OPERATION = Operation(
    name="dot",
    family="arithmetic",
    equation="y = sum over k of a[k, ...] * b[k, ...], shapes broadcast",
    arity=(2, 2),
    attributes={},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
    into=_into,
)
