"""Latency and resources of an HLS project and of RTL, from the reports in their folders."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from samebits import errors

from ..hls_project import HlsProject, read_project
from ..results import (
    Kind,
    LatencyEstimate,
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    latency_estimate,
    no_latency,
    timed,
)
from ..rtl import Rtl
from ..vendor_tools import VIVADO, VendorProgram, find, hls_of
from .hls import CosimReport, HlsReport, parse_cosim, parse_csynth
from .quartus import FitReport, StaReport, parse_fit, parse_sta
from .text import Usage, read
from .vivado import (
    PowerReport,
    TimingReport,
    UtilizationReport,
    check_memories,
    parse_power,
    parse_timing,
    parse_utilization,
)

__all__ = ["HLS_REPORTS", "VendorResults", "hls_results", "rtl_results"]

# Vivado's stages, the last one first: what rtl/'s script and samebits' own call their files.
_STAGES = (("post_route", "after routing"), ("post_synth", "after synthesis"))
HLS_REPORTS = "vivado_{stage}_{what}.rpt"
_LOGS = ("vivado.log", "vitis_hls.log", "vivado_hls.log", "build.log")


@dataclass(frozen=True)
class VendorResults:
    """One entry for every tool; NotRun inside where it was not run."""

    latencies: tuple[LatencyEstimate, ...]
    resources: tuple[ResourceEstimate, ...]


def hls_results(
    hls_folder: str | os.PathLike[str], env: Mapping[str, str] = os.environ
) -> VendorResults:
    """What Vitis HLS (or Vivado HLS) and Vivado have reported in an HLS project's folder.

    Raises:
        BuildError: the folder is no HLS project.
        ToolError: a report that is truncated or damaged, or a netlist whose memories are empty.
    """
    folder = Path(hls_folder)
    project = read_project(folder)
    name, tool = project.project_name, f"{project.backend} HLS"
    _check_logs(folder)
    solution = folder / f"{name}_prj" / "solution1"
    reports = (solution / "syn" / "report" / file for file in (f"{name}_csynth.xml", "csynth.xml"))
    csynth = next((parse_csynth(path, tool) for path in reports if path.is_file()), None)
    latencies: list[LatencyEstimate] = []
    resources: list[ResourceEstimate] = []
    if csynth is None:
        absent = _absent(hls_of(project.backend), folder, env)
        latencies.append(no_latency(f"hls/, {tool}", absent))
        resources.append(_no_resources(f"hls/, {tool}", absent))
    else:
        latencies.append(_csynth_latency(csynth))
        resources.append(_csynth_resources(csynth, project))
    cosim = solution / "sim" / "report" / f"{name}_cosim.rpt"
    if cosim.is_file():
        period = csynth.clock_target_ns if csynth else project.clock_period_ns
        version = csynth.version if csynth else None
        latencies.append(_cosim_latency(parse_cosim(cosim, tool), version, period))
    vivado = _Vivado.found(folder, HLS_REPORTS)
    if vivado is None and (folder / "vivado_synth.rpt").is_file():
        vivado = _Vivado("after synthesis", parse_utilization(folder / "vivado_synth.rpt"))
    if vivado is None:
        absent = _absent(VIVADO, folder, env)
        resources.append(_no_resources("hls/, Vivado", absent))
    else:
        resources.append(vivado.resources("hls/, Vivado", project.part))
        if vivado.timing is not None:
            counted = [one for one in latencies if isinstance(one.cycles, Quantity)]
            latencies.append(vivado.latency("hls/, Vivado", (counted or latencies)[-1]))
    return VendorResults(tuple(latencies), tuple(resources))


def rtl_results(rtl: Rtl, folder: Path | None = None) -> VendorResults:
    """What Vivado and Quartus have reported of RTL, run by the scripts in its folder or a copy.

    Empty where neither was run.

    Raises:
        ToolError: a report that is truncated or damaged, or a netlist whose memories are empty.
    """
    folder = rtl.folder if folder is None else folder
    _check_logs(folder)
    output = folder / f"output_{rtl.top}"
    cycles = latency_estimate(
        "rtl/",
        rtl.latency_cycles,
        rtl.clock_mhz,
        1,
        "synthesised",
        f"alkaid {rtl.tools.get('alkaid', '')}".strip(),
    )
    latencies: list[LatencyEstimate] = []
    resources: list[ResourceEstimate] = []
    vivado = _Vivado.found(output / "reports", f"{rtl.top}_{{stage}}_{{what}}.rpt")
    if vivado is not None:
        resources.append(vivado.resources("rtl/, Vivado", rtl.part))
        if vivado.timing is not None:
            latencies.append(vivado.latency("rtl/, Vivado", cycles))
    if (fit := output / f"{rtl.top}.fit.summary").is_file():
        report = parse_fit(fit)
        resources.append(_fit_resources(report))
        if (sta := output / f"{rtl.top}.sta.summary").is_file():
            latencies.append(_sta_latency(parse_sta(sta), report, cycles, rtl.clock_mhz))
    return VendorResults(tuple(latencies), tuple(resources))


@dataclass(frozen=True)
class _Vivado:
    """Vivado's reports of one stage."""

    stage: str
    utilization: UtilizationReport
    timing: TimingReport | None = None
    power: PowerReport | None = None

    @classmethod
    def found(cls, folder: Path, pattern: str) -> _Vivado | None:
        """Of the last stage that has a report; all three must be there then."""
        for stage, words in _STAGES:
            paths = {
                what: folder / pattern.format(stage=stage, what=what)
                for what in ("util", "timing", "power")
            }
            if any(path.is_file() for path in paths.values()):
                return cls(
                    words,
                    parse_utilization(paths["util"]),
                    parse_timing(paths["timing"]),
                    parse_power(paths["power"]) if paths["power"].is_file() else None,
                )
        return None

    @property
    def tool(self) -> str:
        return _tool("Vivado", self.utilization.version)

    def resources(self, source: str, part: str | None) -> ResourceEstimate:
        report = self.utilization
        state = f", design state {report.state}" if report.state else ""
        notes = [f"{self.stage}{state}"]
        if self.power is not None:
            notes.append(
                f"power {self.power.total_w:g} W (static {self.power.static_w:g} W), estimated by "
                f"{self.tool} with confidence {self.power.confidence}"
            )
        found = {
            "LUT": (report.lut, 1.0),
            "FF": (report.ff, 1.0),
            "DSP": (report.dsp, 1.0),
            "BRAM36": (report.bram36, 1.0),
        }
        return _resources(source, found, "synthesised", self.tool, report.part, part, notes)

    def latency(self, source: str, cycles: LatencyEstimate) -> LatencyEstimate:
        """The cycles of another estimate, with the clock that Vivado's timing allows."""
        assert self.timing is not None
        timing, kind = self.timing, "synthesised" if self.stage == "after routing" else "estimated"
        words = "is met" if timing.met else "is VIOLATED"
        late = f", {timing.failing_endpoints:,} of {timing.endpoints:,} endpoints are late"
        notes = [
            f"timing {self.stage} {words}: worst setup slack {timing.setup_slack_ns:g} ns, hold "
            f"{timing.hold_slack_ns:g} ns, at {timing.period_ns:g} ns ({timing.clock})"
            + ("" if timing.met else late)
        ]
        fmax = Quantity(
            value=timing.fmax_mhz,
            unit="MHz",
            kind="synthesised" if kind == "synthesised" else "estimated",
            tool=_tool("Vivado", timing.version),
        )
        return _at_clock(f"{source} {self.stage}", cycles, fmax, timing.met, notes)


def _at_clock(
    source: str, cycles: LatencyEstimate, fmax: Measured, met: bool, notes: list[str]
) -> LatencyEstimate:
    """The same cycles and nanoseconds, with what a timing analysis says of the clock."""
    if isinstance(cycles.cycles, Quantity):
        notes.append(f"cycles: {cycles.cycles.kind}, {cycles.cycles.tool}")
    # a violated hold time leaves Fmax as it is, and the clock is not met
    return timed(cycles, fmax if met else None).model_copy(
        update={
            "source": source,
            "fmax_mhz": fmax,
            "layers": (),
            "layers_note": "",
            "notes": tuple(notes),
        }
    )


def _csynth_latency(report: HlsReport) -> LatencyEstimate:
    tool, source = _tool(report.tool, report.version), f"hls/, {report.tool}"
    cycles, interval = report.latency_cycles_max, report.interval_cycles_max
    fmax = _quantity(1000 / report.clock_estimated_ns, "MHz", "estimated", tool)
    if cycles is None or interval is None:
        absent = NotRun(reason=report.unresolved or "latency left open")
        return no_latency(source, absent).model_copy(update={"fmax_mhz": fmax})
    notes = []
    if report.latency_cycles_min != cycles:
        notes.append(f"{report.latency_cycles_min} to {cycles} cycles; the longest counts")
    if report.clock_estimated_ns > report.clock_target_ns:
        notes.append(
            f"the clock is VIOLATED by the tool's estimate: {report.clock_estimated_ns:g} ns of "
            f"{report.clock_target_ns:g} ns"
        )
    if report.violation:
        notes.append(f"{report.tool} reports: {report.violation}")
    return latency_estimate(
        source,
        cycles,
        1000 / report.clock_target_ns,
        interval,
        "estimated",
        tool,
        tuple(notes),
        fmax_mhz=fmax,
    )


def _csynth_resources(report: HlsReport, project: HlsProject) -> ResourceEstimate:
    found = {
        "LUT": (report.lut, 1.0),
        "FF": (report.ff, 1.0),
        "DSP": (report.dsp, 1.0),
        "BRAM36": (report.bram18k, 0.5),
    }
    tool = _tool(report.tool, report.version)
    return _resources(
        f"hls/, {report.tool}", found, "estimated", tool, report.part, project.part, []
    )


def _cosim_latency(
    report: CosimReport, version: str | None, period_ns: float | None
) -> LatencyEstimate:
    source, tool = "hls/, C/RTL co-simulation", _tool(report.tool, version)
    if not report.passed:
        return no_latency(
            source,
            NotRun(
                reason=f"the co-simulation of the {report.rtl} FAILED: the RTL does not give what "
                "the C simulation gives, or did not end"
            ),
        )
    cycles, interval = report.latency_cycles_max, report.interval_cycles_max
    if cycles is None or period_ns is None:
        what = "printed no latency (NA)" if cycles is None else "has no clock to count with"
        return no_latency(source, NotRun(reason=f"the co-simulation passed, but {what}"))
    notes = [f"{report.rtl}, passed"]
    if report.latency_cycles_min != cycles:
        notes.append(f"{report.latency_cycles_min} to {cycles} cycles; the longest counts")
    made = latency_estimate(
        source, cycles, 1000 / period_ns, interval or 0, "measured", tool, tuple(notes)
    )
    if interval is None:
        absent = NotRun(reason="needs two events in the test bench; the report says NA")
        made = made.model_copy(update={"initiation_interval": absent})
    return made


def _fit_resources(report: FitReport) -> ResourceEstimate:
    found = {
        "ALM": (report.alm, 1.0),
        "FF": (report.registers, 1.0),
        "DSP": (report.dsp, 1.0),
        "RAM": (report.ram, 1.0),
    }
    tool = _tool("Quartus", report.version)
    return _resources("rtl/, Quartus", found, "synthesised", tool, report.device, None, ["fitted"])


def _sta_latency(
    report: StaReport, fit: FitReport, cycles: LatencyEstimate, clock_mhz: float
) -> LatencyEstimate:
    period_ns = 1000 / clock_mhz
    words = "is met" if report.met else "is VIOLATED"
    notes = [
        f"timing {words}: worst setup slack {report.setup_slack_ns:g} ns ({report.setup_corner}), "
        f"hold {report.hold_slack_ns:g} ns, at {period_ns:g} ns"
    ]
    tool = _tool("Quartus", fit.version)
    fmax = _quantity(1000 / (period_ns - report.setup_slack_ns), "MHz", "synthesised", tool)
    return _at_clock("rtl/, Quartus after fitting", cycles, fmax, report.met, notes)


def _resources(
    source: str,
    found: Mapping[str, tuple[Usage, float]],
    kind: Kind,
    tool: str,
    device: str | None,
    part: str | None,
    notes: list[str],
) -> ResourceEstimate:
    """Totals too where the report is of another device than the design's part."""
    other = device is not None and (part is None or not _same_device(device, part))
    return ResourceEstimate(
        source=source,
        used={
            name: _quantity(usage.used * factor, name, kind, tool)
            for name, (usage, factor) in found.items()
        },
        device=device if other and device else "",
        totals={
            name: _quantity(usage.available * factor, name, "assumed", f"{tool}'s report")
            for name, (usage, factor) in found.items()
            if other and usage.available is not None
        },
        notes=tuple(notes),
    )


def _same_device(one: str, other: str) -> bool:
    """Vivado leaves out the "xc" of some families, and speed and temperature grade."""
    a, b = (re.sub(r"[^a-z0-9]", "", name.lower()).removeprefix("xc") for name in (one, other))
    return a.startswith(b) or b.startswith(a)


def _quantity(value: float, unit: str, kind: Kind, tool: str) -> Quantity:
    whole = int(value) if value == int(value) else value  # counts are no 12.0
    return Quantity(value=whole, unit=unit, kind=kind, tool=tool)


def _tool(name: str, version: str | None) -> str:
    return " ".join(filter(None, (name, version)))


def _no_resources(source: str, absent: NotRun) -> ResourceEstimate:
    return ResourceEstimate(source=source, used={"LUT": absent})


def _absent(program: VendorProgram, folder: Path, env: Mapping[str, str]) -> NotRun:
    try:
        found = find(program, env)
    except errors.MissingToolError:
        return NotRun(reason=f"{program.name} not found")
    return NotRun(reason=f"{found.command} is installed but has left no report in {folder}")


def _check_logs(folder: Path) -> None:
    for name in _LOGS:
        if (folder / name).is_file():
            check_memories(folder / name, read("Vivado", folder / name))
