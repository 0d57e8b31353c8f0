"""The closed set of operations of the fixed-point graph: one file each, listed here."""

from __future__ import annotations

from samebits import errors

from ..ir import Graph, Node
from . import (
    accumulate,
    add,
    argmax,
    cast,
    compare,
    concat,
    divide,
    dot,
    gather,
    lookup,
    max,  # noqa: A004 - the operation's name
    min,  # noqa: A004 - the operation's name
    mul,
    reduce_max,
    reshape,
    select,
    shift,
    sub,
    sum,  # noqa: A004 - the operation's name
    transpose,
    truncated_dot,
)
from .base import Array, Operation, Site

__all__ = ["OPERATIONS", "Array", "Operation", "Site", "operation", "site_of"]

_MODULES = (
    *(reshape, transpose, gather, concat),
    *(add, sub, mul, dot, sum, max, min, reduce_max, argmax, compare, select, shift),
    *(lookup, cast, accumulate, divide, truncated_dot),
)
OPERATIONS: dict[str, Operation] = {module.OPERATION.name: module.OPERATION for module in _MODULES}


def operation(name: str) -> Operation:
    """The rules of an operation.

    Raises:
        FormatError: there is no such operation.
    """
    try:
        return OPERATIONS[name]
    except KeyError:
        raise errors.FormatError(
            f"operation {name!r} is not one of {', '.join(sorted(OPERATIONS))}"
        ) from None


def site_of(graph: Graph, node: Node) -> Site:
    """A node with its tensors, as the operation's rules take it."""
    return Site(graph.tensors_of(node.inputs), node.attrs, graph.tensors[node.output])
