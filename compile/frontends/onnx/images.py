"""Operators with channels, as hls4ml's layers with the channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from samebits import errors

from .nodes import Check, layer_node, node_attributes
from .storage import Layout, Rule, Stored

__all__ = ["CHECKS", "RULES", "channels_last", "explicit_pads", "repeated", "zero_padding"]

Array = NDArray[Any]
_CHANNELS_LAST = "qonnx.custom_op.channels_last"


def channels_last(layout: Layout, tensor: str) -> Stored:
    """An ONNX image (C, *space) as (*space, C).

    Raises:
        UnsupportedError: more than two axes of space, or none.
    """
    rank = len(layout.shapes[tensor])
    if rank not in (2, 3):
        raise errors.UnsupportedError(
            f"events of shape {layout.shapes[tensor]}; supported are one and two axes besides the "
            "channels"
        )
    return layout.take(tensor, [*range(1, rank), 0])


def _conv(layout: Layout, node: onnx.NodeProto) -> None:
    """Conv, 1D and 2D.

    hls4ml's kernels know neither dilation nor groups, but for one group per channel: zeros in a
    wider kernel say the same and change no sum.
    """
    given, y = node_attributes(node), node.output[0]
    x = channels_last(layout, node.input[0])
    kernel = layout.value(node.input[1])
    rank, group = kernel.ndim - 2, int(given.get("group", 1))
    dilations = list(given.get("dilations", [1] * rank))
    strides = list(given.get("strides", [1] * rank))
    depthwise = group > 1 and group == kernel.shape[0] == x.shape[-1]

    def written(values: Array) -> Array:
        values = values if depthwise or group == 1 else _blocks(values, group)
        return np.moveaxis(_spread(values, dilations), 1, -1)

    operands = [x.name, layout.constant(node.input[1], written)]
    if len(node.input) > 2 and node.input[2]:
        operands.append(layout.constant(node.input[2], np.array))
    window = [(n - 1) * d + 1 for n, d in zip(kernel.shape[2:], dilations, strict=True)]
    shape = tuple(layout.shapes[y][i] for i in (*range(1, rank + 1), 0))
    conv = helper.make_node(
        "Conv",
        operands,
        [y],
        name=node.name,
        domain=_CHANNELS_LAST,
        kernel_shape=window,
        strides=strides,
        dilations=[1] * rank,
        pads=explicit_pads(given, x.shape[:-1], window, strides),
        group=group if depthwise else 1,
    )
    layout.emit(conv, y, Stored(y, x.axes, shape))


def _spread(kernel: Array, dilations: Sequence[int]) -> Array:
    """(C_out, C_in, *window) with dilation - 1 zeros between two neighbours."""
    sizes = [(n - 1) * d + 1 for n, d in zip(kernel.shape[2:], dilations, strict=True)]
    wide = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    places: Any = (..., *(slice(None, None, d) for d in dilations))
    wide[places] = kernel
    return wide


def _blocks(kernel: Array, groups: int) -> Array:
    """(C_out, C_in / groups, *window) as (C_out, C_in, *window): zeros between the groups."""
    outputs, inputs = kernel.shape[0] // groups, kernel.shape[1]
    wide = np.zeros((kernel.shape[0], inputs * groups, *kernel.shape[2:]), kernel.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        wide[rows, group * inputs : (group + 1) * inputs] = kernel[rows]
    return wide


def explicit_pads(
    given: dict[str, Any], sizes: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> list[int]:
    """ONNX's pads, all in front, then all behind; `auto_pad` written out."""
    auto = given.get("auto_pad", b"NOTSET").decode()
    if auto == "NOTSET":
        return list(given.get("pads", [0] * 2 * len(window)))
    if auto == "VALID":
        return [0] * 2 * len(window)
    totals = [
        max((math.ceil(n / s) - 1) * s + w - n, 0)
        for n, w, s in zip(sizes, window, strides, strict=True)
    ]
    small, large = [n // 2 for n in totals], [n - n // 2 for n in totals]
    return [*small, *large] if auto == "SAME_UPPER" else [*large, *small]


def _matmul(layout: Layout, node: onnx.NodeProto) -> None:
    """A product with a constant matrix (K, N); of rows or images: a convolution of window 1."""
    x, y = node.input[0], node.output[0]
    have, shape = layout.stored[x], layout.shapes[x]
    matrix = layout.value(node.input[1])
    if matrix.ndim != 2 or len(shape) > 3:
        raise errors.UnsupportedError(
            f"multiplies events of shape {shape} with a constant of shape {list(matrix.shape)}; "
            "supported are up to 3 axes and matrices"
        )
    if len(shape) == 1:
        rows = have.features
        name = layout.constant(node.input[1], lambda v: v if rows is None else v[rows])
        source = have.name if rows is not None else layout.identity(x).name
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [source, name]
        layout.emit(copy, y, Stored(y, (0,), layout.shapes[y]))
        return
    source = layout.identity(x).name
    ones = (1,) * (len(shape) - 1)

    def as_window(values: Array) -> Array:
        return values.T.reshape((values.shape[1], *ones, values.shape[0]))

    conv = helper.make_node(
        "Conv",
        [source, layout.constant(node.input[1], as_window)],
        [y],
        name=node.name,
        domain=_CHANNELS_LAST,
        kernel_shape=ones,
        strides=ones,
        dilations=ones,
        pads=[0] * 2 * len(ones),
        group=1,
    )
    layout.emit(conv, y, Stored(y, tuple(range(len(shape))), layout.shapes[y]))


def _batchnorm(layout: Layout, node: onnx.NodeProto) -> None:
    x, y = node.input[0], node.output[0]
    image = len(layout.shapes[x]) > 1
    have = channels_last(layout, x) if image else layout.identity(x)
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [have.name, *(layout.constant(name, np.array) for name in node.input[1:])]
    copy.domain = _CHANNELS_LAST if image else ""
    layout.emit(copy, y, replace(have, name=y))


def _with_channels(layout: Layout, tensor: str, touched: Sequence[int]) -> Stored:
    """A tensor stored so that the touched axes are space, and the last one is not touched.

    Raises:
        UnsupportedError: all axes are touched, or there are too many.
    """
    have, rank = layout.stored[tensor], len(layout.shapes[tensor])
    free = [axis for axis in range(rank) if axis not in touched]
    if rank not in (2, 3) or not free:
        raise errors.UnsupportedError(
            f"changes axes {[axis + 1 for axis in touched]} of events of shape "
            f"{layout.shapes[tensor]}; supported are one or two axes besides the channels"
        )
    last = have.axes[-1] if have.axes else None
    channel = last if last in free else free[0] if have.order != tuple(range(rank)) else free[-1]
    return layout.take(tensor, [*(axis for axis in range(rank) if axis != channel), channel])


def _pad(layout: Layout, node: onnx.NodeProto) -> None:
    x, y = node.input[0], node.output[0]
    rank = len(layout.shapes[x]) + 1
    given, names = node_attributes(node), [*node.input[1:], "", "", ""]
    if given.get("mode", b"constant") != b"constant":
        raise errors.UnsupportedError(f"mode={given['mode'].decode()}, only constant is supported")
    if names[1] and np.any(layout.value(names[1])):
        raise errors.UnsupportedError(
            f"pads with {layout.value(names[1]).item():g}, only 0 is supported"
        )
    numbers = [int(n) for n in layout.value(names[0])]
    axes = [int(n) % rank for n in layout.value(names[2])] if names[2] else [*range(rank)]
    front, behind = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        front[axis], behind[axis] = numbers[position], numbers[len(axes) + position]
    if min(*front, *behind) < 0:
        raise errors.UnsupportedError("has negative pads; cut with Slice")
    if front[0] or behind[0]:
        raise errors.UnsupportedError("pads the batch axis")
    touched = [i for i in range(rank - 1) if front[i + 1] or behind[i + 1]]
    if not touched:
        layout.alias(y, x)
        return
    have = _with_channels(layout, x, touched)
    space = [axis for axis in have.axes[:-1] if axis is not None]
    zero_padding(
        layout,
        node.name,
        have,
        y,
        [*(front[axis + 1] for axis in space), *(behind[axis + 1] for axis in space)],
    )


def zero_padding(layout: Layout, name: str, have: Stored, y: str, pads: Sequence[int]) -> None:
    """y = the image `have` between zeros; `pads` in front, then behind."""
    rank = len(have.shape) - 1
    names = ("top", "left", "bottom", "right") if rank == 2 else ("left", "right")
    before, behind = pads[:rank], pads[rank:]
    sizes = [n + a + b for n, a, b in zip(have.shape, before, behind, strict=False)]
    layer = layer_node(
        f"ZeroPadding{rank}D",
        name,
        [have.name],
        y,
        data_format="channels_last",
        **_image(have, sizes),
        **dict[str, Any](zip((f"pad_{side}" for side in names), pads, strict=True)),
    )
    layout.emit(layer, y, Stored(y, have.axes, (*sizes, have.shape[-1])))


def _image(have: Stored, made: Sequence[int]) -> dict[str, Any]:
    """hls4ml's names of an image's sizes before and behind a layer."""
    numbers: dict[str, Any]
    numbers = {"in_width": have.shape[-2], "out_width": made[-1], "n_chan": have.shape[-1]}
    if len(made) == 2:
        numbers |= {"in_height": have.shape[0], "out_height": made[0]}
    return numbers


def _slice(layout: Layout, node: onnx.NodeProto) -> None:
    """What lies between two ends of one or two axes, as Cropping."""
    x, y = node.input[0], node.output[0]
    sizes = layout.shapes[x]
    rank = len(sizes) + 1
    starts, ends, axes, steps = (
        [int(n) for n in layout.value(name).reshape(-1)] if name else None
        for name in [*node.input[1:], "", ""][:4]
    )
    starts, ends = starts or [], ends or []
    axes = [axis % rank for axis in axes] if axes is not None else [*range(len(starts))]
    if steps is not None and any(step != 1 for step in steps):
        raise errors.UnsupportedError(f"steps={steps}, only 1 is supported")
    cut = {}
    for axis, start, end in zip(axes, starts, ends, strict=True):
        if axis == 0:
            raise errors.UnsupportedError("cuts the batch axis")
        first, last, _ = slice(start, end).indices(sizes[axis - 1])
        if last <= first:
            raise errors.UnsupportedError(f"leaves nothing of axis {axis}")
        if (first, last) != (0, sizes[axis - 1]):
            cut[axis - 1] = (first, sizes[axis - 1] - last)
    if not cut:
        layout.alias(y, x)
        return
    have = _with_channels(layout, x, sorted(cut))
    pairs = [cut.get(axis, (0, 0)) if axis is not None else (0, 0) for axis in have.axes[:-1]]
    made = [n - a - b for n, (a, b) in zip(have.shape, pairs, strict=False)]
    names = (("top", "bottom"), ("left", "right"))[-len(pairs) :]
    crops: dict[str, Any] = {
        f"crop_{side}": number
        for pair, sides in zip(pairs, names, strict=True)
        for side, number in zip(sides, pair, strict=True)
    }
    layer = layer_node(
        f"Cropping{len(pairs)}D",
        node.name,
        [have.name],
        y,
        data_format="channels_last",
        **_image(have, made),
        **crops,
    )
    layout.emit(layer, y, Stored(y, have.axes, (*made, have.shape[-1])))


def _resize(layout: Layout, node: onnx.NodeProto) -> None:
    """Every element several times along one or two axes: Resize and Upsample, nearest."""
    x, y = node.input[0], node.output[0]
    old, new = layout.shapes[x], layout.shapes[y]
    given = node_attributes(node)
    if len(node.input) == 2:  # Upsample, and Resize of opset 10
        given |= {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
    mode = given.get("mode", b"nearest").decode()
    if mode != "nearest":
        raise errors.UnsupportedError(f"mode={mode}, only nearest is supported")
    touched = [i for i, (n, m) in enumerate(zip(old, new, strict=True)) if n != m]
    for axis in touched:
        wanted = np.arange(new[axis]) // max(1, new[axis] // old[axis])
        if new[axis] % old[axis] or (_nearest(given, old[axis], new[axis]) != wanted).any():
            raise errors.UnsupportedError(
                f"{old[axis]} to {new[axis]} elements does not repeat every element as often; "
                "supported are whole multiples with coordinates 'asymmetric' and 'floor', or "
                "'half_pixel' and 'round_prefer_floor'"
            )
    if not touched:
        layout.alias(y, x)
        return
    repeated(layout, node.name, x, y, touched)


def repeated(layout: Layout, name: str, x: str, y: str, touched: Sequence[int]) -> None:
    """y = x with every element several times along one or two axes."""
    new = layout.shapes[y]
    have = _with_channels(layout, x, touched)
    made = [new[axis] if axis is not None else 1 for axis in have.axes[:-1]]
    layer = layer_node(
        "Resize",
        name,
        [have.name],
        y,
        data_format="channels_last",
        algorithm="nearest",
        **{"in_height": 1, "out_height": 1, **_image(have, made)},
    )
    layout.emit(layer, y, Stored(y, have.axes, (*made, have.shape[-1])))


def _tile(layout: Layout, node: onnx.NodeProto) -> None:
    """Tile of axes with one element."""
    x, y = node.input[0], node.output[0]
    old, new = layout.shapes[x], layout.shapes[y]
    touched = [i for i, (n, m) in enumerate(zip(old, new, strict=True)) if n != m]
    if any(old[axis] != 1 for axis in touched):
        raise errors.UnsupportedError(
            f"repeats {old} to {new}; supported are axes of one element, else use Concat"
        )
    if touched:
        repeated(layout, node.name, x, y, touched)
    else:
        layout.alias(y, x)


def _nearest(given: dict[str, Any], old: int, new: int) -> Array:
    """The element that ONNX takes for every new one. Source: ONNX operators, Resize."""
    place = np.arange(new)
    mode = given.get("coordinate_transformation_mode", b"half_pixel").decode()
    if mode == "asymmetric":
        x = place * old / new
    elif mode in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"):
        x = (place + 0.5) * old / new - 0.5
    else:  # align_corners and others: not a repetition
        x = place * (old - 1) / max(1, new - 1)
    rounding = given.get("nearest_mode", b"round_prefer_floor").decode()
    chosen = {
        "floor": np.floor(x),
        "ceil": np.ceil(x),
        "round_prefer_floor": np.ceil(x - 0.5),
        "round_prefer_ceil": np.floor(x + 0.5),
    }[rounding]
    return np.clip(chosen, 0, old - 1).astype(np.int64)


def _constant_weights(node: onnx.NodeProto, constants: set[str]) -> str:
    known = all(name in constants for name in node.input[1:] if name)
    return "" if known else "weights and bias must be constant"


def _constant_numbers(node: onnx.NodeProto, constants: set[str]) -> str:
    known = all(name in constants for name in node.input[1:] if name)
    return "" if known else "all inputs but the first must be constant"


CHECKS: dict[str, Check] = {
    **dict.fromkeys(("Pad", "Resize", "Slice", "Tile", "Upsample"), _constant_numbers),
    "Conv": _constant_weights,
}
RULES: dict[str, Rule] = {
    "BatchNormalization": _batchnorm,
    "Conv": _conv,
    "MatMul": _matmul,
    "Pad": _pad,
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Slice": _slice,
    "Tile": _tile,
}
