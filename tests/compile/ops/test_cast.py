"""Casts in all 7 x 4 modes against the oracle: every small mantissa, and the carriers' limits."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from samebits.compile.ir import Carrier, Format, Interval, Overflow, Rounding
from samebits.compile.ops.arith import (
    as_carrier,
    cast_mantissas,
    overflow_peak,
    rescale,
    rescale_peak,
    round_shift,
    scale_up,
)
from samebits.compile.ops.arith import overflow as apply_overflow
from samebits.compile.ops.boundary import to_values
from samebits.compile.ops.cast import cast_interval

from ... import oracle

MODES = list(product(Rounding, Overflow))
SOURCES = [Format(s, w, i) for s, w, i in product((True, False), (1, 5), (-2, 1, 7))]
SHAPES = [(True, 1, 1), (True, 1, 0), (False, 1, 1), (True, 4, 2), (False, 3, 0), (True, 3, 5)]
SHAPES += [(False, 2, -1), (True, 2, -4), (True, 0, 0), (False, 0, 3), (True, 9, 3)]


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_every_small_cast(rounding: Rounding, overflow: Overflow) -> None:
    for source, shape in product(SOURCES, SHAPES):
        target = Format(*shape, rounding, overflow)
        everything = list(range(source.min_mantissa, source.max_mantissa + 1))
        expected = [oracle.cast(m * oracle.lsb(source), target) for m in everything]
        for carrier in Carrier:
            x = as_carrier(np.array(everything), carrier)
            got = cast_mantissas(x, source, target)
            assert as_carrier(got, Carrier.PYTHON).tolist() == expected, f"{source} -> {target}"
        bounds = cast_interval(Interval.of_constant(np.array(everything)), source, target)
        assert all(bounds.low <= expected)
        assert all(expected <= bounds.high)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("carrier", [Carrier.FLOAT32, Carrier.FLOAT64, Carrier.INT64])
def test_rounding_is_exact_up_to_the_peak(carrier: Carrier, rounding: Rounding) -> None:
    limit = carrier.limit
    assert limit is not None
    for bits in range(1, limit.bit_length() + 3):
        source, target = Format(True, 70, 70 - bits), Format(True, 70, 70, rounding)
        largest = limit if rounding is Rounding.TRN else limit - (1 << bits)
        if largest < 1:
            continue
        assert rescale_peak(largest, source, target) <= limit
        half = 1 << (bits - 1)
        near = {largest - d for d in range(4)} | {
            k * half + d for k in range(4) for d in (-1, 0, 1)
        }
        near |= {largest // half * half + d for d in (-1, 0, 1)}
        some = sorted({s * m for m in near if 0 <= m <= largest for s in (1, -1)})
        got = rescale(as_carrier(np.array(some, dtype=object), carrier), source, target)
        expected = [oracle.round_to_integer(Fraction(m, 1 << bits), rounding) for m in some]
        assert as_carrier(got, Carrier.PYTHON).tolist() == expected, f"{bits} bits dropped"


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("carrier", [Carrier.FLOAT32, Carrier.FLOAT64, Carrier.INT64])
def test_overflow_is_exact_up_to_the_peak(carrier: Carrier, overflow: Overflow) -> None:
    limit = carrier.limit
    assert limit is not None
    for signed, width in product((True, False), range(limit.bit_length() + 1)):
        target = Format(signed, width, 0, Rounding.TRN, overflow)
        room = limit - (1 << (width + 1)) if overflow is Overflow.WRAP else limit
        if room < 0 or overflow_peak(room, target) > limit:
            continue
        edges = (0, 1, 2, target.max_mantissa, -target.min_mantissa, 1 << width, room)
        near = {s * (edge + d) for edge in edges for d in (-2, -1, 0, 1, 2) for s in (1, -1)}
        some = sorted(m for m in near if abs(m) <= room)
        got = apply_overflow(as_carrier(np.array(some, dtype=object), carrier), target)
        expected = [oracle.overflow(m, target) for m in some]
        assert as_carrier(got, Carrier.PYTHON).tolist() == expected, str(target)


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("bits", [61, 62, 63, 64, 65, 128])
def test_rounding_away_more_bits_than_a_word(bits: int, rounding: Rounding) -> None:
    half = 1 << (bits - 1)
    some = [s * (m + d) for m in (0, half, 2 * half, 3 * half) for d in (-1, 0, 1) for s in (-1, 1)]
    expected = [oracle.round_to_integer(Fraction(m, 1 << bits), rounding) for m in some]
    assert round_shift(np.array(some, dtype=object), bits, rounding).tolist() == expected
    small = np.array([-(2**40), -1, 0, 1, 2**40])
    for array in (small, small.astype(np.float64)):
        peak = rescale_peak(2**40, Format(True, 41, 41 - bits), Format(True, 41, 41, rounding))
        if array.dtype == np.int64 and peak <= 2**63 - 1:
            got = round_shift(array, bits, rounding)
            assert got.tolist() == [
                oracle.round_to_integer(Fraction(int(m), 1 << bits), rounding) for m in small
            ]


@pytest.mark.parametrize("carrier", Carrier)
@pytest.mark.parametrize("bits", [0, 1, 62, 63, 64, 200, 2000])
def test_zero_scaled_by_any_power_is_zero(carrier: Carrier, bits: int) -> None:
    got = scale_up(as_carrier(np.zeros(2, dtype=np.int64), carrier), bits)
    assert got.dtype == carrier.dtype
    assert got.tolist() == [0, 0]


def test_symmetric_saturation_of_one_signed_bit() -> None:
    # the headers keep -1 .. 0: tests/apfixed
    target = Format(True, 1, 1, Rounding.TRN, Overflow.SAT_SYM)
    got = cast_mantissas(np.array([-9, -1, 0, 1, 9]), Format(True, 8, 8), target)
    assert got.tolist() == [-1, -1, 0, 0, 0]


def test_float_carriers_never_leave_a_minus_zero_in_values() -> None:
    for rounding, carrier in product(Rounding, (Carrier.FLOAT32, Carrier.FLOAT64)):
        target = Format(True, 4, 4, rounding, Overflow.SAT)
        got = cast_mantissas(np.array([-1, -0.0, 0, 1], carrier.dtype), Format(True, 4, 1), target)
        values = to_values(got, target)
        assert not np.signbit(values[values == 0]).any()
