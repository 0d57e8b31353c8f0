"""A design with an input adapter: raw detector integers in front of the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.adapter import Adapter, Plan, add_adapter, plan_for, read_adapter
from samebits.compile.adapter.front import LAYER_KIND
from samebits.compile.adapter.raw import fields_of, float_columns
from samebits.compile.ir import Graph

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["adapted", "network_graph", "physical_columns", "plan_of"]

Array = NDArray[Any]


def adapted(design: Design, adapter: Adapter | str | Path) -> tuple[Graph, Adapter]:
    """The design's graph with the adapter in front, and the adapter.

    Raises:
        UsageError: the adapter is wrong, does not fit the network, or is its second one.
    """
    if design.adapter is not None:
        raise errors.UsageError("the design has an adapter already; start from the network alone")
    if not isinstance(adapter, Adapter):
        adapter = read_adapter(Path(adapter))
    plan = plan_for(adapter, design.graph)
    _check_names(plan, design.feature_names)
    return add_adapter(plan, design.graph), adapter


def _check_names(plan: Plan, features: tuple[str, ...]) -> None:
    if plan.adapter.names == "ignore" or not features or len(features) != len(plan.names):
        return
    wrong = [i for i, pair in enumerate(zip(plan.names, features, strict=True)) if len({*pair}) > 1]
    if not wrong:
        return
    first = wrong[0]
    words = f"column {first} is {plan.names[first]}, the network was trained on {features[first]}"
    if plan.names[first] in features:
        words += f" there, and on {plan.names[first]} in column "
        words += str(features.index(plan.names[first]))
    raise errors.UsageError(
        f"adapter: {words} ({len(wrong)} columns have other names than the network's features); "
        'put them in its order, name them with name = "...", or write names = "ignore"'
    )


def plan_of(design: Design) -> Plan:
    """The integer arithmetic of the design's adapter."""
    assert design.adapter is not None
    return plan_for(design.adapter, design.network.graph)


def network_graph(graph: Graph) -> Graph:
    """The network behind the adapter: its graph as it was before."""
    layer = next(layer for layer in graph.layers if layer.kind == LAYER_KIND)
    needed, front = {layer.tensor}, set(graph.inputs)
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            front.update({node.output, *node.inputs})
    front.discard(layer.tensor)
    return Graph(
        inputs=(layer.tensor,),
        outputs=graph.outputs,
        nodes=tuple(n for n in graph.nodes if n.output not in front | {layer.tensor}),
        tensors={name: tensor for name, tensor in graph.tensors.items() if name not in front},
        constants={name: data for name, data in graph.constants.items() if name not in front},
        layers=tuple(one for one in graph.layers if one is not layer),
    )


def physical_columns(design: Design, x: Any) -> NDArray[np.float64]:
    """What training code makes of raw events in double precision: (N, *network input shape)."""
    assert design.adapter is not None
    columns = float_columns(plan_of(design), fields_of(design.adapter, x))
    graph = design.network.graph
    return columns.reshape(len(columns), *graph.tensors[graph.inputs[0]].shape)
