"""Dense and batch normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from .context import Context, Lowering
from .movement import refuse_other_packets
from .precision import format_of
from .products import (
    accumulate_products,
    each_in_order,
    latency_walk,
    resource_walk,
    strategy_of,
    to_result,
    weight_products,
)

__all__ = ["LAYERS", "lower_batchnorm", "lower_dense", "lower_quantized_tanh"]

_SIGN = Format(True, 2, 2)


def lower_dense(context: Context, layer: Any) -> Tensor:
    """result = cast(accumulate(bias, cast(x[i] * w[i, j]))).

    Source: nnet_dense_latency.h, nnet_dense_resource.h; nnet_dense_stream.h of Vitis, which chooses
    among the resource kernels itself.
    """
    build, where = context.build, context.where(layer)
    x = context.input(layer)
    n_in, n_out = int(layer.get_attr("n_in")), int(layer.get_attr("n_out"))
    strategy = strategy_of(layer, where)
    if int(np.prod(x.shape)) != n_in:
        raise errors.UnsupportedError(f"{where}: input shape {x.shape} is not ({n_in},)")
    given = int(np.size(layer.weights["weight"].data))
    if given != n_in * n_out:
        raise errors.ModelError(f"{where}: {given} weights for {n_in} inputs, {n_out} outputs")
    if strategy == "latency":
        walk = latency_walk(n_in, n_out)
    else:
        chooses = (
            str(context.model.config.backend.name) == "Vitis" and context.io_type == "io_stream"
        )
        skips = strategy == "resource_unrolled" and not chooses
        reuse = int(layer.get_attr("reuse_factor"))
        walk = resource_walk(n_in, n_out, reuse, where, any_reuse=chooses, skips=skips)
    order = walk.common_order(context.attribute_format(layer, "accum_t"))
    if order is not None:
        column, places = build.reshape(x, (n_in, 1)), walk.places
    else:
        column, places = each_in_order(context, build.reshape(x, (n_in,)), walk)
        order = tuple(range(n_in))
    products = weight_products(context, layer, column, "weight", places, walk.skips_zeros)
    total = accumulate_products(context, layer, products, order, ("bias", "accum_t"))
    return to_result(context, layer, total, n_in)


def lower_batchnorm(context: Context, layer: Any) -> Tensor:
    """result = cast(x * scale + bias), one exact expression.

    Source: nnet_batchnorm.h, nnet_batchnorm_stream.h, `normalize`.
    """
    refuse_other_packets(context, layer)
    x = context.input(layer)
    count, size = int(np.size(layer.weights["scale"].data)), int(np.prod(x.shape))
    if not count or size % count:
        raise errors.ModelError(
            f"{context.where(layer)}: {count} numbers in scale for {size} elements"
        )
    places = np.arange(size).reshape(x.shape) % count
    scaled = weight_products(context, layer, x, "scale", places)
    bias = context.per_channel(layer, "bias", x)
    total = context.build.apply("add", scaled, bias)
    return context.build.cast(total, context.result_format(layer))


def lower_quantized_tanh(context: Context, layer: Any) -> Tensor:
    """Binary: x >= threshold. Ternary: +1 above the high threshold, -1 up to the low one, else 0.

    Source: nnet_batchnorm.h, nnet_batchnorm_stream.h, `normalize_binary_tanh`,
    `normalize_ternary_tanh`.
    """
    build = context.build
    x = context.input(layer)
    if context.io_type == "io_stream":
        refuse_other_packets(context, layer)
        filters = int(layer.get_attr("n_filt", -1))
        thresholds = int(layer.get_attr("n_in")) if filters == -1 else filters
        if thresholds != x.shape[-1]:
            raise errors.UnsupportedError(
                f"{context.where(layer)}: {thresholds} thresholds for packets of {x.shape[-1]}; "
                "hls4ml's kernel for io_stream compiles only where they are as many; use "
                "io_parallel, or a BatchNormalization in front"
            )
    given = layer.get_input_variable().type.precision
    for name, variable in layer.weights.items():
        kind = variable.type.precision
        if str(kind) != str(given):
            raise errors.UnsupportedError(
                f"{context.where(layer)}: {name} is {kind}, the input is {given}; hls4ml's kernel "
                "compiles only where they are the same; give the layer in front that precision"
            )
    result = format_of(layer.get_output_variable().type.precision, context.where(layer))
    if "threshold" in layer.weights:
        threshold = context.per_channel(layer, "threshold", x)
        return build.cast(build.apply("compare", x, threshold, relation="ge"), result)
    high = build.apply("compare", x, context.per_channel(layer, "threshold_hi", x), relation="gt")
    low = build.apply("compare", context.per_channel(layer, "threshold_lo", x), x, relation="ge")
    # "x > high" is tested first, so it wins where the thresholds cross
    minus_one = build.number(-1, x, _SIGN, "minus_one")
    zero = build.number(0, x, _SIGN, "zero")
    one = build.number(1, x, _SIGN, "one")
    below = build.apply("select", low, minus_one, zero)
    return build.cast(build.apply("select", high, one, below), result)


LAYERS: dict[str, Lowering] = {
    "Dense": lower_dense,
    "BatchNormalization": lower_batchnorm,
    "ApplyAlpha": lower_batchnorm,
    "BatchNormalizationQuantizedTanh": lower_quantized_tanh,
}
