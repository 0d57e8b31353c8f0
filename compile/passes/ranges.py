"""Range analysis: for every tensor, sound bounds of every element's mantissa."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir import Graph, Interval
from ..ops import operation, site_of
from .relations import sharpen

__all__ = ["propagate_ranges"]


def propagate_ranges(
    graph: Graph, inputs: Mapping[str, Interval] | None = None
) -> dict[str, Interval]:
    """Bounds by tensor name; inputs span their whole format unless narrower bounds are given.

    Every operation's range rule is sound, so no input whatever can leave these bounds.
    """
    ranges: dict[str, Interval] = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        ranges[name] = Interval.of_format(tensor.format, tensor.shape)
    ranges.update(inputs or {})
    for name, mantissas in graph.constants.items():
        ranges[name] = Interval.of_constant(mantissas)
    made_by = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        intervals = [ranges[name] for name in node.inputs]
        interval = operation(node.op).range(site_of(graph, node), intervals)
        ranges[node.output] = sharpen(graph, made_by, node, interval, ranges)
    return ranges
