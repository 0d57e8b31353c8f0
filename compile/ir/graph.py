"""`Graph`: tensors with exact formats and the operations between them, in order of execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from samebits import errors

from .format import Format

__all__ = ["Attr", "Graph", "Layer", "Node", "Tensor"]

Attr = int | str | tuple[int, ...] | Format


@dataclass(frozen=True, slots=True)
class Tensor:
    """A name, a shape without the batch axis, and the format of every element."""

    name: str
    shape: tuple[int, ...]
    format: Format


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of `compile/ops/` applied to named tensors, making one tensor."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attrs: Mapping[str, Attr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """What the graph remembers of an hls4ml layer: the tensor it made, and facts for people.

    `weights` counts (non-zero, all) weights, biases included; `types` are the layer's other formats
    by hls4ml's name: weight, bias, accum and so on.
    """

    name: str
    kind: str
    tensor: str
    weights: tuple[int, int] = (0, 0)
    types: Mapping[str, Format] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Graph:
    """The fixed-point graph.

    Args:
        inputs: tensors in the order of the model's inputs.
        outputs: tensors in the order of the model's outputs.
        nodes: operations in execution order.
        tensors: every tensor by name, constants included.
        constants: mantissas by name: int64, or object (Python integers) beyond 63 bits.
        layers: hls4ml's layers in order, for traces.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, NDArray[Any]]
    layers: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        known = {*self.inputs, *self.constants}
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise errors.FormatError(
                    f"graph: node {node.op} -> {node.output} uses {missing[0]} before it is made"
                )
            if node.output in known:
                raise errors.FormatError(f"graph: {node.output} is made twice")
            known.add(node.output)
        for name in (*known, *self.outputs, *(layer.tensor for layer in self.layers)):
            if name not in self.tensors or name not in known:
                raise errors.FormatError(f"graph: tensor {name} is used but never made")

    def __repr__(self) -> str:
        return (
            f"Graph({len(self.nodes)} nodes, {len(self.layers)} layers, "
            f"inputs {list(self.inputs)}, outputs {list(self.outputs)})"
        )

    def tensors_of(self, names: tuple[str, ...]) -> tuple[Tensor, ...]:
        """The tensors of these names."""
        return tuple(self.tensors[name] for name in names)

    def constant(self, name: str) -> NDArray[Any]:
        """A constant's mantissas."""
        return self.constants[name]

    def pruned(self) -> Graph:
        """The same graph without nodes, constants and tensors that no output or layer needs."""
        needed = {*self.outputs, *(layer.tensor for layer in self.layers)}
        nodes = []
        for node in reversed(self.nodes):
            if node.output in needed:
                nodes.append(node)
                needed.update(node.inputs)
        needed.update(self.inputs)
        return replace(
            self,
            nodes=tuple(reversed(nodes)),
            tensors={name: tensor for name, tensor in self.tensors.items() if name in needed},
            constants={name: data for name, data in self.constants.items() if name in needed},
        )

    @property
    def layer_tensors(self) -> dict[str, str]:
        """Layer name -> tensor name."""
        return {layer.name: layer.tensor for layer in self.layers}
