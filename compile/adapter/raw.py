"""Raw integers of events: out of words, checked, and as the physical numbers they stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .description import Adapter, DetectorObject, RawField
from .numbers import Number
from .plan import Choice, Linear, Plan, Row, wrapped

__all__ = [
    "all_codes",
    "check_fields",
    "fields_of",
    "float_columns",
    "pack",
    "random_fields",
    "unpack",
]

Array = NDArray[Any]
Fields = dict[str, Array]
_LIMB = 64
_MOST_EVENT_BITS = 14


def fields_of(adapter: Adapter, x: Any) -> Fields:
    """The checked codes of events by field, {"jet_pt": int64 (N, count)}.

    Args:
        x: one array for each field by name or in their order; an array of words (N, count) for each
            object by name, of more than 64 bits (N, count, words), the lowest first; or a table
            (N, integers of an event) in the order of `Adapter.raw_columns`.

    Raises:
        DataError: not these arrays, numbers that are not whole or beyond their bits, objects that
            are not sorted as described.
    """
    names = [name for name, _, _ in adapter.raw_fields()]
    if isinstance(x, Mapping):
        given = dict(x)
    elif isinstance(x, list | tuple) and len(x) == len(names) and len(names) > 1:
        given = dict(zip(names, x, strict=True))
    else:
        given = _split(adapter, x)
    for kind, one in adapter.objects.items():
        if kind in given and one.word_bits is not None:
            given |= unpack(kind, one, given.pop(kind))
    if set(given) != set(names):
        missing = [name for name in names if name not in given]
        strange = [str(name) for name in given if name not in names]
        words = [f"no {', '.join(missing)}"] if missing else []
        words += [f"{', '.join(strange)}, which the adapter does not know"] if strange else []
        raise errors.DataError(
            f"raw events: there is {' and '.join(words)}; wanted {', '.join(names)}"
            + (f", or words {', '.join(adapter.objects)}" if adapter.packed else "")
        )
    fields = {
        name: _shaped(name, given[name], adapter.objects[kind].count, field)
        for name, kind, field in adapter.raw_fields()
    }
    counts = {len(values) for values in fields.values()}
    if len(counts) > 1:
        raise errors.DataError(f"raw events: fields have {sorted(counts)} events")
    check_fields(adapter, fields)
    return fields


def _split(adapter: Adapter, x: Any) -> Fields:
    table = np.asarray(x)
    columns = len(adapter.raw_columns)
    if table.ndim < 2 or math.prod(table.shape[1:]) != columns:
        raise errors.DataError(
            f"raw events: got an array of shape {table.shape}, wanted (N, {columns}): "
            f"{', '.join(adapter.raw_columns[:8])}{', ...' if columns > 8 else ''}"
        )
    table, start = table.reshape(len(table), columns), 0
    fields: Fields = {}
    for kind, one in adapter.objects.items():
        stop = start + one.count * len(one.fields)
        block = table[:, start:stop].reshape(len(table), one.count, len(one.fields))
        fields |= {f"{kind}_{name}": block[:, :, i] for i, name in enumerate(one.fields)}
        start = stop
    return fields


def _shaped(name: str, values: Any, count: int, field: RawField) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise errors.DataError(f"{name}: holds {array.dtype}, wanted whole numbers")
    if array.ndim == 1 and count == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != count:
        raise errors.DataError(
            f"{name}: got events of shape {array.shape[1:]}, wanted ({count},): one for each slot"
        )
    if array.dtype.kind == "f":
        odd = ~(np.isfinite(array) & (array == np.rint(array)))
        if odd.any():
            event, slot = (int(i) for i in np.argwhere(odd)[0])
            raise errors.DataError(
                f"{name}: {int(odd.sum())} numbers are not whole, the first in event {event}, slot "
                f"{slot}: {array[event, slot]}; the adapter takes the hardware's integers, with an "
                f"LSB of {field.lsb}{' ' * bool(field.unit)}{field.unit}, not physical values"
            )
    if array.dtype.kind == "f" and array.size and np.abs(array).max() >= 2.0**62:
        array = np.clip(array, -(2.0**62), 2.0**62)  # far beyond any field: refused by its bits
    if array.dtype == np.uint64:
        array = np.minimum(array, np.uint64(1 << 62))
    return array.astype(np.int64)


def check_fields(adapter: Adapter, fields: Mapping[str, Array]) -> None:
    """Nothing, if all codes are within their bits and ranges and all objects sorted.

    Raises:
        DataError: names the field, how many and the first.
    """
    for name, _, field in adapter.raw_fields():
        low, high = field.range or (field.format.min_mantissa, field.format.max_mantissa)
        values = fields[name]
        bad = (values < low) | (values > high)
        if bad.any():
            event, slot = (int(i) for i in np.argwhere(bad)[0])
            kind_of = "signed" if field.signed else "unsigned"
            hint = ""
            if field.signed and int(values.max()) < 1 << field.width and int(values.min()) >= 0:
                hint = "; are these the bits of signed numbers? Then extend the sign first"
            elif not field.signed and int(values.min()) < 0:
                hint = "; there are negative ones: is the field signed?"
            raise errors.DataError(
                f"{name}: {int(bad.sum())} code{'s' * (int(bad.sum()) > 1)} beyond {low} .. {high} "
                f"({field.width} bits, {kind_of}), the first in event {event}, slot {slot}: "
                f"{values[event, slot]}{hint}"
            )
    for kind, one in adapter.objects.items():
        if one.sorted_by is None or one.count < 2:
            continue
        values = fields[f"{kind}_{one.sorted_by}"]
        bad = values[:, 1:] > values[:, :-1]
        if bad.any():
            event, slot = (int(i) for i in np.argwhere(bad)[0])
            raise errors.DataError(
                f"{kind}: {int(bad.any(axis=1).sum())} events are not sorted by {one.sorted_by}, "
                f"the first is event {event}: slot {slot} has {values[event, slot]}, slot "
                f"{slot + 1} has {values[event, slot + 1]}; the firmware does not sort"
            )


def unpack(kind: str, one: DetectorObject, words: Any) -> Fields:
    """The codes in words, {"jet_pt": int64 (N, count)}.

    Raises:
        DataError: words of another shape, or with bits beyond the word.
    """
    assert one.word_bits is not None
    limbs = -(-one.word_bits // _LIMB)
    array = np.asarray(words)
    if array.dtype.kind not in "iu":
        raise errors.DataError(f"{kind}: words are {array.dtype}, wanted unsigned integers")
    array = array.astype(np.uint64)
    shape = (one.count, limbs) if limbs > 1 else (one.count,)
    if array.ndim < 1 or math.prod(array.shape[1:]) != math.prod(shape):
        raise errors.DataError(
            f"{kind}: got words of shape {array.shape[1:]} in an event, wanted {shape}"
        )
    array = array.reshape(len(array), one.count, limbs)
    rest = one.word_bits % _LIMB
    if rest and (beyond := array[:, :, -1] >> np.uint64(rest)).any():
        event, slot = (int(i) for i in np.argwhere(beyond)[0])
        raise errors.DataError(
            f"{kind}: {int((beyond > 0).sum())} words have bits beyond the {one.word_bits} of the "
            f"word, the first in event {event}, slot {slot}: {int(array[event, slot, -1]):#x}"
        )
    fields: Fields = {}
    for name, field in one.fields.items():
        assert field.place is not None
        limb, low = divmod(field.place[1], _LIMB)
        code = array[:, :, limb] >> np.uint64(low)
        if low + field.width > _LIMB:
            code |= array[:, :, limb + 1] << np.uint64(_LIMB - low)
        plain = (code & np.uint64((1 << field.width) - 1)).astype(np.int64)
        if field.signed:
            plain -= (plain >> (field.width - 1)) << field.width
        fields[f"{kind}_{name}"] = plain
    return fields


def pack(adapter: Adapter, fields: Mapping[str, Array]) -> Fields:
    """Words of codes, the inverse of `unpack` with zeros where no field is: uint64 by object."""
    packed: Fields = {}
    for kind, one in adapter.objects.items():
        if one.word_bits is None:
            continue
        limbs = -(-one.word_bits // _LIMB)
        events = len(fields[f"{kind}_{next(iter(one.fields))}"])
        words = np.zeros((events, one.count, limbs), dtype=np.uint64)
        for name, field in one.fields.items():
            assert field.place is not None
            code = fields[f"{kind}_{name}"].astype(np.int64) & ((1 << field.width) - 1)
            limb, low = divmod(field.place[1], _LIMB)
            words[:, :, limb] |= code.astype(np.uint64) << np.uint64(low)
            if low + field.width > _LIMB:
                words[:, :, limb + 1] |= code.astype(np.uint64) >> np.uint64(_LIMB - low)
        packed[kind] = words if limbs > 1 else words[:, :, 0]
    return packed


def random_fields(adapter: Adapter, events: int, rng: np.random.Generator) -> Fields:
    """Codes drawn evenly from what each field holds, sorted where the adapter says so."""
    fields: Fields = {}
    for name, kind, field in adapter.raw_fields():
        low, high = field.range or (field.format.min_mantissa, field.format.max_mantissa)
        fields[name] = rng.integers(low, high, (events, adapter.objects[kind].count), endpoint=True)
        if adapter.objects[kind].sorted_by is not None and name == (
            f"{kind}_{adapter.objects[kind].sorted_by}"
        ):
            fields[name] = -np.sort(-fields[name], axis=1)
    return fields


def all_codes(adapter: Adapter, rng: np.random.Generator) -> Fields:
    """Events in which every slot of every field of up to 14 bits takes all of its codes.

    Fields run independently of each other; wider ones take codes at random.
    """
    events = 1 << min(_MOST_EVENT_BITS, max(f.width for _, _, f in adapter.raw_fields()))
    fields: Fields = {}
    for name, kind, field in adapter.raw_fields():
        low, high = field.format.min_mantissa, field.format.max_mantissa
        columns = []
        for _ in range(adapter.objects[kind].count):
            if high - low < events:
                columns.append(rng.permutation(np.resize(np.arange(low, high + 1), events)))
            else:
                columns.append(rng.integers(low, high, events, endpoint=True))
        fields[name] = np.stack(columns, axis=1)
    return fields


def float_columns(plan: Plan, fields: Mapping[str, Array]) -> NDArray[np.float64]:
    """The columns as training code computes them in double precision: (N, columns), not cast."""
    events = len(next(iter(fields.values())))
    out = np.zeros((events, len(plan.names)))
    for row in plan.rows:
        out[:, list(row.positions)] = _float_row(plan, row, fields)
    return out


def _float_row(plan: Plan, row: Row, fields: Mapping[str, Array]) -> NDArray[np.float64]:
    slots = list(row.slots)
    codes = fields[f"{row.kind}_{row.field}"][:, slots]
    field = plan.adapter.objects[row.kind].fields[row.field]
    offset, scale = float(Number.parse(row.take.offset).value), Number.parse(row.take.scale).value
    lsb, at_zero = (float(Number.parse(text).value) for text in (field.lsb, field.at_zero))
    if row.other is not None:
        kind, slot, name = row.other
        codes = codes - fields[f"{kind}_{name}"][:, [slot]]
        codes = wrapped(codes, row.period) if row.period is not None else codes
        at_zero = 0.0
    if isinstance(row.arithmetic, Choice):
        values = (codes == row.arithmetic.category).astype(np.float64)
        values = 1.0 - values if row.text == "present" else values
    else:
        values = codes * lsb + at_zero
        if not isinstance(row.arithmetic, Linear):
            values = np.sin(values) if row.text.startswith("sin_") else np.cos(values)
    values = (values - offset) * float(scale)
    if row.empty_field is not None:
        nothing = fields[f"{row.kind}_{row.empty_field}"][:, slots] == 0
        values = np.where(nothing, float(Number.parse(row.take.empty).value), values)
    return np.asarray(values)
