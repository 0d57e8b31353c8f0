"""Reports of Quartus (fitter and timing summaries) and of the oneAPI compiler around it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .text import Usage, decimal, fault, read

__all__ = ["FitReport", "OneApiReport", "StaReport", "parse_fit", "parse_oneapi", "parse_sta"]

_TOOL = "Quartus"
_ONEAPI = "oneAPI"
_RESOURCES = ("alut", "reg", "ram", "dsp", "mlab")


@dataclass(frozen=True)
class FitReport:
    """<project>.fit.summary: what the fitter has placed. `ram` counts blocks (M10K or M20K)."""

    version: str | None
    device: str
    alm: Usage
    registers: Usage
    dsp: Usage
    ram: Usage


@dataclass(frozen=True)
class StaReport:
    """<project>.sta.summary: the worst slacks over all corners and clocks, in ns."""

    setup_slack_ns: float
    hold_slack_ns: float
    setup_corner: str

    @property
    def met(self) -> bool:
        """Whether no setup and no hold path is late."""
        return self.setup_slack_ns >= 0 and self.hold_slack_ns >= 0


@dataclass(frozen=True)
class OneApiReport:
    """The reports of one <name>.<target>.prj folder.

    `used` and `available` are the compiler's estimate, by ALUT, REG, RAM, DSP and MLAB. `fitted`
    and `fmax_mhz` are Quartus's, None where it has not run (only the target `fpga` runs it).
    """

    used: dict[str, float]
    available: dict[str, float]
    fitted: dict[str, float] | None
    fmax_mhz: float | None


def parse_fit(path: Path) -> FitReport:
    """Raises ToolError if a line is missing or the fitter did not succeed."""
    lines: dict[str, str] = dict(
        re.findall(r"^([^:\n]+?)\s*:\s*(.*?)\s*$", read(_TOOL, path), re.M)
    )

    def text(name: str) -> str:
        if name not in lines:
            raise fault(_TOOL, path, f"no line {name!r}; truncated, or not a fitter summary")
        return lines[name]

    def usage(name: str) -> Usage:
        """`1,234 / 427,200 ( 3 % )`, or the number alone."""
        numbers = [decimal(part) for part in text(name).partition("(")[0].split("/")]
        used = numbers[0]
        if used is None:
            raise fault(_TOOL, path, f"{name} is {text(name)!r}, not a number")
        return Usage(used, numbers[1] if len(numbers) > 1 else None)

    status = text("Fitter Status")
    if not status.startswith("Successful"):
        raise fault(_TOOL, path, f"the fitter ended with {status!r}")
    version = re.match(r"[0-9.]+", lines.get("Quartus Prime Version", ""))
    return FitReport(
        version=version[0] if version else None,
        device=text("Device"),
        alm=usage("Logic utilization (in ALMs)"),
        registers=usage("Total registers"),
        dsp=usage("Total DSP Blocks"),
        ram=usage("Total RAM Blocks"),
    )


def parse_sta(path: Path) -> StaReport:
    """Raises ToolError if there is no setup or hold analysis, or one is cut short."""
    text = read(_TOOL, path)
    kinds = re.findall(r"^Type\s*:\s*(.*?)\s*$", text, re.M)
    found = re.findall(r"^Type\s*:\s*(.*?)\s*\nSlack\s*:\s*(\S+)\s*\nTNS\s*:\s*\S+\s*$", text, re.M)
    if not kinds or len(found) != len(kinds):
        raise fault(_TOOL, path, "an analysis without slack and TNS; truncated, or no such report")

    def worst(kind: str) -> tuple[float, str]:
        slacks = []
        for corner, cell in found:
            if f" {kind} '" not in f" {corner}":
                continue
            slack = decimal(cell)
            if slack is None:
                raise fault(_TOOL, path, f"the slack of {corner} is {cell!r}, not a number of ns")
            slacks.append((slack, corner))
        if not slacks:
            raise fault(_TOOL, path, f"no {kind} analysis: no clock is constrained, or truncated")
        return min(slacks)

    setup, corner = worst("Setup")
    return StaReport(setup, worst("Hold")[0], corner)


def parse_oneapi(project: Path) -> OneApiReport:
    """Raises ToolError if a file is missing or damaged, or Quartus's result is.

    Source: the files and fields as in hls4ml/report/oneapi_report.py, _parse_single_report.
    """
    folder = project / "reports" / "resources" / "json"
    rows = {row.get("name"): row for row in _ndjson(folder / "summary.ndjson")}

    def table(name: str) -> dict[str, float]:
        path = folder / "summary.ndjson"
        data = rows.get(name, {}).get("data")
        if not isinstance(data, list) or len(data) < len(_RESOURCES):
            raise fault(_ONEAPI, path, f"no row {name!r} with {len(_RESOURCES)} numbers; truncated")
        return {
            key.upper(): _number(path, f"{key} of {name}", cell)
            for key, cell in zip(_RESOURCES, data, strict=False)
        }

    used, available = table("Total"), table("Available")
    path = folder / "quartus.ndjson"
    fields: dict[str, Any] = {}
    for row in _ndjson(path):
        fields |= row
    try:
        resources = fields["quartusFitResourceUsageSummary"]["nodes"][0]
        clock = fields["quartusFitClockSummary"]["nodes"][0]
        fitted = {key: resources[key] for key in ("alm", *_RESOURCES) if key in resources}
        fmax = clock.get("clock fmax", clock.get("clock", clock.get("kernel clock fmax")))
    except (LookupError, TypeError, AttributeError) as error:
        raise fault(_ONEAPI, path, f"no resources and clock of Quartus ({error!r})") from None
    if not fitted or fmax in (None, "TBD") or "TBD" in fitted.values():
        return OneApiReport(used, available, None, None)
    return OneApiReport(
        used,
        available,
        {key.upper(): _number(path, key, cell) for key, cell in fitted.items()},
        _number(path, "clock fmax", fmax),
    )


def _ndjson(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one JSON document, or one in every line."""
    text = read(_ONEAPI, path)
    try:
        try:
            found = [json.loads(text)]
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise fault(_ONEAPI, path, f"truncated or damaged ({error})") from None
    rows = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    if not all(isinstance(row, dict) for row in rows):
        raise fault(_ONEAPI, path, "holds something else than objects")
    return list(rows)


def _number(path: Path, name: str, cell: object) -> float:
    value = decimal(str(cell))
    if value is None or value < 0:
        raise fault(_ONEAPI, path, f"{name} is {cell!r}, not a number")
    return value
