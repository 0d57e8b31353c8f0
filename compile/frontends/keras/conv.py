"""Keras and QKeras convolutions, and Dense layers of rows, as QONNX; folded normalization."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .call import Call, Export
from .grid import Weight
from .layers import activation, dense, is_linear
from .quantizers import quantized_weight

__all__ = ["LAYERS", "same_padding"]


def _conv(call: Call) -> str:
    """y = activation(conv(x, W) + b); x (*space, C_in), W (*window, C_in / groups, C_out)."""
    layer = call.layer
    kernel = quantized_weight(_quantizer(layer, "kernel"), layer.kernel)
    return _activated(call, _convolve(call, kernel, _bias(call), layer.groups))


def _depthwise(call: Call) -> str:
    """Every channel by itself; W (*window, C_in, multiplier)."""
    layer = call.layer
    kernel = quantized_weight(_quantizer(layer, "depthwise"), layer.depthwise_kernel)
    return _activated(call, _convolve(call, kernel.map(_grouped), _bias(call), call.shapes[0][-1]))


def _separable(call: Call) -> str:
    """A depthwise convolution, then one with windows of size 1."""
    layer = call.layer
    depthwise = quantized_weight(_quantizer(layer, "depthwise"), layer.depthwise_kernel)
    pointwise = quantized_weight(_quantizer(layer, "pointwise"), layer.pointwise_kernel)
    rank = len(call.shapes[0]) - 1
    between = _convolve(
        call, depthwise.map(_grouped), None, call.shapes[0][-1], target=f"{call.name}_depthwise"
    )
    ones = ((1,) * rank, [0] * 2 * rank)
    y = _convolve(call, pointwise, _bias(call), 1, source=between, window=ones)
    return _activated(call, y)


def _folded(call: Call) -> str:
    """QConv2DBatchnorm: the batch normalization stands in the quantized weights.

    Source: qkeras/qconv2d_batchnorm.py, `call` with training=False.
    """
    kernel, bias = _fold(call, call.layer.kernel)
    folded = quantized_weight(_quantizer(call.layer, "kernel"), kernel)
    return _activated(call, _convolve(call, folded, bias, call.layer.groups))


def _folded_depthwise(call: Call) -> str:
    """QDepthwiseConv2DBatchnorm.

    Source: qkeras/qdepthwiseconv2d_batchnorm.py, `call` with training=False.
    """
    kernel, bias = _fold(call, call.layer.depthwise_kernel, call.layer.depthwise_kernel.shape[2:])
    folded = quantized_weight(_quantizer(call.layer, "depthwise"), kernel)
    return _activated(call, _convolve(call, folded.map(_grouped), bias, call.shapes[0][-1]))


def _fold(call: Call, kernel: Any, shape: Any = None) -> tuple[Any, Weight]:
    """The kernel times the normalization's scale, and the quantized folded bias."""
    layer, normalization = call.layer, call.layer.batchnorm
    tensorflow = sys.modules["tensorflow"]  # its own rsqrt: NumPy's differs in the last place
    scale = tensorflow.math.rsqrt(normalization.moving_variance + normalization.epsilon)
    if normalization.gamma is not None:
        scale = scale * normalization.gamma
    shift = (layer.bias if layer.use_bias else 0) - normalization.moving_mean
    beta = 0 if normalization.beta is None else normalization.beta
    bias = quantized_weight(_quantizer(layer, "bias"), scale * shift + beta)
    return (scale if shape is None else tensorflow.reshape(scale, shape)) * kernel, bias


def _transposed(call: Call) -> str:
    """Every input times the window, added up at `strides` places; W (*window, C_out, C_in).

    Source: tf_keras backend, `conv2d_transpose`; its 'same' is that of the convolution backwards.
    """
    call.channels_last()
    layer, graph, name = call.layer, call.graph, call.name
    rank = len(call.shape) - 1
    given = getattr(layer, "output_padding", None)
    if given is not None or any(n != 1 for n in _numbers(layer.dilation_rate, rank)):
        raise errors.UnsupportedError(
            f"output_padding={given}, dilation_rate={layer.dilation_rate}: supported are None and 1"
        )
    kernel = quantized_weight(_quantizer(layer, "kernel"), layer.kernel)
    window, strides = kernel.value.shape[:rank], _numbers(layer.strides, rank)
    same = str(layer.padding).lower() == "same"
    pads = same_padding(call.shape, window, strides) if same else [0] * 2 * rank
    target = name if is_linear(layer.activation) else f"{name}_linear"
    operands = [call.x, graph.weight(f"{target}_kernel", kernel.map(_out_in_window))]
    bias = _bias(call)
    if bias is not None:
        operands.append(graph.weight(f"{name}_bias", bias))
    y = call.channels_first(
        "ConvTranspose",
        target,
        operands,
        rank + 2,
        kernel_shape=list(window),
        strides=strides,
        pads=pads,
        output_padding=[max(s - w, 0) for s, w in zip(strides, window, strict=True)],
    )
    return _activated(call, y)


def _dense_of_rows(call: Call) -> str:
    """A Dense layer on (*space, C_in): the same for every place, which is a window of size 1."""
    rank = len(call.shape) - 1
    if rank == 0:
        return dense(call)
    if rank > 2:
        raise errors.UnsupportedError(
            f"input of shape {call.shapes[0]}: supported are up to 3 axes; put a Reshape before it"
        )
    layer = call.layer
    kernel = quantized_weight(_quantizer(layer, "kernel"), layer.kernel)
    ones = ((1,) * rank, [0] * 2 * rank)
    window = kernel.map(lambda one: one.reshape((1,) * rank + one.shape))
    return _activated(call, _convolve(call, window, _bias(call), 1, window=ones))


def _quantizer(layer: Any, role: str) -> Any:
    return getattr(layer, f"{role}_quantizer_internal", None)


def _bias(call: Call) -> Weight | None:
    layer = call.layer
    return quantized_weight(_quantizer(layer, "bias"), layer.bias) if layer.use_bias else None


def _grouped(kernel: NDArray[Any]) -> NDArray[Any]:
    """(*window, C, multiplier) as (*window, 1, C * multiplier)."""
    return kernel.reshape(*kernel.shape[:-2], 1, -1)


def _out_in_window(kernel: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _activated(call: Call, y: str) -> str:
    function = call.layer.activation
    return y if is_linear(function) else activation(call.graph, function, y, call.name)


def _convolve(
    call: Call,
    kernel: Weight,
    bias: Weight | None,
    groups: int,
    source: str = "",
    target: str = "",
    window: tuple[Sequence[int], Sequence[int]] | None = None,
) -> str:
    """One Conv node; kernel (*window, C_in / groups, C_out) as in Keras.

    hls4ml's kernels know neither dilation nor groups other than one per channel: zeros in a wider
    kernel say the same, and change no sum.

    Args:
        source, target: names of its tensors, if not the layer's.
        window: strides and pads, if not the layer's.
    """
    call.channels_last()
    graph, layer = call.graph, call.layer
    rank = kernel.value.ndim - 2
    linear = is_linear(layer.activation)
    target = target or (call.name if linear else f"{call.name}_linear")
    if window is None:
        dilations = _numbers(layer.dilation_rate, rank)
        kernel = kernel.map(lambda one: _spread(one, dilations))
        strides = _numbers(layer.strides, rank)
        window = strides, _pads(call, kernel.value.shape[:-2], strides)
    inputs, outputs = kernel.value.shape[-2] * groups, kernel.value.shape[-1]
    if groups > 1 and not groups == inputs == outputs:
        kernel, groups = kernel.map(lambda one: _blocks(one, groups)), 1
    operands = [
        source or call.x,
        graph.weight(f"{target}_kernel", kernel.map(_out_in_window)),
    ]
    if bias is not None:
        operands.append(graph.weight(f"{call.name}_bias", bias))
    return call.channels_first(
        "Conv",
        target,
        operands,
        rank + 2,
        kernel_shape=list(kernel.value.shape[:-2]),
        strides=list(window[0]),
        dilations=[1] * rank,
        pads=list(window[1]),
        group=int(groups),
    )


def _spread(kernel: NDArray[Any], dilations: Sequence[int]) -> NDArray[Any]:
    """The kernel with dilation - 1 zeros between two neighbours."""
    for axis, dilation in enumerate(dilations):
        wide = np.zeros_like(
            kernel,
            shape=[(n - 1) * dilation + 1 if i == axis else n for i, n in enumerate(kernel.shape)],
        )
        np.moveaxis(wide, axis, 0)[::dilation] = np.moveaxis(kernel, axis, 0)
        kernel = wide
    return kernel


def _blocks(kernel: NDArray[Any], groups: int) -> NDArray[Any]:
    """(*window, C_in / groups, C_out) as (*window, C_in, C_out): zeros between the groups."""
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    wide = np.zeros_like(kernel, shape=(*kernel.shape[:-2], groups * inputs, groups * outputs))
    for group in range(groups):
        columns = slice(group * outputs, (group + 1) * outputs)
        wide[..., group * inputs : (group + 1) * inputs, columns] = kernel[..., columns]
    return wide


def _numbers(value: Any, rank: int) -> list[int]:
    numbers = list(value) if isinstance(value, list | tuple) else [value] * rank
    return [int(number) for number in numbers][-rank:]


def _pads(call: Call, window: Sequence[int], strides: Sequence[int]) -> list[int]:
    """ONNX's pads: all in front, then all behind."""
    padding = str(call.layer.padding).lower()
    if padding == "causal":
        return [window[0] - 1, 0]
    if padding == "same":
        return same_padding(call.shapes[0], window, strides)
    if padding == "valid":
        return [0] * 2 * len(window)
    raise errors.UnsupportedError(f"padding={padding!r}: supported are valid, same and causal")


def same_padding(shape: Sequence[int], window: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Keras's padding='same' as ONNX's pads: the smaller half in front.

    Source: tensorflow/core/framework/kernel_shape_util.cc, `GetWindowedOutputSizeVerbose`.
    """
    before, behind = [], []
    for size, width, stride in zip(shape, window, strides, strict=False):
        count = -(-size // stride)
        total = max((count - 1) * stride + width - size, 0)
        before.append(total // 2)
        behind.append(total - total // 2)
    return [*before, *behind]


LAYERS: dict[str, Export] = {
    "Conv1D": _conv,
    "Dense": _dense_of_rows,
    "QDense": _dense_of_rows,
    "Conv1DTranspose": _transposed,
    "Conv2D": _conv,
    "Conv2DTranspose": _transposed,
    "DepthwiseConv1D": _depthwise,
    "DepthwiseConv2D": _depthwise,
    "QConv1D": _conv,
    "QConv2D": _conv,
    "QConv2DBatchnorm": _folded,
    "QConv2DTranspose": _transposed,
    "QDepthwiseConv2D": _depthwise,
    "QDepthwiseConv2DBatchnorm": _folded_depthwise,
    "QSeparableConv1D": _separable,
    "QSeparableConv2D": _separable,
    "SeparableConv1D": _separable,
    "SeparableConv2D": _separable,
}
