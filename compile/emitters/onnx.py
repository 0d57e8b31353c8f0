"""`firmware.onnx`: the fixed-point graph as plain ONNX operators, bit for bit.

Integers travel in float, double or int64 tensors, chosen by proven range as in the NumPy engine;
no QDQ patterns, which runtimes fuse with other rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx
from onnx import TensorProto, helper

from samebits import errors

from ..ir import Carrier, Format, Graph, Tensor
from ..ops import Site, operation, site_of
from ..ops.accumulate import TREE, tree_split
from ..ops.arith import as_carrier, common_format
from ..passes import choose_carriers
from .onnx_arith import (
    emit_larger,
    emit_overflow,
    emit_quantize,
    emit_rescale,
    emit_scale_up,
    emit_smaller,
    emit_values,
    real_carrier,
)
from .onnx_writer import ELEMENT_TYPES, IR_VERSION, OPSET, OnnxWriter

__all__ = ["EMITTERS", "input_dtype", "to_onnx"]


@dataclass(frozen=True, slots=True)
class _Emit:
    """One node to write: its site, its carrier, and its inputs' names in that carrier.

    `constant` tells which inputs are the same for every event.
    """

    write: OnnxWriter
    site: Site
    carrier: Carrier
    inputs: Sequence[str]
    constant: Sequence[bool]

    @property
    def element_type(self) -> int:
        return ELEMENT_TYPES[self.carrier]

    def aligned(self, target: Format, first: int = 0) -> list[str]:
        """The inputs from position `first` on, on the grid of `target`."""
        return [
            emit_scale_up(self.write, name, target.fraction - tensor.format.fraction, self.carrier)
            for name, tensor in zip(self.inputs[first:], self.site.inputs[first:], strict=True)
        ]

    def terms(self) -> list[str]:
        """The slices of the first input along its first axis."""
        return self.write.split(self.inputs[0], self.site.inputs[0].shape[0])


def _reshape(e: _Emit) -> str:
    return e.write.node("Reshape", e.inputs[0], e.write.axes((0, *e.site.output.shape)))


def _transpose(e: _Emit) -> str:
    perm = [0, *(axis + 1 for axis in e.site.integers("perm"))]
    return e.write.node("Transpose", e.inputs[0], perm=perm)


def _binary(op: str) -> Callable[[_Emit], str]:
    def emit(e: _Emit) -> str:
        return e.write.node(op, *e.aligned(e.site.output.format))

    return emit


def _max(e: _Emit) -> str:
    a, b = e.aligned(e.site.output.format)
    return emit_larger(e.write, a, b, e.carrier)


def _min(e: _Emit) -> str:
    a, b = e.aligned(e.site.output.format)
    return emit_smaller(e.write, a, b, e.carrier)


def _mul(e: _Emit) -> str:
    return e.write.node("Mul", *e.inputs)


def _dot(e: _Emit) -> str:
    # (N, 1, K) x (N or 1, K, M) -> (N, 1, M)
    one = e.write.axes((1,))
    row = e.write.node("Unsqueeze", e.inputs[0], one)
    return e.write.node("Squeeze", e.write.node("MatMul", row, e.inputs[1]), one)


def _sum(e: _Emit) -> str:
    if e.carrier is Carrier.INT64:
        return reduce(lambda total, x: e.write.node("Add", total, x), e.terms())
    return e.write.node("ReduceSum", e.inputs[0], e.write.axes((1,)), keepdims=0)


def _reduce_max(e: _Emit) -> str:
    if e.carrier is Carrier.INT64:
        return reduce(lambda best, x: emit_larger(e.write, best, x, e.carrier), e.terms())
    return e.write.node("ReduceMax", e.inputs[0], axes=[1], keepdims=0)


def _argmax(e: _Emit) -> str:
    if e.carrier is Carrier.INT64:
        return _argmax_int64(e)
    # ArgMax is not there for every type in every runtime: the smallest position of the maximum
    count, rank = e.site.inputs[0].shape[0], len(e.site.inputs[0].shape)
    largest = e.write.node("ReduceMax", e.inputs[0], axes=[1], keepdims=1)
    here = e.write.node("Equal", e.inputs[0], largest)
    positions = np.arange(count, dtype=e.carrier.dtype).reshape(1, count, *(1,) * (rank - 1))
    candidates = e.write.node(
        "Where", here, e.write.constant(positions), e.write.scalar(count, e.carrier)
    )
    return e.write.node("ReduceMin", candidates, axes=[1], keepdims=0)


def _argmax_int64(e: _Emit) -> str:
    best, *rest = e.terms()
    where = e.write.node("Mul", best, e.write.scalar(0, e.carrier))
    for position, x in enumerate(rest, start=1):
        better = e.write.node("Greater", x, best)
        best = e.write.node("Where", better, x, best)
        where = e.write.node("Where", better, e.write.scalar(position, e.carrier), where)
    return where


def _compare(e: _Emit) -> str:
    op = {"gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal"}[e.site.text("relation")]
    target = common_format([tensor.format for tensor in e.site.inputs])
    return e.write.cast(e.write.node(op, *e.aligned(target)), e.element_type)


def _select(e: _Emit) -> str:
    condition = e.write.cast(e.inputs[0], TensorProto.BOOL)
    return e.write.node("Where", condition, *e.aligned(e.site.output.format, first=1))


def _shift(e: _Emit) -> str:
    return e.inputs[0]


def _lookup(e: _Emit) -> str:
    index = e.write.cast(e.inputs[0], TensorProto.INT64)
    if not e.constant[1]:
        table, shape = e.inputs[1], e.site.output.shape
        count = math.prod(shape)
        # one row of indices per event; a constant index stands for all events
        events = e.write.node("Shape", table, start=0, end=1)
        rows = e.write.node("Concat", events, e.write.axes((count,)), axis=0)
        flat = e.write.node("Reshape", index, e.write.axes((-1, count)))
        all_rows = e.write.node("Expand", flat, rows)
        found = e.write.node("GatherElements", table, all_rows, axis=1)
        return e.write.node("Reshape", found, e.write.axes((0, *shape)))
    table = e.write.node("Squeeze", e.inputs[1], e.write.axes((0,)))
    return e.write.node("Gather", table, index, axis=0)


def _cast(e: _Emit) -> str:
    source, target = e.site.inputs[0].format, e.site.output.format
    rounded = emit_rescale(e.write, e.inputs[0], source, target, e.carrier)
    if e.site.integer("bounded"):
        return rounded
    return emit_overflow(e.write, rounded, target, e.carrier)


def _accumulate(e: _Emit) -> str:
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
    total, rest = (e.inputs[1], chain) if len(e.inputs) == 2 else (chain[0], chain[1:])
    for term in rest:
        total = plus(total, term)
    return total


EMITTERS: dict[str, Callable[[_Emit], str]] = {
    "accumulate": _accumulate,
    "add": _binary("Add"),
    "argmax": _argmax,
    "cast": _cast,
    "compare": _compare,
    "dot": _dot,
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
}


def input_dtype(fmt: Format) -> type[np.floating]:
    """float32 where it holds every value of the input format, else double."""
    return np.float32 if real_carrier(fmt) is Carrier.FLOAT32 else np.float64


class _Values:
    """Where every tensor of the graph stands in the ONNX graph, in which carrier."""

    def __init__(self, graph: Graph, write: OnnxWriter, carriers: Mapping[str, Carrier]) -> None:
        self._graph, self._write, self._carriers = graph, write, carriers
        self._names: dict[tuple[str, Carrier], str] = {}

    def put(self, tensor: str, name: str) -> None:
        self._names[tensor, self._carriers[tensor]] = name

    def get(self, tensor: str, carrier: Carrier) -> str:
        key = tensor, carrier
        if key not in self._names:
            if tensor in self._graph.constants:
                integers = as_carrier(self._graph.constants[tensor], carrier)[None]
                self._names[key] = self._write.constant(integers)
            else:
                stored = self._names[tensor, self._carriers[tensor]]
                self._names[key] = self._write.cast(stored, ELEMENT_TYPES[carrier])
        return self._names[key]


def to_onnx(
    graph: Graph,
    metadata: Mapping[str, str] | None = None,
    *,
    layers: Sequence[str] = (),
    name: str = "firmware",
) -> onnx.ModelProto:
    """The graph as an ONNX model that takes and returns real numbers, batch axis first.

    Args:
        metadata: written to the model's `metadata_props`.
        layers: layers whose tensors become outputs too, under the name `layer:<name>`.

    Raises:
        UnsupportedError: an operation without an emitter, or integers beyond 63 bits.
    """
    missing = sorted({node.op for node in graph.nodes} - EMITTERS.keys())
    if missing:
        raise errors.UnsupportedError(
            f"ONNX: no emitter for {', '.join(missing)}; supported: {', '.join(EMITTERS)}"
        )
    carriers = choose_carriers(graph)
    for tensor, carrier in carriers.items():
        if carrier is Carrier.PYTHON:
            raise errors.UnsupportedError(
                f"ONNX: {tensor} ({graph.tensors[tensor].format}) needs integers beyond 63 bits, "
                "and ONNX has none; use narrower formats"
            )
    write = OnnxWriter()
    values = _Values(graph, write, carriers)
    inputs = []
    for x in graph.tensors_of(graph.inputs):
        element_type = helper.np_dtype_to_tensor_dtype(np.dtype(input_dtype(x.format)))
        inputs.append(helper.make_tensor_value_info(x.name, element_type, ["N", *x.shape]))
        real = write.cast(x.name, TensorProto.DOUBLE)
        values.put(x.name, emit_quantize(write, real, x.format, carriers[x.name]))
    for node in graph.nodes:
        carrier = carriers[node.output]
        names = [values.get(tensor, carrier) for tensor in node.inputs]
        constant = [tensor in graph.constants for tensor in node.inputs]
        emit = _Emit(write, site_of(graph, node), carrier, names, constant)
        values.put(node.output, EMITTERS[operation(node.op).name](emit))
    outputs = []
    wanted = list(zip(output_names(graph), graph.outputs, strict=True))
    wanted += [(f"layer:{layer}", graph.layer_tensors[layer]) for layer in layers]
    for output, tensor in wanted:
        outputs.append(_output(graph.tensors[tensor], output, values, carriers, write))
    model = helper.make_model(
        helper.make_graph(write.nodes, name, inputs, outputs, initializer=write.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="samebits",
    )
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def output_names(graph: Graph) -> list[str]:
    """The outputs' names: the layers that make them."""
    by_tensor = {layer.tensor: layer.name for layer in graph.layers}
    names = [by_tensor.get(tensor, tensor) for tensor in graph.outputs]
    return [name if name not in graph.inputs else f"{name}_out" for name in names]


def _output(
    tensor: Tensor,
    output: str,
    values: _Values,
    carriers: Mapping[str, Carrier],
    write: OnnxWriter,
) -> onnx.ValueInfoProto:
    carrier = carriers[tensor.name]
    stored = values.get(tensor.name, carrier)
    element_type = emit_values(write, stored, tensor.format, carrier, output)
    return helper.make_tensor_value_info(output, element_type, ["N", *tensor.shape])
