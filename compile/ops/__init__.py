"""The closed set of operations of the fixed-point graph: one file each, listed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from samebits import errors

from ..ir import Attr, Format, Graph, Node, Tensor
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

__all__ = [
    "OPERATIONS",
    "Array",
    "Operation",
    "Site",
    "check_graph",
    "infer",
    "operation",
    "site_of",
]

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


def infer(
    name: str, inputs: Sequence[Tensor], attrs: Mapping[str, Attr]
) -> tuple[tuple[int, ...], Format]:
    """The shape and the format of an operation's result.

    Raises:
        FormatError: no such operation; wrong number of inputs, attributes, shapes or formats.
    """
    rules = operation(name)
    if not rules.arity[0] <= len(inputs) <= rules.arity[1]:
        raise errors.FormatError(f"{name}: takes {rules.arity} inputs, got {len(inputs)}")
    if attrs.keys() != rules.attributes.keys():
        raise errors.FormatError(
            f"{name}: takes attributes {sorted(rules.attributes)}, got {sorted(attrs)}"
        )
    for key, value in attrs.items():
        if not isinstance(value, rules.attributes[key]):
            raise errors.FormatError(f"{name}: attribute {key} cannot be {value!r}")
    return rules.shape(inputs, attrs), rules.format(inputs, attrs)


def check_graph(graph: Graph) -> None:
    """Nothing, if every tensor has the shape and values that its operation's rules give.

    Raises:
        FormatError: one has not.
    """
    for node in graph.nodes:
        made = graph.tensors[node.output]
        shape, fmt = infer(node.op, graph.tensors_of(node.inputs), node.attrs)
        if made.shape != shape or not made.format.same_grid(fmt):
            raise errors.FormatError(
                f"{node.output}: is {made.shape} {made.format}, {node.op} makes {shape} {fmt}"
            )


def site_of(graph: Graph, node: Node) -> Site:
    """A node with its tensors, as the operation's rules take it."""
    return Site(graph.tensors_of(node.inputs), node.attrs, graph.tensors[node.output])
