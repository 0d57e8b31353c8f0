"""Exact integer arithmetic on every carrier: floats that hold integers, int64, Python integers.

The callers guarantee by range analysis that no intermediate value leaves the carrier's exact range.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Carrier, Format, Interval, Overflow, Rounding, Tensor
from .base import Array, Site

__all__ = [
    "as_carrier",
    "axis_of",
    "broadcast_shape",
    "cast_mantissas",
    "common_format",
    "is_float",
    "overflow",
    "overflow_peak",
    "rescale",
    "rescale_peak",
    "result_peak",
    "round_float",
    "round_shift",
    "scale_up",
    "to_common",
]

_INT64_SHIFT_LIMIT = 62  # 1 << 63 is no int64 any more
_FLOAT_SHIFT_LIMIT = 60  # any float carrier's integer is far below half of 2**60: the rest is zero


def is_float(values: Array) -> bool:
    """True for float carriers."""
    return values.dtype.kind == "f"


def as_carrier(values: Array, carrier: Carrier) -> Array:
    """The same integers in another carrier, which must be able to hold them."""
    if carrier is Carrier.PYTHON and values.dtype != object:
        integers = (int(value) for value in values.flat)
        return np.fromiter(integers, dtype=object, count=values.size).reshape(values.shape)
    return values.astype(carrier.dtype, copy=False)


def scale_up(values: Array, bits: int, out: Array | None = None) -> Array:
    """values x 2**bits, bits >= 0; `out`: a float array that may be used for the result."""
    if bits == 0:
        return values
    if values.dtype != object:
        bits = min(bits, _INT64_SHIFT_LIMIT)  # what fits the carrier after more than that is zero
    if is_float(values):
        return np.asarray(np.multiply(values, values.dtype.type(2.0**bits), out=out))
    return np.asarray(values * (1 << bits), dtype=values.dtype)  # rank 0 gives a bare integer


def round_shift(values: Array, bits: int, rounding: Rounding, out: Array | None = None) -> Array:
    """values / 2**bits rounded to an integer, bits > 0; `out` as in `scale_up`."""
    if is_float(values):
        return _round_float(values, bits, rounding, out)
    if values.dtype != object and bits > _INT64_SHIFT_LIMIT:
        values = values.astype(object)
        return _round_integer(values, bits, rounding).astype(np.int64)
    return _round_integer(values, bits, rounding)


def _round_float(values: Array, bits: int, rounding: Rounding, out: Array | None) -> Array:
    bits = min(bits, _FLOAT_SHIFT_LIMIT)
    scaled = np.asarray(np.multiply(values, values.dtype.type(2.0**-bits), out=out))
    round_float(scaled, rounding)
    return scaled


def round_float(scaled: Array, rounding: Rounding) -> None:
    """Rounds the elements of a float array to integers, in place."""
    half = scaled.dtype.type(0.5)
    match rounding:
        case Rounding.TRN:
            np.floor(scaled, out=scaled)
        case Rounding.TRN_ZERO:
            np.trunc(scaled, out=scaled)
        case Rounding.RND_CONV:
            np.rint(scaled, out=scaled)
        case Rounding.RND:
            scaled += half
            np.floor(scaled, out=scaled)
        case Rounding.RND_MIN_INF:
            scaled -= half
            np.ceil(scaled, out=scaled)
        case Rounding.RND_INF:
            np.copysign(np.floor(np.abs(scaled) + half), scaled, out=scaled)
        case Rounding.RND_ZERO:
            np.copysign(np.ceil(np.abs(scaled) - half), scaled, out=scaled)


def _round_integer(values: Array, bits: int, rounding: Rounding) -> Array:
    half = 1 << (bits - 1)
    negative = np.asarray(values < 0).astype(values.dtype)  # not NumPy's bool: its sum is an int64
    shifted: Array
    match rounding:
        case Rounding.TRN:
            shifted = values
        case Rounding.TRN_ZERO:
            shifted = values + negative * ((1 << bits) - 1)
        case Rounding.RND:
            shifted = values + half
        case Rounding.RND_MIN_INF:
            shifted = values + (half - 1)
        case Rounding.RND_INF:
            shifted = values + half - negative
        case Rounding.RND_ZERO:
            shifted = values + (half - 1) + negative
        case Rounding.RND_CONV:
            shifted = values + (half - 1) + ((values >> bits) & 1)
    result: Array = shifted >> bits
    return result


def overflow(values: Array, fmt: Format, *, in_place: bool = False) -> Array:
    """Integers brought into the format's range by its overflow mode.

    `in_place`: the caller owns `values` and allows them to be overwritten.
    """
    low, high = fmt.min_mantissa, fmt.max_mantissa
    kind = values.dtype.type if values.dtype != object else int
    match fmt.overflow:
        case Overflow.WRAP:
            if fmt.width == 0:
                return np.zeros_like(values)
            if is_float(values):
                turns = (values - kind(low)) * kind(2.0**-fmt.width)
                np.floor(turns, out=turns)
                turns *= kind(2.0**fmt.width)
                return np.asarray(np.subtract(values, turns, out=turns))
            return np.asarray(((values - low) & ((1 << fmt.width) - 1)) + low)
        case Overflow.SAT | Overflow.SAT_SYM:
            low = fmt.min_saturated
            if is_float(values):
                return np.clip(values, kind(low), kind(high), out=values if in_place else None)
            above = np.maximum(values, kind(low), dtype=values.dtype)
            return np.asarray(np.minimum(above, kind(high), dtype=values.dtype))
        case Overflow.SAT_ZERO:
            return np.where((values < low) | (values > high), kind(0), values)


def cast_mantissas(
    values: Array, source: Format, target: Format, out: Array | None = None
) -> Array:
    """Mantissas of `source` as mantissas of `target`: rounding first, then overflow.

    `out`: a float array that may be used for the result.

    Source: ap_fixed_base.h, `ap_fixed_base::operator=(const ap_fixed_base&)`.
    """
    rounded = rescale(values, source, target, out)
    return overflow(rounded, target, in_place=rounded is not values or out is values)


def rescale(values: Array, source: Format, target: Format, out: Array | None = None) -> Array:
    """Mantissas of `source` on the grid of `target`, rounded; the range is left as it is."""
    bits = source.fraction - target.fraction
    if bits > 0:
        return round_shift(values, bits, target.rounding, out)
    return scale_up(values, -bits, out)


def rescale_peak(magnitude: int, source: Format, target: Format) -> int:
    """A bound on everything `rescale` computes from mantissas up to `magnitude`."""
    bits = source.fraction - target.fraction
    if bits <= 0:
        return magnitude << -bits
    return magnitude + (0 if target.rounding is Rounding.TRN else 1 << bits)


def overflow_peak(magnitude: int, fmt: Format) -> int:
    """A bound on everything `overflow` computes from integers up to `magnitude`."""
    largest = max(-fmt.min_mantissa, fmt.max_mantissa)
    if fmt.overflow is Overflow.WRAP:
        return magnitude + (1 << (fmt.width + 1))
    return max(magnitude, largest)


def common_format(formats: Sequence[Format]) -> Format:
    """The narrowest format that holds every value of all the given ones."""
    signed = any(fmt.signed for fmt in formats)
    fraction = max(fmt.fraction for fmt in formats)
    integer = max(fmt.integer + (signed and not fmt.signed) for fmt in formats)
    return Format(signed, max(0, integer + fraction), max(integer, -fraction))


def to_common(site: Site, arrays: Sequence[Array], target: Format) -> list[Array]:
    """Every input's mantissas on the grid of `target`, which is at least as fine as theirs."""
    return [
        scale_up(array, target.fraction - tensor.format.fraction)
        for tensor, array in zip(site.inputs, arrays, strict=True)
    ]


def broadcast_shape(inputs: Sequence[Tensor], what: str) -> tuple[int, ...]:
    """The common shape of tensors of one rank that are combined element by element.

    Raises:
        FormatError: they do not broadcast.
    """
    try:
        if len({len(tensor.shape) for tensor in inputs}) > 1:
            raise ValueError
        return np.broadcast_shapes(*(tensor.shape for tensor in inputs))
    except ValueError:
        shapes = " and ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs)
        raise errors.FormatError(f"{what}: shapes do not broadcast: {shapes}") from None


def axis_of(shape: tuple[int, ...], axis: int, what: str) -> int:
    """The axis counted from the front, without the batch axis.

    Raises:
        FormatError: there is no such axis.
    """
    if not -len(shape) <= axis < len(shape):
        raise errors.FormatError(f"{what}: axis {axis} is not in shape {shape}")
    return axis % len(shape)


def result_peak(site: Site, intervals: Sequence[Interval]) -> int:
    """For operations whose largest numbers are their inputs on the result's grid, or the result."""
    fraction = site.output.format.fraction
    return max(
        (
            interval.magnitude << max(0, fraction - tensor.format.fraction)
            for tensor, interval in zip(site.inputs, intervals, strict=True)
        ),
        default=0,
    )
