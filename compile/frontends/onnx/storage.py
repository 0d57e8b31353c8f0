"""How the firmware keeps every tensor: which axes, in what order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from samebits import errors

from ..quant import QuantGrid, attributes_of, grid_of
from .nodes import layer_node

__all__ = ["Layout", "Rule", "Stored", "exact_format", "exact_type", "quantized_values"]

Array = NDArray[Any]
_MOST_BITS = 24
_MOVING = (
    *("Flatten", "GlobalMaxPool", "MaxPool", "Pad", "Relu", "Reshape", "Resize", "Slice"),
    *("Squeeze", "Transpose", "Unsqueeze", "Upsample"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the model in the firmware. The batch axis is not counted anywhere.

    Args:
        name: of the tensor in the firmware's model.
        axes: the model's axis of every stored axis; None for one of size 1 that stands for nothing.
        shape: as stored.
        features: of a flattened tensor in another order: the model's position of every element.
    """

    name: str
    axes: tuple[int | None, ...]
    shape: tuple[int, ...]
    features: Array | None = None

    @property
    def order(self) -> tuple[int, ...]:
        """The model's axes of more than one element, as stored."""
        pairs = zip(self.axes, self.shape, strict=True)
        return tuple(axis for axis, size in pairs if axis is not None and size > 1)


class Layout:
    """A cleaned-up qonnx model while its nodes are written again, one by one.

    Attributes:
        shapes: of the model's tensors.
        stored: how the firmware keeps those that are computed.
        notes: for the user.

    Args:
        own: the model's names of its inputs, by those in the wrapper.
    """

    def __init__(self, wrapper: Any, own: Mapping[str, str]) -> None:
        self.wrapper = wrapper
        self._own = own
        graph = wrapper.graph
        self.notes: list[str] = []
        self._old = list(graph.node)
        self._nodes: list[onnx.NodeProto] = []
        self._written: dict[str, tuple[int, ...]] = {}
        self._taken: dict[tuple[Any, ...], Stored] = {}
        self._values = {t.name: wrapper.get_initializer(t.name) for t in graph.initializer}
        self._quants = {
            node.output[0]: node
            for node in self._old
            if node.op_type == "Quant" and node.input[0] in self._values
        }
        self._inputs = [v.name for v in graph.input if v.name not in self._values]
        self.outputs = [value.name for value in graph.output]
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._old:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in (*self._inputs, *(name for node in self._old for name in node.output)):
            shape = wrapper.get_tensor_shape(name)
            if name and (shape is None or not all(shape)):
                raise errors.ModelError(
                    f"the shape of tensor {name} cannot be inferred; export the model with static "
                    "shapes"
                )
            self.shapes[name] = tuple(int(size) for size in (shape or [1])[1:])
        self.stored: dict[str, Stored] = {}
        for name in self._inputs:
            shape = self.shapes[name]
            self.stored[name] = Stored(name, tuple(range(len(shape))), shape)

    @property
    def computed(self) -> list[onnx.NodeProto]:
        """The model's nodes but for the quantizers of constants."""
        return [node for node in self._old if node.output[0] not in self._quants]

    def is_constant(self, name: str) -> bool:
        """True for constants, also quantized ones."""
        return name in self._values or name in self._quants

    def value(self, name: str) -> Array:
        """The numbers of a constant, rounded if it is quantized."""
        if name in self._quants:
            node = self._quants[name]
            return quantized_values(node, *(self._values[operand] for operand in node.input))
        return np.asarray(self._values[name])

    def fresh(self, base: str) -> str:
        """A name that nothing has."""
        base = re.sub(r"\W", "_", base, flags=re.ASCII)
        name, count = base, 1
        while name in self._written or name in self.shapes or name in self._values:
            count += 1
            name = f"{base}_{count}"
        self._written[name] = ()
        return name

    def constant(self, name: str, change: Callable[[Array], Array]) -> str:
        """A copy of a constant for one reader, its quantizer kept; `change` moves its elements.

        Raises:
            UnsupportedError: a quantizer with several scales or a zero point.
        """
        quant = self._quants.get(name)
        if quant is None:
            return self.add_constant(name, change(np.asarray(self._values[name])))
        operands = [np.asarray(self._values[operand]) for operand in quant.input]
        if any(values.size != 1 for values in operands[1:]) or operands[2].any():
            raise errors.UnsupportedError(f"its constant {name} has no single scale")
        names = [self.add_constant(f"{name}_raw", change(operands[0]))]
        names += [
            self.add_constant(f"{name}_{part}", values.reshape(()))
            for part, values in zip(("scale", "zeropt", "bits"), operands[1:], strict=True)
        ]
        copy = onnx.NodeProto()
        copy.CopyFrom(quant)
        copy.name, target = self.fresh(quant.name), self.fresh(name)
        copy.input[:], copy.output[:] = names, [target]
        self._add(copy, tuple(change(operands[0]).shape))
        return target

    def add_constant(self, base: str, values: Array) -> str:
        """A new constant."""
        name = self.fresh(base)
        values = np.ascontiguousarray(values) if np.ndim(values) else np.asarray(values)
        self.wrapper.set_initializer(name, values)
        self._written[name] = tuple(values.shape)
        return name

    def emit(self, node: onnx.NodeProto, tensor: str, stored: Stored) -> None:
        """Adds a node whose result is the model's `tensor`, kept as `stored`."""
        self._add(node, (1, *stored.shape))
        self.stored[tensor] = stored

    def _add(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        self._nodes.append(node)
        self._written[node.output[0]] = shape

    def alias(self, tensor: str, source: str) -> None:
        """Makes the model's `tensor` what `source` is, without a node."""
        self.stored[tensor] = self.stored[source]

    def made_by(self, name: str) -> str:
        """The operator that makes a tensor of the firmware's, "" for an input."""
        return next((n.op_type for n in reversed(self._nodes) if name in n.output), "")

    def maker(self, tensor: str) -> onnx.NodeProto | None:
        """The model's node that makes a tensor, None for an input."""
        return next((node for node in self._old if tensor in node.output), None)

    def grid(self, tensor: str) -> QuantGrid | None:
        """The fixed-point type of a tensor's numbers, if a Quant node and only moves are before."""
        node = self.maker(tensor)
        if node is None:
            return None
        if node.op_type == "Quant":
            return grid_of(node, *(self.value(name) for name in node.input[1:4]))
        return self.grid(node.input[0]) if node.op_type in _MOVING else None

    def inner(self, base: str, shape: tuple[int, ...]) -> str:
        """A new tensor of the model's, between two nodes that stand for one."""
        name = self.fresh(base)
        self.shapes[name] = shape
        return name

    def take(self, tensor: str, axes: Sequence[int | None]) -> Stored:
        """A tensor with its axes in this order: as it is, or through a Reshape or a Transpose.

        Raises:
            UnsupportedError: its elements are in another order.
        """
        have, sizes = self.stored[tensor], self.shapes[tensor]
        shape = tuple(1 if axis is None else sizes[axis] for axis in axes)
        wanted = Stored("", tuple(axes), shape)
        if have.features is not None:
            raise errors.UnsupportedError(f"reads {tensor}, whose elements are in another order")
        if have.order == wanted.order and have.shape == shape:
            return replace(wanted, name=have.name)
        key = (tensor, wanted.order, shape)
        if key not in self._taken:
            if have.order == wanted.order:
                self._taken[key] = self._reshaped(tensor, have, wanted.axes, shape)
            else:
                self._taken[key] = self._transposed(tensor, have, wanted)
        return replace(self._taken[key], axes=wanted.axes)

    def _reshaped(
        self, tensor: str, have: Stored, axes: tuple[int | None, ...], shape: tuple[int, ...]
    ) -> Stored:
        name = self.fresh(f"{tensor}_reshaped")
        node = layer_node("Reshape", name, [have.name], name, target_shape=list(shape))
        self._add(node, (1, *shape))
        return Stored(name, axes, shape)

    def _transposed(self, tensor: str, have: Stored, wanted: Stored) -> Stored:
        # hls4ml takes out every Transpose of an input whose first axis has one element, whatever it
        # does (passes/transpose_opt.py, RemoveSingleChannelTranspose)
        if len(have.shape) != len(wanted.shape) or have.shape[0] == 1:
            bare = tuple(size for size in have.shape if size > 1)
            have = self._reshaped(tensor, have, have.order, bare)
            shape = tuple(size for size in wanted.shape if size > 1)
            moved = self._transposed(tensor, have, Stored("", wanted.order, shape))
            if shape == wanted.shape:
                return moved
            return self._reshaped(tensor, moved, wanted.axes, wanted.shape)
        single = [i for i, size in enumerate(have.shape) if size == 1]
        perm = [
            have.axes.index(axis) if size > 1 else single.pop(0)
            for axis, size in zip(wanted.axes, wanted.shape, strict=True)
        ]
        name = self.fresh(f"{tensor}_transposed")
        node = helper.make_node(
            "Transpose", [have.name], [name], name=name, perm=[0, *(axis + 1 for axis in perm)]
        )
        self._add(node, (1, *wanted.shape))
        self._note_input(have, wanted)
        return replace(wanted, name=name)

    def _note_input(self, have: Stored, wanted: Stored) -> None:
        makers = {node.output[0]: node for node in self._nodes}
        source = have.name
        while source in makers and makers[source].op_type == "Quant":
            source = makers[source].input[0]
        note = (
            f"input {self._own.get(source, source)} of shape {have.shape} does not have its "
            "channels last: the firmware transposes it first"
        )
        if source in self._inputs and note not in self.notes:
            self.notes.append(note)

    def identity(self, tensor: str) -> Stored:
        """A tensor as the model has it."""
        return self.take(tensor, range(len(self.shapes[tensor])))

    def arranged(self, values: Array, tensor: str, shape: bool = True) -> Array:
        """Constants that the model broadcasts onto `tensor`, as they broadcast onto the stored one.

        Raises:
            ModelError: they do not fit.
        """
        if values.size == 1:
            return values.reshape(())
        have, sizes = self.stored[tensor], self.shapes[tensor]
        whole = values.reshape((1,) * (len(sizes) + 1 - values.ndim) + values.shape)
        fits = whole.ndim == len(sizes) + 1 and whole.shape[0] == 1
        if not fits or any(n not in (1, m) for n, m in zip(whole.shape[1:], sizes, strict=True)):
            raise errors.ModelError(
                f"a constant of shape {list(values.shape)} does not fit events of shape "
                f"{list(sizes)}"
            )
        whole = whole[0]
        if have.features is not None:
            return np.asarray(whole[have.features] if whole.size > 1 else whole)
        rest = [axis for axis in range(len(sizes)) if axis not in have.order]
        moved = whole.transpose([*have.order, *rest])
        counts = iter(moved.shape)
        counted = [next(counts) if size > 1 else 1 for size in have.shape]
        return np.asarray(moved.reshape(counted))

    def finish(self) -> None:
        """Gives the outputs the model's axes and names, and puts the new nodes into the model.

        Raises:
            UnsupportedError: an output that only renames the axes of an input or another output.
        """
        graph, renamed = self.wrapper.graph, dict[str, str]()
        for output in self.outputs:
            source = self.identity(output).name
            if source == output:
                continue
            if source in self._inputs or source in self.outputs or source in renamed:
                name = self._own.get(source, source)
                raise errors.UnsupportedError(
                    f"output {output} only gives {name} other axes; there is nothing to compute"
                )
            if output in self._written:
                renamed[output] = self.fresh(f"{output}_stored")
                del self._written[renamed[output]]  # what is renamed brings its shape
            renamed[source] = output
        for node in self._nodes:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        del graph.node[:]
        graph.node.extend(self._nodes)
        del graph.value_info[:]
        used = {name for node in self._nodes for name in node.input}
        for name in [t.name for t in graph.initializer if t.name not in used]:
            self.wrapper.del_initializer(name)  # hls4ml fails on constants without a reader
        kept = {tensor.name for tensor in graph.initializer}
        for name, shape in self._written.items():
            name = renamed.get(name, name)
            if name in kept or any(name in node.output for node in self._nodes):
                self.wrapper.set_tensor_shape(name, list(shape))


def quantized_values(
    node: onnx.NodeProto, x: Array, scale: Array, zero: Array, bits: Array
) -> Array:
    """What a Quant node makes of a constant."""
    attributes = attributes_of(node)
    levels = np.float32(2) ** (bits.astype(np.float32) - np.float32(attributes.signed))
    low = attributes.narrow - levels if attributes.signed else 0 * levels
    rounded = {"ROUND": np.rint, "FLOOR": np.floor}[attributes.rounding](
        np.clip(x / scale + zero, low, levels - 1)
    )
    return np.asarray((rounded - zero) * scale, np.float32)


def exact_type(values: Array) -> list[int] | None:
    """[width, integer bits, signed] of the narrowest type that holds constants, if it is narrow."""
    numbers = np.unique(np.asarray(values, np.float64))
    steps = [math.frexp(n)[1] - 53 + _zeros(math.frexp(abs(n))[0]) for n in numbers if n]
    if not steps:
        return [1, 1, 0]
    fraction = -min(steps)
    scaled = [int(math.ldexp(n, fraction)) for n in (numbers[0], numbers[-1])]
    signed = scaled[0] < 0
    width = max(n.bit_length() if n >= 0 else (-n - 1).bit_length() for n in scaled) + signed
    if width > _MOST_BITS:
        return None
    return [width, width - fraction, int(signed)]


def exact_format(values: Array) -> str | None:
    """`exact_type` in hls4ml's words."""
    exact = exact_type(values)
    return None if exact is None else precision_of(exact)


def precision_of(sizes: Sequence[int]) -> str:
    """[width, integer bits, signed] in hls4ml's words."""
    return f"{'fixed' if sizes[2] else 'ufixed'}<{sizes[0]},{sizes[1]}>"


def _zeros(mantissa: float) -> int:
    """Zero bits at the end of a mantissa of 53 bits."""
    whole = int(math.ldexp(mantissa, 53))
    return (whole & -whole).bit_length() - 1


# Writes one of the model's nodes again, for tensors as they are stored.
Rule = Callable[[Layout, onnx.NodeProto], None]
