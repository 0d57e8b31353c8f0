"""The integer arithmetic of an adapter: factors, tables and positions for one input format.

A column is defined as the exact real number, cast to the network's input type as an `ap_fixed`
number of infinite width would be. What is planned here gives that for every code of the field: each
factor is as short as a search over all codes allows, and proved by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from ..ir import Format, Overflow, Rounding
from ..ops.arith import cast_mantissas
from .description import Adapter, Block, RawField, Take
from .numbers import Number, mantissas, sine

__all__ = ["Choice", "Linear", "Plan", "Row", "Table", "make_plan", "wrapped"]

Array = NDArray[Any]
_WIDEST = 53  # bits of the network's input
_MOST_CODES = 1 << 18
_MOST_TABLE_BITS = 16
_MOST_SHIFT = 64
_EXPRESSION = re.compile(
    r"(?:(?P<function>sin|cos|onehot)\((?P<of>\w+)\)"
    r"|delta\((?P<left>\w+),(?P<object>\w+)(?:\[(?P<slot>\d+)\])?\.(?P<right>\w+)\)"
    r"|(?P<plain>\w+))"
)


@dataclass(frozen=True, slots=True)
class Linear:
    """(code x factor + addend) x 2**-fraction, then cast."""

    factor: int
    addend: int
    fraction: int


@dataclass(frozen=True, slots=True)
class Table:
    """The entry, a mantissa, at the code's bits but the lowest `dropped`."""

    entries: tuple[int, ...]
    dropped: int


@dataclass(frozen=True, slots=True)
class Choice:
    """`hit` where the code is the category, else `miss`: mantissas."""

    category: int
    hit: int
    miss: int


Arithmetic: TypeAlias = Linear | Table | Choice


@dataclass(frozen=True, slots=True)
class Row:
    """One number of every used slot of an object.

    Attributes:
        other: (object, slot, field) that is subtracted; `period` turns the difference round.
        empty_field: where it is 0 the column is `empty`, a mantissa; None: nothing to be done.
        positions: of the columns in the network's input, one for each slot.
    """

    kind: str
    slots: tuple[int, ...]
    field: str
    text: str
    take: Take
    arithmetic: Arithmetic
    names: tuple[str, ...]
    positions: tuple[int, ...]
    other: tuple[str, int, str] | None = None
    period: int | None = None
    empty_field: str | None = None
    empty: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """All rows; they are cast to `format`: the network's input type with the adapter's modes."""

    adapter: Adapter
    format: Format
    rows: tuple[Row, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in the order of the network's input."""
        pairs = [pair for row in self.rows for pair in zip(row.positions, row.names, strict=True)]
        return tuple(name for _, name in sorted(pairs))


def wrapped(differences: Array, period: int) -> Array:
    """Differences of angles turned by a period where they are beyond half of it.

    Once, which is enough for codes within a turn; any number of times for a period of 2**n codes.
    """
    half = period // 2
    if period == period & -period:
        return np.asarray((differences + half) % period - half)
    down = differences >= period - half
    up = differences < -half
    return np.asarray(differences - period * down + period * up)


def make_plan(adapter: Adapter, fmt: Format) -> Plan:
    """The plan for a network input of this format.

    Raises:
        UsageError: a column that cannot be computed as described.
    """
    fmt = _with_modes(adapter, fmt)
    if fmt.width > _WIDEST:
        raise errors.UsageError(
            f"adapter: the network's input is {fmt}, of more than {_WIDEST} bits; quantize it"
        )
    rows: list[Row] = []
    position = 0
    for number, block in enumerate(adapter.columns):
        made = [
            row
            for take in block.take
            for row in _rows(_Where(adapter, block, take, f"columns.{number}"), fmt)
        ]
        slots = len(made[0].slots)
        for place, row in enumerate(made):
            steps = range(slots)
            if block.order == "object":
                at = tuple(position + slot * len(made) + place for slot in steps)
            else:
                at = tuple(position + place * slots + slot for slot in steps)
            rows.append(replace(row, positions=at))
        position += slots * len(made)
    plan = Plan(adapter, fmt, tuple(rows))
    names = plan.names
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise errors.UsageError(
            f"adapter: columns {', '.join(double)} are there twice; take one out, or give it a name"
        )
    return plan


def _with_modes(adapter: Adapter, fmt: Format) -> Format:
    try:
        rounding = Rounding(adapter.rounding) if adapter.rounding else fmt.rounding
        wanted = adapter.overflow or ("SAT" if fmt.overflow is Overflow.WRAP else fmt.overflow)
        return replace(fmt, rounding=rounding, overflow=Overflow(wanted))
    except ValueError as error:
        raise errors.UsageError(
            f"adapter: {error}; roundings: {', '.join(mode.value for mode in Rounding)}; "
            f"overflows: {', '.join(mode.value for mode in Overflow)}"
        ) from None


@dataclass(frozen=True, slots=True)
class _Where:
    adapter: Adapter
    block: Block
    take: Take
    place: str

    def error(self, words: str) -> errors.UsageError:
        return errors.UsageError(f"adapter: {self.place}, {self.take.value!r}: {words}")

    def field(self, kind: str, name: str) -> RawField:
        one = self.adapter.objects.get(kind)
        if one is None:
            raise self.error(
                f"there is no object {kind!r}; objects: {', '.join(self.adapter.objects)}"
            )
        if name not in one.fields:
            raise self.error(f"{kind} has no field {name!r}; fields: {', '.join(one.fields)}")
        return one.fields[name]

    def slots(self) -> tuple[int, ...]:
        count = self.adapter.objects[self.block.of].count
        first, last = map(int, (self.block.slots or f"0:{count}").split(":"))
        if not first < last <= count:
            raise self.error(f"slots {first}:{last} are not within the {count} of {self.block.of}")
        return tuple(range(first, last))


def _rows(where: _Where, fmt: Format) -> list[Row]:
    take, kind = where.take, where.block.of
    found = _EXPRESSION.fullmatch(take.value.replace(" ", ""))
    if found is None:
        raise where.error(
            "wanted FIELD, sin(FIELD), cos(FIELD), delta(FIELD, OBJECT.FIELD), "
            "delta(FIELD, OBJECT[SLOT].FIELD), onehot(FIELD) or present"
        )
    whole, empty_field = where.adapter.objects[kind], where.adapter.objects[kind].empty
    if empty_field is None and Number.parse(take.empty).fraction:
        raise where.error(f"has a number for empty slots, but {kind} names no field `empty`")
    for option, functions in (("table_bits", ("sin", "cos")), ("categories", ("onehot",))):
        if getattr(take, option) is not None and found["function"] not in functions:
            raise where.error(f"{option} is for {' and '.join(functions)} only")

    def row(text: str, field: str, arithmetic: Arithmetic, **more: Any) -> Row:
        category = more.pop("category", "")
        names = tuple(_name(where, text, slot, category) for slot in where.slots())
        return Row(kind, where.slots(), field, text, take, arithmetic, names, (), **more)

    empty = _cast(Number.parse(take.empty).value, fmt)
    if found["plain"] == "present" and "present" not in whole.fields:
        if empty_field is None:
            raise where.error(f"{kind} names no field `empty` that tells a slot without object")
        return [row("present", empty_field, _choice(take, 0, fmt, swapped=True))]
    empties = {"empty_field": empty_field, "empty": empty}
    if found["left"]:
        return [_delta(where, found, row, empties, fmt)]
    name = found["of"] or found["plain"]
    field = where.field(kind, name)
    if found["function"] == "onehot":
        return _onehot(where, name, field, row, empties, fmt)
    if found["function"]:
        table = _sine_table(where, field, fmt, cosine=found["function"] == "cos")
        return [row(f"{found['function']}_{name}", name, table, **empties)]
    low, high = field.format.min_mantissa, field.format.max_mantissa
    linear = _linear(where, (low, high), Number.parse(field.lsb), field.at_zero, fmt)
    if name == empty_field and _value_at_zero(linear, fmt) == empty:
        empties = {}
    return [row(name, name, linear, **empties)]


def _name(where: _Where, text: str, slot: int, category: str) -> str:
    one = where.adapter.objects[where.block.of]
    if where.take.name is None:
        return f"{where.block.of}{slot if one.count > 1 else ''}_{text}"
    name = where.take.name
    for key, value in (("object", where.block.of), ("slot", slot), ("category", category)):
        name = name.replace(f"{{{key}}}", str(value))
    return name


def _cast(value: Fraction, fmt: Format) -> int:
    return int(mantissas(np.array([value.numerator], dtype=object), value.denominator, fmt)[0])


def _choice(take: Take, category: int, fmt: Format, *, swapped: bool = False) -> Choice:
    offset, scale = Number.parse(take.offset).value, Number.parse(take.scale).value
    one, zero = _cast((1 - offset) * scale, fmt), _cast(-offset * scale, fmt)
    return Choice(category, zero, one) if swapped else Choice(category, one, zero)


def _onehot(
    where: _Where,
    name: str,
    field: RawField,
    row: Callable[..., Row],
    empties: dict[str, Any],
    fmt: Format,
) -> list[Row]:
    low, high = field.range or (field.format.min_mantissa, field.format.max_mantissa)
    categories = where.take.categories or tuple(range(low, high + 1))
    if len(set(categories)) != len(categories) or len(categories) > 256:
        raise where.error(
            f"has {len(categories)} categories, wanted up to 256 different ones; give categories"
        )
    if beyond := [c for c in categories if not low <= c <= high]:
        raise where.error(f"category {beyond[0]} is beyond the field's {low} .. {high}")
    return [
        row(
            f"{name}_is_{category}".replace("-", "m"),
            name,
            _choice(where.take, category, fmt),
            category=str(category),
            **empties,
        )
        for category in categories
    ]


def _delta(
    where: _Where, found: re.Match[str], row: Callable[..., Row], empties: dict[str, Any], fmt: Any
) -> Row:
    left, kind, slot = found["left"], found["object"], int(found["slot"] or 0)
    one, other = where.field(where.block.of, left), where.field(kind, found["right"])
    count = where.adapter.objects[kind].count
    if slot >= count or (found["slot"] is None and count > 1):
        raise where.error(f"{kind} has {count} slots: write {kind}[0] to {kind}[{count - 1}]")
    for what in ("lsb", "at_zero"):
        if Number.parse(getattr(one, what)) != Number.parse(getattr(other, what)):
            raise where.error(
                f"{left} has the {what} {getattr(one, what)}, {kind}.{found['right']} has "
                f"{getattr(other, what)}: a difference of codes needs the same"
            )
    period = one.codes_per_turn
    if period != other.codes_per_turn:
        raise where.error(f"{left} and {kind}.{found['right']} have different periods")
    low = one.format.min_mantissa - other.format.max_mantissa
    high = one.format.max_mantissa - other.format.min_mantissa
    if period is not None and high - low < _MOST_CODES:
        turned = wrapped(np.arange(low, high + 1), period)
        low, high = int(turned.min()), int(turned.max())
    linear = _linear(where, (low, high), Number.parse(one.lsb), "0", fmt)
    text = f"delta_{left}_{kind}{slot if count > 1 else ''}"
    return row(text, left, linear, other=(kind, slot, found["right"]), period=period, **empties)


def _sine_table(where: _Where, field: RawField, fmt: Format, *, cosine: bool) -> Table:
    bits = min(field.width, where.take.table_bits or field.width)
    if bits > _MOST_TABLE_BITS:
        raise where.error(
            f"the field has {bits} bits; give table_bits of up to {_MOST_TABLE_BITS}, the upper "
            "bits of the field that the table is addressed with"
        )
    dropped = field.width - bits
    step, start = Number.parse(field.lsb), Number.parse(field.at_zero)
    if dropped:  # the middle of the codes that share an entry
        half = Fraction((1 << dropped) - 1, 2)
        middle = Number(step.fraction * half, step.pi_power)
        start = middle if not start.fraction else Number(start.value + middle.value)
        step = Number(step.fraction * (1 << dropped), step.pi_power)
    codes = np.arange(1 << bits)
    if field.signed:
        codes = np.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)
    numerators, one = sine(codes, step, start, cosine=cosine)
    offset, scale = Number.parse(where.take.offset).value, Number.parse(where.take.scale).value
    numerators = (numerators * offset.denominator - offset.numerator * one) * scale.numerator
    entries = mantissas(numerators, one * offset.denominator * scale.denominator, fmt)
    return Table(tuple(int(entry) for entry in entries), dropped)


def _linear(where: _Where, span: tuple[int, int], lsb: Number, at_zero: str, fmt: Format) -> Linear:
    """The shortest factor and addend that give the cast of the exact number for all codes."""
    scale, offset = Number.parse(where.take.scale), Number.parse(where.take.offset)
    slope = (lsb * scale).value
    start = (Number.parse(at_zero).value - offset.value) * scale.value
    if span[1] - span[0] >= _MOST_CODES:
        return _exact_linear(where, slope, start, fmt)
    codes = np.arange(span[0], span[1] + 1)
    common = slope.denominator * start.denominator
    numerators = codes.astype(object) * (slope.numerator * start.denominator)
    wanted = mantissas(numerators + start.numerator * slope.denominator, common, fmt)
    largest = int(np.abs(codes).max())
    lsb_unit = Fraction(2) ** fmt.fraction
    # what may be added to every exact number without a change of what it is rounded to
    gap = Fraction(1, 4 * (slope * lsb_unit).denominator * (start * lsb_unit).denominator)
    for shift in range(_MOST_SHIFT):
        unit = Fraction(1 << shift)
        pairs = _neighbours(slope * lsb_unit * unit, start * lsb_unit * unit, gap * unit)
        for factor, addend in pairs:
            small = largest * abs(factor) + abs(addend) < 1 << 61
            exact = codes if small else codes.astype(object)
            source = Format(True, 62, 62 - fmt.fraction - shift)
            if np.array_equal(cast_mantissas(exact * factor + addend, source, fmt), wanted):
                return Linear(factor, addend, fmt.fraction + shift)
    raise where.error(
        f"no factor of up to {_MOST_SHIFT} more bits than {fmt} gives its nearest number for every "
        "code; ties are the reason: give a power of two as LSB or scale, or another `rounding`"
    )


def _neighbours(factor: Fraction, addend: Fraction, gap: Fraction) -> Sequence[tuple[int, int]]:
    factors = dict.fromkeys((round(factor), math.floor(factor), math.ceil(factor)))
    addends = dict.fromkeys((round(addend), round(addend + gap), round(addend - gap)))
    return [(a, b) for a in factors for b in addends]


def _exact_linear(where: _Where, slope: Fraction, start: Fraction, fmt: Format) -> Linear:
    for shift in range(_MOST_SHIFT):
        factor, addend = (part * Fraction(2) ** (fmt.fraction + shift) for part in (slope, start))
        if factor.denominator == addend.denominator == 1:
            return Linear(int(factor), int(addend), fmt.fraction + shift)
    raise where.error(
        f"more than {_MOST_CODES} codes, too many to prove a rounded factor for: make LSB x scale "
        "and offset x scale multiples of a power of two, or give fewer bits"
    )


def _value_at_zero(linear: Linear, fmt: Format) -> int:
    start = Fraction(linear.addend) * Fraction(2) ** -linear.fraction
    return _cast(start, fmt)
