"""Merges of two tensors: element by element, side by side, or as a dot product."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from ..ops.accumulate import CHAIN
from .comparison import compare
from .context import Context, Lowering
from .movement import pick, refuse_other_packets
from .precision import class_names, is_uint1

__all__ = ["LAYERS", "lower_concatenate", "lower_dot", "lower_merge"]

_SIGN = Format(True, 2, 2)


def lower_merge(context: Context, layer: Any) -> Tensor:
    """result[i] = cast(f(x1[i % n1], x2[i % n2])), all tensors flat.

    Source: nnet_merge.h, nnet_merge_stream.h.
    """
    where, op = context.where(layer), str(layer.get_attr("op")).lower()
    if op not in _MERGES:
        raise errors.UnsupportedError(
            f"{where}: merge {op!r} is not in hls4ml's kernels; supported: {', '.join(_MERGES)}"
        )
    refuse_other_packets(context, layer)
    x1, x2 = context.input(layer, 0), context.input(layer, 1)
    shape = tuple(int(n) for n in layer.get_output_variable().shape)
    if context.io_type == "io_stream" and x1.shape != x2.shape:
        raise errors.UnsupportedError(
            f"{where}: {x1.shape} and {x2.shape}: hls4ml merges streams of one shape only; use "
            "io_parallel"
        )
    # merge_templates.py compares the sizes as text: "3" is more than "2*3"
    text = max("*".join(str(n) for n in x.shape) for x in (x1, x2))
    size, wanted = math.prod(int(n) for n in text.split("*")), math.prod(shape)
    if size != wanted:
        raise errors.UnsupportedError(
            f"{where}: {x1.shape} and {x2.shape}: hls4ml takes {text} for the larger size and "
            f"fills {size} of {wanted} elements; its C simulation is undefined there; give both "
            "one shape"
        )
    first, second = (_repeated(context, x, size, shape) for x in (x1, x2))
    result = context.result_format(layer)
    return context.build.cast(_MERGES[op](context, first, second, result), result)


def _repeated(context: Context, x: Tensor, size: int, shape: tuple[int, ...]) -> Tensor:
    """x over and over again until it fills the shape; `size` is the shape's."""
    count = int(np.prod(x.shape))
    if count != size:
        flat = context.build.reshape(x, (count,))
        x = pick(context, flat, np.arange(size) % count)
    return context.build.reshape(x, shape)


def _add(context: Context, x: Tensor, y: Tensor, result: Format) -> Tensor:
    return context.build.apply("add", x, y)


def _subtract(context: Context, x: Tensor, y: Tensor, result: Format) -> Tensor:
    return context.build.apply("sub", x, y)


def _multiply(context: Context, x: Tensor, y: Tensor, result: Format) -> Tensor:
    return context.build.apply("mul", x, y)


def _average(context: Context, x: Tensor, y: Tensor, result: Format) -> Tensor:
    return context.build.apply("shift", context.build.apply("add", x, y), bits=-1)


def _maximum(context: Context, x: Tensor, y: Tensor, result: Format) -> Tensor:
    """The larger one, cast on its own."""
    return _chosen(context, compare(context, x, y, "gt"), x, y, result)


def _minimum(context: Context, x: Tensor, y: Tensor, result: Format) -> Tensor:
    """The smaller one, cast on its own."""
    return _chosen(context, compare(context, x, y, "lt"), x, y, result)


def _chosen(context: Context, condition: Tensor, x: Tensor, y: Tensor, result: Format) -> Tensor:
    build = context.build
    return build.apply("select", condition, build.cast(x, result), build.cast(y, result))


_MERGES: dict[str, Callable[[Context, Tensor, Tensor, Format], Tensor]] = {
    "add": _add,
    "average": _average,
    "maximum": _maximum,
    "minimum": _minimum,
    "multiply": _multiply,
    "subtract": _subtract,
}


def lower_concatenate(context: Context, layer: Any) -> Tensor:
    """Two tensors side by side along an axis. Source: nnet_merge.h, nnet_merge_stream.h."""
    build, where = context.build, context.where(layer)
    x1, x2 = context.input(layer, 0), context.input(layer, 1)
    rank, axis = len(x1.shape), int(layer.get_attr("axis"))
    if rank > 3 or len(x2.shape) != rank:
        raise errors.UnsupportedError(
            f"{where}: {x1.shape} and {x2.shape}: hls4ml's kernels concatenate tensors of one "
            "rank, 1 to 3"
        )
    if rank > 1:  # the stream kernel of rank 1 counts what its packets hold
        refuse_other_packets(context, layer)
    # nnet_merge.h counts the batch axis; what is no other axis is the first
    place = next((k for k in range(1, rank) if axis in (k + 1, k - rank)), 0)
    sizes = [int(np.prod(x.shape)) for x in (x1, x2)]
    parts = (np.arange(sizes[0]).reshape(x1.shape), np.arange(sizes[1]).reshape(x2.shape))
    shape = tuple(int(n) for n in layer.get_output_variable().shape)
    try:
        index = np.concatenate((parts[0], sizes[0] + parts[1]), axis=place)
    except ValueError:
        index = np.empty(0, dtype=np.int64)
    if index.shape != shape:
        raise errors.UnsupportedError(
            f"{where}: {x1.shape} and {x2.shape} along axis {axis} do not make {shape}; hls4ml's "
            "C simulation is undefined there"
        )
    result = context.result_format(layer)
    casts = [
        build.cast(build.reshape(x, (n,)), result) for x, n in zip((x1, x2), sizes, strict=True)
    ]
    y = build.apply("concat", *casts)
    if place:
        y = pick(context, y, index)
    return build.cast(build.reshape(y, shape), result)


def lower_dot(context: Context, layer: Any) -> Tensor:
    """result = cast(accumulate(cast(x1[i] * x2[i]))). Source: nnet_merge.h, `dot1d`."""
    build, where = context.build, context.where(layer)
    x1, x2 = context.input(layer, 0), context.input(layer, 1)
    first = layer.get_input_variable(layer.inputs[0]).type.precision
    second = layer.get_input_variable(layer.inputs[1]).type.precision
    if context.io_type == "io_stream" or is_uint1(first):
        what = "in io_stream" if context.io_type == "io_stream" else "of an ap_uint<1>"
        raise errors.UnsupportedError(
            f"{where}: hls4ml's dot product {what} does not compile; use io_parallel and more bits"
        )
    if len(x1.shape) != 1 or x1.shape != x2.shape:
        raise errors.UnsupportedError(
            f"{where}: {x1.shape} and {x2.shape}: hls4ml's dot product takes two vectors"
        )
    accum = context.attribute_format(layer, "accum_t")
    products = build.cast(_products(context, x1, x2, second), accum)
    order = tuple(range(x1.shape[0]))
    total = build.apply("accumulate", products, format=accum, kind=CHAIN, order=order)
    return build.cast(build.reshape(total, (1,)), context.result_format(layer))


def _products(context: Context, x: Tensor, w: Tensor, precision: Any) -> Tensor:
    """x * w by hls4ml's rule for w's type. Source: nnet_mult.h; fpga_backend.py, `product_type`."""
    build = context.build
    names = class_names(precision)
    xnor = "XnorPrecisionType" in names
    ternary = "IntegerPrecisionType" in names and precision.width == 2 and precision.signed
    if not xnor and not ternary:
        return build.apply("mul", x, w)
    plus, minus = (build.number(sign, w, _SIGN, "sign") for sign in (1, -1))
    zero = build.number(0, w, _SIGN, "zero")
    if xnor:
        signs = build.apply("select", w, plus, minus)
    else:  # anything but 0 and -1 counts as +1
        is_minus = build.apply("compare", w, minus, relation="eq")
        signs = build.apply("select", w, build.apply("select", is_minus, minus, plus), zero)
    return build.apply("mul", x, signs)


LAYERS: dict[str, Lowering] = {
    "Concatenate": lower_concatenate,
    "Dot": lower_dot,
    "Merge": lower_merge,
}
