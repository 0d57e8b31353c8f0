"""Passes: functions from graph to graph that change no bit, and the range analysis they rest on."""

from __future__ import annotations

from ..ir import Graph
from .accumulators import open_accumulators
from .bounds import bound_casts
from .carriers import choose_carriers, choose_peaks
from .clamps import drop_clamps
from .constants import fold_constants
from .ranges import propagate_ranges
from .rewrite import Rewriter

__all__ = [
    "Rewriter",
    "bound_casts",
    "choose_carriers",
    "choose_peaks",
    "drop_clamps",
    "fold_constants",
    "open_accumulators",
    "propagate_ranges",
    "simplify",
]


def simplify(graph: Graph) -> Graph:
    """The same function with as few and as cheap operations as the proofs allow."""
    graph = fold_constants(graph)
    graph = open_accumulators(graph)  # most of them, without a look at every single product
    if any(node.op == "accumulate" for node in graph.nodes):
        graph = open_accumulators(graph, propagate_ranges(graph))
    ranges = propagate_ranges(graph)
    return drop_clamps(bound_casts(graph, ranges), ranges)
