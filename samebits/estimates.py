"""Latency and resources of a design by every tool there is, as the report shows them."""

from __future__ import annotations

import contextlib
import math

from pydantic import ValidationError

from samebits import __version__, errors, storage
from samebits.compile.emitters.alkaid import alkaid_version
from samebits.design import Design
from samebits.firmware.estimate import (
    DELAY_UNIT_NS,
    LAYERS_NOTE,
    Estimate,
    estimate,
    fmax_mhz,
)
from samebits.firmware.hls_estimate import describe, estimate_hls
from samebits.firmware.parts import part_of
from samebits.firmware.place_and_route import DEVICE, read_place_and_route
from samebits.firmware.results import (
    Facts,
    LatencyEstimate,
    LayerLatency,
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    Text,
    latency_estimate,
    layer_latency,
    no_latency,
)
from samebits.firmware.rtl import Rtl
from samebits.firmware.synthesis import read_synthesis
from samebits.firmware.vendor_reports import VendorResults
from samebits.report.facts import LatencyFacts, ResourceFacts, VerificationFacts
from samebits.rtl import present
from samebits.vendor import results_of_hls, results_of_rtl

__all__ = ["check_budget", "estimate_facts"]

_ESTIMATE = "estimate.json"
_RTL, _ALKAID = "rtl/ in Verilator", "unrolled logic, alkaid"
_HLS = "hls/, Vitis HLS"
_YOSYS, _ECP5 = "rtl/, yosys", f"rtl/ on Lattice {DEVICE}, not the target's part"


def check_budget(budget_ns: float | None) -> None:
    """Raises UsageError for a latency budget that is not a positive number."""
    if budget_ns is not None and not (math.isfinite(budget_ns) and budget_ns > 0):
        raise errors.UsageError(f"--budget-ns must be above 0 ns, got {budget_ns:g}")


def estimate_facts(
    design: Design,
    budget_ns: float | None = None,
    verification: VerificationFacts | NotRun | None = None,
) -> tuple[LatencyFacts, ResourceFacts]:
    """Cycles measured in the RTL, alkaid's estimate, and other tools' results where they exist.

    The first that ran is the headline. What is of `rtl/` comes first unless the HLS project shares
    multipliers or streams: then it is what was asked for, and unrolled logic is something else.

    Args:
        budget_ns: the latency that the trigger allows.
        verification: of this very design and its RTL; the cycles were measured there.

    Raises:
        UsageError: a budget that is not above 0.
        ToolError: a vendor report that is truncated or cannot be read.
        BuildError: a damaged result of yosys or nextpnr.
    """
    check_budget(budget_ns)
    found = _alkaid_estimate(design)
    rtl = _rtl(design)
    vendor = VendorResults((), ())
    if not isinstance(rtl, NotRun):
        vendor = results_of_rtl(design, rtl)
    timed = next((one.fmax_mhz for one in vendor.latencies if one.fmax_mhz is not None), None)
    measured = _measured(design, rtl, verification, found, timed)
    latency, used = _alkaid(design, found, not measured.layers, rtl)
    routed_latency, routed = _placed_and_routed(rtl)
    project = _hls(design)
    # the HLS project's top function is the network without an input adapter
    hls = estimate_hls(describe(design.network.graph), design.target)
    parts = [
        ((measured, *vendor.latencies, latency), (*vendor.resources, _synthesised(rtl), used)),
        ((*project.latencies, hls.latency), (*project.resources, hls.resources)),
    ]
    if _scope(design):
        parts.reverse()
    latencies = [*parts[0][0], *parts[1][0], routed_latency]
    resources = [*parts[0][1], *parts[1][1], routed]
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


def _rtl(design: Design) -> Rtl | NotRun:
    try:
        found = present(design)
    except errors.BuildError as error:  # damaged, or another design's
        return NotRun(reason=str(error))
    return found or NotRun(reason="there is no rtl/: run `samebits rtl`")


def _synthesised(rtl: Rtl | NotRun) -> ResourceEstimate:
    found = rtl if isinstance(rtl, NotRun) else read_synthesis(rtl)
    if isinstance(found, NotRun):
        return ResourceEstimate(source=_YOSYS, used={"LUT": found})
    return found.resources


def _placed_and_routed(rtl: Rtl | NotRun) -> tuple[LatencyEstimate, ResourceEstimate]:
    found = rtl if isinstance(rtl, NotRun) else read_place_and_route(rtl)
    if isinstance(found, NotRun):
        return no_latency(_ECP5, found), ResourceEstimate(
            source=_ECP5, used={"LUT4": found}, device=DEVICE
        )
    return found.latency, found.resources


def _measured(
    design: Design,
    rtl: Rtl | NotRun,
    verification: VerificationFacts | NotRun | None,
    found: Estimate | NotRun,
    timed: Measured | None,
) -> LatencyEstimate:
    """What `verify --against rtl` measured; the shares of the layers are alkaid's.

    `timed` is Fmax by a tool that placed and routed the RTL for its part, else it is alkaid's.
    """
    absent = NotRun(reason="the RTL was not run: `samebits verify --against rtl` measures it")
    if verification is None or isinstance(verification, NotRun):
        return no_latency(_RTL, absent)
    row = next((e for e in verification.engines if e.engine == "rtl"), None)
    if row is None or row.latency_cycles is None or isinstance(rtl, NotRun):
        if row is not None:
            what = row.detail if row.status == "not run" else "its bits differ from the reference"
            absent = NotRun(reason=f"the RTL: {what}")
        return no_latency(_RTL, absent)
    cycles = int(row.latency_cycles.value)
    tool = f"alkaid {rtl.tools['alkaid']}"
    shares: tuple[LayerLatency, ...] = ()
    if isinstance(found, Estimate):
        scale = cycles / found.latency_cycles.value
        shares = tuple(
            layer_latency(
                layer.layer, scale * layer.cycles.value, rtl.clock_mhz, "estimated", found.tool
            )
            for layer in found.layers
        )
    clock = f"the cycles are measured, the clock ({rtl.clock_mhz:g} MHz) is the target"
    limit = fmax_mhz(rtl.worst_stage, tool)
    if isinstance(limit, Quantity):
        clock += (
            f"; Fmax by alkaid's delay model: {limit.value:.4g} MHz, worst stage "
            f"{rtl.worst_stage * DELAY_UNIT_NS:.4g} ns of {1000 / rtl.clock_mhz:.4g} ns before "
            "retiming"
        )
    return latency_estimate(
        _RTL,
        cycles,
        rtl.clock_mhz,
        1,
        "measured",
        row.latency_cycles.tool,
        (*_scope(design), f"{row.detail}; {row.events:,} events", clock),
        fmax_mhz=limit if timed is None else timed,
        layers=shares,
        layers_note=LAYERS_NOTE if shares else "",
    )


class _Kept(Facts):
    """An estimate in a build directory. `made_from`: what gives the same estimate when equal."""

    made_from: tuple[Text, ...]
    estimate: Estimate


def _alkaid_estimate(design: Design) -> Estimate | NotRun:
    """The one that the build directory keeps, if nothing has changed that it follows from."""
    try:
        made_from = (design.fingerprint, f"samebits {__version__}", f"alkaid {alkaid_version()}")
        path = design.folder / _ESTIMATE if design.folder else None
        if path is not None:
            with contextlib.suppress(OSError, ValidationError):  # none, or damaged
                kept = _Kept.model_validate_json(path.read_bytes())
                if kept.made_from == made_from:
                    return kept.estimate
        found = estimate(design.graph, design.target.part, design.target.clock_mhz)
    except (errors.MissingToolError, errors.UnsupportedError) as error:
        return NotRun(reason=str(error))
    if path is not None:
        text = _Kept(made_from=made_from, estimate=found).model_dump_json(indent=1) + "\n"
        with contextlib.suppress(errors.BuildError), storage.replace_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return found


def _alkaid(
    design: Design, found: Estimate | NotRun, with_layers: bool, rtl: Rtl | NotRun
) -> tuple[LatencyEstimate, ResourceEstimate]:
    if isinstance(found, NotRun):
        return no_latency(_ALKAID, found), ResourceEstimate(
            source=_ALKAID, used=dict.fromkeys(("LUT", "FF"), found)
        )
    used: dict[str, Measured] = dict(found.used)
    notes = []
    cycles = int(found.latency_cycles.value)
    if not isinstance(rtl, NotRun) and rtl.latency_cycles != cycles:
        pipeline = f"of a pipeline of {cycles} cycles; rtl/ has {rtl.latency_cycles}"
        used["FF"] = found.used["FF"].model_copy(update={"tool": f"{found.tool}, {pipeline}"})
        notes.append(f"the FF are those {pipeline}, and other FF")
    return _latency_of(design, found, with_layers), ResourceEstimate(
        source=_ALKAID, used=used, notes=tuple(notes)
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


def _latency_of(design: Design, found: Estimate, with_layers: bool) -> LatencyEstimate:
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
        fmax_mhz=found.fmax_mhz,
        layers=found.layers if with_layers else (),
        layers_note=LAYERS_NOTE if with_layers else "",
    )


def _hls(design: Design) -> VendorResults:
    """What vendors' tools have reported of `hls/`."""
    found = results_of_hls(design)
    if found is None:
        absent = NotRun(reason="the design has no HLS project on disk")
        row = ResourceEstimate(source=_HLS, used={"LUT": absent})
        found = VendorResults((no_latency(_HLS, absent),), (row,))
    return found
