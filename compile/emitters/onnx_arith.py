"""Rounding and overflow in ONNX operators, on integers held in float, double or int64.

The counterpart of `compile/ops/arith.py` and `compile/ops/boundary.py`, mode by mode. Every
intermediate value is exact, so no graph optimisation of a runtime can change a result.

On int64, ONNX Runtime for x86-64 computes Max, Min, Clip, Sign, ReduceMax and ReduceMin wrongly for
operands that share the high 32 bits (microsoft/onnxruntime#25280), and rounds ReduceSum beyond
2**53; comparisons, Where and Add are exact there and stand in for them.
"""

from __future__ import annotations

from ..ir import Carrier, Format, Overflow, Rounding
from .interface import real_carrier
from .onnx_writer import ELEMENT_TYPES, OnnxWriter

__all__ = [
    "emit_input",
    "emit_larger",
    "emit_overflow",
    "emit_rescale",
    "emit_round",
    "emit_scale_up",
    "emit_smaller",
    "emit_towards_zero",
    "emit_values",
]

_INT64_SHIFT_LIMIT = 62  # 1 << 63 is no int64 any more


def emit_larger(write: OnnxWriter, a: str, b: str, carrier: Carrier) -> str:
    """The larger of a and b, element by element."""
    if carrier is Carrier.INT64:
        return write.node("Where", write.node("Greater", a, b), a, b)
    return write.node("Max", a, b)


def emit_smaller(write: OnnxWriter, a: str, b: str, carrier: Carrier) -> str:
    """The smaller of a and b, element by element."""
    if carrier is Carrier.INT64:
        return write.node("Where", write.node("Less", a, b), a, b)
    return write.node("Min", a, b)


def _clip(write: OnnxWriter, x: str, low: int, high: int, carrier: Carrier) -> str:
    bounds = write.scalar(low, carrier), write.scalar(high, carrier)
    if carrier is Carrier.INT64:
        return emit_smaller(write, emit_larger(write, x, bounds[0], carrier), bounds[1], carrier)
    return write.node("Clip", x, *bounds)


def emit_scale_up(write: OnnxWriter, x: str, bits: int, carrier: Carrier) -> str:
    """x * 2**bits, bits >= 0."""
    bits = min(bits, _INT64_SHIFT_LIMIT)  # what fits the carrier after more than that is zero
    return write.node("Mul", x, write.scalar(2**bits, carrier)) if bits else x


def emit_rescale(
    write: OnnxWriter, x: str, source: Format, target: Format, carrier: Carrier
) -> str:
    """Mantissas of `source` on the grid of `target`, rounded."""
    bits = source.fraction - target.fraction
    if bits <= 0:
        return emit_scale_up(write, x, -bits, carrier)
    if carrier is Carrier.INT64:
        return _round_integer(write, x, bits, target.rounding)
    scaled = write.node("Mul", x, write.scalar(2.0 ** -min(bits, 60), carrier))
    return emit_round(write, scaled, target.rounding, carrier)


def emit_round(write: OnnxWriter, scaled: str, rounding: Rounding, carrier: Carrier) -> str:
    """Multiples of a power of two in float or double, rounded to integers."""
    half = write.scalar(0.5, carrier)
    match rounding:
        case Rounding.TRN:
            return write.node("Floor", scaled)
        case Rounding.RND_CONV:
            return write.node("Round", scaled)
        case Rounding.RND:
            return write.node("Floor", write.node("Add", scaled, half))
        case Rounding.RND_MIN_INF:
            return write.node("Ceil", write.node("Sub", scaled, half))
        case Rounding.TRN_ZERO:
            return emit_towards_zero(write, scaled)
        case Rounding.RND_INF:
            size = write.node("Floor", write.node("Add", write.node("Abs", scaled), half))
        case Rounding.RND_ZERO:
            size = write.node("Ceil", write.node("Sub", write.node("Abs", scaled), half))
    return write.node("Mul", write.node("Sign", scaled), size)


def emit_towards_zero(write: OnnxWriter, x: str) -> str:
    """Real numbers without what stands behind the binary point."""
    return write.node("Mul", write.node("Sign", x), write.node("Floor", write.node("Abs", x)))


def _floor_divide(write: OnnxWriter, x: str, bits: int) -> str:
    # integer Mod takes the divisor's sign, so x - Mod is the next multiple below
    divisor = write.scalar(1 << bits, Carrier.INT64)
    return write.node("Div", write.node("Sub", x, write.node("Mod", x, divisor)), divisor)


def _round_integer(write: OnnxWriter, x: str, bits: int, rounding: Rounding) -> str:
    if bits > _INT64_SHIFT_LIMIT:  # truncation, as the others need larger integers; -1 or 0 is left
        return _floor_divide(write, _floor_divide(write, x, _INT64_SHIFT_LIMIT), 1)
    half = 1 << (bits - 1)

    def plus(value: str, offset: int) -> str:
        return write.node("Add", value, write.scalar(offset, Carrier.INT64))

    def negative() -> str:
        return write.cast(
            write.node("Less", x, write.scalar(0, Carrier.INT64)), ELEMENT_TYPES[Carrier.INT64]
        )

    match rounding:
        case Rounding.TRN:
            shifted = x
        case Rounding.TRN_ZERO:
            below = write.scalar((1 << bits) - 1, Carrier.INT64)
            shifted = write.node("Add", x, write.node("Mul", negative(), below))
        case Rounding.RND:
            shifted = plus(x, half)
        case Rounding.RND_MIN_INF:
            shifted = plus(x, half - 1)
        case Rounding.RND_INF:
            shifted = write.node("Sub", plus(x, half), negative())
        case Rounding.RND_ZERO:
            shifted = write.node("Add", plus(x, half - 1), negative())
        case Rounding.RND_CONV:
            floor = _floor_divide(write, x, bits)
            odd = write.node("Mod", floor, write.scalar(2, Carrier.INT64))
            shifted = write.node("Add", plus(x, half - 1), odd)
    return _floor_divide(write, shifted, bits)


def emit_overflow(write: OnnxWriter, x: str, fmt: Format, carrier: Carrier) -> str:
    """Integers brought into the format's range."""
    low, high = fmt.min_saturated, fmt.max_mantissa
    match fmt.overflow:
        case Overflow.WRAP if fmt.width == 0:
            return write.node("Mul", x, write.scalar(0, carrier))
        case Overflow.WRAP if carrier is Carrier.INT64:
            start = write.scalar(low, carrier)
            turned = write.node(
                "Mod", write.node("Sub", x, start), write.scalar(1 << fmt.width, carrier)
            )
            return write.node("Add", turned, start)
        case Overflow.WRAP:
            above = write.node("Sub", x, write.scalar(low, carrier)) if low else x
            scaled = write.node("Mul", above, write.scalar(2.0**-fmt.width, carrier))
            turns = write.node("Floor", scaled)
            whole = write.node("Mul", turns, write.scalar(2.0**fmt.width, carrier))
            return write.node("Sub", x, whole)
        case Overflow.SAT | Overflow.SAT_SYM:
            return _clip(write, x, low, high, carrier)
        case Overflow.SAT_ZERO:
            same = write.node("Equal", x, _clip(write, x, low, high, carrier))
            return write.node("Where", same, x, write.scalar(0, carrier))


def emit_input(write: OnnxWriter, x: str, fmt: Format, carrier: Carrier) -> str:
    """Finite real numbers, float32 where `real_carrier` says so, cast to a format."""
    single = real_carrier(fmt) is Carrier.FLOAT32
    simple = fmt.width > 0 and not fmt.like_ap_int and fmt.overflow is not Overflow.SAT_ZERO
    if single and simple and fmt.fraction >= 0:
        integers = _quantize_single(write, x, fmt)
        return (
            integers if carrier is Carrier.FLOAT32 else write.cast(integers, ELEMENT_TYPES[carrier])
        )
    return _quantize_double(write, write.cast(x, ELEMENT_TYPES[Carrier.FLOAT64]), fmt, carrier)


def _quantize_single(write: OnnxWriter, x: str, fmt: Format) -> str:
    """In float32 alone, at most 24 bits wide.

    Saturation first: rounding leaves the limits where they are and everything between them. What
    wraps is limited first too: float32 numbers from 2**23 turns on are whole turns, and so is the
    limit. Below it a number of turns and one half needs no more than 24 bits where it matters.
    """
    single = Carrier.FLOAT32
    wraps = fmt.overflow is Overflow.WRAP
    high = 2.0 ** (fmt.integer + 23) if wraps else fmt.max_mantissa * fmt.lsb
    low = -high if wraps else fmt.min_saturated * fmt.lsb
    x = write.node("Clip", x, write.scalar(low, single), write.scalar(high, single))
    rounded = _round_exactly(write, x, fmt.fraction, fmt.rounding, single)
    if not wraps:
        return rounded
    turns = write.node("Mul", rounded, write.scalar(2.0**-fmt.width, single))
    if fmt.signed:
        turns = write.node("Add", turns, write.scalar(0.5, single))
    turns = write.node("Floor", turns)
    whole = write.node("Mul", turns, write.scalar(2.0**fmt.width, single))
    return write.node("Sub", rounded, whole)


def _round_exactly(write: OnnxWriter, x: str, bits: int, rounding: Rounding, real: Carrier) -> str:
    """x * 2**bits rounded, without an addition that could itself round.

    Half up is the ceiling of half of floor(2 x), half down the floor of half of ceil(2 x).
    """

    def times(value: str, power: int) -> str:
        return write.node("Mul", value, write.scalar(2.0**power, real)) if power else value

    def half(value: str, down: bool) -> str:
        first, second = ("Ceil", "Floor") if down else ("Floor", "Ceil")
        return write.node(second, times(write.node(first, times(value, bits + 1)), -1))

    match rounding:
        case Rounding.TRN:
            return write.node("Floor", times(x, bits))
        case Rounding.RND_CONV:
            return write.node("Round", times(x, bits))
        case Rounding.RND | Rounding.RND_MIN_INF:
            return half(x, down=rounding is Rounding.RND_MIN_INF)
        case Rounding.TRN_ZERO:
            size = write.node("Floor", write.node("Abs", times(x, bits)))
        case Rounding.RND_INF | Rounding.RND_ZERO:
            size = half(write.node("Abs", x), down=rounding is Rounding.RND_ZERO)
    return write.node("Mul", write.node("Sign", x), size)


def _quantize_double(write: OnnxWriter, x: str, fmt: Format, carrier: Carrier) -> str:
    """Numbers given as double; the result is in the carrier.

    Exact: the remainder of a division by a power of two is exact, and scaling by one too; where it
    leaves the range of a double, infinity saturates and zero rounds as the tiny number would.
    """
    real = Carrier.FLOAT64
    if fmt.like_ap_int:  # compile/ops/boundary.py, `input_mantissas`
        above = write.node("Greater", x, write.scalar(-0.5, real))
        small = write.node("And", above, write.node("Less", x, write.scalar(0.0, real)))
        x = write.node("Where", small, write.scalar(1.0, real), x)
    if fmt.overflow is Overflow.WRAP:
        x = write.node("Mod", x, write.scalar(2.0**fmt.integer, real), fmod=1)
    scaled = write.node("Mul", x, write.scalar(2.0**fmt.fraction, real))
    match fmt.rounding:
        case Rounding.TRN:
            rounded = write.node("Floor", scaled)
            if fmt.fraction < 0 and real_carrier(fmt) is real:
                negative = write.node("Less", x, write.scalar(0.0, real))
                below = write.node("Min", rounded, write.scalar(-1.0, real))
                rounded = write.node("Where", negative, below, rounded)
        case Rounding.RND_CONV:
            rounded = write.node("Round", scaled)
        case Rounding.TRN_ZERO:
            rounded = emit_towards_zero(write, scaled)
        case _:
            rounded = _round_to_nearest(write, scaled, fmt.rounding)
    if fmt.width > 51:
        wide = _wrap_wide if fmt.overflow is Overflow.WRAP else _saturate_wide
        return write.cast(wide(write, rounded, fmt), ELEMENT_TYPES[carrier])
    if fmt.overflow is not Overflow.WRAP:
        limit = 2.0 ** (fmt.width + 1)
        rounded = write.node("Clip", rounded, write.scalar(-limit, real), write.scalar(limit, real))
    return write.cast(emit_overflow(write, rounded, fmt, real), ELEMENT_TYPES[carrier])


def _wrap_wide(write: OnnxWriter, remainder: str, fmt: Format) -> str:
    # one turn at most is missing; added in halves, because 2**63 is no int64
    x = write.cast(remainder, ELEMENT_TYPES[Carrier.INT64])

    def number(value: int) -> str:
        return write.scalar(value, Carrier.INT64)

    half = 1 << (fmt.width - 1)
    above = write.node("Greater", x, number(fmt.max_mantissa))
    below = write.node("Less", x, number(fmt.min_mantissa))
    down = write.node("Where", above, number(-half), number(0))
    turn = write.node("Where", below, number(half), down)
    return write.node("Add", write.node("Add", x, turn), turn)


def _saturate_wide(write: OnnxWriter, rounded: str, fmt: Format) -> str:
    # compared as doubles with powers of two, which are exact, so that the cast meets no overflow
    real, low, high = Carrier.FLOAT64, fmt.min_saturated, fmt.max_mantissa
    above = write.node("GreaterOrEqual", rounded, write.scalar(2.0 ** high.bit_length(), real))
    if low == fmt.min_mantissa:
        below = write.node("Less", rounded, write.scalar(float(low), real))
    else:
        below = write.node("LessOrEqual", rounded, write.scalar(float(low - 1), real))
    outside = write.node("Or", above, below)
    inside = write.node("Where", outside, write.scalar(0.0, real), rounded)
    integers = write.cast(inside, ELEMENT_TYPES[Carrier.INT64])
    if fmt.overflow is Overflow.SAT_ZERO:
        return integers
    limits = [write.scalar(limit, Carrier.INT64) for limit in (low, high)]
    at_least = write.node("Where", below, limits[0], integers)
    return write.node("Where", above, limits[1], at_least)


def _round_to_nearest(write: OnnxWriter, scaled: str, rounding: Rounding) -> str:
    # adding one half could itself round; the remainder of truncation is exact
    real = Carrier.FLOAT64
    whole = emit_towards_zero(write, scaled)
    rest = write.node("Sub", scaled, whole)
    tie_up = rounding in (Rounding.RND, Rounding.RND_INF)
    tie_down = rounding in (Rounding.RND_MIN_INF, Rounding.RND_INF)
    up = write.node("GreaterOrEqual" if tie_up else "Greater", rest, write.scalar(0.5, real))
    down = write.node("LessOrEqual" if tie_down else "Less", rest, write.scalar(-0.5, real))
    double = ELEMENT_TYPES[real]
    return write.node(
        "Sub", write.node("Add", whole, write.cast(up, double)), write.cast(down, double)
    )


def emit_values(write: OnnxWriter, x: str, fmt: Format, carrier: Carrier, output: str) -> int:
    """Writes the real numbers of mantissas to `output`; returns its element type."""
    real = real_carrier(fmt)
    if carrier is not real:
        x = write.cast(x, ELEMENT_TYPES[real])
    write.node("Mul", x, write.scalar(2.0**-fmt.fraction, real), output=output)
    return ELEMENT_TYPES[real]
