"""Where an overflow mode may act, and what can arrive there.

A wrapping accumulator is judged by its total: what wraps on the way and comes back leaves the same
bits, for addition modulo 2**width does not care. A saturating one is judged by every partial sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..ir import Attr, Format, Graph, Interval, Node, Overflow
from ..ops import site_of
from ..ops.accumulate import TREE, partial_sums
from ..ops.cast import rounded_interval
from .ranges import propagate_ranges
from .rewrite import Rewriter

__all__ = ["OverflowSite", "lift_inner_wraps", "overflow_sites"]

_MOVED = ("reshape", "transpose", "gather", "concat")
_ADDED = ("sum", "add", "sub")


@dataclass(frozen=True, slots=True)
class OverflowSite:
    """A cast or an accumulator.

    `arriving` bounds the mantissas on the target's grid, rounded, before the overflow mode: of the
    value that is cast, of the total of a wrapping accumulator, or of the partial sums of a
    saturating one, which then are its first axis, in the order in which they are made. `terms`
    counts what an accumulator adds; it is 1 for a cast.
    """

    node: Node
    source: Format
    target: Format
    arriving: Interval
    terms: int = 1

    @property
    def partial(self) -> bool:
        """True if every partial sum counts."""
        return self.node.op == "accumulate" and self.target.overflow is not Overflow.WRAP

    @property
    def above(self) -> bool:
        """True if the bounds do not exclude a value above the largest of the target."""
        return self.arriving.maximum > self.target.max_mantissa

    @property
    def below(self) -> bool:
        """True if the bounds do not exclude a value below the smallest of the target."""
        return self.arriving.minimum < self.target.min_saturated


def overflow_sites(graph: Graph, ranges: Mapping[str, Interval]) -> list[OverflowSite]:
    """All casts and accumulators of a graph in order of execution."""
    sites = []
    for node in graph.nodes:
        if node.op not in ("cast", "accumulate"):
            continue
        source, target = graph.tensors[node.inputs[0]].format, graph.tensors[node.output].format
        if node.op == "cast":
            arriving = rounded_interval(ranges[node.inputs[0]], source, target)
            sites.append(OverflowSite(node, source, target, arriving))
        else:
            terms = graph.tensors[node.inputs[0]].shape[0]
            sites.append(OverflowSite(node, source, target, _sums(graph, node, ranges), terms))
    return sites


def _sums(graph: Graph, node: Node, ranges: Mapping[str, Interval]) -> Interval:
    """Bounds of the sums that count, element by element."""
    site, intervals = site_of(graph, node), [ranges[name] for name in node.inputs]
    sums = partial_sums(site, intervals)
    if site.output.format.overflow is Overflow.WRAP:
        last = sums[-1]
        if site.text("kind") == TREE:
            return last
        return Interval(last.low[-1], last.high[-1])
    if site.text("kind") == TREE:
        return Interval(np.array([x.low for x in sums]), np.array([x.high for x in sums]))
    return sums[0]


def lift_inner_wraps(graph: Graph, inputs: Mapping[str, Interval] | None = None) -> Graph:
    """The same function with every wrap removed that a later wrap repeats.

    A wrapping cast whose result is only added, and moved, before it is cast to a wrapping type of
    no more integer bits changes no bit there, whether it wraps or not: it gets integer bits enough.
    What arrives at the later cast is then the sum as it would be without any wrap.

    Args:
        inputs: bounds of inputs that do not span their whole format.
    """
    readers: dict[str, list[Node]] = defaultdict(list)
    for node in graph.nodes:
        for name in node.inputs:
            readers[name].append(node)
    kept = {*graph.outputs, *(layer.tensor for layer in graph.layers)}
    repeated = [
        node
        for node in graph.nodes
        if node.op == "cast"
        and graph.tensors[node.output].format.overflow is Overflow.WRAP
        and _wraps_again(graph, readers, kept, node.output)
    ]
    ranges = propagate_ranges(graph, inputs) if repeated else {}
    lifted: dict[str, Format] = {}
    for node in repeated:
        source, target = graph.tensors[node.inputs[0]].format, graph.tensors[node.output].format
        rounded = rounded_interval(ranges[node.inputs[0]], source, target)
        if not rounded.within(target.min_mantissa, target.max_mantissa):
            wide = Format.spanning(rounded.minimum, rounded.maximum, target.fraction)
            lifted[node.output] = replace(wide, rounding=target.rounding, overflow=target.overflow)
    return _with_formats(graph, lifted) if lifted else graph


def _wraps_again(
    graph: Graph, readers: Mapping[str, list[Node]], kept: set[str], name: str
) -> bool:
    """True if all sums that are made of a tensor wrap at no more than its integer bits.

    What is cast without having been added is no such sum.
    """
    integer = graph.tensors[name].format.integer
    waiting: list[tuple[str, bool]] = [(name, False)]
    seen = set(waiting)
    while waiting:
        name, added = waiting.pop()
        if name in kept or not readers[name]:
            return False
        for node in readers[name]:
            fmt = graph.tensors[node.output].format
            if node.op in (*_MOVED, *_ADDED):
                step = node.output, added or node.op in _ADDED
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)
            elif not (
                added
                and node.op == "cast"
                and fmt.overflow is Overflow.WRAP
                and fmt.integer <= integer
                and fmt.fraction >= graph.tensors[name].format.fraction
            ):
                return False
    return True


def _with_formats(graph: Graph, formats: Mapping[str, Format]) -> Graph:
    """The graph with other formats for some casts, and for what is made of them up to a cast."""
    write, changed = Rewriter(graph), set(formats)
    for node in graph.nodes:
        if node.output in formats:
            attrs: dict[str, Attr] = {"format": formats[node.output], "bounded": 0}
            write.add("cast", node.inputs, attrs, output=node.output)
        elif not changed.intersection(node.inputs):
            write.keep(node)
        elif node.op == "cast":  # what was proved of it may hold no more
            write.keep(replace(node, attrs={**node.attrs, "bounded": 0}))
        else:
            changed.add(node.output)
            write.add(node.op, node.inputs, node.attrs, output=node.output)
    return write.graph()
