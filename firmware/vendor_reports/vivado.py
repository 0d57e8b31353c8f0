"""Reports of Vivado: utilization, timing summary, power, and what its log says of memories."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from samebits import errors

from .text import Heading, Usage, decimal, fault, heading, read, tables

__all__ = [
    "PowerReport",
    "TimingReport",
    "UtilizationReport",
    "check_memories",
    "parse_power",
    "parse_timing",
    "parse_utilization",
]

_TOOL = "Vivado"
_MET = "All user specified timing constraints are met."
_NOT_MET = "Timing constraints are not met."
_NONE_GIVEN = "There are no user specified timing constraints."
_SUMMARY = ("WNS(ns)", "TNS(ns)", "TNS Failing Endpoints", "TNS Total Endpoints", "WHS(ns)")
_CLOCK = re.compile(r"^(\S+)\s+\{([0-9. ]+)\}\s+([0-9.]+)\s+([0-9.]+)\s*$")
# Vivado: Synth 8-4445 (UG901); Verilog read by other tools says it in words of their own.
_UNRESOLVED_MEMORY = re.compile(
    r"\[Synth 8-4445\]|could not open \$readmem data file"
    r"|\$readmem[bh]?.{0,20}(?:file )?not found"
    r"|[Cc]an(?:no|')?t? ?(?:not )?open file .{0,200}\$readmem"
)


@dataclass(frozen=True)
class UtilizationReport:
    """`report_utilization`: `bram36` counts blocks of 36 kb, in halves; `state` as Vivado says."""

    tool: str
    version: str | None
    part: str | None
    state: str | None
    lut: Usage
    ff: Usage
    dsp: Usage
    bram36: Usage


@dataclass(frozen=True)
class TimingReport:
    """`report_timing_summary`: worst slacks of setup and hold over all clocks, in ns.

    `period_ns` is the target of the clock `clock`; `met` is Vivado's own verdict.
    """

    tool: str
    version: str | None
    part: str | None
    state: str | None
    clock: str
    period_ns: float
    setup_slack_ns: float
    hold_slack_ns: float
    failing_endpoints: int
    endpoints: int
    met: bool

    @property
    def fmax_mhz(self) -> float:
        """The fastest clock at which the worst setup path closes: 1 / (period - slack)."""
        return 1000.0 / (self.period_ns - self.setup_slack_ns)


@dataclass(frozen=True)
class PowerReport:
    """`report_power`, in watts; `confidence` is Vivado's word for its own estimate."""

    tool: str
    version: str | None
    part: str | None
    total_w: float
    dynamic_w: float
    static_w: float
    confidence: str


def parse_utilization(path: Path) -> UtilizationReport:
    """Raises ToolError if a row is missing, or a primary count is not a number."""
    text = read(_TOOL, path)
    rows: dict[str, Usage] = {}
    for row in tables(text, "Site Type"):
        used = decimal(row.get("Used", ""))
        if used is not None:
            rows.setdefault(
                row["Site Type"].rstrip("*"), Usage(used, decimal(row.get("Available", "")))
            )

    def usage(*names: str) -> Usage:
        for name in names:
            if name in rows:
                return rows[name]
        raise fault(
            _TOOL,
            path,
            f"no row {' or '.join(map(repr, names))}; truncated, or not a report of "
            "report_utilization",
        )

    about = heading(text)
    return UtilizationReport(
        tool=_TOOL,
        version=about.version,
        part=about.device,
        state=about.state,
        lut=usage("CLB LUTs", "Slice LUTs"),
        ff=usage("CLB Registers", "Slice Registers"),
        dsp=usage("DSPs"),
        bram36=usage("Block RAM Tile"),
    )


def parse_timing(path: Path) -> TimingReport:
    """Raises ToolError if it is truncated, of a design without clocks, or has no verdict."""
    text = read(_TOOL, path)
    if "Design Timing Summary" not in text:
        raise fault(
            _TOOL, path, "no Design Timing Summary; truncated, or not of report_timing_summary"
        )
    if _NONE_GIVEN in text:
        raise fault(
            _TOOL, path, "the design has no clock constraint, so that no path has been timed"
        )
    lines = text.split("Design Timing Summary", 1)[1].splitlines()
    slack = _summary(path, lines)
    if (_MET in text) == (_NOT_MET in text):
        raise fault(_TOOL, path, "no verdict behind the Design Timing Summary; truncated")
    met = _MET in text
    if met and (slack["WNS(ns)"] < 0 or slack["WHS(ns)"] < 0):
        raise fault(_TOOL, path, "says that timing is met, but a slack is negative; damaged")
    clock, period_ns = _slowest_path_clock(path, text, slack["WNS(ns)"])
    about: Heading = heading(text)
    return TimingReport(
        tool=_TOOL,
        version=about.version,
        part=about.device,
        state=about.state,
        clock=clock,
        period_ns=period_ns,
        setup_slack_ns=slack["WNS(ns)"],
        hold_slack_ns=slack["WHS(ns)"],
        failing_endpoints=int(slack["TNS Failing Endpoints"]),
        endpoints=int(slack["TNS Total Endpoints"]),
        met=met,
    )


def _summary(path: Path, lines: list[str]) -> dict[str, float]:
    """The columns of the first table behind the title; names are separated by two blanks."""
    for at, line in enumerate(lines):
        names = [name for name in re.split(r"\s{2,}", line.strip()) if name]
        if not names or not names[0].startswith("WNS"):
            continue
        missing = [name for name in _SUMMARY if name not in names]
        if missing:
            raise fault(_TOOL, path, f"no column {missing[0]}; slacks must be in ns")
        cells = lines[at + 2].split() if at + 2 < len(lines) else []
        row = dict(zip(names, cells, strict=False))
        found = {name: decimal(row.get(name, "")) for name in _SUMMARY}
        for name, value in found.items():
            if value is None:
                raise fault(_TOOL, path, f"{name} is {row.get(name, '')!r}, not a number")
        return {name: value for name, value in found.items() if value is not None}
    raise fault(_TOOL, path, "no table behind Design Timing Summary; truncated")


def _slowest_path_clock(path: Path, text: str, worst_ns: float) -> tuple[str, float]:
    """The clock whose own worst slack is the design's, and its period; the only one if one."""
    if "| Clock Summary" not in text or "| Intra Clock Table" not in text:
        raise fault(_TOOL, path, "no Clock Summary and Intra Clock Table; truncated")
    summary = text.split("| Clock Summary", 1)[1].split("| Intra Clock Table", 1)
    if "Period(ns)" not in summary[0]:
        raise fault(_TOOL, path, "no column Period(ns) in the Clock Summary")
    periods = {
        matched[1]: float(matched[3])
        for line in summary[0].splitlines()
        if (matched := _CLOCK.match(line.strip()))
    }
    if not periods:
        raise fault(_TOOL, path, "no clock in the Clock Summary")
    if len(periods) == 1:
        return next(iter(periods.items()))
    for line in summary[1].split("| Inter Clock Table", 1)[0].splitlines():
        cells = line.split()
        if len(cells) > 1 and cells[0] in periods and decimal(cells[1]) == worst_ns:
            return cells[0], periods[cells[0]]
    raise fault(
        _TOOL,
        path,
        f"the worst slack {worst_ns:g} ns is between the clocks {', '.join(periods)}: no clock "
        "follows from it",
    )


def parse_power(path: Path) -> PowerReport:
    """Raises ToolError if a row of the summary is missing or no number of watts."""
    text = read(_TOOL, path)
    rows = dict(re.findall(r"^\| ([A-Z][^|]*?)\s*\| ([^|]*?)\s*\|$", text, re.M))

    def watts(name: str) -> float:
        cell = rows.get(f"{name} (W)")
        value = decimal(cell.split()[0]) if cell else None  # "184.230 (Junction temp exceeded!)"
        if value is None:
            raise fault(
                _TOOL, path, f"no row '{name} (W)'; truncated, or not a report of report_power"
            )
        return value

    if "Confidence Level" not in rows:
        raise fault(_TOOL, path, "no row 'Confidence Level'; truncated")
    about = heading(text)
    return PowerReport(
        tool=_TOOL,
        version=about.version,
        part=about.device,
        total_w=watts("Total On-Chip Power"),
        dynamic_w=watts("Dynamic"),
        static_w=watts("Device Static"),
        confidence=rows["Confidence Level"],
    )


def check_memories(path: Path, log: str) -> None:
    """Raises ToolError if the log of a synthesis says that a memory's contents were not found.

    Such a memory is empty, the logic behind it is optimised away, and all numbers are too small.
    """
    found = [line.strip() for line in log.splitlines() if _UNRESOLVED_MEMORY.search(line)]
    if found:
        raise errors.ToolError(
            f"{path}: {len(found)} memories have no contents, because a data file was not found; "
            "tables and weights in them are missing from the netlist, and every number of this "
            "run is too small:\n" + "\n".join(f"  {line}" for line in found[:5])
        )
