"""`Program`: where every tensor of a graph stands in C++, in which type, and loops over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from samebits import errors

from ..ir import Graph, Interval, Node
from ..ops import Array, operation, site_of
from ..passes import propagate_ranges

if TYPE_CHECKING:
    from .cpp_elements import Step

__all__ = ["Cell", "Program", "strides_of", "without_repeats"]

_TYPES = {32: "std::int32_t", 64: "std::int64_t", 128: "int128"}
_ALIGNMENT = 16  # bytes of one event


@dataclass(frozen=True, slots=True)
class Cell:
    """A tensor's rows of events, or a constant: name in C++, element type, first element."""

    name: str
    type: str
    constant: bool
    offset: int = 0

    def row(self, index: str) -> str:
        """The pointer to the row of events of an element, or to a constant."""
        place = f"{index} + {self.offset}" if self.offset else index
        return f"({self.name} + {place})" if self.constant else f"({self.name} + ({place}) * B)"

    def at(self, index: str) -> str:
        """The element at an index, in a loop over events."""
        place = f"{index} + {self.offset}" if self.offset else index
        return f"{self.name}[{place}]" if self.constant else f"{self.name}[({place}) * B + e]"


class Program:
    """The graph's tensors laid out in memory, and its constants."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ranges: Mapping[str, Interval] = propagate_ranges(graph)
        self.event_bytes = 0
        self._constants: dict[tuple[str, bytes], str] = {}
        self._texts: list[str] = []
        self._cells: dict[str, Cell] = {}
        self._memory: dict[str, tuple[int, int]] = {}  # offset and size of what is held
        self._root: dict[str, str] = {}  # whose memory a tensor stands in
        self._last_use = {
            name: number for number, node in enumerate(graph.nodes) for name in node.inputs
        }
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(node)
        self._packed: set[str] = set()
        self._last_use.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
        for name in graph.inputs:
            self.allocate(name)

    # ---- types ----
    def type_for(self, magnitude: int, what: str) -> str:
        """The C++ type that holds integers up to a magnitude.

        Raises:
            UnsupportedError: none does.
        """
        for bits, name in _TYPES.items():
            if magnitude < 1 << (bits - 1):
                return name
        raise errors.UnsupportedError(
            f"C++: {what} needs integers beyond 127 bits; use narrower formats"
        )

    def compute_type(self, node: Node) -> str:
        """The type in which everything that an operation computes is exact."""
        intervals = [self.ranges[name] for name in node.inputs]
        peak = operation(node.op).peak(site_of(self.graph, node), intervals)
        return self.type_for(max(peak, self.ranges[node.output].magnitude), node.output)

    @staticmethod
    def literal(value: int, ctype: str) -> str:
        """An integer as a C++ expression of a type."""
        if ctype == "int128" and not -(2**63) < value < 2**63:
            low, high = value & (2**64 - 1), value >> 64
            return f"(int128({high}LL) * (int128(1) << 64) + int128({low}ULL))"
        if not -(2**31) < value < 2**31:
            return f"{ctype}({value}LL)" if value != -(2**63) else f"{ctype}(-{2**63 - 1}LL - 1)"
        return f"{ctype}({value})"

    # ---- constants ----
    def constant(self, values: Array, stem: str = "c") -> Cell:
        """A constant array in the narrowest type."""
        integers = [int(v) for v in np.asarray(values).flat] or [0]
        low, high = min(integers), max(integers)
        for bits in (8, 16, 32, 64):
            if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
                ctype = f"std::int{bits}_t"
                break
        else:
            ctype = self.type_for(max(abs(low), abs(high)), stem)
        return Cell(self._array(integers, ctype, stem), ctype, constant=True)

    def words(self, integers: Sequence[int], stem: str = "w") -> str:
        """The name of a constant array of 32-bit words."""
        return self._array([int(v) for v in integers], "std::int32_t", stem)

    def _array(self, integers: list[int], ctype: str, stem: str) -> str:
        key = ctype, repr(integers).encode()
        if key not in self._constants:
            name = self._constants[key] = f"{stem}{len(self._constants)}"
            small = "int128" not in ctype and "64" not in ctype
            texts = [str(v) if small and v > -(2**31) else self.literal(v, ctype) for v in integers]
            lines, line = [], "   "
            for text in texts:
                if len(line) + len(text) > 98:
                    lines.append(line)
                    line = "   "
                line += f" {text},"
            lines.append(line)
            body = "\n".join(lines)
            array = f"alignas(64) constexpr {ctype} {name}[{len(integers)}]"
            self._texts.append(f"[[maybe_unused]] {array} = {{\n{body}\n}};")
        return self._constants[key]

    def constants_text(self) -> str:
        """The definitions of all constants."""
        return "\n".join(self._texts)

    # ---- memory ----
    def allocate(self, tensor: str) -> Cell:
        """Memory for a tensor's rows of events, until nothing reads it any more."""
        ctype = self.type_for(self.ranges[tensor].magnitude, tensor)
        bits = next(bits for bits, name in _TYPES.items() if name == ctype)
        size = prod(self.graph.tensors[tensor].shape) * bits // 8
        self._root[tensor] = tensor
        cell = Cell(self._pointer(self._take(tensor, size), ctype), ctype, constant=False)
        self._cells[tensor] = cell
        return cell

    def scratch(self, words: int) -> str:
        """A pointer to so many 32-bit words of every event, used in one step."""
        name = f" {len(self._memory)} scratch"  # no tensor's
        return self._pointer(self._take(name, 4 * words), "std::int32_t")

    def release(self, node: int) -> None:
        """Gives back what no node behind this one reads."""
        for name in list(self._memory):
            if self._last_use.get(name, -1) <= node:
                del self._memory[name]

    def _take(self, name: str, size: int) -> int:
        # one more: rows that are read and written together must not share the low bits of addresses
        size = (-(-size // _ALIGNMENT) + 1) * _ALIGNMENT
        offset = 0
        for start, held in sorted(self._memory.values()):
            if start - offset >= size:
                break
            offset = max(offset, start + held)
        self._memory[name] = offset, size
        self.event_bytes = max(self.event_bytes, offset + size)
        return offset

    @staticmethod
    def _pointer(offset: int, ctype: str) -> str:
        return f"reinterpret_cast<{ctype}*>(memory + {offset} * B)"

    def alias(self, tensor: str, source: str, offset: int = 0) -> None:
        """Says that a tensor is (a part of) another one under a new name."""
        cell = self.array(source)
        self._cells[tensor] = Cell(cell.name, cell.type, cell.constant, cell.offset + offset)
        root = self._root.get(source)
        if root is not None:
            self._root[tensor] = root
            last = self._last_use
            last[root] = max(last.get(root, -1), last.get(tensor, -1))

    def mark_packed(self, tensor: str) -> None:
        """Says that blocks of events stand packed for the matrix products that read a tensor."""
        self._packed.add(self._root[tensor])

    def is_packed(self, tensor: str) -> bool:
        """True if its producer packed a tensor."""
        return self._root.get(tensor) in self._packed

    def array(self, tensor: str) -> Cell:
        """Where a tensor stands."""
        if tensor not in self._cells and tensor in self.graph.constants:
            self._cells[tensor] = self.constant(self.graph.constants[tensor])
        return self._cells[tensor]

    # ---- loops ----
    def fused(self, group: Sequence[Step]) -> list[str]:
        """One loop over the elements of one shape for several operations."""
        shape = group[0].site.output.shape
        inside: dict[str, str] = {}
        outside: dict[str, tuple[Cell, list[int]]] = {}
        body: list[str] = []
        made = {step.node.output for step in group}
        for step in group:
            ctype = self.compute_type(step.node)
            operands = []
            for name, tensor in zip(step.node.inputs, step.site.inputs, strict=True):
                if name in inside:
                    operands.append(f"{ctype}({inside[name]})")
                    continue
                if name in self.graph.constants and name not in outside:
                    values = without_repeats(self.graph.constants[name])
                    outside[name] = self.constant(values), strides_of(values.shape, shape)
                elif name not in outside:
                    outside[name] = self.array(name), strides_of(tensor.shape, shape)
                operands.append(f"{ctype}({{{name}}})")
            variable = f"v{len(inside)}"
            body.append(f"const {ctype} {variable} = {step.expression(operands)};")
            inside[step.node.output] = variable
        stored = [step for step in group if self.needed(step.node.output, made)]
        for step in stored:
            outside[step.node.output] = self.allocate(step.node.output), strides_of(shape, shape)
        sizes, strides = _collapsed(shape, [s for _, s in outside.values()])
        lines, indent = [], "    "
        for axis, size in enumerate(sizes):
            lines.append(f"{indent}for (int i{axis} = 0; i{axis} < {size}; ++i{axis}) {{")
            indent += "    "
        reads: dict[str, str] = {}
        for number, ((name, (cell, _)), steps) in enumerate(
            zip(outside.items(), strides, strict=True)
        ):
            index = " + ".join(f"i{a} * {s}" for a, s in enumerate(steps) if s) or "0"
            if cell.constant:
                reads[name] = cell.at(index)
            else:
                const = "" if name in made else "const "
                lines.append(f"{indent}{const}{cell.type}* p{number} = {cell.row(index)};")
                reads[name] = f"p{number}[e]"
        lines.append(f"{indent}EACH_EVENT {{")
        lines.extend(f"{indent}    {_filled(text, reads)}" for text in body)
        for step in stored:
            name = step.node.output
            lines.append(f"{indent}    {reads[name]} = {self.array(name).type}({inside[name]});")
        lines.append(f"{indent}}}")
        for _ in sizes:
            indent = indent[4:]
            lines.append(f"{indent}}}")
        return lines

    def needed(self, tensor: str, made: set[str]) -> bool:
        """True if an output, or a node that makes none of these tensors, reads a tensor."""
        if tensor in self.graph.outputs:
            return True
        return any(node.output not in made for node in self.readers.get(tensor, ()))


def _filled(text: str, reads: Mapping[str, str]) -> str:
    for name, read in reads.items():
        text = text.replace(f"{{{name}}}", read)
    return text


def without_repeats(values: Array) -> Array:
    """A constant with one element along every axis along which its numbers are the same."""
    for axis, size in enumerate(values.shape):
        first = values.take([0], axis) if size else values
        if size > 1 and np.array_equal(np.broadcast_to(first, values.shape), values):
            values = first
    return values


def strides_of(shape: tuple[int, ...], whole: tuple[int, ...]) -> list[int]:
    """Steps in elements along the axes of `whole`; 0 where the tensor is repeated."""
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(0 if size == 1 else step)
        step *= size
    steps.reverse()
    return [s if n != 1 else 0 for s, n in zip(steps, whole, strict=True)]


def _collapsed(
    shape: tuple[int, ...], strides: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """Fewer axes that walk over the same elements."""
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(k[-1] == s[axis] * size for k, s in zip(kept, strides, strict=True)):
            sizes[-1] *= size
            for k, s in zip(kept, strides, strict=True):
                k[-1] = s[axis]
        else:
            sizes.append(size)
            for k, s in zip(kept, strides, strict=True):
                k.append(s[axis])
    return sizes, kept
