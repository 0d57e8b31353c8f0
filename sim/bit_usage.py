"""How the formats of a network are used by given events: bits, overflows, rounding noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Carrier, Format, Graph, Overflow
from samebits.compile.ops.arith import as_carrier, overflow, rescale
from samebits.compile.ops.boundary import input_mantissas
from samebits.compile.passes import propagate_ranges
from samebits.compile.passes.widths import narrowed

from .numpy_engine import NumpyEngine

__all__ = ["BitUsage", "measure_bit_usage"]

Values = NDArray[np.float64]
_CHUNK_NUMBERS = 1 << 22
_WIDE = 1000  # integer bits that every double fits in


@dataclass(frozen=True)
class BitUsage:
    """What events do to one layer's formats, or to an input's.

    Attributes:
        layer: hls4ml's layer, or the input.
        format: of its result.
        used: counts of the result's values that need 0, 1, ... `width` bits, the sign included.
        spare_bits: integer bits of the result that range analysis proves are never needed.
        saturated_above, saturated_below: values that the layer's saturating casts clip.
        wrapped: values that its wrapping casts change.
        overflowing_events: events with at least one of these, besides those that an unsigned type
            saturates at zero.
        proven: its casts whose overflow mode is proven never to act.
        counted: its other casts, whose values were looked at.
        not_counted: accumulators that may overflow within the sum, at which nothing is counted.
        noise_lsb: root mean square of what rounding in the cast to the result changes, in units of
            its least significant bit, over the values that do not overflow; None if it rounds
            nothing.
        clips_at_zero: True if the result's type is unsigned: what is below is what a ReLU removes.
    """

    layer: str
    format: str
    width: int
    used: tuple[int, ...]
    spare_bits: int
    saturated_above: int
    saturated_below: int
    wrapped: int
    overflowing_events: int
    proven: int
    counted: int
    not_counted: int
    noise_lsb: float | None
    clips_at_zero: bool

    @property
    def values(self) -> int:
        """Values of the result, over all events."""
        return sum(self.used)

    @property
    def most_used(self) -> int:
        """The bits that the largest value needs."""
        return max((bits for bits, count in enumerate(self.used) if count), default=0)

    def bits_of(self, share: float) -> int:
        """The fewest bits that hold at least this share of the values."""
        reached = 0
        for bits, count in enumerate(self.used):
            reached += count
            if reached >= share * self.values:
                return bits
        return self.width


@dataclass
class _Tally:
    used: NDArray[np.int64]
    above: int = 0
    below: int = 0
    wrapped: int = 0
    events: int = 0
    squares: float = 0.0
    rounded: int = 0


@dataclass(frozen=True)
class _Place:
    """A layer or an input: its result, and the casts that belong to it as (source, target)."""

    name: str
    tensor: str
    casts: tuple[tuple[str, str], ...] = ()
    proven: int = 0
    not_counted: int = 0
    last: tuple[str, str] | None = None  # the cast to the result, if it rounds
    needed: tuple[str, ...] = field(default=())


def measure_bit_usage(
    graph: Graph,
    engine: NumpyEngine,
    inputs: Sequence[NDArray[np.floating]],
    progress: Callable[[int], None] | None = None,
) -> list[BitUsage]:
    """The usage of every input's and layer's formats, in the order of the data.

    Args:
        inputs: finite arrays (N, *input shape), N above 0, in the order of the graph's inputs.
        progress: called with the number of events done.
    """
    places = _places(graph)
    names = list(dict.fromkeys(name for place in places for name in place.needed))
    sizes = [int(np.prod(graph.tensors[name].shape, dtype=int)) for name in names]
    chunk = max(1, _CHUNK_NUMBERS // max(1, sum(sizes)))
    tallies = [
        _Tally(np.zeros(graph.tensors[place.tensor].format.width + 1, dtype=np.int64))
        for place in places
    ]
    given = dict(zip(graph.inputs, inputs, strict=True))
    for start in range(0, len(inputs[0]), chunk):
        part = [array[start : start + chunk] for array in inputs]
        found = dict(zip(names, engine.run(part, names), strict=True))
        for place, tally in zip(places, tallies, strict=True):
            raw = given.get(place.tensor)
            raw = None if raw is None else raw[start : start + chunk]
            _add(graph, place, tally, found, raw)
        if progress is not None:
            progress(min(start + chunk, len(inputs[0])))
    ranges = propagate_ranges(graph)
    rows = []
    for place, tally in zip(places, tallies, strict=True):
        fmt, interval = graph.tensors[place.tensor].format, ranges[place.tensor]
        rows.append(
            BitUsage(
                layer=place.name,
                format=str(fmt),
                width=fmt.width,
                used=tuple(tally.used.tolist()),
                spare_bits=fmt.width - narrowed(fmt, interval.minimum, interval.maximum, 0).width,
                saturated_above=tally.above,
                saturated_below=tally.below,
                wrapped=tally.wrapped,
                overflowing_events=tally.events,
                proven=place.proven,
                counted=len(place.casts) or int(place.tensor in given),
                not_counted=place.not_counted,
                noise_lsb=float(np.sqrt(tally.squares / tally.rounded)) if tally.rounded else None,
                clips_at_zero=not fmt.signed,
            )
        )
    return rows


def _places(graph: Graph) -> list[_Place]:
    """Inputs, then layers, with the casts whose overflow mode may act."""
    places = [_Place(name, name, needed=(name,)) for name in graph.inputs]
    owners = _owners(graph)
    for layer in graph.layers:
        casts, proven, uncounted, last = [], 0, 0, None
        for node in graph.nodes:
            if owners.get(node.output) != layer.name:
                continue
            edge = (node.inputs[0], node.output)
            if node.op == "accumulate":
                uncounted += 1
            elif node.op == "cast":
                if node.attrs.get("bounded") == 1:
                    proven += 1
                else:
                    casts.append(edge)
                formats = [graph.tensors[name].format for name in edge]
                if node.output == layer.tensor and formats[0].fraction > formats[1].fraction:
                    last = edge
        edges = [*casts, *([last] if last else [])]
        needed = dict.fromkeys((layer.tensor, *(source for source, _ in edges)))
        places.append(
            _Place(layer.name, layer.tensor, tuple(casts), proven, uncounted, last, tuple(needed))
        )
    return places


def _owners(graph: Graph) -> dict[str, str]:
    """The layer of every computed tensor: whose result it is, or whose name stands in front."""
    results = {layer.tensor: layer.name for layer in graph.layers}
    names = {layer.name for layer in graph.layers}
    found = {}
    for node in graph.nodes:
        parts = node.output.split("/")
        fronts = ("/".join(parts[:k]) for k in range(len(parts) - 1, 0, -1))
        owner = results.get(node.output) or next((f for f in fronts if f in names), None)
        if owner is not None:
            found[node.output] = owner
    return found


def _add(
    graph: Graph,
    place: _Place,
    tally: _Tally,
    found: dict[str, Values],
    raw: NDArray[np.floating] | None,
) -> None:
    fmt = graph.tensors[place.tensor].format
    tally.used += _used(np.ldexp(found[place.tensor], fmt.fraction), fmt)
    events = np.zeros(len(found[place.tensor]), dtype=bool)
    sites = []
    if raw is not None:
        wide = Format(True, _WIDE, _WIDE - fmt.fraction, fmt.rounding, Overflow.SAT)
        if fmt.like_ap_int:  # see `input_mantissas`; these do not overflow
            raw = np.where((raw > -0.5) & (raw < 0), raw.dtype.type(1), raw)
        sites.append((np.asarray(raw, dtype=np.float64), fmt, wide))
    for before, after in place.casts:
        formats = graph.tensors[after].format, graph.tensors[before].format
        sites.append((found[before], *formats))
    for values, target, source in sites:
        above, below = _overflowing(values, source, target)
        if target.overflow is Overflow.WRAP:
            tally.wrapped += int(above.sum() + below.sum())
        else:
            tally.above += int(above.sum())
            tally.below += int(below.sum())
            if not target.signed:  # a ReLU's zeros are no overflow
                below = np.zeros_like(below)
        events |= (above | below).reshape(len(events), -1).any(axis=1)
    tally.events += int(events.sum())
    if place.last is not None:
        exact = found[place.last[0]]
        inside = (exact >= fmt.min_saturated * fmt.lsb) & (exact <= fmt.max_mantissa * fmt.lsb)
        change = np.ldexp(found[place.tensor] - exact, fmt.fraction)[inside]
        tally.squares += float(np.square(change).sum())
        tally.rounded += len(change)


def _used(mantissas: Values, fmt: Format) -> NDArray[np.int64]:
    """Counts of the bits that two's complement (or an unsigned number) needs for each mantissa."""
    magnitudes = np.where(mantissas < 0, -mantissas - 1, mantissas)
    bits = np.frexp(magnitudes)[1] + (fmt.signed & (mantissas != 0))
    counts = np.bincount(np.minimum(bits, fmt.width).ravel(), minlength=fmt.width + 1)
    return counts.astype(np.int64)


def _overflowing(
    values: Values, source: Format, target: Format
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the target's overflow mode changes a value, above and below its range.

    Rounding keeps what is inside the range inside, and what is a whole step outside of it outside;
    only what lies between is rounded, in Python integers.
    """
    with np.errstate(over="ignore"):
        scaled = np.ldexp(values, target.fraction)
    low, high = target.min_saturated, target.max_mantissa
    above, below = scaled > high, scaled < low
    for chosen, near in ((above, scaled < high + 1), (below, scaled > low - 1)):
        near &= chosen
        if near.any():
            wide = _rounded(values[near], source, target)
            chosen[near] = overflow(wide, target) != wide
    return above, below


def _rounded(values: Values, source: Format, target: Format) -> NDArray[np.object_]:
    """Mantissas on the target's grid before its overflow mode, as Python integers."""
    if source.width == _WIDE:
        return input_mantissas(values, source, Carrier.PYTHON)
    exact = as_carrier(np.ldexp(values, source.fraction), Carrier.PYTHON)
    return rescale(exact, source, target)
