"""How large a graph is as unrolled logic, known before anything is traced."""

from __future__ import annotations

from math import prod

import numpy as np

from samebits import errors

from ..ir import Graph, Node

__all__ = ["MAX_OPERATIONS", "check_size", "count_operations"]

MAX_OPERATIONS = 50_000  # one takes alkaid about a millisecond
_FREE = ("reshape", "transpose", "gather", "concat", "shift")
_REDUCING = ("sum", "reduce_max", "argmax", "accumulate")
_PRODUCTS = ("mul", "dot", "truncated_dot")
_ENTRIES_PER_OPERATION, _MOST_ENTRIES = (
    16,
    4096,
)  # what alkaid's time goes by, seen for 2**6 .. 2**16


def count_operations(graph: Graph) -> dict[str, int]:
    """Operations on single numbers that unrolled logic makes, by the name of the operation.

    Products with a constant zero are left out; a look-up table counts for each 16 entries.
    """
    counts: dict[str, int] = {}
    for node in graph.nodes:
        if node.op not in _FREE:
            counts[node.op] = counts.get(node.op, 0) + _count(graph, node)
    return counts


def _count(graph: Graph, node: Node) -> int:
    shapes = [graph.tensors[name].shape for name in node.inputs]
    if node.op in _REDUCING:
        return prod(shapes[0])
    if node.op == "lookup":
        entries = min(shapes[1][0], _MOST_ENTRIES)
        return prod(graph.tensors[node.output].shape) * -(-entries // _ENTRIES_PER_OPERATION)
    if node.op not in _PRODUCTS:
        return prod(graph.tensors[node.output].shape)
    every = prod(np.broadcast_shapes(*shapes))
    constants = [graph.constants[name] for name in node.inputs if name in graph.constants]
    used = (every // x.size * int(np.count_nonzero(x)) for x in constants if x.size)
    return min([every, *used])


def check_size(graph: Graph, limit: int) -> None:
    """Raises UnsupportedError if unrolled logic of the graph has more operations than that."""
    counts = count_operations(graph)
    total = sum(counts.values())
    if total > limit:
        most = sorted(counts.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{op} {count:,}" for op, count in most)
        raise errors.UnsupportedError(
            f"as unrolled logic this network is {total:,} operations on single numbers ({named}), "
            f"more than the limit of {limit:,} (max_operations)"
        )
