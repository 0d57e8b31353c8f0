"""truncated_dot: the sum over the first axis of products, each rounded down to a coarser grid.

What hls4ml's kernels do where the accumulator has fewer fraction bits than the products. With
p = a * b, the sum of floor(p / 2**k) is (sum of p - sum of (p mod 2**k)) / 2**k: one matrix
product, and residues that depend on the low k bits of the factors only.
"""

from __future__ import annotations

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
    out = np.empty(np.broadcast_shapes(a.shape[1:], b.shape[1:]), dtype=a.dtype)
    for block in _blocks(out.shape):
        total = dot.OPERATION.kernel(site, [_part(a, block), _part(b, block)])
        total -= _residues(_part(low[0], block), _part(low[1], block), bits, total.dtype)
        if is_float(total):
            np.multiply(total, total.dtype.type(2.0**-bits), out=out[block])
        else:
            out[block] = total >> bits
    return out


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Slices of the first axis and of the events that cut an array into cache-sized blocks."""
    rows, events = shape[0] if len(shape) > 1 else 1, shape[-1]
    size = max(1, int(np.prod(shape)))
    row_step = max(1, _BLOCK * rows // size)
    event_step = max(1, _BLOCK * events * rows // (size * min(rows, row_step)))
    for row in range(0, rows, row_step):
        for event in range(0, events, event_step):
            here = slice(event, event + event_step)
            yield (slice(row, row + row_step), ..., here) if len(shape) > 1 else (here,)


def _part(factor: Array, block: tuple[slice, ...]) -> Array:
    """The part of a factor that makes this block of the result."""
    whole = slice(None)
    axes = factor.shape[1 : 2 if len(block) > 1 else 1], factor.shape[-1]
    cut = [piece if size > 1 else whole for piece, size in zip(block[:-2], axes[0], strict=False)]
    return factor[(whole, *cut, ..., block[-1] if axes[1] > 1 else whole)]


def _residues(a: Array, b: Array, bits: int, carrier: np.dtype[np.generic]) -> Array:
    """The sum over the first axis of (a * b) mod 2**bits, from the low bits of a and b."""
    # unsigned arithmetic drops multiples of 2**16 or 2**32, which the mask would drop anyway
    mask = (1 << bits) - 1
    group = max(1, np.iinfo(a.dtype).max // mask)  # as many terms as the small integers can add up
    shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
    out = np.zeros(shape, dtype=carrier)
    total, term = np.empty(shape, a.dtype), np.empty(shape, a.dtype)
    for start in range(0, len(a), group):
        total[...] = 0
        for x, y in zip(a[start : start + group], b[start : start + group], strict=True):
            np.multiply(x, y, out=term)
            np.bitwise_and(term, mask, out=term)
            np.add(total, term, out=total)
        out += total.astype(carrier)
    return out


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
