"""HGQ's quantizers: a format of its own for every element, and functions as tables.

hls4ml writes the formats into generated C++ (`mask_fn_codegen`), after it has narrowed those of the
layer's own attributes; so they are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Overflow, Rounding, Tensor
from .context import Context, Lowering
from .movement import refuse_other_packets

__all__ = [
    "LAYERS",
    "TYPE",
    "cast_elements",
    "element_formats",
    "generated_format",
    "lower_fixed_point_quantizer",
    "lower_unary_lut",
]

TYPE = r"ap_(u?)fixed<\s*(-?\d+)\s*,\s*(-?\d+)\s*(?:,\s*AP_(\w+)\s*,\s*AP_(\w+)\s*)?>"
_MASK = re.compile(rf"out\[(\d+)\] = (?:0|{TYPE}\(inp\[(\d+)\]\));")


def generated_format(match: Sequence[str | None], where: str) -> Format:
    """The format of a C++ type that `TYPE` has matched: unsigned, width, integer, modes.

    Raises:
        UnsupportedError: a negative width, or a mode that samebits does not have.
    """
    unsigned, width, integer, rounding, overflow = match
    rounding, overflow = rounding or "TRN", overflow or "WRAP"
    text = f"ap_{unsigned}fixed<{width},{integer},{rounding},{overflow}>"
    if rounding not in Rounding.__members__ or overflow not in Overflow.__members__:
        raise errors.UnsupportedError(
            f"{where}: {text} is not supported; rounding modes: {', '.join(Rounding.__members__)}; "
            f"overflow modes: {', '.join(Overflow.__members__)}"
        )
    if int(width or 0) <= 0:
        raise errors.UnsupportedError(f"{where}: {text} is not a type; wanted a width of 1 or more")
    return Format(
        not unsigned, int(width or 0), int(integer or 0), Rounding[rounding], Overflow[overflow]
    )


def cast_elements(context: Context, x: Tensor, formats: Sequence[Format | None]) -> Tensor:
    """Every slice x[i] cast to its own format; None makes it zero.

    Args:
        x: shape (n, ...).
        formats: n formats.
    """
    build = context.build
    groups: dict[Format | None, list[int]] = {}
    for position, fmt in enumerate(formats):
        groups.setdefault(fmt, []).append(position)
    parts = []
    for fmt, places in groups.items():
        if fmt is None:
            zeros = np.zeros((len(places), *x.shape[1:]), dtype=np.int64)
            parts.append(build.integers(zeros, Format(False, 0, 0), "zero"))
            continue
        chosen = x if len(groups) == 1 else _rows(context, x, places)
        parts.append(build.cast(chosen, fmt))
    if len(parts) == 1:
        return parts[0]
    back = np.argsort(np.concatenate([np.asarray(places) for places in groups.values()]))
    return _rows(context, build.apply("concat", *parts), back)


def _rows(context: Context, x: Tensor, places: Any) -> Tensor:
    index = context.build.integers(np.asarray(places), Format.spanning(0, x.shape[0], 0), "places")
    return context.build.apply("gather", x, index)


def element_formats(context: Context, layer: Any) -> list[Format | None]:
    """The format of every element of a quantizer; None where it has no bits and the result is 0."""
    where, source = context.where(layer), layer.get_attr("mask_fn_codegen")
    if source is None:
        raise errors.UnsupportedError(
            f"{where}: hls4ml has written no code for it; it does so in io_parallel only"
        )
    formats: dict[int, Format | None] = {}
    for place, *fmt, other in _MASK.findall(str(source.code)):
        formats[int(place)] = generated_format(fmt, where) if other else None
    count = int(np.prod(layer.get_output_variable().shape))
    if sorted(formats) != list(range(count)):
        raise errors.ModelError(
            f"{where}: its generated code sets {len(formats)} elements of {count}"
        )
    return [formats[position] for position in range(count)]


def lower_fixed_point_quantizer(context: Context, layer: Any) -> Tensor:
    """result[i] = cast(cast(x[i] to the format of element i)); no bits: 0.

    Source: fpga/passes/hgq_proxy_model.py, `generate_mask_fn`.
    """
    build, x, formats = context.build, context.input(layer), element_formats(context, layer)
    flat = cast_elements(context, build.reshape(x, (len(formats),)), formats)
    return build.cast(build.reshape(flat, x.shape), context.result_format(layer))


def lower_unary_lut(context: Context, layer: Any) -> Tensor:
    """result = cast(table[the bits of x as an unsigned number]).

    Source: nnet_activation.h, nnet_activation_stream.h, `unary_lut`.
    """
    refuse_other_packets(context, layer)
    build, where = context.build, context.where(layer)
    x, table = context.input(layer), context.constant(layer, "table")
    table = build.reshape(table, (int(np.prod(table.shape)),))
    if x.format.width > 32 or 1 << x.format.width > table.shape[0]:
        raise errors.UnsupportedError(
            f"{where}: {x.format} can address {x.format.width} bits, its table has "
            f"{table.shape[0]} entries; hls4ml's C simulation would read beyond the table's end"
        )
    wanted = layer.get_attr("table_of")
    if wanted is not None and [x.format.width, x.format.integer, int(x.format.signed)] != wanted:
        raise errors.UnsupportedError(
            f"{where}: its table is for numbers of {wanted[0]} bits, {wanted[1]} of them before "
            f"the point, and what comes is {x.format}; put a Quant node right before it"
        )
    index = build.cast(x, Format(False, x.format.width, x.format.integer))
    return build.cast(build.apply("lookup", index, table), context.result_format(layer))


LAYERS: dict[str, Lowering] = {
    "FixedPointQuantizer": lower_fixed_point_quantizer,
    "UnaryLUT": lower_unary_lut,
}
