"""Exact arithmetic on single elements of an alkaid trace.

An element is a `Fraction` if its value is known, else an alkaid variable, which stands for a real
number on a binary grid. alkaid measures constants and bounds in float32, so a constant with more
significant bits than that goes in as a sum of shorter ones, and a wide variable is fenced: it is
passed through a bit slice that changes nothing, behind which its bounds are powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from ..ir import Format, Overflow, Rounding
from ..ops.arith import overflow, round_shift

__all__ = [
    "FACTOR_BITS",
    "SIGNIFICANT_BITS",
    "Element",
    "any_bit",
    "bit_and",
    "bit_not",
    "bound",
    "choose",
    "divide",
    "exact_pieces",
    "fence",
    "is_negative",
    "look_up",
    "maximum",
    "minus",
    "plus",
    "power_of_two",
    "round_to",
    "settle",
    "significant_bits",
    "tighten",
    "times",
]

Element: TypeAlias = Any  # Fraction | alkaid.trace.FVariable; alkaid may not be installed
SIGNIFICANT_BITS = 24  # of a float32: alkaid 0.8.2, _binary/cmvm/bit_decompose.cc, `get_lsb_loc`
FACTOR_BITS = 22  # so that no sum of signed digits on the way to a factor exceeds float32
_PIECE_BITS = SIGNIFICANT_BITS - 1
_SEARCHED_BITS = 10
_ZERO, _ONE = Fraction(0), Fraction(1)


def power_of_two(exponent: int) -> Fraction:
    """2**exponent."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def settle(x: Any) -> Element:
    """What alkaid returned as an element: a Fraction if it is a constant."""
    if isinstance(x, Fraction):
        return x
    if not hasattr(x, "low"):
        return Fraction(float(x))
    return x if x.low != x.high else Fraction(x.low)


def significant_bits(number: Fraction) -> int:
    """Bits from the highest to the lowest set one of a binary fraction."""
    size = abs(number.numerator)
    return (size >> max(0, (size & -size).bit_length() - 1)).bit_length()


def exact_pieces(number: Fraction, bits: int = SIGNIFICANT_BITS) -> list[Fraction]:
    """Numbers of at most so many significant bits that add up to a binary fraction."""
    if significant_bits(number) <= bits:
        return [number] if number else []
    sign = -1 if number < 0 else 1
    rest, pieces, place = abs(number.numerator), [], 0
    while rest:
        piece = rest & ((1 << bits) - 1)
        if piece:
            pieces.append(Fraction(sign * piece << place, number.denominator))
        rest >>= bits
        place += bits
    return pieces


def fence(x: Element) -> Element:
    """x behind a bit slice that changes nothing: alkaid forgets how it was made up."""
    if isinstance(x, Fraction):
        return x
    from alkaid.trace import FVariable  # type: ignore[import-untyped]

    signed, integer, fraction = (int(part) for part in x.kif)
    top, step = 2.0**integer, 2.0**-fraction
    return FVariable(
        -top * signed, top - step, step, _from=(x,), _factor=1.0, opr="wrap", hwconf=x.hwconf
    )


def plus(a: Element, b: Element) -> Element:
    """a + b."""
    if isinstance(a, Fraction):
        if isinstance(b, Fraction):
            return a + b
        a, b = b, a
    if not isinstance(b, Fraction):
        return settle(a + b)
    for piece in exact_pieces(b):
        # alkaid adds up consecutive constants: keep the sum of them short enough, too
        largest = max(abs(Fraction(a.low)), abs(Fraction(a.high)), abs(piece))
        smallest = min(Fraction(a.step), Fraction(piece.numerator & -piece.numerator))
        smallest = min(smallest, Fraction(1, piece.denominator))
        if a.opr == "cadd" and largest / smallest >= 1 << _PIECE_BITS:
            a = fence(a)
        a = settle(a + float(piece))
    return a


def times(a: Element, b: Element) -> Element:
    """a * b."""
    if isinstance(a, Fraction):
        if isinstance(b, Fraction):
            return a * b
        a, b = b, a
    if not isinstance(b, Fraction):
        return settle(a * b)
    products = [_scaled(a, piece) for piece in exact_pieces(b, FACTOR_BITS)]
    if len(products) > 1:
        products = [fence(product) for product in products]
    return reduce(plus, products, _ZERO)


def _scaled(x: Element, factor: Fraction) -> Element:
    """x times a number of at most FACTOR_BITS bits.

    alkaid's search for one constant takes up to seconds above 12 bits, the one for matrices
    milliseconds.
    """
    if significant_bits(factor) <= _SEARCHED_BITS:
        return settle(x * float(factor))
    from alkaid.trace import FVArray

    row = np.empty(1, dtype=object)
    row[0] = x
    product = FVArray(row, {"binary_lut": False}) @ np.array([[float(factor)]])
    return settle(np.asarray(product)[0])


def minus(a: Element, b: Element) -> Element:
    """a - b."""
    return plus(a, -b)


def is_negative(x: Element) -> Element:
    """1 if x < 0, else 0."""
    return _bit(x < 0) if isinstance(x, Fraction) else settle(x.is_negative())


def any_bit(x: Element) -> Element:
    """1 if x is not 0, else 0."""
    return _bit(x != 0) if isinstance(x, Fraction) else settle(x.unary_bit_op("any"))


def bit_not(x: Element) -> Element:
    """1 - x for a bit x."""
    return _ONE - x if isinstance(x, Fraction) else settle(x.unary_bit_op("not"))


def bit_and(a: Element, b: Element) -> Element:
    """a * b for bits a and b."""
    if isinstance(a, Fraction) or isinstance(b, Fraction):
        return times(a, b)
    return settle(a & b)


def _bit_or(a: Element, b: Element) -> Element:
    return bit_not(bit_and(bit_not(a), bit_not(b)))


def _bit(condition: bool) -> Fraction:
    return _ONE if condition else _ZERO


def choose(condition: Element, a: Element, b: Element) -> Element:
    """a where the bit `condition` is 1, else b."""
    if isinstance(condition, Fraction):
        return a if condition else b
    if a is b or (isinstance(a, Fraction) and isinstance(b, Fraction) and a == b):
        return a
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        if not a:
            return times(bit_not(condition), b)
        if not b or _is_long(a) or _is_long(b):
            return plus(times(condition, a - b), b)
    elif _is_long(a):
        return plus(choose(condition, _ZERO, minus(b, a)), a)
    elif _is_long(b):
        return plus(choose(condition, minus(a, b), _ZERO), b)
    return settle(condition.msb_mux(_raw(a), _raw(b)))


def _is_long(x: Element) -> bool:
    return isinstance(x, Fraction) and significant_bits(x) > SIGNIFICANT_BITS


def _raw(x: Element) -> Any:
    return float(x) if isinstance(x, Fraction) else x


def maximum(a: Element, b: Element) -> Element:
    """The larger of a and b."""
    if isinstance(a, Fraction):
        if isinstance(b, Fraction):
            return max(a, b)
        a, b = b, a
    if isinstance(b, Fraction) and not b:
        return settle(a.relu())
    difference = minus(a, b)
    return choose(is_negative(difference), b, a)


def _floor_to(x: Element, fraction: int) -> Element:
    """x rounded down to `fraction` fraction bits."""
    if isinstance(x, Fraction):
        return x * power_of_two(fraction) // 1 * power_of_two(-fraction)
    signed, integer, own = (int(part) for part in x.kif)
    if own <= fraction:
        return x
    return settle(x.quantize(signed, max(integer, 1 - signed - fraction), fraction))


def _low_bits(x: Element, fraction: int) -> Element:
    """What `_floor_to` cuts off, 0 or positive."""
    if isinstance(x, Fraction):
        return x - _floor_to(x, fraction)
    own = int(x.kif[2])
    return _ZERO if own <= fraction else settle(x.quantize(0, -fraction, own))


def round_to(x: Element, fraction: int, rounding: Rounding) -> Element:
    """x rounded to `fraction` fraction bits. Source of the modes: UG1399, quantization modes."""
    if isinstance(x, Fraction):
        bits = max(1, x.denominator.bit_length() - 1 - fraction)
        mantissa = np.array([int(x * power_of_two(bits + fraction))], dtype=object)
        return int(round_shift(mantissa, bits, rounding)[0]) * power_of_two(-fraction)
    own = int(x.kif[2])
    if own <= fraction:
        return x
    lsb, half = power_of_two(-fraction), power_of_two(-fraction - 1)
    match rounding:
        case Rounding.TRN:
            return _floor_to(x, fraction)
        case Rounding.RND:
            return _floor_to(plus(x, half), fraction)
        case Rounding.RND_MIN_INF:
            return _floor_to(plus(x, half - power_of_two(-own)), fraction)
        case Rounding.RND_CONV:
            # half up, then the last bit cleared where it was a tie
            raised = plus(x, half)
            floor = _floor_to(raised, fraction)
            odd = times(_low_bits(floor, fraction - 1), power_of_two(fraction))
            odd = bit_and(odd, any_bit(_low_bits(raised, fraction)))
            return plus(_floor_to(floor, fraction - 1), times(odd, lsb))
        case Rounding.TRN_ZERO:
            up = bit_and(is_negative(x), any_bit(_low_bits(x, fraction)))
        case Rounding.RND_INF | Rounding.RND_ZERO:
            upper_half = times(_low_bits(_floor_to(x, fraction + 1), fraction), 1 / half)
            beyond = any_bit(_low_bits(x, fraction + 1))
            negative = is_negative(x)
            tie_up = negative if rounding is Rounding.RND_ZERO else bit_not(negative)
            up = bit_and(upper_half, _bit_or(beyond, tie_up))
    return plus(_floor_to(x, fraction), times(up, lsb))


def divide(x: Element, by: Element, fraction: int) -> Element:
    """x / by towards zero on the grid of 2**-fraction, on which x lies; `by` is a known integer.

    Granlund and Montgomery, "Division by invariant integers using multiplication", 1994, theorem
    4.2: with m = 2**s // by + 1 and abs(x) (m by - 2**s) < 2**s, x m / 2**s rounded down is the
    quotient of x >= 0, and one too few for x < 0.
    """
    divisor = int(by)
    if not divisor & (divisor - 1):
        return round_to(times(x, 1 / Fraction(divisor)), fraction, Rounding.TRN_ZERO)
    if isinstance(x, Fraction):
        scaled = int(x * power_of_two(fraction))
        return (abs(scaled) // divisor * (1 if x > 0 else -1)) * power_of_two(-fraction)
    ends = (abs(Fraction(end)) for end in (x.low, x.high))
    largest = int(max(ends) * power_of_two(fraction))
    shift = divisor.bit_length()
    while largest * ((-(1 << shift)) % divisor) >= 1 << shift:
        shift += 1
    factor = ((1 << shift) // divisor + 1) * power_of_two(-shift)
    floor = _floor_to(times(x, factor), fraction)
    return plus(floor, times(is_negative(x), power_of_two(-fraction)))


def bound(x: Element, fmt: Format) -> Element:
    """x, which lies on the grid of `fmt`, brought into its range by its overflow mode."""
    if fmt.width == 0:
        return _ZERO
    lsb = power_of_two(-fmt.fraction)
    if isinstance(x, Fraction):
        return int(overflow(np.array([int(x / lsb)], dtype=object), fmt)[0]) * lsb
    lowest = fmt.min_saturated if fmt.overflow is Overflow.SAT_SYM else fmt.min_mantissa
    low, high = lowest * lsb, fmt.max_mantissa * lsb
    below, above = Fraction(x.low) < low, Fraction(x.high) > high
    if not below and not above:
        return x
    saturated = x
    if fmt.overflow is not Overflow.WRAP:
        zero = fmt.overflow is Overflow.SAT_ZERO
        if below and not low:
            x = saturated = settle(x.relu())
            below = False
        if above and not isinstance(x, Fraction):
            inside = is_negative(minus(x, high + lsb))
            saturated = choose(inside, saturated, _ZERO if zero else high)
        if below and not isinstance(x, Fraction):
            saturated = choose(is_negative(minus(x, low)), _ZERO if zero else low, saturated)
    if isinstance(saturated, Fraction):
        return saturated
    return settle(saturated.quantize(fmt.signed, fmt.integer - fmt.signed, fmt.fraction))


def tighten(x: Element, low: int, high: int, fraction: int) -> Element:
    """x, which is proven to lie in low .. high units of 2**-fraction, in no more bits than needed.

    Wide variables are fenced.
    """
    if low == high:
        return low * power_of_two(-fraction)
    if isinstance(x, Fraction):
        return x
    signed, integer, own = (int(part) for part in x.kif)
    proven = Format.spanning(low, high, fraction)
    signed = min(signed, int(proven.signed))
    integer = min(integer, proven.integer - proven.signed)
    if signed + integer + own > 0:
        x = settle(x.quantize(signed, integer, own))
    if not isinstance(x, Fraction) and sum(x.kif) > SIGNIFICANT_BITS and x.opr != "new":
        x = fence(x)
    return x


def look_up(x: Element, fraction: int, table: Sequence[int], table_fraction: int) -> Element:
    """The entry of a table of mantissas at the index x * 2**fraction."""
    scale, lsb = power_of_two(fraction), 2.0**-table_fraction
    if isinstance(x, Fraction):
        return table[int(x * scale)] * power_of_two(-table_fraction)
    first, last = int(Fraction(x.low) * scale), int(Fraction(x.high) * scale)
    step = max(1, int(Fraction(x.step) * scale))
    # entries beyond the table belong to indices that alkaid's bounds allow and ours exclude
    rest = [table[min(max(i, 0), len(table) - 1)] for i in range(first, last + 1, step)]
    total: Element = _ZERO
    place = 0
    while any(rest):
        last_piece = all(abs(value) < 1 << _PIECE_BITS for value in rest)
        piece = rest if last_piece else [value & ((1 << _PIECE_BITS) - 1) for value in rest]
        values = np.array(piece, dtype=np.float64) * (lsb * 2.0**place)
        total = plus(total, settle(x.lookup(values)))
        if last_piece:
            break
        rest = [value >> _PIECE_BITS for value in rest]
        place += _PIECE_BITS
    return total
