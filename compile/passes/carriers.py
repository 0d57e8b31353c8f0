"""Carriers chosen: for every tensor the fastest machine number that is proven exact."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ..ir import Carrier, Graph
from ..ops import operation, site_of
from .ranges import propagate_ranges

__all__ = ["choose_carriers", "choose_peaks"]


# Several engines ask for the same graph's, and large images take a minute.
_FOUND: WeakKeyDictionary[Graph, dict[str, int]] = WeakKeyDictionary()


def choose_carriers(graph: Graph) -> dict[str, Carrier]:
    """The carrier of every input and of every operation, by the name of the tensor it makes.

    An operation's carrier holds its inputs, its result, and everything in between.
    """
    return {name: Carrier.for_magnitude(peak) for name, peak in choose_peaks(graph).items()}


def choose_peaks(graph: Graph) -> dict[str, int]:
    """The largest integer of every input and of all that every operation computes."""
    if graph not in _FOUND:
        ranges = propagate_ranges(graph)
        peaks = {name: ranges[name].magnitude for name in graph.inputs}
        for node in graph.nodes:
            intervals = [ranges[name] for name in node.inputs]
            peaks[node.output] = operation(node.op).peak(site_of(graph, node), intervals)
        _FOUND[graph] = peaks
    return dict(_FOUND[graph])
