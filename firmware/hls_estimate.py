"""Latency and resources of an hls4ml project without Vitis: estimated from its layers.

`estimate_hls(describe(graph), target)` gives an `HlsEstimate` of `latency` (a `LatencyEstimate`)
and `resources` (a `ResourceEstimate`): what the C synthesis report of Vitis HLS would say. It needs
a fixed-point graph and a target only, neither hls4ml nor files, and takes about a millisecond, so
that reuse factors and clocks can be scanned with `dataclasses.replace(target, ...)`; `describe`
is done once per graph.

Every number carries the error that the model made on published reports held out from its fit. What
no published report covers is a `NotRun` with the reason. A pipeline of dense layers (io_parallel,
Latency) is estimated by `hls_model`, what hls4ml builds as a chain of processes (io_stream,
Resource, convolutions, recurrent layers) by `hls_stages`. docs/latency.md has the models, the
reports and the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from samebits import errors
from samebits.compile.target import Target

from .hls_layers import describe
from .hls_model import (
    CLASSES,
    FAST_MHZ,
    SLOW,
    HlsLayer,
    brams,
    closest_reuse,
    coefficients,
    cycles_latency,
    cycles_resource,
    cycles_shared,
    delay_ns,
    dsps,
    ff_terms,
    lut_terms,
    multipliers,
    read_model,
    resource_dsps,
    usable_ns,
)
from .hls_numbers import (
    NAMES,
    STAGE_NOTE,
    HlsEstimate,
    bare_stage_tool,
    bare_tool,
    quantity,
    shares,
    stage_tool,
    tool_of,
)
from .hls_stages import NARROW, StageCost, Where, chain, cost, read_stages, stage_coefficients
from .parts import family_of
from .results import (
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    latency_estimate,
    no_latency,
)

__all__ = ["SOURCE", "HlsEstimate", "describe", "estimate_hls"]

SOURCE = "hls/, estimated without Vitis"
LAYERS_NOTE = (
    "a layer's share of the cycles is in proportion to its delay in the model (Latency) or to its "
    "reuse factor (Resource); the error was measured for whole designs only"
)
CHAIN_NOTE = (
    "a layer's share of the cycles is in proportion to those of its own process; in a stream the "
    "processes run side by side"
)
_FAMILIES = ("UltraScale+", SLOW)


def estimate_hls(layers: Sequence[HlsLayer], target: Target, source: str = SOURCE) -> HlsEstimate:
    """What C synthesis would report of these layers on a target."""
    refusal = _refusal(layers, target)
    if refusal:
        absent = NotRun(reason=refusal)
        return HlsEstimate(
            no_latency(source, absent),
            ResourceEstimate(source=source, used=dict.fromkeys(NAMES, absent)),
            {layer.name: dict.fromkeys(("LUT", "DSP"), absent) for layer in layers},
        )
    group = _group(layers, target)
    if group:
        return _chain(layers, target, source, group)
    if target.strategy == "Resource" and any(map(_dense, layers)):
        return _resource(layers, target, source)
    scarce = [
        layer.name
        for layer in layers
        if layer.weights and layer.weights.multiplied > multipliers(layer, target.reuse_factor)
    ]
    return _latency(layers, target, source, scarce)


def _refusal(layers: Sequence[HlsLayer], target: Target) -> str:
    """Why there is no estimate at all; empty if there is one."""
    try:
        family = family_of(target.part)
    except errors.UnsupportedError as error:
        return str(error)
    unknown = list(dict.fromkeys(layer.what for layer in layers if layer.kind == "unknown"))
    if target.strategy == "distributed_arithmetic":
        return "distributed arithmetic: see the estimate of unrolled logic"
    if unknown:
        return f"no published reports were fitted for {', '.join(unknown[:5])}"
    group = _group(layers, target)
    if group == "recurrent, Latency":
        return "the published reports of recurrent layers are of the strategy Resource"
    if group:
        return ""
    if family not in _FAMILIES:
        return (
            f"the published reports of pipelines that were fitted are of {' and '.join(_FAMILIES)} "
            f"parts, {family} has none"
        )
    low, high = read_model()["ranges"][target.strategy]["clock_mhz"]
    if not 0.9 * low <= target.clock_mhz <= 1.1 * high:
        return (
            f"{target.clock_mhz:g} MHz: the fitted reports of the {target.strategy} strategy have "
            f"{low:g} to {high:g} MHz"
        )
    return ""


def _group(layers: Sequence[HlsLayer], target: Target) -> str:
    """By which reports a chain of processes is judged; empty for what hls4ml pipelines as a whole.

    Dense layers of the Resource strategy alone are judged by reports of their own, in `_resource`.
    As hls4ml 1.3.0 decides it: backends/vivado/passes/pipeline_style.py.
    """
    if any(layer.kind == "recurrent" for layer in layers):
        return "recurrent" if target.strategy == "Resource" else "recurrent, Latency"
    if target.io_type == "io_stream":
        return f"stream, {target.strategy}"
    if any(_dense(layer) and layer.outputs > 1 for layer in layers):
        return f"parallel convolutions, {target.strategy}"
    return ""


def _dense(layer: HlsLayer) -> bool:
    return layer.kind == "product" and not layer.elementwise


def _where(target: Target) -> Where:
    return Where(
        stream=target.io_type == "io_stream",
        usable_ns=usable_ns(target.clock_ns, target.backend),
        strategy=target.strategy,
        reuse=target.reuse_factor,
        vitis=target.backend == "Vitis",
    )


def _costs(layers: Sequence[HlsLayer], target: Target) -> tuple[Mapping[str, StageCost], StageCost]:
    """What the model of chains says of every layer, and of the design."""
    where, found = _where(target), stage_coefficients()
    costs = [cost(layer, where, found, coefficients()) for layer in layers]
    named = {layer.name: each for layer, each in zip(layers, costs, strict=True)}
    return named, chain(layers, costs, where, found)


def _chain(layers: Sequence[HlsLayer], target: Target, source: str, group: str) -> HlsEstimate:
    """A chain of processes: streams, convolutions, recurrent layers."""
    named, design = _costs(layers, target)
    notes = _chain_notes(layers, target, group)
    tools = {name: stage_tool(name, group) for name in ("cycles", "interval", *NAMES)}
    used: dict[str, Measured] = {
        "LUT": quantity(design.lut, "LUT", tools),
        "FF": quantity(design.ff, "FF", tools),
        "DSP": quantity(design.dsp, "DSP", tools),
        "BRAM36": Quantity(
            value=design.bram18 / 2, unit="BRAM36", kind="estimated", tool=tools["BRAM36"]
        ),
    }
    if group.startswith("parallel convolutions"):
        unclear = NotRun(
            reason="io_parallel convolutions: published reports have 0.6 to 195 times the LUTs "
            "that the model says, and 0.6 to 11 times the FF; io_stream has estimates"
        )
        used |= dict.fromkeys(("LUT", "FF"), unclear)
    by_layer: dict[str, Mapping[str, Measured]] = {
        name: {
            "LUT": used["LUT"]
            if isinstance(used["LUT"], NotRun)
            else quantity(c.lut, "LUT", tools),
            "DSP": quantity(c.dsp, "DSP", tools),
        }
        for name, c in named.items()
    }
    cycles = round(design.cycles)
    latency = latency_estimate(
        source,
        cycles,
        target.clock_mhz,
        round(design.interval),
        "estimated",
        tools["cycles"],
        notes,
        layers=shares(
            layers,
            [named[each.name].cycles for each in layers],
            cycles,
            target,
            bare_stage_tool(group),
        ),
        layers_note=CHAIN_NOTE,
    )
    interval = latency.initiation_interval.model_copy(update={"tool": tools["interval"]})
    latency = latency.model_copy(update={"initiation_interval": interval})
    stage = STAGE_NOTE.format(**read_model()["vivado_lut_share"])
    resources = ResourceEstimate(source=source, used=used, notes=(stage, *notes))
    return HlsEstimate(latency, resources, by_layer)


def _chain_notes(layers: Sequence[HlsLayer], target: Target, group: str) -> tuple[str, ...]:
    """In which respects a chain is outside of its reports, and what none of them has."""
    found = read_stages()["ranges"][group]
    low, high = found["clock_mhz"]
    notes = []
    if not 0.9 * low <= target.clock_mhz <= 1.1 * high:
        notes.append(f"outside of the fitted clocks {low} to {high} MHz")
    if family_of(target.part) not in found["families"]:
        notes.append(f"the fitted reports of this kind are of {' and '.join(found['families'])}")
    if group == "recurrent" and target.io_type == "io_stream":
        notes.append("the published reports of recurrent layers are of io_parallel")
    rounding = [layer.name for layer in layers if layer.accum_rounds]
    if rounding:
        notes.append(
            f"accumulators that round or saturate ({', '.join(rounding[:4])}) are not in the fit: "
            "three published designs of them had 2 to 8 times the LUTs"
        )
    narrow = [layer.name for layer in layers if _dense(layer) and layer.weight_bits <= NARROW]
    if narrow and target.strategy == "Resource" and target.backend == "Vitis":
        notes.append(
            f"weights of {NARROW} bits and less ({', '.join(narrow[:4])}): multiplied in LUTs as "
            "in seven published reports of Vitis HLS, in DSPs in one"
        )
    merges = [layer.name for layer in layers if layer.kind == "merge"]
    if merges:
        notes.append(
            f"{', '.join(merges[:4])}: no published report has one by itself; counted as an adder "
            "or a DSP for every value"
        )
    changed = [
        f"{layer.name}: reuse factor {taken_reuse} instead of {target.reuse_factor}, as hls4ml "
        "takes it"
        for layer in layers
        if _dense(layer) and target.strategy == "Resource"
        for taken_reuse in [closest_reuse(layer.n_in, layer.n_out, target.reuse_factor)]
        if taken_reuse != target.reuse_factor
    ]
    return (*notes, *changed)


def _latency(
    layers: Sequence[HlsLayer], target: Target, source: str, scarce: Sequence[str]
) -> HlsEstimate:
    """A pipeline; in the layers `scarce` the reuse factor leaves fewer multipliers than needed."""
    family = family_of(target.part)
    found = coefficients().of(family)
    usable = usable_ns(target.clock_ns, target.backend)
    outside = _outside(layers, target, scarce)
    cycles = cycles_latency(layers, usable, found.delay)
    interval_cycles = target.reuse_factor
    reuse = [target.reuse_factor if layer.weights else 1 for layer in layers]
    if scarce:
        cycles, interval_cycles = cycles_shared(layers, reuse, usable, found.delay)
    cycles += sum(_TABLE_CYCLES for layer in layers if layer.kind == "table")
    delays = [delay_ns(layer, found.delay) for layer in layers]
    lut = [float(np.dot(lut_terms(layer), found.lut)) + _extra_lut(layer) for layer in layers]
    ff = float(np.dot(ff_terms(layers, sum(lut), usable, family), found.ff))
    group = "Latency, fast clocks" if target.clock_mhz > FAST_MHZ else "Latency"
    if scarce:
        group = "Latency, shared multipliers"
    elif family == SLOW:
        group = f"Latency, {SLOW}"
    counts = list(map(dsps, layers, reuse))
    tools = {name: tool_of(name, group, outside) for name in ("cycles", "interval", *NAMES)}
    notes = [*outside, *_thin(layers, target)]
    if scarce:
        notes.append(
            f"{', '.join(scarce[:4])}: reuse factor {target.reuse_factor} leaves fewer multipliers "
            f"than there are multiplications; the published reports of that are of {SLOW} parts"
        )
    blocks = brams(layers, target.backend)
    tables = sum(-(-layer.n_out // 2) for layer in layers if layer.kind == "table") / 2
    blocks = None if blocks is None else blocks + tables
    used: dict[str, Measured] = {
        "LUT": quantity(sum(lut), "LUT", tools),
        "FF": quantity(ff, "FF", tools),
        "DSP": quantity(sum(counts), "DSP", tools),
        "BRAM36": NotRun(reason=f"the published reports with a softmax have {CLASSES} classes")
        if blocks is None
        else Quantity(value=blocks, unit="BRAM36", kind="estimated", tool=tools["BRAM36"]),
    }
    by_layer: dict[str, Mapping[str, Measured]] = {}
    for layer, luts, count in zip(layers, lut, counts, strict=True):
        by_layer[layer.name] = {
            "LUT": quantity(luts, "LUT", {"LUT": tool_of("LUT", "layers", outside)}),
            "DSP": quantity(count, "DSP", tools),
        }
    if target.reuse_factor > _UNSHARED and not scarce:
        absent = NotRun(
            reason=f"reuse factor {target.reuse_factor} leaves multipliers enough, so that none is "
            f"shared; the published reports of that in the Latency strategy end at {_UNSHARED}"
        )
        used |= dict.fromkeys(("LUT", "FF", "DSP"), absent)
        by_layer = {layer.name: dict.fromkeys(("LUT", "DSP"), absent) for layer in layers}
    latency = latency_estimate(
        source,
        cycles,
        target.clock_mhz,
        interval_cycles,
        "estimated",
        tools["cycles"],
        tuple(notes),
        layers=shares(layers, delays, cycles, target, bare_tool(group)),
        layers_note=LAYERS_NOTE,
    )
    interval = latency.initiation_interval.model_copy(update={"tool": tools["interval"]})
    latency = latency.model_copy(update={"initiation_interval": interval})
    stage = STAGE_NOTE.format(**read_model()["vivado_lut_share"])
    resources = ResourceEstimate(source=source, used=used, notes=(stage, *notes))
    return HlsEstimate(latency, resources, by_layer)


_TABLE_CYCLES = 1
_UNSHARED = 2  # the largest reuse factor of a published report in which no multiplier is shared
_EXTRA = ("merge", "pool", "table")


def _extra_lut(layer: HlsLayer) -> float:
    """LUT of the kinds that the fit of pipelines does not have, from the reports of chains."""
    if layer.kind not in _EXTRA:
        return 0.0
    where = Where(stream=False, usable_ns=1.0, strategy="Latency", reuse=1)
    return cost(layer, where, stage_coefficients(), coefficients()).lut


def _resource(layers: Sequence[HlsLayer], target: Target, source: str) -> HlsEstimate:
    found = coefficients()
    usable = usable_ns(target.clock_ns, target.backend)
    reuse = {
        layer.name: closest_reuse(layer.n_in, layer.n_out, target.reuse_factor)
        for layer in layers
        if _dense(layer)
    }
    small = max(reuse.values()) < read_model()["ranges"]["Resource"]["reuse"][0]
    group = "Resource, small reuse factors" if small else "Resource"
    tools = {name: tool_of(name, group, ()) for name in ("cycles", "DSP")}
    cycles = cycles_resource(layers, list(reuse.values()), usable, found)
    named, design = _costs(layers, target)
    logic = {name: stage_tool(name, "parallel, Resource") for name in ("interval", *NAMES)}
    if small and family_of(target.part) == SLOW:  # each process takes longer there
        cycles = round(design.cycles)
        tools["cycles"] = stage_tool("cycles", "parallel, Resource")
    by_layer: dict[str, Mapping[str, Measured]] = {}
    counts: list[int | None] = []
    for layer in layers:
        count = resource_dsps(layer, reuse.get(layer.name, 1), target.backend)
        counts.append(count)
        by_layer[layer.name] = {
            "LUT": quantity(named[layer.name].lut, "LUT", logic),
            "DSP": _counted(count, target, tools),
        }
    total = None if None in counts else sum(count or 0 for count in counts)
    weights = [float(reuse.get(layer.name, 0)) for layer in layers]
    changed = [
        f"{name}: reuse factor {taken} instead of {target.reuse_factor}, as hls4ml takes it"
        for name, taken in reuse.items()
        if taken != target.reuse_factor
    ]
    latency = latency_estimate(
        source,
        cycles,
        target.clock_mhz,
        1,
        "estimated",
        tools["cycles"],
        tuple(changed),
        layers=shares(layers, weights, cycles, target, bare_tool(group)),
        layers_note=LAYERS_NOTE,
    ).model_copy(
        update={
            "initiation_interval": Quantity(
                value=round(design.interval),
                unit="cycles",
                kind="estimated",
                tool=logic["interval"],
            )
        }
    )
    used: dict[str, Measured] = {
        "LUT": quantity(design.lut, "LUT", logic),
        "FF": quantity(design.ff, "FF", logic),
        "DSP": _counted(total, target, tools),
        "BRAM36": Quantity(
            value=design.bram18 / 2, unit="BRAM36", kind="estimated", tool=logic["BRAM36"]
        ),
    }
    stage = STAGE_NOTE.format(**read_model()["vivado_lut_share"])
    return HlsEstimate(
        latency, ResourceEstimate(source=source, used=used, notes=(stage,)), by_layer
    )


def _counted(count: int | None, target: Target, tools: Mapping[str, str]) -> Measured:
    if count is not None:
        return quantity(count, "DSP", tools)
    return NotRun(
        reason=f"whether {target.backend} multiplies such narrow data or weights in DSPs or LUTs "
        "when it reuses multipliers is in no published report"
    )


def _outside(layers: Sequence[HlsLayer], target: Target, scarce: Sequence[str]) -> tuple[str, ...]:
    """In which respects a design in the Latency strategy is outside of what was fitted."""
    found = []
    if target.reuse_factor > _UNSHARED and not scarce:
        found.append(
            f"outside of the fitted reuse factors 1 and 2: {target.reuse_factor}, which leaves "
            "multipliers enough, so that none is shared"
        )
    for name, (low, high) in read_model()["ranges"]["Latency"]["layers"].items():
        beyond = [
            f"{layer.name} {value}"
            for layer in layers
            if _dense(layer)
            for value in [getattr(layer, name)]
            if not low <= value <= high
        ]
        if beyond:
            what = name.replace("_", " ")
            found.append(f"outside of the fitted {what} {low} to {high}: {', '.join(beyond)}")
    return tuple(found)


def _thin(layers: Sequence[HlsLayer], target: Target) -> tuple[str, ...]:
    """What of a design very few published reports have."""
    notes = []
    if target.clock_mhz > FAST_MHZ:
        notes.append(
            f"above {FAST_MHZ:g} MHz: two published reports, both with more cycles than the model "
            "says, and a new event every 3 cycles"
        )
    if not any(map(_dense, layers)):
        notes.append("every published report has a dense layer")
    if target.reuse_factor == _UNSHARED:
        notes.append(
            "reuse factor 2 in the Latency strategy: no number but the interval follows it while "
            "multipliers suffice; the five published pairs at 1 and 2 have the same LUT and DSP "
            "within 4 %, 16 to 31 % fewer FF and 1 to 4 cycles less at 2"
        )
    if any(layer.elementwise for layer in layers):
        notes.append("batch normalisation, as a product with one term: two published layers")
    extra = [layer.name for layer in layers if layer.kind in _EXTRA]
    if extra:
        notes.append(
            f"{', '.join(extra[:4])}: tables, merges and pools are in none of the pipelines that "
            "were held out; their LUTs and BRAM are those of single layers in published reports"
        )
    sizes = {layer.n_out for layer in layers if layer.kind == "softmax"} - {CLASSES}
    if sizes:
        notes.append(f"softmax: the published reports have {CLASSES} classes")
    return tuple(notes)
