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

from ..ir import Carrier, Graph, Interval, Node, Tensor
from ..ops import site_of
from ..passes import choose_peaks
from .interface import input_dtype, output_names
from .onnx_arith import emit_input, emit_values
from .onnx_operations import EMITTERS, Emit
from .onnx_values import Values
from .onnx_writer import IR_VERSION, OPSET, OnnxWriter

__all__ = ["EMITTERS", "input_dtype", "output_names", "to_onnx"]


_WIDER = {Carrier.FLOAT32: Carrier.FLOAT64, Carrier.FLOAT64: Carrier.INT64}
_CHUNK_EVENTS = 4096
_CHUNK_ELEMENTS = 1 << 18  # of the typical tensor in one chunk
_LARGEST_ELEMENTS = 1 << 23  # of the largest tensor in one chunk


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
    carriers, peaks = _choose_carriers(graph)
    for tensor, carrier in carriers.items():
        if carrier is Carrier.PYTHON:
            raise errors.UnsupportedError(
                f"ONNX: {tensor} ({graph.tensors[tensor].format}) needs integers beyond 63 bits, "
                "and ONNX has none; use narrower formats"
            )
    write = OnnxWriter()
    wanted = list(zip(output_names(graph), graph.outputs, strict=True))
    wanted += [(f"layer:{layer}", graph.layer_tensors[layer]) for layer in layers]
    values = Values(graph, write, carriers, peaks, {tensor for _, tensor in wanted})
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
            values,
        )
        values.put(node.output, EMITTERS[node.op](emit))
    outputs = []
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


def _metadata(graph: Graph, values: Values, write: OnnxWriter, raw: bool) -> dict[str, str]:
    """What a reader needs besides the file: see `sim/firmware_file.py`.

    Formats of inputs and outputs; "values" or "mantissas"; for every layer whose mantissas stand in
    the file their tensor, format and shape.
    """
    outputs = zip(output_names(graph), graph.outputs, strict=True)
    made = {*graph.inputs, *(name for node in write.nodes for name in node.output)}
    layers = []
    for layer in graph.layers:
        tensor, view = graph.tensors[layer.tensor], values.stored(layer.tensor)
        if view is not None and view.name in made:
            layers.append(
                {
                    "name": layer.name,
                    "tensor": view.name,
                    "format": str(tensor.format),
                    "shape": tensor.shape,
                    "stored": view.stored,
                    "perm": view.perm,
                }
            )
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


def _choose_carriers(graph: Graph) -> tuple[dict[str, Carrier], dict[str, int]]:
    """Those of the NumPy engine with four exceptions, and what they hold.

    1. Constants that are outputs have one too.
    2. `truncated_dot` truncates products one by one here and needs no integer beyond them.
    3. A runtime may make the sum of a product and a constant one operation, which starts with the
       constant: both are done in double where a partial sum may then exceed float32.
    4. The same in integers beyond double.
    """
    peaks = choose_peaks(graph)
    carriers = {name: Carrier.for_magnitude(peak) for name, peak in peaks.items()}
    for name in {*graph.outputs, *graph.layer_tensors.values()} & graph.constants.keys():  # 1
        values = Interval.of_constant(graph.constants[name])
        carriers[name] = Carrier.for_magnitude(values.magnitude)
    producers = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        site = site_of(graph, node)
        if node.op == "truncated_dot" and carriers[node.output] is Carrier.PYTHON:  # 2
            bits, count = site.integer("bits"), site.inputs[0].shape[0]
            a, b = (max(-x.format.min_mantissa, x.format.max_mantissa) for x in site.inputs)
            largest = a * b + (1 << bits)
            if Carrier.INT64.holds(max(largest, count * (largest >> bits))):
                carriers[node.output] = Carrier.INT64
        carrier = carriers[node.output]
        if node.op in ("add", "sub") and carrier in _WIDER:  # 3, 4
            largest = _largest_partial_sum(graph, node, peaks, producers)
            if not carrier.holds(largest):
                carriers[node.output] = _WIDER[carrier]
    return carriers, peaks


def _largest_partial_sum(
    graph: Graph, node: Node, peaks: Mapping[str, int], producers: Mapping[str, Node]
) -> int:
    """A bound of all partial sums of products plus something else; 0 for other sums."""
    total, products = 0, False
    for name in node.inputs:
        shift = graph.tensors[node.output].format.fraction - graph.tensors[name].format.fraction
        if name in graph.constants:
            total += Interval.of_constant(graph.constants[name]).magnitude << shift
            continue
        source, scale = name, 0
        while source in producers and producers[source].op in ("cast", "reshape", "shift"):
            (before,) = producers[source].inputs
            if producers[source].op == "cast":
                up = graph.tensors[source].format.fraction - graph.tensors[before].format.fraction
                if up < 0:  # rounded: no longer a product
                    break
                scale += up
            source = before
        product = source in producers and producers[source].op == "dot"
        products |= product
        total += (peaks[source] << scale if product else peaks[name]) << shift
    return total if products else 0


def _output(
    tensor: Tensor,
    output: str,
    values: Values,
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
