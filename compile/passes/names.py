"""Inputs under the names that the model gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..ir import Graph

__all__ = ["rename_inputs"]


def rename_inputs(graph: Graph, names: Sequence[str]) -> Graph:
    """The same graph with these names for its inputs; one that is taken gets `_in` behind it."""
    taken = {*graph.tensors, *(layer.name for layer in graph.layers)} - {*graph.inputs}
    new: dict[str, str] = {}
    for old, name in zip(graph.inputs, names, strict=True):
        # names that firmware.onnx gives its own tensors
        if re.fullmatch(r"(constant|[A-Z]\w*)\.\d+|layer:.*", name):
            name += "_in"
        while name in taken:
            name += "_in"
        taken.add(name)
        new[old] = name

    def of(old: str) -> str:
        return new.get(old, old)

    return replace(
        graph,
        inputs=tuple(new.values()),
        outputs=tuple(of(name) for name in graph.outputs),
        nodes=tuple(
            replace(node, inputs=tuple(of(name) for name in node.inputs)) for node in graph.nodes
        ),
        tensors={of(k): replace(tensor, name=of(k)) for k, tensor in graph.tensors.items()},
        layers=tuple(replace(layer, tensor=of(layer.tensor)) for layer in graph.layers),
    )
