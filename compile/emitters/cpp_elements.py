"""Operations that go element by element: an expression in C++ of one element of every operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..ir import Format, Node, Overflow, Rounding
from ..ops import Array, Site, site_of
from ..ops.arith import common_format
from .cpp_program import Cell, Program

__all__ = [
    "ELEMENTWISE",
    "ON_LANES",
    "Step",
    "index_of",
    "loops",
    "overflowed",
    "rescaled",
    "shifted_up",
]


@dataclass(frozen=True, slots=True)
class Step:
    """One node to write."""

    program: Program
    node: Node

    @property
    def site(self) -> Site:
        """Input tensors, attributes, output tensor."""
        return site_of(self.program.graph, self.node)

    @property
    def type(self) -> str:
        """The type in which everything that the operation computes is exact."""
        return self.program.compute_type(self.node)

    @property
    def elementwise(self) -> bool:
        """True if every element of the result comes from one element of every operand."""
        return self.node.op in ELEMENTWISE

    def expression(self, operands: list[str]) -> str:
        """One element of the result from one of every operand."""
        return ELEMENTWISE[self.node.op](self, operands)

    def constant(self, position: int) -> Array | None:
        """An operand's numbers if it is a constant."""
        return self.program.graph.constants.get(self.node.inputs[position])

    def cells(self) -> list[Cell]:
        """Where the operands stand."""
        return [self.program.array(name) for name in self.node.inputs]

    def result(self) -> Cell:
        """Memory for the result."""
        return self.program.allocate(self.node.output)


# ---- element by element: an expression of the operands ----
def shifted_up(text: str, bits: int) -> str:
    """A number times 2^bits."""
    return f"shifted_up({text}, {bits})" if bits else text


def _aligned(step: Step, operands: Sequence[str], target: Format, first: int = 0) -> list[str]:
    return [
        shifted_up(text, target.fraction - tensor.format.fraction)
        for text, tensor in zip(operands[first:], step.site.inputs[first:], strict=True)
    ]


def _joined(template: str) -> Callable[[Step, list[str]], str]:
    def expression(step: Step, operands: list[str]) -> str:
        a, b = _aligned(step, operands, step.site.output.format)
        return template.format(a=a, b=b)

    return expression


def _compare(step: Step, operands: list[str]) -> str:
    relation = {"gt": ">", "ge": ">=", "eq": "=="}[step.site.text("relation")]
    target = common_format([tensor.format for tensor in step.site.inputs])
    a, b = _aligned(step, operands, target)
    return f"{step.type}({a} {relation} {b})"


def _select(step: Step, operands: list[str]) -> str:
    a, b = _aligned(step, operands, step.site.output.format, first=1)
    return f"{operands[0]} != 0 ? {a} : {b}"


def rescaled(step: Step, operands: list[str]) -> str:
    """A cast's operand at the target's fraction, before the overflow mode."""
    source, target = step.site.inputs[0].format, step.site.output.format
    bits = source.fraction - target.fraction
    if bits <= 0:
        return shifted_up(operands[0], -bits)
    if target.rounding is Rounding.TRN:
        size = {"std::int32_t": 31, "std::int64_t": 63, "int128": 127}[step.type]
        bits = min(bits, size)  # what is left is the sign
    return f"rounded<Round::{target.rounding.value.lower()}, {bits}>({operands[0]})"


def _cast(step: Step, operands: list[str]) -> str:
    text = rescaled(step, operands)
    if step.site.integer("bounded"):
        return text
    return overflowed(text, step.site.output.format, step.type)


def overflowed(text: str, target: Format, ctype: str) -> str:
    """An integer brought into a format's range by its overflow mode."""
    if target.overflow is Overflow.WRAP:
        return f"wrapped<{str(target.signed).lower()}, {target.width}>({text})"
    low = Program.literal(target.min_saturated, ctype)
    high = Program.literal(target.max_mantissa, ctype)
    function = "zero_outside" if target.overflow is Overflow.SAT_ZERO else "clipped"
    return f"{function}({text}, {low}, {high})"


ELEMENTWISE: dict[str, Callable[[Step, list[str]], str]] = {
    "add": _joined("{a} + {b}"),
    "cast": _cast,
    "compare": _compare,
    "divide": lambda step, operands: f"{operands[0]} / {operands[1]}",
    "max": _joined("larger({a}, {b})"),
    "min": _joined("smaller({a}, {b})"),
    "mul": lambda step, operands: f"{operands[0]} * {operands[1]}",
    "select": _select,
    "sub": _joined("{a} - {b}"),
}

# Those whose expressions also hold for vectors of 32-bit integers.
ON_LANES = frozenset({"add", "cast", "max", "min", "mul", "sub"})


def loops(sizes: Sequence[int], body: Sequence[str]) -> list[str]:
    """Nested loops over i0, i1, ... around a body."""
    lines, indent = [], "    "
    for axis, size in enumerate(sizes):
        lines.append(f"{indent}for (int i{axis} = 0; i{axis} < {size}; ++i{axis}) {{")
        indent += "    "
    lines += [indent + line for line in body]
    for _ in sizes:
        indent = indent[4:]
        lines.append(f"{indent}}}")
    return lines


def index_of(steps: Sequence[int]) -> str:
    """The place of an element from the loops' variables and the steps along their axes."""
    return " + ".join(f"i{a} * {s}" for a, s in enumerate(steps) if s) or "0"
