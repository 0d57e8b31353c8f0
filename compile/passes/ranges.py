"""Range analysis: for every tensor, sound bounds of every element's mantissa."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..ir import Graph, Interval, Node
from ..ops import operation, site_of
from .adjoint import Values
from .linear_bounds import SUMS, Ancestry, upper_bounds
from .relations import is_largest_of, sharpen

__all__ = ["propagate_ranges", "refine_ranges"]

_NUMBERS = 1 << 21  # coefficients held at once
_WORK = 1 << 27  # coefficients computed in all walks of a graph
_NODE = 1 << 11  # what it costs to pass a node, in coefficients
_EXACT = 1 << 52

Rows = Callable[[int, int], Values]


def propagate_ranges(
    graph: Graph, inputs: Mapping[str, Interval] | None = None
) -> dict[str, Interval]:
    """Bounds by tensor name; inputs span their whole format unless narrower bounds are given.

    Every operation's range rule is sound, so no input whatever can leave these bounds.
    """
    ranges = _start(graph, inputs)
    made_by = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        ranges[node.output] = _bounds(graph, made_by, node, ranges)
    return ranges


def refine_ranges(
    graph: Graph, inputs: Mapping[str, Interval] | None = None
) -> dict[str, Interval]:
    """As `propagate_ranges`, with what several layers together can reach (`linear_bounds.py`).

    Narrower from the second layer of sums on, and slower; very large tensors keep what interval
    arithmetic gives.
    """
    ranges = _start(graph, inputs)
    refinement = _Refinement(graph, ranges)
    cast = {node.inputs[0] for node in graph.nodes if node.op == "cast"}
    made_by = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        ranges[node.output] = _bounds(graph, made_by, node, ranges)
        if node.output in cast and node.op in (*SUMS, "add", "sub"):
            ranges[node.output] = refinement.of(node)
    return ranges


def _start(graph: Graph, inputs: Mapping[str, Interval] | None) -> dict[str, Interval]:
    ranges: dict[str, Interval] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        ranges[name] = Interval.of_format(tensor.format, tensor.shape)
    ranges.update(inputs or {})
    for name, mantissas in graph.constants.items():
        ranges[name] = Interval.of_constant(mantissas)
    return ranges


def _bounds(
    graph: Graph, made_by: Mapping[str, Node], node: Node, ranges: Mapping[str, Interval]
) -> Interval:
    intervals = [ranges[name] for name in node.inputs]
    interval = operation(node.op).range(site_of(graph, node), intervals)
    return sharpen(graph, made_by, node, interval, ranges)


class _Refinement:
    """Walks backwards from one tensor after the other, as long as the work is worth it."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Interval]) -> None:
        self._graph, self._ranges = graph, ranges
        self._ancestry = Ancestry(graph)
        self._left = _WORK

    def of(self, node: Node) -> Interval:
        """The bounds of a sum, narrower where the layers before it say so."""
        interval = self._ranges[node.output]
        if node.op == "sub" and is_largest_of(self._graph, self._ancestry.made_by, *node.inputs):
            return self._distances(node, interval)
        nodes = self._ancestry.behind(node.output)
        if sum(one.op in SUMS or self._adds(one) for one in nodes) < 2:
            return interval
        shape, size = interval.low.shape, interval.low.size

        def rows(sign: float) -> Rows:
            return lambda start, stop: sign * np.eye(stop - start, size, start).reshape(-1, *shape)

        if not self._affordable(nodes, 2 * size):
            return interval
        high = self._walk(nodes, node.output, size, rows(1.0))
        low = self._walk(nodes, node.output, size, rows(-1.0))
        if high is None or low is None:
            return interval
        return Interval(
            np.maximum(interval.low, -low.reshape(shape)),
            np.minimum(interval.high, high.reshape(shape)),
        )

    def _distances(self, node: Node, interval: Interval) -> Interval:
        """Bounds of max(x) - x[i] from those of all x[j] - x[i]."""
        x = node.inputs[1]
        shape, nodes = self._graph.tensors[x].shape, self._ancestry.behind(x)
        count, size = shape[0], int(np.prod(shape))
        if not nodes or not self._affordable(nodes, count * size):
            return interval

        def rows(start: int, stop: int) -> Values:
            # pair (j, i) of each of the rest: row (j * count + i) * rest + r
            rest = size // count
            first, remainder = np.divmod(np.arange(start, stop), size)
            pairs = np.zeros((stop - start, size))
            at = np.arange(stop - start)
            pairs[at, first * rest + remainder % rest] += 1
            pairs[at, remainder] -= 1
            return pairs.reshape(-1, *shape)

        found = self._walk(nodes, x, count * size, rows)
        if found is None:
            return interval
        largest = np.maximum(found.reshape(count, *shape).max(axis=0), 0)
        return Interval(interval.low, np.minimum(interval.high, largest))

    def _adds(self, node: Node) -> bool:
        """True for the sum or difference of two tensors that are no constants."""
        constants = self._graph.constants
        return node.op in ("add", "sub") and not any(name in constants for name in node.inputs)

    def _held(self, nodes: Sequence[Node]) -> int:
        names = {name for node in nodes for name in (node.output, *node.inputs)}
        tensors = (self._graph.tensors[name] for name in names - set(self._graph.constants))
        return sum(int(np.prod(tensor.shape)) for tensor in tensors)

    def _affordable(self, nodes: Sequence[Node], rows: int) -> bool:
        """Takes the work from what is left if there is enough."""
        work = rows * self._held(nodes) + len(nodes) * _NODE
        if work > self._left:
            return False
        self._left -= work
        return True

    def _walk(self, nodes: Sequence[Node], name: str, count: int, rows: Rows) -> Values | None:
        """The largest mantissas that the sums can be, as Python integers; None beyond doubles."""
        block = max(1, _NUMBERS // self._held(nodes))
        parts = [
            upper_bounds(self._ancestry, nodes, self._ranges, name, rows(i, min(i + block, count)))
            for i in range(0, count, block)
        ]
        fraction = self._graph.tensors[name].format.fraction
        mantissas = np.floor(np.ldexp(np.concatenate(parts), fraction))
        if not (np.abs(mantissas) < _EXACT).all():
            return None
        return np.asarray(mantissas.astype(np.int64).astype(object))
