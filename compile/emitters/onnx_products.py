"""Sums of products as matrix products, in any carrier."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..ops import Array
from ..ops.arith import as_carrier
from ..ops.dot import Axes

if TYPE_CHECKING:
    from .onnx_operations import Emit

__all__ = ["constant_dot", "matrix_products"]


def _permute(e: Emit, x: str, shape: Sequence[int], perm: Sequence[int]) -> str:
    """x of shape (N, *shape) with its axes in another order; of which those of size 1 may lag."""
    full = (0, *shape)  # N is never 1
    moving = [axis for axis in perm if full[axis] != 1]
    return x if moving == sorted(moving) else e.write.node("Transpose", x, perm=list(perm))


def constant_dot(e: Emit, position: int, weight: Array) -> str:
    """The input at `position`, as matrices with k as their last axis, times constant matrices."""
    x, name = e.site.inputs[position], e.input(position)
    axes = Axes.of(x.shape, weight.shape)
    both = [x.shape[axis] for axis in axes.both]
    rows = [x.shape[axis] for axis in axes.left]
    columns = [weight.shape[axis] for axis in axes.right]
    count, places = len(weight), [*axes.both, *axes.left, *axes.right]
    matrices = as_carrier(weight, e.carrier).transpose(*axes.both, 0, *axes.left, *axes.right)
    if prod(both) == 1:
        matrix = e.write.constant(matrices.reshape(count, prod(columns)))
        behind = (prod(rows),) if prod(rows) > 1 else ()
        name = _permute(e, name, x.shape, [0, *(axis + 1 for axis in places), 1])
        name = e.write.reshape(name, x.shape, (*behind, count))
        product = e.write.node("MatMul", name, matrix)
        return _in_order(e, product, (*behind, prod(columns)), (*both, *rows, *columns), places)
    # every matrix once, for all events
    matrix = e.write.constant(matrices.reshape(prod(both), count, prod(columns)))
    outer, inner = [axis + 1 for axis in axes.both], [axis + 1 for axis in places[len(both) :]]
    name = e.write.node("Transpose", name, perm=[*outer, 0, *inner, 1])
    name = e.write.node("Reshape", name, e.write.axes((prod(both), -1, count)))
    product = e.write.node("MatMul", name, matrix)
    product = e.write.node("Reshape", product, e.write.axes((*both, -1, *rows, *columns)))
    order = [int(axis) for axis in np.argsort([*outer, 0, *inner])]
    return e.write.node("Transpose", product, perm=order)


def matrix_products(e: Emit) -> str:
    """One matrix product for each event and each position on the axes that both have."""
    left, right = e.site.inputs
    axes = Axes.of(left.shape, right.shape)
    both = [left.shape[axis] for axis in axes.both]
    rows = [left.shape[axis] for axis in axes.left]
    columns = [right.shape[axis] for axis in axes.right]
    count, places = left.shape[0], [*axes.both, *axes.left, *axes.right]
    outer, inner = [axis + 1 for axis in axes.both], [axis + 1 for axis in places[len(both) :]]
    a = _permute(e, e.input(0), left.shape, [0, *outer, *inner, 1])
    a = e.write.reshape(a, left.shape, (prod(both), prod(rows), count))
    b = _permute(e, e.input(1), right.shape, [0, *outer, 1, *inner])
    b = e.write.reshape(b, right.shape, (prod(both), count, prod(columns)))
    product, shape = e.write.node("MatMul", a, b), (prod(both), prod(rows), prod(columns))
    return _in_order(e, product, shape, (*both, *rows, *columns), places)


def _in_order(
    e: Emit, x: str, stored: Sequence[int], shape: Sequence[int], places: Sequence[int]
) -> str:
    """x of shape (N, *stored), whose axes behind N are really `shape` and belong at `places`."""
    x = e.write.reshape(x, stored, shape)
    moved = _permute(e, x, shape, [0, *(int(axis) + 1 for axis in np.argsort(places))])
    return e.write.reshape(moved, shape, e.site.output.shape) if moved == x else moved
