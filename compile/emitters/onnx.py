"""`firmware.onnx`: the fixed-point graph as plain ONNX operators, bit for bit.

Integers travel in float, double or int64 tensors, chosen by proven range as in the NumPy engine;
no QDQ patterns, which runtimes fuse with other rounding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from samebits import errors

from ..ir import Carrier, Format, Graph, Interval, Tensor
from ..ops import site_of
from ..ops.arith import as_carrier
from ..passes import choose_carriers
from .onnx_arith import emit_input, emit_values, real_carrier
from .onnx_operations import EMITTERS, Emit
from .onnx_writer import ELEMENT_TYPES, IR_VERSION, OPSET, OnnxWriter

__all__ = ["EMITTERS", "input_dtype", "output_names", "to_onnx"]


def input_dtype(fmt: Format) -> type[np.floating]:
    """float32 where it holds every value of the input format, else double."""
    return np.float32 if real_carrier(fmt) is Carrier.FLOAT32 else np.float64


_CHUNK_EVENTS = 4096
_CHUNK_ELEMENTS = 1 << 18  # of the typical tensor in one chunk
_LARGEST_ELEMENTS = 1 << 23  # of the largest tensor in one chunk


class _Values:
    """Where every tensor of the graph stands in the ONNX graph, in which carrier."""

    def __init__(self, graph: Graph, write: OnnxWriter, carriers: Mapping[str, Carrier]) -> None:
        self._graph, self._write, self._carriers = graph, write, carriers
        self._names: dict[tuple[str, Carrier], str] = {}
        self._events: list[str] = []
        self.per_event = set(graph.inputs)
        for node in graph.nodes:
            if not self.per_event.isdisjoint(node.inputs):
                self.per_event.add(node.output)

    def put(self, tensor: str, name: str) -> None:
        """Says where a tensor stands in its carrier."""
        self._names[tensor, self._carriers[tensor]] = name

    def get(self, tensor: str, carrier: Carrier) -> str:
        """The name of a tensor in a carrier that holds it."""
        key = tensor, carrier
        if key not in self._names:
            if tensor in self._graph.constants:
                integers = as_carrier(self._graph.constants[tensor], carrier)[None]
                self._names[key] = self._write.constant(integers)
            else:
                stored = self._names[tensor, self._carriers[tensor]]
                self._names[key] = self._write.cast(stored, ELEMENT_TYPES[carrier])
        return self._names[key]

    def stored(self, tensor: str) -> str:
        """The name of a tensor in its own carrier; empty for a constant."""
        return (
            "" if tensor in self._graph.constants else self._names[tensor, self._carriers[tensor]]
        )

    def events(self) -> str:
        """The name of the list (N,)."""
        if not self._events:
            first = self._graph.inputs[0]
            self._events.append(self._write.node("Shape", first, start=0, end=1))
        return self._events[0]


def to_onnx(
    graph: Graph,
    metadata: Mapping[str, str] | None = None,
    *,
    layers: Sequence[str] = (),
    raw: bool = False,
    name: str = "firmware",
) -> onnx.ModelProto:
    """The graph as an ONNX model that takes real numbers, batch axis first.

    Args:
        metadata: written to the model's `metadata_props`, beside what `_metadata` says.
        layers: layers whose tensors become outputs too, under the name `layer:<name>`.
        raw: outputs are mantissas, int64, instead of real numbers.

    Raises:
        UnsupportedError: an operation without an emitter, or integers beyond 63 bits.
    """
    missing = sorted({node.op for node in graph.nodes} - EMITTERS.keys())
    if missing:
        raise errors.UnsupportedError(
            f"ONNX: no emitter for {', '.join(missing)}; supported: {', '.join(EMITTERS)}"
        )
    carriers = _choose_carriers(graph)
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
        values.put(x.name, emit_input(write, x.name, x.format, carriers[x.name]))
    for node in graph.nodes:
        emit = Emit(
            write,
            site_of(graph, node),
            carriers[node.output],
            [graph.constants.get(tensor) for tensor in node.inputs],
            [tensor in values.per_event for tensor in node.inputs],
            values.get,
            values.events,
        )
        values.put(node.output, EMITTERS[node.op](emit))
    outputs = []
    wanted = list(zip(output_names(graph), graph.outputs, strict=True))
    wanted += [(f"layer:{layer}", graph.layer_tensors[layer]) for layer in layers]
    for output, tensor in wanted:
        outputs.append(_output(graph.tensors[tensor], output, values, carriers, write, raw))
    write.drop_unused([output.name for output in outputs])
    model = helper.make_model(
        helper.make_graph(write.nodes, name, inputs, outputs, initializer=write.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="samebits",
    )
    chunk = {"samebits.chunk_events": str(_chunk_events(model))}
    known = _metadata(graph, values, write, raw)
    helper.set_model_props(model, {**(metadata or {}), **known, **chunk})
    onnx.checker.check_model(model, full_check=True)
    return model


def _metadata(graph: Graph, values: _Values, write: OnnxWriter, raw: bool) -> dict[str, str]:
    """What a reader needs besides the file: see `sim/firmware_file.py`.

    Formats of inputs and outputs; "values" or "mantissas"; for every layer whose mantissas stand in
    the file their tensor, format and shape.
    """
    outputs = zip(output_names(graph), graph.outputs, strict=True)
    made = {*graph.inputs, *(name for node in write.nodes for name in node.output)}
    layers = []
    for layer in graph.layers:
        tensor, stored = graph.tensors[layer.tensor], values.stored(layer.tensor)
        if stored in made:
            layers.append([layer.name, stored, str(tensor.format), list(tensor.shape)])
    return {
        **{f"samebits.input.{name}": str(graph.tensors[name].format) for name in graph.inputs},
        **{f"samebits.output.{name}": str(graph.tensors[y].format) for name, y in outputs},
        "samebits.outputs": "mantissas" if raw else "values",
        "samebits.layers": json.dumps(layers, separators=(",", ":")),
    }


def _chunk_events(model: onnx.ModelProto) -> int:
    """How many events suit one call: the typical tensor in a cache, the largest in little memory.

    The typical tensor is the one in which the typical element is.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = (value.type.tensor_type.shape.dim for value in inferred.graph.value_info)
    # the number of events has a name instead of a value
    sizes = [prod(max(1, dim.dim_value) for dim in shape) for shape in shapes] or [1]
    typical = sum(size * size for size in sizes) // sum(sizes)
    return int(
        max(1, min(_CHUNK_EVENTS, _CHUNK_ELEMENTS // typical, _LARGEST_ELEMENTS // max(sizes)))
    )


def _choose_carriers(graph: Graph) -> dict[str, Carrier]:
    """Those of the NumPy engine, but for constants that are outputs and some truncated sums.

    The products of `truncated_dot` are truncated one by one here and need no integer beyond them.
    """
    carriers = choose_carriers(graph)
    for name in {*graph.outputs, *graph.layer_tensors.values()} & graph.constants.keys():
        values = Interval.of_constant(graph.constants[name])
        carriers[name] = Carrier.for_magnitude(values.magnitude)
    for node in graph.nodes:
        if node.op == "truncated_dot" and carriers[node.output] is Carrier.PYTHON:
            site = site_of(graph, node)
            bits, count = site.integer("bits"), site.inputs[0].shape[0]
            a, b = (max(-x.format.min_mantissa, x.format.max_mantissa) for x in site.inputs)
            largest = a * b + (1 << bits)
            if Carrier.INT64.holds(max(largest, count * (largest >> bits))):
                carriers[node.output] = Carrier.INT64
    return carriers


def output_names(graph: Graph) -> list[str]:
    """The outputs' names: the layers that make them, numbered where one makes several."""
    by_tensor = {layer.tensor: layer.name for layer in graph.layers}
    names: list[str] = []
    for tensor in graph.outputs:
        stem = by_tensor.get(tensor, tensor)
        name = stem = f"{stem}_out" if stem in graph.inputs else stem
        count = 1
        while name in names:
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return names


def _output(
    tensor: Tensor,
    output: str,
    values: _Values,
    carriers: Mapping[str, Carrier],
    write: OnnxWriter,
    raw: bool,
) -> onnx.ValueInfoProto:
    carrier = carriers[tensor.name]
    stored = values.get(tensor.name, carrier)
    if tensor.name not in values.per_event:
        stored = write.expand(stored, values.events(), len(tensor.shape))
    if raw:
        element_type = int(TensorProto.INT64)
        write.node("Cast", stored, output=output, to=element_type)
    else:
        element_type = emit_values(write, stored, tensor.format, carrier, output)
    return helper.make_tensor_value_info(output, element_type, ["N", *tensor.shape])
