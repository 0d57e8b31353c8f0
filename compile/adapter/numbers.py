"""Exact numbers of an adapter: fractions with or without pi, and sines right to the last bit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ir import Format, Rounding
from ..ops.arith import overflow

__all__ = ["PI", "Number", "mantissas", "rounded", "sine"]

Array = NDArray[Any]
# 80 digits: what is computed from it is off by less than 2**-250 of itself
PI = Fraction("3.1415926535897932384626433832795028841971693993751058209749445923078164062862090")
_SINE_BITS = 192
_DECIMAL = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|[+-]?\.\d+(?:[eE][+-]?\d{1,3})?"
_POWER = re.compile(r"2\s*(?:\*\*|\^)\s*([+-]?\d{1,3})")
_TEXT = re.compile(
    rf"(?:(?P<over>{_DECIMAL})\s*/\s*pi"
    rf"|(?:(?P<times>{_DECIMAL})\s*\*\s*)?(?P<sign>-?)pi(?:\s*/\s*(?P<by>{_DECIMAL}))?"
    rf"|(?P<plain>{_DECIMAL})(?:\s*/\s*(?P<below>{_DECIMAL}))?)"
)


@dataclass(frozen=True, slots=True)
class Number:
    """`fraction` x pi**`pi_power`.

    >>> Number.parse("pi/4096") * Number.parse(0.5), Number.parse("2**-6").fraction
    (Number(fraction=Fraction(1, 8192), pi_power=1), Fraction(1, 64))
    """

    fraction: Fraction
    pi_power: int = 0

    @classmethod
    def parse(cls, text: str | int | float) -> Number:
        """0.0043, "43/10000", "2**-6", "pi/4096", "2*pi/144" or "1/pi"; a decimal is exact.

        Raises:
            ValueError: something else, or a division by zero.
        """
        if isinstance(text, bool):
            raise ValueError(f"got {text!r}, wanted a number")
        words = str(text).strip()
        if power := _POWER.fullmatch(words):
            return cls(Fraction(2) ** int(power[1]))
        found = _TEXT.fullmatch(words)
        if found is None:
            raise ValueError(
                f"got {words!r}, wanted a number such as 0.25, 1/64, 2**-6, pi/4096 or 1/pi"
            )
        try:
            if found["over"]:
                return cls(Fraction(found["over"]), -1)
            if found["plain"]:
                return cls(Fraction(found["plain"]) / Fraction(found["below"] or 1))
            times = Fraction(found["times"] or 1) * (-1 if found["sign"] else 1)
            return cls(times / Fraction(found["by"] or 1), 1)
        except ZeroDivisionError:
            raise ValueError(f"{words!r} divides by zero") from None

    def __mul__(self, other: Number) -> Number:
        return Number(self.fraction * other.fraction, self.pi_power + other.pi_power)

    @property
    def value(self) -> Fraction:
        """The number; pi as `PI`."""
        return self.fraction * PI**self.pi_power

    @property
    def turns(self) -> Fraction | None:
        """The angle of this many radians in full turns, where that is a fraction."""
        return self.fraction / 2 if self.pi_power == 1 or not self.fraction else None


def rounded(numerators: Array, denominator: int, rounding: Rounding) -> Array:
    """numerators / denominator as integers; object arrays in, an object array out."""
    floor = numerators // denominator
    twice = 2 * (numerators - floor * denominator)
    tie, up = twice == denominator, twice > denominator
    negative = numerators < 0
    match rounding:
        case Rounding.TRN:
            up = np.zeros(numerators.shape, dtype=bool)
        case Rounding.TRN_ZERO:
            up = negative & (twice > 0)
        case Rounding.RND:
            up = up | tie
        case Rounding.RND_CONV:
            up = up | (tie & (floor % 2 == 1))
        case Rounding.RND_INF:
            up = up | (tie & ~negative.astype(bool))
        case Rounding.RND_ZERO:
            up = up | (tie & negative.astype(bool))
        case Rounding.RND_MIN_INF:
            pass
    return np.asarray(floor + up.astype(bool).astype(object), dtype=object)


def mantissas(numerators: Array, denominator: int, fmt: Format) -> Array:
    """The fractions cast to a format: int64 mantissas."""
    scale = 1 << abs(fmt.fraction)
    if fmt.fraction >= 0:
        whole = rounded(numerators * scale, denominator, fmt.rounding)
    else:
        whole = rounded(numerators, denominator * scale, fmt.rounding)
    return np.asarray(overflow(whole, fmt), dtype=np.int64)


def sine(codes: Array, step: Number, start: Number, *, cosine: bool) -> tuple[Array, int]:
    """sin or cos of codes x step + start in radians: (numerators, denominator).

    The error is below 2**-180, and 0 where sine or cosine is a fraction of a fraction of a turn
    (0, 1/2 and 1; Niven's theorem), so that rounding it to any format is right.
    """
    one = 1 << _SINE_BITS
    turn = 2 * PI
    begin = start.value + (turn / 4 if cosine else 0)
    fractions = [(int(code) * step.value + begin) / turn for code in codes]
    near = [fraction - round(fraction) for fraction in fractions]
    angle = np.array([int(f * turn * one) for f in near], dtype=object)
    square = -(angle * angle) >> _SINE_BITS
    term, total, n = angle, angle, 1
    while np.any(np.abs(term) > 1):
        term = (term * square >> _SINE_BITS) // ((n + 1) * (n + 2))
        total, n = total + term, n + 2
    if step.turns is not None and start.turns is not None:
        exact = [int(code) * step.turns + start.turns for code in codes]
        for place, turns in enumerate(exact):
            twelfths = 12 * (turns + (Fraction(1, 4) if cosine else 0))
            if twelfths.denominator == 1 and twelfths.numerator % 12 in _SINES_OF_TWELFTHS:
                total[place] = _SINES_OF_TWELFTHS[twelfths.numerator % 12] * one // 2
    return total, one


# twice the sine of k twelfths of a turn, where it is whole
_SINES_OF_TWELFTHS = {0: 0, 1: 1, 3: 2, 5: 1, 6: 0, 7: -1, 9: -2, 11: -1}
