"""Einsum of two inputs, and EinsumDense of an input with weights.

Both bring their operands into the order (common axes, free axes, contracted axes), multiply and add
up over the contracted axes for every common position, and bring the result back into the order of
the equation. The graph's reductions run over the first axis, so the contracted axes are first here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samebits import errors

from ..builder import GraphBuilder
from ..ir import Format, Overflow, Rounding, Tensor
from ..ops import Array
from .context import Context, Lowering
from .precision import class_names
from .products import to_result, weight_products

__all__ = [
    "LAYERS",
    "Axes",
    "contracted_first",
    "lower_einsum",
    "lower_einsum_dense",
    "natural_order",
]

_BIT, _SIGN = Format(False, 1, 1), Format(True, 2, 2)
_UNBIASED = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)


@dataclass(frozen=True, slots=True)
class Axes:
    """How many elements the axes of an equation have.

    `common` axes are in both operands and the result, `left` and `right` in one operand and the
    result, `contracted` in both operands only.
    """

    common: int
    left: int
    right: int
    contracted: int


def _transposed(build: GraphBuilder, x: Tensor, perm: Sequence[int]) -> Tensor:
    perm = tuple(int(axis) for axis in perm)
    return x if perm == tuple(range(len(perm))) else build.apply("transpose", x, perm=perm)


def contracted_first(
    build: GraphBuilder, x: Tensor, shape: Sequence[int], perm: Sequence[int], contracted: int
) -> Tensor:
    """x of some shape, put in the order common, free, contracted axes: (contracted, the rest)."""
    shape, perm = tuple(int(size) for size in shape), tuple(int(axis) for axis in perm)
    x = build.reshape(x, shape)
    split = len(perm)
    while int(np.prod([shape[axis] for axis in perm[split:]])) < contracted:
        split -= 1
    x = _transposed(build, x, (*perm[split:], *perm[:split]))
    return build.reshape(x, (contracted, int(np.prod(x.shape)) // contracted))


def natural_order(context: Context, layer: Any, x: Tensor) -> Tensor:
    """The result (common, left, right) in the order of the equation's right side."""
    shape = tuple(int(size) for size in layer.get_attr("out_interpert_shape"))
    y = _transposed(
        context.build, context.build.reshape(x, shape), layer.get_attr("out_tpose_idxs")
    )
    return context.build.reshape(y, tuple(int(size) for size in layer.get_output_variable().shape))


def _require_io_parallel(context: Context, layer: Any) -> None:
    if context.io_type != "io_parallel":
        raise errors.UnsupportedError(
            f"{context.where(layer)}: hls4ml has it for io_parallel only, not {context.io_type}"
        )


def _require_strategy(context: Context, layer: Any) -> None:
    strategy = str(layer.get_attr("strategy")).lower()
    if strategy != "latency":
        raise errors.UnsupportedError(
            f"{context.where(layer)}: hls4ml has no strategy {strategy} for it; supported: latency"
        )


def lower_einsum(context: Context, layer: Any) -> Tensor:
    """result = cast(s), s = cast(s + a[c] * b[c]) for all c in their order, from 0.

    Source: nnet_einsum.h, `einsum`.
    """
    _require_io_parallel(context, layer)
    _require_strategy(context, layer)
    build = context.build
    axes = Axes(
        *(int(layer.get_attr(n)) for n in ("n_inplace", "n_free0", "n_free1", "n_contract"))
    )
    operands, types = [], []
    for position in (0, 1):
        operands.append(
            contracted_first(
                build,
                context.input(layer, position),
                layer.get_attr(f"inp{position}_shape"),
                layer.get_attr(f"inp{position}_tpose_idxs"),
                axes.contracted,
            )
        )
        types.append(layer.get_input_variable(layer.inputs[position]).type.precision)
    left = build.reshape(operands[0], (axes.contracted, axes.common, axes.left, 1))
    right = build.reshape(operands[1], (axes.contracted, axes.common, 1, axes.right))
    products = _product(build, left, right, types)
    accum = context.attribute_format(layer, "accum_t")
    if "IntegerPrecisionType" in class_names(layer.get_attr("accum_t").precision):
        total = _summed(build, products, accum)  # ap_int += ap_fixed makes an ap_int of that first
    elif _separable(products.format, accum):
        total = _summed(build, products, accum)
    else:
        total = _summed_uncast(build, products, accum)
    result = context.result_format(layer)
    return natural_order(context, layer, build.cast(total, result))


def _product(build: GraphBuilder, a: Tensor, b: Tensor, types: Sequence[Any]) -> Tensor:
    """a * b by hls4ml's rule for their two types.

    Source: nnet_mult.h; which rule applies: fpga_backend.py, `product_type`.
    """
    a_binary, b_binary = ("XnorPrecisionType" in class_names(kind) for kind in types)
    if a_binary and b_binary:
        return build.apply("compare", a, b, relation="eq")
    if b_binary:
        return build.apply("mul", a, _sign_of_bit(build, b))
    if a_binary:
        return build.apply("mul", _sign_of_bit(build, a), b)
    if "IntegerPrecisionType" in class_names(types[1]) and b.format.width == 2 and b.format.signed:
        return build.apply("mul", a, _ternary(build, b))
    return build.apply("mul", a, b)


def _sign_of_bit(build: GraphBuilder, x: Tensor) -> Tensor:
    """-1 for 0, +1 for 1."""
    doubled = build.apply("shift", x, bits=1)
    return build.cast(build.apply("sub", doubled, build.number(1, doubled, _BIT, "one")), _SIGN)


def _ternary(build: GraphBuilder, x: Tensor) -> Tensor:
    """0 and -1 stay, everything else counts as +1. Source: nnet_mult.h, `weight_ternary`."""
    zero, minus_one = build.number(0, x, _SIGN, "zero"), build.number(-1, x, _SIGN, "minus_one")
    one = build.number(1, x, _SIGN, "one")
    negative = build.apply("compare", x, minus_one, relation="eq")
    sign = build.apply("select", negative, minus_one, one)
    return build.apply("select", build.apply("compare", x, zero, relation="eq"), zero, sign)


def _separable(product: Format, accum: Format) -> bool:
    """True if cast(s + p) is cast(s + cast(p)) for every s of the accumulator's type.

    1. Rounding shifts along with s: it drops nothing, or a half always rounds the same way.
    2. Overflow: it wraps, or a product alone never reaches it.
    """
    dropped = product.fraction - accum.fraction
    rounds_alike = dropped <= 0 or (accum.rounding in _UNBIASED and dropped <= product.width)
    sign_bits = accum.signed - product.signed
    fits = product.integer + max(0, sign_bits) < accum.integer and accum.signed >= product.signed
    return rounds_alike and (accum.overflow is Overflow.WRAP or fits)


def _summed(
    build: GraphBuilder, products: Tensor, accum: Format, start: Tensor | None = None
) -> Tensor:
    terms = build.cast(products, accum)
    inputs = (terms,) if start is None else (terms, start)
    order = tuple(range(products.shape[0]))
    return build.apply("accumulate", *inputs, format=accum, kind="chain", order=order)


def _summed_uncast(build: GraphBuilder, products: Tensor, accum: Format) -> Tensor:
    """Every sum of the accumulator and an exact product is cast, one after the other."""
    zeros = np.zeros(products.shape[1:], dtype=np.int64)
    total = build.integers(zeros, accum.lossless, "zero")
    for position in range(products.shape[0]):
        index = build.integers([position], Format.spanning(0, position, 0), "term")
        product = build.reshape(build.apply("gather", products, index), products.shape[1:])
        total = build.cast(build.apply("add", total, product), accum)
    return total


def dense_axes(layer: Any) -> Axes:
    """The axes of an EinsumDense layer: left of the data, right of the kernel."""
    names = ("n_inplace", "n_free_data", "n_free_kernel", "n_contract")
    return Axes(*(int(layer.get_attr(name)) for name in names))


def dense_data(context: Context, layer: Any, axes: Axes) -> Tensor:
    """The input of an EinsumDense layer as (contracted, common, left, 1)."""
    _require_io_parallel(context, layer)
    data = contracted_first(
        context.build,
        context.input(layer),
        layer.get_attr("inp_shape"),
        layer.get_attr("inp_tpose_idxs"),
        axes.contracted,
    )
    return context.build.reshape(data, (axes.contracted, axes.common, axes.left, 1))


def dense_bias(context: Context, layer: Any, axes: Axes) -> Tensor:
    """The bias of an EinsumDense layer as (common, left, right), one for every output."""
    biases, fmt = context.weight(layer, "bias")
    shape = (axes.common, axes.left, axes.right)
    if biases.size != int(np.prod(shape)):
        raise errors.ModelError(
            f"{context.where(layer)}: {biases.size} numbers in bias for {shape} outputs"
        )
    return context.build.integers(biases.reshape(shape), fmt, "bias")


def kernel_places(axes: Axes) -> Array:
    """The number of every weight in hls4ml's array (common, contracted, right), as (contracted,
    common, 1, right)."""
    places = np.arange(axes.common * axes.contracted * axes.right)
    blocks = places.reshape(axes.common, axes.contracted, 1, axes.right)
    return blocks.transpose(1, 0, 2, 3)


def lower_einsum_dense(context: Context, layer: Any) -> Tensor:
    """A latency dense layer for every common and left position: products cast to accum_t, added to
    the bias one after the other.

    Source: nnet_einsum_dense.h, `einsum_dense`; nnet_dense_latency.h, `dense_latency`.
    """
    _require_strategy(context, layer)
    build = context.build
    axes = dense_axes(layer)
    data = dense_data(context, layer, axes)
    accum = context.attribute_format(layer, "accum_t")
    products = weight_products(context, layer, data, "weight", kernel_places(axes))
    bias = build.cast(dense_bias(context, layer, axes), accum)
    total = _summed(build, products, accum, bias)
    return natural_order(context, layer, to_result(context, layer, total, axes.contracted))


LAYERS: dict[str, Lowering] = {
    "Einsum": lower_einsum,
    "EinsumDense": lower_einsum_dense,
}
