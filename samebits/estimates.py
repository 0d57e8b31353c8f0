"""Latency and resources of a design by every tool there is, as the report shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samebits import errors, storage
from samebits.design import Design
from samebits.firmware.estimate import Estimate, estimate
from samebits.firmware.parts import part_of
from samebits.firmware.vitis_reports import HlsReport, Usage, VivadoReport, read_reports
from samebits.report.facts import (
    LatencyEstimate,
    LatencyFacts,
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    ResourceFacts,
    latency_estimate,
)

__all__ = ["estimate_facts"]

_ALKAID, _HLS, _VIVADO = "unrolled logic, alkaid", "hls/, Vitis HLS", "hls/, Vivado"


def estimate_facts(
    design: Design, budget_ns: float | None = None
) -> tuple[LatencyFacts, ResourceFacts]:
    """alkaid's estimate of the graph, and the vendor's reports of `hls/` where they exist.

    Args:
        budget_ns: the latency that the trigger allows.

    Raises:
        ToolError: a vendor report that is truncated or cannot be read.
    """
    latencies: list[LatencyEstimate] = []
    resources: list[ResourceEstimate] = []
    for latency, used in (_alkaid(design), *_vendor(design)):
        if latency is not None:
            latencies.append(latency)
        resources.append(used)
    part = part_of(design.target.part)
    totals = {
        name: Quantity(value=total, unit=name, kind="assumed", tool=part.source)
        for name, total in part.totals.items()
    }
    budget: Measured = NotRun(reason="no budget given: --budget-ns")
    if budget_ns is not None:
        budget = Quantity(value=budget_ns, unit="ns", kind="assumed", tool="--budget-ns")
    return (
        LatencyFacts(estimates=tuple(latencies), budget_ns=budget),
        ResourceFacts(part=part.name, totals=totals, estimates=tuple(resources)),
    )


def _alkaid(design: Design) -> tuple[LatencyEstimate, ResourceEstimate]:
    try:
        found = estimate(design.graph, design.target.part, design.target.clock_mhz, per_layer=False)
    except (errors.MissingToolError, errors.UnsupportedError) as error:
        absent = NotRun(reason=str(error))
        return _no_latency(_ALKAID, absent), ResourceEstimate(
            source=_ALKAID, used=dict.fromkeys(("LUT", "FF"), absent)
        )
    return _latency_of(design, found), ResourceEstimate(
        source=_ALKAID,
        used=dict(found.used),
    )


def _scope(design: Design) -> tuple[str, ...]:
    """What the estimate of unrolled logic is not, where the HLS project is something else."""
    target = design.target
    folded = target.strategy == "Resource" or target.reuse_factor > 1
    if not folded and target.io_type == "io_parallel":
        return ()
    return (
        f"this is logic unrolled for one event per clock; hls/ ({target.strategy}, reuse factor "
        f"{target.reuse_factor}, {target.io_type}) is slower and smaller",
    )


def _latency_of(design: Design, found: Estimate) -> LatencyEstimate:
    return latency_estimate(
        _ALKAID,
        int(found.latency_cycles.value),
        found.clock_mhz,
        int(found.initiation_interval.value),
        "estimated",
        found.tool,
        (
            *_scope(design),
            *found.notes,
            f"worst stage {found.worst_stage.value:g} of {found.stage_budget.value:g} "
            f"{found.worst_stage.unit}; {found.calibration}",
        ),
    )


def _no_latency(source: str, absent: NotRun) -> LatencyEstimate:
    return LatencyEstimate(
        source=source,
        cycles=absent,
        initiation_interval=absent,
        latency_ns=absent,
        bunch_crossings=absent,
    )


def _vendor(design: Design) -> list[tuple[LatencyEstimate | None, ResourceEstimate]]:
    folder = design.folder / storage.HLS if design.folder else Path()
    if design.folder is None or not folder.is_dir():
        absent = NotRun(reason="the design has no HLS project on disk")
        return [(_no_latency(_HLS, absent), _no_resources(_HLS, absent))]
    reports = read_reports(folder)
    rows: list[tuple[LatencyEstimate | None, ResourceEstimate]] = []
    if isinstance(reports.hls, HlsReport):
        rows.append(_hls(reports.hls))
    else:
        absent = NotRun(reason=reports.hls.reason)
        rows.append((_no_latency(_HLS, absent), _no_resources(_HLS, absent)))
    if isinstance(reports.vivado, VivadoReport):
        rows.append((None, _vivado(reports.vivado)))
    else:
        rows.append((None, _no_resources(_VIVADO, NotRun(reason=reports.vivado.reason))))
    return rows


def _no_resources(source: str, absent: NotRun) -> ResourceEstimate:
    return ResourceEstimate(source=source, used={"LUT": absent})


def _hls(report: HlsReport) -> tuple[LatencyEstimate, ResourceEstimate]:
    tool = " ".join(filter(None, (report.tool, report.version)))
    cycles, interval = report.latency_cycles_max, report.interval_cycles_max
    if cycles is None or interval is None:
        latency = _no_latency(_HLS, NotRun(reason=report.unresolved or "latency left open"))
    else:
        latency = latency_estimate(
            _HLS, cycles, 1000 / report.clock_target_ns, interval, "estimated", tool
        )
    used: dict[str, Any] = {
        "LUT": _quantity(report.lut, 1, "LUT", "estimated", tool),
        "FF": _quantity(report.ff, 1, "FF", "estimated", tool),
        "DSP": _quantity(report.dsp, 1, "DSP", "estimated", tool),
        "BRAM36": _quantity(report.bram18k, 0.5, "BRAM36", "estimated", tool),
    }
    return latency, ResourceEstimate(source=_HLS, used=used)


def _vivado(report: VivadoReport) -> ResourceEstimate:
    tool = " ".join(filter(None, (report.tool, report.version)))
    used: dict[str, Any] = {
        "LUT": _quantity(report.lut, 1, "LUT", "synthesised", tool),
        "FF": _quantity(report.ff, 1, "FF", "synthesised", tool),
        "DSP": _quantity(report.dsp, 1, "DSP", "synthesised", tool),
        "BRAM36": _quantity(report.bram36, 1, "BRAM36", "synthesised", tool),
    }
    return ResourceEstimate(source=_VIVADO, used=used)


def _quantity(usage: Usage, factor: float, unit: str, kind: Any, tool: str) -> Quantity:
    return Quantity(value=usage.used * factor, unit=unit, kind=kind, tool=tool)
