"""truncated_dot: the sum over the first axis of products, each rounded down to a coarser grid.

What hls4ml's kernels do where the accumulator has fewer fraction bits than the products. With
p = a * b, the sum of floor(p / 2**k) is (sum of p - sum of (p mod 2**k)) / 2**k: one matrix
product, and residues that depend on the low k bits of the factors only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Rounding, Tensor, as_python_ints
from . import dot
from .arith import is_float, round_shift
from .base import Array, Attrs, Operation, Site
from .mul import product_format

__all__ = ["OPERATION"]

_RESIDUE_BITS = 32  # so many can be computed in unsigned integers
_BLOCK = 1 << 17  # numbers of one block: its sums and residues stay in a core's cache


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    bits = attrs["bits"]
    assert isinstance(bits, int)
    if bits < 1:
        raise errors.FormatError(f"truncated_dot: bits must be 1 or more, got {bits}")
    product = product_format(inputs[0].format, inputs[1].format)
    growth = max(0, inputs[0].shape[0] - 1).bit_length()
    width = max(product.width - bits, int(product.signed)) + growth
    return Format(product.signed, width, width - product.fraction + bits)


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    # from the exact sum: sound, and at most one unit for each product too wide
    bits, exact = site.integer("bits"), dot.OPERATION.range(site, intervals)
    lost = site.inputs[0].shape[0] * ((1 << bits) - 1)
    low = as_python_ints(-((lost - exact.low) >> bits))
    low = np.maximum(low, as_python_ints(site.output.format.min_mantissa))
    return Interval(low, exact.high >> bits)


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    lost = site.inputs[0].shape[0] << site.integer("bits")
    return dot.OPERATION.peak(site, intervals) + lost


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    bits, (a, b) = site.integer("bits"), arrays
    if bits > _RESIDUE_BITS or (a.shape[-1] > 1 and b.shape[-1] > 1):
        terms = zip(a, b, strict=True)
        return reduce(np.add, (round_shift(x * y, bits, Rounding.TRN) for x, y in terms))
    low = [_low_bits(x, bits).astype(np.uint16 if bits <= 16 else np.uint32) for x in (a, b)]
    shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
    # one row at least: the blocks are cut along the first axis and the events
    a, b, *low = (x.reshape(len(x), 1, -1) if len(shape) == 1 else x for x in (a, b, *low))
    out = np.empty((1, *shape) if len(shape) == 1 else shape, dtype=a.dtype)
    for rows, events in _blocks(out.shape):
        total = dot.OPERATION.kernel(site, [_part(x, rows, events) for x in (a, b)])
        parts = [_part(x, rows, events) for x in low]
        for residues in _residues(parts[0], parts[1], bits):
            np.subtract(total, residues, out=total, casting="unsafe")
        if is_float(total):
            np.multiply(total, total.dtype.type(2.0**-bits), out=out[rows, ..., events])
        else:
            out[rows, ..., events] = total >> bits
    return out.reshape(shape)


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Slices of the first axis and of the events that cut an array into cache-sized blocks."""
    rows, events = shape[0], shape[-1]
    element = max(1, math.prod(shape[1:-1]))
    row_step = max(1, min(rows, _BLOCK // max(1, element * events)))
    event_step = max(1, _BLOCK // (element * row_step))
    for row in range(0, rows, row_step):
        for event in range(0, events, event_step):
            yield slice(row, row + row_step), slice(event, event + event_step)


def _part(factor: Array, rows: slice, events: slice) -> Array:
    """The part of a factor that makes this block of the result."""
    factor = factor[:, rows] if factor.shape[1] > 1 else factor
    return factor[..., events] if factor.shape[-1] > 1 else factor


def _residues(a: Array, b: Array, bits: int) -> Iterator[Array]:
    """Sums over parts of the first axis of (a * b) mod 2**bits, from the low bits of a and b."""
    # unsigned arithmetic drops multiples of 2**16 or 2**32, which the mask would drop anyway
    mask = (1 << bits) - 1
    group = max(1, np.iinfo(a.dtype).max // mask)  # as many terms as the small integers can add up
    term = np.empty(np.broadcast_shapes(a.shape[1:], b.shape[1:]), a.dtype)
    for start in range(0, len(a), group):
        total = np.multiply(a[start], b[start])
        np.bitwise_and(total, mask, out=total)
        for x, y in zip(a[start + 1 : start + group], b[start + 1 : start + group], strict=True):
            np.multiply(x, y, out=term)
            np.bitwise_and(term, mask, out=term)
            np.add(total, term, out=total)
        yield total


def _low_bits(values: Array, bits: int) -> Array:
    integers = values.astype(np.int64) if is_float(values) else values
    return np.asarray(integers & ((1 << bits) - 1))


OPERATION = Operation(
    name="truncated_dot",
    family="cast",
    equation="y = sum over k of floor(a[k, ...] * b[k, ...] / 2**bits), in units of 2**bits; "
    "shapes broadcast",
    arity=(2, 2),
    attributes={"bits": int},
    shape=dot.OPERATION.shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
