"""Reports of Vitis HLS and Vivado HLS: C synthesis and C/RTL co-simulation."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from .text import Usage, fault, read

__all__ = ["CosimReport", "HlsReport", "parse_cosim", "parse_csynth"]

_UNRESOLVED = ("undef", "?", "-", "")
_UNIT_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "sec": 1e9, "s": 1e9}
_REAL_TIME = re.compile(r"([0-9.eE+-]+)\s*([a-z]+)")
_CLOCKS = "Clock Cycles"


@dataclass(frozen=True)
class HlsReport:
    """The C synthesis report: cycles and nanoseconds as scheduled, resources as estimated.

    Latency and interval are None where the tool left them open; `unresolved` then says why.
    `bram18k` counts blocks of 18 kb. `violation` is what the tool complains of, "" if nothing.
    """

    tool: str
    version: str | None
    part: str
    latency_cycles_min: int | None
    latency_cycles_max: int | None
    interval_cycles_min: int | None
    interval_cycles_max: int | None
    unresolved: str | None
    clock_target_ns: float
    clock_estimated_ns: float
    lut: Usage
    ff: Usage
    dsp: Usage
    bram18k: Usage
    violation: str = ""


@dataclass(frozen=True)
class CosimReport:
    """The co-simulation report of the RTL that was simulated.

    Cycles are None where the tool prints NA, as the interval of a single event.
    """

    tool: str
    rtl: str
    passed: bool
    latency_cycles_min: int | None
    latency_cycles_max: int | None
    interval_cycles_min: int | None
    interval_cycles_max: int | None


def parse_csynth(path: Path, tool: str) -> HlsReport:
    """The report <top>_csynth.xml.

    Raises ToolError if it is truncated, damaged, counts in units other than clock cycles and
    nanoseconds, or if its own cycles and times contradict each other.

    Source: the elements as in hls4ml/report/vivado_report.py, parse_vivado_report, and as Vivado
    HLS 2019.2 to 2020.1 and Vitis HLS 2021.1 to 2025.1 write them.
    """
    try:
        root = ET.fromstring(read(tool, path))
    except ET.ParseError as error:
        raise fault(tool, path, f"truncated or damaged ({error}); run {tool} again") from None

    def text(*names: str) -> str:
        for name in names:
            found = root.findtext(name)
            if found is not None:
                return found.strip()
        raise fault(tool, path, f"no element {names[0]}; truncated, or from another tool")

    def number(*names: str) -> float:
        found = text(*names)
        try:
            value = float(found)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise fault(tool, path, f"{names[0]} is {found!r}, not a number")
        return value

    def cycles(name: str) -> int | None:
        full = f"PerformanceEstimates/SummaryOfOverallLatency/{name}"
        return None if text(full) in _UNRESOLVED else int(number(full))

    def usage(*names: str) -> Usage:
        return Usage(
            number(*(f"AreaEstimates/Resources/{name}" for name in names)),
            number(*(f"AreaEstimates/AvailableResources/{name}" for name in names)),
        )

    for name, wanted in (
        ("UserAssignments", "ns"),
        ("PerformanceEstimates/SummaryOfTimingAnalysis", "ns"),
        ("PerformanceEstimates/SummaryOfOverallLatency", "clock cycles"),
    ):
        if (unit := text(f"{name}/unit")) != wanted:
            raise fault(tool, path, f"{name} is in {unit}, wanted {wanted}")
    values = [
        cycles(n) for n in ("Best-caseLatency", "Worst-caseLatency", "Interval-min", "Interval-max")
    ]
    target_ns = number("UserAssignments/TargetClockPeriod")
    estimated_ns = number("PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod")
    if not target_ns:
        raise fault(tool, path, "UserAssignments/TargetClockPeriod is 0")
    _check_time(tool, path, root, values[1], (target_ns, estimated_ns))
    version = root.findtext("ReportVersion/Version")
    return HlsReport(
        tool=tool,
        version=version.strip() if version else None,
        part=text("UserAssignments/Part"),
        latency_cycles_min=values[0],
        latency_cycles_max=values[1],
        interval_cycles_min=values[2],
        interval_cycles_max=values[3],
        unresolved=(
            f"{tool} gives no latency: it depends on a loop or stream whose length is not known "
            "at compile time; C/RTL co-simulation measures it"
            if None in values
            else None
        ),
        clock_target_ns=target_ns,
        clock_estimated_ns=estimated_ns,
        lut=usage("LUT"),
        ff=usage("FF"),
        dsp=usage("DSP", "DSP48E"),  # Vivado HLS names the block
        bram18k=usage("BRAM_18K"),
        violation=_violation(root),
    )


def _check_time(
    tool: str, path: Path, root: ET.Element, cycles: int | None, periods_ns: tuple[float, ...]
) -> None:
    """Raises ToolError if the latency in cycles and the one in ns, us or ms are not the same.

    The tool multiplies by the target or, where it is longer, by the estimated period, and prints
    four digits.
    """
    name = "Worst-caseRealTimeLatency"
    found = root.findtext(f"PerformanceEstimates/SummaryOfOverallLatency/{name}")
    if cycles is None or found is None or found.strip() in _UNRESOLVED:
        return
    matched = _REAL_TIME.fullmatch(found.strip())
    if matched is None or matched[2] not in _UNIT_NS:
        raise fault(tool, path, f"{name} is {found!r}, not a time")
    time_ns = float(matched[1]) * _UNIT_NS[matched[2]]
    slack = 0.51 * 10.0 ** -len(matched[1].partition(".")[2]) * _UNIT_NS[matched[2]]
    if not any(abs(cycles * p - time_ns) <= slack + 0.002 * time_ns for p in periods_ns):
        raise fault(
            tool,
            path,
            f"{cycles} cycles of {periods_ns[0]:g} ns are not the {found.strip()} that it says; "
            "the report is damaged",
        )


def _violation(root: ET.Element) -> str:
    where = "PerformanceEstimates/SummaryOfViolations/"
    parts = [(root.findtext(where + name) or "").strip() for name in ("IssueType", "ViolationType")]
    return ", ".join(dict.fromkeys(part for part in parts if part not in _UNRESOLVED))


def parse_cosim(path: Path, tool: str) -> CosimReport:
    """The report <top>_cosim.rpt: the row of the RTL that was simulated.

    Raises ToolError if the table is cut short, none of its rows was simulated, or it counts in
    something else than clock cycles (Vivado HLS does not say, and counts clock cycles).
    """
    text = read(tool, path)
    rows = [
        cells
        for line in text.splitlines()
        if line.startswith("|") and line.rstrip().endswith("|")
        for cells in [[cell.strip() for cell in line.strip().strip("|").split("|")]]
        if cells[0] in ("VHDL", "Verilog") and len(cells) >= 8
    ]
    units = re.findall(r"(?:Latency|Interval)\(([^)]*)\)", text)
    if any(unit != _CLOCKS for unit in units):
        raise fault(tool, path, f"counts in {', '.join(dict.fromkeys(units))}, wanted {_CLOCKS}")
    if {row[0] for row in rows} != {"VHDL", "Verilog"} or not text.rstrip().endswith("+"):
        raise fault(tool, path, "truncated, or no co-simulation report; run it again")
    simulated = [row for row in rows if row[1] != "NA"]
    if not simulated:
        raise fault(tool, path, "no RTL was simulated: VHDL and Verilog are both NA")
    row = simulated[0]
    if row[1] not in ("Pass", "Fail"):
        raise fault(tool, path, f"status {row[1]!r}, wanted Pass or Fail")

    def cycles(column: int) -> int | None:
        if row[column] == "NA":
            return None
        if not row[column].isdigit():
            raise fault(tool, path, f"{row[column]!r} in the row {row[0]} is no number of cycles")
        return int(row[column])

    return CosimReport(
        tool=tool,
        rtl=row[0],
        passed=row[1] == "Pass",
        latency_cycles_min=cycles(2),
        latency_cycles_max=cycles(4),
        interval_cycles_min=cycles(5),
        interval_cycles_max=cycles(7),
    )
