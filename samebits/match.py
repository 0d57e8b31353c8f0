"""Answers from elsewhere joined with the firmware's by run, lumi, event and bx, and explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Carrier
from samebits.compile.ops.boundary import input_mantissas
from samebits.inputs import Events, check_inputs, raw_events
from samebits.keys import KEYS, check_keys, key_words, keys_of, open_columns
from samebits.patterns import Pattern, answer_patterns, input_patterns, row_patterns

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["Answers", "Explanation", "Match", "match", "read_answers"]

Array = NDArray[Any]
Keys = Mapping[str, Array]
_MOST_ROWS = 4000  # on which a pattern is tried: half of them rows that differ
_LEAST_SHARE = 0.5  # of the rows that differ, to be called an explanation
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows of answers from elsewhere, (N, elements), and their keys."""

    values: Array
    keys: dict[str, Array]
    columns: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A pattern; how many of the tried differing rows and of all tried rows it gives exactly.

    `chance`: the share of the differing rows that the answer of any other row would give.
    """

    words: str
    explained: int
    differing: int
    agreeing: int
    tried: int
    chance: float


@dataclass(frozen=True, slots=True)
class Match:
    """The outcome.

    Attributes:
        joined: rows compared; `joined_by` the keys, empty: by position.
        only_events, only_answers: rows without a partner, the first of them in words.
        differing: rows in which at least one number is another.
        by_bx: (bx, differing, rows) where there is a bx.
        first: the first differing row in words.
        explanations: patterns that explain most of the differing rows, the best first.
    """

    joined: int
    joined_by: tuple[str, ...]
    only_events: int
    only_answers: int
    unjoined: str
    differing: int
    largest_difference: float
    by_bx: tuple[tuple[int, int, int], ...]
    first: str
    explanations: tuple[Explanation, ...]

    @property
    def same(self) -> bool:
        """True if every answer has its event and is the same number."""
        return not (self.differing or self.only_answers) and self.joined > 0


def read_answers(
    path: Path, columns: Sequence[str] = (), tree: str | None = None, *, numbers: int = 1
) -> Answers:
    """Answers of a .npz, .h5, .parquet, .root or .csv with names.

    Args:
        columns: those with the answers, in order; empty: all but the keys.
        numbers: how many there should be.

    Raises:
        DataError: other columns, numbers that are not finite, keys that are there twice.
    """
    with open_columns(path, tree) as file:
        keys = keys_of(file)
        known = {name for names in KEYS.values() for name in names}
        names = list(columns) or [name for name in file.names if name.lower() not in known]
        if missing := [name for name in names if name not in file.names]:
            raise errors.DataError(
                f"{path}: has no column {', '.join(missing)}; it has {', '.join(file.names)}"
            )
        arrays = [file.get(name) for name in names]
    parts = [
        array.reshape(len(array), -1)
        for array in arrays
        if array.dtype.kind in "biuf" and array.ndim
    ]
    found = sum(part.shape[1] for part in parts)
    if found != numbers or len({len(part) for part in parts}) != 1:
        raise errors.DataError(
            f"{path}: {', '.join(names)} are {found} numbers per row, the firmware's answer has "
            f"{numbers}; choose columns with --columns, or a score with --score"
        )
    values = np.concatenate(parts, axis=1).astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise errors.DataError(f"{path}: row {row} holds NaN or infinity")
    check_keys(keys, str(path))
    return Answers(values, keys, tuple(names), str(path))


def match(
    design: Design,
    events: Events,
    keys: Keys,
    answers: Answers,
    *,
    score: int | None = None,
    raw: bool = False,
) -> Match:
    """The firmware's answers to events against answers from elsewhere, row by row.

    Args:
        events: as `Design.simulate` takes them; keys: of each event, empty for none.
        score: the element of the output that the answers are; None: all.
        raw: the answers are mantissas.

    Raises:
        UsageError: several outputs. DataError: rows that cannot be joined.
    """
    if len(design.graph.outputs) > 1:
        raise errors.UsageError("match: the network has several outputs")
    check_keys(keys, "events")
    inputs = check_inputs(design.graph, raw_events(design, events))
    format_ = design.graph.tensors[design.graph.outputs[0]].format
    theirs = answers.values * format_.lsb if raw else answers.values
    ours_of = _Simulator(design, score)
    ours = ours_of(inputs)
    joined = _join(keys, len(ours), answers)
    left, right = joined.left, joined.right
    wrong = (ours[left] != theirs[right]).any(axis=1)
    bad = np.flatnonzero(wrong)
    explanations: list[Explanation] = []
    if len(bad):
        patterns = [*row_patterns(keys, len(ours)), *answer_patterns(format_.lsb, ours.shape[1])]
        if design.adapter is not None:
            patterns += [*input_patterns(design.adapter)]
        tried = _Trial(design, ours_of, inputs, ours, theirs, left, right, wrong)
        explanations = [found for one in patterns if (found := tried(one)) is not None]
        explanations.sort(key=lambda one: (-one.agreeing / max(1, one.tried), -one.explained))
    return Match(
        joined=len(left),
        joined_by=joined.by,
        only_events=len(ours) - len(left),
        only_answers=len(theirs) - len(right),
        unjoined=joined.words,
        differing=len(bad),
        largest_difference=float(np.abs(ours[left] - theirs[right]).max()) if len(left) else 0.0,
        by_bx=_by_bx(keys, left, wrong),
        first=_first(keys, ours, theirs, left, right, bad),
        explanations=tuple(explanations[:_SHOWN]),
    )


class _Simulator:
    """Answers (N, elements) of the design to arrays of its graph's inputs."""

    def __init__(self, design: Design, score: int | None) -> None:
        self._design, self._score = design, score
        size = int(np.prod(design.graph.tensors[design.graph.outputs[0]].shape))
        if score is not None and not 0 <= score < size:
            raise errors.UsageError(f"match: no score {score}; there are 0 to {size - 1}")

    def __call__(self, inputs: list[Array]) -> Array:
        (values,) = self._design.engine.run(inputs, self._design.graph.outputs)
        flat = values.reshape(len(values), -1)
        return flat if self._score is None else flat[:, [self._score]]


@dataclass(frozen=True, slots=True)
class _Joined:
    left: Array
    right: Array
    by: tuple[str, ...]
    words: str = ""


def _join(keys: Keys, count: int, answers: Answers) -> _Joined:
    common = [name for name in keys if name in answers.keys]
    if not keys and not answers.keys:
        if count != len(answers.values):
            raise errors.DataError(
                f"{answers.where}: {len(answers.values)} rows for {count} events, and no columns "
                "run, lumi, event or bx to join them by"
            )
        return _Joined(np.arange(count), np.arange(count), ())
    if not common:
        raise errors.DataError(
            f"{answers.where}: has the keys {', '.join(answers.keys) or 'none'}, the events have "
            f"{', '.join(keys) or 'none'}: nothing to join them by; add columns event and bx"
        )
    check_keys({name: keys[name] for name in common}, f"events, by {', '.join(common)} alone")
    mine = {name: answers.keys[name] for name in common}
    check_keys(mine, f"{answers.where}, by {', '.join(common)} alone")
    at = {key: row for row, key in enumerate(_tuples({name: keys[name] for name in common}))}
    pairs = [(at.pop(key, -1), row) for row, key in enumerate(_tuples(mine))]
    found = [pair for pair in pairs if pair[0] >= 0]
    lost = next((row for place, row in pairs if place < 0), None)
    words = ""
    if lost is not None:
        words = f"the first answer without an event: {key_words(mine, lost)}"
    elif at:
        words = f"the first event without an answer: {key_words(keys, min(at.values()))}"
    if not found:
        raise errors.DataError(f"{answers.where}: no row has the keys of an event; {words}")
    table = np.array(found)
    table = table[np.argsort(table[:, 0])]
    return _Joined(table[:, 0], table[:, 1], tuple(common), words)


def _tuples(keys: Keys) -> list[tuple[int, ...]]:
    return list(zip(*(values.tolist() for values in keys.values()), strict=True))


class _Trial:
    """Tries patterns on a sample of rows: differing ones and as many that agree."""

    def __init__(
        self,
        design: Design,
        simulate: _Simulator,
        inputs: list[Array],
        ours: Array,
        theirs: Array,
        left: Array,
        right: Array,
        wrong: Array,
    ) -> None:
        self._design, self._simulate, self._ours = design, simulate, ours
        rng = np.random.default_rng(0)
        picked = [
            rows if len(rows) <= _MOST_ROWS // 2 else rng.choice(rows, _MOST_ROWS // 2, False)
            for rows in (np.flatnonzero(wrong), np.flatnonzero(~wrong))
        ]
        sample = np.concatenate(picked)
        self._left, self._wanted = left[sample], theirs[right[sample]]
        self._differing = np.arange(len(sample)) < len(picked[0])
        names = design.graph.inputs
        formats = [tensor.format for tensor in design.graph.tensors_of(names)]
        self._fields = {
            name: input_mantissas(values[self._left], fmt, Carrier.INT64)
            for name, values, fmt in zip(names, inputs, formats, strict=True)
        } if design.adapter is not None else {}  # fmt: skip
        others = rng.permutation(len(ours))[: len(self._left)]
        guess = ours[np.resize(others, len(self._left))]
        hits = (guess == self._wanted).all(axis=1)[self._differing]
        self._chance = float(hits.mean())

    def __call__(self, pattern: Pattern) -> Explanation | None:
        known = np.ones(len(self._left), dtype=bool)
        if pattern.rows is not None:
            rows = pattern.rows[self._left]
            known = rows >= 0
            answer = self._ours[rows]
        elif pattern.answers is not None:
            answer = pattern.answers(self._ours[self._left])
        else:
            assert pattern.fields is not None
            fields = pattern.fields(self._fields)
            if fields is None:
                return None
            answer = self._simulate(self._clipped(fields))
        equal = (answer == self._wanted).all(axis=1) & known
        differing = self._differing & known
        explained = int((equal & differing).sum())
        share = explained / max(1, int(self._differing.sum()))
        if not explained or share < max(_LEAST_SHARE, min(1.0, 2 * self._chance)):
            return None
        return Explanation(
            pattern.words,
            explained,
            int(differing.sum()),
            int(equal.sum()),
            int(known.sum()),
            self._chance,
        )

    def _clipped(self, fields: Mapping[str, Array]) -> list[Array]:
        tensors = self._design.graph.tensors_of(self._design.graph.inputs)
        return [
            np.clip(fields[t.name], t.format.min_mantissa, t.format.max_mantissa).astype(np.float64)
            for t in tensors
        ]


def _by_bx(keys: Keys, left: Array, wrong: Array) -> tuple[tuple[int, int, int], ...]:
    if "bx" not in keys:
        return ()
    bx = keys["bx"][left]
    return tuple(
        (int(one), int(wrong[bx == one].sum()), int((bx == one).sum())) for one in np.unique(bx)
    )


def _first(keys: Keys, ours: Array, theirs: Array, left: Array, right: Array, bad: Array) -> str:
    if not len(bad):
        return ""
    row = int(left[bad[0]])
    mine, other = ours[row], theirs[right[bad[0]]]
    element = int(np.flatnonzero(mine != other)[0])
    where = key_words(keys, row) if keys else f"row {row}"
    place = f", element {element}" if len(mine) > 1 else ""
    return f"{where}{place}: firmware {mine[element]:.17g}, answer {other[element]:.17g}"
