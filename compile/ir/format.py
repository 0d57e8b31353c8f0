"""`Format`: the exact type of a fixed-point number, as `ap_fixed` and `ap_ufixed` define it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from samebits import errors

__all__ = ["Format", "Overflow", "Rounding"]


_TEXT = re.compile(
    r"(ap_u?fixed)<(\d{1,6}),(-?\d{1,6}),(TRN(?:_ZERO)?|RND(?:_ZERO|_INF|_MIN_INF|_CONV)?),"
    r"(WRAP|SAT|SAT_ZERO|SAT_SYM)>"
)


class Rounding(enum.Enum):
    """What happens to the bits below the last one (UG1399, quantization modes)."""

    TRN = "TRN"  # towards minus infinity
    TRN_ZERO = "TRN_ZERO"  # towards zero
    RND = "RND"  # nearest, ties towards plus infinity
    RND_ZERO = "RND_ZERO"  # nearest, ties towards zero
    RND_INF = "RND_INF"  # nearest, ties away from zero
    RND_MIN_INF = "RND_MIN_INF"  # nearest, ties towards minus infinity
    RND_CONV = "RND_CONV"  # nearest, ties to even


class Overflow(enum.Enum):
    """What happens to a value out of range (UG1399, overflow modes)."""

    WRAP = "WRAP"  # keep the low bits
    SAT = "SAT"  # the nearest representable value
    SAT_ZERO = "SAT_ZERO"  # zero
    SAT_SYM = "SAT_SYM"  # the nearest of -max .. +max


@dataclass(frozen=True, slots=True)
class Format:
    """A fixed-point type: value = mantissa x 2**-(width - integer).

    Args:
        signed: two's complement if true.
        width: number of bits, sign included; 0 holds the value zero only.
        integer: bits left of the binary point, sign included; may be negative or exceed the width.
        rounding: used when a value with more fraction bits is cast to this format.
        overflow: used when a value out of range is cast to this format.

    Raises:
        FormatError: negative or non-integer width.

    >>> str(Format(True, 16, 6))
    'ap_fixed<16,6,TRN,WRAP>'
    >>> Format(True, 8, 3).fraction, Format(True, 8, 3).lsb, Format(False, 8, 3).max_mantissa
    (5, 0.03125, 255)
    """

    signed: bool
    width: int
    integer: int
    rounding: Rounding = Rounding.TRN
    overflow: Overflow = Overflow.WRAP

    def __post_init__(self) -> None:
        for field in ("width", "integer"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool):
                raise errors.FormatError(f"Format: {field} must be an int, got {value!r}")
        if self.width < 0:
            raise errors.FormatError(f"Format: width must be 0 or more, got {self.width}")

    @property
    def fraction(self) -> int:
        """Bits right of the binary point (negative if the least significant bit is above one)."""
        return self.width - self.integer

    @property
    def lsb(self) -> float:
        """The value of the least significant bit."""
        return 2.0**-self.fraction

    @property
    def max_mantissa(self) -> int:
        """The largest mantissa."""
        if self.width == 0:
            return 0
        return (1 << (self.width - 1 if self.signed else self.width)) - 1

    @property
    def min_mantissa(self) -> int:
        """The smallest mantissa that the bits can hold."""
        if self.width == 0 or not self.signed:
            return 0
        return -(1 << (self.width - 1))

    @property
    def min_saturated(self) -> int:
        """The smallest mantissa that a cast to this format can leave.

        SAT_SYM keeps -max .. +max, except for one signed bit, where the headers keep -1 .. 0
        (ap_fixed_base.h, `overflow_adjust`; seen by running it).
        """
        if self.overflow is Overflow.SAT_SYM and self.signed and self.width > 1:
            return -self.max_mantissa
        return self.min_mantissa

    @property
    def like_ap_int(self) -> bool:
        """True for the type of an ap_int: whole numbers, truncated towards zero and wrapped."""
        modes = self.rounding, self.overflow
        return self.integer == self.width and modes == (Rounding.TRN_ZERO, Overflow.WRAP)

    @property
    def lossless(self) -> Format:
        """The same grid and range with ap_fixed's default modes, as the type of an exact result."""
        return Format(self.signed, self.width, self.integer)

    def same_grid(self, other: Format) -> bool:
        """True if both hold exactly the same values, whatever their modes."""
        return (self.signed, self.width, self.integer) == (
            other.signed,
            other.width,
            other.integer,
        )

    @classmethod
    def spanning(cls, low: int, high: int, fraction: int) -> Format:
        """The narrowest format with `fraction` bits that holds the mantissas low .. high.

        >>> str(Format.spanning(-3, 200, 4))
        'ap_fixed<9,5,TRN,WRAP>'
        """
        signed = low < 0
        width = max(max(high, 0).bit_length(), (-low - 1).bit_length() if signed else 0) + signed
        return cls(signed, width, width - fraction)

    @classmethod
    def parse(cls, text: str) -> Format:
        """The format that `str(format)` wrote.

        Raises:
            FormatError: another text.

        >>> Format.parse("ap_ufixed<8,3,RND_CONV,SAT>").max_mantissa
        255
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise errors.FormatError(
                f"got {text!r}, wanted a format such as ap_fixed<16,6,TRN,WRAP>"
            )
        kind, width, integer, rounding, overflow = match.groups()
        modes = Rounding(rounding), Overflow(overflow)
        return cls(kind == "ap_fixed", int(width), int(integer), *modes)

    def __str__(self) -> str:
        name = "ap_fixed" if self.signed else "ap_ufixed"
        modes = f"{self.rounding.value},{self.overflow.value}"
        return f"{name}<{self.width},{self.integer},{modes}>"
