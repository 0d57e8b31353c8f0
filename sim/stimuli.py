"""Adversarial inputs: where fixed-point implementations disagree if they disagree at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Format, Graph, Interval, Node, Rounding
from samebits.compile.ops.cast import rounded_interval
from samebits.compile.passes import propagate_ranges

from .numpy_engine import NumpyEngine

__all__ = ["CastCoverage", "adversarial_inputs", "as_finite", "cover_casts"]

Inputs = list[NDArray[np.float64]]
_RANDOM_EVENTS, _FEWEST_RANDOM_EVENTS = 512, 32
_PLACES, _FEWEST_PLACES = 1024, 16  # elements that get a value alone
_MANY_NUMBERS = 1 << 23  # of large images fewer events are made
_PER_CONDITION = 4  # events kept for every condition of every cast


def adversarial_inputs(
    graph: Graph, dtypes: Sequence[type[np.floating]], seed: int
) -> dict[str, Inputs]:
    """Inputs by kind, each a list of arrays (N, *input shape) in the order of the graph's inputs.

    zeros; extremes of the input format; saturation: beyond it, both ways; subnormals of the input's
    float type; ties: halfway between two input mantissas, and one float step beside; uniform: the
    whole format at random; small: a few mantissas around zero.

    Args:
        dtypes: float32 or float64 for every input: what the engines take, and in which all values
            are exact.
    """
    rng = np.random.default_rng(seed)
    kinds: dict[str, Inputs] = {}
    for tensor, dtype in zip(graph.tensors_of(graph.inputs), dtypes, strict=True):
        size = int(np.prod(tensor.shape))
        for kind, rows in _one_input(tensor.format, dtype, size, rng).items():
            exact = as_finite(rows, dtype).astype(np.float64)
            kinds.setdefault(kind, []).append(exact.reshape(len(rows), *tensor.shape))
    # several inputs: every kind needs as many events of each
    for kind, arrays in kinds.items():
        events = max(len(array) for array in arrays)
        kinds[kind] = [np.resize(array, (events, *array.shape[1:])) for array in arrays]
    return kinds


def as_finite(values: NDArray[np.float64], dtype: type[np.floating]) -> NDArray[Any]:
    """The nearest numbers of a float type; what is beyond its largest becomes that."""
    largest = np.finfo(dtype).max
    return np.clip(values, -largest, largest).astype(dtype)


def _one_input(
    fmt: Format, dtype: type[np.floating], size: int, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    low, high, lsb = fmt.min_mantissa * fmt.lsb, fmt.max_mantissa * fmt.lsb, fmt.lsb
    at_most = _MANY_NUMBERS // max(1, size)
    events = min(_RANDOM_EVENTS, max(_FEWEST_RANDOM_EVENTS, at_most // 2 * 2))
    count = min(size, _PLACES, max(_FEWEST_PLACES, at_most // 8))
    places = np.unique(np.linspace(0, max(0, size - 1), count).round().astype(int))

    def everywhere(values: Sequence[float]) -> NDArray[np.float64]:
        """Each value in all elements, then in one at a time, then at random places."""
        rows = [np.full(size, value) for value in values]
        rows += [
            np.where(np.arange(size) == place, value, 0.0) for value in values for place in places
        ]
        rows += [rng.choice(np.array(values), size) for _ in range(32)]
        return np.array(rows)

    shape = (events, size)
    if fmt.width < 63:
        whole = rng.integers(fmt.min_mantissa, fmt.max_mantissa, shape, endpoint=True).astype(float)
    else:  # NumPy draws 64-bit integers only; a float keeps 53 bits of any of them
        whole = np.floor(rng.uniform(float(fmt.min_mantissa), float(fmt.max_mantissa), shape))
    near = rng.integers(-8, 8, shape, endpoint=True).astype(float)
    ties = np.concatenate([whole[: events // 2], near[: events // 2]]) + 0.5
    ties = as_finite(ties * lsb, dtype)
    step = np.nextafter(ties, rng.choice(np.array([-np.inf, np.inf], dtype), shape))
    beside = np.where(rng.random(shape) < 0.5, ties, step)
    span = max(high, -low)
    info = np.finfo(dtype)
    least, largest = float(info.smallest_subnormal), float(info.max)
    tiny = (least, 700 * least, float(np.nextafter(info.tiny, dtype(0))))
    return {
        "zeros": np.zeros((1, size)),
        "extremes": everywhere([low, high, high - lsb, low + lsb, lsb, -lsb]),
        "saturation": everywhere([high + lsb, low - lsb, 2 * span, -2 * span, largest, -largest]),
        "subnormals": everywhere([sign * value for value in tiny for sign in (1.0, -1.0)]),
        "ties": np.concatenate([ties, beside]).astype(np.float64),
        "uniform": whole * lsb,
        "small": near * lsb,
    }


@dataclass(frozen=True, slots=True)
class CastCoverage:
    """How many of the random events meet the corner cases of one cast.

    `reached` counts events per condition: "tie" (the dropped bits are exactly one half), "above"
    and "below" (the overflow mode acts). Conditions that range analysis excludes are not listed.
    """

    tensor: str
    reached: dict[str, int]


def cover_casts(
    graph: Graph, engine: NumpyEngine, pool: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.intp], list[CastCoverage]]:
    """Events of the pool that reach ties and overflows inside the network, and the coverage.

    Returns the sorted positions of at most a few events per condition, and one record per cast
    that can round to nearest or overflow.
    """
    ranges = propagate_ranges(graph)
    conditions = {
        node.output: _conditions(graph, node, ranges) for node in graph.nodes if node.op == "cast"
    }
    casts = [node for node in graph.nodes if conditions.get(node.output)]
    sources = list(dict.fromkeys(node.inputs[0] for node in casts))
    values = dict(zip(sources, engine.run(pool, sources), strict=True))
    keep: set[int] = set()
    coverage = []
    for node in casts:
        target = graph.tensors[node.output].format
        scaled = np.ldexp(values[node.inputs[0]], target.fraction).reshape(len(pool[0]), -1)
        hits = {
            "tie": scaled - np.floor(scaled) == 0.5,
            "above": scaled > target.max_mantissa,
            "below": scaled < target.min_saturated,
        }
        reached = {}
        for condition in conditions[node.output]:
            events = np.flatnonzero(hits[condition].any(axis=1))
            reached[condition] = len(events)
            keep.update(int(event) for event in events[:_PER_CONDITION])
        coverage.append(CastCoverage(node.output, reached))
    return np.array(sorted(keep), dtype=np.intp), coverage


def _conditions(graph: Graph, node: Node, ranges: Mapping[str, Interval]) -> list[str]:
    """The corner cases of a cast that range analysis does not exclude."""
    source, target = graph.tensors[node.inputs[0]].format, graph.tensors[node.output].format
    conditions = []
    to_nearest = target.rounding not in (Rounding.TRN, Rounding.TRN_ZERO)
    if source.fraction > target.fraction and to_nearest:
        conditions.append("tie")
    rounded = rounded_interval(ranges[node.inputs[0]], source, target)
    if rounded.maximum > target.max_mantissa:
        conditions.append("above")
    if rounded.minimum < target.min_saturated:
        conditions.append("below")
    return conditions
