"""Doubles to mantissas and back, against exact fractions."""

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebits.compile.ir import Carrier, Format, Overflow, Rounding
from samebits.compile.ops.boundary import to_mantissas, to_values

from ... import oracle
from ...strategies import formats

MODES = list(product(Rounding, Overflow))
SHAPES = [(True, 16, 6), (False, 8, 0), (True, 1, 1), (True, 4, 7), (False, 3, 5), (True, 6, -70)]
SHAPES += [(True, 0, 0), (False, 0, 2), (True, 12, -12), (False, 24, 24), (True, 53, 1)]
SHAPES += [(True, 54, 54), (False, 54, 54), (False, 70, 70), (True, 70, 4), (True, 120, 60)]
SHAPES += [(False, 51, 51), (True, 40, 200)]


def doubles_near(fmt: Format) -> list[float]:
    """Ties, grid points and their neighbours, the ends of the range and of the doubles."""
    exact = [Fraction(k, 4) for k in range(-10, 11)]
    low, high = oracle.bounds(fmt)
    for edge in (low, high, 2**fmt.width):
        exact += [s * (edge + Fraction(k, 2)) for k in range(-3, 4) for s in (1, -1)]
    points = [float(x * oracle.lsb(fmt)) for x in exact]
    points += [math.nextafter(x, way) for x in points for way in (-math.inf, math.inf)]
    points += [s * x for x in (5e-324, 1e-310, 2.3e-308, 1e-30, 1e30, 1.7e308) for s in (1, -1)]
    return [*points, 0.0, -0.0, 1 / 3, -1 / 3, math.pi * 1e10, -math.e * 1e5]


def carrier_of(fmt: Format) -> Carrier:
    return Carrier.for_magnitude(max(-fmt.min_mantissa, fmt.max_mantissa))


def check(values: Any, fmt: Format) -> None:
    expected = [oracle.cast(Fraction(float(x)), fmt) for x in values]
    carrier = carrier_of(fmt)
    together = to_mantissas(values, fmt, carrier)
    assert together.dtype == carrier.dtype
    assert [int(m) for m in together] == expected, str(fmt)
    # alone, a small number takes the fast path
    alone = [int(to_mantissas(values[i : i + 1], fmt, carrier)[0]) for i in range(len(values))]
    assert alone == expected, str(fmt)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_doubles_near_ties_ends_and_extremes(rounding: Rounding, overflow: Overflow) -> None:
    for shape in SHAPES:
        fmt = Format(*shape, rounding, overflow)
        check(np.array(doubles_near(fmt)), fmt)


@pytest.mark.parametrize(("rounding", "overflow"), MODES)
def test_floats(rounding: Rounding, overflow: Overflow) -> None:
    for shape in ((True, 16, 6), (False, 8, -30), (True, 50, 10), (False, 70, 70)):
        fmt = Format(*shape, rounding, overflow)
        with np.errstate(over="ignore"):
            floats = np.array(doubles_near(fmt)).astype(np.float32)
        check(floats[np.isfinite(floats)], fmt)


@given(fmt=formats(max_width=64), values=st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_any_doubles(fmt: Format, values: list[float]) -> None:
    check(np.array(values, dtype=np.float64), fmt)


@pytest.mark.parametrize(
    ("overflow", "signed", "expected"),
    [
        (Overflow.WRAP, True, [0, 0]),
        (Overflow.SAT, True, [-128, 127]),
        (Overflow.SAT_SYM, True, [-127, 127]),
        (Overflow.SAT_ZERO, True, [0, 0]),
        (Overflow.SAT, False, [0, 255]),
    ],
)
@pytest.mark.parametrize("rounding", Rounding)
def test_infinity_is_a_huge_number(
    rounding: Rounding, overflow: Overflow, signed: bool, expected: list[int]
) -> None:
    # 1 / 0 in hls4ml's tables; the headers agree: test_headers.py
    fmt = Format(signed, 8, 4, rounding, overflow)
    got = to_mantissas(np.array([-np.inf, np.inf]), fmt, Carrier.FLOAT32)
    assert got.tolist() == expected


def test_shape_is_kept_and_empty_arrays_pass() -> None:
    fmt = Format(True, 8, 4)
    assert to_mantissas(np.zeros((0, 3)), fmt, Carrier.FLOAT32).shape == (0, 3)
    assert to_mantissas(np.zeros((2, 3)), Format(True, 70, 4), Carrier.PYTHON).shape == (2, 3)
    assert to_values(np.zeros((0, 3), dtype=object), fmt).shape == (0, 3)


@given(fmt=formats(max_width=90), data=st.data())
def test_values_are_exact_to_53_bits_and_then_round_to_even(
    fmt: Format, data: st.DataObject
) -> None:
    some = data.draw(st.lists(st.integers(fmt.min_mantissa, fmt.max_mantissa), min_size=1))
    exact = np.empty(len(some), dtype=object)
    exact[:] = some
    expected = [float(m * oracle.lsb(fmt)) for m in some]  # Fraction to float: half to even
    for carrier in Carrier:
        if carrier.holds(max(abs(m) for m in some)):
            got = to_values(exact.astype(carrier.dtype), fmt)
            assert got.dtype == np.float64
            assert got.tolist() == expected
            assert not np.signbit(got[got == 0]).any()


@given(fmt=formats(max_width=53))
def test_values_come_back_as_the_same_mantissas(fmt: Format) -> None:
    some = np.unique([fmt.min_saturated, 0, fmt.max_mantissa]).astype(np.int64)
    back = to_mantissas(to_values(some, fmt), fmt, carrier_of(fmt))
    assert [int(m) for m in back] == some.tolist()
