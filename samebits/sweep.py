"""Accuracy against LUT and ns: one network at many widths, clocks and reuse factors.

Bits are decided by the width alone: the clock and the reuse factor change none, so that a width is
compiled and simulated once, and only its latency and resources are worked out for every clock and
reuse factor.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pydantic

from samebits import __version__, errors, storage
from samebits.compile.target import Target
from samebits.firmware.parts import RESOURCES, part_of
from samebits.firmware.results import (
    Facts,
    LatencyEstimate,
    NotRun,
    Quantity,
    ResourceEstimate,
    Text,
    latency_estimate,
)

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["Events", "Grid", "Row", "Sweep", "accuracy_of", "best", "read_sweep", "sweep", "write"]

JSON, CSV = "sweep.json", "sweep.csv"
RTL, HLS = "RTL", "HLS"
_DOUBTFUL = "needs registers inside an operation at this clock"

Front = Literal["LUT", "ns"]
Key = tuple[str, int | None, int, float]  # implementation, width_bits, reuse_factor, clock_mhz
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Grid:
    """What is tried: every width with every clock, and with every reuse factor.

    A width of None is the network as it is. Reuse factor 1 is also tried as RTL, which shares no
    multiplier.
    """

    widths: tuple[int | None, ...] = (None,)
    reuse: tuple[int, ...] = (1,)
    clocks_mhz: tuple[float, ...] = (200.0,)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The rows that are asked for, as `Row.key` has them."""
        return tuple(
            (kind, width, reuse, clock)
            for width in self.widths
            for kind, factors in ((RTL, [r for r in self.reuse if r == 1]), (HLS, self.reuse))
            for reuse in factors
            for clock in self.clocks_mhz
        )

    @property
    def steps(self) -> int:
        """The steps that `sweep` reports."""
        return len(self.widths) * (1 + len(self.clocks_mhz) * (len(self.reuse) + (1 in self.reuse)))


@dataclass(frozen=True, eq=False)
class Events:
    """Labelled events: `x` as `Design.simulate` takes it, labels (N,) of class indices.

    `test_part` says that they are that of the network's training.
    """

    x: Any
    labels: Any
    class_names: tuple[str, ...]
    about: str
    test_part: bool = False

    @property
    def sha256(self) -> str:
        """A hash of events and labels."""
        arrays = self.x.values() if isinstance(self.x, dict) else [self.x]
        digest = hashlib.sha256()
        for array in (*arrays, self.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


class Row(Facts):
    """One configuration. `front`: on which Pareto fronts it lies, accuracy against LUT or ns."""

    implementation: Literal["RTL", "HLS"]
    width_bits: int | None
    reuse_factor: int
    accuracy: Quantity
    accuracy_error: Quantity
    latency: LatencyEstimate
    resources: ResourceEstimate
    clock_mhz: float
    clock_note: str = ""
    front: tuple[Front, ...] = ()

    def number(self, name: str) -> float | None:
        """LUT, FF, DSP, BRAM36, ns or accuracy; None if it was not run."""
        found: Any = self.resources.used.get(name)
        if name in ("ns", "accuracy"):
            found = self.latency.latency_ns if name == "ns" else self.accuracy
        return float(found.value) if isinstance(found, Quantity) else None

    @property
    def key(self) -> Key:
        """What tells it from the other rows of a sweep."""
        return self.implementation, self.width_bits, self.reuse_factor, self.clock_mhz


class Sweep(Facts):
    """The rows of one sweep, and what they were made from.

    `inputs` are hashes and versions: rows are taken over from an earlier sweep with equal ones.
    """

    network: Text
    part: Text
    lut_total: int
    events: int
    data: Text
    widths_by: str
    inputs: dict[str, str]
    rows: tuple[Row, ...]

    def share(self, row: Row) -> float | None:
        """The share of the part's LUTs that a row takes."""
        lut = row.number("LUT")
        return None if lut is None else lut / self.lut_total

    @property
    def notes(self) -> tuple[str, ...]:
        """Of what kind the numbers are and by what tool, and what a reader of them must know."""
        return tuple(dict.fromkeys((*_makers(self.rows), *_remarks(self))))


def sweep(
    design_of: Callable[[int | None], Design],
    events: Events,
    grid: Grid,
    target: Target,
    *,
    network: str,
    model_sha256: str,
    widths_by: str = "",
    known: Sweep | None = None,
    save: Callable[[Sweep], None] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Accuracy, latency and resources of every configuration of the grid.

    Args:
        design_of: the network at a width; called once for each.
        target: the part, and the strategy of the HLS project.
        network, widths_by: what is swept, and how its width was changed, in words.
        model_sha256: of all that `design_of` depends on.
        known: an earlier sweep, whose rows are taken over if they were made from the same; those
            that the grid does not ask for stay in the table.
        save: called with what there is after each width.
        progress: called with the number of steps done, of `grid.steps`.

    Raises:
        UnsupportedError, ModelError: a width that cannot be compiled.
        UsageError: an unknown part; events whose classes are not the network's outputs.
    """
    part = part_of(target.part)
    base = Sweep(
        network=network,
        part=part.name,
        lut_total=part.lut,
        events=len(events.labels),
        data=events.about,
        widths_by=widths_by,
        inputs=_inputs(model_sha256, events, target),
        rows=(),
    )
    rows: dict[Key, Row] = {}
    if known is not None and known.inputs == base.inputs:
        rows = {row.key: row for row in known.rows}
        base = base.model_copy(update={"widths_by": widths_by or known.widths_by})
    found = base
    for number, width in enumerate(grid.widths):
        keys = [key for key in grid.keys if key[1] == width]
        if not all(key in rows for key in keys):
            design = design_of(width)
            accuracy = accuracy_of(design, events)
            start = number * (grid.steps // len(grid.widths)) + 1
            for done, row in enumerate(_rows(design, target, width, keys, *accuracy), start + 1):
                rows[row.key] = row
                if progress:
                    progress(done)
        found = base.model_copy(update={"rows": _fronts(sorted(rows.values(), key=_place))})
        if save:
            save(found)
        if progress:
            progress((number + 1) * (grid.steps // len(grid.widths)))
    return found


def _place(row: Row) -> tuple[int, bool, int, float]:
    """Where a row stands in the table: by width, RTL first, by reuse factor, by clock."""
    return row.width_bits or 0, row.implementation != RTL, row.reuse_factor, row.clock_mhz


def accuracy_of(design: Design, events: Events) -> tuple[Quantity, Quantity]:
    """The share of events whose label has the largest score, and its standard deviation, in %.

    With one score and two classes the second class is chosen above 1/2 where all scores lie within
    0 to 1, and above 0 elsewhere.

    Raises:
        UsageError: outputs that are no scores of the data's classes.
    """
    answer = design.simulate(events.x)
    count = len(events.class_names)
    if isinstance(answer, list):
        raise errors.UsageError("sweep: the network has several outputs; wanted one, of scores")
    scores = answer.reshape(len(answer), -1)
    if scores.shape[1] == count:
        chosen = scores.argmax(axis=1)
    elif scores.shape[1] == 1 and count == 2:
        cut = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
        chosen = (scores[:, 0] > cut).astype(int)
    else:
        raise errors.UsageError(
            f"sweep: outputs of shape {answer.shape[1:]} are not scores of the {count} classes of "
            f"{events.about} ({', '.join(events.class_names[:8])})"
        )
    share = float((chosen == events.labels).mean())
    spread = (share * (1 - share) / len(scores)) ** 0.5
    tool = f"samebits {__version__}, NumPy engine"
    return (
        Quantity(value=100 * share, unit="%", kind="measured", tool=tool),
        Quantity(
            value=100 * spread, unit="points", kind="estimated", tool="binomial standard deviation"
        ),
    )


def _inputs(model_sha256: str, events: Events, target: Target) -> dict[str, str]:
    from samebits.firmware.hls_model import read_model
    from samebits.firmware.hls_stages import read_stages

    coefficients = json.dumps([read_model(), read_stages()], sort_keys=True)
    versions = {
        "samebits": __version__,
        "hls_model": hashlib.sha256(coefficients.encode()).hexdigest(),
    }
    for package in ("hls4ml", "alkaid"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    fixed = {**target.to_json(), "clock_mhz": 0, "reuse_factor": 0}
    return {
        "model": model_sha256,
        "data": events.sha256,
        "target": json.dumps(fixed, sort_keys=True),
        **versions,
    }


def _rows(
    design: Design,
    target: Target,
    width: int | None,
    keys: Sequence[Key],
    accuracy: Quantity,
    error: Quantity,
) -> Iterator[Row]:
    from samebits.firmware.hls_estimate import describe, estimate_hls

    logic: Any = None
    layers = describe(design.graph)
    for kind, _, reuse, clock in keys:
        if kind == RTL:
            logic = _logic(design) if logic is None else logic
            latency, used, note = _rtl(design, target.part, clock, logic)
        else:
            found = estimate_hls(layers, replace(target, reuse_factor=reuse, clock_mhz=clock))
            latency, used, note = found.latency, found.resources, ""
        yield Row(
            implementation="RTL" if kind == RTL else "HLS",
            width_bits=width,
            reuse_factor=reuse,
            clock_mhz=clock,
            accuracy=accuracy,
            accuracy_error=error,
            latency=latency,
            resources=used,
            clock_note=note,
        )


def _logic(design: Design) -> Any:
    """alkaid's logic of the network, or NotRun."""
    from samebits.firmware.estimate import logic_of

    try:
        return logic_of(design.graph)
    except (errors.MissingToolError, errors.UnsupportedError) as error:
        return NotRun(reason=str(error))


def _rtl(
    design: Design, part: str, clock_mhz: float, logic: Any
) -> tuple[LatencyEstimate, ResourceEstimate, str]:
    from samebits.firmware.estimate import estimate

    source = "unrolled logic, alkaid"
    if isinstance(logic, NotRun):
        return _absent(source, logic)
    found = estimate(design.graph, part, clock_mhz, logic=logic, per_layer=False)
    latency = latency_estimate(
        source,
        int(found.latency_cycles.value),
        clock_mhz,
        int(found.initiation_interval.value),
        "estimated",
        found.tool,
        found.notes,
        fmax_mhz=found.fmax_mhz,
    )
    doubtful = found.longest_operation.value > found.stage_budget.value
    used = ResourceEstimate(source=source, used=dict(found.used))
    return latency, used, _DOUBTFUL if doubtful else ""


def _absent(source: str, why: NotRun) -> tuple[LatencyEstimate, ResourceEstimate, str]:
    latency = LatencyEstimate(
        source=source,
        cycles=why,
        initiation_interval=why,
        latency_ns=why,
        bunch_crossings=why,
    )
    return latency, ResourceEstimate(source=source, used=dict.fromkeys(RESOURCES, why)), ""


def _fronts(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, marked where no other is at least as accurate with fewer LUTs, or fewer ns."""
    marks: dict[Any, list[Front]] = {row.key: [] for row in rows}
    costs: tuple[Front, ...] = ("LUT", "ns")
    for name in costs:
        points = [
            (cost, row.accuracy.value, row.key)
            for row in rows
            if (cost := row.number(name)) is not None
        ]
        for cost, accuracy, key in points:
            better = any(
                c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a, _ in points
            )
            if not better:
                marks[key].append(name)
    return tuple(row.model_copy(update={"front": tuple(marks[row.key])}) for row in rows)


def _makers(rows: Sequence[Row]) -> list[str]:
    """Which numbers are of what kind, and by what tool."""
    makers: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        used = {name: row.resources.used.get(name) for name in RESOURCES}
        numbers = {"accuracy": row.accuracy, "cycles": row.latency.cycles, **used}
        for name, value in numbers.items():
            if isinstance(value, Quantity):
                where = "" if name == "accuracy" else f"{row.implementation} "
                names = makers.setdefault((where, f"{value.kind}, {value.tool}"), [])
                if name not in names:
                    names.append(name)
    return [f"{where}{', '.join(names)}: {by}" for (where, by), names in makers.items()]


def _remarks(found: Sweep) -> list[str]:
    """What a reader of the table must know."""
    notes = []
    if found.widths_by:
        notes.append(f"widths: {found.widths_by}")
    notes += [
        f"!: {text}, by the estimate's own delays: its ns are a wish"
        for text in dict.fromkeys(row.clock_note for row in found.rows if row.clock_note)
    ]
    absent: dict[tuple[str, str], list[str]] = {}
    for row in found.rows:
        values = {"ns": row.latency.latency_ns, "LUT": row.resources.used.get("LUT")}
        for name, value in values.items():
            if isinstance(value, NotRun):
                names = absent.setdefault((row.implementation, value.reason), [])
                names += [name] if name not in names else []
    notes += [f"{kind} {', '.join(n)}: not run: {why}" for (kind, why), n in absent.items()]
    return notes


def best(
    found: Sweep, budget_ns: float | None = None, max_lut_share: float | None = None
) -> tuple[Row, Row] | None:
    """The most accurate row within the limits, and the smallest that is as good; None: there is no
    row within them.

    As good: within one standard deviation of its accuracy. Equal accuracies: the fewest LUTs, then
    the fewest ns; a doubtful clock is the last choice then, and of several the slowest is taken.
    """
    inside = []
    for row in found.rows:
        lut, ns, share = row.number("LUT"), row.number("ns"), found.share(row)
        if lut is None or ns is None or share is None:
            continue
        if (budget_ns is None or ns <= budget_ns) and (
            max_lut_share is None or share <= max_lut_share
        ):
            inside.append((row, lut, ns))
    if not inside:
        return None

    def rank(row: Row, lut: float, ns: float) -> tuple[float, ...]:
        return lut, bool(row.clock_note), row.clock_mhz if row.clock_note else ns

    top = min(inside, key=lambda one: (-one[0].accuracy.value, *rank(*one)))[0]
    lowest = top.accuracy.value - top.accuracy_error.value
    good = [one for one in inside if one[0].accuracy.value >= lowest]
    small = min(good, key=lambda one: (*rank(*one), -one[0].accuracy.value))[0]
    return top, small


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep in a folder; None if there is none that this samebits can read."""
    try:
        return Sweep.model_validate_json((folder / JSON).read_bytes())
    except (OSError, pydantic.ValidationError):
        return None


def write(found: Sweep, folder: Path) -> None:
    """Writes sweep.json and sweep.csv, each whole or not at all.

    Raises:
        BuildError: the folder cannot be written.
    """
    with storage.replace_file(folder / JSON) as temporary:
        temporary.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    with storage.replace_file(folder / CSV) as temporary:
        temporary.write_text(_csv(found), encoding="utf-8")


def _csv(found: Sweep) -> str:
    """One line per row: every number with its kind and tool; empty where it was not run."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    numbers = ("accuracy_percent", "accuracy_error_points", "cycles", "latency_ns", "interval")
    head = ["implementation", "width_bits", "reuse_factor", "clock_mhz"]
    for name in (*numbers, *RESOURCES):
        head += [name, f"{name}_kind", f"{name}_tool"]
    lines.writerow([*head, "lut_share", "front", "clock_note", "not_run"])
    for row in found.rows:
        latency, used = row.latency, row.resources.used
        values = (
            *(row.accuracy, row.accuracy_error),
            *(latency.cycles, latency.latency_ns, latency.initiation_interval),
            *(used.get(name, NotRun(reason="not told")) for name in RESOURCES),
        )
        cells: list[Any] = [row.implementation, row.width_bits, row.reuse_factor, row.clock_mhz]
        for value in values:
            if isinstance(value, Quantity):
                cells += [value.value, value.kind, value.tool]
            else:
                cells += ["", "not run", ""]
        reasons = dict.fromkeys(v.reason for v in values if isinstance(v, NotRun))
        share = found.share(row)
        lines.writerow(
            [
                *cells,
                "" if share is None else f"{share:.6g}",
                " ".join(row.front),
                row.clock_note,
                "; ".join(reasons),
            ]
        )
    return text.getvalue()
