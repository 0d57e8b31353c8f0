"""Accumulators opened: an `accumulate` becomes one exact sum and one cast where provably equal.

1. The accumulator wraps: addition modulo 2**width is associative, so casting once at the end gives
   the same bits as casting after every addition, for all values.
2. Range analysis shows that no partial sum leaves the accumulator's range: every cast but the last
   is the identity.

Where the terms are products that the accumulator's grid holds exactly, and the cast of each product
is the identity or wraps too, the products and their sum become one `dot`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir import Format, Graph, Interval, Node, Overflow
from ..ops import site_of
from ..ops.accumulate import partial_sums
from ..ops.cast import rounded_interval
from .rewrite import Rewriter

__all__ = ["open_accumulators"]


def open_accumulators(graph: Graph, ranges: Mapping[str, Interval]) -> Graph:
    """The graph with every accumulator opened that the rules above allow."""
    made_by = {node.output: node for node in graph.nodes}
    write = Rewriter(graph)
    for node in graph.nodes:
        if node.op != "accumulate" or not _opens(graph, node, ranges):
            write.keep(node)
            continue
        operands = _dot_operands(graph, made_by, node, ranges)
        total = write.add("dot", operands) if operands else write.add("sum", node.inputs[:1])
        if len(node.inputs) == 2:
            total = write.add("add", (total, node.inputs[1]))
        write.add(
            "cast", (total,), {"format": node.attrs["format"], "bounded": 0}, output=node.output
        )
    return write.graph()


def _opens(graph: Graph, node: Node, ranges: Mapping[str, Interval]) -> bool:
    target = node.attrs["format"]
    assert isinstance(target, Format)
    if target.overflow is Overflow.WRAP:
        return True  # rule 1
    sums = partial_sums(site_of(graph, node), [ranges[name] for name in node.inputs])
    return all(part.within(target.min_saturated, target.max_mantissa) for part in sums)  # rule 2


def _dot_operands(
    graph: Graph, made_by: Mapping[str, Node], node: Node, ranges: Mapping[str, Interval]
) -> tuple[str, str] | None:
    """The tensors whose products are the terms, if a `dot` gives the same bits."""
    cast = made_by.get(node.inputs[0])
    product = made_by.get(cast.inputs[0]) if cast and cast.op == "cast" else None
    if cast is None or product is None or product.op != "mul":
        return None
    left, right = product.inputs
    if graph.tensors[left].shape[0] != graph.tensors[right].shape[0]:
        return None
    exact, target = graph.tensors[product.output].format, graph.tensors[cast.output].format
    if target.fraction < exact.fraction:
        return None
    accumulator = node.attrs["format"]
    assert isinstance(accumulator, Format)
    both_wrap = accumulator.overflow is target.overflow is Overflow.WRAP
    fits = rounded_interval(ranges[product.output], exact, target).within(
        target.min_saturated, target.max_mantissa
    )
    return (left, right) if both_wrap or fits else None
