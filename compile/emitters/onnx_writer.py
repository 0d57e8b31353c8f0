"""`OnnxWriter`: collects the nodes and initialisers of one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..ir import Carrier
from .onnx_layout import View

__all__ = ["ELEMENT_TYPES", "IR_VERSION", "OPSET", "OnnxWriter"]

OPSET = 17
IR_VERSION = 10
ELEMENT_TYPES: dict[Carrier, int] = {
    Carrier.FLOAT32: TensorProto.FLOAT,
    Carrier.FLOAT64: TensorProto.DOUBLE,
    Carrier.INT64: TensorProto.INT64,
}


class OnnxWriter:
    """Nodes in order; constants are shared by value."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._reshaped: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._count = 0

    def name(self, stem: str) -> str:
        """A name that no other value of the graph has."""
        self._count += 1
        return f"{stem}.{self._count}"

    def node(self, op: str, *inputs: str, output: str | None = None, **attrs: Any) -> str:
        """Adds a node with one output and returns that output's name."""
        output = output or self.name(op)
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attrs))
        return output

    def parts(self, x: str, sizes: Sequence[int]) -> list[str]:
        """x in pieces along its first axis after the batch axis."""
        outputs = [self.name("Split") for _ in sizes]
        node = helper.make_node("Split", [x, self.axes(sizes)], outputs, name=outputs[0], axis=1)
        self.nodes.append(node)
        return outputs

    def split(self, x: str, count: int) -> list[str]:
        """The slices of x along its first axis after the batch axis."""
        axis = self.axes((1,))
        return [self.node("Squeeze", part, axis) for part in self.parts(x, (1,) * count)]

    def reshape(self, x: str, before: Sequence[int], after: Sequence[int]) -> str:
        """x of shape (N, *before) as (N, *after); of reshapes in a row only the last is a node."""
        source, shape = self._reshaped.get(x, (x, tuple(before)))
        if shape == tuple(after):
            return source
        made = self.node("Reshape", source, self.axes((0, *after)))
        self._reshaped[made] = source, shape
        return made

    def plain(self, view: View, shape: Sequence[int]) -> str:
        """What stands in another order, as (N, *shape) in its own."""
        name, order = view.name, view.order
        moving = [axis for axis in view.perm if view.stored[axis] != 1]
        if moving != sorted(moving):
            name = self.node("Transpose", name, perm=[0, *(axis + 1 for axis in view.perm)])
        else:
            name = self.reshape(name, view.stored, order)
        return self.reshape(name, order, shape)

    def expand(self, x: str, events: str, rank: int) -> str:
        """x of shape (1, ...), `rank` axes behind the first, once for each of the (N,) events."""
        return self.node("Expand", x, self.node("Concat", events, self.axes((1,) * rank), axis=0))

    def drop_unused(self, outputs: Sequence[str]) -> None:
        """Removes nodes and initialisers that none of these outputs needs."""
        needed = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.output):
                kept.append(node)
                needed.update(node.input)
        self.nodes = kept[::-1]
        self.initializers = [x for x in self.initializers if x.name in needed]

    def constant(self, values: Any) -> str:
        """The name of an initialiser that holds these values."""
        array = np.ascontiguousarray(values)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.name("constant")
            self._constants[key] = name
            self.initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def scalar(self, value: float, carrier: Carrier) -> str:
        """The name of a 0-d initialiser in a carrier's type."""
        return self.constant(np.array(value, dtype=carrier.dtype))

    def axes(self, values: Sequence[int]) -> str:
        """The name of an int64 list: axes or a shape."""
        return self.constant(np.array(list(values), dtype=np.int64))

    def cast(self, x: str, element_type: int) -> str:
        """x as another ONNX element type."""
        return self.node("Cast", x, to=element_type)
