"""What a column should be: fractions and decimals of 60 digits, one code at a time."""

import decimal
from fractions import Fraction
from typing import Any

from samebits.compile.adapter.numbers import PI


def decimal_sine(angle: Fraction) -> decimal.Decimal:
    """The sine of an angle, to 55 digits."""
    with decimal.localcontext() as context:
        context.prec = 70
        turned = angle - 2 * PI * round(angle / (2 * PI))
        x = decimal.Decimal(turned.numerator) / decimal.Decimal(turned.denominator)
        total, term, n = x, x, 1
        while abs(term) > decimal.Decimal("1e-65"):
            term = -term * x * x / ((n + 1) * (n + 2))
            total, n = total + term, n + 2
        return +total


def exact_sine(angle: Fraction) -> Fraction:
    """The sine as a fraction, exact where it is 0, 1/2 or 1."""
    value = Fraction(decimal_sine(angle))
    near = Fraction(round(2 * value), 2)
    return near if abs(value - near) < Fraction(1, 10**50) else value


def wrap(difference: int, period: int) -> int:
    """A difference of angles between minus and plus half a turn."""
    while difference >= period - period // 2:
        difference -= period
    while difference < -(period // 2):
        difference += period
    return difference


def word(field: Any, code: int) -> int:
    """A code at its place in the word."""
    high, low = field.place
    return (code & ((1 << (high - low + 1)) - 1)) << low
