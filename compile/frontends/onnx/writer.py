"""A qonnx model whose nodes are written again, and what operators that move numbers do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from samebits import errors

from ..quant import DOMAIN, QuantAttributes, quant_node
from .nodes import node_attributes
from .storage import exact_format, quantized_values

__all__ = ["MOVES", "Writer", "moved", "picked"]

Array = NDArray[Any]
MOVES = (*("Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),)


class Writer:
    """The model's nodes so far, in its own axes and with a batch of 1.

    Attributes:
        shapes: of all tensors, the batch axis included.
        makers: the node that makes a tensor, old or new.
        readers: the old nodes that read a tensor.
        outputs: the model's.
    """

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        graph = wrapper.graph
        self.old = list(graph.node)
        self._nodes: list[onnx.NodeProto] = []
        self._values = {t.name: wrapper.get_initializer(t.name) for t in graph.initializer}
        self.makers = {name: node for node in self.old for name in node.output}
        self.outputs = {value.name for value in graph.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for node in self.old:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        for name in (*(v.name for v in graph.input), *self.makers):
            shape = wrapper.get_tensor_shape(name)
            if shape is not None:
                self.shapes[name] = tuple(int(size) for size in shape)
        self._written: set[str] = set()

    def is_written(self, node: onnx.NodeProto) -> bool:
        """True if all its results are there already."""
        return all(name in self._written for name in node.output if name)

    def is_constant(self, name: str) -> bool:
        """True for constants, also quantized ones."""
        maker = self.makers.get(name)
        quantized = maker is not None and maker.op_type == "Quant"
        return name in self._values or (quantized and maker.input[0] in self._values)  # type: ignore[union-attr]

    def value(self, name: str) -> Array:
        """The numbers of a constant, rounded if it is quantized."""
        if name in self._values:
            return np.asarray(self._values[name])
        node = self.makers[name]
        return quantized_values(node, *(self._values[operand] for operand in node.input))

    def fresh(self, base: str) -> str:
        """A name that nothing has."""
        base = re.sub(r"\W", "_", base, flags=re.ASCII)
        for count in itertools.count(1):
            name = base if count == 1 else f"{base}_{count}"
            if not (name in self.shapes or name in self._values or name in self._written):
                break
        return name

    def constant(self, base: str, values: Array) -> str:
        """A new constant."""
        name = self.fresh(base)
        self._values[name] = np.asarray(values)
        self.wrapper.set_initializer(name, np.asarray(values))
        return name

    def weight(self, base: str, values: Array) -> str:
        """A new constant with a type that holds it exactly, where 24 bits are enough."""
        values = np.asarray(values, np.float32)
        text = exact_format(values)
        if text is None:
            return self.constant(base, values)
        kind, _, sizes = text.rstrip(">").partition("<")
        width, integer = map(int, sizes.split(","))
        signed = kind == "fixed"
        if width == 1:  # hls4ml counts types of one bit as binary
            width, integer, signed = 3, integer + 2, True
        name = self.fresh(base)
        numbers, scale, zero, bits = (
            self.constant(f"{name}_{role}", np.asarray(value, np.float32))
            for role, value in (
                ("values", values),
                ("scale", 2.0 ** (integer - width)),
                ("zeropt", 0.0),
                ("bits", width),
            )
        )
        attributes = QuantAttributes(signed=signed, narrow=False, rounding="ROUND")
        node = quant_node(
            self.fresh(f"{name}_quant"), (numbers, scale, zero, bits), name, attributes
        )
        node.ClearField("overload")
        if all(item.domain != DOMAIN for item in self.wrapper.model.opset_import):
            self.wrapper.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        self.write(node, values.shape)
        return name

    def write(self, node: onnx.NodeProto, *shapes: tuple[int, ...]) -> None:
        """Adds a node, new or of the model."""
        self._nodes.append(node)
        for name, shape in itertools.zip_longest(node.output, shapes):
            self._written.add(name)
            self.makers[name] = node
            if shape is not None:
                self.shapes[name] = tuple(shape)

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        base: str,
        target: str | None = None,
        **attributes: Any,
    ) -> str:
        """Adds a standard node; its result is `target`, or a fresh name made from `base`."""
        name = self.fresh(base) if target is None else target
        title = name if target is None else self.fresh(base)
        node = helper.make_node(operator, list(inputs), [name], name=title, **attributes)
        self.write(node, tuple(shape))
        return name

    def reshape(self, x: str, shape: Sequence[int], base: str, target: str | None = None) -> str:
        """The same numbers in another shape."""
        if self.shapes[x] == tuple(shape) and target is None:
            return x
        sizes = self.constant(f"{base}_shape", np.asarray(shape, np.int64))
        return self.add("Reshape", [x, sizes], shape, base, target)

    def times(self, x: str, axis: int, matrix: Array, base: str) -> str:
        """The product of one axis (K) with a matrix (K, N); the others stay."""
        shape = list(self.shapes[x])
        last = len(shape) - 1
        perm = list(range(len(shape)))
        perm[axis], perm[last] = last, axis
        if axis != last:
            shape = [shape[a] for a in perm]
            x = self.add("Transpose", [x], shape, f"{base}_last", perm=perm)
        shape[-1] = matrix.shape[1]
        x = self.add("MatMul", [x, self.weight(f"{base}_matrix", matrix)], shape, base)
        if axis != last:
            shape = [shape[a] for a in perm]
            x = self.add("Transpose", [x], shape, f"{base}_back", perm=perm)
        return x

    def finish(self) -> None:
        """Puts the new nodes into the model, without what nobody reads."""
        graph = self.wrapper.graph
        used, kept = set(self.outputs), []
        for node in reversed(self._nodes):
            if used.intersection(node.output):
                kept.append(node)
                used.update(node.input)
        del graph.node[:]
        graph.node.extend(reversed(kept))
        for name in [tensor.name for tensor in graph.initializer if tensor.name not in used]:
            self.wrapper.del_initializer(name)  # hls4ml fails on constants without a reader
        for node in kept:
            for name in node.output:
                if name in self.shapes:
                    self.wrapper.set_tensor_shape(name, list(self.shapes[name]))

    def results(self, node: onnx.NodeProto, x: Array) -> dict[str, Array] | None:
        """What a node of `MOVES` makes of an array; None for any other."""
        if node.op_type not in MOVES:
            return None
        given, names = node_attributes(node), list(node.input)
        if node.op_type == "Transpose":
            return {node.output[0]: x.transpose(given.get("perm", range(x.ndim)[::-1]))}
        if node.op_type == "Gather":
            if not self.is_constant(names[1]):
                return None
            return {node.output[0]: x.take(self.value(names[1]), axis=given.get("axis", 0))}
        if node.op_type == "Split":
            axis, made = given.get("axis", 0), {}
            start = 0
            for name in node.output:
                size = self.shapes[name][axis]
                made[name] = x.take(range(start, start + size), axis=axis)
                start += size
            return made
        if node.op_type == "Slice":
            return {node.output[0]: x[self.parts(node, x.ndim)]}
        return {node.output[0]: x.reshape(self.shapes[node.output[0]])}

    def parts(self, node: onnx.NodeProto, rank: int) -> tuple[slice, ...]:
        """What a Slice takes of every axis."""
        starts, ends, axes, steps = (
            [int(n) for n in self.value(name).reshape(-1)] if name else None
            for name in [*node.input[1:], "", ""][:4]
        )
        starts, ends = starts or [], ends or []
        parts = [slice(None)] * rank
        for axis, start, end, step in zip(
            axes if axes is not None else range(len(starts)),
            starts,
            ends,
            steps if steps is not None else [1] * len(starts),
            strict=True,
        ):
            size = self.shapes[node.input[0]][axis]
            parts[axis] = slice(start, None if step < 0 and end < -size else end, step)
        return tuple(parts)


def moved(writer: Writer, x: str, places: Array, base: str, target: str | None = None) -> str:
    """A tensor with numbers of x: `places` says for each which one of the flattened x it is.

    Args:
        x: a tensor with the batch first.
        base: for the names of new tensors; `target`: the result's name.

    Raises:
        UnsupportedError: it is no part of x with its axes in another order or reversed.
    """
    shape = writer.shapes[x]
    used = np.unravel_index(places.reshape(-1), shape)
    runs = []
    for axis, numbers in enumerate(used):
        low, high = int(numbers.min()), int(numbers.max())
        runs.append((low, high + 1))
        if len(np.unique(numbers)) != high + 1 - low or (axis == 0 and shape[0] != 1):
            raise errors.UnsupportedError("takes other numbers than a part of the axes")
    found = _arrangement(np.arange(np.prod(shape)).reshape(shape), runs, places)
    if found is None:
        raise errors.UnsupportedError("takes numbers that no order of the axes gives")
    flips, perm = found
    cut = [axis for axis, run in enumerate(runs) if run != (0, shape[axis])]
    sizes = [high - low for low, high in runs]
    steps = [bool(cut), *(True for _ in flips), perm != tuple(range(len(shape)))]
    line = len(shape) == 2  # hls4ml cuts matrices and images
    if cut and line:
        x = writer.reshape(x, (*shape, 1), f"{base}_column")
        sizes.append(1)
    if cut:
        operands = [
            writer.constant(f"{base}_{role}", np.asarray(numbers, np.int64))
            for role, numbers in (
                ("starts", [runs[axis][0] for axis in cut]),
                ("ends", [runs[axis][1] for axis in cut]),
                ("axes", cut),
            )
        ]
        x = writer.add("Slice", [x, *operands], sizes, f"{base}_part")
        if line:
            x = writer.reshape(x, sizes[:2], f"{base}_row")
    for axis in flips:
        backwards = np.arange(sizes[axis])[::-1]
        x = picked(writer, x, axis, backwards, f"{base}_reversed")
    if steps[-1]:
        x = writer.add("Transpose", [x], [sizes[a] for a in perm], f"{base}_axes", perm=list(perm))
    return writer.reshape(x, places.shape, base, target)


def _arrangement(
    whole: Array, runs: Sequence[tuple[int, int]], places: Array
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Which axes are reversed, and the order of axes, that give `places`."""
    part = whole[tuple(slice(*run) for run in runs)]
    wide = [axis for axis, size in enumerate(part.shape) if size > 1]
    if part.size != places.size:
        return None
    wanted = places.reshape(-1)
    for count in range(len(wide) + 1):
        for flips in itertools.combinations(wide, count):
            flipped = np.flip(part, flips)
            for order in itertools.permutations(range(1, part.ndim)):
                if np.array_equal(flipped.transpose((0, *order)).reshape(-1), wanted):
                    return flips, (0, *order)
    return None


def picked(writer: Writer, x: str, axis: int, places: Array, base: str) -> str:
    """Elements of one axis in any order: a product with a matrix of 0 and 1."""
    matrix = np.zeros((writer.shapes[x][axis], len(places)))
    matrix[places, np.arange(len(places))] = 1
    return writer.times(x, axis, matrix, base)
