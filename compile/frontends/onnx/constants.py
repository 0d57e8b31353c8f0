"""Constants computed once: Constant nodes, and all that depends on constants alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samebits import errors

__all__ = ["constants_of", "drop_unused", "fold_constants", "set_constant"]

MAX_ELEMENTS = 1 << 26
# A quantizer says what type its constant has, so it stays.
_KEPT = ("BipolarQuant", "DequantizeLinear", "IntQuant", "Quant", "QuantizeLinear")
# Operators that move numbers and change none: they may be exchanged with a quantizer.
_MOVEMENT = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform")


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The initializers of a model by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def set_constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    """Gives an initializer new values, or makes it."""
    fresh = numpy_helper.from_array(np.asarray(values), name)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(fresh)
            return
    model.graph.initializer.append(fresh)


def fold_constants(model: onnx.ModelProto) -> None:
    """Replaces what depends on constants alone by its values, as ONNX Runtime computes them.

    Quantizers of constants stay, because they give the constant its type; what only moves the
    numbers behind one (Transpose, Reshape, ...) is done before it.

    Raises:
        ModelError: a constant of more than 2^26 numbers, or one that ONNX Runtime cannot compute.
    """
    graph = model.graph
    known = constants_of(model)
    inputs = [value for value in graph.input if value.name not in known]
    if len(inputs) != len(graph.input):  # IR 3 lists initializers among the inputs
        del graph.input[:]
        graph.input.extend(inputs)
    outputs = {value.name for value in graph.output}
    quantized: dict[str, onnx.NodeProto] = {}
    kept = []
    for node in graph.node:
        operands = [name for name in node.input if name]
        if node.op_type in _RANDOM or outputs.intersection(node.output):
            kept.append(node)
        elif node.op_type in _KEPT:
            kept.append(node)
            if node.op_type == "Quant" and all(name in known for name in operands):
                quantized[node.output[0]] = node
        elif all(name in known for name in operands) and not _has_graph(node):
            for name, values in _computed(model, node, known).items():
                known[name] = values
                set_constant(model, name, values)
        elif node.op_type in _MOVEMENT and operands[0] in quantized:
            quantized[node.output[0]] = _moved(model, node, quantized[operands[0]], known)
            kept.append(quantized[node.output[0]])
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    drop_unused(model)


def drop_unused(model: onnx.ModelProto) -> None:
    """Takes out nodes and initializers that no output needs, and shapes of tensors now gone."""
    graph = model.graph
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            for attribute in node.attribute:  # a subgraph reads tensors from outside
                for inner in (attribute.g, *attribute.graphs):
                    used.update(name for n in inner.node for name in n.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(tensors) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(tensors)
    made = {name for node in graph.node for name in node.output}
    shapes = [value for value in graph.value_info if value.name in made]
    del graph.value_info[:]
    graph.value_info.extend(shapes)


def _has_graph(node: onnx.NodeProto) -> bool:
    return any(item.HasField("g") or item.graphs for item in node.attribute)


def _computed(
    model: onnx.ModelProto, node: onnx.NodeProto, known: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """What one node of constants gives, by name."""
    if node.op_type == "Constant":
        return {node.output[0]: _constant(node)}
    import onnxruntime  # type: ignore[import-untyped]

    operands = [n for n in dict.fromkeys(node.input) if n]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    tensors = [numpy_helper.from_array(known[name], name) for name in operands]
    graph = helper.make_graph([node], "constants", [], outputs, tensors)
    alone = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    alone.ir_version = max(model.ir_version, 8)
    where = f"{node.op_type} {node.name or node.output[0]}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        inferred = onnx.shape_inference.infer_shapes(alone, data_prop=True).graph.output
        for value in inferred:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            if math.prod(shape) > MAX_ELEMENTS:
                raise errors.ModelError(
                    f"{where}: makes a constant of shape {shape}; at most 2^26 numbers are read"
                )
        session = onnxruntime.InferenceSession(
            alone.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        values = session.run(None, {})
    except errors.ModelError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise errors.ModelError(
            f"{where}: the constant cannot be computed: {str(error).splitlines()[0]}"
        ) from None
    return dict(zip((name for name in node.output if name), values, strict=True))


def _constant(node: onnx.NodeProto) -> NDArray[Any]:
    item = next(iter(node.attribute), None)
    if item is None or item.name == "sparse_value":
        raise errors.UnsupportedError(
            f"Constant {node.name or node.output[0]}: has no dense value; export it as `value`"
        )
    value = helper.get_attribute_value(item)
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    kind = np.float32 if item.name.startswith("value_float") else None
    return np.asarray(value, kind)


def _moved(
    model: onnx.ModelProto,
    movement: onnx.NodeProto,
    quantizer: onnx.NodeProto,
    known: dict[str, NDArray[Any]],
) -> onnx.NodeProto:
    """The quantizer behind a movement of its constant instead of before it."""
    fresh = onnx.NodeProto()
    fresh.CopyFrom(quantizer)
    fresh.name = f"{quantizer.name or quantizer.output[0]}_{movement.output[0]}"
    fresh.output[0] = movement.output[0]
    shape = known[quantizer.input[0]].shape
    for position, name in enumerate(quantizer.input):
        values = known[name]
        if position and values.size == 1:
            continue
        step = onnx.NodeProto()
        step.CopyFrom(movement)
        step.input[0], step.output[0] = "values", f"{movement.output[0]}_operand{position}"
        whole = {**known, "values": np.broadcast_to(values, shape) if position else values}
        known |= _computed(model, step, whole)
        set_constant(model, step.output[0], known[step.output[0]])
        fresh.input[position] = step.output[0]
    return fresh
