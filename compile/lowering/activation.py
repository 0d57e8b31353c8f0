"""Activations, one function each; the source is the function of that name in nnet_activation.h."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from ..ops import Array
from . import tables
from .comparison import compare
from .context import Context, Lowering
from .movement import refuse_other_packets
from .precision import INT32, is_integer, literal

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "clamp",
    "lower_activation",
    "lower_hard",
    "lower_parametrized",
    "lower_prelu",
    "lower_ternary_tanh",
    "scaled_to_int",
]

_BIT = Format(False, 1, 1)
_SIGN = Format(True, 2, 2)
_INT = INT32.lossless  # a C++ int, such as every whole number that stands in the headers
_SELU_LAMBDA = Format(False, 16, 1)
_UNSIGNED = Format(False, 32, 32)


def clamp(context: Context, x: Tensor, low: int, high: int) -> Tensor:
    """x limited to the integers low .. high."""
    build = context.build
    above = build.apply("max", x, build.number(low, x, Format.spanning(min(low, 0), low, 0)))
    return build.apply("min", above, build.number(high, x, Format.spanning(0, high, 0)))


def scaled_to_int(context: Context, x: Tensor, factor: int, divide_bits: int) -> Tensor:
    """int(x * factor / 2**divide_bits): towards zero, then the low 32 bits.

    The C++ divides the product by an int, which truncates towards zero on the product's grid, and
    then converts it to int, which does so again: together one truncation, unless the grid is
    coarser than the integers.
    """
    build = context.build
    product = build.apply(
        "mul", x, build.number(factor, x, Format.spanning(min(factor, 0), factor, 0))
    )
    if product.format.fraction < 0:
        divisor = 1 << divide_bits
        by = build.number(divisor, product, Format.spanning(0, divisor, 0), "divisor")
        return build.cast(build.apply("divide", product, by), INT32)
    return build.cast(build.apply("shift", product, bits=-divide_bits), INT32)


def table_index(context: Context, x: Tensor, size: int, divide_bits: int) -> Tensor:
    """The clamped index of a table that spans zero symmetrically."""
    build = context.build
    rounded = scaled_to_int(context, x, size, divide_bits)
    half = size // 2  # 8 * size / 16 and 4 * size / 8 in unsigned integers
    index = build.apply("add", rounded, build.number(half, rounded, Format.spanning(0, half, 0)))
    return clamp(context, build.cast(index, INT32), 0, size - 1)


def _select_positive(context: Context, x: Tensor, relation: str, yes: Tensor, no: Tensor) -> Tensor:
    build = context.build
    condition = build.apply("compare", x, _zero(context, x), relation=relation)
    return build.apply("select", condition, yes, no)


def _zero(context: Context, like: Tensor) -> Tensor:
    return context.build.number(0, like, like.format.lossless, "zero")


def _linear(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    return context.build.cast(x, result)


def _relu(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    build = context.build
    return build.cast(build.apply("max", x, _zero(context, x)), result)


def _relu_max(limit: int) -> Callable[[Context, Any, Tensor, Format], Tensor]:
    def lower(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
        build = context.build
        if context.io_type == "io_stream":
            raise errors.UnsupportedError(
                f"{context.where(layer)}: hls4ml has no relu{limit} for io_stream; use io_parallel"
            )
        positive = build.apply("max", x, _zero(context, x))
        top = build.number(limit, x, Format.spanning(0, limit, 0))
        return build.cast(build.apply("min", positive, top), result)

    return lower


def _from_table(
    function: Callable[[int, Format], Array], divide_bits: int
) -> Callable[[Context, Any, Tensor, Format], Tensor]:
    def lower(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
        build = context.build
        size, fmt = int(layer.get_attr("table_size")), context.attribute_format(layer, "table_t")
        precision = layer.get_attr("table_t").precision
        table = build.integers(tables.entries(function, size, fmt, precision), fmt, "table")
        index = table_index(context, x, size, divide_bits)
        return build.cast(build.apply("lookup", index, table), result)

    return lower


def _negative_index(context: Context, layer: Any, x: Tensor) -> tuple[Tensor, int, Format]:
    """For x < 0 the limited index int(x * size / -8); for x >= 0 it is not used.

    The C++ compares an int with an unsigned size: what wrapped below zero counts as large. Only
    the selu of io_parallel asks for that before.
    """
    size, fmt = int(layer.get_attr("table_size")), context.attribute_format(layer, "table_t")
    index = scaled_to_int(context, x, -size, 3)
    limit = 34 + x.format.fraction  # size * x / 8 < 2**31
    wraps = limit < 0 or -x.format.min_mantissa * size >= 1 << limit
    asks = layer.get_attr("activation") == "selu" and context.io_type == "io_parallel"
    if wraps and not asks:
        index = context.build.cast(index, _UNSIGNED)
    return clamp(context, index, 0, size - 1), size, fmt


def _selu(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    build = context.build
    index, size, fmt = _negative_index(context, layer, x)
    precision = layer.get_attr("table_t").precision
    entries = tables.entries(tables.selu_table, size, fmt, precision)
    table = build.integers(entries, fmt, "table")
    negative = build.cast(build.apply("lookup", index, table), result)
    # io_stream takes the constant in the input's own type (nnet_activation_stream.h, `selu`)
    lambda_format = _SELU_LAMBDA if context.io_type == "io_parallel" else x.format
    factor = build.number(literal(1.0507009873554805, lambda_format), x, lambda_format, "lambda")
    positive = build.cast(build.apply("mul", factor, x), result)
    return _select_positive(context, x, "ge", positive, negative)


def _elu_with(context: Context, layer: Any, x: Tensor, result: Format, alpha: Tensor) -> Tensor:
    build = context.build
    index, size, fmt = _negative_index(context, layer, x)
    precision = layer.get_attr("table_t").precision
    entries = tables.entries(tables.elu_table, size, fmt, precision)
    table = build.integers(entries, fmt, "table")
    product = build.apply("mul", alpha, build.apply("lookup", index, table))
    return _select_positive(context, x, "ge", build.cast(x, result), build.cast(product, result))


def _elu(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    return _elu_with(context, layer, x, result, context.build.number(1, x, _BIT, "alpha"))


def _binary_tanh(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    build = context.build
    one = build.number(1, x, _SIGN, "one")
    # `binary_cast`: -1 becomes 0 in an ap_uint<1>
    low = 0 if str(layer.get_output_variable().type.precision) == "uint<1>" else -1
    other = build.number(low, x, _SIGN, "other")
    return build.cast(_select_positive(context, x, "ge", one, other), result)


def _ternary_tanh(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    build = context.build
    if context.io_type == "io_parallel":
        # the doubled input wraps in its own type; compared with 1 and -1
        y = build.cast(build.apply("shift", x, bits=1), x.format)
    else:
        y = x
    one, zero = build.number(1, x, _INT, "one"), build.number(0, x, _INT, "zero")
    minus_one = build.number(-1, x, _INT, "minus_one")
    high = compare(context, y, one, "gt")
    middle = compare(context, y, minus_one, "gt")
    low = build.apply("select", middle, build.cast(zero, result), build.cast(minus_one, result))
    return build.apply("select", high, build.cast(one, result), low)


Rule = Callable[[Context, Any, Tensor, Format], Tensor]

ACTIVATIONS: dict[str, Rule] = {
    "linear": _linear,
    "relu": _relu,
    "relu1": _relu_max(1),
    "relu6": _relu_max(6),
    "sigmoid": _from_table(tables.sigmoid_table, 4),
    "tanh": _from_table(tables.tanh_table, 3),
    "softplus": _from_table(tables.softplus_table, 4),
    "softsign": _from_table(tables.softsign_table, 4),
    "elu": _elu,
    "selu": _selu,
    "binary_tanh": _binary_tanh,
    "ternary_tanh": _ternary_tanh,
}


def _name(context: Context, layer: Any, known: Collection[str]) -> str:
    """The layer's activation, if it is one of the known ones."""
    name = str(layer.get_attr("activation")).lower()
    if name not in known:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: activation {name!r} is not supported; supported: "
            f"{', '.join(sorted(known))}"
        )
    return name


def _finish(context: Context, y: Tensor, result: Format) -> Tensor:
    """y in the result's format; a cast of what is already on its grid changes nothing."""
    return y if y.format == result else context.build.cast(y, result)


def lower_activation(context: Context, layer: Any) -> Tensor:
    """An activation without parameters."""
    refuse_other_packets(context, layer)
    result = context.result_format(layer)
    rule = ACTIVATIONS[_name(context, layer, ACTIVATIONS)]
    return _finish(context, rule(context, layer, context.input(layer), result), result)


def lower_ternary_tanh(context: Context, layer: Any) -> Tensor:
    """A TernaryTanh that was not merged with a layer in front; hls4ml has no template for it."""
    if layer.get_attr("function_cpp") is None:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: hls4ml writes no code for a TernaryTanh that it does not "
            "merge with a BatchNormalization; its C simulation is undefined there; use a threshold "
            "other than 0.5"
        )
    return lower_activation(context, layer)


def lower_hard(context: Context, layer: Any) -> Tensor:
    """hard_sigmoid: clip(slope * x + shift, 0, 1); hard_tanh: 2 * that - 1."""
    refuse_other_packets(context, layer)
    build = context.build
    x, result = context.input(layer), context.result_format(layer)
    name = _name(context, layer, ("hard_sigmoid", "hard_tanh"))
    slope_format = context.attribute_format(layer, "slope_t")
    shift_format = context.attribute_format(layer, "shift_t")
    slope = build.number(literal(layer.get_attr("slope"), slope_format), x, slope_format, "slope")
    shift = build.number(literal(layer.get_attr("shift"), shift_format), x, shift_format, "shift")
    y = build.apply("add", build.apply("mul", slope, x), shift)
    # the clipped value goes back into the expression's own type, which may not hold 1
    one = build.cast(build.number(1, x, _BIT, "one"), y.format)
    above = build.apply("compare", y, build.number(1, x, _BIT, "one"), relation="gt")
    below = build.apply("compare", _zero(context, y), y, relation="gt")
    unclipped = build.apply("select", below, _zero(context, y), y)
    y = build.apply("select", above, one, unclipped)
    if name == "hard_tanh":
        y = build.apply("sub", build.apply("shift", y, bits=1), build.number(1, x, _BIT, "one"))
    return _finish(context, build.cast(y, result), result)


def _leaky_relu(context: Context, x: Tensor, alpha: Tensor, layer: Any, result: Format) -> Tensor:
    build = context.build
    product = build.cast(build.apply("mul", alpha, x), result)
    return _select_positive(context, x, "gt", build.cast(x, result), product)


def _thresholded_relu(
    context: Context, x: Tensor, theta: Tensor, layer: Any, result: Format
) -> Tensor:
    build = context.build
    above = compare(context, x, theta, "gt")
    return build.apply("select", above, build.cast(x, result), build.number(0, x, result, "zero"))


def _elu_alpha(context: Context, x: Tensor, alpha: Tensor, layer: Any, result: Format) -> Tensor:
    return _elu_with(context, layer, x, result, alpha)


PARAMETRIZED: dict[str, Callable[[Context, Tensor, Tensor, Any, Format], Tensor]] = {
    "elu": _elu_alpha,
    "leaky_relu": _leaky_relu,
    "leakyrelu": _leaky_relu,
    "thresholded_relu": _thresholded_relu,
    "thresholdedrelu": _thresholded_relu,
}


def lower_parametrized(context: Context, layer: Any) -> Tensor:
    """An activation with one parameter, a C++ double cast to param_t."""
    refuse_other_packets(context, layer)
    x, result = context.input(layer), context.result_format(layer)
    rule = PARAMETRIZED[_name(context, layer, PARAMETRIZED)]
    fmt = context.attribute_format(layer, "param_t")
    integer = is_integer(layer.get_attr("param_t").precision)
    mantissa = literal(layer.get_attr("activ_param", 1.0), fmt, integer=integer)
    parameter = context.build.number(mantissa, x, fmt, "parameter")
    return _finish(context, rule(context, x, parameter, layer, result), result)


def lower_prelu(context: Context, layer: Any) -> Tensor:
    """x > 0 ? x : alpha[i] * x."""
    refuse_other_packets(context, layer)
    x, result = context.input(layer), context.result_format(layer)
    given, wanted = int(np.size(layer.weights["param"].data)), int(np.prod(x.shape))
    if given != wanted:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: {given} slopes for {wanted} elements; hls4ml's kernel reads "
            "one for each, so its C simulation is undefined there; give every element its slope"
        )
    alpha = context.per_channel(layer, "param", x)
    return _finish(context, _leaky_relu(context, x, alpha, layer, result), result)


LAYERS: dict[str, Lowering] = {
    "Activation": lower_activation,
    "HardActivation": lower_hard,
    "ParametrizedActivation": lower_parametrized,
    "PReLU": lower_prelu,
    "TernaryTanh": lower_ternary_tanh,
}
