"""Keras 2 (tf_keras) and QKeras models as QONNX.

One function per layer class, in the table `LAYERS`. The tensor that a layer puts out carries the
layer's name, so that any engine's tensors can be compared with the Keras layers.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from samebits import errors

from .keras_graph import GraphBuilder
from .keras_quantizers import apply_quantizer, is_quantizer, quantized_weight

Export = Callable[[GraphBuilder, Any, str, str], str]


def export_keras(
    model: Any, feature_names: Sequence[str] = (), class_names: Sequence[str] = ()
) -> onnx.ModelProto:
    """The model as QONNX; the same file runs under a stock ONNX Runtime and compiles with hls4ml.

    Args:
        model: a built tf_keras Sequential or Functional model of Keras and QKeras layers.
        feature_names: stored in the file's metadata as `samebits.features`.
        class_names: stored in the file's metadata as `samebits.classes`.

    Raises:
        UnsupportedError: names every layer that has no exact QONNX form.
        ModelError: the model is not built, or has NaN weights.
    """
    _need_keras_2(model)
    graph = GraphBuilder()
    problems: list[str] = []
    tensors: dict[tuple[str, int], str] = {}
    inputs: list[tuple[str, tuple[int, ...]]] = []
    for layer, calls in _layers(model):
        kind = type(layer).__name__
        if kind == "InputLayer":
            tensors[layer.name, 0] = graph.input(layer.name)
            inputs.append((layer.name, _shape(layer.output_shape, layer.name)))
            continue
        if kind not in LAYERS:
            problems.append(f"{layer.name} ({kind}): no such layer here")
            tensors |= {(layer.name, index): layer.name for index in range(len(calls))}
            continue
        for index, sources in enumerate(calls):
            name = layer.name if index == 0 else f"{layer.name}_{index}"
            tensors[layer.name, index] = name
            if len(sources) != 1:
                problems.append(f"{layer.name} ({kind}): has {len(sources)} inputs, not 1")
                continue
            try:
                tensors[layer.name, index] = LAYERS[kind](graph, layer, tensors[sources[0]], name)
            except errors.UnsupportedError as error:
                problems.append(f"{layer.name} ({kind}): {error}")
    if problems:
        listing = "\n  ".join(problems)
        raise errors.UnsupportedError(
            f"Keras model {model.name!r}: {len(problems)} layers cannot be exported:\n  {listing}\n"
            f"Supported layers: {', '.join(sorted(LAYERS))}, InputLayer. "
            f"Supported activations: {', '.join(sorted(ACTIVATIONS))} and QKeras's quantized_bits, "
            "quantized_relu, quantized_tanh, quantized_sigmoid."
        )
    return graph.model(
        model.name, inputs, _outputs(model, tensors, inputs), _metadata(feature_names, class_names)
    )


def _config(model: Any) -> dict[str, Any]:
    with warnings.catch_warnings():  # tf_keras warns of QKeras quantizers used as constraints
        warnings.simplefilter("ignore", UserWarning)
        return dict(model.get_config())


def _need_keras_2(model: Any) -> None:
    bases = {base.__module__.split(".")[0] for base in type(model).__mro__}
    if "tf_keras" not in bases:
        kind = "a Keras 3 model" if "keras" in bases else f"of type {type(model).__name__}"
        raise errors.UnsupportedError(
            f"the model is {kind}; supported: Keras 2 models (package tf_keras) of Keras and "
            "QKeras layers. Build it with tf_keras, or export it to ONNX yourself"
        )


def _layers(model: Any) -> list[tuple[Any, list[list[tuple[str, int]]]]]:
    """Layers in an order in which inputs come first, each with its calls' inputs (layer, call)."""
    if not getattr(model, "built", False):
        raise errors.ModelError(
            f"Keras model {model.name!r} is not built: give its first layer an input shape"
        )
    config = _config(model)
    if "input_layers" not in config:  # Sequential
        layers = [*_sequential_input(model), *model.layers]
        before: list[list[list[tuple[str, int]]]] = [
            [],
            *([[(one.name, 0)]] for one in layers[:-1]),
        ]
        return list(zip(layers, before, strict=True))
    waiting = {
        entry["name"]: [[(call[0], call[1]) for call in node] for node in entry["inbound_nodes"]]
        for entry in config["layers"]
    }
    done: list[tuple[Any, list[list[tuple[str, int]]]]] = []
    ready: set[str] = set()
    while waiting:
        name = next(
            name
            for name, calls in waiting.items()
            if all(source in ready for call in calls for source, _ in call)
        )
        done.append((model.get_layer(name), waiting.pop(name)))
        ready.add(name)
    return done


def _sequential_input(model: Any) -> list[Any]:
    return [
        layer for layer in model._self_tracked_trackables if type(layer).__name__ == "InputLayer"
    ]


def _outputs(
    model: Any, tensors: dict[tuple[str, int], str], inputs: Sequence[tuple[str, tuple[int, ...]]]
) -> list[tuple[str, tuple[int, ...]]]:
    config = _config(model)
    ends = config.get("output_layers") or [[model.layers[-1].name, 0, 0]]
    if ends and isinstance(ends[0], str):  # a single output, not in a list
        ends = [ends]
    outputs = []
    for (name, index, _), tensor in zip(ends, model.outputs, strict=True):
        if any(tensors[name, index] == one for one, _ in inputs):
            raise errors.ModelError(
                f"Keras model {model.name!r}: output {name!r} is an input; "
                "there is nothing to compile"
            )
        outputs.append((tensors[name, index], _shape(tuple(tensor.shape), name)))
    return outputs


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    sizes = shape[0] if isinstance(shape, list) else shape
    if any(size is None for size in sizes[1:]):
        raise errors.UnsupportedError(
            f"layer {name!r} has the dynamic shape {tuple(sizes)}; firmware needs fixed sizes: "
            "give "
            "the input layer a full shape"
        )
    return tuple(int(size) for size in sizes[1:])


def _metadata(features: Sequence[str], classes: Sequence[str]) -> dict[str, Sequence[str]]:
    named = {"features": features, "classes": classes}
    return {key: [str(v) for v in value] for key, value in named.items() if len(value)}


def _activation(graph: GraphBuilder, function: Any, x: str, name: str) -> str:
    """Add an activation given as a Keras function or a QKeras quantizer."""
    if function is None:
        return x
    if is_quantizer(function):
        return apply_quantizer(graph, function, x, name)
    kind = getattr(function, "__name__", type(function).__name__)
    if kind not in ACTIVATIONS:
        raise errors.UnsupportedError(
            f"activation {kind!r} is not supported; supported: {', '.join(sorted(ACTIVATIONS))}"
        )
    operator = ACTIVATIONS[kind]
    if not operator:
        return x
    attributes = {"axis": -1} if operator == "Softmax" else {}
    return graph.node(operator, name, [x], **attributes)


def _is_linear(function: Any) -> bool:
    return function is None or getattr(function, "__name__", "") == "linear"


def _dense(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    """y = activation(x W + b); x (..., C_in), W (C_in, C_out), b (C_out,)."""
    linear = _is_linear(layer.activation)
    after_sum = name if linear else f"{name}_linear"
    after_product = f"{name}_product" if layer.use_bias else after_sum
    kernel = _weight(graph, layer, "kernel", f"{name}_kernel")
    y = graph.node("MatMul", after_product, [x, kernel])
    if layer.use_bias:
        y = graph.node("Add", after_sum, [y, _weight(graph, layer, "bias", f"{name}_bias")])
    return y if linear else _activation(graph, layer.activation, y, name)


def _weight(graph: GraphBuilder, layer: Any, role: str, name: str) -> str:
    quantizer = getattr(layer, f"{role}_quantizer_internal", None)
    value, grid = quantized_weight(quantizer, getattr(layer, role))
    if grid is None:
        return graph.constant(name, value)
    return graph.quantized_constant(name, value, grid)


def _activation_layer(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    return _activation(graph, layer.activation, x, name)


def _qactivation(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    return _activation(graph, layer.quantizer, x, name)


def _relu_layer(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    """Relu, or LeakyRelu with a slope; an upper bound or a threshold is refused."""
    if layer.max_value is not None or float(layer.threshold) != 0:
        raise errors.UnsupportedError(
            f"max_value={layer.max_value}, threshold={layer.threshold}: supported are None and 0; "
            "let a quantizer set the upper bound"
        )
    slope = float(layer.negative_slope)
    if slope:
        return graph.node("LeakyRelu", name, [x], alpha=slope)
    return graph.node("Relu", name, [x])


def _leaky_relu_layer(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    return graph.node("LeakyRelu", name, [x], alpha=float(layer.alpha))


def _softmax_layer(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    if layer.axis not in (-1, len(layer.input_shape) - 1):
        raise errors.UnsupportedError(f"axis={layer.axis}: supported is the last axis, -1")
    return graph.node("Softmax", name, [x], axis=-1)


def _batch_normalization(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    """y = x * scale + shift, scale = gamma / sqrt(variance + epsilon), in TensorFlow's order.

    Source: tensorflow/python/ops/nn_impl.py, `batch_normalization`.
    """
    rank = len(layer.input_shape)
    axes = list(layer.axis) if isinstance(layer.axis, list | tuple) else [layer.axis]
    if axes not in ([-1], [rank - 1]):
        raise errors.UnsupportedError(f"axis={axes}: supported is the last axis, -1")
    variance = np.asarray(layer.moving_variance, np.float32)
    scale = np.float32(1) / np.sqrt(variance + np.float32(layer.epsilon))
    if layer.gamma is not None:
        scale = scale * np.asarray(layer.gamma, np.float32)
    shift = -np.asarray(layer.moving_mean, np.float32) * scale
    if layer.beta is not None:
        shift = np.asarray(layer.beta, np.float32) + shift
    last = name
    if np.any(scale != 1) or not np.any(shift):
        target = f"{name}_scaled" if np.any(shift) else last
        x = graph.node("Mul", target, [x, graph.short_constant(f"{name}_scale", scale)])
    if np.any(shift):
        x = graph.node("Add", last, [x, graph.short_constant(f"{name}_shift", shift)])
    return x


def _flatten(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    return x if len(layer.input_shape) == 2 else graph.node("Flatten", name, [x], axis=1)


def _nothing(graph: GraphBuilder, layer: Any, x: str, name: str) -> str:
    """Layers that do nothing outside training."""
    return x


ACTIVATIONS: dict[str, str] = {
    "linear": "",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
}

LAYERS: dict[str, Export] = {
    "Activation": _activation_layer,
    "BatchNormalization": _batch_normalization,
    "Dense": _dense,
    "Dropout": _nothing,
    "Flatten": _flatten,
    "LeakyReLU": _leaky_relu_layer,
    "QActivation": _qactivation,
    "QDense": _dense,
    "ReLU": _relu_layer,
    "Softmax": _softmax_layer,
}
