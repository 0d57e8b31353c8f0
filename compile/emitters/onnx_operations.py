"""Every operation of the fixed-point graph as ONNX operators: the table of `firmware.onnx`.

A tensor of shape (...) is an ONNX tensor (N, ...); what does not depend on the event has N = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np
from onnx import TensorProto

from ..ir import Carrier, Format, Rounding
from ..ops import Array, Site
from ..ops.accumulate import TREE, tree_split
from ..ops.arith import as_carrier, common_format
from ..ops.dot import Axes
from .onnx_arith import (
    emit_larger,
    emit_overflow,
    emit_rescale,
    emit_scale_up,
    emit_smaller,
    emit_towards_zero,
)
from .onnx_writer import ELEMENT_TYPES, OnnxWriter

__all__ = ["EMITTERS", "Emit"]

_PRODUCTS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Emit:
    """One node to write: its site and carrier, and what is known of its inputs.

    `constants` holds the mantissas of those that are constants of the graph, `per_event` tells
    which depend on the event, `name_of` gives an input's name in the carrier, and `events` that of
    the list (N,).
    """

    write: OnnxWriter
    site: Site
    carrier: Carrier
    constants: Sequence[Array | None]
    per_event: Sequence[bool]
    name_of: Callable[[str, Carrier], str]
    events: Callable[[], str]

    @property
    def element_type(self) -> int:
        """The ONNX type of the carrier."""
        return ELEMENT_TYPES[self.carrier]

    def input(self, position: int = 0) -> str:
        """An input's name."""
        return self.name_of(self.site.inputs[position].name, self.carrier)

    @property
    def inputs(self) -> list[str]:
        """All inputs' names."""
        return [self.input(position) for position in range(len(self.site.inputs))]

    def aligned(self, target: Format, first: int = 0) -> list[str]:
        """The inputs from position `first` on, on the grid of `target`."""
        return [
            emit_scale_up(self.write, name, target.fraction - tensor.format.fraction, self.carrier)
            for name, tensor in zip(self.inputs[first:], self.site.inputs[first:], strict=True)
        ]

    def terms(self) -> list[str]:
        """The slices of the first input along its first axis."""
        return self.write.split(self.input(), self.site.inputs[0].shape[0])


def _reshape(e: Emit) -> str:
    return e.write.reshape(e.input(), e.site.inputs[0].shape, e.site.output.shape)


def _transpose(e: Emit) -> str:
    perm = [0, *(axis + 1 for axis in e.site.integers("perm"))]
    return e.write.node("Transpose", e.input(), perm=perm)


def _gather(e: Emit) -> str:
    index = e.constants[1]
    assert index is not None  # the operation's rule
    return e.write.node("Gather", e.input(), e.write.constant(index.astype(np.int64)), axis=1)


def _concat(e: Emit) -> str:
    parts = e.aligned(e.site.output.format)
    if any(e.per_event):
        rank = len(e.site.output.shape)
        parts = [
            part if varies else e.write.expand(part, e.events(), rank)
            for part, varies in zip(parts, e.per_event, strict=True)
        ]
    return e.write.node("Concat", *parts, axis=1)


def _binary(op: str) -> Callable[[Emit], str]:
    def emit(e: Emit) -> str:
        return e.write.node(op, *e.aligned(e.site.output.format))

    return emit


def _max(e: Emit) -> str:
    a, b = e.aligned(e.site.output.format)
    return emit_larger(e.write, a, b, e.carrier)


def _min(e: Emit) -> str:
    a, b = e.aligned(e.site.output.format)
    return emit_smaller(e.write, a, b, e.carrier)


def _mul(e: Emit) -> str:
    return e.write.node("Mul", *e.inputs)


def _divide(e: Emit) -> str:
    quotient = e.write.node("Div", *e.inputs)  # of int64 it is towards zero
    return quotient if e.carrier is Carrier.INT64 else emit_towards_zero(e.write, quotient)


def _dot(e: Emit) -> str:
    """One or two nodes where it can be; every event's sum over k for all output elements.

    1. An operand that has every axis of the products, and the event's: Mul, ReduceSum.
    2. A constant: the other one as a matrix with k as its last axis, times the constant (K, right);
       with axes that both have, one such matrix for each of their positions, over all events.
    3. Otherwise one matrix product for each event and each position on the axes that both have.
    """
    shapes = [x.shape for x in e.site.inputs]
    whole = np.broadcast_shapes(*shapes)
    complete = any(
        shape == whole and varies for shape, varies in zip(shapes, e.per_event, strict=True)
    )
    if complete and e.carrier is not Carrier.INT64:
        products = e.write.node("Mul", *e.inputs)
        return e.write.node("ReduceSum", products, e.write.axes((1,)), keepdims=0)
    if e.constants[1] is not None:
        return _constant_dot(e, 0, e.constants[1])
    if e.constants[0] is not None:
        return _constant_dot(e, 1, e.constants[0])
    return _matrix_products(e)


def _permute(e: Emit, x: str, shape: Sequence[int], perm: Sequence[int]) -> str:
    """x of shape (N, *shape) with its axes in another order; of which those of size 1 may lag."""
    full = (0, *shape)  # N is never 1
    moving = [axis for axis in perm if full[axis] != 1]
    return x if moving == sorted(moving) else e.write.node("Transpose", x, perm=list(perm))


def _constant_dot(e: Emit, position: int, weight: Array) -> str:
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


def _matrix_products(e: Emit) -> str:
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


def _truncated_dot(e: Emit) -> str:
    """Product by product, so many at once that their number for one event stays small."""
    bits = e.site.integer("bits")
    source, target = Format(True, 0, -bits), Format(True, 0, 0, Rounding.TRN)
    count, *rest = np.broadcast_shapes(*(x.shape for x in e.site.inputs))
    most = max(1, _PRODUCTS_AT_ONCE // max(1, prod(rest)))
    sizes = [min(most, count - start) for start in range(0, count, most)]
    pieces = [e.write.parts(x, sizes) if len(sizes) > 1 else [x] for x in e.inputs]
    sums = []
    for size, *factors in zip(sizes, *pieces, strict=True):
        product = e.write.node("Mul", *factors)
        terms = emit_rescale(e.write, product, source, target, e.carrier)
        sums.append(_sum_of(e, terms, (size, *rest)))
    return reduce(lambda total, x: e.write.node("Add", total, x), sums)


def _sum(e: Emit) -> str:
    return _sum_of(e, e.input(), e.site.inputs[0].shape)


def _sum_of(e: Emit, terms: str, shape: Sequence[int]) -> str:
    """The sum over the first axis of `shape`."""
    if e.carrier is not Carrier.INT64:
        return e.write.node("ReduceSum", terms, e.write.axes((1,)), keepdims=0)
    ones = e.write.constant(np.ones((1, shape[0]), dtype=np.int64))
    matrix = e.write.reshape(terms, shape, (shape[0], prod(shape[1:])))
    total = e.write.node("MatMul", ones, matrix)
    return e.write.reshape(total, (1, prod(shape[1:])), shape[1:])


def _reduce_max(e: Emit) -> str:
    if e.carrier is Carrier.INT64:
        return reduce(lambda best, x: emit_larger(e.write, best, x, e.carrier), e.terms())
    return e.write.node("ReduceMax", e.input(), axes=[1], keepdims=0)


def _argmax(e: Emit) -> str:
    if e.carrier is Carrier.INT64:
        return _argmax_int64(e)
    # ArgMax is not there for every type in every runtime: the smallest position of the maximum
    count, rank = e.site.inputs[0].shape[0], len(e.site.inputs[0].shape)
    largest = e.write.node("ReduceMax", e.input(), axes=[1], keepdims=1)
    here = e.write.node("Equal", e.input(), largest)
    positions = np.arange(count, dtype=e.carrier.dtype).reshape(1, count, *(1,) * (rank - 1))
    candidates = e.write.node(
        "Where", here, e.write.constant(positions), e.write.scalar(count, e.carrier)
    )
    return e.write.node("ReduceMin", candidates, axes=[1], keepdims=0)


def _argmax_int64(e: Emit) -> str:
    best, *rest = e.terms()
    where = e.write.node("Mul", best, e.write.scalar(0, e.carrier))
    for position, x in enumerate(rest, start=1):
        better = e.write.node("Greater", x, best)
        best = e.write.node("Where", better, x, best)
        where = e.write.node("Where", better, e.write.scalar(position, e.carrier), where)
    return where


def _compare(e: Emit) -> str:
    op = {"gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"}[e.site.text("relation")]
    target = common_format([tensor.format for tensor in e.site.inputs])
    return e.write.cast(e.write.node(op, *e.aligned(target)), e.element_type)


def _select(e: Emit) -> str:
    condition = e.write.cast(e.input(), TensorProto.BOOL)
    return e.write.node("Where", condition, *e.aligned(e.site.output.format, first=1))


def _shift(e: Emit) -> str:
    return e.input()


def _lookup(e: Emit) -> str:
    index = e.write.cast(e.input(), TensorProto.INT64)
    if not e.per_event[1]:
        table = e.write.node("Squeeze", e.input(1), e.write.axes((0,)))
        return e.write.node("Gather", table, index, axis=0)
    rank = len(e.site.inputs[0].shape)
    if not e.per_event[0]:
        index = e.write.expand(index, e.events(), rank)
    index = e.write.node("Unsqueeze", index, e.write.axes((rank + 1,)))
    return e.write.node("GatherND", e.input(1), index, batch_dims=1)


def _cast(e: Emit) -> str:
    source, target = e.site.inputs[0].format, e.site.output.format
    rounded = emit_rescale(e.write, e.input(), source, target, e.carrier)
    if e.site.integer("bounded"):
        return rounded
    return emit_overflow(e.write, rounded, target, e.carrier)


def _accumulate(e: Emit) -> str:
    terms = e.terms()

    def plus(left: str, right: str) -> str:
        return emit_overflow(
            e.write, e.write.node("Add", left, right), e.site.output.format, e.carrier
        )

    if e.site.text("kind") == TREE:

        def branch(low: int, high: int) -> str:
            if high - low == 1:
                return terms[low]
            middle = low + tree_split(high - low)
            return plus(branch(low, middle), branch(middle, high))

        return branch(0, len(terms))
    chain = [terms[position] for position in e.site.integers("order")]
    total, rest = (e.input(1), chain) if len(e.site.inputs) == 2 else (chain[0], chain[1:])
    for term in rest:
        total = plus(total, term)
    return total


EMITTERS: dict[str, Callable[[Emit], str]] = {
    "accumulate": _accumulate,
    "add": _binary("Add"),
    "argmax": _argmax,
    "cast": _cast,
    "compare": _compare,
    "concat": _concat,
    "divide": _divide,
    "dot": _dot,
    "gather": _gather,
    "lookup": _lookup,
    "max": _max,
    "min": _min,
    "mul": _mul,
    "reduce_max": _reduce_max,
    "reshape": _reshape,
    "select": _select,
    "shift": _shift,
    "sub": _binary("Sub"),
    "sum": _sum,
    "transpose": _transpose,
    "truncated_dot": _truncated_dot,
}
