"""Keras and QKeras pooling as ONNX."""

from typing import Any

import numpy as np

from samebits import errors

from .call import Call, Export
from .conv import same_padding
from .layers import activation, is_linear
from .quantizers import quantized_weight

__all__ = ["LAYERS"]


def _pool(call: Call, operator: str, name: str, **attributes: Any) -> str:
    call.channels_last()
    layer, rank = call.layer, len(call.shapes[0])
    window, strides = _numbers(layer.pool_size, rank - 1), _numbers(layer.strides, rank - 1)
    same = str(layer.padding).lower() == "same"
    pads = same_padding(call.shapes[0], window, strides) if same else [0] * 2 * len(window)
    return call.channels_first(
        operator,
        name,
        [call.x],
        rank + 1,
        kernel_shape=window,
        strides=strides,
        pads=pads,
        **attributes,
    )


def _numbers(value: Any, count: int) -> list[int]:
    numbers = list(value) if isinstance(value, list | tuple) else [value] * count
    return [int(number) for number in numbers]


def _max(call: Call) -> str:
    return _pool(call, "MaxPool", call.name)


def _average(call: Call) -> str:
    """The mean of what lies in the window: padding does not count."""
    return _pool(call, "AveragePool", call.name, count_include_pad=0)


def _global(call: Call, operator: str, name: str) -> str:
    """(*space, C) -> (C,), or (1, .., C) with keepdims."""
    call.channels_last()
    keep = bool(call.layer.keepdims)
    rank = len(call.shapes[0]) + 1
    target = name if keep else f"{name}_kept"
    y = call.channels_first(operator, target, [call.x], rank)
    return y if keep else call.graph.node("Flatten", name, [y], axis=1)


def _global_max(call: Call) -> str:
    return _global(call, "GlobalMaxPool", call.name)


def _global_average(call: Call) -> str:
    return _global(call, "GlobalAveragePool", call.name)


def _quantized_average(call: Call) -> str:
    """QAveragePooling2D, QGlobalAveragePooling2D: the mean times the area times quantized(1/area).

    Source: qkeras/qpooling.py, `call`.
    """
    graph, layer, name = call.graph, call.layer, call.name
    linear = is_linear(layer.activation)
    last = name if linear else f"{name}_linear"
    whole = not hasattr(layer, "pool_size")
    area = int(np.prod(call.shapes[0][:-1] if whole else _numbers(layer.pool_size, 2)))
    quantizer = layer.average_quantizer_internal if layer.average_quantizer else None
    mean = f"{name}_mean" if quantizer is not None else last
    y = (
        _global(call, "GlobalAveragePool", mean)
        if whole
        else _pool(call, "AveragePool", mean, count_include_pad=0)
    )
    if quantizer is not None:
        if str(getattr(layer, "padding", "valid")).lower() == "same":
            raise errors.UnsupportedError(
                "padding='same' with average_quantizer: QKeras multiplies means at the border with "
                "the whole area; use 'valid'"
            )
        factor = quantized_weight(quantizer, np.asarray(1.0 / area, np.float32)).value
        # one factor: the area is a power of two or the product is rounded once more in Keras
        y = graph.node(
            "Mul", last, [y, graph.short_constant(f"{name}_factor", np.float32(area) * factor)]
        )
        if area & (area - 1):
            graph.caveats[last] = f"QKeras multiplies with {area} and {float(factor):g} in turn"
    return y if linear else activation(graph, layer.activation, y, name)


LAYERS: dict[str, Export] = {
    "AveragePooling1D": _average,
    "AveragePooling2D": _average,
    "GlobalAveragePooling1D": _global_average,
    "GlobalAveragePooling2D": _global_average,
    "GlobalMaxPooling1D": _global_max,
    "GlobalMaxPooling2D": _global_max,
    "MaxPooling1D": _max,
    "MaxPooling2D": _max,
    "QAveragePooling2D": _quantized_average,
    "QGlobalAveragePooling2D": _quantized_average,
}
