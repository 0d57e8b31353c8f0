"""Which pixels of the image a convolution multiplies: io_parallel's im2col, io_stream's buffers.

A one-dimensional image is one of height 1. Windows are an array of pixel numbers (pixels of a
window, windows), the windows in the order of the result's pixels; -1 stands for padding.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from samebits import errors

from ..ops import Array
from .context import Context

__all__ = ["Geometry", "is_batched_dense", "windows"]

_FLAT = dict.fromkeys(("in_height", "filt_height", "stride_height", "out_height"), 1)
_FLAT |= dict.fromkeys(("pad_top", "pad_bottom"), 0)


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution's sizes as hls4ml writes them into the C++ configuration."""

    in_height: int
    in_width: int
    n_chan: int
    n_filt: int
    filt_height: int
    filt_width: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    out_height: int
    out_width: int

    @classmethod
    def of(cls, layer: Any) -> Geometry:
        """The sizes of a Conv1D or Conv2D layer, or of one derived from them."""
        flat = _FLAT if "1D" in layer.class_name else {}
        names = [field.name for field in fields(cls)]
        return cls(*(flat[name] if name in flat else int(layer.get_attr(name)) for name in names))

    @property
    def window(self) -> int:
        """Pixels of a window."""
        return self.filt_height * self.filt_width

    @property
    def pixels_in(self) -> int:
        """Pixels of the image."""
        return self.in_height * self.in_width

    @property
    def pixels_out(self) -> int:
        """Pixels of the result."""
        return self.out_height * self.out_width


def windows(context: Context, layer: Any, sizes: Geometry) -> Array:
    """The windows of a convolution (sizes.window, sizes.pixels_out).

    hls4ml's kernels know no dilation: the filter is always dense. What a stream gets beyond the
    pixels of the result is never read.

    Raises:
        UnsupportedError: the C++ does not compile, aborts, writes beyond its buffer or reads an
            empty stream.
    """
    where = context.where(layer)
    if layer.get_attr("data_format") == "channels_first":
        raise errors.UnsupportedError(
            f"{where}: data_format channels_first is not supported; supported: channels_last; "
            "hls4ml has no such kernel"
        )
    if context.io_type == "io_stream":
        found = _streamed(context, layer, sizes, where)
        defined = found.shape[1] >= sizes.pixels_out
    elif is_batched_dense(layer) and "Depthwise" not in layer.class_name:
        found, defined = _batched_dense(sizes), True
    else:
        found = _im2col(sizes)
        defined = found.shape[1] == sizes.pixels_out
    if not defined:
        raise errors.UnsupportedError(
            f"{where}: hls4ml's kernel, knowing no dilation, makes {found.shape[1]} pixels of a "
            f"result that has {sizes.pixels_out}; its C simulation is undefined there"
        )
    return found[:, : sizes.pixels_out]


def is_batched_dense(layer: Any) -> bool:
    """True for a Conv1D of filter width 1 that io_parallel configures as one Dense per partition.

    Source: convolution_templates.py, `Conv1DConfigTemplate`, `is_pointwise_parallel_latency`.
    """
    return (
        "1D" in layer.class_name
        and int(layer.get_attr("filt_width")) == 1
        and str(layer.get_attr("strategy")).lower() == "latency"
        and int(layer.get_attr("n_partitions")) == 1
    )


def _batched_dense(g: Geometry) -> Array:
    """Source: nnet_conv1d_latency.h, `pointwise_conv_1d_latency_cl`."""
    columns = g.stride_width * np.arange(g.out_width)[None] - g.pad_left
    return _grid(g, np.zeros((1, 1), dtype=int), columns)


def _im2col(g: Geometry) -> Array:
    """Source: fpga_backend.py, `_compute_conv1d_im2col`, `_compute_conv2d_im2col`."""
    height, width = g.in_height + g.pad_bottom, g.in_width + g.pad_right
    return _grid(
        g,
        _lines(-g.pad_top, height, g.filt_height, g.stride_height),
        _lines(-g.pad_left, width, g.filt_width, g.stride_width),
    )


def _lines(first: int, stop: int, filt: int, stride: int) -> Array:
    """Line numbers (filt, windows) of the windows that lie within first .. stop - 1."""
    starts = np.arange(first, stop - filt + 1, stride)
    return np.asarray(starts + np.arange(filt)[:, None])


def _grid(g: Geometry, rows: Array, columns: Array) -> Array:
    """The windows at all pairs of rows (filt_height, R) and columns (filt_width, C)."""
    row, column = rows[:, None, :, None], columns[None, :, None, :]
    inside = (row >= 0) & (row < g.in_height) & (column >= 0) & (column < g.in_width)
    pixels = np.where(inside, row * g.in_width + column, -1)
    return np.asarray(pixels.reshape(len(rows) * len(columns), -1))


def _streamed(context: Context, layer: Any, g: Geometry, where: str) -> Array:
    """The windows in the order in which io_stream's kernels write their pixels.

    Source: nnet_conv_stream.h, `compute_output_buffer_1d`, `compute_output_buffer_2d`;
    nnet_sepconv_stream.h; nnet_sepconv1d_stream.h and nnet_sepconv2d_stream.h, `pointwise_conv_*`.
    """
    if g.pad_top or g.pad_bottom or g.pad_left or g.pad_right:
        raise errors.UnsupportedError(
            f"{where}: padding in io_stream; hls4ml's C simulation aborts there; pad by a layer of "
            "its own"
        )
    if "Pointwise" in layer.class_name:
        return _grid(
            g,
            np.arange(0, g.in_height, g.stride_height)[None],
            np.arange(0, g.in_width, g.stride_width)[None],
        )
    if str(layer.get_attr("implementation")).lower() == "encoded":
        return _encoded(context, layer, g, where)
    # one filter row takes the kernel of one dimension, which counts columns only
    stride_height = g.stride_height if g.filt_height > 1 else 1
    return _grid(
        g,
        _lines(0, g.in_height, g.filt_height, stride_height),
        _lines(0, g.in_width, g.filt_width, g.stride_width),
    )


def _encoded(context: Context, layer: Any, g: Geometry, where: str) -> Array:
    """Every pixel goes into the queues that its instruction names, one queue for each place of the
    window; a pixel that goes into the last place makes a window of what is first in all queues.

    Source: nnet_conv_stream.h, `compute_output_encoded`; nnet_conv1d_stream.h and
    nnet_conv2d_stream.h, `compute_scaled_indices_*`.
    """
    backend = str(context.model.config.backend.name)
    if backend != "Vivado" or ("2D" in layer.class_name and g.filt_height != g.filt_width):
        raise errors.UnsupportedError(
            f"{where}: implementation encoded is for square filters on Vivado; hls4ml's C "
            "simulation aborts here; use linebuffer"
        )
    words = str(layer.get_attr("instructions")).split(",")
    instructions = np.array([int(word) for word in words], dtype=object)
    number = _scaled(layer, "width", g.filt_width, g.stride_width, g.in_width)[None]
    if "2D" in layer.class_name:
        rows = _scaled(layer, "height", g.filt_height, g.stride_height, g.in_height)
        number = rows[:, None] * int(layer.get_attr("min_width")) + number
    flat = number.reshape(-1)
    # what comes from beyond the table can only harm pixels of the result that follow
    beyond = np.flatnonzero(flat >= len(instructions))
    chosen = instructions[flat[: beyond[0] if len(beyond) else None]]
    queues = [np.flatnonzero(chosen >> place & 1) for place in range(g.window)]
    made = queues[-1][: g.pixels_out]
    filled = [queue[: len(made)] for queue in queues]
    late = any(len(queue) < len(made) or (queue > made).any() for queue in filled)
    if late or len(made) < g.pixels_out:
        raise errors.UnsupportedError(
            f"{where}: implementation encoded reads empty streams for this stride and filter; "
            "hls4ml's C simulation is undefined there; use linebuffer"
        )
    return np.array(filled)


def _scaled(layer: Any, direction: str, filt: int, stride: int, size: int) -> Array:
    """The row or column of the instructions for every row or column of the image.

    Source: nnet_conv_stream.h, `scale_index_regular`; convolution_templates.py, which of the two.
    """
    if layer.get_attr(f"min_{direction}") == size:
        return np.arange(size)
    border = abs(filt - stride)
    longer, shorter = max(filt, stride), min(filt, stride)
    used = (size - filt) // stride * stride + filt  # without the last ones that no window needs
    scaled = (-(-longer // shorter) - 1) * stride + filt

    def index(line: int) -> int:
        if line < border:
            return line
        if line >= used:
            return scaled
        if used - line <= border:
            return scaled - (used - line)
        return border + (line - border) % stride

    return np.array([index(line) for line in range(size)])
