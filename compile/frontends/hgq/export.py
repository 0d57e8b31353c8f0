"""HGQ2 (Keras 3) models as QONNX, element by element.

The file runs under a stock ONNX Runtime like every export of samebits. hls4ml's ONNX frontend does
not read it, because it wants one scale per tensor: firmware comes from the model itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from samebits import errors

from .check import built_model, module_path
from .fixed import Fixed, HgqGraph, fixed_of

__all__ = ["LAYERS", "export_keras_3"]

_LARGEST_TABLE = 2**16


def export_keras_3(
    model: Any, feature_names: Sequence[str] = (), class_names: Sequence[str] = ()
) -> onnx.ModelProto:
    """The model as QONNX; Keras's inference, operation by operation.

    Args:
        model: a built Sequential or Functional model of Keras 3 and HGQ2 layers.
        feature_names: stored in the file's metadata as `samebits.features`.
        class_names: stored in the file's metadata as `samebits.classes`.

    Raises:
        UnsupportedError: layers that ONNX cannot say exactly, all listed.
        ModelError: the model is not built, or has NaN weights.
    """
    functional = built_model(model)
    graph, tensors, problems = HgqGraph(), {}, []
    inputs = []
    for tensor in functional.inputs:
        tensors[id(tensor)] = graph.input(tensor.name)
        inputs.append((tensor.name, _sizes(tensor)))
    seen: dict[str, int] = {}
    for node in _nodes(functional):
        layer, count = node.operation, seen.get(node.operation.name, 0)
        seen[layer.name] = count + 1
        name = f"{layer.name}_{count}" if count else layer.name
        sources = node.arguments.keras_tensors
        call = _Call(
            graph,
            layer,
            tuple(tensors[id(tensor)] for tensor in sources),
            tuple(_sizes(tensor) for tensor in sources),
            _sizes(node.outputs[0]),
            name,
        )
        try:
            tensors[id(node.outputs[0])] = _layer(call)
        except errors.UnsupportedError as error:
            problems.append(f"{name} ({type(layer).__name__}): {error}")
            tensors[id(node.outputs[0])] = name
    if problems:
        listing = "\n  ".join(problems)
        raise errors.UnsupportedError(
            f"Keras model {model.name!r}: {len(problems)} of its layers cannot be exported:\n  "
            f"{listing}\nSupported: {', '.join(sorted(LAYERS))}."
        )
    outputs: list[tuple[str, tuple[int, ...]]] = []
    for tensor in functional.outputs:
        found = tensors[id(tensor)]
        if found in [name for name, _ in (*inputs, *outputs)]:
            raise errors.ModelError(
                f"Keras model {model.name!r}: output {found!r} is an input or stands twice"
            )
        outputs.append((found, _sizes(tensor)))
    metadata = {
        key: json.dumps([str(value) for value in values])
        for key, values in (("features", feature_names), ("classes", class_names))
        if len(values)
    }
    return graph.model(model.name, inputs, outputs, metadata)


@dataclass(frozen=True, slots=True)
class _Call:
    """A layer, its inputs' tensors and shapes (without batch), its output's shape and name."""

    graph: HgqGraph
    layer: Any
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    name: str

    def node(self, operator: str, what: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.graph.node(operator, f"{self.name}_{what}", inputs, **attributes)

    def weights(self, what: str, value: Any, quantizer: Any, order: Any = None) -> str:
        """A weight as its quantizer left it; `order` moves the axes of both."""
        array = _numpy(value)
        fixed = None
        if quantizer is not None and type(quantizer.quantizer).__name__ != "DummyQuantizer":
            fixed = fixed_of(quantizer)
        if order is not None:
            if fixed is not None:
                fixed = fixed.map(lambda a: np.broadcast_to(a, array.shape).transpose(order))
            array = array.transpose(order)
        return self.graph.weights(f"{self.name}_{what}", array, fixed)


def _nodes(model: Any) -> Iterator[Any]:
    """Calls of layers in the order of the data flow."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if type(node.operation).__name__ != "InputLayer":
                yield node


def _layer(call: _Call) -> str:
    """The layer's nodes: quantizers of its inputs, itself, its activation, its output's."""
    layer, kind = call.layer, type(call.layer).__name__
    if kind not in LAYERS or not module_path(layer).startswith(("hgq.", "keras.")):
        raise errors.UnsupportedError("no such layer here")
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise errors.UnsupportedError("data_format='channels_first': supported is 'channels_last'")
    x = list(call.inputs)
    if getattr(layer, "_enable_iq", False):
        quantizers = list(layer.iq) if len(x) > 1 else [layer.iq]
        for index, quantizer in enumerate(quantizers):
            name = f"{call.name}_iq{index if len(x) > 1 else ''}"
            x[index] = call.graph.elements(name, x[index], fixed_of(quantizer))
    y = LAYERS[kind](call, x)
    if kind != "QUnaryFunctionLUT":
        y = _activated(call, y)
    if getattr(layer, "_enable_oq", False):
        y = call.graph.elements(f"{call.name}_oq", y, fixed_of(layer.oq))
    return call.graph.rename(y, call.name)


def _activated(call: _Call, x: str) -> str:
    activation = getattr(call.layer, "activation", None)
    name = getattr(activation, "__name__", "linear")
    if name == "linear":
        return x
    if name == "relu":
        return call.node("Relu", "relu", [x])
    raise errors.UnsupportedError(f"activation {name!r}; supported: linear, relu")


def _dense(call: _Call, x: list[str]) -> str:
    layer = call.layer
    kernel = call.weights("kernel", layer.qkernel, layer.kq)
    return _biased(call, call.node("MatMul", "products", [x[0], kernel]))


def _biased(call: _Call, x: str) -> str:
    bias = getattr(call.layer, "qbias", None)
    if bias is None:
        return x
    return call.node("Add", "biased", [x, call.weights("bias", bias, call.layer.bq)])


def _einsum_dense(call: _Call, x: list[str]) -> str:
    layer = call.layer
    kernel = call.weights("kernel", layer.qkernel, layer.kq)
    return _biased(call, call.node("Einsum", "sums", [x[0], kernel], equation=layer.equation))


def _einsum(call: _Call, x: list[str]) -> str:
    return call.node("Einsum", "sums", x, equation=call.layer.equation)


def _conv(call: _Call, x: list[str]) -> str:
    layer, rank = call.layer, len(call.shape) + 1
    kernel = call.weights("kernel", layer.qkernel, layer.kq, (rank - 1, rank - 2, *range(rank - 2)))
    pads = _pads(layer, call.shapes[0], layer.kernel_size, layer.strides, layer.dilation_rate)
    y = _channels_first(
        call,
        "Conv",
        [x[0], kernel],
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        group=layer.groups,
        kernel_shape=list(layer.kernel_size),
        pads=pads,
    )
    return _biased(call, y)


def _pads(
    layer: Any, shape: Sequence[int], sizes: Any, strides: Any, dilations: Any = None
) -> list[int]:
    """Zeros in front of and behind each axis, as Keras's padding means them."""
    before, after = [], []
    for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        reach = (size - 1) * (dilations[axis] if dilations else 1) + 1
        length = shape[axis]
        total = 0
        if layer.padding == "same":
            total = max((math.ceil(length / stride) - 1) * stride + reach - length, 0)
        before.append(reach - 1 if layer.padding == "causal" else total // 2)
        after.append(0 if layer.padding == "causal" else total - total // 2)
    return before + after


def _channels_first(call: _Call, operator: str, inputs: list[str], **attributes: Any) -> str:
    """A node that wants channels first, between two transpositions."""
    axes = list(range(len(call.shape) + 1))
    first = call.node("Transpose", "first", [inputs[0]], perm=[0, axes[-1], *axes[1:-1]])
    y = call.node(operator, "channels", [first, *inputs[1:]], **attributes)
    return call.node("Transpose", "last", [y], perm=[0, *axes[2:], 1])


def _pool(call: _Call, x: list[str]) -> str:
    layer = call.layer
    if "Max" not in type(layer).__name__:
        _need_power_of_two(math.prod(layer.pool_size), "the size of its window")
        if layer.padding == "same":
            raise errors.UnsupportedError("an average with padding 'same'; supported: 'valid'")
    return _channels_first(
        call,
        "MaxPool" if "Max" in type(layer).__name__ else "AveragePool",
        x,
        kernel_shape=list(layer.pool_size),
        strides=list(layer.strides),
        pads=_pads(layer, call.shapes[0], layer.pool_size, layer.strides),
    )


def _global_pool(call: _Call, x: list[str]) -> str:
    layer, axes = call.layer, list(range(1, len(call.shapes[0])))
    if "Max" in type(layer).__name__:
        return call.node("ReduceMax", "largest", x, axes=axes, keepdims=int(layer.keepdims))
    count = math.prod(call.shapes[0][:-1])
    _need_power_of_two(count, "the number of positions")
    return _sum(call, x[0], axes, layer.keepdims, 1 / count)


def _need_power_of_two(count: int, what: str) -> None:
    if count & (count - 1):
        raise errors.UnsupportedError(f"{what} is {count}, no power of two, so means are rounded")


def _sum(call: _Call, x: str, axes: Sequence[int], keepdims: bool, scale: float) -> str:
    where = call.graph.integers(f"{call.name}_axes", list(axes))
    y = call.node("ReduceSum", "sum", [x, where], keepdims=int(keepdims))
    if scale == 1:
        return y
    factor = call.graph.constant(f"{call.name}_factor", scale)
    return call.node("Mul", "scaled", [y, factor])


def _accumulate(call: _Call, x: list[str]) -> str:
    return _sum(call, x[0], call.layer.axes, call.layer.keepdims, float(call.layer.scale))


def _normalize(call: _Call, x: list[str]) -> str:
    layer = call.layer
    scale, offset = (_numpy(value).reshape(layer._shape) for value in layer.qscaler_and_qoffset)
    y = call.node("Mul", "products", [x[0], call.graph.constant(f"{call.name}_scale", scale)])
    return call.node("Add", "shifted", [y, call.graph.constant(f"{call.name}_offset", offset)])


def _merge(operator: str) -> Callable[[_Call, list[str]], str]:
    def merge(call: _Call, x: list[str]) -> str:
        y = x[0]
        for index, other in enumerate(x[1:]):
            y = call.node(operator, f"merged{index}", [y, other])
        return y

    return merge


def _average(call: _Call, x: list[str]) -> str:
    factor = call.graph.constant(f"{call.name}_factor", call.layer._scale)
    return call.node("Mul", "scaled", [_merge("Add")(call, x), factor])


def _dot(call: _Call, x: list[str]) -> str:
    if any(len(shape) != 1 for shape in call.shapes):
        raise errors.UnsupportedError("inputs of several axes; supported: one")
    return _sum(call, call.node("Mul", "products", x), [1], True, 1)


def _reshape(call: _Call, x: list[str]) -> str:
    shape = call.graph.integers(f"{call.name}_shape", [0, *call.shape])
    return call.node("Reshape", "reshaped", [x[0], shape])


def _permute(call: _Call, x: list[str]) -> str:
    return call.node("Transpose", "moved", x, perm=[0, *call.layer.dims])


def _concatenate(call: _Call, x: list[str]) -> str:
    return call.node("Concat", "joined", x, axis=call.layer.axis)


def _relu(call: _Call, x: list[str]) -> str:
    layer = call.layer
    if layer.threshold or layer.negative_slope or layer.max_value is not None:
        raise errors.UnsupportedError("threshold, negative_slope or max_value; supported: none")
    return call.node("Relu", "relu", x)


def _leaky_relu(call: _Call, x: list[str]) -> str:
    return call.node("LeakyRelu", "leaky", x, alpha=float(call.layer.negative_slope))


def _quantizer(call: _Call, x: list[str]) -> str:
    return call.graph.elements(f"{call.name}_q", x[0], fixed_of(call.layer))


def _table(call: _Call, x: list[str]) -> str:
    """A function of one variable as the table of its values on the input's finest grid."""
    if not call.layer.enable_iq:
        raise errors.UnsupportedError("a table needs a quantizer on its input")
    return _looked_up(call, x[0], fixed_of(call.layer.iq))


def _looked_up(call: _Call, x: str, fixed: Fixed) -> str:
    """The layer's activation of numbers with these formats."""
    step, (low, high) = float(fixed.step.min()), fixed.limits
    low, high = min(low, 0.0), max(high, 0.0)
    count = round((high - low) / step) + 1
    if count > _LARGEST_TABLE:
        raise errors.UnsupportedError(f"a table of {count} entries; at most {_LARGEST_TABLE}")
    points = (low + np.arange(count) * step).astype(np.float32)
    values = call.graph.constant(f"{call.name}_table", _numpy(call.layer.activation(points)))
    graph = call.graph
    y = call.node("Sub", "above", [x, graph.constant(f"{call.name}_low", low)])
    y = call.node("Div", "row", [y, graph.constant(f"{call.name}_step", step)])
    y = call.node("Cast", "index", [y], to=onnx.TensorProto.INT64)
    return call.node("Gather", "value", [values, y])


def _softmax(call: _Call, x: list[str]) -> str:
    """Two tables, as HGQ2 and hls4ml compute it: exp(x - max) / sum.

    Source: hgq 0.2.0, layers/softmax.py, `QSoftmax.call`.
    """
    layer, y = call.layer, x[0]
    axes = [int(axis) for axis in layer.axes]
    if layer.stable:
        largest = call.node("ReduceMax", "largest", [y], axes=axes, keepdims=1)
        y = call.node("Sub", "below", [largest, y])
    elif not layer.enable_iq:
        raise errors.UnsupportedError("stable=False needs a quantizer on its input")
    given = None if layer.stable else fixed_of(layer.iq)
    powers = _inner_table(call, layer.exp_table, "exp", y, given)
    sums = _sum(call, powers, axes, True, 1)
    inverse = _inner_table(call, layer.inv_table, "inv", sums)
    return call.node("Mul", "shares", [powers, inverse])


def _inner_table(call: _Call, table: Any, what: str, x: str, given: Fixed | None = None) -> str:
    """A table inside a layer, with its own quantizers; `given`: formats that x has already."""
    inner = replace(call, layer=table, name=f"{call.name}_{what}")
    fixed = given
    if fixed is None:
        fixed = fixed_of(table.iq)
        x = call.graph.elements(f"{inner.name}_iq", x, fixed)
    return call.graph.elements(f"{inner.name}_oq", _looked_up(inner, x, fixed), fixed_of(table.oq))


def _same(call: _Call, x: list[str]) -> str:
    return x[0]


def _sizes(tensor: Any) -> tuple[int, ...]:
    sizes = tuple(tensor.shape[1:])
    if any(size is None for size in sizes):
        raise errors.ModelError(f"tensor {tensor.name} has open sizes: {tuple(tensor.shape)}")
    return sizes


def _numpy(value: Any) -> NDArray[Any]:
    import keras  # type: ignore[import-untyped]

    return np.asarray(keras.ops.convert_to_numpy(value))


LAYERS: dict[str, Callable[[_Call, list[str]], str]] = {
    "QDense": _dense,
    "QBatchNormDense": _dense,
    "QEinsumDense": _einsum_dense,
    "QEinsumDenseBatchnorm": _einsum_dense,
    "QConv1D": _conv,
    "QConv2D": _conv,
    "QEinsum": _einsum,
    "QBatchNormalization": _normalize,
    "QDot": _dot,
    "QSum": _accumulate,
    "QMeanPow2": _accumulate,
    "QAveragePow2": _average,
    "QSoftmax": _softmax,
    "QUnaryFunctionLUT": _table,
    "Quantizer": _quantizer,
    "Activation": _same,
    "Concatenate": _concatenate,
    "Flatten": _reshape,
    "LeakyReLU": _leaky_relu,
    "Permute": _permute,
    "ReLU": _relu,
    "Reshape": _reshape,
    **{
        f"{prefix}{name}": _merge(operator)
        for prefix in ("", "Q")
        for name, operator in (
            *(("Add", "Add"), ("Subtract", "Sub"), ("Multiply", "Mul")),
            *(("Maximum", "Max"), ("Minimum", "Min")),
        )
    },
    **{
        f"{prefix}{kind}Pooling{rank}D": _pool
        for prefix in ("", "Q")
        for kind in ("Max", "Average")
        for rank in (1, 2)
    },
    **{
        f"{prefix}Global{kind}Pooling{rank}D": _global_pool
        for prefix in ("", "Q")
        for kind in ("Max", "Average")
        for rank in (1, 2)
    },
    **dict.fromkeys(("Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout"), _same),
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D"), _same),
}
