"""Events streamed through simulated RTL: back to back, with bubbles, across resets; all judged.

The rule, for a pipeline of n stages: after clock edge c `out_valid` is high if and only if
`in_valid` was high at edge c - n and `rst` was low at the edges c - n .. c. Data in bubbles and in
resets are random bits, which must never come out as an event.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .rtl import Rtl
from .verilator import RtlSimulation
from .waveform import is_fst, write_fst

__all__ = ["Schedule", "StreamFacts", "record", "schedule", "stimulus", "stream"]

_BEFORE, _RESET = 3, 2  # cycles with random registers, and in reset
_LONGEST_GAP = 3  # in pipelines
_SEEN = 24  # cycles of a waveform before the event


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens in every cycle.

    `event`: the event's number, -1 for none. `in_valid` is high without an event where a reset
    must hold it back.
    """

    event: npt.NDArray[np.int64]
    in_valid: npt.NDArray[np.bool_]
    rst: npt.NDArray[np.bool_]

    def answers(self, latency_cycles: int) -> npt.NDArray[np.int64]:
        """The event whose answer is valid after each clock edge by the rule, -1 for none."""
        cycles = len(self.event)
        out = np.full(cycles, -1)
        edges = np.arange(latency_cycles, cycles)
        resets = np.concatenate([[0], np.cumsum(self.rst)])
        alive = resets[edges + 1] == resets[edges - latency_cycles]
        out[edges] = np.where(alive, self.event[edges - latency_cycles], -1)
        return out


def schedule(events: int, latency_cycles: int, rng: np.random.Generator) -> Schedule:
    """Every event answered exactly once: a third back to back, a third with bubbles, resets.

    Events that a reset loses are sent again at the end.
    """
    first, second = events // 3, 2 * events // 3
    parts: list[npt.NDArray[np.int64]] = [np.full(_BEFORE + _RESET, -1)]
    resets = list(range(_BEFORE, _BEFORE + _RESET))

    def reset_within(part: npt.NDArray[np.int64]) -> None:
        start = sum(map(len, parts))
        if len(part) > 1:
            resets.append(start + int(rng.integers(1, len(part))))
        parts.append(part)

    parts.append(np.arange(first))
    reset_within(_with_bubbles(np.arange(first, second), latency_cycles, rng))
    reset_within(np.arange(second, events))
    end = np.full(latency_cycles, -1)
    planned = _made([*parts, end], resets, rng)
    lost = np.setdiff1d(np.arange(events), planned.answers(latency_cycles))
    return _made([*parts, end, lost, end], resets, rng)


def _with_bubbles(
    numbers: npt.NDArray[np.int64], latency_cycles: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """About as many bubbles as events, and now and then a gap longer than the pipeline."""
    gaps = rng.geometric(0.5, len(numbers)) - 1
    long = rng.random(len(numbers)) < 1 / (8 * latency_cycles)
    gaps[long] += rng.integers(0, _LONGEST_GAP * latency_cycles, int(long.sum()))
    gaps[:1] += latency_cycles + 1
    places = np.arange(len(numbers)) + np.cumsum(gaps)
    out = np.full(int(places[-1]) + 1 if len(numbers) else 0, -1)
    out[places] = numbers
    return out


def _made(
    parts: Sequence[npt.NDArray[np.int64]], resets: list[int], rng: np.random.Generator
) -> Schedule:
    event = np.concatenate(parts)
    rst = np.zeros(len(event), dtype=bool)
    rst[resets] = True
    in_valid = event >= 0
    in_valid[:_BEFORE] = rng.random(_BEFORE) < 0.5
    in_valid[rst] = True
    return Schedule(event, in_valid, rst)


@dataclass
class StreamFacts:
    """What has been streamed so far, for the report; the latency is that of every event."""

    events: int = 0
    cycles: int = 0
    bubbles: int = 0
    resets: int = 0
    latency_cycles: int | None = None

    def add(self, planned: Schedule) -> None:
        """Counts one schedule."""
        self.events += int(planned.event.max(initial=-1)) + 1
        self.cycles += len(planned.event)
        self.bubbles += int(np.count_nonzero(~planned.in_valid & ~planned.rst))
        self.resets += int(np.count_nonzero(np.diff(planned.rst.astype(int)) == 1))


def stream(
    simulation: RtlSimulation,
    inputs: Sequence[npt.NDArray[Any]],
    seed: int | Sequence[int],
    facts: StreamFacts | None = None,
) -> list[npt.NDArray[np.int64]]:
    """The answers to all events, mantissas (N, *shape) for every output, `out_valid` proved right.

    Args:
        inputs: mantissas (N, *shape) for every input.
        seed: of the bubbles, the resets and the random bits.
        facts: counts what was done.

    Raises:
        MismatchError: `out_valid` is not what the reported latency makes it, in any cycle.
        ToolError: the simulation fails.
    """
    rtl, rng = simulation.rtl, np.random.default_rng(seed)
    planned = schedule(len(inputs[0]), rtl.latency_cycles, rng)
    given = stimulus(rtl, planned, inputs, rng)
    out_valid, outputs = simulation.run(planned.in_valid, planned.rst, given)
    answers = planned.answers(rtl.latency_cycles)
    _check_valid(rtl, planned, answers >= 0, out_valid)
    if facts is not None:
        facts.add(planned)
        facts.latency_cycles = rtl.latency_cycles  # in every cycle, as was just checked
    shown = np.flatnonzero(answers >= 0)
    result = []
    for values in outputs:
        ordered = np.empty((len(inputs[0]), *values.shape[1:]), dtype=np.int64)
        ordered[answers[shown]] = values[shown]
        result.append(ordered)
    return result


def stimulus(
    rtl: Rtl, planned: Schedule, inputs: Sequence[npt.NDArray[Any]], rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Mantissas (cycles, *shape) of every port: events where they are planned, else random ones."""
    given = []
    sent = planned.event >= 0
    for port, mantissas in zip(rtl.inputs, inputs, strict=True):
        low, high = port.format.min_mantissa, port.format.max_mantissa
        values = rng.integers(low, high, (len(sent), *port.shape), dtype=np.int64, endpoint=True)
        values[sent] = mantissas.astype(np.int64)[planned.event[sent]]
        given.append(values)
    return given


def _check_valid(
    rtl: Rtl,
    planned: Schedule,
    wanted: npt.NDArray[np.bool_],
    found: npt.NDArray[np.bool_],
) -> None:
    wrong = np.flatnonzero(wanted != found)
    wrong = wrong[wrong >= _BEFORE]  # before the first reset the registers hold anything
    if not len(wrong):
        return
    cycle = int(wrong[0])
    start = _BEFORE + _RESET
    resets = np.flatnonzero(planned.rst[start:])
    until = start + int(resets[0]) if len(resets) else len(found)
    sent, came = (np.flatnonzero(x[start:until]) for x in (planned.in_valid, found))
    seen = len(sent) and len(came)
    measured = f"{came[0] - sent[0]} cycles" if seen else "not seen before the next reset"
    raise errors.MismatchError(
        f"{rtl.top}: out_valid is {int(found[cycle])} after clock edge {cycle}, wanted "
        f"{int(wanted[cycle])}; {len(wrong)} of {len(wanted)} cycles differ; reported latency "
        f"{rtl.latency_cycles} cycles, the first event's: {measured}"
    )


def record(
    simulation: RtlSimulation,
    inputs: Sequence[npt.NDArray[Any]],
    seed: int | Sequence[int],
    event: int,
    path: Path,
) -> int:
    """Writes the waveform of one event of the same stream; gives the time of its answer in it.

    FST if `path` ends in .fst, else VCD. The cycles around the event are those of `stream`;
    `simulation` is built with `trace`. A cycle is 2 units of time.

    Raises:
        BuildError: the file cannot be written. ToolError: the simulation fails.
        MissingToolError: no library for FST.
    """
    rtl, rng = simulation.rtl, np.random.default_rng(seed)
    planned = schedule(len(inputs[0]), rtl.latency_cycles, rng)
    given = stimulus(rtl, planned, inputs, rng)
    answers = planned.answers(rtl.latency_cycles)
    edge = int(np.flatnonzero(answers == event)[0])
    start = max(0, edge - rtl.latency_cycles - _SEEN)
    kept = slice(start, edge + 3)
    arguments = (planned.in_valid[kept], planned.rst[kept], [x[kept] for x in given])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # absolute: the simulation runs in a folder of its own
        place = path.parent.resolve()
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=place) as temporary:
            made = Path(temporary) / "waveform.vcd"
            simulation.run(*arguments, made)
            if is_fst(path):
                vcd, made = made, made.with_suffix(path.suffix)
                write_fst(vcd, made)
            made.replace(path)
    except OSError as error:
        raise errors.BuildError(f"{path}: cannot be written: {error.strerror}") from None
    return 2 * (edge - start) + 1
