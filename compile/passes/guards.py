"""Guards: what a selection says of a number, said where the number is used.

    x > k ? f(x) : g(x)    becomes    x > k ? f(max(x, k + 1)) : g(min(x, k))

in units of x's last bit. It is the same function, and range analysis sees that f never meets what
its branch is not chosen for.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from ..ir import Format, Graph, Node, Tensor
from ..ops import Array, operation

__all__ = ["explicit_guards"]

_ELEMENT_WISE = (
    *("cast", "shift", "add", "sub", "mul", "divide", "max", "min", "compare", "select", "lookup"),
)


def explicit_guards(graph: Graph) -> Graph:
    """The graph with a guard in front of every branch that is element by element made of x."""
    selections = [node.output for node in graph.nodes if node.op == "select"]
    for name in reversed(selections):
        graph = _guarded(graph, name)
    return graph


def _guarded(graph: Graph, selection: str) -> Graph:
    made_by = {node.output: node for node in graph.nodes}
    node = made_by[selection]
    condition = made_by.get(node.inputs[0])
    if condition is None or condition.op != "compare" or condition.attrs["relation"] == "eq":
        return graph
    shape = graph.tensors[selection].shape
    variables = [name for name in condition.inputs if name not in graph.constants]
    if len(variables) != 1 or graph.tensors[variables[0]].shape != shape:
        return graph
    (x,) = variables
    readers: dict[str, set[str]] = defaultdict(set)
    for other in graph.nodes:
        for name in other.inputs:
            readers[name].add(other.output)
    for branch, position in ((node.inputs[1], 0), (node.inputs[2], 1)):
        if node.inputs.count(branch) > 1 or branch in graph.constants:
            continue
        inside = _between(graph, made_by, x, branch)
        if inside is None or any(readers[name] - inside - {selection} for name in inside):
            continue
        users = inside | ({selection} if branch == x else set())
        graph = _with_guard(graph, condition, x, bool(position), users, selection)
        made_by = {one.output: one for one in graph.nodes}
    return graph


def _between(graph: Graph, made_by: dict[str, Node], x: str, branch: str) -> set[str] | None:
    """The tensors made of x on the way to a branch; None if not element by element."""
    shape = graph.tensors[x].shape
    kept = {*graph.outputs, *(layer.tensor for layer in graph.layers)}
    depends: dict[str, bool] = {x: True}

    def visit(name: str) -> bool:
        if name not in depends:
            node = made_by.get(name)
            depends[name] = node is not None and any([visit(one) for one in node.inputs])
        return depends[name]

    if not visit(branch):
        return None
    inside = {name for name, yes in depends.items() if yes and name != x}
    for name in inside:
        node = made_by[name]
        if node.op not in _ELEMENT_WISE or graph.tensors[name].shape != shape or name in kept:
            return None
        if node.op == "lookup" and node.inputs[1] not in graph.constants:
            return None
    return inside


def _with_guard(
    graph: Graph, condition: Node, x: str, negated: bool, users: set[str], selection: str
) -> Graph:
    """The graph in which these nodes read x limited to what the condition leaves of it."""
    op, limits = _limits(graph, condition, x, negated)
    stem = f"{selection}/{'otherwise' if negated else 'guard'}"
    fmt = graph.tensors[x].format
    limits = np.clip(limits, fmt.min_mantissa, fmt.max_mantissa)
    smallest, largest = int(limits.min(initial=0)), int(limits.max(initial=0))
    constant = Tensor(
        f"{stem}/limit", limits.shape, Format.spanning(smallest, largest, fmt.fraction)
    )
    tensor = graph.tensors[x]
    limited = Tensor(f"{stem}/{op}", tensor.shape, operation(op).format([tensor, constant], {}))
    guard = Tensor(stem, tensor.shape, fmt.lossless)
    added = (
        Node(op, (x, constant.name), limited.name),
        Node("cast", (limited.name,), guard.name, {"format": guard.format, "bounded": 1}),
    )

    def reread(node: Node) -> Node:
        # a selection's own condition stays
        keep = 1 if node.output == selection else 0
        inputs = [
            guard.name if name == x and i >= keep else name for i, name in enumerate(node.inputs)
        ]
        return replace(node, inputs=tuple(inputs)) if node.output in users else node

    nodes = [reread(node) for node in graph.nodes]
    made = next((i + 1 for i, node in enumerate(nodes) if node.output == x), 0)
    tensors = {one.name: one for one in (constant, limited, guard)}
    return replace(
        graph,
        nodes=(*nodes[:made], *added, *nodes[made:]),
        tensors={**graph.tensors, **tensors},
        constants={**graph.constants, constant.name: limits},
    )


def _limits(graph: Graph, condition: Node, x: str, negated: bool) -> tuple[str, Array]:
    """ "max" or "min", and the mantissas on x's grid that it limits x with."""
    left, right = condition.inputs
    other = right if left == x else left
    strict = condition.attrs["relation"] == "gt"
    above = left == x
    if negated:
        above, strict = not above, not strict
    lift = graph.tensors[x].format.fraction - graph.tensors[other].format.fraction
    limits = graph.constants[other].astype(object)
    floor = limits << lift if lift >= 0 else limits >> -lift
    ceiling = limits << lift if lift >= 0 else -(-limits >> -lift)
    if above:
        return "max", np.asarray(floor + 1 if strict else ceiling, dtype=object)
    return "min", np.asarray(ceiling - 1 if strict else floor, dtype=object)
