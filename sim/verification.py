"""Same bits: one engine's numbers against the NumPy engine's, at the output and at every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Format

from .stimuli import CastCoverage

__all__ = ["EngineReport", "LayerRow", "Verification", "compare_bits", "describe_mismatch"]

Array = NDArray[np.float64]
_FLOAT64_BITS = 53  # of its significand (IEEE 754 binary64)


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One tensor compared: how many elements and bits, and how many differ."""

    name: str
    format: str
    elements: int
    mismatching_elements: int
    bits: int
    mismatching_bits: int


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine against the NumPy engine.

    `status` is "equal", "MISMATCH" or "not run"; `detail` says why it was not run, describes the
    first mismatch, or says what an equal engine does not show. `latency_cycles`: as measured, of
    engines that have clocks. `files_sha256`: of what was run, where the design leaves it open.
    `first_event`: that of the first mismatch among all events, if one is to blame.
    """

    engine: str
    status: str
    detail: str = ""
    tool: str = ""
    rows: tuple[LayerRow, ...] = ()
    seconds: float = 0.0
    latency_cycles: int | None = None
    files_sha256: str = ""
    first_event: int | None = None

    @property
    def bits(self) -> int:
        """Bits compared."""
        return sum(row.bits for row in self.rows)

    @property
    def mismatching_bits(self) -> int:
        """Bits that differ."""
        return sum(row.mismatching_bits for row in self.rows)


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of `Design.verify`.

    `events` counts them by where they come from: "data" and the kinds of adversarial inputs.
    """

    engines: tuple[EngineReport, ...]
    events: Mapping[str, int] = field(default_factory=dict)
    coverage: tuple[CastCoverage, ...] = ()

    @property
    def mismatching_bits(self) -> int:
        """Bits that differ in any engine."""
        return sum(engine.mismatching_bits for engine in self.engines)

    @property
    def passed(self) -> bool:
        """True if at least one engine compared something and none of them differs."""
        equal = any(engine.status == "equal" and engine.rows for engine in self.engines)
        return equal and all(engine.status != "MISMATCH" for engine in self.engines)

    def kind_of(self, event: int) -> str:
        """Which kind of events this one is of; they stand in the order of `events`."""
        for kind, count in self.events.items():
            if event < count:
                return kind
            event -= count
        raise IndexError(event)

    def placed(self, words: Callable[[int], str] = lambda event: "") -> Verification:
        """The same; first mismatches say which of several kinds the event is of, and its `words`.

        Args:
            words: what is known of an event of the data, such as its keys.
        """

        def told(engine: EngineReport) -> EngineReport:
            event = engine.first_event
            if event is None:
                return engine
            kind = self.kind_of(event)
            found = [f"of the kind: {kind}"] if len(self.events) > 1 else []
            if kind == "data" and words(event):
                found.append(words(event))
            if not found:
                return engine
            return replace(engine, detail=f"{engine.detail}\n  event {event} is {', '.join(found)}")

        return replace(self, engines=tuple(map(told, self.engines)))

    def raise_on_mismatch(self) -> None:
        """Raises MismatchError with the first mismatch of every engine that differs."""
        found = [f"{e.engine}: {e.detail}" for e in self.engines if e.status == "MISMATCH"]
        if found:
            raise errors.MismatchError("\n".join(found))

    def __str__(self) -> str:
        lines = [f"{sum(self.events.values())} events, {self.mismatching_bits} mismatching bits"]
        for engine in self.engines:
            detail = f": {engine.detail}" if engine.detail else ""
            lines.append(f"  {engine.engine}: {engine.status}{detail}")
        return "\n".join(lines)


def _mantissas(values: Array, fmt: Format) -> NDArray[np.object_]:
    """Integers; a value off the grid becomes None."""
    out = np.empty(values.shape, dtype=object)
    for index in np.ndindex(values.shape):
        scaled = np.ldexp(values[index], fmt.fraction)
        out[index] = int(scaled) if np.isfinite(scaled) and scaled == np.floor(scaled) else None
    return out


def _differing_bits(left: int | None, right: int | None, width: int) -> int:
    """At least one, at most as many as are compared."""
    compared = min(width, _FLOAT64_BITS)
    if left is None or right is None:
        return compared
    return max(1, min(compared, ((left ^ right) & ((1 << width) - 1)).bit_count()))


def compare_bits(name: str, fmt: Format, expected: Array, got: Array) -> LayerRow:
    """How many elements and bits of a tensor differ; no tolerance.

    The engines give float64, which carries 53 bits: of a wider format 53 bits count as compared.
    """
    unequal = expected != got
    count = int(np.count_nonzero(unequal))
    bits = 0
    if count:
        left = _mantissas(expected[unequal], fmt)
        right = _mantissas(got[unequal], fmt)
        bits = sum(_differing_bits(a, b, fmt.width) for a, b in zip(left, right, strict=True))
    compared = expected.size * min(fmt.width, _FLOAT64_BITS)
    return LayerRow(name, str(fmt), expected.size, count, compared, bits)


def describe_mismatch(
    name: str,
    fmt: Format,
    expected: Array,
    got: Array,
    engine: str,
    first_event: int = 0,
    reference: str = "numpy",
) -> str:
    """The first differing element: where it is, both mantissas in binary, and the format.

    `name` is an output's name, or `layer:<name>`; `reference` says where `expected` comes from.
    """
    index = tuple(int(i) for i in np.argwhere(expected != got)[0])
    pair = [_mantissas(np.array([a[index]]), fmt)[0] for a in (expected, got)]

    def binary(mantissa: int | None, value: float) -> str:
        if mantissa is None:
            return f"{value!r} (not on the grid of {fmt})"
        bits = format(mantissa & ((1 << fmt.width) - 1), f"0{fmt.width}b")
        return f"{bits} ({mantissa}, {value!r})"

    kind, _, bare = name.rpartition(":")
    width = max(len(reference), len(engine))
    return (
        f"first difference in {kind or 'output'} {bare}, event {first_event + index[0]}, element "
        f"{list(index[1:])}, {fmt}\n"
        f"  {reference:<{width}}  {binary(pair[0], float(expected[index]))}\n"
        f"  {engine:<{width}}  {binary(pair[1], float(got[index]))}"
    )
