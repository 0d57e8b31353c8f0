"""Carriers chosen: for every tensor the fastest machine number that is proven exact."""

from __future__ import annotations

from ..ir import Carrier, Graph
from ..ops import operation, site_of
from .ranges import propagate_ranges

__all__ = ["choose_carriers"]


def choose_carriers(graph: Graph) -> dict[str, Carrier]:
    """The carrier of every input and of every operation, by the name of the tensor it makes.

    An operation's carrier holds its inputs, its result, and everything in between.
    """
    ranges = propagate_ranges(graph)
    carriers = {name: Carrier.for_magnitude(ranges[name].magnitude) for name in graph.inputs}
    for node in graph.nodes:
        intervals = [ranges[name] for name in node.inputs]
        peak = operation(node.op).peak(site_of(graph, node), intervals)
        carriers[node.output] = Carrier.for_magnitude(peak)
    return carriers
