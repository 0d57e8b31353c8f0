"""Every operation of the fixed-point graph as ONNX operators: the table of `firmware.onnx`.

A tensor of shape (...) is an ONNX tensor (N, ...); what does not depend on the event has N = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from ..ir import Carrier, Format, Overflow, Rounding
from ..ops import Array, Site
from ..ops.accumulate import TREE, tree_split
from ..ops.arith import as_carrier, common_format
from .onnx_arith import (
    emit_larger,
    emit_overflow,
    emit_rescale,
    emit_round,
    emit_scale_up,
    emit_smaller,
    emit_towards_zero,
)
from .onnx_layout import Linear, View
from .onnx_linear import linear_dot, max_pool
from .onnx_products import constant_dot, matrix_products
from .onnx_writer import ELEMENT_TYPES, OnnxWriter

if TYPE_CHECKING:
    from .onnx_values import Values

__all__ = ["EMITTERS", "Emit"]

_PRODUCTS_AT_ONCE = 1 << 16
_LARGEST_WINDOWS = 1 << 24


@dataclass(frozen=True, slots=True)
class Emit:
    """One node to write: its site and carrier, and what is known of its inputs.

    `constants` holds the mantissas of those that are constants of the graph, `per_event` tells
    which depend on the event, `values` where all tensors stand.
    """

    write: OnnxWriter
    site: Site
    carrier: Carrier
    constants: Sequence[Array | None]
    per_event: Sequence[bool]
    values: Values

    @property
    def element_type(self) -> int:
        """The ONNX type of the carrier."""
        return ELEMENT_TYPES[self.carrier]

    def input(self, position: int = 0) -> str:
        """An input's name."""
        return self.values.get(self.site.inputs[position].name, self.carrier)

    def events(self) -> str:
        """The name of the list (N,)."""
        return self.values.events()

    def view(self, position: int = 0) -> View:
        """Where an input stands in the carrier."""
        return self.values.view(self.site.inputs[position].name, self.carrier)

    def single(self) -> View:
        """Where the input, a linear operation's result, stands in float32."""
        view = self.values.view(self.site.inputs[0].name, Carrier.FLOAT32)
        return replace(view, carrier=Carrier.FLOAT32)

    def linear(self, position: int = 0) -> Linear | None:
        """The linear operation that makes an input, if it may still change."""
        found = self.values.linear_of(self.site.inputs[position].name)
        return None if self.carrier is Carrier.INT64 else found

    def made(self, linear: Linear) -> View | None:
        """The nodes of a linear operation; None if it cannot have its bias."""
        view = linear.make(2.0**linear.power, linear.bias)
        if view is None:
            return None
        if linear.relu:
            view = view.renamed(self.write.node("Relu", view.name))
        self.values.linear[self.site.output.name] = linear
        return replace(view, carrier=Carrier.FLOAT32)

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


def _reshape(e: Emit) -> View:
    found = e.values.windows.get(e.site.inputs[0].name)
    if found is not None:
        elements = found[1].reshape(e.site.output.shape)
        e.values.windows[e.site.output.name] = found[0], elements
    linear = e.linear()
    if linear is not None:
        shape = e.site.inputs[0].shape

        def make(scale: float, bias: Array | None) -> View | None:
            return linear.make(scale, None if bias is None else bias.reshape(shape))

        bias = None if linear.bias is None else linear.bias.reshape(e.site.output.shape)
        e.values.linear[e.site.output.name] = replace(linear, make=make, bias=bias)
        return e.single()
    return e.view()


def _transpose(e: Emit) -> str | View:
    order = e.site.integers("perm")
    found = e.values.windows.get(e.site.inputs[0].name)
    if found is not None:
        e.values.windows[e.site.output.name] = found[0], found[1].transpose(order)
    view = e.view()
    groups = view.split(e.site.inputs[0].shape)
    if groups is None:
        return e.write.node("Transpose", e.input(), perm=[0, *(axis + 1 for axis in order)])
    return replace(view, perm=tuple(axis for place in order for axis in groups[place]))


def _gather(e: Emit) -> str:
    index, source = e.constants[1], e.site.inputs[0]
    assert index is not None  # the operation's rule
    row = prod(source.shape[1:])
    if e.carrier is Carrier.FLOAT32 and e.per_event[0] and index.size * row <= _LARGEST_WINDOWS:
        places = np.arange(row).reshape(source.shape[1:])
        elements = np.expand_dims(index.astype(np.int64), tuple(range(-places.ndim, 0))) * row
        e.values.windows[e.site.output.name] = source.name, elements + places
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


def _add(e: Emit) -> str | View:
    return _with_constant(e, "Add") or e.write.node("Add", *e.aligned(e.site.output.format))


def _with_constant(e: Emit, op: str) -> View | None:
    """A tensor and a constant: into a linear operation, or in the order in which it stands."""
    constant = next((i for i, values in enumerate(e.constants) if values is not None), None)
    if constant is None or e.site.inputs[1 - constant].shape != e.site.output.shape:
        return None
    position = 1 - constant
    if not e.per_event[position]:
        return None
    up = [e.site.output.format.fraction - x.format.fraction for x in e.site.inputs]
    integers = np.asarray(e.constants[constant]) << up[constant]
    linear = e.linear(position)
    if linear is not None and op == "Add" and (scaled := linear.scaled(up[position])):
        sum_ = scaled.plus(np.broadcast_to(integers, e.site.output.shape))
        if sum_ is not None and (made := e.made(sum_)):
            return made
    rectifies = op == "Max" and not integers.any()
    if linear is not None and rectifies and (scaled := linear.scaled(up[position])):
        made = e.made(scaled.rectified())
        if made is not None:
            return made
    view = e.view(position)
    if not view.moved and integers.size > 1:
        return None
    x = emit_scale_up(e.write, view.name, up[position], e.carrier)
    if rectifies and e.carrier is not Carrier.INT64:
        return view.renamed(e.write.node("Relu", x))
    values = as_carrier(integers, e.carrier)
    if values.size > 1:
        values = view.place(np.broadcast_to(values, e.site.output.shape))
        for axis in range(values.ndim):  # as small as it broadcasts
            first = values.take([0], axis=axis)
            values = first if (values == first).all() else values
        values = values[None]
    else:
        values = values.reshape(())
    names = x, e.write.constant(values)
    match op:
        case "Max":
            return view.renamed(emit_larger(e.write, *names, e.carrier))
        case "Min":
            return view.renamed(emit_smaller(e.write, *names, e.carrier))
    return view.renamed(e.write.node(op, *names))


def _max(e: Emit) -> str | View:
    if (found := _with_constant(e, "Max")) is not None:
        return found
    a, b = e.aligned(e.site.output.format)
    return emit_larger(e.write, a, b, e.carrier)


def _min(e: Emit) -> str | View:
    if (found := _with_constant(e, "Min")) is not None:
        return found
    a, b = e.aligned(e.site.output.format)
    return emit_smaller(e.write, a, b, e.carrier)


def _mul(e: Emit) -> str:
    return e.write.node("Mul", *e.inputs)


def _divide(e: Emit) -> str:
    quotient = e.write.node("Div", *e.inputs)  # of int64 it is towards zero
    return quotient if e.carrier is Carrier.INT64 else emit_towards_zero(e.write, quotient)


def _dot(e: Emit) -> str | View:
    """One or two nodes where it can be; every event's sum over k for all output elements.

    0. A dense layer or a convolution in float32: see `onnx_linear.py`.
    1. An operand that has every axis of the products, and the event's: Mul, ReduceSum.
    2. A constant: the other one as a matrix with k as its last axis, times the constant (K, right);
       with axes that both have, one such matrix for each of their positions, over all events.
    3. Otherwise one matrix product for each event and each position on the axes that both have.
    """
    linear = linear_dot(e)
    if linear is not None and (made := e.made(linear)):
        return made
    shapes = [x.shape for x in e.site.inputs]
    whole = np.broadcast_shapes(*shapes)
    complete = any(
        shape == whole and varies for shape, varies in zip(shapes, e.per_event, strict=True)
    )
    if complete and e.carrier is not Carrier.INT64:
        products = e.write.node("Mul", *e.inputs)
        return e.write.node("ReduceSum", products, e.write.axes((1,)), keepdims=0)
    if e.constants[1] is not None:
        return constant_dot(e, 0, e.constants[1])
    if e.constants[0] is not None:
        return constant_dot(e, 1, e.constants[0])
    return matrix_products(e)


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


def _reduce_max(e: Emit) -> str | View:
    pooled = max_pool(e)
    if pooled is not None:
        return pooled
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


def _shift(e: Emit) -> View:
    linear = e.linear()
    if linear is not None:
        e.values.linear[e.site.output.name] = linear
        return e.single()
    return e.view()


def _lookup(e: Emit) -> str | View:
    if not e.per_event[1]:
        view = e.view()
        entries = e.constants[1]
        if entries is None:
            table = e.write.node("Squeeze", e.input(1), e.write.axes((0,)))
        else:
            table = e.write.constant(as_carrier(entries, e.carrier))
        if len(e.site.inputs[1].shape) > 1:  # slices: their numbers stand behind the index's axes
            return e.write.node("Gather", table, e.write.cast(e.input(), TensorProto.INT64), axis=0)
        places = e.write.cast(view.name, TensorProto.INT64)
        return view.renamed(e.write.node("Gather", table, places, axis=0))
    index = e.write.cast(e.input(), TensorProto.INT64)
    rank = len(e.site.inputs[0].shape)
    if not e.per_event[0]:
        index = e.write.expand(index, e.events(), rank)
    index = e.write.node("Unsqueeze", index, e.write.axes((rank + 1,)))
    return e.write.node("GatherND", e.input(1), index, batch_dims=1)


def _cast(e: Emit) -> View:
    source, target = e.site.inputs[0].format, e.site.output.format
    bits, bounded = source.fraction - target.fraction, bool(e.site.integer("bounded"))
    linear = e.linear()
    scaled = linear.scaled(-bits) if linear is not None else None
    if scaled is not None and bits <= 0 and bounded and (view := e.made(scaled)):
        return view
    if scaled is not None and bits > 0 and (view := _rounded(e, scaled, target, bounded)):
        return view
    view = e.view()
    view = view.renamed(emit_rescale(e.write, view.name, source, target, e.carrier))
    if bounded:
        found = e.values.windows.get(e.site.inputs[0].name)
        if found is not None and bits == 0:
            e.values.windows[e.site.output.name] = found
        return view
    return view.renamed(emit_overflow(e.write, view.name, target, e.carrier))


def _rounded(e: Emit, linear: Linear, target: Format, bounded: bool) -> View | None:
    """A linear operation that gives what is then rounded, in float32.

    Where more than 24 bits were expected (but the last ones are zeros), only in modes that add
    nothing to what they round or limit.
    """
    if e.carrier is not Carrier.FLOAT32:
        simple = target.rounding in (Rounding.TRN, Rounding.RND_CONV)
        limits = bounded or target.overflow in (Overflow.SAT, Overflow.SAT_SYM)
        if not (simple and limits and linear.rounds_to(0)):
            return None
    view = linear.make(2.0**linear.power, linear.bias)
    if view is None:
        return None
    x = e.write.node("Relu", view.name) if linear.relu else view.name
    x = emit_round(e.write, x, target.rounding, Carrier.FLOAT32)
    if not bounded:
        x = emit_overflow(e.write, x, target, Carrier.FLOAT32)
    return replace(view, name=x, carrier=Carrier.FLOAT32)


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


EMITTERS: dict[str, Callable[[Emit], str | View]] = {
    "accumulate": _accumulate,
    "add": _add,
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
