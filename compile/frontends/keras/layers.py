"""Dense layers, activations, normalization and embeddings of Keras and QKeras as QONNX."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .call import Call, Export
from .graph import GraphBuilder
from .quantizers import apply_quantizer, is_quantizer, quantized_weight

__all__ = ["ACTIVATIONS", "LAYERS", "activation", "dense", "is_linear"]

# operator and attributes; the functions of Keras, by name
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "elu": ("Elu", {"alpha": 1.0}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
    "linear": ("", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": -1}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "square_root": ("Sqrt", {}),  # samebits.train.functions
    "tanh": ("Tanh", {}),
}


# QKeras's own, by the slope of clip(slope x + 1/2, 0, 1), h; the two others are 2 h - 1
_QKERAS = {"hard_sigmoid": 0.5, "smooth_sigmoid": 0.1875, "hard_tanh": 0.5, "smooth_tanh": 0.1875}


def activation(graph: GraphBuilder, function: Any, x: str, name: str) -> str:
    """Adds an activation given as a Keras function or a QKeras quantizer; the result is `name`."""
    if function is None:
        return x
    if is_quantizer(function):
        return apply_quantizer(graph, function, x, name)
    kind = getattr(function, "__name__", type(function).__name__)
    home = str(getattr(function, "__module__", "")).split(".")[0]
    if home == "qkeras" and kind in _QKERAS:
        sloped: dict[str, Any] = {"alpha": _QKERAS[kind], "beta": 0.5}
        if kind.endswith("sigmoid"):
            return graph.node("HardSigmoid", name, [x], **sloped)
        y = graph.node("HardSigmoid", f"{name}_half", [x], **sloped)
        numbers = {"two": 2.0, "one": -1.0}
        two, one = (
            graph.short_constant(f"{name}_{word}", np.asarray(value, np.float32))
            for word, value in numbers.items()
        )
        return graph.node("Add", name, [graph.node("Mul", f"{name}_twice", [y, two]), one])
    if kind == "relu6" or kind not in ACTIVATIONS or home == "qkeras":
        if kind == "relu6":
            return _clip_above(graph, graph.node("Relu", f"{name}_relu", [x]), 6.0, name)
        raise errors.UnsupportedError(
            f"activation {kind!r}{' of qkeras' * (home == 'qkeras')} is not supported; supported: "
            f"{', '.join(sorted([*ACTIVATIONS, 'relu6']))}"
        )
    operator, attributes = ACTIVATIONS[kind]
    return graph.node(operator, name, [x], **attributes) if operator else x


def is_linear(function: Any) -> bool:
    """True for an activation that does nothing."""
    return function is None or getattr(function, "__name__", "") == "linear"


def dense(call: Call) -> str:
    """y = activation(x W + b); x (C_in,), W (C_in, C_out), b (C_out,)."""
    graph, layer, name = call.graph, call.layer, call.name
    linear = is_linear(layer.activation)
    after_sum = name if linear else f"{name}_linear"
    after_product = f"{name}_product" if layer.use_bias else after_sum
    kernel = quantized_weight(getattr(layer, "kernel_quantizer_internal", None), layer.kernel)
    y = graph.node("MatMul", after_product, [call.x, graph.weight(f"{name}_kernel", kernel)])
    if layer.use_bias:
        bias = quantized_weight(getattr(layer, "bias_quantizer_internal", None), layer.bias)
        y = graph.node("Add", after_sum, [y, graph.weight(f"{name}_bias", bias)])
    return y if linear else activation(graph, layer.activation, y, name)


def _activation_layer(call: Call) -> str:
    return activation(call.graph, call.layer.activation, call.x, call.name)


def _qactivation(call: Call) -> str:
    return activation(call.graph, call.layer.quantizer, call.x, call.name)


def _adaptive(call: Call) -> str:
    """QAdaptiveActivation: outside training, its quantizer with the integer bits it has learned.

    Source: qkeras/qlayers.py, `QAdaptiveActivation.call` with training=False.
    """
    call.layer.quantizer.update_qnoise_factor(1.0)  # as the layer does, whatever training left
    return activation(call.graph, call.layer.quantizer, call.x, call.name)


def _relu_layer(call: Call) -> str:
    """x from `threshold` on, slope * (x - threshold) below, at most `max_value`."""
    graph, layer, name = call.graph, call.layer, call.name
    slope, threshold = float(layer.negative_slope), float(layer.threshold)
    bounded = layer.max_value is not None
    target = f"{name}_relu" if bounded else name
    if slope and threshold:
        raise errors.UnsupportedError(
            f"negative_slope={slope:g} with threshold={threshold:g}: supported is one of the two"
        )
    if threshold:
        y = graph.node("ThresholdedRelu", target, [call.x], alpha=threshold)
    elif slope:
        y = graph.node("LeakyRelu", target, [call.x], alpha=slope)
    else:
        y = graph.node("Relu", target, [call.x])
    return _clip_above(graph, y, float(layer.max_value), name) if bounded else y


def _clip_above(graph: GraphBuilder, x: str, top: float, name: str) -> str:
    """min(x, top) = top - relu(top - x): operators that hls4ml has, exact on a grid."""
    limit = np.asarray(top, np.float32)
    minus = np.asarray(-1, np.float32)
    y = graph.node("Mul", f"{name}_minus", [x, graph.short_constant(f"{name}_sign", minus)])
    y = graph.node("Add", f"{name}_below", [y, graph.short_constant(f"{name}_top", limit)])
    y = graph.node("Relu", f"{name}_room", [y])
    y = graph.node("Mul", f"{name}_back", [y, graph.short_constant(f"{name}_sign_back", minus)])
    return graph.node("Add", name, [y, graph.short_constant(f"{name}_limit", limit)])


def _leaky_relu_layer(call: Call) -> str:
    return call.graph.node("LeakyRelu", call.name, [call.x], alpha=float(call.layer.alpha))


def _elu_layer(call: Call) -> str:
    return call.graph.node("Elu", call.name, [call.x], alpha=float(call.layer.alpha))


def _prelu_layer(call: Call) -> str:
    """x, or alpha * x below zero; alpha is constant along `shared_axes`."""
    slope = call.graph.constant(f"{call.name}_alpha", np.asarray(call.layer.alpha, np.float32))
    return call.graph.node("PRelu", call.name, [call.x, slope])


def _thresholded_relu_layer(call: Call) -> str:
    return call.graph.node("ThresholdedRelu", call.name, [call.x], alpha=float(call.layer.theta))


def _softmax_layer(call: Call) -> str:
    axes = np.ravel(np.asarray(call.layer.axis)) % (len(call.shape) + 1)
    if axes.size != 1 or axes[0] == 0:
        raise errors.UnsupportedError(
            f"axis={call.layer.axis}: supported is one axis besides the batch"
        )
    axis = -1 if axes[0] == len(call.shape) else int(axes[0])
    return call.graph.node("Softmax", call.name, [call.x], axis=axis)


def _batch_normalization(call: Call) -> str:
    """y = x * scale + shift, scale = gamma / sqrt(variance + epsilon), in TensorFlow's order.

    Source: tensorflow/python/ops/nn_impl.py, `batch_normalization`. For images Keras takes the
    fused kernel, (x - mean) * scale + beta, which rounds elsewhere; `caveats` says so.
    """
    graph, layer, name = call.graph, call.layer, call.name
    rank = len(call.shape) + 1
    axes = list(layer.axis) if isinstance(layer.axis, list | tuple) else [layer.axis]
    if axes not in ([-1], [rank - 1]):
        raise errors.UnsupportedError(f"axis={axes}: supported is the last axis, -1")
    numbers = {
        role: _normalizing(layer, role, value)
        for role, value in (
            ("gamma", layer.gamma),
            ("beta", layer.beta),
            ("mean", layer.moving_mean),
            ("variance", layer.moving_variance),
        )
    }
    # TensorFlow's own rsqrt: NumPy's square root and quotient may differ in the last place
    rsqrt = sys.modules["tensorflow"].math.rsqrt
    scale = np.asarray(rsqrt(numbers["variance"] + np.float32(layer.epsilon)), np.float32)
    if layer.gamma is not None:
        scale = scale * numbers["gamma"]
    shift = -numbers["mean"] * scale
    if layer.beta is not None:
        shift = numbers["beta"] + shift
    if getattr(layer, "fused", False):
        graph.caveats[name] = "TensorFlow's fused batch normalization subtracts the mean first"
    x, last = call.x, name
    if np.any(scale != 1) or not np.any(shift):
        target = f"{name}_scaled" if np.any(shift) else last
        x = graph.node("Mul", target, [x, graph.short_constant(f"{name}_scale", scale)])
    if np.any(shift):
        x = graph.node("Add", last, [x, graph.short_constant(f"{name}_shift", shift)])
    return x


def _normalizing(layer: Any, role: str, value: Any) -> NDArray[np.float32]:
    """A parameter as the layer uses it: through its quantizer, if it has one."""
    quantizer = getattr(layer, f"{role}_quantizer_internal", None)
    if value is None:
        return np.zeros((), np.float32)
    return np.asarray(value if quantizer is None else quantizer(value), np.float32)


def _embedding(call: Call) -> str:
    """y = table[x]; x holds whole numbers as floats."""
    if getattr(call.layer, "mask_zero", False):
        raise errors.UnsupportedError("mask_zero=True: firmware has no masks; use False")
    graph, name = call.graph, call.name
    table = graph.weight(f"{name}_table", quantized_weight(None, call.layer.embeddings))
    index = graph.node("Cast", f"{name}_index", [call.x], to=7)  # int64
    return graph.node("Gather", name, [table, index], axis=0)


def _nothing(call: Call) -> str:
    """Layers that do nothing outside training."""
    return call.x


LAYERS: dict[str, Export] = {
    "Activation": _activation_layer,
    "ActivityRegularization": _nothing,
    "AlphaDropout": _nothing,
    "BatchNormalization": _batch_normalization,
    "Dropout": _nothing,
    "ELU": _elu_layer,
    "Embedding": _embedding,
    "GaussianDropout": _nothing,
    "GaussianNoise": _nothing,
    "Identity": _nothing,
    "LeakyReLU": _leaky_relu_layer,
    "PReLU": _prelu_layer,
    "QActivation": _qactivation,
    "QAdaptiveActivation": _adaptive,
    "QBatchNormalization": _batch_normalization,
    "ReLU": _relu_layer,
    "Softmax": _softmax_layer,
    "SpatialDropout1D": _nothing,
    "SpatialDropout2D": _nothing,
    "ThresholdedReLU": _thresholded_relu_layer,
}
