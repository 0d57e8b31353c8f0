"""What may have gone wrong between the firmware's answers and somebody else's, tried one by one.

Most published differences between triggers and their emulators were in the bookkeeping or the
packing of inputs, not in the network's arithmetic: cmssw issues 49754 (pT truncated to whole GeV),
48142 (the score of bunch crossing 0 used for all), 49633 and 49119.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.compile.adapter import Adapter
from samebits.compile.adapter.numbers import Number

__all__ = ["Pattern", "answer_patterns", "input_patterns", "row_patterns"]

Array = NDArray[Any]
Fields = Mapping[str, Array]
_SHIFTS = (1, -1, 2, -2)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A mistake in words; which rows it says something about, and what the answer would be.

    `rows`: positions of our rows that take the place of each row, -1 where there is none; or
    `fields`: raw integers to simulate; or `answers`: of our answers.
    """

    words: str
    rows: Array | None = None
    fields: Callable[[Fields], dict[str, Array] | None] | None = None
    answers: Callable[[Array], Array] | None = None


def row_patterns(keys: Mapping[str, Array], count: int) -> Iterator[Pattern]:
    """Answers of another bunch crossing, event or row."""
    places = np.arange(count)
    if "bx" in keys:
        others = [values for name, values in keys.items() if name != "bx"]
        at = {
            key: row
            for row, key in enumerate(
                zip(*(v.tolist() for v in (*others, keys["bx"])), strict=True)
            )
        }
        owner = list(zip(*(v.tolist() for v in others), strict=True)) or [()] * count
        bx = keys["bx"].tolist()

        def rows(crossing: Callable[[int], int]) -> Array:
            return np.array([at.get((*owner[i], crossing(bx[i])), -1) for i in range(count)])

        for shift in _SHIFTS:
            late = f"{abs(shift)} bunch crossing{'s' * (abs(shift) > 1)}"
            word = "later" if shift > 0 else "earlier"
            # mypy takes no lambda with a default for a function of one argument
            yield Pattern(
                f"shifted in time: the answer of BX n is that of {late} {word}",
                rows(lambda n, shift=shift: n + shift),  # type: ignore[misc]
            )
        yield Pattern("the answer of BX 0 stands in every bunch crossing", rows(lambda n: 0))
        yield Pattern("bunch crossings in reverse: BX n and BX -n exchanged", rows(lambda n: -n))
        first: dict[Any, int] = {}
        for row, one in enumerate(owner):
            first.setdefault(one, row)
        if others:
            same = np.array([first[one] for one in owner])
            yield Pattern("the answer of an event's first row stands in all of its rows", same)
    for shift in (1, -1):
        moved = places + shift
        moved[(moved < 0) | (moved >= count)] = -1
        where = "next" if shift > 0 else "previous"
        yield Pattern(f"rows are off by one: the answer of the {where} row of the events", moved)


def answer_patterns(lsb: float, elements: int) -> Iterator[Pattern]:
    """The right numbers written in another way."""
    yield Pattern("mantissas instead of numbers: give --raw", answers=lambda y: y / lsb)
    yield Pattern(
        "stored with 11 bits (half precision)",
        answers=lambda y: y.astype(np.float16).astype(np.float64),
    )
    yield Pattern("truncated to whole numbers", answers=np.trunc)
    for digits in range(8, 2, -1):
        for style, words in (("g", "significant digits"), ("f", "decimals")):
            yield Pattern(
                f"written with {digits} {words}", answers=partial(_printed, f"%.{digits}{style}")
            )
    yield Pattern("one minus the score", answers=lambda y: 1.0 - y)
    if elements > 1:
        yield Pattern("outputs in reverse order", answers=lambda y: y[:, ::-1])
        for turn in range(1, min(elements, 9)):
            yield Pattern(f"outputs turned by {turn}", answers=partial(_turned, turn))


def input_patterns(adapter: Adapter) -> Iterator[Pattern]:
    """Raw integers packed, ordered, scaled or truncated wrongly."""
    whole = [
        (name, int(1 / Number.parse(field.lsb).fraction), f"{kind}.{name.removeprefix(kind + '_')}")
        for name, kind, field in adapter.raw_fields()
        if Number.parse(field.lsb).pi_power == 0
        and (1 / Number.parse(field.lsb).fraction).denominator == 1
        and Number.parse(field.lsb).fraction < 1
    ]
    for name, steps, words in whole:
        yield Pattern(f"{words} truncated to an integer", fields=_truncated({name: steps}))
    for unit in sorted({name.rpartition("_")[2] for name, _, _ in whole}):
        together = {name: steps for name, steps, _ in whole if name.endswith(f"_{unit}")}
        if len(together) > 1:
            words = f"{unit} of all objects truncated to an integer"
            yield Pattern(words, fields=_truncated(together))
    for kind, one in adapter.objects.items():
        names = [f"{kind}_{field}" for field in one.fields]
        yield Pattern(f"{kind} empty: all of its integers are 0", fields=_changed(names, _zeroed))
        for slot in range(one.count - 1):
            yield Pattern(
                f"{kind} {slot} and {kind} {slot + 1} swapped",
                fields=_changed(names, _order([*range(slot), slot + 1, slot])),
            )
        if one.count > 2:
            words = f"{kind}: slots in reverse order"
            yield Pattern(words, fields=_changed(names, lambda v: v[:, ::-1]))
        if one.count > 1:
            yield Pattern(
                f"{kind} 0 lost: the others one slot up",
                fields=_changed(names, lambda v: np.pad(v[:, 1:], ((0, 0), (0, 1)))),
            )
            yield Pattern(
                f"{kind} {one.count - 1} lost",
                fields=_changed(names, lambda v: np.pad(v[:, :-1], ((0, 0), (0, 1)))),
            )
        for name in names:
            words = f"{kind}.{name.removeprefix(kind + '_')}"
            yield Pattern(f"{words} is 0 everywhere", fields=_changed([name], _zeroed))
            yield Pattern(f"{words} without its sign", fields=_changed([name], np.abs))
            yield Pattern(f"{words} with the other sign", fields=_changed([name], np.negative))
            yield Pattern(f"{words} twice as large (LSB)", fields=_changed([name], lambda v: 2 * v))
            yield Pattern(f"{words} half as large (LSB)", fields=_changed([name], lambda v: v // 2))
        for place, left in enumerate(names):
            for right in names[place + 1 :]:
                words = f"{left.removeprefix(kind + '_')} and {right.removeprefix(kind + '_')}"
                yield Pattern(f"{kind}: {words} swapped", fields=_swapped({left: right}))
    kinds = list(adapter.objects)
    for place, kind in enumerate(kinds):
        for other in kinds[place + 1 :]:
            one, two = adapter.objects[kind], adapter.objects[other]
            if one.count == two.count and one.fields.keys() == two.fields.keys():
                pairs = {f"{kind}_{name}": f"{other}_{name}" for name in one.fields}
                yield Pattern(f"{kind} and {other} swapped", fields=_swapped(pairs))


def _turned(places: int, values: Array) -> Array:
    return np.roll(values, places, axis=1)


def _printed(style: str, values: Array) -> Array:
    texts = [float(style % value) for value in values.reshape(-1).tolist()]
    return np.array(texts).reshape(values.shape)


def _truncated(steps: Mapping[str, int]) -> Callable[[Fields], dict[str, Array]]:
    def change(fields: Fields) -> dict[str, Array]:
        cut = {name: np.fix(fields[name] / n).astype(np.int64) * n for name, n in steps.items()}
        return {**fields, **cut}

    return change


def _changed(names: list[str], change: Callable[[Array], Array]) -> Callable[[Fields], Any]:
    def changed(fields: Fields) -> dict[str, Array]:
        return {**fields, **{name: np.asarray(change(fields[name])) for name in names}}

    return changed


def _swapped(pairs: Mapping[str, str]) -> Callable[[Fields], Any]:
    def changed(fields: Fields) -> dict[str, Array]:
        back = {right: left for left, right in pairs.items()}
        return {name: fields[pairs.get(name, back.get(name, name))] for name in fields}

    return changed


def _order(first: list[int]) -> Callable[[Array], Array]:
    return lambda values: values[:, [*first, *range(len(first), values.shape[1])]]


def _zeroed(values: Array) -> Array:
    return np.zeros_like(values)
