"""Numbers about firmware: latency, resources, and by what tool and means each was obtained."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "BUNCH_CROSSING_NS",
    "Facts",
    "Kind",
    "LatencyEstimate",
    "LayerLatency",
    "Measured",
    "NotRun",
    "Quantity",
    "ResourceEstimate",
    "Text",
    "at_clock",
    "latency_estimate",
    "layer_latency",
    "no_latency",
    "timed",
]

BUNCH_CROSSING_NS = 25.0  # LHC

Kind = Literal["measured", "synthesised", "estimated", "assumed"]
Text = Annotated[str, Field(min_length=1)]


class Facts(BaseModel):
    """Frozen; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Quantity(Facts):
    """One number with its unit (empty for a pure ratio), kind and the tool that made it."""

    value: int | float
    unit: str
    kind: Kind
    tool: Text


class NotRun(Facts):
    """Stands where a number or a section would stand, and says why there is none."""

    status: Literal["not run"] = "not run"
    reason: Text


Measured = Quantity | NotRun


class LayerLatency(Facts):
    """One layer's share of a latency; the shares of all layers add up to the whole."""

    layer: Text
    cycles: Quantity
    latency_ns: Quantity


class LatencyEstimate(Facts):
    """Latency by one tool.

    Attributes:
        latency_ns: the cycles at `clock_mhz`, of the weaker kind of these two; so are
            `bunch_crossings`.
        clock_mhz: "assumed" if it is only the target.
        fmax_mhz: the fastest clock by the tool.
        layers: in the order of the data; empty where the tool does not tell.
        layers_note: what a layer's share is.
    """

    source: Text
    cycles: Measured
    initiation_interval: Measured
    latency_ns: Measured
    bunch_crossings: Measured
    clock_mhz: Measured | None = None
    fmax_mhz: Measured | None = None
    layers: tuple[LayerLatency, ...] = ()
    layers_note: str = ""
    notes: tuple[str, ...] = ()


class ResourceEstimate(Facts):
    """Resources by one tool; names as in `ResourceFacts.totals`: LUT, FF, DSP, BRAM36.

    `device` and `totals` are empty for the design's own part.
    """

    source: Text
    used: dict[str, Measured]
    device: str = ""
    totals: dict[str, Quantity] = {}
    notes: tuple[str, ...] = ()


def no_latency(source: str, absent: NotRun) -> LatencyEstimate:
    """A latency that a tool has not given, and why."""
    return LatencyEstimate(
        source=source,
        cycles=absent,
        initiation_interval=absent,
        latency_ns=absent,
        bunch_crossings=absent,
    )


def latency_estimate(
    source: str,
    cycles: int,
    clock_mhz: float,
    initiation_interval: int,
    kind: Kind,
    tool: str,
    notes: tuple[str, ...] = (),
    *,
    fmax_mhz: Measured | None = None,
    layers: tuple[LayerLatency, ...] = (),
    layers_note: str = "",
) -> LatencyEstimate:
    """A latency of `cycles` at the target `clock_mhz`, also in ns and bunch crossings of 25 ns.

    The clock is assumed unless `fmax_mhz` says that it is met; then it is of that kind.

    >>> e = latency_estimate("RTL", 13, 200, 1, "measured", "Verilator 5.48")
    >>> e.latency_ns.value, e.bunch_crossings.value, e.cycles.kind, e.latency_ns.kind
    (65.0, 2.6, 'measured', 'assumed')
    >>> e.latency_ns.tool
    'cycles measured by Verilator 5.48, clock assumed: the target'
    """
    counted = LatencyEstimate(
        source=source,
        cycles=Quantity(value=cycles, unit="cycles", kind=kind, tool=tool),
        initiation_interval=Quantity(
            value=initiation_interval, unit="cycles", kind=kind, tool=tool
        ),
        latency_ns=_NO_CLOCK,
        bunch_crossings=_NO_CLOCK,
        layers=layers,
        layers_note=layers_note,
        notes=notes,
    )
    return timed(at_clock(counted, _target_clock(clock_mhz)), fmax_mhz)


def timed(estimate: LatencyEstimate, fmax_mhz: Measured | None) -> LatencyEstimate:
    """The estimate with an Fmax: the clock is of its kind where it is met, else assumed."""
    estimate = estimate.model_copy(update={"fmax_mhz": fmax_mhz})
    if not isinstance(estimate.clock_mhz, Quantity):
        return estimate
    clock = _target_clock(float(estimate.clock_mhz.value))
    if isinstance(fmax_mhz, Quantity) and fmax_mhz.value >= clock.value:
        clock = clock.model_copy(update={"kind": fmax_mhz.kind, "tool": fmax_mhz.tool})
    return at_clock(estimate, clock)


def at_clock(estimate: LatencyEstimate, clock_mhz: Quantity) -> LatencyEstimate:
    """The estimate with all cycles counted in ns and bunch crossings at another clock."""
    if isinstance(estimate.cycles, NotRun):
        return estimate
    latency_ns = _in_ns(estimate.cycles, clock_mhz)
    crossings = {"value": latency_ns.value / BUNCH_CROSSING_NS, "unit": "BX"}
    return estimate.model_copy(
        update={
            "latency_ns": latency_ns,
            "bunch_crossings": latency_ns.model_copy(update=crossings),
            "clock_mhz": clock_mhz,
            "layers": tuple(
                layer.model_copy(update={"latency_ns": _in_ns(layer.cycles, clock_mhz)})
                for layer in estimate.layers
            ),
        }
    )


def layer_latency(
    layer: str, cycles: float, clock_mhz: float, kind: Kind, tool: str
) -> LayerLatency:
    """A layer's share of `cycles` at the target `clock_mhz`."""
    share = Quantity(value=cycles, unit="cycles", kind=kind, tool=tool)
    latency_ns = _in_ns(share, _target_clock(clock_mhz))
    return LayerLatency(layer=layer, cycles=share, latency_ns=latency_ns)


_NO_CLOCK = NotRun(reason="no clock to count with")
_STRONGEST_FIRST: tuple[Kind, ...] = get_args(Kind)


def _target_clock(clock_mhz: float) -> Quantity:
    return Quantity(value=clock_mhz, unit="MHz", kind="assumed", tool="the target")


def _in_ns(cycles: Quantity, clock_mhz: Quantity) -> Quantity:
    """Of the weaker kind of the two: measured cycles of an assumed length are no measured time."""
    return Quantity(
        value=cycles.value * 1000 / clock_mhz.value,
        unit="ns",
        kind=max(cycles.kind, clock_mhz.kind, key=_STRONGEST_FIRST.index),
        tool=f"cycles {cycles.kind} by {cycles.tool}, clock {clock_mhz.kind}: {clock_mhz.tool}",
    )
