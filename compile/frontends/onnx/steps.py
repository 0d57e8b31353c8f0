"""Time steps that a model counts as events: written out, the same layers for every step.

Keras's TimeDistributed layers and PyTorch's `x.view(batch * steps, ...)` reshape (1, T, ...) to
(T, ...), compute, and reshape back. Firmware sees one event at a time, so that whatever stands
between the two becomes T copies with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from samebits import errors

from .constants import Names, add_constant, constants_of, drop_unused

__all__ = ["write_steps"]


def write_steps(model: onnx.ModelProto) -> None:
    """Writes out, in a model for one event, all that runs with time steps as events.

    Whatever else mixes steps and events stays, and is refused by its node.
    """
    constants = constants_of(model)
    if not any(_may_split(node, constants) for node in model.graph.node):
        return
    while _Steps(model).write():
        pass


def _may_split(node: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> bool:
    target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
    return target is not None and target.size > 1 and target[0] not in (0, 1)


class _Steps:
    def __init__(self, model: onnx.ModelProto) -> None:
        from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
        from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

        self.model, self.constants = model, constants_of(model)
        self.shapes = ModelWrapper(model).transform(InferShapes())
        self.names = Names(model)
        self.outputs = {value.name for value in model.graph.output}

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.shapes.get_tensor_shape(name) or ())

    def _splits(self, node: onnx.NodeProto) -> bool:
        """Whether it reshapes (1, T, ...) to (T, ...)."""
        if not _may_split(node, self.constants):
            return False
        old, new = self._shape(node.input[0]), self._shape(node.output[0])
        return len(old) > 2 and old[0] == 1 and old[1] > 1 and new == old[1:]

    def _joins(self, node: onnx.NodeProto, steps: int) -> bool:
        """Whether it reshapes (T, ...) to (1, T, ...)."""
        if node.op_type != "Reshape":
            return False
        old, new = self._shape(node.input[0]), self._shape(node.output[0])
        return old[:1] == (steps,) and new == (1, *old)

    def write(self) -> bool:
        """Writes out the first region between a split and its joins; False if there is none."""
        for node in self.model.graph.node:
            if self._splits(node):
                steps = self._shape(node.output[0])[0]
                region, joins = self._region(node, steps)
                if joins:
                    self._unroll(node, steps, region, joins)
                    return True
        return False

    def _region(
        self, split: onnx.NodeProto, steps: int
    ) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
        """What computes step by step, and the nodes that join the steps; nothing if it leaks."""
        inside, region, joins = {split.output[0]}, list[onnx.NodeProto](), list[onnx.NodeProto]()
        joined: set[str] = set()
        for node in self.model.graph.node:
            if self._splits(node) and node.input[0] in joined:
                inside.update(node.output)  # the next TimeDistributed layer, right behind
                region.append(node)
                continue
            if not inside.intersection(node.input):
                continue
            if self._joins(node, steps):
                joins.append(node)
                joined.update(node.output)
                continue
            others = [name for name in node.input if name and name not in inside]
            if any(name not in self.constants and not self._is_weight(name) for name in others):
                return [], []
            region.append(node)
            inside.update(node.output)
            if self.outputs.intersection(node.output):
                return [], []
        return region, joins

    def _is_weight(self, name: str) -> bool:
        """Whether it is a quantized constant."""
        makers = (node for node in self.model.graph.node if name in node.output)
        maker = next(makers, None)
        return maker is not None and all(n in self.constants for n in maker.input if n)

    def _unroll(
        self,
        split: onnx.NodeProto,
        steps: int,
        region: list[onnx.NodeProto],
        joins: list[onnx.NodeProto],
    ) -> None:
        graph, nodes = self.model.graph, list[onnx.NodeProto]()
        one = self._shape(split.output[0])[1:]
        size = math.prod(one)
        flat = self._reshape(nodes, split.input[0], [1, steps * size], f"{split.output[0]}_flat")
        parts: dict[str, list[str]] = {node.output[0]: [] for node in joins}
        aliases = {node.output[0]: node.input[0] for node in joins}
        for step in range(steps):
            place = f"{split.output[0]}_step{step}"
            piece = self.names.fresh(f"{place}_part")
            bounds = [
                self._integers(f"{place}_{what}", [value])
                for what, value in (
                    ("start", step * size),
                    ("end", (step + 1) * size),
                    ("axis", 1),
                )
            ]
            nodes.append(helper.make_node("Slice", [flat, *bounds], [piece], name=piece))
            own = {split.output[0]: self._reshape(nodes, piece, [1, *one], place)}
            for node in region:
                if self._splits(node):
                    own[node.output[0]] = own[aliases[node.input[0]]]
                    continue
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                copy.name = f"{node.name or node.output[0]}_step{step}"
                if node.op_type == "Reshape":
                    made = self._shape(node.output[0])
                    copy.input[1] = self._integers(f"{copy.name}_shape", [1, *made[1:]])
                copy.input[:] = [own.get(name, name) for name in copy.input]
                for position, name in enumerate(node.output):
                    own[name] = self.names.fresh(f"{name}_step{step}") if name else ""
                    copy.output[position] = own[name]
                nodes.append(copy)
            for node in joins:
                shape = self._shape(node.output[0])
                source = own[node.input[0]]
                wide = [1, math.prod(shape[2:])]
                parts[node.output[0]].append(self._reshape(nodes, source, wide, f"{source}_flat"))
        for node in joins:
            whole = self.names.fresh(f"{node.output[0]}_steps")
            nodes.append(
                helper.make_node("Concat", parts[node.output[0]], [whole], name=whole, axis=1)
            )
            target = self._integers(f"{whole}_shape", self._shape(node.output[0]))
            nodes.append(
                helper.make_node("Reshape", [whole, target], [node.output[0]], name=node.name)
            )
        gone = {name for node in (split, *region, *joins) for name in node.output}
        kept = [node for node in graph.node if not gone.intersection(node.output)]
        fresh = _in_order([*kept, *nodes])
        del graph.node[:]
        graph.node.extend(fresh)
        del graph.value_info[:]
        drop_unused(self.model)

    def _integers(self, base: str, values: Sequence[int]) -> str:
        name = self.names.fresh(base)
        add_constant(self.model, name, list(values), np.int64)
        return name

    def _reshape(self, nodes: list[onnx.NodeProto], x: str, shape: Sequence[int], base: str) -> str:
        y = self.names.fresh(base)
        target = self._integers(f"{y}_shape", shape)
        nodes.append(helper.make_node("Reshape", [x, target], [y], name=y))
        return y


def _in_order(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes so that every tensor is made before it is read."""
    unmade = {name for node in nodes for name in node.output if name}
    done: list[onnx.NodeProto] = []
    while nodes:
        waiting = []
        for node in nodes:
            if unmade.intersection(node.input):
                waiting.append(node)
            else:
                done.append(node)
                unmade.difference_update(node.output)
        if len(waiting) == len(nodes):
            raise errors.ModelError("the nodes of the model read each other in a circle")
        nodes = waiting
    return done
