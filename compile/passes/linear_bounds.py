"""Linear bounds: what a sum can reach when the layers before it are seen as one.

Interval arithmetic treats the inputs of a layer as independent. Here the wanted sum is followed
backwards, as one linear expression, through several layers to where its bounds are known:

1. linear operations turn coefficients of their result into coefficients of their operands;
2. rounding adds an error between known ends;
3. a limit (ReLU, saturation) that may act is put between two straight lines;
4. whatever else is met stays as the numbers it is, each at the end of its proven range.

(The backward bounds of Zhang et al., arXiv:1811.00866, CROWN, for fixed-point numbers.) Computed in
float64: a bound on all its rounding errors is added to the result, so it is a proof.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np

from ..ir import Format, Graph, Interval, Node, Overflow, Rounding
from ..ops.boundary import to_values
from ..ops.cast import rounded_interval
from .adjoint import ADJOINTS, Values

__all__ = ["SUMS", "Ancestry", "upper_bounds"]

SUMS = ("dot", "truncated_dot", "sum")
_LINEAR = ("reshape", "transpose", "gather", "concat", "add", "sub", "sum", "shift")
_PRODUCTS = ("dot", "truncated_dot", "mul", "divide")
_EXACT_DOUBLE = 1 << 53
_ROUNDING = 2.0**-51  # twice the relative error of a double's operation, with room for its own
_INFINITE = 2.0**1000


class Ancestry:
    """A graph prepared for walks backwards.

    `deepest` is how many layers of sums a walk passes: each widens what the lines leave open.
    """

    def __init__(self, graph: Graph, deepest: int = 6) -> None:
        self.graph = graph
        self.made_by = {node.output: node for node in graph.nodes}
        self._deepest = deepest
        self._position = {node.output: number for number, node in enumerate(graph.nodes)}
        self._known: dict[str, Values] = {}

    def known(self, name: str) -> Values:
        """A constant's real values with an axis of rows."""
        if name not in self._known:
            fmt = self.graph.tensors[name].format
            self._known[name] = to_values(self.graph.constants[name], fmt)[None]
        return self._known[name]

    def behind(self, name: str) -> list[Node]:
        """The nodes that a walk from a tensor passes, the last of the graph first."""
        depth = {name: 0}
        nodes: list[Node] = []
        waiting = [(-self._position.get(name, -1), name)]
        while waiting:
            # the last in the graph's order: all its readers have been there
            tensor = heapq.heappop(waiting)[1]
            node = self.made_by.get(tensor)
            if node is None or not self._passes(node):
                continue
            below = depth[tensor] + (node.op in SUMS)
            if below > self._deepest:
                continue
            nodes.append(node)
            for source in node.inputs:
                if source not in self.graph.constants:
                    if source not in depth:
                        heapq.heappush(waiting, (-self._position.get(source, -1), source))
                    depth[source] = max(depth.get(source, 0), below)
        return nodes

    def _passes(self, node: Node) -> bool:
        """True if the rules 1 to 3 know the operation."""
        constants = [name in self.graph.constants for name in node.inputs]
        if node.op in _PRODUCTS or node.op in ("max", "min"):
            return sum(constants) == 1 and not (node.op == "divide" and constants[0])
        return node.op in _LINEAR or node.op == "cast"


def upper_bounds(
    ancestry: Ancestry,
    nodes: Sequence[Node],
    ranges: Mapping[str, Interval],
    name: str,
    rows: Values,
) -> Values:
    """For every row of coefficients (N, *shape) of a tensor, a bound that no sum exceeds.

    Args:
        nodes: `ancestry.behind(name)`.
        ranges: sound bounds of all tensors up to `name`.
    """
    walk = _Walk(ancestry, ranges, len(rows))
    walk.add(name, rows)
    for node in nodes:
        walk.step(node)
    return walk.finish()


class _Walk:
    def __init__(self, ancestry: Ancestry, ranges: Mapping[str, Interval], count: int) -> None:
        self._graph, self._ancestry, self._ranges = ancestry.graph, ancestry, ranges
        self._rows: dict[str, Values] = {}
        self._total, self._error = np.zeros(count), np.zeros(count)

    def add(self, name: str, rows: Values) -> None:
        """More coefficients of a tensor."""
        if name in self._rows:
            rows = self._rows[name] + rows
            self._charge(1, np.abs(rows), name)
        self._rows[name] = rows

    def step(self, node: Node) -> None:
        """The coefficients of a node's result become those of its operands."""
        rows = self._rows.pop(node.output, None)
        if rows is None:
            return
        constants = [name for name in node.inputs if name in self._graph.constants]
        if node.op in ("max", "min"):
            (limit,) = (self._ancestry.known(name) for name in constants)
            (x,) = (name for name in node.inputs if name not in constants)
            fmt = self._graph.tensors[x].format
            ends = (limit, _INFINITE) if node.op == "max" else (-_INFINITE, limit)
            self._limited(node, x, rows, self._ranges[x], fmt, *ends)
        elif node.op == "cast":
            self._cast(node, rows)
        else:
            if node.op == "truncated_dot":
                self._add_truncation(node, rows, constants)
            if node.op == "divide":
                lsb = self._graph.tensors[node.output].format.lsb
                self._add_sum(np.abs(rows) * lsb)
            self._linear(node, rows)

    def finish(self) -> Values:
        """The bounds, everything that is left at the end of its range."""
        for name, rows in self._rows.items():
            self._settle(name, rows)
        return self._total + self._error * (1 + 2.0**-20)

    def _ends(self, name: str) -> tuple[Values, Values]:
        fmt, interval = self._graph.tensors[name].format, self._ranges[name]
        return _real(interval.low, fmt)[None], _real(interval.high, fmt)[None]

    def _add_sum(self, terms: Values) -> None:
        """Adds the sum of each row's terms to the bound, and what the addition may have lost."""
        flat = terms.reshape(len(terms), -1)
        self._total = self._total + flat.sum(axis=1)
        lost = (flat.shape[1] + 2) * _ROUNDING * np.abs(flat).sum(axis=1)
        self._error = self._error + lost + _ROUNDING * np.abs(self._total)

    def _charge(self, count: int, magnitudes: Values, name: str) -> None:
        """The error of coefficients that are sums of `count` terms of these magnitudes in all."""
        low, high = self._ends(name)
        largest = np.maximum(np.abs(low), np.abs(high))
        lost = (magnitudes * largest).reshape(len(magnitudes), -1).sum(axis=1)
        self._error = self._error + (count + 2) * _ROUNDING * lost

    def _settle(self, name: str, rows: Values) -> None:
        """Rule 4."""
        if name in self._graph.constants:
            self._add_sum(rows * self._ancestry.known(name))
            return
        low, high = self._ends(name)
        self._add_sum(np.where(rows > 0, rows * high, rows * low))

    def _linear(self, node: Node, rows: Values) -> None:
        """Rule 1."""
        rule, graph = ADJOINTS[node.op], self._graph
        known = {
            name: self._ancestry.known(name) for name in node.inputs if name in graph.constants
        }
        sizes = {name: np.abs(values) for name, values in known.items()}
        count = 1 + max(int(np.prod(graph.tensors[node.output].shape)), 1)
        sums = node.op not in ("reshape", "transpose", "concat", "shift", "sum")
        bounds = dict(rule(graph, node, sizes, np.abs(rows))) if sums else {}
        for name, part in rule(graph, node, known, rows):
            if name in graph.constants:
                self._settle(name, part)
                continue
            if sums:
                self._charge(count, np.abs(bounds[name]), name)
            self.add(name, part)

    def _add_truncation(self, node: Node, rows: Values, constants: Sequence[str]) -> None:
        """Rule 2 for products rounded down one by one: those with a weight of zero lose nothing."""
        graph, bits = self._graph, node.attrs["bits"]
        assert isinstance(bits, int)
        tensors = graph.tensors_of(node.inputs)
        shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
        weights = np.broadcast_to(graph.constants[constants[0]] != 0, shape)
        lsb = 2.0 ** -(tensors[0].format.fraction + tensors[1].format.fraction)
        lost = weights.sum(axis=0)[None] * (((1 << bits) - 1) * lsb)
        self._add_sum(np.where(rows < 0, -rows * lost, 0.0))

    def _cast(self, node: Node, rows: Values) -> None:
        """Rule 2, and 3 where the type saturates."""
        (x,) = node.inputs
        source, target = self._graph.tensors[x].format, self._graph.tensors[node.output].format
        arriving = rounded_interval(self._ranges[x], source, target)
        if not arriving.within(target.min_saturated, target.max_mantissa):
            if target.overflow not in (Overflow.SAT, Overflow.SAT_SYM):
                self._settle(node.output, rows)
                return
            if arriving.magnitude > _EXACT_DOUBLE:
                self._settle(node.output, rows)
                return
            ends = target.min_saturated * target.lsb, target.max_mantissa * target.lsb
            rows = self._between_lines(rows, arriving, target, *ends)
        below, above = _rounding_error(source, target)
        if below or above:
            self._add_sum(np.where(rows > 0, rows * above, rows * below))
        self.add(x, rows)

    def _limited(
        self,
        node: Node,
        x: str,
        rows: Values,
        interval: Interval,
        fmt: Format,
        low: Values | float,
        high: Values | float,
    ) -> None:
        """Rule 3 for max(x, low) or min(x, high)."""
        tensors = self._graph.tensors_of((x, *node.inputs))
        exact = all(self._ranges[one.name].magnitude <= _EXACT_DOUBLE for one in tensors)
        if not exact or tensors[0].shape != self._graph.tensors[node.output].shape:
            self._settle(node.output, rows)
            return
        self.add(x, self._between_lines(rows, interval, fmt, low, high))

    def _between_lines(
        self,
        rows: Values,
        interval: Interval,
        fmt: Format,
        low: Values | float,
        high: Values | float,
    ) -> Values:
        """The coefficients of r that bound those of min(max(r, low), high) for r in the interval.

        Any slope gives a line; how far it must be moved is seen at the ends and at the two bends.
        """
        a, b = _real(interval.low, fmt)[None], _real(interval.high, fmt)[None]
        first, last = np.clip(low, a, b), np.clip(high, a, b)
        # above: from the left end to the upper bend; below: from the lower bend to the right end
        chord = _slope(_limit(last, low, high) - _limit(a, low, high), last - a)
        rise = _slope(_limit(b, low, high) - _limit(first, low, high), b - first)
        flat = np.where(b - first > first - a, rise, 0.0)
        slope = np.where(rows > 0, chord, np.where(b > high, rise, np.where(a < low, flat, 1.0)))
        distances = [_limit(r, low, high) - slope * r for r in (a, first, last, b)]
        moved = np.where(rows > 0, np.maximum.reduce(distances), np.minimum.reduce(distances))
        sizes = np.maximum(np.abs(a), np.abs(b)) + np.abs(_limit(a, low, high))
        self._add_sum(rows * moved)
        lost = (np.abs(rows) * (sizes + np.abs(_limit(b, low, high)))).reshape(len(rows), -1)
        self._error = self._error + 8 * _ROUNDING * lost.sum(axis=1)
        self._error = self._error + _ROUNDING * np.abs(rows * moved).reshape(len(rows), -1).sum(1)
        return np.asarray(rows * slope)


def _limit(values: Values, low: Values | float, high: Values | float) -> Values:
    return np.minimum(np.maximum(values, low), high)


def _slope(rise: Values, run: Values) -> Values:
    safe = np.where(run > 0, run, 1.0)
    return np.where(run > 0, np.clip(rise / safe, 0.0, 1.0), 0.0)


def _real(mantissas: np.ndarray[tuple[int, ...], np.dtype[np.object_]], fmt: Format) -> Values:
    return np.asarray(mantissas, dtype=np.float64) * fmt.lsb


def _rounding_error(source: Format, target: Format) -> tuple[float, float]:
    """The least and the largest of rounded value less value."""
    if source.fraction <= target.fraction:
        return 0.0, 0.0
    step, fine = target.lsb, source.lsb
    match target.rounding:
        case Rounding.TRN:
            return fine - step, 0.0
        case Rounding.TRN_ZERO:
            return fine - step, step - fine
    return -step / 2, step / 2
