"""What range analysis proves about a design, and the inputs that show where it cannot."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.adapter.front import SCOPE
from samebits.compile.ir import Format, Graph, Interval, Layer, Overflow
from samebits.compile.ops.arith import overflow
from samebits.compile.ops.boundary import to_values
from samebits.compile.ops.cast import cast_interval
from samebits.compile.passes.guards import explicit_guards
from samebits.compile.passes.overflow import OverflowSite, lift_inner_wraps, overflow_sites
from samebits.compile.passes.ranges import refine_ranges
from samebits.compile.passes.widths import narrowed, narrowest_formats
from samebits.compile.passes.zero_bits import propagate_zero_bits
from samebits.input_ranges import InputRange, arriving_interval, given_ranges, wide_format
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.witness import Box, Reach, Witness, find_witnesses

__all__ = [
    "SECONDS",
    "Status",
    "TensorRange",
    "describe_overflow",
    "tensor_ranges",
    "to_json",
]

Values: TypeAlias = NDArray[Any]
SECONDS = 10.0  # of searching, unless told otherwise
_SHOWN = 8  # numbers of an input in a message
_TYPES = ("accum", "table", "exp_table", "inv_table", "inv_inp", "param", "slope", "shift")


class Status(enum.Enum):
    """What is known of a type's overflow mode."""

    CANNOT = "cannot overflow"  # proven: it never acts
    OVERFLOWS = "overflows, witness"  # an input that makes it act is known
    UNDECIDED = "not decided"  # neither


@dataclass(frozen=True, slots=True)
class TensorRange:
    """What is proven and what is reached at one input, cast, accumulator or layer.

    Args:
        tensor: its name in the graph.
        layer: the hls4ml layer that it belongs to; for an input its name.
        what: "input", "result", the name of hls4ml's type ("accum", "table" and so on), "internal"
            for a type that hls4ml derives itself, or "layer" where nothing is cast.
        format: the type.
        low, high: real values that no input in the given range can make the tensor exceed.
        arriving: the same bounds before the overflow mode.
        reached: the smallest and largest that arrived in the search; None if it did not look.
        spare_bits: how many integer bits the format could lose.
        zero_bits: how many fraction bits are always zero.
        narrowest: the narrowest format that gives the same bits here.
        exact: the narrowest format on this grid in which nothing overflows.
        status: whether the overflow mode can act.
        witness: an event that makes it act.
    """

    tensor: str
    layer: str
    what: str
    format: Format
    low: float
    high: float
    arriving: tuple[float, float]
    reached: tuple[float, float] | None
    spare_bits: int
    zero_bits: int
    narrowest: Format
    exact: Format
    status: Status
    witness: Witness | None = None

    @property
    def can_overflow(self) -> bool:
        """False where the overflow mode is proven never to act."""
        return self.status is not Status.CANNOT

    @property
    def wraps(self) -> bool:
        """True if a witness shows that numbers wrap here."""
        return self.status is Status.OVERFLOWS and self.format.overflow is Overflow.WRAP

    @property
    def verdict(self) -> str:
        """The status in words; of a saturating type, that it clips."""
        if self.status is Status.OVERFLOWS:
            return "wraps" if self.wraps else "clips"
        return str(self.status.value)


def tensor_ranges(
    graph: Graph,
    data: Any = None,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    engine: Callable[[], NumpyEngine] | None = None,
) -> dict[str, TensorRange]:
    """The ranges of inputs, layers (by layer name), and other casts and accumulators (by tensor).

    See `Design.ranges`.

    Args:
        engine: gives an engine of the graph, if there is one already.
    """
    given, events = given_ranges(graph, data)
    arriving = {
        name: arriving_interval(graph.tensors[name].format, bounds)
        for name, bounds in given.items()
    }
    inputs = {
        name: cast_interval(
            interval, wide_format(graph.tensors[name].format), graph.tensors[name].format
        )
        for name, interval in arriving.items()
    }
    lifted = lift_inner_wraps(explicit_guards(graph), inputs)
    ranges = refine_ranges(lifted, inputs)
    # guards are not the network's, and a lifted wrap has no type of the network and changes no bit
    sites = [
        site
        for site in overflow_sites(lifted, ranges)
        if site.node.output in graph.tensors
        and site.target == graph.tensors[site.node.output].format
        and not _is_meant(site)
    ]
    uncertain = [site for site in sites if site.above or site.below]
    reach: dict[str, Reach] = {}
    if uncertain and seconds > 0:
        reach = find_witnesses(
            lifted,
            uncertain,
            [Box.of(ranges[name]) for name in graph.inputs],
            {name: ranges[name].magnitude for site in uncertain for name in site.node.inputs},
            events=events,
            seconds=seconds,
            seed=seed,
        )
        _confirm(engine() if engine else NumpyEngine(graph), reach)
    zeros = propagate_zero_bits(lifted, ranges)
    narrowest = narrowest_formats(lifted, sites, ranges, zeros)
    result = {}
    for name in graph.inputs:
        result[name] = _input_range(graph, name, ranges[name], arriving, given, events)
    layers = {layer.tensor: layer for layer in graph.layers}
    for site in sites:
        tensor = site.node.output
        owner = layers.get(tensor) or _owner(graph, tensor)
        result[layers[tensor].name if tensor in layers else tensor] = _site_range(
            site, owner, graph, ranges[tensor], zeros[tensor], narrowest[tensor], reach.get(tensor)
        )
    for layer in graph.layers:
        if layer.name not in result:
            result[layer.name] = _layer_range(graph, layer, ranges, zeros)
    return result


def _is_meant(site: OverflowSite) -> bool:
    """True for the input adapter's wraps: they turn angles, and take codes as addresses."""
    return site.node.output.startswith(f"{SCOPE}/") and site.target.overflow is Overflow.WRAP


def describe_overflow(graph: Graph, found: TensorRange) -> str:
    """The witness of an overflow in words: tensor, type, value, what it becomes, the input."""
    witness = found.witness
    assert witness is not None
    where = f"{found.layer}, {found.what} ({found.tensor}), element {list(witness.element)}"
    if found.what == "input":
        where = f"input {found.tensor}, element {list(witness.element)}"
    at = "" if witness.partial_sum is None else f" after {witness.partial_sum + 1} additions"
    inputs = "; ".join(
        f"{name} = {_numbers(values)}"
        for name, values in zip(graph.inputs, witness.inputs, strict=True)
    )
    return (
        f"{where}: {found.format} {found.verdict}: {witness.value!r} arrives{at} and becomes "
        f"{witness.becomes!r}; {found.exact} would hold everything; {witness.origin}: {inputs}"
    )


def _numbers(values: Values) -> str:
    flat = [float(value) for value in values.ravel()]
    shown = ", ".join(f"{value:g}" for value in flat[:_SHOWN])
    return f"[{shown}, ... {len(flat)} numbers]" if len(flat) > _SHOWN else f"[{shown}]"


def to_json(graph: Graph, found: TensorRange) -> dict[str, Any]:
    """Everything known of a tensor as JSON values."""
    witness = found.witness
    return {
        "tensor": found.tensor,
        "layer": found.layer,
        "what": found.what,
        "format": str(found.format),
        "range": [found.low, found.high],
        "arriving": list(found.arriving),
        "reached": list(found.reached) if found.reached else None,
        "spare_bits": found.spare_bits,
        "zero_bits": found.zero_bits,
        "narrowest": str(found.narrowest),
        "exact": str(found.exact),
        "status": found.status.value,
        "verdict": found.verdict,
        "witness": witness
        and {
            "element": list(witness.element),
            "additions": None if witness.partial_sum is None else witness.partial_sum + 1,
            "value": witness.value,
            "becomes": witness.becomes,
            "origin": witness.origin,
            "inputs": {
                name: values.tolist()
                for name, values in zip(graph.inputs, witness.inputs, strict=True)
            },
        },
    }


def _confirm(engine: NumpyEngine, reach: Mapping[str, Reach]) -> None:
    """Runs every witness through the network as it is.

    Raises:
        MismatchError: a witness does not do what the search says; a fault of samebits.
    """
    found = {
        name: one.witness
        for name, one in reach.items()
        if one.witness is not None and one.witness.partial_sum is None
    }
    if not found:
        return
    inputs = [np.stack(arrays) for arrays in zip(*(w.inputs for w in found.values()), strict=True)]
    values = engine.run(inputs, list(found))
    for event, ((name, witness), array) in enumerate(zip(found.items(), values, strict=True)):
        got = float(array[(event, *witness.element)])
        if got != witness.becomes:
            raise errors.MismatchError(
                f"ranges: the witness of {name} gives {got!r} instead of {witness.becomes!r}; "
                "please report this"
            )


def _owner(graph: Graph, tensor: str) -> Layer | None:
    """The layer whose name stands in front of a tensor's."""
    owners = [layer for layer in graph.layers if tensor.startswith(f"{layer.name}/")]
    return max(owners, key=lambda layer: len(layer.name), default=None)


def _what(graph: Graph, layer: Layer | None, tensor: str, fmt: Format) -> str:
    if layer is None:
        return "internal"
    if tensor == layer.tensor:
        return "result"
    for name in _TYPES:
        if layer.types.get(name) == fmt:
            return name
    return "result" if fmt == graph.tensors[layer.tensor].format else "internal"


def _real(number: int, fmt: Format) -> float:
    return float(to_values(np.array([number], dtype=object), fmt)[0])


def _holding(fmt: Format, arriving: Interval) -> Format:
    """The narrowest format with the grid and the modes of `fmt` that holds all that arrives."""
    symmetric = fmt.overflow is Overflow.SAT_SYM  # and then one more number below zero
    low = min(arriving.minimum - symmetric, -1 if fmt.signed else 0)
    exact = Format.spanning(low, arriving.maximum, fmt.fraction)
    return replace(exact, rounding=fmt.rounding, overflow=fmt.overflow)


def _site_range(
    site: OverflowSite,
    owner: Layer | None,
    graph: Graph,
    interval: Interval,
    zeros: int,
    narrowest: Format,
    reach: Reach | None,
) -> TensorRange:
    tensor, fmt = site.node.output, site.target
    status = Status.CANNOT
    if site.above or site.below:
        status = Status.OVERFLOWS if reach and reach.witness else Status.UNDECIDED
    reached = None
    if reach is not None and reach.low is not None and reach.high is not None:
        reached = (_real(reach.low, fmt), _real(reach.high, fmt))
    return TensorRange(
        tensor,
        owner.name if owner else "",
        _what(graph, owner, tensor, fmt),
        fmt,
        _real(interval.minimum, fmt),
        _real(interval.maximum, fmt),
        (_real(site.arriving.minimum, fmt), _real(site.arriving.maximum, fmt)),
        reached,
        fmt.width - narrowed(fmt, interval.minimum, interval.maximum, 0).width,
        min(zeros, fmt.width),
        narrowest,
        narrowest if status is Status.CANNOT else _holding(fmt, site.arriving),
        status,
        reach.witness if reach else None,
    )


def _layer_range(
    graph: Graph, layer: Layer, ranges: Mapping[str, Interval], zeros: Mapping[str, int]
) -> TensorRange:
    """A layer that ends in an exact operation: its type holds everything."""
    fmt, interval = graph.tensors[layer.tensor].format, ranges[layer.tensor]
    low, high = interval.minimum, interval.maximum
    bounds = _real(low, fmt), _real(high, fmt)
    narrowest = narrowed(fmt, low, high, zeros[layer.tensor])
    return TensorRange(
        layer.tensor,
        layer.name,
        "layer",
        fmt,
        *bounds,
        bounds,
        None,
        fmt.width - narrowed(fmt, low, high, 0).width,
        min(zeros[layer.tensor], fmt.width),
        narrowest,
        narrowest,
        Status.CANNOT,
    )


def _input_range(
    graph: Graph,
    name: str,
    interval: Interval,
    arriving: Mapping[str, Interval],
    given: Mapping[str, InputRange],
    events: list[Values] | None,
) -> TensorRange:
    """An input: its own cast overflows if the given data leave its format."""
    fmt = graph.tensors[name].format
    low, high = interval.minimum, interval.maximum
    arrived = arriving.get(name, interval)
    witness = None
    if not arrived.within(fmt.min_saturated, fmt.max_mantissa):
        witness = _input_witness(graph, name, arrived, given, events)
    narrowest = narrowed(fmt, low, high, 0)
    return TensorRange(
        name,
        name,
        "input",
        fmt,
        _real(low, fmt),
        _real(high, fmt),
        (_real(arrived.minimum, fmt), _real(arrived.maximum, fmt)),
        None,
        fmt.width - narrowest.width,
        0,
        narrowest,
        _holding(fmt, arrived) if witness else narrowest,
        Status.OVERFLOWS if witness else Status.CANNOT,
        witness,
    )


def _input_witness(
    graph: Graph,
    name: str,
    arrived: Interval,
    given: Mapping[str, InputRange],
    events: list[Values] | None,
) -> Witness:
    """The element that leaves the format farthest, with its value in the data or the range."""
    fmt = graph.tensors[name].format
    above = arrived.maximum - fmt.max_mantissa >= fmt.min_saturated - arrived.minimum
    bound = arrived.high if above else arrived.low
    place = int(np.argmax(bound) if above else np.argmin(bound))
    element = tuple(int(i) for i in np.unravel_index(place, bound.shape))
    number = int(bound[element])
    became = int(overflow(np.array([number], dtype=object), fmt)[0])
    if events is not None:
        column = events[graph.inputs.index(name)].reshape(-1, bound.size)[:, place]
        event = int(np.argmax(column) if above else np.argmin(column))
        inputs, origin = [array[event] for array in events], f"event {event} of the data"
    else:
        inputs, origin = [], "an end of the given range"
        for other in graph.inputs:
            shape = graph.tensors[other].shape
            allowed = given.get(other, InputRange(np.zeros(shape), np.zeros(shape)))
            inputs.append(np.clip(np.zeros(shape), allowed.low, allowed.high))
        one = given[name].high if above else given[name].low
        inputs[graph.inputs.index(name)][element] = one[element]
    values = tuple(np.array(array, dtype=np.float64) for array in inputs)
    return Witness(values, element, None, _real(number, fmt), _real(became, fmt), origin)
