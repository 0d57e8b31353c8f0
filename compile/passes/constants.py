"""Constants folded: an operation on constants alone becomes the constant it makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Carrier, Graph, Node
from ..ops import operation, site_of
from ..ops.arith import as_carrier

__all__ = ["fold_constants"]

_INT64 = np.iinfo(np.int64)


def fold_constants(graph: Graph) -> Graph:
    """The graph with every such operation computed, in Python integers."""
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if not all(name in constants for name in node.inputs):
            nodes.append(node)
            continue
        arrays = [as_carrier(constants[name], Carrier.PYTHON)[..., None] for name in node.inputs]
        result = as_carrier(operation(node.op).kernel(site_of(graph, node), arrays), Carrier.PYTHON)
        exact = np.broadcast_to(result, (*graph.tensors[node.output].shape, 1))[..., 0]
        fits = not exact.size or (_INT64.min <= exact.min() and exact.max() <= _INT64.max)
        constants[node.output] = exact.astype(np.int64) if fits else exact.copy()
    return replace(graph, nodes=tuple(nodes), constants=constants).pruned()
