"""Softmax in hls4ml's four implementations. Source: nnet_activation.h, `softmax_*`."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from ..ops.accumulate import TREE
from . import tables
from .activation import clamp, scaled_to_int
from .context import Context, Lowering
from .movement import refuse_other_packets
from .precision import literal

__all__ = ["IMPLEMENTATIONS", "LAYERS", "lower_softmax"]

_BIT = Format(False, 1, 1)
# nnet_activation.h, `activ_config`: not configurable
_LEGACY_TABLE, _LEGACY_STREAM_SIZE = Format(True, 18, 8), 1024


def lower_softmax(context: Context, layer: Any) -> Tensor:
    """Softmax over the slice axis; the reductions of the graph run along the first axis."""
    build = context.build
    x, result = context.input(layer), context.result_format(layer)
    name = str(layer.get_attr("implementation", "stable")).lower()
    if name not in IMPLEMENTATIONS:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: softmax implementation {name!r} is not supported; "
            f"supported: {', '.join(sorted(IMPLEMENTATIONS))}"
        )
    refuse_other_packets(context, layer)
    outer, inner = int(layer.get_attr("n_outer", 1)), int(layer.get_attr("n_inner", 1))
    if context.io_type == "io_stream":  # one softmax per packet, which is the last axis
        axis = int(layer.get_attr("axis", -1))
        if axis != -1:
            raise errors.UnsupportedError(
                f"{context.where(layer)}: softmax along axis {axis} in io_stream; hls4ml's C "
                "simulation aborts there; use axis -1, or io_parallel"
            )
        outer, inner = int(np.prod(x.shape[:-1])), 1
    count = int(np.prod(x.shape)) // outer // inner
    rest = tuple(size for size in (outer, inner) if size > 1)
    if outer == 1:
        first = build.reshape(x, (count, *rest))
        y = IMPLEMENTATIONS[name](context, layer, first, result)
    else:
        blocks = build.reshape(x, (outer, count, *rest[1:]))
        perm = (1, 0, *range(2, 1 + len(rest)))
        first = build.apply("transpose", blocks, perm=perm)
        y = build.apply(
            "transpose", IMPLEMENTATIONS[name](context, layer, first, result), perm=perm
        )
    return build.cast(build.reshape(y, x.shape), result)


def _address(context: Context, layer: Any, x: Tensor, size: int) -> Tensor:
    """The top bits of x's word as an unsigned index. Source: `softmax_idx_from_real_val`."""
    bits = max(1, (size - 1).bit_length())
    if bits > x.format.width:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: a table of {size} entries needs {bits} address bits, "
            f"{x.format} has {x.format.width}"
        )
    if size != 1 << bits:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: table size {size} is not a power of two; hls4ml would read "
            "beyond the table's end"
        )
    index = Format(False, bits, x.format.integer)
    return context.build.cast(x, index)


def _sizes(layer: Any) -> tuple[int, int]:
    size = int(layer.get_attr("table_size"))
    return (
        int(layer.get_attr("exp_table_size", size)),
        int(layer.get_attr("inv_table_size", size)),
    )


def _inverse_input(context: Context, layer: Any) -> Format:
    # core_templates.py, `SoftmaxConfigTemplate.format`
    name = "inv_inp_t" if layer.get_attr("inv_inp_t").name != "model_default_t" else "exp_table_t"
    return context.attribute_format(layer, name)


def _exponentials_normalised(
    context: Context, layer: Any, d: Tensor, exp_size: int, negative: bool
) -> Tensor:
    """exp by table and multiplied by the inverse, by table, of its sum over the first axis."""
    build = context.build
    inv_size = _sizes(layer)[1]
    exp_format = context.attribute_format(layer, "exp_table_t")
    inv_format = context.attribute_format(layer, "inv_table_t")
    accum = context.attribute_format(layer, "accum_t")
    scale = float(layer.get_attr("exp_scale", 1.0))
    index = _address(context, layer, d, exp_size)
    table = tables.exp_table(exp_size, d.format, exp_format, scale, negative)
    entry = build.apply("lookup", index, build.integers(table, exp_format, "exp_table"))
    exponential = build.cast(entry, accum)
    total = build.apply("accumulate", exponential, format=accum, kind=TREE, order=())
    inv_input = build.cast(total, _inverse_input(context, layer))
    address = _address(context, layer, inv_input, inv_size)
    inverse_table = build.integers(
        tables.inverse_table(inv_size, inv_input.format, inv_format), inv_format, "inv_table"
    )
    inverse = build.apply("lookup", address, inverse_table)
    return build.apply("mul", exponential, build.reshape(inverse, (1, *inverse.shape)))


def _stable(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    build = context.build
    largest = build.apply("reduce_max", x)
    difference = build.apply("sub", build.reshape(largest, (1, *largest.shape)), x)
    exp_size, inv_size = _sizes(layer)
    if layer.get_attr("inp_norm_t") is not None:
        norm = context.attribute_format(layer, "inp_norm_t")
    else:
        # core_templates.py, `SoftmaxConfigTemplate.format`: chosen by the writer, not in the graph
        fmt = x.format
        norm = Format(False, fmt.width - fmt.signed, fmt.integer - fmt.signed)
        if fmt.signed:
            exp_size = min(inv_size, 1 << norm.width)
    return _exponentials_normalised(context, layer, build.cast(difference, norm), exp_size, True)


def _latency(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    return _exponentials_normalised(context, layer, x, _sizes(layer)[0], False)


def _legacy(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    """1 / sum over j of exp(x[j] - x[i]), one pair after the other."""
    build = context.build
    exp_size, inv_size = _sizes(layer)
    if context.io_type == "io_stream":  # nnet_activation_stream.h, `softmax_legacy`
        exp_size = inv_size = _LEGACY_STREAM_SIZE
    count, *rest = x.shape
    each = build.reshape(x, (count, 1, *rest))
    other = build.reshape(x, (1, count, *rest))
    difference = build.apply("sub", each, other)  # [j, i]
    rounded = scaled_to_int(context, difference, exp_size, 4)
    half = build.number(exp_size // 2, rounded, Format.spanning(0, exp_size // 2, 0))
    index = clamp(context, build.apply("add", rounded, half), 0, exp_size - 1)
    table = build.integers(
        tables.legacy_exp_table(exp_size, _LEGACY_TABLE), _LEGACY_TABLE, "exp_table"
    )
    diagonal = np.eye(count, dtype=np.int64).reshape(count, count, *(1 for _ in rest))
    one = build.number(literal(1.0, _LEGACY_TABLE), index, _LEGACY_TABLE, "one")
    term = build.apply(
        "select", build.integers(diagonal, _BIT, "same"), one, build.apply("lookup", index, table)
    )
    total = build.apply(
        "accumulate",
        build.cast(term, _LEGACY_TABLE),
        format=_LEGACY_TABLE,
        kind="chain",
        order=tuple(range(count)),
    )
    inverse_index = clamp(context, scaled_to_int(context, total, inv_size, 6), 0, inv_size - 1)
    inverse = build.integers(
        tables.legacy_inverse_table(inv_size, _LEGACY_TABLE), _LEGACY_TABLE, "inv_table"
    )
    return build.apply("lookup", inverse_index, inverse)


def _argmax(context: Context, layer: Any, x: Tensor, result: Format) -> Tensor:
    build = context.build
    position = build.apply("argmax", x)
    count = x.shape[0]
    numbers = np.arange(count).reshape(count, *(1 for _ in position.shape))
    places = build.integers(numbers, Format.spanning(0, count - 1, 0), "places")
    here = build.reshape(position, (1, *position.shape))
    return build.apply("compare", here, places, relation="eq")


IMPLEMENTATIONS = {"stable": _stable, "latency": _latency, "legacy": _legacy, "argmax": _argmax}


LAYERS: dict[str, Lowering] = {
    "Softmax": lower_softmax,
}
