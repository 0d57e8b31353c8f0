"""`Adapter`: what raw detector words mean, and which number of them each network input is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field, StringConstraints

from samebits import errors

from ..ir import Format
from .numbers import Number

__all__ = ["Adapter", "Block", "DetectorObject", "RawField", "Take", "read_adapter"]

WIDEST_FIELD = 32  # bits; what any engine takes is exact in a double
_MOST_COUNT = 1024
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,40}$")]
# words of C++, and names that the generated C++ has itself
_CPP = (
    "and asm auto bool break case catch char class const continue default delete do double else "
    "enum explicit export extern false float for friend goto if inline int long mutable namespace "
    "new not operator or private protected public register return short signed sizeof static "
    "struct switch template this throw true try typedef typename union unsigned using virtual void "
    "volatile while xor"
)
_TAKEN = (
    "i j d y made out exact number address turned columns raw packet size column from_bits "
    "seen_columns samebits_adapter"
)
_BITS = re.compile(r"(\d{1,4})\s*:\s*(\d{1,4})")


def _number(value: Any) -> str:
    Number.parse(value)
    return str(value)


NumberText = Annotated[str, pydantic.BeforeValidator(_number)]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class RawField(_Part):
    """One integer of an object.

    Its physical value is code x lsb + at_zero. `bits`: how many, or "high:low" in the word.
    `period`: codes of a full turn, for angles. `range`: the codes that occur, if not all.
    `column`: another name in files of events.
    """

    bits: int | str
    lsb: NumberText = "1"
    at_zero: NumberText = "0"
    signed: bool = False
    unit: str = ""
    period: int | None = Field(None, ge=2)
    range: tuple[int, int] | None = None
    column: str | None = None

    @pydantic.model_validator(mode="after")
    def _makes_sense(self) -> Self:
        place = self.place
        if isinstance(self.bits, bool) or (place is None and not isinstance(self.bits, int)):
            raise ValueError(f'bits are {self.bits!r}, wanted a number of bits or "high:low"')
        if place is not None and place[0] < place[1]:
            raise ValueError(f'bits are "{self.bits}", wanted "high:low" with the high bit first')
        if not 1 <= self.width <= WIDEST_FIELD:
            raise ValueError(f"has {self.width} bits, wanted 1 to {WIDEST_FIELD}")
        if not Number.parse(self.lsb).fraction:
            raise ValueError("has the LSB 0: no code would mean anything")
        low, high = self.format.min_mantissa, self.format.max_mantissa
        if self.range is not None and not low <= self.range[0] <= self.range[1] <= high:
            raise ValueError(f"has the range {list(self.range)}, its bits hold {low} .. {high}")
        turns = Number.parse(self.lsb).turns
        if turns is not None and self.period is not None and turns * self.period not in (1, -1):
            raise ValueError(
                f"has {self.period} codes of {self.lsb} in a full turn, which make "
                f"{float(turns * self.period):g} turns; leave the period out or correct one"
            )
        return self

    @property
    def place(self) -> tuple[int, int] | None:
        """(high bit, low bit) in the word; None if the field is not packed."""
        found = _BITS.fullmatch(self.bits.strip()) if isinstance(self.bits, str) else None
        return (int(found[1]), int(found[2])) if found else None

    @property
    def width(self) -> int:
        """How many bits."""
        place = self.place
        return int(self.bits) if place is None else place[0] - place[1] + 1

    @property
    def format(self) -> Format:
        """The code as a fixed-point number: no fraction bits."""
        return Format(self.signed, self.width, self.width)

    @property
    def codes_per_turn(self) -> int | None:
        """Codes of a full turn: given, or of an LSB that is a fraction of pi."""
        turns = Number.parse(self.lsb).turns
        if self.period is None and turns and (1 / turns).denominator == 1:
            return abs(int(1 / turns))
        return self.period


class DetectorObject(_Part):
    """Objects of one kind in an event, `count` slots of them.

    `empty`: the field that is 0 where a slot holds no object. `sorted_by`: the field by which the
    slots fall; events of which that is not true are refused. `word_bits`: of the word that one
    object comes in.
    """

    count: int = Field(1, ge=1, le=_MOST_COUNT)
    fields: dict[Name, RawField] = Field(min_length=1)
    empty: str | None = None
    sorted_by: str | None = None
    word_bits: int | None = Field(None, ge=1, le=1024)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        for option in ("empty", "sorted_by"):
            name = getattr(self, option)
            if name is not None and name not in self.fields:
                raise ValueError(f"{option} names {name!r}; fields: {', '.join(self.fields)}")
        packed = {name: f.place for name, f in self.fields.items() if f.place is not None}
        if packed and len(packed) < len(self.fields):
            rest = ", ".join(name for name in self.fields if name not in packed)
            raise ValueError(f'{rest}: has no place in the word; give bits = "high:low" to all')
        if bool(packed) != (self.word_bits is not None):
            raise ValueError('word_bits and bits = "high:low" go together: give both or neither')
        taken: dict[int, str] = {}
        for name, (high, low) in packed.items():
            if self.word_bits is not None and high >= self.word_bits:
                raise ValueError(f"{name}: bit {high} is beyond the word of {self.word_bits} bits")
            for bit in range(low, high + 1):
                if bit in taken:
                    raise ValueError(f"fields {taken[bit]} and {name} overlap in bit {bit}")
                taken[bit] = name
        return self


class Take(_Part):
    """One number of an object: (value - offset) x scale, or `empty` in a slot without object.

    `value`: FIELD, sin(FIELD), cos(FIELD), delta(FIELD, OBJECT.FIELD), onehot(FIELD) or present.
    `table_bits`: address bits of the table of a sine, the upper ones of the field. `name`: of the
    column, {object}, {slot} and {category} filled in.
    """

    value: str
    offset: NumberText = "0"
    scale: NumberText = "1"
    empty: NumberText = "0"
    table_bits: int | None = Field(None, ge=1, le=20)
    categories: tuple[int, ...] | None = None
    name: str | None = None


def _as_take(value: Any) -> Any:
    return {"value": value} if isinstance(value, str) else value


class Block(_Part):
    """Columns of one kind of object: of each slot in turn, or with order "value" of each number."""

    of: str
    take: tuple[Annotated[Take, pydantic.BeforeValidator(_as_take)], ...] = Field(min_length=1)
    slots: str | None = Field(None, pattern=r"^\d{1,4}:\d{1,4}$")
    order: Literal["object", "value"] = "object"


class Adapter(_Part):
    """From raw detector integers to the network's input; see docs/adapter.md.

    `rounding` and `overflow`: how a column is cast to the network's input type; None: as that type
    says, but saturating instead of wrapping. `names`: "check" that the columns are called like the
    network's features, where these are known, or "ignore".
    """

    objects: dict[Name, DetectorObject] = Field(min_length=1)
    columns: tuple[Block, ...] = Field(min_length=1)
    name: Name = "adapter"
    rounding: str | None = None
    overflow: str | None = None
    names: Literal["check", "ignore"] = "check"

    @pydantic.model_validator(mode="after")
    def _has_its_objects(self) -> Self:
        fields = {name for one in self.objects.values() for name in one.fields}
        words = self.objects.keys() & {*_TAKEN.split(), *_CPP.split()}
        for name in sorted(words | (fields & {*_CPP.split()})):
            raise ValueError(f"an object or field is called {name}, a word of the generated C++")
        for block in self.columns:
            if block.of not in self.objects:
                raise ValueError(
                    f"columns of {block.of!r}: there is no such object; objects: "
                    f"{', '.join(self.objects)}"
                )
        names = [name for name, _, _ in self.raw_fields()]
        double = {name for name in names if names.count(name) > 1}
        if double or set(names) & set(self.objects):
            wrong = sorted(double | (set(names) & set(self.objects)))
            raise ValueError(f"objects and fields give {', '.join(wrong)} twice: rename one")
        return self

    def raw_fields(self) -> Iterator[tuple[str, str, RawField]]:
        """(name, object, field) of everything that the design takes, name as in `jet_pt`."""
        for kind, one in self.objects.items():
            for name, field in one.fields.items():
                yield f"{kind}_{name}", kind, field

    @cached_property
    def raw_columns(self) -> tuple[str, ...]:
        """Names of all integers of an event as one table: jet0_pt, jet0_eta, jet1_pt and so on."""
        return tuple(
            f"{kind}{slot if one.count > 1 else ''}_{field}"
            for kind, one in self.objects.items()
            for slot in range(one.count)
            for field in one.fields
        )

    @property
    def packed(self) -> bool:
        """True if every object comes in words."""
        return all(one.word_bits is not None for one in self.objects.values())

    def to_json(self) -> dict[str, Any]:
        """JSON values that `parse` takes."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], source: str = "adapter") -> Adapter:
        """The description that these values make.

        Raises:
            UsageError: lists all that is wrong with it.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            lines = [_sentence(detail) for detail in error.errors()]
            raise errors.UsageError(f"{source}:\n  " + "\n  ".join(lines)) from None


def _sentence(detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    words = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        words = "there is no such key"
    elif detail["type"] == "missing":
        words = "is missing"
    elif detail["type"] == "string_pattern_mismatch":
        words = f"{detail['input']!r} is not of the form {detail['ctx']['pattern']}"
    return f"{place}: {words}" if place else words


def read_adapter(path: Path) -> Adapter:
    """The adapter that a TOML file describes.

    Raises:
        UsageError: no such file, no TOML, or a description that makes no sense.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise errors.UsageError(f"{path}: is no TOML: {error}") from None
    return Adapter.parse(values, str(path))
