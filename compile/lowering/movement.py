"""Layers that order their elements anew: reshape, pad, crop, resize, transpose, copy, embed."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Overflow, Rounding, Tensor
from ..ops import Array
from .context import Context, Lowering
from .precision import packet_size

__all__ = [
    "LAYERS",
    "channels_first",
    "finished",
    "lower_broadcast",
    "lower_clone",
    "lower_constant",
    "lower_cropping",
    "lower_embedding",
    "lower_repack",
    "lower_reshape",
    "lower_resize",
    "lower_transpose",
    "lower_zero_padding",
    "pick",
    "refuse_other_packets",
]

PAD = -1  # the position of an element that is not there
# What the subscript of an array makes of a fixed-point number: `operator long`, towards zero.
_INT64 = Format(True, 64, 64, Rounding.TRN_ZERO, Overflow.WRAP)


def pick(context: Context, x: Tensor, index: Array, pad: int = 0) -> Tensor:
    """y[i..., r...] = x[index[i...], r...]; where the index is PAD, the mantissa `pad`."""
    build = context.build
    if (index == PAD).any():
        span = Format.spanning(min(pad, 0), max(pad, 0), x.format.fraction)
        row = np.full((1, *x.shape[1:]), pad, dtype=object)
        index = np.where(index == PAD, x.shape[0], index)
        x = build.apply("concat", x, build.integers(row, span, "padding"))
    places = build.integers(index, Format.spanning(0, x.shape[0] - 1, 0), "index")
    return build.apply("gather", x, places)


def refuse_other_packets(context: Context, layer: Any) -> None:
    """Refuses a stream that arrives in other packets than the layer's loops take it in.

    A flattening Reshape leaves a stream as it is (fpga/passes/inplace_stream_flatten.py); only
    Dense, Clone, Concatenate of rank 1, Transpose and Repack count what a packet holds.

    Raises:
        UnsupportedError: an input's packets are not its last axis.
    """
    if context.io_type != "io_stream":
        return
    for name in layer.inputs:
        variable = layer.get_input_variable(name)
        packet, last = packet_size(context.model, variable), int(variable.shape[-1])
        if packet != last:
            raise errors.UnsupportedError(
                f"{context.where(layer)}: its input, flattened in io_stream, comes in packets of "
                f"{packet} but is read in packets of {last}; hls4ml's C simulation is undefined "
                "there; flatten right before a Dense layer, or use io_parallel"
            )


def channels_first(context: Context, layer: Any) -> bool:
    """True if the layer calls its kernel's variant for channels in front.

    Raises:
        UnsupportedError: hls4ml has no such variant.
    """
    if layer.get_attr("data_format") != "channels_first":
        return False
    known = ("ZeroPadding1D", "ZeroPadding2D", "Cropping2D", "Pooling2D")
    if context.io_type == "io_stream" or layer.class_name not in known:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: hls4ml has no {context.io_type} kernel for channels_first; "
            "use channels_last"
        )
    return True


def _integers(layer: Any, *names: str) -> list[int]:
    """Integer attributes of a layer; absent ones are 0."""
    return [int(layer.get_attr(name, 0)) for name in names]


def _shape(layer: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in layer.get_output_variable().shape)


def _sized(context: Context, layer: Any, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x under the shape that the layer's configuration names."""
    if np.prod(x.shape) != np.prod(shape):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: its configuration says {shape}, its input is {x.shape}"
        )
    return context.build.reshape(x, shape)


def finished(context: Context, layer: Any, y: Tensor) -> Tensor:
    """y in the shape and format of the layer's output."""
    return context.build.cast(
        _sized(context, layer, y, _shape(layer)), context.result_format(layer)
    )


def _refuse_other_type(context: Context, layer: Any, where: str) -> None:
    """Refuses a kernel that has one type for input and output, called with two."""
    before = layer.get_input_variable().type.precision
    after = layer.get_output_variable().type.precision
    if str(before) != str(after):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: its input is {before}, its result {after}; {where} has one "
            "type for both, so the C simulation does not compile; give the result its input's type"
        )


def lower_reshape(context: Context, layer: Any) -> Tensor:
    """The same elements in the same order; it is no code at all.

    Source: fpga/passes/inplace_parallel_reshape.py, inplace_stream_flatten.py.
    """
    shape = _shape(layer)
    if context.io_type == "io_stream" and len(shape) > 1:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: a stream is packed anew by a Repack layer, which is missing; "
            "convert the model with hls4ml's own flow"
        )
    return _sized(context, layer, context.input(layer), shape)


def lower_repack(context: Context, layer: Any) -> Tensor:
    """The same elements in the same order, in other packets. Source: nnet_stream.h,
    `repack_stream`."""
    before = packet_size(context.model, layer.get_input_variable())
    after = packet_size(context.model, layer.get_output_variable())
    if before % after and after % before:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: packets of {before} cannot be packed anew as packets of "
            f"{after}; hls4ml's C simulation loses elements there"
        )
    return finished(context, layer, context.input(layer))


def lower_clone(context: Context, layer: Any) -> tuple[Tensor, ...]:
    """The input once for each output, in its packets. Source: nnet_stream.h, `clone_stream`."""
    x = context.input(layer)
    # all copies have the type of the first: `clone_stream` has one res_T
    y = context.build.cast(x, context.result_format(layer))
    return tuple(y for _ in layer.outputs)


def lower_broadcast(context: Context, layer: Any) -> Tensor:
    """A stream of one packet or one channel repeated to (H, W, C).

    Source: nnet_stream.h, `broadcast_stream`.
    """
    refuse_other_packets(context, layer)
    x, shape = context.input(layer), _shape(layer)
    one_packet = len(x.shape) == 3 and x.shape == (1, 1, shape[-1])
    one_channel = len(x.shape) == 3 and x.shape == (*shape[:2], 1)
    if len(shape) != 3 or not (one_packet or one_channel):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: {x.shape} to {shape}: hls4ml broadcasts streams from "
            "(1, 1, C) and (H, W, 1) to (H, W, C) only"
        )
    index = np.broadcast_to(np.arange(np.prod(x.shape)).reshape(x.shape), shape)
    flat = context.build.reshape(x, (int(np.prod(x.shape)),))
    return finished(context, layer, pick(context, flat, index))


def lower_constant(context: Context, layer: Any) -> Tensor:
    """Always refused: hls4ml writes no code that fills a constant's array."""
    raise errors.UnsupportedError(
        f"{context.where(layer)}: hls4ml writes no values for a constant that is left in its "
        "graph; its C simulation is undefined there"
    )


def _grid(layer: Any, height: int, width: int, channels: int, first: bool) -> Array:
    """The positions of an image's pixels, (H, W), or with channels first of all its elements."""
    shape = (channels, height, width) if first else (height, width)
    return np.arange(int(np.prod(shape))).reshape(shape)


def _moved(
    context: Context, layer: Any, channels: int, size: int, grid: Array, first: bool
) -> Tensor:
    """The pixels (or, with channels first, the elements) of the input at the grid's positions."""
    shape = (size,) if first else (size, channels)
    rows = _sized(context, layer, context.input(layer), shape)
    return finished(context, layer, pick(context, rows, grid))


def _refuse_padding_of_another(context: Context, layer: Any) -> None:
    """In io_stream hls4ml moves a convolution's padding to a layer in front of it, but joins that
    to the first layer that reads the convolution's input.

    Source: backends/vivado/passes/conv_same_pad.py; model/graph.py, `insert_node`.
    """
    prefix, _, name = str(layer.name).partition("_")
    padded = context.model.graph.get(name) if prefix in ("zp1d", "zp2d") else None
    if padded is not None and layer.outputs[0] not in padded.inputs:
        readers = [x.name for x in context.model.get_layers() if layer.outputs[0] in x.inputs]
        raise errors.UnsupportedError(
            f"{context.where(layer)}: hls4ml gives the padding of {name} to {', '.join(readers)}, "
            "which reads the same input; its C simulation is undefined there; pad with a "
            "ZeroPadding layer, or use io_parallel"
        )


def lower_zero_padding(context: Context, layer: Any) -> Tensor:
    """Zeros around an image. Source: nnet_padding.h, nnet_padding_stream.h."""
    _refuse_padding_of_another(context, layer)
    refuse_other_packets(context, layer)
    first = channels_first(context, layer)
    if first:
        _refuse_other_type(context, layer, "zeropad_cf")
    height, width, channels = _integers(layer, "in_height", "in_width", "n_chan")
    top, bottom, left, right = _integers(layer, "pad_top", "pad_bottom", "pad_left", "pad_right")
    grid = _grid(layer, height or 1, width, channels, first)
    around = [(0, 0)] * first + [(top, bottom), (left, right)]
    padded = np.pad(grid, around, constant_values=PAD)
    return _moved(context, layer, channels, grid.size, padded, first)


def lower_cropping(context: Context, layer: Any) -> Tensor:
    """An image without its borders. Source: nnet_cropping.h, nnet_cropping_stream.h."""
    refuse_other_packets(context, layer)
    first = channels_first(context, layer)
    height, width, channels = _integers(layer, "in_height", "in_width", "n_chan")
    top, bottom, left, right = _integers(
        layer, "crop_top", "crop_bottom", "crop_left", "crop_right"
    )
    out_height, out_width = _integers(layer, "out_height", "out_width")
    grid = _grid(layer, height or 1, width, channels, first)
    cropped = grid[..., top : (height or 1) - bottom, left : width - right]
    if cropped.shape[-2:] != (out_height or 1, out_width):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: its configuration says {(out_height or 1, out_width)} is "
            f"left, cropping leaves {cropped.shape[-2:]}"
        )
    return _moved(context, layer, channels, grid.size, cropped, first)


def lower_resize(context: Context, layer: Any) -> Tensor:
    """An image scaled up or down to its nearest pixels.

    io_parallel computes positions in 16.16 fixed point, io_stream repeats pixels.
    Source: nnet_image.h, nnet_image_stream.h, `resize_nearest`.
    """
    refuse_other_packets(context, layer)
    where, algorithm = context.where(layer), str(layer.get_attr("algorithm"))
    if algorithm != "nearest":
        raise errors.UnsupportedError(
            f"{where}: algorithm {algorithm} is not in hls4ml's Vivado and Vitis kernels; "
            "supported: nearest"
        )
    _refuse_other_type(context, layer, "resize_nearest")
    height, width, channels = _integers(layer, "in_height", "in_width", "n_chan")
    new_height, new_width = _integers(layer, "out_height", "out_width")
    sizes = ((height or 1, new_height or 1), (width, new_width))
    if context.io_type == "io_stream":
        if any(new % old for old, new in sizes):
            raise errors.UnsupportedError(
                f"{where}: {sizes[0][0]} x {width} to {sizes[0][1]} x {new_width} is no whole "
                "multiple; hls4ml's C simulation aborts there in io_stream"
            )
        rows, columns = (np.arange(new) // (new // old) for old, new in sizes)
    else:
        rows, columns = (_nearest(where, old, new) for old, new in sizes)
    grid = _grid(layer, height or 1, width, channels, False)
    return _moved(context, layer, channels, grid.size, grid[rows][:, columns], False)


def _nearest(where: str, old: int, new: int) -> Array:
    position = np.arange(new, dtype=object) * ((old << 16) // new + 1)
    if int(position.max()) >> 16 >= old or int(position.max()) >= 1 << 31:
        raise errors.UnsupportedError(
            f"{where}: resizing {old} to {new} pixels reads beyond the image in hls4ml's 16-bit "
            "arithmetic; its C simulation is undefined there"
        )
    return np.asarray(position >> 16).astype(np.int64)


def lower_transpose(context: Context, layer: Any) -> Tensor:
    """The axes in another order. Source: nnet_transpose.h, nnet_transpose_stream.h."""
    where, x = context.where(layer), context.input(layer)
    shape = tuple(int(size) for size in layer.get_input_variable().shape)
    perm = tuple(int(axis) for axis in layer.get_attr("perm"))
    if sorted(perm) != list(range(len(shape))):
        raise errors.UnsupportedError(
            f"{where}: perm {perm} does not order the axes of {shape}; hls4ml's C simulation "
            "divides by zero there"
        )
    x = _sized(context, layer, x, shape)
    if context.io_type == "io_stream" and perm == (0, 1):
        # the stream kernel takes every order of two axes for their exchange
        rows, columns = shape
        index = np.arange(columns) * columns + np.arange(rows)[:, None]
        if index.max() >= rows * columns:
            raise errors.UnsupportedError(
                f"{where}: perm {perm} in io_stream reads beyond the array; hls4ml's C simulation "
                "is undefined there; remove the transpose, which changes nothing"
            )
        flat = context.build.reshape(x, (rows * columns,))
        return finished(context, layer, pick(context, flat, index))
    return finished(context, layer, context.build.apply("transpose", x, perm=perm))


def lower_embedding(context: Context, layer: Any) -> Tensor:
    """y[j, i] = table[int(x[j] * n_out + i)], the table flat.

    An input beyond the table makes the C simulation read whatever is there; here it reads the
    table's first or last entry. Source: nnet_embed.h, nnet_embed_stream.h.
    """
    refuse_other_packets(context, layer)
    build, x = context.build, context.input(layer)
    n_out, vocabulary = _integers(layer, "n_out", "vocab_size")
    if len(x.shape) != 1:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: its input {x.shape} has {len(x.shape)} axes; hls4ml fills "
            "the first only; flatten it"
        )
    mantissas, fmt = context.weight(layer, "embeddings")
    rows = mantissas.reshape(vocabulary, n_out)
    if x.format.fraction <= 0:
        index = _limited(context, build.cast(x, _INT64), vocabulary)
        return finished(
            context, layer, build.apply("lookup", index, build.integers(rows, fmt, "embeddings"))
        )
    column = build.reshape(x, (x.shape[0], 1))
    scaled = build.apply("mul", column, build.number(n_out, column, Format.spanning(0, n_out, 0)))
    places = build.integers(np.arange(n_out)[None], Format.spanning(0, n_out - 1, 0), "places")
    index = build.cast(build.apply("add", scaled, places), _INT64)
    table = build.integers(rows.reshape(-1), fmt, "embeddings")
    found = build.apply("lookup", _limited(context, index, vocabulary * n_out), table)
    return finished(context, layer, found)


def _limited(context: Context, index: Tensor, size: int) -> Tensor:
    build = context.build
    low = build.apply("max", index, build.number(0, index, Format(False, 1, 1), "first"))
    last = build.number(size - 1, index, Format.spanning(0, size - 1, 0), "last")
    return build.apply("min", low, last)


LAYERS: dict[str, Lowering] = {
    "Broadcast": lower_broadcast,
    "Clone": lower_clone,
    "Constant": lower_constant,
    "Cropping1D": lower_cropping,
    "Cropping2D": lower_cropping,
    "Embedding": lower_embedding,
    "Repack": lower_repack,
    "Reshape": lower_reshape,
    "Resize": lower_resize,
    "Transpose": lower_transpose,
    "ZeroPadding1D": lower_zero_padding,
    "ZeroPadding2D": lower_zero_padding,
}
