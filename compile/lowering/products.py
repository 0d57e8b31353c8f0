"""Products of data with constant weights, and the accumulators that add them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Overflow, Rounding, Tensor
from ..ops import Array
from .context import Context
from .precision import class_names, is_integer, is_uint1

__all__ = [
    "Walk",
    "accumulate_products",
    "depthwise_walk",
    "each_in_order",
    "latency_walk",
    "resource_walk",
    "strategy_of",
    "to_result",
    "weight_products",
]

_SIGN = Format(True, 2, 2)
_STRATEGIES = ("latency", "resource", "resource_unrolled")


def strategy_of(layer: Any, where: str) -> str:
    """The layer's strategy.

    hls4ml 1.3 cannot convert `compressed` (it writes no kernel for it: KeyError).

    Raises:
        UnsupportedError: another strategy, or one whose C++ does not compile.
    """
    strategy = str(layer.get_attr("strategy")).lower()
    if strategy not in _STRATEGIES:
        raise errors.UnsupportedError(
            f"{where}: strategy {strategy} is not supported; supported: {', '.join(_STRATEGIES)}"
        )
    if strategy == "resource_unrolled" and int(layer.get_attr("reuse_factor")) == 1:
        # unrolled_codegen.py, `GenerateUnrolledDenseResource.match`
        raise errors.UnsupportedError(
            f"{where}: strategy resource_unrolled with reuse factor 1; hls4ml writes no kernel for "
            "it, its C++ does not compile; use resource"
        )
    return strategy


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """The way a C++ kernel takes through its weights; K inputs for each of M outputs.

    Args:
        places: (K, M) position of every weight in the C++ array.
        orders: (K, M) for every output, its inputs in the order in which they are added.
        skips_zeros: weights that are zero are left out of the generated code.
    """

    places: Array
    orders: Array
    skips_zeros: bool = False

    def common_order(self, accum: Format) -> tuple[int, ...] | None:
        """One order for all outputs that gives the bits of each one's own; None if there is none.

        An accumulator that wraps adds modulo 2**width, where every order gives the same.
        """
        first = self.orders[:, 0]
        if (self.orders == first[:, None]).all():
            return tuple(int(position) for position in first)
        return tuple(range(len(first))) if accum.overflow is Overflow.WRAP else None


def latency_walk(n_in: int, n_out: int) -> Walk:
    """Weights stand input by input; inputs are added in their order.

    Source: nnet_dense_latency.h, nnet_conv1d_latency.h, nnet_conv2d_latency.h.
    """
    places = np.arange(n_in * n_out).reshape(n_in, n_out)
    return Walk(places, np.broadcast_to(np.arange(n_in)[:, None], places.shape))


def resource_walk(
    n_in: int, n_out: int, reuse: int, where: str, *, any_reuse: bool = False, skips: bool = False
) -> Walk:
    """Weights stand output by output; the weights number 0, reuse, 2 * reuse, ... come first, then
    those number 1, 1 + reuse, ...

    Args:
        any_reuse: the kernel for a reuse factor that is no multiple of n_in is there. It adds up
            each step's products before they go to the accumulator; a step has at most one for each
            output, so that changes nothing.
        skips: zero weights are left out (resource_unrolled).

    Source: nnet_dense_resource.h; nnet_conv1d_resource.h; nnet_conv2d_resource.h;
    unrolled_codegen.py.

    Raises:
        UnsupportedError: reuse factors at which the C++ reads beyond its arrays or aborts.
    """
    if reuse <= n_in and n_in % reuse:
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} does not divide the {n_in} inputs; hls4ml's resource "
            "kernel is undefined there"
        )
    if reuse > n_in and reuse % n_in and not any_reuse:
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} is neither a divisor nor a multiple of the "
            f"{n_in} inputs; hls4ml's resource kernel is undefined there"
        )
    if reuse > n_in and not reuse % n_in and n_out == 1:  # `rufactor` is limited to n_in * n_out
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} for {n_in} inputs and one output; hls4ml's kernel "
            f"dense_resource_rf_gt_nin_rem0 aborts; choose at most {n_in}"
        )
    places = np.arange(n_in * n_out).reshape(n_out, n_in).T
    return Walk(places, np.argsort(places % reuse, axis=0, kind="stable"), skips)


def depthwise_walk(window: int, n_chan: int, reuse: int | None, where: str) -> Walk:
    """One weight for each pixel of a window and each channel: K pixels, M channels.

    Args:
        reuse: the reuse factor of the resource kernels; None for the latency kernel.

    Source: nnet_depthwise_product.h.

    Raises:
        UnsupportedError: reuse factors at which the C++ reads beyond its arrays.
    """
    places = np.arange(window * n_chan).reshape(window, n_chan)
    if reuse is None:
        return Walk(places, np.broadcast_to(np.arange(window)[:, None], places.shape))
    if places.size % min(reuse, places.size):
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} does not divide the {places.size} inputs of a window; "
            "hls4ml's resource kernel is undefined there"
        )
    return Walk(places, np.argsort(places % reuse, axis=0, kind="stable"))


def each_in_order(context: Context, x: Tensor, walk: Walk) -> tuple[Tensor, Array]:
    """x (K,) repeated for every output, and the weights' places (both K, M), in their orders."""
    index = context.build.integers(walk.orders, Format.spanning(0, len(walk.orders), 0), "order")
    places = np.take_along_axis(walk.places, walk.orders, axis=0)
    return context.build.apply("gather", x, index), places


def accumulate_products(
    context: Context, layer: Any, products: Tensor, order: Sequence[int], names: tuple[str, str]
) -> Tensor:
    """accumulate(bias, cast(products)) over the first axis, in a given order.

    Every product is cast to the accumulator's type, the accumulator starts at the bias and is cast
    after every addition.

    Args:
        products: (K, ..., M), one bias for each of the M.
        names: the bias and the accumulator's type.
    """
    build, (bias_name, accum_name) = context.build, names
    accum = context.attribute_format(layer, accum_name)
    biases, fmt = context.weight(layer, bias_name)
    shape = products.shape[1:]
    if biases.size != shape[-1]:
        raise errors.ModelError(
            f"{context.where(layer)}: {biases.size} numbers in {bias_name} for {shape[-1]} outputs"
        )
    bias = build.integers(np.broadcast_to(biases.reshape(-1), shape), fmt, bias_name)
    if is_integer(layer.get_attr(accum_name).precision):
        _refuse_undefined_integers(context, layer, (products, bias))
    return build.apply(
        "accumulate",
        build.cast(products, accum),
        build.cast(bias, accum),
        format=accum,
        kind="chain",
        order=tuple(order),
    )


def _refuse_undefined_integers(context: Context, layer: Any, terms: Sequence[Tensor]) -> None:
    """An ap_int made from an ap_fixed without integer bits is uninitialised, or -1 if negative.

    Source: ap_fixed_base.h, `to_ap_int_base`.
    """
    for term in terms:
        fmt = term.format
        if fmt.fraction > 0 and fmt.integer <= 0 and (fmt.signed or fmt.integer < 0):
            raise errors.UnsupportedError(
                f"{context.where(layer)}: its accumulator is an ap_int that adds {fmt}, which has "
                "no integer bits; hls4ml's C simulation is undefined there; use an ap_fixed "
                "accumulator"
            )


def to_result(context: Context, layer: Any, total: Tensor, n_in: int) -> Tensor:
    """The accumulator cast to the layer's result.

    Between ap_uint<1> data and weights it holds the number of matches; that is counted back to a
    signed sum first. Source: nnet_mult.h, `cast`.
    """
    build = context.build
    data_type = layer.get_input_variable().type.precision
    if is_uint1(data_type) and is_uint1(layer.weights["weight"].type.precision):
        doubled = build.apply("shift", total, bits=1)
        count = build.number(n_in, doubled, Format.spanning(0, n_in, 0), "n_in")
        difference = build.apply("sub", doubled, count)
        width = max(1, (n_in - 1).bit_length()) + 2
        total = build.cast(difference, Format(True, width, width, Rounding.TRN_ZERO, Overflow.WRAP))
    return build.cast(total, context.result_format(layer))


def weight_products(
    context: Context, layer: Any, x: Tensor, weight: str, places: Array, skips_zeros: bool = False
) -> Tensor:
    """The exact products of x with the weights that stand at some places of the C++ array.

    Args:
        x: broadcasts against `places`, with the same rank.
        places: the number of the weight to multiply by.
        skips_zeros: where the weight is zero the product is zero, whatever the rule says.

    Source: nnet_mult.h; which rule applies: fpga_backend.py, `product_type`.

    Raises:
        UnsupportedError: a power-of-two weight that its type cannot hold.
    """
    build = context.build
    data_type = layer.get_input_variable().type.precision
    variable = layer.weights[weight]
    if "ExponentPrecisionType" in class_names(variable.type.precision):
        return _exponent_products(context, layer, x, variable, places)
    mantissas, fmt = context.weight(layer, weight)
    chosen = mantissas.reshape(-1)[places]
    skipped = np.asarray(variable.data).reshape(-1)[places] == 0 if skips_zeros else None
    data_xnor = "XnorPrecisionType" in class_names(data_type)
    weight_xnor = "XnorPrecisionType" in class_names(variable.type.precision)
    if data_xnor and weight_xnor:
        matches = build.apply("compare", x, build.integers(chosen, fmt, weight), relation="eq")
        if skipped is None or not skipped.any():
            return matches
        kept = build.integers(np.where(skipped, 0, 1), Format(False, 1, 1), "kept")
        return build.apply("mul", matches, kept)
    if weight_xnor:
        chosen, fmt = _signs(chosen == 0), _SIGN
        chosen = chosen if skipped is None else np.where(skipped, 0, chosen)
    elif data_xnor:
        doubled = build.apply("shift", x, bits=1)
        one = build.number(1, doubled, Format(False, 1, 1), "one")
        x = build.cast(build.apply("sub", doubled, one), _SIGN)
    elif _is_int2(variable.type.precision):
        # anything but 0 and -1 counts as +1
        chosen, fmt = np.where(chosen == 0, 0, _signs(chosen == -1)), _SIGN
    return build.apply("mul", x, build.integers(chosen, fmt, weight))


def _exponent_products(
    context: Context, layer: Any, x: Tensor, variable: Any, places: Array
) -> Tensor:
    """x shifted by the weight's exponent, negated by its sign, in a type of twice the widths.

    Source: nnet_mult.h, `weight_exponential`; types.py, `ExponentWeightVariable._format`.
    """
    build = context.build
    data = np.asarray(variable.data, dtype=np.float64).reshape(-1)
    if not np.isfinite(data).all() or (data == 0).any():
        raise errors.UnsupportedError(
            f"{context.where(layer)}: a power-of-two weight is zero or not a number, "
            "which has no exponent"
        )
    bits = int(variable.type.precision.width)
    exponents = np.log2(np.abs(data)).astype(int)  # hls4ml truncates towards zero
    lowest, highest = int(exponents.min()), int(exponents.max())
    if lowest < -(1 << (bits - 1)) or highest >= 1 << (bits - 1):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: exponents {lowest} .. {highest} do not fit in {bits} bits"
        )
    width = bits + x.format.width
    shifted = Format(True, 2 * width, width)
    powers = np.array([1 << int(exponent) - lowest for exponent in exponents], dtype=object)
    signs, largest = _signs(data < 0), 1 << highest - lowest
    if x.format.fraction - lowest <= width and x.format.integer + highest < width:
        # no bit leaves the type of twice the widths: the product is exact
        fmt = Format.spanning(-largest, largest, -lowest)
        return build.apply("mul", x, build.integers((powers * signs)[places], fmt, variable.name))
    factor = build.integers(powers[places], Format.spanning(0, largest, -lowest), variable.name)
    y = build.cast(build.apply("mul", build.cast(x, shifted), factor), shifted)
    sign = build.integers(signs[places], _SIGN, "sign")
    return build.cast(build.apply("mul", y, sign), shifted)


def _signs(negative: Array) -> Array:
    return np.where(negative, -1, 1)


def _is_int2(precision: Any) -> bool:
    names = class_names(precision)
    return "IntegerPrecisionType" in names and precision.width == 2 and bool(precision.signed)
