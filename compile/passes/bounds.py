"""Casts bounded: marks every cast whose overflow mode range analysis proves to be idle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir import Graph, Interval, Node
from ..ops.cast import rounded_interval

__all__ = ["bound_casts"]


def bound_casts(graph: Graph, ranges: Mapping[str, Interval]) -> Graph:
    """The same graph with `bounded` set to 1 where no reachable value overflows the target."""

    def mark(node: Node) -> Node:
        if node.op != "cast":
            return node
        source, target = graph.tensors[node.inputs[0]].format, graph.tensors[node.output].format
        rounded = rounded_interval(ranges[node.inputs[0]], source, target)
        bounded = rounded.within(target.min_saturated, target.max_mantissa)
        return replace(node, attrs={**node.attrs, "bounded": int(bounded)})

    return replace(graph, nodes=tuple(mark(node) for node in graph.nodes))
