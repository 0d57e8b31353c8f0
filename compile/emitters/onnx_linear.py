"""Dense layers, convolutions and pooling in float32 as the operators that runtimes do best.

A runtime adds up in any order. That is exact as long as no partial sum, the bias included, exceeds
2**24 in units of the last place; then a factor of a power of two in the weights changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ..ir import Carrier
from ..ops import Array
from ..ops.arith import common_format
from .onnx_layout import CHANNELS_LAST, Linear, View, Windows, match_windows

if TYPE_CHECKING:
    from .onnx_operations import Emit

__all__ = ["linear_dot", "max_pool"]

Make = Callable[[float, Array | None], View | None]


def linear_dot(e: Emit) -> Linear | None:
    """The product of a tensor and a constant as a linear operation; None if it is no such.

    1. A dense layer: all of a tensor times a matrix, whose rows follow the order it stands in.
    2. A convolution over windows of an image, of all its channels or one by one.
    3. A convolution of single pixels of an image that stands channels first.
    """
    position = next((i for i, values in enumerate(e.constants) if values is not None), None)
    if position is None or e.carrier is not Carrier.FLOAT32 or not e.per_event[1 - position]:
        return None
    x, weight = e.site.inputs[1 - position], np.asarray(e.constants[position], dtype=np.float64)
    count, peak = x.shape[0], e.values.peaks[e.site.output.name]
    if prod(x.shape[1:]) == 1 and prod(weight.shape) == count * prod(e.site.output.shape):  # 1
        return Linear(_dense(e, 1 - position, weight.reshape(count, -1)), peak)
    if len(x.shape) != 3 or weight.shape[:2] != (count, 1):
        return None
    found = e.values.windows.get(x.name)
    if found is not None:  # 2
        return _convolution(e, *found, x.shape, weight, peak)
    view = e.view(1 - position)
    if (
        x.shape[2] == 1 and len(view.stored) == 3 and not view.moved and view.stored[0] == count
    ):  # 3
        kernel = weight.reshape(1, 1, count, -1)
        windows = Windows((1, 1), (1, 1), (0, 0, 0, 0), view.stored[1:])
        return Linear(_conv(e, view.name, windows, kernel, 1), peak)
    return None


def _dense(e: Emit, position: int, matrix: Array) -> Make:
    def make(scale: float, bias: Array | None) -> View | None:
        view = e.view(position)
        rows = np.stack([view.place(column).ravel() for column in matrix.T], axis=1)
        x = e.write.reshape(view.name, view.stored, (len(matrix),))
        weight = e.write.constant((rows * scale).astype(np.float32))
        if bias is None:
            y = e.write.node("MatMul", x, weight)
        else:
            constant = e.write.constant((bias.reshape(-1) * scale).astype(np.float32))
            y = e.write.node("Gemm", x, weight, constant)
        return View.plain(y, (matrix.shape[1],))

    return make


def _image_of(e: Emit, source: str) -> tuple[View, tuple[int, int, int], int] | None:
    """What windows are taken from, its (rows, columns, channels), and its padding's mantissa."""
    graph, padding = e.values.graph, 0
    made = e.values.producers.get(source)
    if made is not None and made.op == "concat" and len(made.inputs) == 2:
        first, second = graph.tensors_of(made.inputs)
        constant = graph.constants.get(second.name)
        target = common_format([first.format, second.format])
        if constant is None or first.format.fraction != target.fraction:
            return None
        values = np.unique(constant << (target.fraction - second.format.fraction))
        if len(values) != 1:
            return None
        source, padding = first.name, int(values[0])
    view = e.values.image(source)
    if view is None:
        return None
    channels, height, width = view.stored
    return view, (height, width, channels), padding


def _convolution(
    e: Emit,
    source: str,
    elements: Array,
    shape: tuple[int, ...],
    weight: Array,
    peak: int,
) -> Linear | None:
    image = _image_of(e, source)
    if image is None:
        return None
    view, sizes, padding = image
    channels = sizes[2]
    whole = shape[2] == 1
    if whole and shape[0] % channels:
        return None
    if whole:
        elements = elements.reshape(-1, channels, shape[1]).transpose(0, 2, 1)
    elif shape[2] != channels or weight.shape[2] != channels:
        return None
    windows = match_windows(elements, sizes)
    if windows is None or (padding and any(windows.pads)):
        return None
    kernel = weight.reshape(*windows.kernel, channels if whole else 1, -1)
    return Linear(_conv(e, view.name, windows, kernel, 1 if whole else channels), peak)


def _conv(e: Emit, image: str, windows: Windows, kernel: Array, groups: int) -> Make:
    """A convolution with a kernel (rows, columns, channels in, channels out)."""
    filters = kernel.shape[3]

    def make(scale: float, bias: Array | None) -> View | None:
        names = [image, e.write.constant((kernel.transpose(3, 2, 0, 1) * scale).astype(np.float32))]
        if bias is not None:
            rows = bias.reshape(-1, filters)
            if (rows != rows[0]).any():
                return None
            names.append(e.write.constant((rows[0] * scale).astype(np.float32)))
        y = e.write.node(
            "Conv",
            *names,
            kernel_shape=windows.kernel,
            strides=windows.strides,
            pads=windows.pads,
            group=groups,
        )
        return View(y, (filters, *windows.out), CHANNELS_LAST)

    return make


def max_pool(e: Emit) -> View | None:
    """The largest numbers of the windows of an image; None if the input is no such windows."""
    x = e.site.inputs[0]
    found = e.values.windows.get(x.name)
    if found is None or e.carrier is not Carrier.FLOAT32 or len(x.shape) != 3:
        return None
    image = _image_of(e, found[0])
    if image is None or x.shape[2] != image[1][2]:
        return None
    view, sizes, padding = image
    windows = match_windows(found[1], sizes)
    # padding is less than any number here; for another one a node Pad would be needed, which
    # ONNX Runtime takes for such padding too (1.31, its fusion of Pad and MaxPool)
    if windows is None or (any(windows.pads) and padding > x.format.min_mantissa):
        return None
    name = e.write.node(
        "MaxPool",
        view.name,
        kernel_shape=windows.kernel,
        strides=windows.strides,
        pads=windows.pads,
    )
    return View(name, (sizes[2], *windows.out), CHANNELS_LAST)
