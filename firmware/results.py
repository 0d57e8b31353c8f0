"""Numbers about firmware: latency, resources, and by what tool and means each was obtained."""

from __future__ import annotations

from typing import Annotated, Literal

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
    "latency_estimate",
    "layer_latency",
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
        clock_mhz: the clock that nanoseconds are counted with; "assumed" if it is only the target.
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

    >>> e = latency_estimate("RTL", 13, 200, 1, "estimated", "alkaid 0.8.2")
    >>> e.latency_ns.value, e.bunch_crossings.value
    (65.0, 2.6)
    """
    latency_ns = cycles * 1000 / clock_mhz
    return LatencyEstimate(
        source=source,
        cycles=Quantity(value=cycles, unit="cycles", kind=kind, tool=tool),
        initiation_interval=Quantity(
            value=initiation_interval, unit="cycles", kind=kind, tool=tool
        ),
        latency_ns=Quantity(value=latency_ns, unit="ns", kind=kind, tool=tool),
        bunch_crossings=Quantity(
            value=latency_ns / BUNCH_CROSSING_NS, unit="BX", kind=kind, tool=tool
        ),
        clock_mhz=Quantity(value=clock_mhz, unit="MHz", kind="assumed", tool="the target's clock"),
        fmax_mhz=fmax_mhz,
        layers=layers,
        layers_note=layers_note,
        notes=notes,
    )


def layer_latency(
    layer: str, cycles: float, clock_mhz: float, kind: Kind, tool: str
) -> LayerLatency:
    """A layer's share of `cycles` at `clock_mhz`."""
    return LayerLatency(
        layer=layer,
        cycles=Quantity(value=cycles, unit="cycles", kind=kind, tool=tool),
        latency_ns=Quantity(value=cycles * 1000 / clock_mhz, unit="ns", kind=kind, tool=tool),
    )
