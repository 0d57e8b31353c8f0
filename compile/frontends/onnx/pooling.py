"""Pooling as hls4ml's layers, with the channels last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from samebits import errors

from .images import channels_last, explicit_pads, zero_padding
from .nodes import Check, any_use, layer_node, node_attributes
from .storage import Layout, Rule, Stored, exact_format

__all__ = ["CHECKS", "RULES"]

# hls4ml pads max pooling with a number that is the lowest only of a signed type
_NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "HardSigmoid")
_PASSING = (
    *("Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Max"),
    *(
        "MaxPool",
        "Mean",
        "Mul",
        "Pad",
        "ReduceMax",
        "ReduceMean",
        "Quant",
        "Reshape",
        "Resize",
        "Slice",
        "Squeeze",
        "Sum",
    ),
    *("Transpose", "Unsqueeze"),
)


def _pool(layout: Layout, node: onnx.NodeProto) -> None:
    """MaxPool and AveragePool, 1D and 2D.

    Padding is a layer of zeros where zeros are right, because hls4ml pads max pooling of an
    unsigned type with its largest power of two, and does not pad at all in io_stream.
    """
    given, y = node_attributes(node), node.output[0]
    x = channels_last(layout, node.input[0])
    largest = node.op_type == "MaxPool"
    window = list(given["kernel_shape"])
    rank, sizes = len(window), x.shape[:-1]
    strides = list(given.get("strides", [1] * rank))
    pads = explicit_pads(given, sizes, window, strides)
    counted = bool(given.get("count_include_pad", 0))
    made = layout.shapes[y][1:]
    for i, (n, w, s, out) in enumerate(zip(sizes, window, strides, made, strict=True)):
        missing = (out - 1) * s + w - (n + pads[i] + pads[rank + i])
        if missing > 0:  # ceil_mode
            if counted:
                raise errors.UnsupportedError("ceil_mode=1 with count_include_pad=1")
            pads[rank + i] += missing
    source = x.name
    if any(pads) and (counted if not largest else _never_negative(layout, node.input[0])):
        before, behind = pads[:rank], pads[rank:]
        wide = [n + a + b for n, a, b in zip(sizes, before, behind, strict=True)]
        inner = layout.inner(f"{node.name}_padded", (x.shape[-1], *wide))
        zero_padding(layout, inner, x, inner, pads)
        source, sizes, pads = inner, tuple(wide), [0] * 2 * rank
    shape = (*made, x.shape[-1])
    settings = _named(window, strides, pads, sizes, made)
    layer = layer_node(
        f"{'Max' if largest else 'Average'}Pooling{rank}D",
        node.name,
        [source],
        y,
        precision={} if largest else _average_precision(layout, node, math.prod(window)),
        n_filt=x.shape[-1],
        data_format="channels_last",
        **settings,
    )
    layout.emit(layer, y, Stored(y, x.axes, shape))


def _named(
    window: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    sizes: Sequence[int],
    made: Sequence[int],
) -> dict[str, Any]:
    """hls4ml's names of a pooling layer's numbers."""
    if len(window) == 1:
        return {
            **{"n_in": sizes[0], "n_out": made[0], "pool_width": window[0]},
            **{"stride_width": strides[0], "pad_left": pads[0], "pad_right": pads[1]},
        }
    return {
        **{"in_height": sizes[0], "in_width": sizes[1]},
        **{"out_height": made[0], "out_width": made[1]},
        **{"pool_height": window[0], "pool_width": window[1]},
        **{"stride_height": strides[0], "stride_width": strides[1]},
        **{"pad_top": pads[0], "pad_left": pads[1], "pad_bottom": pads[2], "pad_right": pads[3]},
    }


def _never_negative(layout: Layout, tensor: str) -> bool:
    node = layout.maker(tensor)
    if node is None:
        return False
    signed = bool(node_attributes(node).get("signed", 1))
    if node.op_type in _NEVER_NEGATIVE or (node.op_type == "Quant" and not signed):
        return True
    computed = [name for name in node.input if name and not layout.is_constant(name)]
    constants = [name for name in node.input if name and layout.is_constant(name)]
    if node.op_type in ("Add", "Mul") and constants:
        return False
    return node.op_type in _PASSING and all(_never_negative(layout, name) for name in computed)


def _average_precision(layout: Layout, node: onnx.NodeProto, area: int) -> dict[str, str]:
    """Types in which the sum and a mean over 2^n elements are exact.

    hls4ml gives the result the input's type, which rounds every mean down, and the accumulator of
    a global pooling the default type.
    """
    grid = layout.grid(node.input[0])
    if grid is None:
        return {}
    extra = math.ceil(math.log2(area))
    fine = extra if area & (area - 1) == 0 else extra + 8
    kind = "fixed" if grid.attributes.signed else "ufixed"
    return {
        "accum": f"{kind}<{grid.width + extra + fine},{grid.integer + extra}>",
        "result": f"{kind}<{grid.width + fine},{grid.integer}>",
    }


def _global_pool(layout: Layout, node: onnx.NodeProto) -> None:
    x = channels_last(layout, node.input[0])
    _pool_all(layout, node, x, 0)


def _reduce(layout: Layout, node: onnx.NodeProto) -> None:
    """ReduceMean and ReduceMax over all axes but one; ReduceSum and ReduceMean of a vector."""
    x, y = node.input[0], node.output[0]
    given, shape = node_attributes(node), layout.shapes[x]
    rank = len(shape)
    listed = [int(n) for n in layout.value(node.input[1])] if len(node.input) > 1 else []
    axes = {n % (rank + 1) - 1 for n in listed or given.get("axes", range(rank + 1))}
    if -1 in axes:
        raise errors.UnsupportedError("reduces the batch axis")
    free = [axis for axis in range(rank) if axis not in axes]
    if rank == 1 and node.op_type != "ReduceMax":
        factor = np.float32(1 if node.op_type == "ReduceSum" else 1 / shape[0])
        weights = np.full((shape[0], 1), factor, np.float32)
        layer = layer_node(
            "Dense",
            node.name,
            [layout.identity(x).name],
            y,
            precision={"weight": exact_format(weights) or "ufixed<24,0>", "bias": "ufixed<1,1>"},
            n_in=shape[0],
            n_out=1,
            weight_data=weights,
            bias_data=np.zeros(1, np.float32),
            use_bias=False,
        )
        layout.emit(layer, y, Stored(y, (None,), (1,)))
        return
    if rank not in (2, 3) or len(free) != 1 or node.op_type == "ReduceSum":
        raise errors.UnsupportedError(
            f"reduces axes {[axis + 1 for axis in sorted(axes)]} of events of shape {shape}; "
            "supported are ReduceMean and ReduceMax over all axes but one, and ReduceSum of a "
            "vector"
        )
    have = layout.take(x, [*sorted(axes), free[0]])
    _pool_all(layout, node, have, free[0] if given.get("keepdims", 1) else 0)


def _pool_all(layout: Layout, node: onnx.NodeProto, x: Stored, axis: int) -> None:
    """Global pooling; the channels are the model's `axis` of the result."""
    y = node.output[0]
    largest = node.op_type in ("GlobalMaxPool", "ReduceMax")
    sizes, channels = x.shape[:-1], x.shape[-1]
    rank = len(sizes)
    names: dict[str, Any]
    names = {"n_in": sizes[0]} if rank == 1 else {"in_height": sizes[0], "in_width": sizes[1]}
    layer = layer_node(
        f"Global{'Max' if largest else 'Average'}Pooling{rank}D",
        node.name,
        [x.name],
        y,
        precision={} if largest else _average_precision(layout, node, math.prod(sizes)),
        n_filt=channels,
        data_format="channels_last",
        **names,
    )
    layout.emit(layer, y, Stored(y, (axis,), (channels,)))


def _window(node: onnx.NodeProto, constants: set[str]) -> str:
    given = node_attributes(node)
    if len([name for name in node.output if name]) > 1:
        return "its second output, the positions, is not supported"
    if any(n != 1 for n in given.get("dilations", ())):
        return f"dilations={list(given['dilations'])}, only 1 is supported"
    return ""


def _constant_axes(node: onnx.NodeProto, constants: set[str]) -> str:
    known = all(name in constants for name in node.input[1:] if name)
    return "" if known else "its axes must be constant"


CHECKS: dict[str, Check] = {
    **dict.fromkeys(("AveragePool", "MaxPool"), _window),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), any_use),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _constant_axes),
}
RULES: dict[str, Rule] = {
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _reduce),
}
