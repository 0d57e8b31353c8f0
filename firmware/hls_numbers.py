"""Numbers of the model of HLS designs, each with the error on held-out reports beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samebits.compile.target import Target

from .hls_model import SLOW, HlsLayer, read_model
from .hls_stages import read_stages
from .results import (
    LatencyEstimate,
    LayerLatency,
    Measured,
    Quantity,
    ResourceEstimate,
    layer_latency,
)

__all__ = [
    "NAMES",
    "STAGE_NOTE",
    "HlsEstimate",
    "bare_stage_tool",
    "bare_tool",
    "quantity",
    "shares",
    "stage_tool",
    "tool_of",
]

_SLOW_GROUPS = (f"Latency, {SLOW}", "Latency, shared multipliers")
NAMES = ("LUT", "FF", "DSP", "BRAM36")
STAGE_NOTE = (
    "as the C synthesis report would say; after Vivado's logic synthesis the LUTs were "
    "{low:.2g} to {high:.2g} of that in {n} published projects (median {median:.2g})"
)


@dataclass(frozen=True, slots=True)
class HlsEstimate:
    """What C synthesis would report; `layers` has LUT and DSP by layer name."""

    latency: LatencyEstimate
    resources: ResourceEstimate
    layers: Mapping[str, Mapping[str, Measured]]


def tool_of(name: str, group: str, outside: Sequence[str]) -> str:
    """The model's name with the error to print beside a number."""
    text = with_error(bare_tool(group), name, read_model()["errors"][group].get(name))
    return text + ("; outside of the fitted range" if outside else "")


def with_error(text: str, name: str, error: Mapping[str, float] | None) -> str:
    """`text` with the deviation from reports that were held out."""
    if error is None:
        return f"{text}, error unknown: no report was held out"
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
    return text


def bare_stage_tool(group: str) -> str:
    """The model of chains with the number of reports of a kind."""
    reports = read_stages()["ranges"][group]["reports"]
    return f"samebits' HLS model, {reports} reports of this kind"


def stage_tool(name: str, group: str) -> str:
    """The model of chains with the error to print beside a number."""
    error = read_stages()["errors"][group].get(name)
    return with_error(bare_stage_tool(group), name, error)


def bare_tool(group: str) -> str:
    """The model's name with the number of reports behind it."""
    kind = "Resource" if group.startswith("Resource") else "Latency"
    count = read_model()["reports"][SLOW if group in _SLOW_GROUPS else kind]
    return f"samebits' HLS model fitted on {count} reports"


def quantity(value: float, unit: str, tools: Mapping[str, str]) -> Quantity:
    """An estimate as a whole number."""
    return Quantity(value=round(value), unit=unit, kind="estimated", tool=tools[unit])


def shares(
    layers: Sequence[HlsLayer], weights: Sequence[float], cycles: int, target: Target, tool: str
) -> tuple[LayerLatency, ...]:
    """Every layer's part of the cycles, in proportion to `weights`."""
    total = sum(weights)
    if not total:
        return ()
    return tuple(
        layer_latency(layer.name, cycles * weight / total, target.clock_mhz, "estimated", tool)
        for layer, weight in zip(layers, weights, strict=True)
    )
