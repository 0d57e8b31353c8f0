"""Layer normalisation over the last axis. Source: nnet_layernorm.h."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from . import tables
from .activation import clamp, scaled_to_int
from .context import Context, Lowering
from .precision import class_names, literal

__all__ = ["LAYERS", "lower_layernorm"]

_SIGN = Format(True, 2, 2)


def lower_layernorm(context: Context, layer: Any) -> Tensor:
    """result = cast((x - mean) * table[variance] * scale + bias), for each of seq_len rows.

    Sums, mean, differences, squares and variance are each cast to accum_t; the mean and the
    variance are products with 1 / n in accum_t. Source: `layernorm_1d`, `layernormalize`.
    """
    build, where = context.build, context.where(layer)
    if context.io_type == "io_stream":
        raise errors.UnsupportedError(f"{where}: io_stream; hls4ml has no kernel for it")
    if "XnorPrecisionType" in class_names(layer.get_input_variable().type.precision):
        raise errors.UnsupportedError(f"{where}: binary inputs are not supported")
    x, accum = context.input(layer), context.attribute_format(layer, "accum_t")
    size, rows = int(np.prod(x.shape)), int(layer.get_attr("seq_len"))
    if size % rows:
        raise errors.UnsupportedError(f"{where}: {size} inputs are not {rows} equal rows")
    count = size // rows
    columns = build.apply("transpose", build.reshape(x, (rows, count)), perm=(1, 0))
    values = build.cast(columns, accum)
    mean = _mean(context, layer, values, accum)
    difference = build.cast(
        build.apply("sub", values, build.reshape(mean, (1, *mean.shape))), accum
    )
    square = build.cast(build.apply("mul", difference, difference), accum)
    variance = _mean(context, layer, square, accum)
    inverse = _inverse_square_root(context, layer, variance)
    normal = build.apply("mul", difference, build.reshape(inverse, (1, *inverse.shape)))
    scale, bias = (_column(context, layer, name, count) for name in ("scale", "bias"))
    y = build.apply("add", build.apply("mul", normal, scale), bias)
    y = build.cast(y, context.result_format(layer))
    return build.reshape(build.apply("transpose", y, perm=(1, 0)), x.shape)


def _mean(context: Context, layer: Any, terms: Tensor, accum: Format) -> Tensor:
    """cast(sum * cast(1 / n)), with the rule for products that the template picks.

    The template picks it by the types of the input and of the scale, but it is applied to the sum
    and 1 / n. Source: core_templates.py, `LayerNormalizationConfigTemplate`; nnet_mult.h.
    """
    build, count = context.build, terms.shape[0]
    order = tuple(range(count))
    total = build.apply("accumulate", terms, format=accum, kind="chain", order=order)
    factor, fmt = literal(1.0 / count, accum), accum.lossless
    scale = layer.weights["scale"].type.precision
    if "XnorPrecisionType" in class_names(scale):
        # `weight_binary`: 0 counts as -1, anything else as +1
        factor, fmt = (1 if factor else -1), _SIGN
    elif "IntegerPrecisionType" in class_names(scale) and scale.width == 2 and scale.signed:
        # `weight_ternary`: anything but 0 and -1 counts as +1
        factor, fmt = (-1 if factor * accum.lsb == -1 else int(factor != 0)), _SIGN
    return build.cast(build.apply("mul", total, build.number(factor, total, fmt, "inverse")), accum)


def _inverse_square_root(context: Context, layer: Any, variance: Tensor) -> Tensor:
    """1 / sqrt by table, whose index is the variance scaled, towards zero, clamped."""
    build = context.build
    size, power = int(layer.get_attr("table_size")), int(layer.get_attr("table_range_power2"))
    fmt = context.attribute_format(layer, "table_t")
    table = tables.inverse_square_root_table(
        size, fmt, power, int(layer.get_attr("epsilon_power_of_10"))
    )
    index = clamp(context, scaled_to_int(context, variance, size << power, 0), 0, size - 1)
    return build.apply("lookup", index, build.integers(table, fmt, "table"))


def _column(context: Context, layer: Any, name: str, count: int) -> Tensor:
    mantissas, fmt = context.weight(layer, name)
    if mantissas.size != count:
        raise errors.ModelError(
            f"{context.where(layer)}: {mantissas.size} numbers in {name} for {count} channels"
        )
    return context.build.integers(mantissas.reshape(count, 1), fmt, name)


LAYERS: dict[str, Lowering] = {
    "LayerNormalization": lower_layernorm,
}
