"""Latency and resources of an hls4ml project without Vitis: estimated from its layers.

`estimate_hls(describe(graph), target)` gives an `HlsEstimate` of `latency` (a `LatencyEstimate`)
and `resources` (a `ResourceEstimate`): what the C synthesis report of Vitis HLS would say. It needs
a fixed-point graph and a target only, neither hls4ml nor files, and takes about a millisecond, so
that reuse factors and clocks can be scanned with `dataclasses.replace(target, ...)`; `describe`
is done once per graph.

Every number carries the error that the model made on published reports held out from its fit. What
no published report covers is a `NotRun` with the reason: other layers than dense ones, batch
normalisation, ReLU, casts and softmax, io_stream, distributed arithmetic, parts other than
UltraScale+, and multipliers that the Latency strategy must share. docs/latency.md has the model,
the reports and the comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from samebits import errors
from samebits.compile.ir import Format, Graph, Layer, Node, Overflow, Rounding
from samebits.compile.target import Target

from .hls_model import (
    CLASSES,
    FAST_MHZ,
    HlsLayer,
    brams,
    closest_reuse,
    coefficients,
    cycles_latency,
    cycles_resource,
    delay_ns,
    dsps,
    ff_terms,
    lut_terms,
    multipliers,
    read_model,
    resource_dsps,
    usable_ns,
    weights_of,
)
from .parts import family_of
from .results import (
    LatencyEstimate,
    LayerLatency,
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    latency_estimate,
    layer_latency,
)

__all__ = ["SOURCE", "HlsEstimate", "describe", "estimate_hls"]

SOURCE = "hls/, estimated without Vitis"
LAYERS_NOTE = (
    "a layer's share of the cycles is in proportion to its delay in the model (Latency) or to its "
    "reuse factor (Resource); the error was measured for whole designs only"
)
STAGE_NOTE = (
    "as the C synthesis report would say; after Vivado's logic synthesis the LUTs were "
    "{low:.2g} to {high:.2g} of that in {n} published projects (median {median:.2g})"
)
_FAMILY = "UltraScale+"
_NAMES = ("LUT", "FF", "DSP", "BRAM36")
_WIRING = {"reshape", "transpose", "boundary"}
_CLIPS = {"cast", "max", "min", "compare", "select"}
_CONSTANTS = {"Dense": "weight", "BatchNormalization": "scale", "ApplyAlpha": "scale"}


@dataclass(frozen=True, slots=True)
class HlsEstimate:
    """What C synthesis would report; `layers` has LUT and DSP by layer name."""

    latency: LatencyEstimate
    resources: ResourceEstimate
    layers: Mapping[str, Mapping[str, Measured]]


def describe(graph: Graph) -> tuple[HlsLayer, ...]:
    """hls4ml's layers of a graph as the model sees them, in order; kind "unknown" with a reason."""
    nodes: dict[str, list[Node]] = {layer.name: [] for layer in graph.layers}
    outside: list[Node] = []
    for node in graph.nodes:
        owner = node.output
        while owner and owner not in nodes:
            owner = owner.rpartition("/")[0]
        nodes.get(owner, outside).append(node)
    found = [_describe(graph, layer, nodes[layer.name]) for layer in graph.layers]
    found += [
        HlsLayer(node.output, "unknown", f"{node.op} {node.output}", 0, 0, 0, 0)
        for node in outside
        if node.op not in _WIRING
    ]
    return tuple(found)


def _describe(graph: Graph, layer: Layer, nodes: Sequence[Node]) -> HlsLayer:
    tensor = graph.tensors[layer.tensor]
    entering = [
        graph.tensors[name]
        for node in nodes[:1]
        for name in node.inputs
        if name not in graph.constants
    ]
    fields: dict[str, Any] = {
        "name": layer.name,
        "what": layer.kind,
        "n_in": sum(math.prod(each.shape) for each in entering),
        "n_out": math.prod(tensor.shape),
        "in_bits": max((each.format.width for each in entering), default=0),
        "out_bits": tensor.format.width,
        "rounds": _rounds(tensor.format),
    }
    ops = {node.op for node in nodes}
    made_here = any(node.output == layer.tensor for node in nodes)
    if ops <= _WIRING and (made_here or not nodes):
        return HlsLayer(kind="wiring", **fields)
    kind = layer.kind
    if kind in _CONSTANTS:
        return _product(graph, fields, layer.types, f"{layer.name}/{_CONSTANTS[kind]}")
    if kind == "Softmax" and "lookup" in ops:
        return HlsLayer(kind="softmax", stable="reduce_max" in ops, **fields)
    if kind in ("Activation", "ReLU") and ops <= _CLIPS | _WIRING:
        clips = bool(ops - {"cast"} - _WIRING) or not tensor.format.signed or fields["rounds"]
        return HlsLayer(kind="activation" if clips else "wiring", **fields)
    return HlsLayer(kind="unknown", **fields | {"what": f"{kind} {layer.name}"})


def _product(
    graph: Graph, fields: dict[str, Any], types: Mapping[str, Format], constant: str
) -> HlsLayer:
    values = graph.constants.get(constant)
    where = f"{fields['what']} {fields['name']}"
    if values is None or values.dtype == object or values.ndim > 2:
        return HlsLayer(kind="unknown", **fields | {"what": where})
    if values.ndim < 2:
        # every input has one weight and makes one output: the terms of one output are one
        weights = weights_of(np.broadcast_to(values.reshape(-1, 1), (fields["n_out"], 1)))
        weights = replace(weights, terms=1)
    elif values.shape == (fields["n_in"], fields["n_out"]):
        weights = weights_of(values)
    else:  # the same weights at several places
        return HlsLayer(kind="unknown", **fields | {"what": f"{where} at several places"})
    size = np.abs(values)
    # without trailing zeros, which are wiring
    bits = int((size // np.maximum(size & -size, 1)).max(initial=0)).bit_length() + 1
    accum = types.get("accum")
    product = max(fields["in_bits"] + bits, fields["out_bits"])
    return HlsLayer(
        kind="product",
        accum_bits=accum.width if accum is not None else product,
        weight_bits=types["weight"].width if "weight" in types else bits,
        weights=weights,
        **fields,
    )


def _rounds(form: Format) -> bool:
    return form.rounding is not Rounding.TRN or form.overflow is not Overflow.WRAP


def estimate_hls(layers: Sequence[HlsLayer], target: Target, source: str = SOURCE) -> HlsEstimate:
    """What C synthesis would report of these layers on a target."""
    refusal = _refusal(layers, target)
    if refusal:
        absent = NotRun(reason=refusal)
        return HlsEstimate(
            _no_latency(source, absent),
            ResourceEstimate(source=source, used=dict.fromkeys(_NAMES, absent)),
            {layer.name: dict.fromkeys(("LUT", "DSP"), absent) for layer in layers},
        )
    if target.strategy == "Resource":
        return _resource(layers, target, source)
    scarce = [
        layer.name
        for layer in layers
        if layer.weights and layer.weights.multiplied > multipliers(layer, target.reuse_factor)
    ]
    if scarce:
        return _shared(layers, target, source, scarce)
    return _latency(layers, target, source)


def _refusal(layers: Sequence[HlsLayer], target: Target) -> str:
    """Why there is no estimate at all; empty if there is one."""
    try:
        family = family_of(target.part)
    except errors.UnsupportedError as error:
        return str(error)
    unknown = list(dict.fromkeys(layer.what for layer in layers if layer.kind == "unknown"))
    if family != _FAMILY:
        return f"the published reports that were fitted are of {_FAMILY} parts, {family} has none"
    if target.io_type != "io_parallel":
        return f"no published report of {target.io_type} was fitted"
    if target.strategy == "distributed_arithmetic":
        return "distributed arithmetic: see the estimate of unrolled logic"
    if unknown:
        return f"no published reports were fitted for {', '.join(unknown[:5])}"
    if not any(layer.kind == "product" and not layer.elementwise for layer in layers):
        return "no dense layer"
    low, high = read_model()["ranges"][target.strategy]["clock_mhz"]
    if not 0.9 * low <= target.clock_mhz <= 1.1 * high:
        return (
            f"{target.clock_mhz:g} MHz: the fitted reports of the {target.strategy} strategy have "
            f"{low:g} to {high:g} MHz"
        )
    return ""


def _latency(layers: Sequence[HlsLayer], target: Target, source: str) -> HlsEstimate:
    found = coefficients()
    usable = usable_ns(target.clock_ns, target.backend)
    outside = _outside(layers, target)
    cycles = cycles_latency(layers, usable, found.delay)
    delays = [delay_ns(layer, found.delay) for layer in layers]
    lut = [float(np.dot(lut_terms(layer), found.lut)) for layer in layers]
    ff = float(np.dot(ff_terms(layers, sum(lut), usable), found.ff))
    group = "Latency, fast clocks" if target.clock_mhz > FAST_MHZ else "Latency"
    tools = {name: _tool(name, group, outside) for name in ("cycles", "interval", *_NAMES)}
    notes = [*outside, *_thin(layers, target)]
    blocks = brams(layers, target.backend)
    used: dict[str, Measured] = {
        "LUT": _whole(sum(lut), "LUT", tools),
        "FF": _whole(ff, "FF", tools),
        "DSP": _whole(sum(map(dsps, layers)), "DSP", tools),
        "BRAM36": NotRun(reason=f"the published reports with a softmax have {CLASSES} classes")
        if blocks is None
        else Quantity(value=blocks, unit="BRAM36", kind="estimated", tool=tools["BRAM36"]),
    }
    by_layer: dict[str, Mapping[str, Measured]] = {}
    for layer, luts in zip(layers, lut, strict=True):
        by_layer[layer.name] = {
            "LUT": _whole(luts, "LUT", {"LUT": _tool("LUT", "layers", outside)}),
            "DSP": _whole(dsps(layer), "DSP", tools),
        }
    latency = latency_estimate(
        source,
        cycles,
        target.clock_mhz,
        target.reuse_factor,
        "estimated",
        tools["cycles"],
        tuple(notes),
        layers=_shares(layers, delays, cycles, target),
        layers_note=LAYERS_NOTE,
    )
    interval = latency.initiation_interval.model_copy(update={"tool": tools["interval"]})
    latency = latency.model_copy(update={"initiation_interval": interval})
    stage = STAGE_NOTE.format(**read_model()["vivado_lut_share"])
    resources = ResourceEstimate(source=source, used=used, notes=(stage, *notes))
    return HlsEstimate(latency, resources, by_layer)


def _shared(
    layers: Sequence[HlsLayer], target: Target, source: str, scarce: Sequence[str]
) -> HlsEstimate:
    """DSPs only: layers that have fewer multipliers than multiplications, and no report of it."""
    absent = NotRun(
        reason=f"{', '.join(scarce[:4])}: reuse factor {target.reuse_factor} leaves fewer "
        "multipliers than there are multiplications, and no published report of the Latency "
        f"strategy on {_FAMILY} has that; a lower reuse factor or the Resource strategy"
    )
    tools = {"DSP": _tool("DSP", "Latency, shared multipliers", ())}
    counts = [dsps(layer, target.reuse_factor) for layer in layers]
    used: dict[str, Measured] = dict.fromkeys(_NAMES, absent)
    used["DSP"] = _whole(sum(counts), "DSP", tools)
    return HlsEstimate(
        _no_latency(source, absent),
        ResourceEstimate(source=source, used=used),
        {
            layer.name: {"LUT": absent, "DSP": _whole(count, "DSP", tools)}
            for layer, count in zip(layers, counts, strict=True)
        },
    )


def _resource(layers: Sequence[HlsLayer], target: Target, source: str) -> HlsEstimate:
    found = coefficients()
    usable = usable_ns(target.clock_ns, target.backend)
    reuse = {
        layer.name: closest_reuse(layer.n_in, layer.n_out, target.reuse_factor)
        for layer in layers
        if layer.kind == "product" and not layer.elementwise
    }
    small = max(reuse.values()) < read_model()["ranges"]["Resource"]["reuse"][0]
    group = "Resource, small reuse factors" if small else "Resource"
    tools = {name: _tool(name, group, ()) for name in ("cycles", "DSP")}
    cycles = cycles_resource(layers, list(reuse.values()), usable, found)
    by_layer: dict[str, Mapping[str, Measured]] = {}
    no_logic = NotRun(
        reason="no published report of the Resource strategy on UltraScale+ says its LUT, FF and "
        "BRAM together with the stage that they are of"
    )
    counts: list[int | None] = []
    for layer in layers:
        count = resource_dsps(layer, reuse.get(layer.name, 1), target.backend)
        counts.append(count)
        by_layer[layer.name] = {"LUT": no_logic, "DSP": _counted(count, target, tools)}
    total = None if None in counts else sum(count or 0 for count in counts)
    shares = [float(reuse.get(layer.name, 0)) for layer in layers]
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
        layers=_shares(layers, shares, cycles, target),
        layers_note=LAYERS_NOTE,
    ).model_copy(
        update={
            "initiation_interval": NotRun(
                reason="published reports of the Resource strategy have from the largest reuse "
                "factor to the whole latency"
            )
        }
    )
    used: dict[str, Measured] = dict.fromkeys(_NAMES, no_logic)
    used["DSP"] = _counted(total, target, tools)
    return HlsEstimate(latency, ResourceEstimate(source=source, used=used), by_layer)


def _counted(count: int | None, target: Target, tools: Mapping[str, str]) -> Measured:
    if count is not None:
        return _whole(count, "DSP", tools)
    return NotRun(
        reason=f"whether {target.backend} multiplies such narrow data or weights in DSPs or LUTs "
        "when it reuses multipliers is in no published report"
    )


def _outside(layers: Sequence[HlsLayer], target: Target) -> tuple[str, ...]:
    """In which respects a design in the Latency strategy is outside of what was fitted."""
    found = []
    if target.reuse_factor > 2:
        found.append(
            f"outside of the fitted reuse factors 1 and 2: {target.reuse_factor}, which leaves "
            "multipliers enough, so that none is shared"
        )
    for name, (low, high) in read_model()["ranges"]["Latency"]["layers"].items():
        beyond = [
            f"{layer.name} {value}"
            for layer in layers
            if layer.kind == "product" and not layer.elementwise
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
    if target.reuse_factor > 1:
        notes.append("reuse factor 2 in the Latency strategy: two published reports")
    if any(layer.elementwise for layer in layers):
        notes.append("batch normalisation, as a product with one term: two published layers")
    sizes = {layer.n_out for layer in layers if layer.kind == "softmax"} - {CLASSES}
    if sizes:
        notes.append(f"softmax: the published reports have {CLASSES} classes")
    return tuple(notes)


def _tool(name: str, group: str, outside: Sequence[str]) -> str:
    """The model's name with the error to print beside a number."""
    error = read_model()["errors"][group].get(name)
    text = _bare_tool(group)
    if error is None:
        return text
    if error["n"] < 10:
        size = error["max"]
        which = (
            "the only held-out report" if error["n"] == 1 else f"all {error['n']} held-out reports"
        )
    else:
        size, which = error["p90"], f"90 % of {error['n']} held-out reports"
    text += f", ± {100 * size:.0f} % ({which})" if size else f", no deviation in {which}"
    if name == "LUT":
        share = read_model()["vivado_lut_share"]
        text += f"; as C synthesis counts, Vivado's are {share['median']:.2g} of it in the median"
    return text + ("; outside of the fitted range" if outside else "")


def _bare_tool(group: str) -> str:
    count = read_model()["reports"]["Resource" if group.startswith("Resource") else "Latency"]
    return f"samebits' HLS model fitted on {count} reports"


def _whole(value: float, unit: str, tools: Mapping[str, str]) -> Quantity:
    return Quantity(value=round(value), unit=unit, kind="estimated", tool=tools[unit])


def _shares(
    layers: Sequence[HlsLayer], weights: Sequence[float], cycles: int, target: Target
) -> tuple[LayerLatency, ...]:
    total, tool = sum(weights), _bare_tool(target.strategy)
    if not total:
        return ()
    return tuple(
        layer_latency(layer.name, cycles * weight / total, target.clock_mhz, "estimated", tool)
        for layer, weight in zip(layers, weights, strict=True)
    )


def _no_latency(source: str, absent: NotRun) -> LatencyEstimate:
    return LatencyEstimate(
        source=source,
        cycles=absent,
        initiation_interval=absent,
        latency_ns=absent,
        bunch_crossings=absent,
    )
