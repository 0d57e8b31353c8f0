"""Inputs that make a cast or an accumulator overflow: searched, and simulated when found.

The largest value that a linear layer can reach is at a corner of the box of inputs, and the signs
of the weights say at which; one step along the derivative (`direction.py`) goes there. Behind
nonlinear layers the same step is repeated from several starts, in smaller strides where the corner
is too far, with random moves when none helps. What is found is exact, what is not found proves
nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Carrier, Graph, Interval, Overflow
from samebits.compile.ops import Array, operation, site_of
from samebits.compile.ops.accumulate import CHAIN, tree_split
from samebits.compile.ops.arith import as_carrier, overflow, rescale, rescale_peak
from samebits.compile.ops.boundary import input_mantissas
from samebits.compile.passes.overflow import OverflowSite

from .direction import directions, values_needed
from .numpy_engine import NumpyEngine

__all__ = ["Box", "Reach", "Witness", "find_witnesses"]

Values = NDArray[np.float64]
_ELEMENTS = 1 << 22  # numbers held at once
_TARGETS, _STARTS, _ROUNDS, _PASSES = 6, 3, 24, 20
_STRIDES = (1.0, 0.4, 0.1, 0.02, 0.004)
_MOVED = (0.5, 0.1, 0.02)  # of the inputs, in a random move
_EXACT_DOUBLE = 1 << 53
_SEARCHED = "searched"


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """The mantissas that every input element may have: floats that hold integers."""

    low: Values
    high: Values

    @classmethod
    def of(cls, interval: Interval) -> Box:
        """The bounds, or the nearest doubles inside them."""
        inside = [
            [_inside(int(value), int(low), int(high)) for value in bound.flat]
            for bound, low, high in (
                (interval.low, interval.minimum, interval.maximum),
                (interval.high, interval.minimum, interval.maximum),
            )
        ]
        low, high = (np.array(values).reshape(interval.low.shape) for values in inside)
        return cls(low, high)


def _inside(value: int, low: int, high: int) -> float:
    number = float(value)
    if number > high:
        return math.nextafter(number, -math.inf)
    return math.nextafter(number, math.inf) if number < low else number


@dataclass(frozen=True, slots=True, eq=False)
class Witness:
    """One event that makes an overflow mode act.

    Args:
        inputs: real values in the order of the graph's inputs, each of that input's shape.
        element: the element of the tensor where it happens.
        partial_sum: for a saturating accumulator the number of the addition, from 0; else None.
        value: what arrives, rounded to the type's grid.
        becomes: what the overflow mode makes of it.
        origin: "event 12 of the data" or "searched".
    """

    inputs: tuple[Values, ...]
    element: tuple[int, ...]
    partial_sum: int | None
    value: float
    becomes: float
    origin: str


@dataclass(slots=True, eq=False)
class Reach:
    """The smallest and largest rounded mantissas that arrived at a site in any simulation."""

    low: int | None = None
    high: int | None = None
    witness: Witness | None = None


def find_witnesses(
    graph: Graph,
    sites: Sequence[OverflowSite],
    boxes: Sequence[Box],
    magnitudes: Mapping[str, int],
    *,
    events: Sequence[Array] | None = None,
    seconds: float,
    seed: int,
) -> dict[str, Reach]:
    """What the search reaches at every site, by the name of the tensor that the site makes.

    Args:
        graph: the sites' graph.
        boxes: what the inputs may be, in the graph's order.
        magnitudes: proven bound on the mantissas of every tensor that the sites read.
        events: data to try first, raw, in the graph's order.
        seconds: about how long the search may take; the first, common tries are always made.
        seed: of every random choice.
    """
    search = _Search(graph, sites, boxes, magnitudes, seed)
    if events is not None:
        search.try_events(events)
    search.try_pool()
    search.climb(time.monotonic() + seconds)
    return search.reach


class _Search:
    def __init__(
        self,
        graph: Graph,
        sites: Sequence[OverflowSite],
        boxes: Sequence[Box],
        magnitudes: Mapping[str, int],
        seed: int,
    ) -> None:
        self._graph, self._sites, self._boxes = graph, sites, boxes
        self._magnitudes = magnitudes
        self._rng = np.random.default_rng(seed)
        self._inputs = graph.tensors_of(graph.inputs)
        self._best: dict[tuple[str, int], list[Values]] = {}  # mantissas of the best event
        self.reach = {site.node.output: Reach() for site in sites}

    def try_events(self, events: Sequence[Array]) -> None:
        """The given data, as they are."""
        program = _Program(self._graph, self._sites)
        for start, part in _parts(events, program.events):
            mantissas = [
                np.clip(input_mantissas(array, tensor.format, Carrier.FLOAT64), box.low, box.high)
                for array, tensor, box in zip(part, self._inputs, self._boxes, strict=True)
            ]
            self._look(program, part, mantissas, "event {} of the data", start)

    def try_pool(self) -> None:
        """Corners of the box, its middle, zero, and random events."""
        program = _Program(self._graph, self._sites)
        events = min(512, max(16, program.events))
        pool = [self._pool(box, events) for box in self._boxes]
        for _, part in _parts(pool, program.events):
            self._look(program, self._real(part), part)

    def _pool(self, box: Box, events: int) -> Values:
        shape = (events, *box.low.shape)
        draw = self._rng.random(shape)
        uniform = np.floor(box.low + draw * (box.high - box.low + 1))
        corners = np.where(draw < 0.5, box.low, box.high)
        zero = np.clip(0.0, box.low, box.high)
        few = np.where(self._rng.random(shape) < 0.05, corners, zero)
        kind = np.arange(events).reshape(-1, *(1,) * box.low.ndim) % 3
        pool = np.where(kind == 0, corners, np.where(kind == 1, uniform, few))
        pool[:3] = box.low, box.high, zero
        return np.clip(pool, box.low, box.high)

    def climb(self, deadline: float) -> None:
        """Searches for every site that may overflow and has no witness yet, again and again."""
        goals = [
            (site, sign)
            for site in self._sites
            for sign, possible in ((1, site.above), (-1, site.below))
            if possible
        ]
        for number in range(_PASSES):
            # the first time also those that are known to wrap: to show the worst
            goals = [goal for goal in goals if not self._found(goal[0], number == 0)]
            for position, (site, sign) in enumerate(goals):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                if not self._found(site, number == 0):
                    share = left / (len(goals) - position)
                    self._climb_one(site, sign, time.monotonic() + share)

    def _found(self, site: OverflowSite, worst: bool = False) -> bool:
        """True if the site has a witness; with `worst` only if clipping is all that it does."""
        wraps = worst and site.target.overflow is Overflow.WRAP
        return self.reach[site.node.output].witness is not None and not wraps

    def _climb_one(self, site: OverflowSite, sign: int, deadline: float) -> None:
        """Several chains at once: each has an element that it wants as far out as possible."""
        program = _Program(self._graph, [site], gradients=True)
        places = np.repeat(_places(site, sign)[: program.events], _STARTS, axis=0)
        places = places[: max(1, program.events)]
        chains = np.arange(len(places))
        wanted = _wanted(program.graph, site, places, sign)
        x, scores = self._starts(site, sign, len(places)), np.full(len(places), -np.inf)
        stalled = np.zeros(len(places), dtype=int)
        for number in range(_ROUNDS):
            slopes = directions(program.graph, program.run(self._real(x)), wanted)
            best, best_scores = x, scores
            for stride in _STRIDES:
                moved = [
                    _towards(*item, stride) for item in zip(x, slopes, self._boxes, strict=True)
                ]
                arriving = self._look(program, self._real(moved), moved)[0]
                reached = sign * np.asarray(arriving[(chains, *places.T)], dtype=np.float64)
                better = reached > best_scores
                best_scores = np.where(better, reached, best_scores)
                best = [_choose(better, a, b) for a, b in zip(moved, best, strict=True)]
            if time.monotonic() > deadline or (number and self._found(site)):
                return
            stalled = np.where(best_scores > scores, 0, stalled + 1)
            x, scores = best, best_scores
            x = [
                _choose(stalled > 0, self._random_move(a, box, stalled), a)
                for a, box in zip(x, self._boxes, strict=True)
            ]

    def _starts(self, site: OverflowSite, sign: int, chains: int) -> list[Values]:
        """The best event so far, and random corners."""
        best = self._best.get((site.node.output, sign))
        arrays = []
        for position, box in enumerate(self._boxes):
            draw = self._rng.random((chains, *box.low.shape))
            x = np.where(draw < 0.5, box.low, box.high)
            if best is not None:
                x[::_STARTS] = best[position]
            arrays.append(x)
        return arrays

    def _random_move(self, x: Values, box: Box, stalled: NDArray[np.intp]) -> Values:
        """Some elements put anywhere or to an end; all of them after several moves in vain."""
        shape = (len(x), *(1,) * (x.ndim - 1))
        part = np.where(stalled % 4 == 0, 1.0, self._rng.choice(_MOVED, len(x))).reshape(shape)
        draw = self._rng.random(x.shape)
        if self._rng.random() < 0.5:
            draw = np.rint(draw)
        anywhere = np.rint(box.low + draw * (box.high - box.low))
        return np.where(self._rng.random(x.shape) < part, anywhere, x)

    def _real(self, mantissas: Sequence[Values]) -> list[Values]:
        return [
            np.ldexp(array, -tensor.format.fraction)
            for array, tensor in zip(mantissas, self._inputs, strict=True)
        ]

    def _look(
        self,
        program: _Program,
        inputs: Sequence[Values],
        mantissas: Sequence[Values],
        origin: str = _SEARCHED,
        start: int = 0,
    ) -> list[Array]:
        """Runs events and keeps the farthest they reach; gives what arrives at each site."""
        values, found = program.run(inputs), []
        for site in program.sites:
            arriving = _arriving(self._graph, site, values, self._magnitudes)
            found.append(arriving)
            for sign in (1, -1):
                place = np.argmax(arriving) if sign > 0 else np.argmin(arriving)
                event, *element = (int(i) for i in np.unravel_index(place, arriving.shape))
                one, number = [array[event] for array in inputs], int(arriving.flat[place])
                if _magnitude(site, self._magnitudes) > _EXACT_DOUBLE:
                    number = _exactly(self._graph, site, one, tuple(element))
                if self._keep(site, sign, number):
                    self._best[site.node.output, sign] = [array[event] for array in mantissas]
                    self._testify(site, one, tuple(element), number, origin.format(start + event))
        return found

    def _keep(self, site: OverflowSite, sign: int, number: int) -> bool:
        """Takes a mantissa over if it is farther out than all before."""
        reach = self.reach[site.node.output]
        if sign > 0 and (reach.high is None or number > reach.high):
            reach.high = number
        elif sign < 0 and (reach.low is None or number < reach.low):
            reach.low = number
        else:
            return False
        return True

    def _testify(
        self,
        site: OverflowSite,
        inputs: Sequence[Values],
        place: tuple[int, ...],
        number: int,
        origin: str,
    ) -> None:
        reach, target = self.reach[site.node.output], site.target
        excess = max(target.min_saturated - number, number - target.max_mantissa)
        if excess <= 0:
            return
        if reach.witness:  # the worst, but an event of the data rather than any other
            known = reach.witness.value / target.lsb
            if reach.witness.origin != _SEARCHED or excess <= max(
                target.min_saturated - known, known - target.max_mantissa
            ):
                return
        became = int(overflow(np.array([number], dtype=object), target)[0])
        reach.witness = Witness(
            tuple(np.array(array, dtype=np.float64) for array in inputs),
            place[1:] if site.partial else place,
            place[0] if site.partial else None,
            number * target.lsb,
            became * target.lsb,
            origin,
        )


class _Program:
    """The part of a graph that some sites need, ready to run.

    `events` is how many events to run at once.
    """

    def __init__(
        self, graph: Graph, sites: Sequence[OverflowSite], gradients: bool = False
    ) -> None:
        self.sites = sites
        names = tuple(dict.fromkeys(name for site in sites for name in site.node.inputs))
        self.graph = replace(graph, outputs=names, layers=()).pruned()
        if gradients:
            names = tuple(dict.fromkeys((*names, *values_needed(self.graph))))
        self._names = names
        self._engine = NumpyEngine(self.graph)
        held = sum(math.prod(tensor.shape) for tensor in self.graph.tensors_of(names))
        self.events = max(1, _ELEMENTS // max(1, held))

    def run(self, inputs: Sequence[Values]) -> dict[str, Values]:
        """Real values of all that the sites read, and of what the derivative needs."""
        return dict(zip(self._names, self._engine.run(inputs, self._names), strict=True))


def _parts(arrays: Sequence[Values], events: int) -> Iterator[tuple[int, list[Values]]]:
    for start in range(0, len(arrays[0]), events):
        yield start, [array[start : start + events] for array in arrays]


def _choose(chosen: NDArray[np.bool_], a: Values, b: Values) -> Values:
    return np.where(chosen.reshape(-1, *(1,) * (a.ndim - 1)), a, b)


def _towards(x: Values, slope: Values, box: Box, stride: float) -> Values:
    """Part of the way to the corner that the slope points to."""
    corner = np.where(slope > 0, box.high, np.where(slope < 0, box.low, x))
    return np.clip(np.rint(x + stride * (corner - x)), box.low, box.high)


def _magnitude(site: OverflowSite, magnitudes: Mapping[str, int]) -> int:
    """A bound on the mantissas that arrive, on the source's grid."""
    return (site.terms + 1) * max(magnitudes[name] for name in site.node.inputs)


def _arriving(
    graph: Graph,
    site: OverflowSite,
    values: Mapping[str, Array],
    magnitudes: Mapping[str, int],
) -> Array:
    """The mantissas (N, *shape of the site's bounds) that arrive, rounded."""
    magnitude = _magnitude(site, magnitudes)
    peak = rescale_peak(magnitude, site.source, site.target)
    carrier = Carrier.for_magnitude(peak)
    if carrier is Carrier.FLOAT32 or magnitude > _EXACT_DOUBLE:
        carrier = Carrier.FLOAT64
    arrays = []
    for name in site.node.inputs:
        array = values[name]
        if array.dtype != object:
            whole = np.rint(np.ldexp(array, graph.tensors[name].format.fraction))
            array = as_carrier(whole, carrier)
        arrays.append(array)
    if site.node.op == "cast":
        return rescale(arrays[0], site.source, site.target)
    sums = _sums(site, *arrays)
    return sums if site.partial else sums[:, -1]


def _sums(site: OverflowSite, terms: Array, start: Array | None = None) -> Array:
    """All partial sums (N, count, ...), in the order in which the accumulator makes them."""
    if site.node.attrs["kind"] == CHAIN:
        sums = np.cumsum(terms[:, list(_additions(site)[-1])], axis=1)
        return sums if start is None else np.asarray(sums + start[:, None])
    return np.stack([terms[:, list(part)].sum(axis=1) for part in _additions(site)], axis=1)


def _additions(site: OverflowSite) -> list[Sequence[int]]:
    """The terms of every partial sum; see `compile.ops.accumulate.partial_sums`."""
    if site.node.attrs["kind"] == CHAIN:
        order = site.node.attrs["order"]
        assert isinstance(order, tuple)
        return [order[: count + 1] for count in range(len(order))]
    spans: list[Sequence[int]] = []

    def branch(low: int, high: int) -> None:
        if high - low > 1:
            middle = low + tree_split(high - low)
            branch(low, middle)
            branch(middle, high)
            spans.append(range(low, high))

    branch(0, site.terms)
    return spans or [range(site.terms)]


def _places(site: OverflowSite, sign: int) -> NDArray[np.intp]:
    """The elements whose proven bound is farthest out, one row of indices each."""
    bound = np.asarray(site.arriving.high if sign > 0 else -site.arriving.low, dtype=np.float64)
    farthest = np.argsort(-bound.ravel(), kind="stable")[:_TARGETS]
    every = np.argwhere(np.ones(bound.shape, dtype=bool))
    return every.reshape(bound.size, bound.ndim)[farthest]


def _wanted(
    graph: Graph, site: OverflowSite, places: NDArray[np.intp], sign: int
) -> dict[str, Values]:
    """For every chain the tensors' elements whose sum it wants large, or small."""
    wanted = {
        name: np.zeros((len(places), *graph.tensors[name].shape)) for name in site.node.inputs
    }
    if site.node.op == "cast":
        wanted[site.node.inputs[0]][(np.arange(len(places)), *places.T)] = sign
        return wanted
    terms, *start = site.node.inputs
    sums = _additions(site)
    for chain, place in enumerate(places):
        number, element = (place[0], place[1:]) if site.partial else (len(sums) - 1, place)
        for name in start:
            wanted[name][(chain, *element)] = sign
        for term in sums[number]:
            wanted[terms][(chain, term, *element)] = sign
    return wanted


def _exactly(
    graph: Graph, site: OverflowSite, inputs: Sequence[Values], place: tuple[int, ...]
) -> int:
    """What arrives at a place in one event, in Python integers throughout."""
    part = replace(graph, outputs=tuple(site.node.inputs), layers=()).pruned()
    live = {
        name: as_carrier(data, Carrier.PYTHON)[..., None] for name, data in part.constants.items()
    }
    for name, values in zip(part.inputs, inputs, strict=True):
        fmt = part.tensors[name].format
        live[name] = input_mantissas(np.asarray(values)[..., None], fmt, Carrier.PYTHON)
    for node in part.nodes:
        arrays = [live[name] for name in node.inputs]
        result = operation(node.op).kernel(site_of(part, node), arrays)
        live[node.output] = as_carrier(result, Carrier.PYTHON)
    read = {name: np.moveaxis(live[name], -1, 0) for name in site.node.inputs}
    arriving = _arriving(graph, site, read, dict.fromkeys(site.node.inputs, _EXACT_DOUBLE + 1))
    return int(arriving[(0, *place)])
