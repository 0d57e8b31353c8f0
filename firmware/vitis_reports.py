"""What Vitis HLS and Vivado reported about an HLS project, where somebody has run them.

Two reports are read: the C synthesis (latency, and resources that Vitis HLS *estimates*) and
Vivado's logic synthesis (resources of the netlist). Nothing is filled in: what was not run, or what
the tool left open, says so with the reason.
"""

import math
import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from samebits import errors

from .hls_project import HlsProject, read_project

__all__ = ["HlsReport", "NotRun", "Usage", "VitisReports", "VivadoReport", "read_reports"]

_UNRESOLVED = ("undef", "?", "-", "")
_HLS_TOOLS = {"Vitis": ("vitis-run", "vitis_hls"), "Vivado": ("vivado_hls",)}


@dataclass(frozen=True)
class NotRun:
    """A tool that has not been run on the project, and why."""

    reason: str

    def __str__(self) -> str:
        return f"not run: {self.reason}"


@dataclass(frozen=True)
class Usage:
    """How many of a resource are used, of how many on the part (None: the report does not say)."""

    used: float
    available: float | None


@dataclass(frozen=True)
class HlsReport:
    """The C synthesis report: cycles and nanoseconds as scheduled, resources as estimated.

    Latency and interval are None where the tool left them open; `unresolved` then says why.
    `bram18k` counts blocks of 18 kb.
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

    @property
    def kind(self) -> str:
        """What kind of number these are."""
        return f"estimated by {self.tool}"


@dataclass(frozen=True)
class VivadoReport:
    """Vivado's utilization after logic synthesis; `bram36` counts blocks of 36 kb, in halves."""

    kind: ClassVar[str] = "synthesised"
    tool: str
    version: str | None
    part: str | None
    lut: Usage
    ff: Usage
    dsp: Usage
    bram36: Usage


@dataclass(frozen=True)
class VitisReports:
    """The reports of one HLS project."""

    hls: HlsReport | NotRun
    vivado: VivadoReport | NotRun


def read_reports(
    hls_folder: str | os.PathLike[str], env: Mapping[str, str] = os.environ
) -> VitisReports:
    """The reports in `hls_folder`, each a NotRun where there is none.

    Raises BuildError if `hls_folder` is no HLS project, ToolError if a report is truncated or not
    in the tool's format.
    """
    folder = Path(hls_folder)
    project = read_project(folder)
    return VitisReports(_hls(folder, project, env), _vivado(folder, env))


def _hls(folder: Path, project: HlsProject, env: Mapping[str, str]) -> HlsReport | NotRun:
    name = project.project_name
    tool = f"{project.backend} HLS"
    reports = folder / f"{name}_prj" / "solution1" / "syn" / "report"
    for path in (reports / f"{name}_csynth.xml", reports / "csynth.xml"):
        if path.is_file():
            return _parse_csynth(path, tool)
    return _not_run(tool, _HLS_TOOLS[project.backend], folder, env)


def _vivado(folder: Path, env: Mapping[str, str]) -> VivadoReport | NotRun:
    path = folder / "vivado_synth.rpt"
    if path.is_file():
        return _parse_utilization(path)
    return _not_run("Vivado", ("vivado",), folder, env)


def _not_run(
    tool: str, executables: tuple[str, ...], folder: Path, env: Mapping[str, str]
) -> NotRun:
    for executable in executables:
        if shutil.which(executable, path=env.get("PATH")) is not None:
            return NotRun(f"{executable} is installed but has left no report in {folder}")
    return NotRun(f"{tool} not found")


def _parse_csynth(path: Path, tool: str) -> HlsReport:
    """Source: the schema as read by hls4ml/report/vivado_report.py, parse_vivado_report."""
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise errors.ToolError(
            f"{tool} report {path}: truncated or damaged ({error}); run {tool} again"
        ) from error

    def text(*names: str) -> str:
        for name in names:
            found = root.findtext(name)
            if found is not None:
                return found.strip()
        raise errors.ToolError(
            f"{tool} report {path}: no element {names[0]}; truncated, or from another tool"
        )

    def number(*names: str) -> float:
        found = text(*names)
        try:
            value = float(found)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise errors.ToolError(f"{tool} report {path}: {names[0]} is {found!r}, not a number")
        return value

    def cycles(name: str) -> int | None:
        full = f"PerformanceEstimates/SummaryOfOverallLatency/{name}"
        return None if text(full) in _UNRESOLVED else int(number(full))

    def usage(*names: str) -> Usage:
        return Usage(
            number(*(f"AreaEstimates/Resources/{name}" for name in names)),
            number(*(f"AreaEstimates/AvailableResources/{name}" for name in names)),
        )

    values = [
        cycles(n) for n in ("Best-caseLatency", "Worst-caseLatency", "Interval-min", "Interval-max")
    ]
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
        clock_target_ns=number("UserAssignments/TargetClockPeriod"),
        clock_estimated_ns=number(
            "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"
        ),
        lut=usage("LUT"),
        ff=usage("FF"),
        dsp=usage("DSP", "DSP48E"),  # Vivado HLS names the block
        bram18k=usage("BRAM_18K"),
    )


def _parse_utilization(path: Path) -> VivadoReport:
    """Reads the tables of `report_utilization` whose first column is the site type."""
    report = path.read_text(encoding="utf-8", errors="replace")
    rows: dict[str, Usage] = {}
    columns: list[str] = []
    for line in report.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "Used" in cells:
            columns = cells
        elif columns[:1] == ["Site Type"] and len(cells) == len(columns):
            row = dict(zip(columns, cells, strict=True))
            used, available = _decimal(row["Used"]), _decimal(row.get("Available", ""))
            if used is not None:
                rows.setdefault(row["Site Type"].rstrip("*"), Usage(used, available))

    def usage(*names: str) -> Usage:
        for name in names:
            if name in rows:
                return rows[name]
        raise errors.ToolError(
            f"Vivado report {path}: no row {' or '.join(map(repr, names))}; truncated, "
            "or not a report of report_utilization"
        )

    version = re.search(r"^\| Tool Version\s*:\s*Vivado v\.(\S+)", report, re.M)
    device = re.search(r"^\| Device\s*:\s*(\S+)", report, re.M)
    return VivadoReport(
        tool="Vivado",
        version=version[1] if version else None,
        part=device[1] if device else None,
        lut=usage("CLB LUTs", "Slice LUTs"),
        ff=usage("CLB Registers", "Slice Registers"),
        dsp=usage("DSPs"),
        bram36=usage("Block RAM Tile"),
    )


def _decimal(cell: str) -> float | None:
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None
