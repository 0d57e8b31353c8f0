"""Constants computed once: Constant nodes, and all that depends on constants alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samebits import errors

__all__ = ["Names", "add_constant", "constants_of", "drop_unused", "fold_constants"]

MAX_ELEMENTS = 1 << 26
# A quantizer says what type its constant has, so it stays.
_KEPT = (
    *("BipolarQuant", "DequantizeLinear", "FloatQuant", "IntQuant", "MultiThreshold", "Quant"),
    *("QuantizeLinear", "Trunc"),
)
# Operators that move numbers and change none: they may be exchanged with a quantizer.
_MOVEMENT = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform")


def constants_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The initializers of a model by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def add_constant(model: onnx.ModelProto, name: str, values: Any, kind: Any = np.float32) -> None:
    """A new initializer, of float32 if nothing else is said; the name must be new, too."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), name))


class Names:
    """Names that no tensor of a model has."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._taken = {value.name for value in (*graph.initializer, *graph.input)}
        for node in graph.node:
            self._taken.update(node.input)
            self._taken.update(node.output)

    def fresh(self, base: str) -> str:
        """The name, or the first of name_2, name_3, ... that is free; taken from now on."""
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def fold_constants(model: onnx.ModelProto) -> None:
    """Replaces what depends on constants alone by its values, as ONNX Runtime computes them.

    Quantizers of constants stay, because they give the constant its type; what only moves the
    numbers behind one (Transpose, Reshape, ...) is done before it.

    Raises:
        ModelError: a constant of more than 2^26 numbers, or one that ONNX Runtime cannot compute.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != len(graph.input):  # IR 3 lists initializers among the inputs
        del graph.input[:]
        graph.input.extend(inputs)
    outputs = {value.name for value in graph.output}
    steps, kept = [], []
    for node in graph.node:
        fixed = node.op_type not in (*_RANDOM, *_KEPT) and not outputs.intersection(node.output)
        if fixed and all(n in constants for n in node.input if n) and not _has_graph(node):
            steps.append(node)
            constants.update(node.output)
        else:
            kept.append(node)
    if steps or any(node.op_type in _MOVEMENT for node in kept):
        wanted = {name for node in kept for name in node.input}
        known = constants_of(model)
        for name, values in _computed(model, steps, known, wanted).items():
            known[name] = values
            add_constant(model, name, values, values.dtype)
        kept = _quantized_last(model, kept, known)
    del graph.node[:]
    graph.node.extend(kept)
    drop_unused(model)


def _quantized_last(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], known: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    """The nodes with movements of a quantized constant before its quantizer."""
    quantized: dict[str, onnx.NodeProto] = {}
    names, moved = Names(model), []
    for node in nodes:
        operands = [name for name in node.input if name]
        if node.op_type == "Quant" and all(name in known for name in operands):
            quantized[node.output[0]] = node
        elif (
            node.op_type in _MOVEMENT
            and operands[0] in quantized
            and all(name in known for name in operands[1:])
        ):
            node = _moved(model, node, quantized[operands[0]], known, names)
            quantized[node.output[0]] = node
        moved.append(node)
    return moved


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
    made -= {value.name for value in graph.output}  # which qonnx must not find twice
    shapes = {value.name: value for value in graph.value_info if value.name in made}
    del graph.value_info[:]
    graph.value_info.extend(shapes.values())


def _has_graph(node: onnx.NodeProto) -> bool:
    return any(item.HasField("g") or item.graphs for item in node.attribute)


def _computed(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    known: dict[str, NDArray[Any]],
    wanted: set[str],
) -> dict[str, NDArray[Any]]:
    """What nodes of constants give, by name, as far as it is wanted."""
    given = {n.output[0]: _constant(n) for n in nodes if n.op_type == "Constant"}
    steps = [node for node in nodes if node.op_type != "Constant"]
    made = [name for node in steps for name in node.output if name in wanted]
    values = {name: array for name, array in given.items() if name in wanted}
    if not made:
        return values
    import onnxruntime  # type: ignore[import-untyped]

    known = {**known, **given}
    operands = dict.fromkeys(n for node in steps for n in node.input if n in known)
    tensors = [numpy_helper.from_array(known[name], name) for name in operands]
    results = [helper.make_empty_tensor_value_info(name) for name in made]
    graph = helper.make_graph(steps, "constants", [], results, tensors)
    alone = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    alone.ir_version = max(model.ir_version, 8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        inferred = onnx.shape_inference.infer_shapes(alone, data_prop=True).graph
        makers = {name: node for node in steps for name in node.output}
        for value in (*inferred.value_info, *inferred.output):
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            if math.prod(shape) > MAX_ELEMENTS:
                raise errors.ModelError(
                    f"{_where(makers[value.name])}: makes a constant of shape {shape}; at most "
                    "2^26 numbers are read"
                )
        session = onnxruntime.InferenceSession(
            alone.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return values | dict(zip(made, session.run(made, {}), strict=True))
    except errors.ModelError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        raise errors.ModelError(
            f"{_where(steps[0])}: the constants of the model cannot be computed: "
            f"{str(error).splitlines()[0]}"
        ) from None


def _where(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]}"


def _constant(node: onnx.NodeProto) -> NDArray[Any]:
    item = next(iter(node.attribute), None)
    if item is None or item.name == "sparse_value":
        raise errors.UnsupportedError(f"{_where(node)}: has no dense value; export it as `value`")
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
    names: Names,
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
        result = names.fresh(f"{movement.output[0]}_operand{position}")
        source = names.fresh(f"{result}_before")
        step.input[0], step.output[0] = source, result
        whole = {**known, source: np.broadcast_to(values, shape) if position else values}
        known[result] = _computed(model, [step], whole, {result})[result]
        add_constant(model, result, known[result], known[result].dtype)
        fresh.input[position] = result
    return fresh
