"""`Rewriter`: a new graph from an old one, node by node, with shapes and formats inferred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..ir import Attr, Graph, Node, Tensor
from ..ops import infer

__all__ = ["Rewriter"]


class Rewriter:
    """Collects the nodes of the new graph; tensors that keep their name keep their format."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[Node] = []
        self._tensors = dict(graph.tensors)

    def keep(self, node: Node) -> None:
        """Takes a node over as it is."""
        self._nodes.append(node)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Attr] | None = None,
        output: str | None = None,
    ) -> str:
        """Adds an operation and returns its output's name, a new one unless `output` is given."""
        attrs = attrs or {}
        tensors = [self._tensors[name] for name in inputs]
        if output is None:
            count = len(self._tensors)
            output = f"{inputs[0]}/{op}"
            while output in self._tensors:
                count += 1
                output = f"{inputs[0]}/{op}_{count}"
        self._tensors[output] = Tensor(output, *infer(op, tensors, attrs))
        self._nodes.append(Node(op, tuple(inputs), output, attrs))
        return output

    def graph(self) -> Graph:
        """The new graph, without what nothing needs any more."""
        return replace(self._graph, nodes=tuple(self._nodes), tensors=self._tensors).pruned()
