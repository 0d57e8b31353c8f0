"""Range analysis: for every tensor, sound bounds of every element's mantissa."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir import Graph, Interval, Node
from ..ops import operation, site_of
from .adjoint import Values
from .linear_bounds import SUMS, Ancestry, upper_bounds
from .relations import is_largest_of, sharpen

__all__ = ["propagate_ranges", "refine_ranges"]

_NUMBERS = 1 << 21  # coefficients held at once
_WORK = 1 << 28  # coefficients of all walks for one tensor
_STEPS = 40_000  # nodes passed in all walks of a graph
_EXACT = 1 << 52


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
    ancestry = Ancestry(graph)
    cast = {node.inputs[0] for node in graph.nodes if node.op == "cast"}
    steps = _STEPS
    for node in graph.nodes:
        interval = _bounds(graph, ancestry.made_by, node, ranges)
        ranges[node.output] = interval
        if steps > 0 and node.output in cast and node.op in (*SUMS, "add", "sub"):
            ranges[node.output], passed = _refined(ancestry, node, interval, ranges)
            steps -= passed
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


def _refined(
    ancestry: Ancestry, node: Node, interval: Interval, ranges: Mapping[str, Interval]
) -> tuple[Interval, int]:
    """Narrower bounds of a sum, and how many nodes were passed to find them."""
    graph = ancestry.graph
    if node.op == "sub" and is_largest_of(graph, ancestry.made_by, *node.inputs):
        return _refined_distances(ancestry, node, interval, ranges)
    nodes = ancestry.behind(node.output)
    mixing = sum(one.op in SUMS or _adds(graph, one) for one in nodes)
    size = interval.low.size
    if mixing < 2 or _too_much(graph, nodes, size):
        return interval, 0
    rows = np.eye(size).reshape(size, *interval.low.shape)
    high = _walk(ancestry, nodes, ranges, node.output, rows)
    low = _walk(ancestry, nodes, ranges, node.output, -rows)
    if high is None or low is None:
        return interval, 0
    shape = interval.low.shape
    return (
        Interval(
            np.maximum(interval.low, -low.reshape(shape)),
            np.minimum(interval.high, high.reshape(shape)),
        ),
        2 * len(nodes),
    )


def _refined_distances(
    ancestry: Ancestry, node: Node, interval: Interval, ranges: Mapping[str, Interval]
) -> tuple[Interval, int]:
    """Bounds of max(x) - x[i] from those of all x[j] - x[i]."""
    graph, x = ancestry.graph, node.inputs[1]
    shape, nodes = graph.tensors[x].shape, ancestry.behind(x)
    count, rest = shape[0], int(np.prod(shape[1:]))
    if not nodes or _too_much(graph, nodes, count * count * rest):
        return interval, 0
    one = np.eye(count * rest).reshape(count, rest, *shape)
    pairs = (one[:, None] - one[None, :]).reshape(count * count * rest, *shape)
    found = _walk(ancestry, nodes, ranges, x, pairs)
    if found is None:
        return interval, 0
    largest = np.maximum(found.reshape(count, count, *shape[1:]).max(axis=0), 0)
    return Interval(interval.low, np.minimum(interval.high, largest)), len(nodes)


def _adds(graph: Graph, node: Node) -> bool:
    """True for the sum or difference of two tensors that are no constants."""
    return node.op in ("add", "sub") and not any(name in graph.constants for name in node.inputs)


def _too_much(graph: Graph, nodes: list[Node], rows: int) -> bool:
    return rows * _held(graph, nodes) > _WORK


def _held(graph: Graph, nodes: list[Node]) -> int:
    names = {name for node in nodes for name in (node.output, *node.inputs)}
    return sum(int(np.prod(graph.tensors[name].shape)) for name in names - set(graph.constants))


def _walk(
    ancestry: Ancestry,
    nodes: list[Node],
    ranges: Mapping[str, Interval],
    name: str,
    rows: Values,
) -> Values | None:
    """The largest mantissas that the sums can be, as Python integers; None beyond doubles."""
    block = max(1, _NUMBERS // _held(ancestry.graph, nodes))
    parts = [
        upper_bounds(ancestry, nodes, ranges, name, rows[start : start + block])
        for start in range(0, len(rows), block)
    ]
    mantissas = np.floor(
        np.ldexp(np.concatenate(parts), ancestry.graph.tensors[name].format.fraction)
    )
    if not (np.abs(mantissas) < _EXACT).all():
        return None
    return np.asarray(mantissas.astype(np.int64).astype(object))
