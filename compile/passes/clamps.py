"""Clamps dropped: `max(x, 0)` in front of a cast that saturates at zero anyway.

Rounding never decreases and keeps zero, so saturate(round(max(x, 0))) = max(round(x), 0) up to the
upper limit, which is what saturate(round(x)) does in an unsigned format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir import Graph, Interval, Node, Overflow

__all__ = ["drop_clamps"]


def drop_clamps(graph: Graph, ranges: Mapping[str, Interval]) -> Graph:
    """The graph with every such `max` bypassed."""
    made_by = {node.output: node for node in graph.nodes}

    def bypass(node: Node) -> Node:
        clamp = made_by.get(node.inputs[0]) if node.op == "cast" else None
        if clamp is None or clamp.op != "max" or node.attrs["bounded"]:
            return node
        source, zero = clamp.inputs
        target, value = graph.tensors[node.output].format, graph.tensors[source]
        saturates = target.overflow in (Overflow.SAT, Overflow.SAT_SYM)
        same_grid = value.format.fraction == graph.tensors[clamp.output].format.fraction
        same_shape = value.shape == graph.tensors[clamp.output].shape
        if not saturates or target.min_saturated != 0 or not same_grid or not same_shape:
            return node
        if ranges[zero].magnitude != 0:
            return node
        return replace(node, inputs=(source,))

    return replace(graph, nodes=tuple(bypass(node) for node in graph.nodes)).pruned()
