"""Keras 2 (tf_keras) and QKeras models as QONNX.

One function per layer class, in the tables of the other modules here. The tensor that a layer puts
out carries the layer's name, so that any engine's tensors can be compared with the Keras layers,
and Keras's axes: the channel is the last. Operators that want it first stand between two
transpositions, which hls4ml's frontend and ONNX Runtime take away.

The layer `d` of a nested model `m` is `m_d`, the second call of a shared layer `d` is `d_1`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import onnx

from samebits import errors

from . import attention, conv, layers, merge, pooling, quantizers, recurrent, shapes
from .call import Call, Export
from .graph import GraphBuilder

LAYERS: dict[str, Export] = {
    **conv.LAYERS,
    **layers.LAYERS,
    **merge.LAYERS,
    **pooling.LAYERS,
    **recurrent.LAYERS,
    **attention.LAYERS,
    **shapes.LAYERS,
}


def export_keras(
    model: Any, feature_names: Sequence[str] = (), class_names: Sequence[str] = ()
) -> onnx.ModelProto:
    """The model as QONNX; the same file runs under a stock ONNX Runtime.

    Args:
        model: a built tf_keras Sequential or Functional model of Keras and QKeras layers.
        feature_names: stored in the file's metadata as `samebits.features`.
        class_names: stored in the file's metadata as `samebits.classes`.

    Raises:
        UnsupportedError: names every layer that has no exact QONNX form.
        ModelError: the model is not built, or has NaN weights.
    """
    need_keras_2(model)
    graph = GraphBuilder()
    tensors: dict[int, str] = {}
    inputs = []
    for tensor, name in zip(model.inputs, model.input_names, strict=True):
        tensors[id(tensor)] = graph.input(name)
        inputs.append((name, fixed_shape(tensor, name)))
    problems: list[str] = []
    _export_nodes(graph, model, tensors, "", problems)
    if problems:
        listing = "\n  ".join(problems)
        count = "1 layer" if len(problems) == 1 else f"{len(problems)} layers"
        raise errors.UnsupportedError(
            f"Keras model {model.name!r}: {count} cannot be exported:\n  {listing}\n"
            f"Supported layers: {', '.join(sorted(LAYERS))}, InputLayer, nested models. "
            f"Supported activations: {', '.join(sorted(layers.ACTIVATIONS))} and QKeras's "
            f"{', '.join(quantizers.APPLY)}."
        )
    outputs: list[tuple[str, tuple[int, ...]]] = []
    for tensor, name in zip(model.outputs, model.output_names, strict=True):
        found = tensors[id(tensor)]
        if any(found == one for one, _ in inputs):
            raise errors.ModelError(
                f"Keras model {model.name!r}: output {name!r} is an input; "
                "there is nothing to compile"
            )
        if any(found == one for one, _ in outputs):
            raise errors.ModelError(
                f"Keras model {model.name!r}: output {name!r} is the tensor {found!r}, which is an "
                "output already; give the network one of them"
            )
        outputs.append((found, fixed_shape(tensor, name)))
    metadata = {
        key: json.dumps([str(v) for v in value])
        for key, value in (("features", feature_names), ("classes", class_names))
        if len(value)
    }
    return graph.model(model.name, inputs, outputs, metadata)


def need_keras_2(model: Any) -> None:
    """Raises UnsupportedError for anything but a Keras 2 model, ModelError if it is not built."""
    bases = {base.__module__.split(".")[0] for base in type(model).__mro__}
    if "tf_keras" not in bases:
        kind = "a Keras 3 model" if "keras" in bases else f"of type {type(model).__name__}"
        raise errors.UnsupportedError(
            f"the model is {kind}; supported: Keras 2 models (package tf_keras) of Keras and "
            "QKeras layers. Build it with tf_keras, or export it to ONNX yourself"
        )
    if not getattr(model, "_is_graph_network", False):
        if type(model).__name__ == "Sequential" or not getattr(model, "built", False):
            raise errors.ModelError(
                f"Keras model {model.name!r} is not built: give its first layer an input shape"
            )
        raise errors.UnsupportedError(
            f"Keras model {model.name!r} is a subclass of Model with code of its own; supported: "
            "Sequential and Functional models"
        )


def layer_tensors(model: Any) -> dict[str, Any]:
    """Keras's tensors by the names of the exported ones: what layers and nested models put out."""
    names = {id(tensor): name for tensor, name in zip(model.inputs, model.input_names, strict=True)}
    _export_nodes(GraphBuilder(), model, names, "", [])
    return {
        names[id(tensor)]: tensor
        for node, _ in _named_nodes(model, "")
        for tensor in _flat(node.outputs)
        if names[id(tensor)] not in model.input_names
    }


def _export_nodes(
    graph: GraphBuilder, model: Any, tensors: dict[int, str], prefix: str, problems: list[str]
) -> None:
    """Adds every layer's nodes and, to `tensors`, the name of every Keras tensor by its id."""
    for node, name in _named_nodes(model, prefix):
        layer, kind = node.layer, type(node.layer).__name__
        if kind == "InputLayer":
            continue
        sources = [tensors[id(tensor)] for tensor in node.keras_inputs]
        outputs = _flat(node.outputs)
        if hasattr(layer, "_nodes_by_depth") and getattr(layer, "_is_graph_network", False):
            inner = {id(t): source for t, source in zip(layer.inputs, sources, strict=True)}
            _export_nodes(graph, layer, inner, f"{name}_", problems)
            for tensor, end in zip(outputs, layer.outputs, strict=True):
                tensors[id(tensor)] = inner[id(end)]
            continue
        for tensor in outputs:
            tensors[id(tensor)] = name
        if kind not in LAYERS:
            problems.append(f"{name} ({kind}): {_UNKNOWN.get(kind, 'no such layer here')}")
            continue
        try:
            shapes = tuple(fixed_shape(tensor, name) for tensor in node.keras_inputs)
            shape = fixed_shape(outputs[0], name)
            options = dict(node.call_kwargs or {})
            call = Call(graph, layer, tuple(sources), shapes, shape, name, options)
            tensors[id(outputs[0])] = LAYERS[kind](call)
        except errors.UnsupportedError as error:
            problems.append(f"{name} ({kind}): {error}")


_UNKNOWN = {
    "Lambda": "runs Python code; use layers",
    "TFOpLambda": "a TensorFlow function on a Keras tensor; use a layer, such as Add for +",
    "SlicingOpLambda": "slices a Keras tensor; use a Cropping layer",
}


def _named_nodes(model: Any, prefix: str) -> Iterator[tuple[Any, str]]:
    """Every call of a layer with the name of its result, inputs before what reads them."""
    calls: dict[int, int] = {}
    depths = model._nodes_by_depth
    nodes = [node for depth in sorted(depths, reverse=True) for node in depths[depth]]
    for layer in {id(node.layer): node.layer for node in nodes}.values():
        mine = [node for node in layer._inbound_nodes if any(node is one for one in nodes)]
        calls |= {id(node): index for index, node in enumerate(mine)}
    for node in nodes:
        index = calls[id(node)]
        yield node, f"{prefix}{node.layer.name}" + (f"_{index}" if index else "")


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def fixed_shape(tensor: Any, name: str) -> tuple[int, ...]:
    """The tensor's shape without the batch axis.

    Raises:
        UnsupportedError: a size that is not fixed.
    """
    sizes = tuple(tensor.shape)
    if any(size is None for size in sizes[1:]):
        raise errors.UnsupportedError(
            f"layer {name!r} has the dynamic shape {sizes}; firmware needs fixed sizes: give "
            "the input layer a full shape"
        )
    return tuple(int(size) for size in sizes[1:])
