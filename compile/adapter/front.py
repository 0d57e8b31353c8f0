"""The adapter as the front part of a fixed-point graph, and the network behind it again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samebits import errors

from ..builder import GraphBuilder
from ..ir import Format, Graph, Layer, Overflow, Tensor
from ..passes import simplify
from .description import Adapter
from .plan import Choice, Linear, Plan, Row, Table, make_plan

__all__ = ["LAYER_KIND", "SCOPE", "add_adapter", "plan_for"]

LAYER_KIND = "InputAdapter"
SCOPE = "input_adapter"  # of its tensors


def plan_for(adapter: Adapter, network: Graph) -> Plan:
    """The plan of an adapter in front of a network.

    Raises:
        UsageError: it has several inputs, another number of columns, or a column cannot be made.
    """
    if len(network.inputs) > 1:
        raise errors.UsageError(
            f"adapter: the network has {len(network.inputs)} inputs "
            f"({', '.join(network.inputs)}); an adapter needs a network with one"
        )
    tensor = network.tensors[network.inputs[0]]
    plan = make_plan(adapter, tensor.format)
    size, found = int(np.prod(tensor.shape)), len(plan.names)
    if size != found:
        raise errors.UsageError(
            f"adapter: describes {found} columns, the network's input {tensor.name} takes {size}; "
            f"described: {', '.join(plan.names[:6])}{', ...' if found > 6 else ''}"
        )
    return plan


def add_adapter(plan: Plan, network: Graph) -> Graph:
    """The network with the adapter in front: its inputs are the raw fields, `jet_pt` and so on.

    Raises:
        UsageError: a tensor or layer of the network has the name of a field.
    """
    tensor = network.tensors[network.inputs[0]]
    fields = {name: (kind, field) for name, kind, field in plan.adapter.raw_fields()}
    if taken := sorted(fields.keys() & (network.tensors.keys() | {x.name for x in network.layers})):
        raise errors.UsageError(
            f"adapter: the network has a tensor or layer {taken[0]}: rename the object"
        )
    front = _front(plan, tensor)
    layer = "adapter"
    while layer in {one.name for one in network.layers}:
        layer += "_in"
    return Graph(
        inputs=front.inputs,
        outputs=network.outputs,
        nodes=(*front.nodes, *network.nodes),
        tensors={**network.tensors, **front.tensors, tensor.name: tensor},
        constants={**network.constants, **front.constants},
        layers=(Layer(layer, LAYER_KIND, tensor.name), *network.layers),
    )


def _front(plan: Plan, target: Tensor) -> Graph:
    """A graph from the raw fields to the network's input, which has the network's name."""
    build = GraphBuilder()
    raw = {
        name: build.input(name, (plan.adapter.objects[kind].count,), field.format)
        for name, kind, field in plan.adapter.raw_fields()
    }
    build.scope = SCOPE
    parts = [_column(build, raw, row, plan.format) for row in plan.rows]
    joined = build.apply("concat", *parts)
    order = [position for row in plan.rows for position in row.positions]
    if order != sorted(order):
        joined = build.apply("gather", joined, _places(build, np.argsort(order)))
    shaped = build.apply("reshape", joined, shape=target.shape)
    graph = simplify(build.graph((shaped.name,)))

    def of(name: str) -> str:
        return target.name if name == shaped.name else name

    nodes = (replace(node, output=of(node.output)) for node in graph.nodes)
    tensors = {of(name): replace(one, name=of(name)) for name, one in graph.tensors.items()}
    return replace(graph, nodes=tuple(nodes), tensors=tensors, outputs=(target.name,)).pruned()


def _places(build: GraphBuilder, places: np.ndarray) -> Tensor:
    width = max(1, int(places.max()).bit_length())
    return build.integers(places.astype(np.int64), Format(False, width, width))


def _slots(build: GraphBuilder, x: Tensor, slots: tuple[int, ...]) -> Tensor:
    if slots == tuple(range(x.shape[0])):
        return x
    return build.apply("gather", x, _places(build, np.array(slots)))


def _column(build: GraphBuilder, raw: dict[str, Tensor], row: Row, fmt: Format) -> Tensor:
    """The row's numbers in the network's input format, one for each slot."""
    x = _slots(build, raw[f"{row.kind}_{row.field}"], row.slots)
    if row.other is not None:
        x = _difference(build, raw, row, x)
    match row.arithmetic:
        case Linear(factor, addend, fraction):
            y = build.apply("mul", x, _constant(build, factor, fraction))
            if addend:
                y = build.apply("add", y, _constant(build, addend, fraction))
            y = build.cast(y, fmt)
        case Table(entries, dropped):
            width = x.format.width - dropped
            address = build.cast(x, Format(False, width, x.format.width, overflow=Overflow.WRAP))
            table = build.integers(np.array(entries, dtype=np.int64), fmt.lossless)
            y = build.apply("lookup", address, table)
        case Choice(category, hit, miss):
            found = build.apply("compare", x, _constant(build, category, 0), relation="eq")
            pair = (build.number(value, x, fmt.lossless) for value in (hit, miss))
            y = build.apply("select", found, *pair)
    if row.empty_field is not None:
        count = _slots(build, raw[f"{row.kind}_{row.empty_field}"], row.slots)
        nothing = build.apply("compare", count, _constant(build, 0, 0), relation="eq")
        y = build.apply("select", nothing, build.number(row.empty, y, fmt.lossless), y)
    if y.shape != x.shape or not y.format.same_grid(fmt):
        y = build.cast(y, fmt)
    return y


def _difference(build: GraphBuilder, raw: dict[str, Tensor], row: Row, x: Tensor) -> Tensor:
    assert row.other is not None
    kind, slot, field = row.other
    subtracted = _slots(build, raw[f"{kind}_{field}"], (slot,))
    x = build.apply("sub", x, subtracted)
    if row.period is None:
        return x
    half = row.period // 2
    if row.period == row.period & -row.period:
        width = row.period.bit_length() - 1
        return build.cast(x, Format(True, width, width, overflow=Overflow.WRAP))
    turn = _constant(build, row.period, 0)
    above = build.apply("compare", x, _constant(build, row.period - half, 0), relation="ge")
    below = build.apply("compare", _constant(build, -half, 0), x, relation="gt")
    lower, higher = build.apply("sub", x, turn), build.apply("add", x, turn)
    return build.apply("select", above, lower, build.apply("select", below, higher, x))


def _constant(build: GraphBuilder, mantissa: int, fraction: int) -> Tensor:
    fmt = Format.spanning(min(mantissa, 0), max(mantissa, 0), fraction)
    return build.integers(np.array([mantissa], dtype=object), fmt)
