"""Dense and batch normalisation: products, accumulators and their casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Overflow, Rounding, Tensor
from ..ops import Array
from .context import Context, Lowering
from .precision import class_names, format_of, is_uint1

__all__ = ["LAYERS", "lower_batchnorm", "lower_dense", "lower_quantized_tanh"]

_SIGN = Format(True, 2, 2)
_LATENCY, _RESOURCE = ("latency",), ("resource", "resource_unrolled")


def lower_dense(context: Context, layer: Any) -> Tensor:
    """result = cast(accumulate(bias, cast(x[i] * w[i, j]))).

    Every product is cast to accum_t, the accumulator starts at the bias and is cast after every
    addition. Source: nnet_dense_latency.h, nnet_dense_resource.h.
    """
    build, where = context.build, context.where(layer)
    x = context.input(layer)
    n_in, n_out = int(layer.get_attr("n_in")), int(layer.get_attr("n_out"))
    strategy = str(layer.get_attr("strategy")).lower()
    if strategy not in (*_LATENCY, *_RESOURCE):
        raise errors.UnsupportedError(
            f"{where}: strategy {strategy} is not supported; supported: latency, resource, "
            "resource_unrolled"
        )
    if x.shape != (n_in,):
        raise errors.UnsupportedError(f"{where}: input shape {x.shape} is not ({n_in},)")
    given = int(np.size(layer.weights["weight"].data))
    if given != n_in * n_out:
        raise errors.ModelError(f"{where}: {given} weights for {n_in} inputs, {n_out} outputs")
    order = _accumulation_order(layer, n_in, strategy, where)
    accum = context.attribute_format(layer, "accum_t")
    transposed = bool(layer.get_attr("_weights_transposed", False))
    column = build.apply("reshape", x, shape=(n_in, 1))
    products = _products(context, layer, column, "weight", (n_in, n_out), transposed)
    biases, bias_format = context.weight(layer, "bias")
    bias = build.cast(build.integers(biases.reshape(n_out), bias_format, "bias"), accum)
    total = build.apply(
        "accumulate", build.cast(products, accum), bias, format=accum, kind="chain", order=order
    )
    result = context.result_format(layer)
    data_type = layer.get_input_variable().type.precision
    weight_type = layer.weights["weight"].type.precision
    if is_uint1(data_type) and is_uint1(weight_type):
        # nnet_mult.h, `cast`: matches and mismatches counted back to a signed sum.
        doubled = build.apply("shift", total, bits=1)
        count = build.number(n_in, doubled, Format.spanning(0, n_in, 0), "n_in")
        difference = build.apply("sub", doubled, count)
        width = max(1, (n_in - 1).bit_length()) + 2
        total = build.cast(difference, Format(True, width, width, Rounding.TRN_ZERO, Overflow.WRAP))
    return build.cast(total, result)


def _accumulation_order(layer: Any, n_in: int, strategy: str, where: str) -> tuple[int, ...]:
    """The order in which the C++ kernel adds the products of one output."""
    reuse = int(layer.get_attr("reuse_factor"))
    if strategy in _LATENCY or reuse > n_in:
        if strategy in _RESOURCE and reuse % n_in:
            raise errors.UnsupportedError(
                f"{where}: reuse factor {reuse} is neither a divisor nor a multiple of the "
                f"{n_in} inputs; hls4ml's resource kernel is undefined there"
            )
        return tuple(range(n_in))
    if n_in % reuse:
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} does not divide the {n_in} inputs; hls4ml's resource "
            "kernel is undefined there"
        )
    return tuple(i for start in range(reuse) for i in range(start, n_in, reuse))


def _products(
    context: Context,
    layer: Any,
    x: Tensor,
    weight: str,
    shape: tuple[int, ...],
    transposed: bool = False,
) -> Tensor:
    """The exact element-wise products of x with weights, by hls4ml's rule for their two types.

    Source: nnet_mult.h; which rule applies: fpga_backend.py, `product_type`.
    """
    build = context.build
    data_type = layer.get_input_variable().type.precision
    variable = layer.weights[weight]
    count, size = int(np.size(variable.data)), int(np.prod(shape))
    if not count or size % count:
        raise errors.ModelError(
            f"{context.where(layer)}: {count} numbers in {weight} for {size} elements"
        )
    if "ExponentPrecisionType" in class_names(variable.type.precision):
        return _exponent_products(context, layer, x, variable, shape, transposed)
    mantissas, fmt = context.weight(layer, weight)
    if transposed:
        mantissas = mantissas.reshape(shape[::-1]).T
    mantissas = np.resize(mantissas.reshape(-1), shape) if mantissas.shape != shape else mantissas
    data_xnor = "XnorPrecisionType" in class_names(data_type)
    weight_xnor = "XnorPrecisionType" in class_names(variable.type.precision)
    if data_xnor and weight_xnor:
        wide = build.integers(mantissas, fmt, weight)
        return build.apply("compare", x, wide, relation="eq")
    if weight_xnor:
        return build.apply("mul", x, build.integers(_signs(mantissas == 0), _SIGN, weight))
    if data_xnor:
        doubled = build.apply("shift", x, bits=1)
        one = build.number(1, doubled, Format(False, 1, 1), "one")
        sign = build.cast(build.apply("sub", doubled, one), _SIGN)
        return build.apply("mul", sign, build.integers(mantissas, fmt, weight))
    if _is_int2(variable.type.precision):
        # anything but 0 and -1 counts as +1
        ternary = np.where(mantissas == 0, 0, _signs(mantissas == -1))
        return build.apply("mul", x, build.integers(ternary, _SIGN, weight))
    return build.apply("mul", x, build.integers(mantissas, fmt, weight))


def _exponent_products(
    context: Context,
    layer: Any,
    x: Tensor,
    variable: Any,
    shape: tuple[int, ...],
    transposed: bool,
) -> Tensor:
    """x shifted by the weight's exponent, negated by its sign, in a type of twice the widths.

    Source: nnet_mult.h, `weight_exponential`; types.py, `ExponentWeightVariable._format`.
    """
    build = context.build
    data = np.asarray(variable.data, dtype=np.float64)
    data = data.reshape(shape[::-1]).T if transposed else np.resize(data.reshape(-1), shape)
    if not np.isfinite(data).all() or (data == 0).any():
        raise errors.UnsupportedError(
            f"{context.where(layer)}: a power-of-two weight is zero or not a number, "
            "which has no exponent"
        )
    bits = int(variable.type.precision.width)
    exponents = np.log2(np.abs(data)).astype(int)  # hls4ml truncates towards zero
    lowest = int(exponents.min())
    if lowest < -(1 << (bits - 1)) or int(exponents.max()) >= 1 << (bits - 1):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: exponents {lowest} .. {exponents.max()} do not fit in "
            f"{bits} bits"
        )
    width = bits + x.format.width
    shifted = Format(True, 2 * width, width)
    powers = np.array([1 << int(e) - lowest for e in exponents.flat], dtype=object)
    power_format = Format.spanning(0, max(powers), -lowest)
    factor = build.integers(powers.reshape(shape), power_format, variable.name)
    y = build.cast(build.apply("mul", build.cast(x, shifted), factor), shifted)
    signs = build.integers(_signs(data < 0), _SIGN, "sign")
    return build.cast(build.apply("mul", y, signs), shifted)


def _signs(negative: Array) -> Array:
    return np.where(negative, -1, 1)


def _is_int2(precision: Any) -> bool:
    names = class_names(precision)
    return "IntegerPrecisionType" in names and precision.width == 2 and bool(precision.signed)


def lower_batchnorm(context: Context, layer: Any) -> Tensor:
    """result = cast(x * scale + bias), one exact expression.

    Source: nnet_batchnorm.h, `normalize`.
    """
    x = context.input(layer)
    scaled = _products(context, layer, x, "scale", x.shape)
    bias = context.per_channel(layer, "bias", x)
    total = context.build.apply("add", scaled, bias)
    return context.build.cast(total, context.result_format(layer))


def lower_quantized_tanh(context: Context, layer: Any) -> Tensor:
    """Binary: x >= threshold. Ternary: +1 above the high threshold, -1 up to the low one, else 0.

    Source: nnet_batchnorm.h, `normalize_binary_tanh`, `normalize_ternary_tanh`.
    """
    build = context.build
    x = context.input(layer)
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
