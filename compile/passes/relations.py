"""What interval arithmetic forgets: that two operands of one operation come from the same numbers.

1. max(x) - x[i] is never negative, whatever the x are, and zero for the i of the maximum.
2. e[i] * table[address(sum of e)], all e >= 0: where the sum is small, each term is no larger than
   it, so the product is bounded by the largest table[a] * min(largest e, largest sum of address a).
3. The sum of f(max(x) - x[i]) has a term f(0).
4. A saturating accumulator grows with every term, so its ends are those of the smallest and of the
   largest terms; what compares as larger for all values is no choice; a square is not negative.

The first three occur in every softmax.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir import Format, Graph, Interval, Node, Overflow
from ..ops import Array, operation, site_of
from ..ops.arith import cast_mantissas, common_format, scale_up
from ..ops.cast import rounded_interval

__all__ = ["is_largest_of", "sharpen"]

Nodes = Mapping[str, Node]
Ranges = Mapping[str, Interval]
Casts = list[tuple[Format, Format]]


def sharpen(
    graph: Graph, made_by: Nodes, node: Node, interval: Interval, ranges: Ranges
) -> Interval:
    """The bounds of a node's output, narrower where one of the rules above applies.

    Args:
        made_by: every node by the name of its output.
        interval: the bounds that the operation's own rule gives.
        ranges: bounds of all tensors made before.
    """
    match node.op:
        case "sub":
            left, right = node.inputs
            if is_largest_of(graph, made_by, left, right):
                return _distances(ranges[right])
        case "mul" if node.inputs[0] == node.inputs[1]:
            return Interval(*_squares(ranges[node.inputs[0]], interval.high))
        case "mul":
            for term, factor in (node.inputs, node.inputs[::-1]):
                bound = _normalised_bound(graph, made_by, term, factor, ranges)
                if bound is not None:
                    return Interval(interval.low, np.minimum(interval.high, bound))
        case "sum":
            least = _sum_of_distances(graph, made_by, node.inputs[0], ranges)
            if least is not None:
                return Interval(np.maximum(interval.low, least), interval.high)
        case "accumulate":
            return _accumulated(graph, made_by, node, interval, ranges)
        case "compare":
            return _compared(graph, node, interval, ranges)
        case "select":
            return _selected(graph, node, interval, ranges)
    return interval


def is_largest_of(graph: Graph, made_by: Nodes, largest: str, x: str) -> bool:
    """True if `largest` is the maximum of x over its first axis, which it keeps with size 1."""
    shape = graph.tensors[x].shape
    if not shape or graph.tensors[largest].shape != (1, *shape[1:]):
        return False
    node = _behind_reshapes(made_by, largest)
    return node is not None and node.op == "reduce_max" and node.inputs == (x,)


def _distances(x: Interval) -> Interval:
    """Bounds of max(x) - x[i]: zero, or the distance to another element."""
    low = np.maximum(x.low.max(axis=0, keepdims=True) - x.high, 0)
    if len(x.low) == 1:
        return Interval(low, np.zeros_like(x.high))
    ordered = np.sort(x.high, axis=0)
    first, second = ordered[-1:], ordered[-2:-1]
    others = np.where(x.high == first, second, first)
    # of several largest elements the second is as large as the first
    return Interval(low, np.maximum(others - x.low, 0))


def _squares(x: Interval, largest: Array) -> tuple[Array, Array]:
    low, high = np.asarray(x.low * x.low), np.asarray(x.high * x.high)
    return np.where((x.low > 0) | (x.high < 0), np.minimum(low, high), 0), largest


def _behind_reshapes(made_by: Nodes, name: str) -> Node | None:
    node = made_by.get(name)
    while node is not None and node.op == "reshape":
        node = made_by.get(node.inputs[0])
    return node


def _normalised_bound(
    graph: Graph, made_by: Nodes, term: str, factor: str, ranges: Ranges
) -> int | None:
    """The bound of rule 2 on term * factor; None if they are not such numbers."""
    shape = graph.tensors[term].shape
    if not shape or graph.tensors[factor].shape != (1, *shape[1:]):
        return None
    lookup = _behind_reshapes(made_by, factor)
    if lookup is None or lookup.op != "lookup" or lookup.inputs[1] not in graph.constants:
        return None
    found = _sum_behind(graph, made_by, lookup.inputs[0], ranges)
    if found is None or found[0] != term or ranges[term].minimum < 0:
        return None
    table, index = graph.constants[lookup.inputs[1]], ranges[lookup.inputs[0]]
    if table.ndim != 1 or not table.size or int(table.min()) < 0:
        return None
    largest = ranges[term].maximum
    addresses = np.arange(index.minimum, index.maximum + 1).astype(object)
    sums = _largest_with(found[1], addresses, shape[0] * largest)
    entries = table.astype(object)[index.minimum : index.maximum + 1]
    return int((entries * np.minimum(sums, largest)).max(initial=0))


def _sum_behind(
    graph: Graph, made_by: Nodes, name: str, ranges: Ranges
) -> tuple[str, Casts] | None:
    """The terms whose sum, cast several times without wrapping, is `name`; and those casts."""
    casts: Casts = []
    while (node := made_by.get(name)) is not None:
        source, target = graph.tensors[node.inputs[0]].format, graph.tensors[name].format
        if node.op == "sum":
            return node.inputs[0], casts[::-1]
        if node.op == "accumulate" and len(node.inputs) == 1 and _saturates(target):
            return node.inputs[0], [(source, target), *casts[::-1]]
        if node.op != "cast" or not _grows(ranges[node.inputs[0]], source, target):
            return None
        casts.append((source, target))
        name = node.inputs[0]
    return None


def _grows(interval: Interval, source: Format, target: Format) -> bool:
    """True if a cast never gives less for more."""
    rounded = rounded_interval(interval, source, target)
    return _saturates(target) or rounded.within(target.min_saturated, target.max_mantissa)


def _sum_of_distances(graph: Graph, made_by: Nodes, terms: str, ranges: Ranges) -> Array | None:
    """The least sum of terms one of which is f(0); None if they are not such numbers."""
    node, after = _behind_casts(graph, made_by, terms)
    if node is None or node.op != "lookup" or node.inputs[1] not in graph.constants:
        return None
    table = graph.constants[node.inputs[1]]
    inner, before = _behind_casts(graph, made_by, node.inputs[0])
    if inner is None or inner.op != "sub" or table.ndim != 1:
        return None
    if not is_largest_of(graph, made_by, *inner.inputs):
        return None
    zero = np.zeros(1, dtype=object)
    entry = table[int(_through(before, zero)[0])]
    known = int(_through(after, np.array([int(entry)], dtype=object))[0])
    low = ranges[terms].low
    return np.asarray(low.sum(axis=0) + np.maximum(known - low, 0).min(axis=0))


def _behind_casts(graph: Graph, made_by: Nodes, name: str) -> tuple[Node | None, Casts]:
    """What a chain of casts starts from, and the casts in order."""
    casts: Casts = []
    while (node := made_by.get(name)) is not None and node.op == "cast":
        casts.insert(0, (graph.tensors[node.inputs[0]].format, graph.tensors[name].format))
        name = node.inputs[0]
    return made_by.get(name), casts


def _through(casts: Casts, mantissas: Array) -> Array:
    for source, target in casts:
        mantissas = cast_mantissas(mantissas, source, target)
    return mantissas


def _accumulated(
    graph: Graph, made_by: Nodes, node: Node, interval: Interval, ranges: Ranges
) -> Interval:
    if not _saturates(graph.tensors[node.output].format):
        return interval
    site, given = site_of(graph, node), [ranges[name] for name in node.inputs]
    low, high = (
        operation("accumulate").kernel(site, [bound[..., None] for bound in bounds])[..., 0]
        for bounds in ([x.low for x in given], [x.high for x in given])
    )
    if len(given) == 1:
        least = _sum_of_distances(graph, made_by, node.inputs[0], ranges)
        if least is not None and ranges[node.inputs[0]].minimum >= 0:
            low = np.maximum(low, np.minimum(least, graph.tensors[node.output].format.max_mantissa))
    return Interval(low, high)


def _compared(graph: Graph, node: Node, interval: Interval, ranges: Ranges) -> Interval:
    formats = [graph.tensors[name].format for name in node.inputs]
    common = common_format(formats)
    (a_low, a_high), (b_low, b_high) = (
        [scale_up(bound, common.fraction - fmt.fraction) for bound in (x.low, x.high)]
        for x, fmt in zip((ranges[name] for name in node.inputs), formats, strict=True)
    )
    match node.attrs["relation"]:
        case "gt":
            surely, possibly = a_low > b_high, a_high > b_low
        case "ge":
            surely, possibly = a_low >= b_high, a_high >= b_low
        case _:
            return interval
    return Interval(np.where(surely, 1, 0), np.where(possibly, 1, 0))


def _selected(graph: Graph, node: Node, interval: Interval, ranges: Ranges) -> Interval:
    """Where the condition is known, the bounds of that choice."""
    condition, *choices = (ranges[name] for name in node.inputs)
    fraction = graph.tensors[node.output].format.fraction
    low, high = interval.low, interval.high
    for choice, name, sure in zip(
        choices,
        node.inputs[1:],
        ((condition.low > 0) | (condition.high < 0), (condition.low == 0) & (condition.high == 0)),
        strict=True,
    ):
        lift = fraction - graph.tensors[name].format.fraction
        low = np.where(sure, scale_up(choice.low, lift), low)
        high = np.where(sure, scale_up(choice.high, lift), high)
    return Interval(low, high)


def _saturates(fmt: Format) -> bool:
    return fmt.overflow in (Overflow.SAT, Overflow.SAT_SYM)


def _largest_with(casts: Casts, addresses: Array, limit: int) -> Array:
    """For every address the largest integer 0 .. limit that the casts bring to it or below it."""
    low, high = np.zeros_like(addresses), np.full_like(addresses, limit)
    while np.any(low < high):
        middle = (low + high + 1) // 2
        reached = _through(casts, middle) <= addresses
        low, high = np.where(reached, middle, low), np.where(reached, high, middle - 1)
    return low
