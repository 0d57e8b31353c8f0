"""The border between real numbers and mantissas: what hls4ml does to a double."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir import Carrier, Format, Overflow, Rounding
from .arith import as_carrier, overflow

__all__ = ["input_mantissas", "to_mantissas", "to_values"]

Array = NDArray[Any]
_TINY = 5e-324  # the smallest double: stands for a non-zero value that scaling would flush to zero
_HUGE = 2.0**1000  # doubles beyond are multiples of 2**948: they wrap to zero


def to_mantissas(values: Array, fmt: Format, carrier: Carrier) -> Array:
    """Real numbers (float32 or float64, finite) cast to a format, as mantissas in a carrier.

    Rounds first, then applies the overflow mode, exactly: no intermediate value is rounded.
    Source: ap_fixed_base.h, `ap_fixed_base::ap_fixed_base(double)`.
    """
    if 0 <= fmt.fraction < 64 and values.dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            scale = values.dtype.type(2.0**fmt.fraction)
            fast = _round(np.asarray(np.multiply(values, scale, order="C")), fmt.rounding)
        bound = 2.0**23 if fast.dtype == np.float32 else 2.0**52
        low, high = _extremes(fast)
        if fmt.min_saturated <= low and high <= fmt.max_mantissa:
            return as_carrier(fast, carrier)
        if -bound <= low and high <= bound:
            return _in_range(fast, fmt, carrier)
    wide = values.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(wide, fmt.fraction)
    scaled = np.where((scaled == 0) & (wide != 0), np.copysign(_TINY, wide), scaled)
    rounded = _round(scaled, fmt.rounding)
    if fmt.overflow is Overflow.WRAP:
        rounded = np.where(np.abs(rounded) > _HUGE, 0.0, rounded)
        rounded = np.fmod(rounded, 2.0**fmt.width)
    else:
        limit = 2.0 ** (fmt.width + 2)
        rounded = np.clip(rounded, -limit, limit)
    return _in_range(rounded, fmt, carrier)


def input_mantissas(values: Array, fmt: Format, carrier: Carrier) -> Array:
    """What hls4ml's bridge makes of a user's numbers: as `to_mantissas`, but for ap_int.

    An ap_int makes +1 of a number between -1/2 and 0. Source: ap_int_base.h,
    `ap_int_base(double)`: it takes -1 for the bits that the shift leaves and changes the sign.
    """
    if fmt.like_ap_int:
        values = np.where((values > -0.5) & (values < 0), values.dtype.type(1), values)
    return to_mantissas(values, fmt, carrier)


def _in_range(rounded: Array, fmt: Format, carrier: Carrier) -> Array:
    low, high = _extremes(rounded)
    if fmt.min_saturated <= low and high <= fmt.max_mantissa:
        return as_carrier(rounded, carrier)
    if fmt.width > 50:  # a wrapped number may need more bits than a double has
        return as_carrier(overflow(as_carrier(rounded, Carrier.PYTHON), fmt), carrier)
    return as_carrier(overflow(rounded.astype(np.float64, copy=False), fmt), carrier)


def _extremes(values: Array) -> tuple[float, float]:
    """Smallest and largest value as Python floats, which compare exactly with Python integers."""
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _round(scaled: Array, rounding: Rounding) -> Array:
    """Rounded to integers; the array may be overwritten."""
    if rounding is Rounding.TRN:
        return np.asarray(np.floor(scaled, out=scaled))
    if rounding is Rounding.RND_CONV:
        return np.asarray(np.rint(scaled, out=scaled))
    whole = np.trunc(scaled)
    if rounding is Rounding.TRN_ZERO:
        return whole
    with np.errstate(invalid="ignore"):  # infinities keep a NaN remainder, which compares false
        rest = scaled - whole
    up = rest >= 0.5 if rounding in (Rounding.RND, Rounding.RND_INF) else rest > 0.5
    down = rest <= -0.5 if rounding in (Rounding.RND_MIN_INF, Rounding.RND_INF) else rest < -0.5
    return whole + up - down


def to_values(
    mantissas: Array, fmt: Format, out: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The real numbers of mantissas as float64; beyond 53 bits they are rounded half to even."""
    if out is None:
        out = np.empty(mantissas.shape, dtype=np.float64)
    if mantissas.dtype == object:
        doubles = [_to_double(int(value), fmt.fraction) for value in mantissas.flat]
        out[...] = np.array(doubles).reshape(mantissas.shape)
    elif mantissas.dtype == np.int64:
        np.ldexp(mantissas.astype(np.float64), -fmt.fraction, out=out)
    else:
        np.multiply(mantissas, 2.0**-fmt.fraction, out=out, dtype=np.float64)
        out += 0.0  # turns the -0.0 that float rounding may leave into 0.0
    return out


def _to_double(mantissa: int, fraction: int) -> float:
    # float(int) and true division of integers are correctly rounded in Python
    return float(mantissa << -fraction) if fraction < 0 else mantissa / (1 << fraction)
