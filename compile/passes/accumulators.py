"""Accumulators opened: an `accumulate` becomes one exact sum and one cast where provably equal.

1. The accumulator wraps: addition modulo 2**width is associative, so casting once at the end gives
   the same bits as casting after every addition, for all values.
2. Range analysis shows that no partial sum leaves the accumulator's range: every cast but the last
   is the identity.

Where the terms are products that are cast to the accumulator's grid exactly or rounded down, and
that cast wraps too or never overflows, the products and their sum become one `dot` or
`truncated_dot`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir import Attr, Format, Graph, Interval, Node, Overflow, Rounding
from ..ops import site_of
from ..ops.accumulate import partial_sums
from ..ops.cast import rounded_interval
from .rewrite import Rewriter

__all__ = ["open_accumulators"]

Ranges = Mapping[str, Interval]
Step = tuple[str, tuple[str, ...], dict[str, Attr]]


def open_accumulators(graph: Graph, ranges: Ranges | None = None) -> Graph:
    """The graph with every accumulator opened that the rules above allow.

    Args:
        ranges: of every tensor; without them only what rule 1 says for all values is done.
    """
    made_by = {node.output: node for node in graph.nodes}
    write = Rewriter(graph)
    for node in graph.nodes:
        if node.op != "accumulate" or not _opens(graph, node, ranges):
            write.keep(node)
            continue
        op, inputs, attrs = _sum_of_products(graph, made_by, node, ranges) or (
            "sum",
            node.inputs[:1],
            {},
        )
        total = write.add(op, inputs, attrs)
        if len(node.inputs) == 2:
            total = write.add("add", (total, node.inputs[1]))
        write.add(
            "cast", (total,), {"format": node.attrs["format"], "bounded": 0}, output=node.output
        )
    return write.graph()


def _opens(graph: Graph, node: Node, ranges: Ranges | None) -> bool:
    target = node.attrs["format"]
    assert isinstance(target, Format)
    if target.overflow is Overflow.WRAP:
        return True  # rule 1
    if ranges is None:
        return False
    sums = partial_sums(site_of(graph, node), [ranges[name] for name in node.inputs])
    return all(part.within(target.min_saturated, target.max_mantissa) for part in sums)  # rule 2


def _sum_of_products(
    graph: Graph, made_by: Mapping[str, Node], node: Node, ranges: Ranges | None
) -> Step | None:
    """The one operation that multiplies and adds, if it gives the same bits."""
    cast = made_by.get(node.inputs[0])
    product = made_by.get(cast.inputs[0]) if cast and cast.op == "cast" else None
    if cast is None or product is None or product.op != "mul":
        return None
    left, right = product.inputs
    if graph.tensors[left].shape[0] != graph.tensors[right].shape[0]:
        return None
    exact, target = graph.tensors[product.output].format, graph.tensors[cast.output].format
    dropped = exact.fraction - target.fraction
    if dropped > 0 and target.rounding is not Rounding.TRN:
        return None
    accumulator = node.attrs["format"]
    assert isinstance(accumulator, Format)
    if not accumulator.overflow is target.overflow is Overflow.WRAP:
        if ranges is None:
            return None
        rounded = rounded_interval(ranges[product.output], exact, target)
        if not rounded.within(target.min_saturated, target.max_mantissa):
            return None
    if dropped > 0:
        return "truncated_dot", (left, right), {"bits": dropped}
    return "dot", (left, right), {}
