"""Every operation of the fixed-point graph in C++: the table of the native emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from ..ir import Format, Node, Overflow, Rounding
from ..ops import Array, Site, site_of
from ..ops.accumulate import TREE
from ..ops.arith import common_format
from ..ops.dot import Axes
from .cpp_program import Cell, Program, strides_of

__all__ = ["ELEMENTWISE", "EMITTERS", "VIEWS", "Step"]

_PACKED_ROWS = 4  # outputs of one matrix product that are worth packing its factors
_VECTOR = "B % LANES == 0"


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
        if self.node.op == "lookup":
            return self.is_table(self.node.inputs[1])
        return self.node.op in ELEMENTWISE

    def expression(self, operands: list[str]) -> str:
        """One element of the result from one of every operand."""
        return ELEMENTWISE[self.node.op](self, operands)

    def constant(self, position: int) -> Array | None:
        """An operand's numbers if it is a constant."""
        return self.program.graph.constants.get(self.node.inputs[position])

    def is_table(self, name: str) -> bool:
        """True for the constant table of single entries that a lookup reads."""
        table = self.program.graph.constants.get(name)
        return (
            self.node.op == "lookup"
            and name == self.node.inputs[1]
            and table is not None
            and table.ndim == 1
        )

    def cells(self) -> list[Cell]:
        """Where the operands stand."""
        return [self.program.array(name) for name in self.node.inputs]

    def result(self) -> Cell:
        """Memory for the result."""
        return self.program.allocate(self.node.output)


# ---- element by element: an expression of the operands ----
def _up(text: str, bits: int) -> str:
    return f"shifted_up({text}, {bits})" if bits else text


def _aligned(step: Step, operands: Sequence[str], target: Format, first: int = 0) -> list[str]:
    return [
        _up(text, target.fraction - tensor.format.fraction)
        for text, tensor in zip(operands[first:], step.site.inputs[first:], strict=True)
    ]


def _joined(template: str) -> Callable[[Step, list[str]], str]:
    def expression(step: Step, operands: list[str]) -> str:
        a, b = _aligned(step, operands, step.site.output.format)
        return template.format(a=a, b=b, type=step.type)

    return expression


def _compare(step: Step, operands: list[str]) -> str:
    relation = {"gt": ">", "ge": ">=", "eq": "=="}[step.site.text("relation")]
    target = common_format([tensor.format for tensor in step.site.inputs])
    a, b = _aligned(step, operands, target)
    return f"{step.type}({a} {relation} {b})"


def _select(step: Step, operands: list[str]) -> str:
    a, b = _aligned(step, operands, step.site.output.format, first=1)
    return f"{operands[0]} != 0 ? {a} : {b}"


def _lookup(step: Step, operands: list[str]) -> str:
    return f"{step.type}({step.program.array(step.node.inputs[1]).name}[{operands[0]}])"


def _cast(step: Step, operands: list[str]) -> str:
    source, target = step.site.inputs[0].format, step.site.output.format
    bits, text = source.fraction - target.fraction, operands[0]
    if bits > 0:
        size = {"std::int32_t": 31, "std::int64_t": 63, "int128": 127}[step.type]
        if target.rounding is Rounding.TRN:
            bits = min(bits, size)  # what is left is the sign
        mode = target.rounding.value.lower()
        text = f"rounded<Round::{mode}, {bits}>({text})"
    else:
        text = _up(text, -bits)
    return text if step.site.integer("bounded") else overflowed(text, target, step.type)


def overflowed(text: str, target: Format, ctype: str) -> str:
    """An integer brought into a format's range by its overflow mode."""
    if target.overflow is Overflow.WRAP:
        return f"wrapped<{str(target.signed).lower()}, {target.width}>({text})"
    low = Program.literal(target.min_saturated, ctype)
    high = Program.literal(target.max_mantissa, ctype)
    function = "zero_outside" if target.overflow is Overflow.SAT_ZERO else "clipped"
    return f"{function}<{ctype}>({text}, {low}, {high})"


ELEMENTWISE: dict[str, Callable[[Step, list[str]], str]] = {
    "add": _joined("{a} + {b}"),
    "cast": _cast,
    "compare": _compare,
    "divide": lambda step, operands: f"{operands[0]} / {operands[1]}",
    "lookup": _lookup,
    "max": _joined("std::max<{type}>({a}, {b})"),
    "min": _joined("std::min<{type}>({a}, {b})"),
    "mul": lambda step, operands: f"{operands[0]} * {operands[1]}",
    "select": _select,
    "sub": _joined("{a} - {b}"),
}


# ---- the same numbers in the same order ----
def _same(step: Step) -> bool:
    step.program.alias(step.node.output, step.node.inputs[0])
    return True


def _slice(step: Step) -> bool:
    index = step.constant(1)
    assert index is not None  # the operation's rule
    first = int(index.flat[0]) if index.size else 0
    flat = [int(i) for i in index.reshape(-1)]
    if flat != list(range(first, first + len(flat))):
        return False
    inner = prod(step.site.inputs[0].shape[1:])
    step.program.alias(step.node.output, step.node.inputs[0], first * inner)
    return True


VIEWS: dict[str, Callable[[Step], bool]] = {"reshape": _same, "shift": _same, "gather": _slice}


# ---- loops over rows ----
def _loops(sizes: Sequence[int], body: Sequence[str], name: str = "i") -> list[str]:
    lines, indent = [], "    "
    for axis, size in enumerate(sizes):
        index = f"{name}{axis}"
        lines.append(f"{indent}for (int {index} = 0; {index} < {size}; ++{index}) {{")
        indent += "    "
    lines += [indent + line for line in body]
    for _ in sizes:
        indent = indent[4:]
        lines.append(f"{indent}}}")
    return lines


def _index(steps: Sequence[int], name: str = "i") -> str:
    return " + ".join(f"{name}{a} * {s}" for a, s in enumerate(steps) if s) or "0"


def _copy(target: str, source: Cell, index: str, out: Cell, bits: int = 0) -> list[str]:
    value = source.at(index)
    return [f"EACH_EVENT {target} = {out.type}({_up(f'{out.type}({value})', bits)});"]


def _gather(step: Step) -> list[str]:
    index, (x, *_) = step.constant(1), step.cells()
    assert index is not None
    places = step.program.constant(index, "index")
    inner, out = prod(step.site.inputs[0].shape[1:]), step.result()
    return _loops(
        [index.size, inner],
        _copy(out.at(f"i0 * {inner} + i1"), x, f"{places.name}[i0] * {inner} + i1", out),
    )


def _transpose(step: Step) -> list[str]:
    (x,), out = step.cells(), step.result()
    source = strides_of(step.site.inputs[0].shape, step.site.inputs[0].shape)
    shape = step.site.output.shape
    steps = [source[axis] for axis in step.site.integers("perm")]
    place = _index(strides_of(shape, shape))
    return _loops(shape, _copy(out.at(place), x, _index(steps), out))


def _concat(step: Step) -> list[str]:
    out, lines, start = step.result(), [], 0
    for cell, tensor in zip(step.cells(), step.site.inputs, strict=True):
        size = prod(tensor.shape)
        bits = step.site.output.format.fraction - tensor.format.fraction
        lines += _loops([size], _copy(out.at(f"i0 + {start}"), cell, "i0", out, bits))
        start += size
    return lines


def _lookup_rows(step: Step) -> list[str]:
    (index, table), out = step.cells(), step.result()
    places, inner = prod(step.site.inputs[0].shape), prod(step.site.inputs[1].shape[1:])
    entry = f"std::size_t({index.at('i0')}) * {inner} + std::size_t(i1)"
    value = (
        f"{table.name}[{entry}]"
        if table.constant
        else f"{table.row('0')}[({entry}) * B + std::size_t(e)]"
    )
    return _loops(
        [places, inner],
        [f"EACH_EVENT {out.at(f'i0 * {inner} + i1')} = {out.type}({value});"],
    )


def _reduced(start: str, each: str) -> Callable[[Step], list[str]]:
    """One number from all along the first axis: where it starts, and what every element does."""

    def emit(step: Step) -> list[str]:
        (x,), out, ctype = step.cells(), step.result(), step.type
        count, inner = step.site.inputs[0].shape[0], prod(step.site.output.shape)
        first = start.format(x=x.at("i0"), type=ctype)
        value = f"{ctype}({x.at(f'k * {inner} + i0')})"
        body = [
            f"{ctype} best[B];",
            f"EACH_EVENT best[e] = {first};",
            f"for (int k = 1; k < {count}; ++k) {{",
            f"    EACH_EVENT best[e] = {each.format(x=value, type=ctype)};",
            "}",
            f"EACH_EVENT {out.at('i0')} = {out.type}(best[e]);",
        ]
        return _loops([inner], body)

    return emit


def _argmax(step: Step) -> list[str]:
    (x,), out, ctype = step.cells(), step.result(), step.type
    count, inner = step.site.inputs[0].shape[0], prod(step.site.output.shape)
    body = [
        f"{ctype} best[B], where[B];",
        f"EACH_EVENT {{ best[e] = {ctype}({x.at('i0')}); where[e] = 0; }}",
        f"for (int k = 1; k < {count}; ++k) {{",
        "    EACH_EVENT {",
        f"        const {ctype} here = {ctype}({x.at(f'k * {inner} + i0')});",
        "        where[e] = here > best[e] ? k : where[e];",
        "        best[e] = here > best[e] ? here : best[e];",
        "    }",
        "}",
        f"EACH_EVENT {out.at('i0')} = {out.type}(where[e]);",
    ]
    return _loops([inner], body)


def _accumulate(step: Step) -> list[str]:
    x, out, ctype = step.cells()[0], step.result(), step.type
    shape, target = step.site.inputs[0].shape, step.site.output.format
    count, inner = shape[0], prod(shape[1:])
    total = overflowed("a + b", target, ctype)
    plus = f"const auto plus = []({ctype} a, {ctype} b) {{ return {total}; }};"

    def read(k: str) -> str:
        return f"{ctype}({x.at(f'{k} * {inner} + i0')})"

    if step.site.text("kind") == TREE:
        body = [
            plus,
            f"{ctype} sum[B];",
            f"const auto term = [&](int k, int e) {{ return {read('k')}; }};",
            f"tree_sum<B, {ctype}>(0, {count}, term, plus, sum);",
            f"EACH_EVENT {out.at('i0')} = {out.type}(sum[e]);",
        ]
        return _loops([inner], body)
    order = list(step.site.integers("order"))
    if len(step.node.inputs) == 2:
        start = f"{ctype}({step.cells()[1].at('i0')})"
    else:
        start, order = read(str(order[0])), order[1:]
    plain = order == list(range(order[0], order[0] + len(order))) if order else True
    if plain:
        place = f"(k + {order[0]})" if order and order[0] else "k"
    else:
        place = f"{step.program.constant(np.array(order), 'order').name}[k]"
    body = [
        plus,
        f"{ctype} sum[B];",
        f"EACH_EVENT sum[e] = {start};",
        f"for (int k = 0; k < {len(order)}; ++k) {{",
        f"    EACH_EVENT sum[e] = plus(sum[e], {read(place)});",
        "}",
        f"EACH_EVENT {out.at('i0')} = {out.type}(sum[e]);",
    ]
    return _loops([inner], body)


# ---- sums of products ----
def _products(step: Step) -> list[str]:
    """The sum over k of a[k] b[k] for every element, each product shifted down where it is cut."""
    (a, b), out, ctype = step.cells(), step.result(), step.type
    left, right = step.site.inputs
    shape = step.site.output.shape
    steps = [strides_of(x.shape[1:], shape) for x in (left, right)]
    sizes = [prod(x.shape[1:]) for x in (left, right)]
    bits = step.site.integer("bits") if step.node.op == "truncated_dot" else 0
    size = {"std::int32_t": 31, "std::int64_t": 63, "int128": 127}[ctype]
    down = f" >> {min(bits, size)}" if bits else ""
    one = a.at(f"k * {sizes[0]} + {_index(steps[0])}")
    other = b.at(f"k * {sizes[1]} + {_index(steps[1])}")
    body = [
        f"{ctype} sum[B] = {{}};",
        f"for (int k = 0; k < {left.shape[0]}; ++k) {{",
        f"    EACH_EVENT sum[e] += ({ctype}({one}) * {ctype}({other})){down};",
        "}",
        f"EACH_EVENT {out.at(_index(strides_of(shape, shape)))} = {out.type}(sum[e]);",
    ]
    return _loops(shape, body)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A product with constants as matrix products: positions outside, rows inside."""

    x: int  # which operand is not constant
    factors: int
    axes: Axes
    row_step: int


def _dot(step: Step) -> list[str]:
    matrix = _matrix(step)
    return _products(step) if matrix is None else _matrix_product(step, matrix)


def _matrix(step: Step) -> _Matrix | None:
    position = next((p for p in (0, 1) if step.constant(1 - p) is not None), None)
    if position is None or step.constant(position) is not None or step.type != "std::int32_t":
        return None
    weight = step.constant(1 - position)
    assert weight is not None
    axes = Axes.of(step.site.inputs[position].shape, weight.shape)
    rows = [weight.shape[axis] for axis in axes.right]
    shape = step.site.output.shape
    strides = strides_of(shape, shape)
    steps = [(strides[axis - 1], shape[axis - 1]) for axis in axes.right]
    if any(a != b * n for (a, _), (b, n) in pairwise(steps)):
        return None  # the rows do not stand at equal distances
    if prod(rows) < _PACKED_ROWS:
        return None
    interval = step.program.ranges[step.node.inputs[position]]
    low, high = interval.minimum, interval.maximum
    smallest, largest = int(weight.min()), int(weight.max())
    factors = 0
    if min(low, smallest) >= -(2**15) and max(high, largest) < 2**15:
        factors = 2
        # a processor without VNNI adds two products in 16 bits
        narrow = 0 <= low <= high < 256 and -128 <= smallest <= largest < 128
        if narrow and 2 * high * max(-smallest, largest) < 2**15:
            factors = 4
    return _Matrix(position, factors, axes, steps[-1][0] or 1) if factors else None


def _matrix_product(step: Step, matrix: _Matrix) -> list[str]:
    x = step.cells()[matrix.x]
    shape, weight = step.site.inputs[matrix.x].shape, step.constant(1 - matrix.x)
    assert weight is not None
    axes, factors, count = matrix.axes, matrix.factors, len(weight)
    order = (*axes.both, *axes.right, 0, *axes.left)
    both = [shape[axis] for axis in axes.both]
    left = [shape[axis] for axis in axes.left]
    rows = prod(weight.shape[axis] for axis in axes.right)
    numbers = weight.transpose(order).reshape(prod(both), rows, count)
    words = -(-count // factors)
    packed = _packed(numbers, factors, words)
    name = step.program.words(packed, "packed")
    plain = step.program.constant(numbers.transpose(0, 2, 1), "w")
    scratch, out = step.program.scratch(words), step.result()
    outer = [*axes.both, *axes.left]
    whole = step.site.output.shape
    in_steps = strides_of(shape[1:], shape[1:])
    out_steps = strides_of(whole, whole)
    x_index = _index([in_steps[axis - 1] for axis in outer])
    out_index = _index([out_steps[axis - 1] for axis in outer])
    part = _index([prod(both[a + 1 :]) for a in range(len(both))])
    target = out.row(out_index)
    inner = prod(shape[1:])
    body = [
        f"if constexpr ({_VECTOR} && std::is_same_v<{out.type}, std::int32_t>) {{",
        f"    std::int32_t* factors = {scratch};",
        f"    pack<B, {factors}>({x.row(x_index)}, {inner}, {count}, factors);",
        f"    packed_product<B, {factors}>(factors, {name} + ({part}) * {rows * words}, {words}, "
        f"{rows}, {matrix.row_step}, {target});",
        "} else {",
        f"    plain_product<B>({x.row(x_index)}, {inner}, {plain.name} + ({part}) * "
        f"{rows * count}, {count}, {rows}, {matrix.row_step}, {target});",
        "}",
    ]
    return _loops([*both, *left], body)


def _packed(numbers: Array, factors: int, words: int) -> list[int]:
    matrices, rows, count = numbers.shape
    bits = 32 // factors
    padded = np.zeros((matrices, rows, words * factors), dtype=np.int64)
    padded[..., :count] = numbers.astype(np.int64)
    parts = padded.reshape(matrices, rows, words, factors) & ((1 << bits) - 1)
    shifts = np.arange(factors, dtype=np.int64) * bits
    whole = (parts << shifts).sum(axis=-1)
    return [int(v) for v in whole.astype(np.uint32).astype(np.int32).reshape(-1)]


EMITTERS: dict[str, Callable[[Step], list[str]]] = {
    **dict.fromkeys(ELEMENTWISE, lambda step: step.program.fused([step])),
    "accumulate": _accumulate,
    "argmax": _argmax,
    "concat": _concat,
    "dot": _dot,
    "gather": _gather,
    "lookup": _lookup_rows,
    "reduce_max": _reduced("{type}({x})", "std::max<{type}>(best[e], {x})"),
    "reshape": lambda step: [],
    "shift": lambda step: [],
    "sum": _reduced("{type}({x})", "best[e] + {x}"),
    "transpose": _transpose,
    "truncated_dot": _products,
}
