"""Products of two tensors, attention, layer normalization and TimeDistributed of Keras as ONNX."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from samebits import errors

from . import conv, layers, pooling, shapes
from .call import Call, Export
from .layers import activation, is_linear

__all__ = ["LAYERS"]


def _dot(call: Call) -> str:
    """The scalar product of two vectors (1,), or of two matrices along an axis of each."""
    layer, graph, name = call.layer, call.graph, call.name
    axes = layer.axes if isinstance(layer.axes, list | tuple) else [layer.axes] * 2
    ranks = [len(shape) for shape in call.shapes]
    axes = [axis % (rank + 1) for axis, rank in zip(axes, ranks, strict=True)]
    if layer.normalize or ranks not in ([1, 1], [2, 2]) or 0 in axes:
        raise errors.UnsupportedError(
            f"axes={layer.axes}, normalize={layer.normalize} of shapes "
            f"{', '.join(map(str, call.shapes))}: supported are two vectors or two matrices, not "
            "normalized"
        )
    left, right = call.inputs
    if ranks == [1, 1]:
        product = graph.node("Mul", f"{name}_products", [left, right])
        axis = graph.integers(f"{name}_axes", [1])
        return graph.node("ReduceSum", name, [product, axis], keepdims=1)
    if axes[0] == 1:
        left = graph.node("Transpose", f"{name}_left", [left], perm=[0, 2, 1])
    if axes[1] == 2:
        right = graph.node("Transpose", f"{name}_right", [right], perm=[0, 2, 1])
    return graph.node("MatMul", name, [left, right])


def _refuse_masks(call: Call) -> None:
    for option in ("attention_mask", "mask", "return_attention_scores", "use_causal_mask"):
        given = call.options.get(option)
        if given is not None and given is not False:
            raise errors.UnsupportedError(f"{option}: firmware has no masks, and one result")


def _attention(call: Call) -> str:
    """softmax(scale q k^T) v; the key is the value if it is not given."""
    _refuse_masks(call)
    layer, graph, name = call.layer, call.graph, call.name
    if layer.score_mode != "dot":
        raise errors.UnsupportedError(f"score_mode={layer.score_mode!r}: supported is 'dot'")
    query, value, key = [*call.inputs, call.inputs[1]][:3]
    turned = graph.node("Transpose", f"{name}_turned", [key], perm=[0, 2, 1])
    scores = graph.node("MatMul", f"{name}_products", [query, turned])
    if layer.scale is not None:
        scale = graph.short_constant(f"{name}_scale", np.asarray(layer.scale, np.float32))
        scores = graph.node("Mul", f"{name}_scores", [scores, scale])
    shares = graph.node("Softmax", f"{name}_shares", [scores], axis=-1)
    return graph.node("MatMul", name, [shares, value])


def _multi_head(call: Call) -> str:
    """MultiHeadAttention of (T, C): every head's softmax(q k^T / sqrt(K)) v, put together."""
    _refuse_masks(call)
    layer, graph, name = call.layer, call.graph, call.name
    if any(len(shape) != 2 for shape in call.shapes) or len(call.inputs) > 3:
        raise errors.UnsupportedError(
            f"inputs of shapes {', '.join(map(str, call.shapes))}: supported are (steps, features)"
        )
    query, value, key = [*call.inputs, call.inputs[1]][:3]
    if len(call.inputs) == 3 and "key" in call.options:
        # Keras lists what is given by name behind the rest, in the order of the names
        key, value = (key, value) if "value" not in call.options else (value, key)
    heads = int(layer._num_heads)

    def projected(x: str, dense: Any, role: str, size: int) -> str:
        """x W + b as (steps, heads, size)."""
        rows = _rows(call, x, dense, f"{name}_{role}", 1)
        shape = graph.integers(f"{name}_{role}_shape", [0, -1, heads, size])
        return graph.node("Reshape", f"{name}_{role}_heads", [rows, shape])

    inner, outer = int(layer._key_dim), int(layer._value_dim)
    q = projected(query, layer._query_dense, "query", inner)
    factor = np.asarray(1.0 / math.sqrt(float(inner)), np.float32)
    q = graph.node("Mul", f"{name}_scaled", [q, graph.short_constant(f"{name}_scale", factor)])
    q = graph.node("Transpose", f"{name}_q", [q], perm=[0, 2, 1, 3])
    k = projected(key, layer._key_dense, "key", inner)
    k = graph.node("Transpose", f"{name}_k", [k], perm=[0, 2, 3, 1])
    v = projected(value, layer._value_dense, "value", outer)
    v = graph.node("Transpose", f"{name}_v", [v], perm=[0, 2, 1, 3])
    scores = graph.node("MatMul", f"{name}_scores", [q, k])
    shares = graph.node("Softmax", f"{name}_shares", [scores], axis=-1)
    y = graph.node("MatMul", f"{name}_each", [shares, v])
    y = graph.node("Transpose", f"{name}_together", [y], perm=[0, 2, 1, 3])
    shape = graph.integers(f"{name}_row_shape", [0, -1, heads * outer])
    y = graph.node("Reshape", f"{name}_row", [y, shape])
    return _rows(call, y, layer._output_dense, name, 2)


def _rows(call: Call, x: str, dense: Any, name: str, summed: int) -> str:
    """x W + b of an EinsumDense over the last axis; the first `summed` axes of W are summed."""
    graph = call.graph
    kernel = np.asarray(dense.kernel, np.float32)
    matrix = kernel.reshape(math.prod(kernel.shape[:summed]), -1)
    product = f"{name}_product" if dense.bias is not None else name
    y = graph.node("MatMul", product, [x, graph.constant(f"{name}_kernel", matrix)])
    if dense.bias is None:
        return y
    bias = graph.constant(f"{name}_bias", np.asarray(dense.bias, np.float32).reshape(-1))
    return graph.node("Add", name, [y, bias])


def _einsum_dense(call: Call) -> str:
    layer, graph, name = call.layer, call.graph, call.name
    equation = layer.equation.replace(" ", "")
    if "." in equation:
        raise errors.UnsupportedError(f"equation {equation!r}: write all axes instead of ...")
    linear = is_linear(layer.activation)
    after = name if linear else f"{name}_linear"
    product = after if layer.bias is None else f"{name}_product"
    kernel = graph.constant(f"{name}_kernel", np.asarray(layer.kernel, np.float32))
    y = graph.node("Einsum", product, [call.x, kernel], equation=equation)
    if layer.bias is not None:
        bias = graph.constant(f"{name}_bias", np.asarray(layer.bias, np.float32))
        y = graph.node("Add", after, [y, bias])
    return y if linear else activation(graph, layer.activation, y, name)


def _layer_normalization(call: Call) -> str:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, over the last axis."""
    layer, graph, name = call.layer, call.graph, call.name
    axes = [int(axis) for axis in np.ravel(np.asarray(layer.axis))]
    if axes not in ([-1], [len(call.shape)]):
        raise errors.UnsupportedError(f"axis={axes}: supported is the last axis, -1")
    size = call.shape[-1]
    given = {"gamma": (layer.gamma, 1.0), "beta": (layer.beta, 0.0)}
    operands = [
        graph.constant(
            f"{name}_{role}",
            np.full(size, default, np.float32) if value is None else np.asarray(value, np.float32),
        )
        for role, (value, default) in given.items()
    ]
    return graph.node(
        "LayerNormalization", name, [call.x, *operands], axis=-1, epsilon=float(layer.epsilon)
    )


def _rescaling(call: Call) -> str:
    """scale x + offset."""
    layer, graph, name = call.layer, call.graph, call.name
    scale, offset = (np.asarray(value, np.float32) for value in (layer.scale, layer.offset))
    target = f"{name}_scaled" if np.any(offset) else name
    y = graph.node("Mul", target, [call.x, graph.short_constant(f"{name}_scale", scale)])
    if not np.any(offset):
        return y
    return graph.node("Add", name, [y, graph.short_constant(f"{name}_offset", offset)])


# layers that do to rows of rows what they do to rows
_ALIKE = (
    *("Activation", "ActivityRegularization", "BatchNormalization", "Dense", "Dropout", "ELU"),
    *("GaussianDropout", "GaussianNoise", "LayerNormalization", "LeakyReLU", "QActivation"),
    *("QDense", "ReLU", "Rescaling", "ThresholdedReLU"),
)


def _time_distributed(call: Call) -> str:
    """The inner layer on every step; the steps count as events where it is not alike on them."""
    inner = call.layer.layer
    kind, graph, name = type(inner).__name__, call.graph, call.name
    if kind not in _INNER:
        raise errors.UnsupportedError(
            f"of a layer {kind}: supported are {', '.join(sorted(_INNER))}"
        )
    (shape,) = call.shapes
    if kind in _ALIKE:
        return _INNER[kind](_with(call, inner, call.inputs[0], shape, call.shape, name))

    def reshaped(x: str, role: str, sizes: Sequence[int], target: str) -> str:
        return graph.node("Reshape", target, [x, graph.integers(f"{name}_{role}", sizes)])

    step = reshaped(call.x, "step_shape", [-1, *shape[1:]], f"{name}_steps")
    y = _INNER[kind](_with(call, inner, step, shape[1:], call.shape[1:], f"{name}_each"))
    return reshaped(y, "shape", [-1, *call.shape], name)


def _with(
    call: Call, layer: Any, x: str, shape: tuple[int, ...], made: tuple[int, ...], name: str
) -> Call:
    return Call(call.graph, layer, (x,), (shape,), made, name)


LAYERS: dict[str, Export] = {
    "Attention": _attention,
    "Dot": _dot,
    "EinsumDense": _einsum_dense,
    "LayerNormalization": _layer_normalization,
    "MultiHeadAttention": _multi_head,
    "Rescaling": _rescaling,
    "TimeDistributed": _time_distributed,
}
_INNER: dict[str, Export] = {
    **conv.LAYERS,
    **layers.LAYERS,
    **pooling.LAYERS,
    **shapes.LAYERS,
    "LayerNormalization": _layer_normalization,
    "Rescaling": _rescaling,
}
