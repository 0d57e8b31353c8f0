"""Convolutions: windows of the image, multiplied and added up like the inputs of a Dense layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from ..ops import Array
from .context import Context, Lowering
from .precision import class_names
from .products import (
    accumulate_products,
    depthwise_walk,
    latency_walk,
    resource_walk,
    strategy_of,
    to_result,
    weight_products,
)
from .windows import Geometry, is_batched_dense, windows

__all__ = ["LAYERS", "image_columns", "lower_conv", "lower_depthwise"]


def lower_conv(context: Context, layer: Any) -> Tensor:
    """For every window of the image what a Dense layer does.

    Source: nnet_conv1d.h, nnet_conv2d.h and what they include; nnet_conv_stream.h;
    nnet_sepconv_stream.h, `pointwise_mult_buffer`. Vitis has headers of its own that do the same.
    """
    build, where, sizes = context.build, context.where(layer), Geometry.of(layer)
    strategy, reuse = strategy_of(layer, where), int(layer.get_attr("reuse_factor"))
    n_in = sizes.window * sizes.n_chan
    _check_weights(layer, where, n_in * sizes.n_filt)
    parallel = context.io_type == "io_parallel"
    if strategy == "latency":
        walk = latency_walk(n_in, sizes.n_filt)
    elif parallel and reuse > n_in:
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} is more than the {n_in} inputs of a window; hls4ml's C "
            "simulation aborts or reads beyond its buffer there"
        )
    else:
        skips = strategy == "resource_unrolled" and not parallel
        walk = resource_walk(n_in, sizes.n_filt, reuse, where, skips=skips)
    order = walk.common_order(context.attribute_format(layer, "accum_t"))
    assert order is not None  # these kernels have one order for all outputs
    columns = image_columns(context, layer, sizes)
    x = build.reshape(columns, (*columns.shape, 1))
    products = weight_products(
        context, layer, x, "weight", walk.places[:, None, :], walk.skips_zeros
    )
    batched = parallel and is_batched_dense(layer)
    if batched and _is_xnor(layer):
        # this kernel takes no product of padding, which the rule for xnor data would make -weight
        inside = (windows(context, layer, sizes) >= 0).astype(np.int64)[:, :, None]
        products = build.apply(
            "mul", products, build.integers(inside, Format(False, 1, 1), "inside")
        )
    total = accumulate_products(context, layer, products, order, ("bias", "accum_t"))
    counted = sizes.in_width * n_in if batched else n_in
    return to_result(context, layer, build.reshape(total, _result_shape(layer)), counted)


def lower_depthwise(context: Context, layer: Any) -> Tensor:
    """For every window and channel the products of the channel's pixels, added up.

    Source: nnet_sepconv1d_latency.h, nnet_sepconv2d_latency.h; nnet_depthwise_product.h.
    """
    build, where, sizes = context.build, context.where(layer), Geometry.of(layer)
    parallel, strategy = context.io_type == "io_parallel", strategy_of(layer, where)
    if sizes.n_filt != sizes.n_chan:
        raise errors.UnsupportedError(
            f"{where}: {sizes.n_filt} filters for {sizes.n_chan} channels; hls4ml's C simulation "
            "aborts or writes beyond its buffer there; supported: depth multiplier 1"
        )
    _check_weights(layer, where, sizes.window * sizes.n_chan)
    if strategy != "latency" and parallel:
        raise errors.UnsupportedError(
            f"{where}: strategy {strategy} in io_parallel; hls4ml's C simulation aborts there; use "
            "latency"
        )
    reuse = int(layer.get_attr("reuse_factor")) if strategy != "latency" else None
    walk = depthwise_walk(sizes.window, sizes.n_chan, reuse, where)
    order = walk.common_order(context.attribute_format(layer, "accum_t"))
    x, pixels = _image(context, layer, sizes), windows(context, layer, sizes)
    places = walk.places
    if order is not None:
        taken = _pixels(context, x, pixels)
    else:
        order = tuple(range(sizes.window))
        places = np.take_along_axis(walk.places, walk.orders, axis=0)
        sorted_pixels = pixels[walk.orders].transpose(0, 2, 1)  # (window, pixels out, channels)
        taken = _elements(context, x, sorted_pixels, np.arange(sizes.n_chan))
    products = weight_products(context, layer, taken, "weight", places[:, None, :])
    total = accumulate_products(context, layer, products, order, ("bias", "accum_t"))
    counted = sizes.window * sizes.n_chan
    if parallel and is_batched_dense(layer):
        counted *= sizes.in_width
    return to_result(context, layer, build.reshape(total, _result_shape(layer)), counted)


def image_columns(context: Context, layer: Any, sizes: Geometry) -> Tensor:
    """The windows of the layer's input as columns (window * channels, pixels out)."""
    x, pixels = _image(context, layer, sizes), windows(context, layer, sizes)
    if sizes.window == 1:
        return context.build.apply("transpose", _pixels(context, x, pixels[0]), perm=(1, 0))
    channels = np.arange(sizes.n_chan)[:, None]
    elements = _elements(context, x, pixels[:, None, :], channels)
    return context.build.reshape(elements, (sizes.window * sizes.n_chan, pixels.shape[1]))


def _image(context: Context, layer: Any, sizes: Geometry) -> Tensor:
    """The layer's input (pixels, channels)."""
    x = context.input(layer)
    shape = (sizes.pixels_in, sizes.n_chan)
    if int(np.prod(x.shape)) != sizes.pixels_in * sizes.n_chan:
        raise errors.ModelError(
            f"{context.where(layer)}: input shape {x.shape} for an image of {sizes.in_height} x "
            f"{sizes.in_width} pixels and {sizes.n_chan} channels"
        )
    return context.build.reshape(x, shape)


def _pixels(context: Context, x: Tensor, pixels: Array) -> Tensor:
    """Pixels of the image x, zeros for padding; x itself if they are all of it in order."""
    count = x.shape[0]
    if pixels.shape == (count,) and (pixels == np.arange(count)).all():
        return x
    return _gather(context, x, pixels)


def _elements(context: Context, x: Tensor, pixels: Array, channels: Array) -> Tensor:
    """Elements of the image x (pixels, channels), zeros for padding."""
    count, n_chan = x.shape
    flat = context.build.reshape(x, (count * n_chan,))
    return _gather(context, flat, np.where(pixels < 0, -1, pixels * n_chan + channels))


def _gather(context: Context, x: Tensor, index: Array) -> Tensor:
    """x[index]; -1 stands for zeros."""
    build, count = context.build, x.shape[0]
    if (index < 0).any():
        zeros = np.zeros((1, *x.shape[1:]), dtype=np.int64)
        x = build.apply("concat", x, build.integers(zeros, x.format.lossless, "padding"))
        index = np.where(index < 0, count, index)
    return build.apply("gather", x, build.integers(index, Format.spanning(0, count, 0), "index"))


def _is_xnor(layer: Any) -> bool:
    return "XnorPrecisionType" in class_names(layer.get_input_variable().type.precision)


def _check_weights(layer: Any, where: str, wanted: int) -> None:
    given = int(np.size(layer.weights["weight"].data))
    if given != wanted:
        raise errors.ModelError(f"{where}: {given} weights, {wanted} are needed")


def _result_shape(layer: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in layer.get_output_variable().shape)


LAYERS: dict[str, Lowering] = {
    "Conv1D": lower_conv,
    "Conv2D": lower_conv,
    "Conv2DBatchnorm": lower_conv,
    "PointwiseConv1D": lower_conv,
    "PointwiseConv2D": lower_conv,
    "DepthwiseConv1D": lower_depthwise,
    "DepthwiseConv2D": lower_depthwise,
}
