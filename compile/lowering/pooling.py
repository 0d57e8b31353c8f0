"""Pooling: maximum and average over windows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from samebits import errors

from ..ir import Format, Overflow, Rounding, Tensor
from ..ops import Array
from ..ops.accumulate import CHAIN, TREE
from ..ops.arith import rescale
from .context import Context, Lowering
from .movement import PAD, channels_first, finished, pick, refuse_other_packets
from .precision import is_integer

__all__ = ["LAYERS", "lower_global_pooling", "lower_pooling"]

_UNSIGNED = Format(False, 32, 32)
# ap_int narrower than a C++ unsigned int divided by one: ap_private.h, `operator/`, takes the
# signedness of the wider of the two, and one bit more.
_INT_WIDTH, _DIVIDEND = 32, Format(False, 33, 33)
_SHIFTABLE = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)  # round(y + x) = y + round(x)


class _Axis(NamedTuple):
    """One axis of an image and of the windows that move along it."""

    size: int
    pool: int
    stride: int
    before: int
    after: int
    out: int

    @classmethod
    def of(cls, layer: Any, width: str) -> _Axis:
        """The axis that hls4ml calls "width" or "height"."""
        flat = layer.class_name == "Pooling1D"
        if flat and width == "height":
            return cls(1, 1, 1, 0, 0, 1)
        size, out = ("n_in", "n_out") if flat else (f"in_{width}", f"out_{width}")
        before, after = ("left", "right") if width == "width" else ("top", "bottom")
        names = (size, f"pool_{width}", f"stride_{width}", f"pad_{before}", f"pad_{after}", out)
        return cls(*(int(layer.get_attr(name)) for name in names))

    @property
    def padded(self) -> int:
        return self.size + self.before + self.after

    def windows(self) -> Array:
        """Positions on the axis, (window, place in it); PAD beyond its ends."""
        starts = np.arange(0, self.padded - self.pool + 1, self.stride)
        places = starts[:, None] + np.arange(self.pool) - self.before
        return np.where((places >= 0) & (places < self.size), places, PAD)


def lower_pooling(context: Context, layer: Any) -> Tensor:
    """Every window's maximum or average, by channel.

    io_parallel: `pooling_cl`, or `pooling_cf` with the channels in front, whose windows are as wide
    as their strides. Source: nnet_pooling.h. io_stream: nnet_pooling_stream.h.
    """
    refuse_other_packets(context, layer)
    build, where = context.build, context.where(layer)
    x, channels = context.input(layer), int(layer.get_attr("n_filt"))
    height, width = _Axis.of(layer, "height"), _Axis.of(layer, "width")
    first = channels_first(context, layer)
    if context.io_type == "io_stream":
        _refuse_stream(context, layer, height, width)
    if first:
        if height.stride * width.stride != height.pool * width.pool:
            raise errors.UnsupportedError(
                f"{where}: pool ({height.pool}, {width.pool}) with strides ({height.stride}, "
                f"{width.stride}): hls4ml's kernel for channels_first takes windows of the "
                "strides' size; its C simulation is undefined there; use strides equal to the pool"
            )
        # not the pool but the stride is the window (nnet_pooling.h, `pooling2d_cf`)
        height, width = (axis._replace(pool=axis.stride) for axis in (height, width))
    index = _positions(where, height, width)
    shape = (channels, height.size * width.size)
    if first:
        rows = build.apply("transpose", build.reshape(x, shape), perm=(1, 0))
    else:
        rows = build.reshape(x, shape[::-1])
    if layer.get_attr("pool_op") == "Max":
        pooled = _maximum(context, layer, pick(context, rows, index, _padding(x.format)))
    else:
        pooled = _average(context, layer, pick(context, rows, index), index, first)
    if first:
        pooled = build.apply("transpose", pooled, perm=(1, 0))
    return finished(context, layer, pooled)


def _refuse_stream(context: Context, layer: Any, height: _Axis, width: _Axis) -> None:
    where, name = context.where(layer), str(layer.get_attr("implementation", "linebuffer"))
    axes = (height, width)
    if any(axis.before or axis.after for axis in axes):
        raise errors.UnsupportedError(
            f"{where}: hls4ml's C simulation aborts on pooling with padding in io_stream; pad with "
            "a ZeroPadding layer, or use io_parallel"
        )
    encoded = name == "encoded"
    if encoded and context.model.config.backend.name == "Vitis":
        raise errors.UnsupportedError(
            f"{where}: hls4ml's C simulation aborts on pooling with implementation 'encoded' in "
            "Vitis; use linebuffer"
        )
    needs_equal = encoded or layer.class_name == "Pooling2D"
    if needs_equal and any(axis.pool != axis.stride for axis in axes):
        raise errors.UnsupportedError(
            f"{where}: hls4ml's C simulation aborts on pooling whose strides are not its pool in "
            "io_stream (except for one axis with linebuffer); use io_parallel"
        )


def _positions(where: str, height: _Axis, width: _Axis) -> Array:
    """Pixel numbers (place in the window, window), rows first; PAD where there is none."""
    for axis in (height, width):
        made = max(0, (axis.padded - axis.pool) // axis.stride + 1)
        if made != axis.out:
            raise errors.UnsupportedError(
                f"{where}: {axis.size} pixels with padding {axis.before} + {axis.after} make "
                f"{made} windows of {axis.pool} with stride {axis.stride}, its result has "
                f"{axis.out}; hls4ml's C simulation is undefined there"
            )
    rows = height.windows().T[:, None, :, None]
    columns = width.windows().T[None, :, None, :]
    index = np.where((rows == PAD) | (columns == PAD), PAD, rows * width.size + columns)
    return index.reshape(height.pool * width.pool, height.out * width.out)


def _padding(fmt: Format) -> int:
    """The mantissa whose top bit alone is set: for unsigned types no minimum at all.

    Source: nnet_pooling.h, `pad_val`.
    """
    return fmt.min_mantissa if fmt.signed else 1 << (fmt.width - 1)


def _maximum(context: Context, layer: Any, terms: Tensor) -> Tensor:
    """The largest along the first axis; in io_stream of what was cast to accum_t before."""
    build, accum = context.build, context.attribute_format(layer, "accum_t")
    if context.io_type == "io_stream":
        return build.apply("reduce_max", build.cast(terms, accum))
    return build.cast(build.apply("reduce_max", terms), accum)


def _average(context: Context, layer: Any, terms: Tensor, index: Array, first: bool) -> Tensor:
    """The sum in accum_t divided by the number of pixels, towards zero, in accum_t."""
    build, where = context.build, context.where(layer)
    accum, size = context.attribute_format(layer, "accum_t"), index.shape[0]
    integer = is_integer(layer.get_attr("accum_t").precision)
    everything = np.full(index.shape[1:], size)
    counted = everything if layer.get_attr("count_pad") else (index != PAD).sum(axis=0)
    if not counted.all():
        raise errors.UnsupportedError(
            f"{where}: a window lies outside the image; hls4ml's C simulation divides by zero there"
        )
    if context.io_type == "io_stream":
        total = build.apply(
            "accumulate", build.cast(terms, accum), format=accum, kind=TREE, order=()
        )
        return build.cast(_divided(context, total, everything, False), accum)
    total = _running_sum(context, layer, terms, accum, integer)
    divisor = everything if first else counted
    mean = build.cast(_divided(context, total, divisor, integer), accum)
    return _rescaled(context, layer, mean, counted) if first else mean


def _rescaled(context: Context, layer: Any, mean: Tensor, counted: Array) -> Tensor:
    """The average times pool / pixels, a number of the input's type.

    Source: nnet_pooling.h, `pooling2d_cf`.
    """
    build, data = context.build, layer.get_input_variable().type.precision
    fmt, result = context.input(layer).format, context.result_format(layer)
    sides = [
        build.cast(build.number(int(layer.get_attr(name)), mean, _UNSIGNED, name), fmt)
        for name in ("pool_height", "pool_width")
    ]
    share = _divided(context, build.apply("mul", *sides), counted, is_integer(data))
    return build.apply("mul", build.cast(mean, result), build.cast(share, fmt))


def _running_sum(
    context: Context, layer: Any, terms: Tensor, accum: Format, integer: bool
) -> Tensor:
    """s = accum_t(s + x[i]): x is not cast on its own, except to an ap_int.

    Source: nnet_pooling.h, `avg`; ap_fixed_base.h, `AF_ASSIGN_OP_WITH_AP_INT`.
    """
    build, fmt, count = context.build, terms.format, terms.shape[0]
    if integer and fmt.signed and fmt.integer <= 0 < fmt.fraction:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: its accumulator is an ap_int, its input {fmt} has no integer "
            "bits; hls4ml's C simulation is undefined there; use an ap_fixed accumulator"
        )
    if integer or _commutes(fmt, accum):
        order = tuple(range(count))
        return build.apply(
            "accumulate", build.cast(terms, accum), format=accum, kind=CHAIN, order=order
        )
    total: Tensor | None = None
    for position in range(count):
        term = build.reshape(pick(context, terms, np.array([position])), terms.shape[1:])
        total = build.cast(term if total is None else build.apply("add", total, term), accum)
    assert total is not None
    return total


def _commutes(fmt: Format, accum: Format) -> bool:
    """True if accum_t(s + x) = accum_t(s + accum_t(x)) for every s of accum_t and x of fmt."""
    if fmt.fraction > accum.fraction and accum.rounding not in _SHIFTABLE:
        return False
    ends = np.array([fmt.min_mantissa, fmt.max_mantissa], dtype=object)
    low, high = rescale(ends, fmt, accum)
    fits = accum.min_saturated <= low and high <= accum.max_mantissa
    return accum.overflow is Overflow.WRAP or bool(fits)


def _divided(context: Context, x: Tensor, by: Array, unsigned: bool) -> Tensor:
    """x / by as the headers divide it; `unsigned`: an ap_int by a C++ unsigned int."""
    build = context.build
    shape = by.shape + (1,) * (len(x.shape) - by.ndim)
    divisor = build.integers(by.reshape(shape), Format.spanning(0, int(by.max()), 0), "count")
    if unsigned and x.format.signed and x.format.width < _INT_WIDTH:
        quotient = build.apply("divide", build.cast(x, _DIVIDEND), divisor)
        return build.cast(quotient, x.format.lossless)
    return build.apply("divide", x, divisor)


def lower_global_pooling(context: Context, layer: Any) -> Tensor:
    """The maximum or average of every channel.

    Source: nnet_pooling.h and nnet_pooling_stream.h, `global_pooling1d_cl`, `global_pooling2d_cl`.
    """
    refuse_other_packets(context, layer)
    channels_first(context, layer)
    build, x = context.build, context.input(layer)
    channels = int(layer.get_attr("n_filt"))
    size = int(np.prod(x.shape)) // channels
    terms = build.reshape(x, (size, channels))
    if layer.get_attr("pool_op") == "Max":
        return finished(context, layer, _maximum(context, layer, terms))
    accum, everything = context.attribute_format(layer, "accum_t"), np.full((1,), size)
    integer = is_integer(layer.get_attr("accum_t").precision)
    if context.io_type == "io_parallel":
        total = _running_sum(context, layer, terms, accum, integer)
        mean = _divided(context, total, everything, integer)
        return finished(context, layer, build.cast(mean, accum))
    order = tuple(range(size))
    total = build.apply(
        "accumulate", build.cast(terms, accum), format=accum, kind=CHAIN, order=order
    )
    # not back through accum_t: nnet_pooling_stream.h divides where it assigns the result
    return finished(context, layer, _divided(context, total, everything, integer))


LAYERS: dict[str, Lowering] = {
    "GlobalPooling1D": lower_global_pooling,
    "GlobalPooling2D": lower_global_pooling,
    "Pooling1D": lower_pooling,
    "Pooling2D": lower_pooling,
}
