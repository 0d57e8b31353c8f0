"""Numbers of adapters against decimal arithmetic of 60 digits, and rounding against fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebits.compile.adapter.numbers import PI, Number, mantissas, rounded, sine
from samebits.compile.ir import Format, Overflow, Rounding

from ...oracle import cast
from .oracle import decimal_sine


@pytest.mark.parametrize(
    ("text", "fraction", "power"),
    [
        (0.0043, Fraction(43, 10000), 0),
        ("1/64", Fraction(1, 64), 0),
        ("2**-6", Fraction(1, 64), 0),
        ("-1.5e-3/7", Fraction(-3, 14000), 0),
        ("pi/4096", Fraction(1, 4096), 1),
        ("-pi", Fraction(-1), 1),
        ("2*pi/144", Fraction(1, 72), 1),
        ("1/pi", Fraction(1), -1),
        (30, Fraction(30), 0),
    ],
)
def test_numbers_are_exact(text: str, fraction: Fraction, power: int) -> None:
    assert Number.parse(text) == Number(fraction, power)


@pytest.mark.parametrize("text", ["", "pi/pi", "0x10", "nan", "1/0", "2*3", True, "1//2", "inf"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"wanted|divides by zero"):
        Number.parse(text)


def test_pi_has_its_digits() -> None:
    # Machin: pi/4 = 4 atan(1/5) - atan(1/239)
    def arctangent(inverse: int) -> Fraction:
        terms = (Fraction((-1) ** k, (2 * k + 1) * inverse ** (2 * k + 1)) for k in range(60))
        return sum(terms, Fraction(0))

    assert abs(4 * (4 * arctangent(5) - arctangent(239)) - PI) < Fraction(1, 2**250)


@given(st.integers(-(10**9), 10**9), st.integers(1, 999), st.sampled_from(Rounding))
def test_fractions_are_rounded(numerator: int, denominator: int, rounding: Rounding) -> None:
    found = rounded(np.array([numerator, 2 * denominator], dtype=object), denominator, rounding)
    exact = Fraction(numerator, denominator)
    assert found[0] == cast(exact, Format(True, 64, 64, rounding))
    assert found[1] == 2


@given(st.integers(-(10**6), 10**6), st.integers(1, 99), st.integers(-3, 9))
def test_a_cast_saturates(numerator: int, denominator: int, integer: int) -> None:
    fmt = Format(True, 7, integer, Rounding.RND_CONV, Overflow.SAT)
    found = mantissas(np.array([numerator], dtype=object), denominator, fmt)
    assert found[0] == cast(Fraction(numerator, denominator), fmt)


@pytest.mark.parametrize("step", ["pi/512", "2*pi/144", "0.0436", "1"])
@pytest.mark.parametrize("start", ["0", "pi/7", "0.25"])
def test_sines_agree_to_50_digits(step: str, start: str) -> None:
    codes = np.arange(-512, 512, 37)
    for cosine in (False, True):
        numerators, one = sine(codes, Number.parse(step), Number.parse(start), cosine=cosine)
        for code, numerator in zip(codes, numerators, strict=True):
            angle = int(code) * Number.parse(step).value + Number.parse(start).value
            wanted = decimal_sine(angle + (PI / 2 if cosine else 0))
            assert abs(Fraction(int(numerator), one) - Fraction(wanted)) < Fraction(1, 10**50)


def test_sines_that_are_fractions_are_exact() -> None:
    numerators, one = sine(np.arange(13), Number.parse("pi/6"), Number.parse(0), cosine=False)
    found = [2 * int(n) / one for n in numerators]
    assert [found[i] for i in (0, 1, 3, 5, 6, 7, 9, 11, 12)] == [0, 1, 2, 1, 0, -1, -2, -1, 0]
