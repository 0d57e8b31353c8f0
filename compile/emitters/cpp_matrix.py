"""Products with constants in C++: factors of 8 and 16 bits, packed for a processor's dot products.

What follows a product element by element (bias, casts) is computed while its sums are in registers,
and its result is written packed for the next product where nothing else reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from ..ir import Overflow, Rounding
from ..ops import Array
from ..ops.dot import Axes
from .cpp_elements import ON_LANES, Step, index_of, loops, overflowed, rescaled
from .cpp_program import Program, strides_of, without_repeats

__all__ = ["has_tail", "matrix_of", "matrix_product"]

_FEWEST_ROWS = 4  # outputs of one matrix product that are worth packing its factors
_GROUP = 4  # rows whose weights stand side by side, as packed_product of cpp_lanes.hpp reads them
_INT32 = "std::int32_t"


@dataclass(frozen=True, slots=True)
class Packing:
    """How many factors stand in a 32-bit word, and what was added to each: bytes have no sign."""

    factors: int
    offset: int

    @property
    def limits(self) -> tuple[int, int]:
        """The numbers that can be packed."""
        if self.factors == 2:
            return -(2**15), 2**15 - 1
        return -self.offset, 255 - self.offset


@dataclass(frozen=True, slots=True)
class Matrix:
    """A product with constants as matrix products: positions outside, rows inside."""

    x: int  # which operand is not constant
    packing: Packing
    axes: Axes
    row_step: int


def matrix_of(step: Step) -> Matrix | None:
    """A dot as matrix products of packed factors; None where it is not one."""
    position = next((p for p in (0, 1) if step.constant(1 - p) is not None), None)
    if position is None or step.constant(position) is not None or step.type != _INT32:
        return None
    weight = step.constant(1 - position)
    assert weight is not None
    axes = Axes.of(step.site.inputs[position].shape, weight.shape)
    shape = step.site.output.shape
    row_step = _even_step(strides_of(shape, shape), shape, axes)
    if row_step is None or prod(weight.shape[axis] for axis in axes.right) < _FEWEST_ROWS:
        return None
    interval = step.program.ranges[step.node.inputs[position]]
    low, high = interval.minimum, interval.maximum
    smallest, largest = int(weight.min()), int(weight.max())
    if min(low, smallest) < -(2**15) or max(high, largest) >= 2**15:
        return None
    offset = 128 if low < 0 else 0
    narrow = -offset <= low <= high < 256 - offset and -128 <= smallest <= largest < 128
    # a processor without VNNI adds two products in 16 bits
    if narrow and 2 * (high + offset) * max(-smallest, largest) < 2**15:
        return Matrix(position, Packing(4, offset), axes, row_step or 1)
    return Matrix(position, Packing(2, 0), axes, row_step or 1)


def _even_step(steps: Sequence[int], shape: tuple[int, ...], axes: Axes) -> int | None:
    """How far apart the rows stand in a tensor with these steps; None if not evenly."""
    rows = [(steps[axis - 1], shape[axis - 1]) for axis in axes.right]
    if any(a != b * n for (a, _), (b, n) in pairwise(rows)):
        return None
    return rows[-1][0] if rows else 0


def has_tail(head: Sequence[Step], group: Sequence[Step]) -> bool:
    """True if a group of element-wise steps can follow a product in its registers."""
    product = head[0]
    if len(head) > 1 or product.node.op != "dot":
        return False
    matrix = matrix_of(product)
    program, dot = product.program, product.node.output
    made = {step.node.output for step in group}
    if matrix is None or program.needed(dot, made):
        return False
    shape = product.site.output.shape
    if group[0].site.output.shape != shape or not any(dot in s.node.inputs for s in group):
        return False
    for step in group:
        if step.node.op not in ON_LANES or step.type != _INT32:
            return False
        for name in step.node.inputs:
            if name == dot or name in made:
                continue
            values = program.graph.constants.get(name)
            if values is None:
                return False
            if _even_step(strides_of(values.shape, shape), shape, matrix.axes) is None:
                return False
    return [s for s in group if program.needed(s.node.output, made)] == [group[-1]]


def matrix_product(step: Step, tail: Sequence[Step] = ()) -> list[str]:
    """The product, and its tail, as C++: packed, and as plain loops for single events."""
    program, node, matrix = step.program, step.node, matrix_of(step)
    assert matrix is not None
    x = step.cells()[matrix.x]
    shape, weight = step.site.inputs[matrix.x].shape, step.constant(1 - matrix.x)
    assert weight is not None
    axes, factors, count = matrix.axes, matrix.packing.factors, len(weight)
    both = [shape[axis] for axis in axes.both]
    left = [shape[axis] for axis in axes.left]
    rows = prod(weight.shape[axis] for axis in axes.right)
    order = (*axes.both, *axes.right, 0, *axes.left)
    numbers = weight.transpose(order).reshape(prod(both), rows, count)
    words = -(-count // factors)
    outer = [*axes.both, *axes.left]
    in_steps = strides_of(shape[1:], shape[1:])
    whole = step.site.output.shape
    out_steps = strides_of(whole, whole)
    x_row = x.row(index_of([in_steps[axis - 1] for axis in outer]))
    out_index = index_of([out_steps[axis - 1] for axis in outer])
    part = index_of([prod(both[a + 1 :]) for a in range(len(both))])
    inner = prod(shape[1:])

    sums = step.result()
    plain = program.constant(numbers.transpose(0, 2, 1), "w")
    one_by_one = loops(
        [*both, *left],
        [
            f"plain_product<B>({x_row}, {inner}, {plain.name} + ({part}) * {rows * count}, "
            f"{count}, {rows}, {matrix.row_step}, {sums.row(out_index)});"
        ],
    )
    if tail:
        one_by_one += program.fused(tail)
    out_name = tail[-1].node.output if tail else node.output
    out = program.array(out_name)
    target, padded, bare = f"Rows{{{out.row(out_index)}, {matrix.row_step}}}", rows, False
    together = _packed_for(program, out_name, rows) if prod(whole) == rows else None
    if together is not None:
        program.mark_packed(out_name)
        clip = _clip(tail)
        low, high = together.limits if clip is None else _common(together.limits, clip)
        bare = clip is not None and together.factors == 4  # packing bytes clips
        padded = -(-rows // together.factors) * together.factors
        target = f"Words<{together.factors}, {low}, {high}>{{{out.row('0')}}}"

    weights = program.words(_packed(numbers, factors, words, padded), "packed")
    first, lines = _tail_lines(step, matrix, tail, bare)
    body = [f"const std::int32_t* factors = {x_row};"]
    if not program.is_packed(node.inputs[matrix.x]):
        body = [
            f"std::int32_t* factors = {program.scratch(words)};",
            f"pack<B, {factors}, {matrix.packing.offset}, {count}>({x_row}, {inner}, factors);",
        ]
    body += [
        f"const auto first = [&]([[maybe_unused]] int m) {{ return {first}; }};",
        "const auto tail = [&]([[maybe_unused]] int m, Lanes sum) {",
        *(f"    {line}" for line in lines),
        "};",
        f"packed_product<B, {factors}, {rows}>(factors, {weights} + ({part}) * "
        f"{padded * words}, {words}, first, tail, {target});",
    ]
    return [
        "#ifdef LANES",
        "    if constexpr (B % LANES == 0) {",
        *(f"    {line}" for line in loops([*both, *left], body)),
        "    } else",
        "#endif",
        "    {",
        *(f"    {line}" for line in one_by_one),
        "    }",
    ]


def _tail_lines(
    step: Step, matrix: Matrix, tail: Sequence[Step], bare: bool
) -> tuple[str, list[str]]:
    """What row m's sums start from, and a function's body: the sums to what is stored.

    bare: the last cast does not clip.
    """
    shape = step.site.output.shape

    def row_constant(values: Array) -> str:
        once = without_repeats(values)
        if _even_step(strides_of(once.shape, shape), shape, matrix.axes) is not None:
            values = once
        steps = strides_of(values.shape, shape)
        place = index_of([steps[axis - 1] for axis in (*matrix.axes.both, *matrix.axes.left)])
        row = _even_step(steps, shape, matrix.axes)
        words = [(int(v) + 2**31) % 2**32 - 2**31 for v in values.flat]
        return f"all_lanes({step.program.words(words, 'c')}[{place} + m * {row}])"

    lead = _lead(step, matrix, tail)
    start, value, name, done = lead.constants, "sum", lead.output, lead.steps
    cast = tail[done] if done < len(tail) else None
    if cast is not None and lead.shift < _cut(cast, name) < 32 and lead.read_once:
        fmt, cut = cast.site.output.format, _cut(cast, name)
        # (sum 2^shift + k) >> cut == (sum + (k >> shift)) >> (cut - shift)
        k = start + _ADDED[fmt.rounding](1 << (cut - 1))
        start, cut = k >> lead.shift, cut - lead.shift
        value = f"(sum >> {cut})"
        # a tie has ones in all bits that are cut off
        ties = (k & ((1 << lead.shift) - 1)) == (1 << lead.shift) - 1
        if fmt.rounding is Rounding.RND_CONV and ties.any():
            ones = "all_lanes(1)" if ties.all() else row_constant(ties.astype(object) * 1)
            value = f"rounded_to_even<{cut}>(sum, {ones})"
        if not cast.site.integer("bounded") and not (bare and cast is tail[-1]):
            value = overflowed(value, fmt, _INT32)
        name, done = cast.node.output, done + 1
    elif lead.shift:
        start, value = (
            np.zeros_like(start),
            f"shifted_up(sum, {lead.shift}) + {row_constant(start)}",
        )
    lines, inside = [f"const Lanes v0 = {value};"], {name: "v0"}
    for number, follower in enumerate(tail[done:], 1):
        operands = [
            inside[name] if name in inside else row_constant(step.program.graph.constants[name])
            for name in follower.node.inputs
        ]
        clips = not (bare and follower is tail[-1])
        text = follower.expression(operands) if clips else rescaled(follower, operands)
        lines.append(f"const Lanes v{number} = {text};")
        inside[follower.node.output] = f"v{number}"
    first = row_constant(start) if start.any() else "all_lanes(0)"
    return first, [*lines, f"return v{len(lines) - 1};"]


# What a rounding mode adds before it cuts bits off, from half of the last place that stays.
_ADDED: dict[Rounding, Callable[[int], int]] = {
    Rounding.TRN: lambda half: 0,
    Rounding.RND: lambda half: half,
    Rounding.RND_MIN_INF: lambda half: half - 1,
    Rounding.RND_CONV: lambda half: half - 1,  # and one more at a tie, if that makes it even
}


def _cut(step: Step, name: str) -> int:
    """How many bits a step cuts off a number, if it is a cast of it in a mode of `_ADDED`."""
    if step.node.op != "cast" or step.node.inputs[0] != name:
        return 0
    source, target = step.site.inputs[0].format, step.site.output.format
    return source.fraction - target.fraction if target.rounding in _ADDED else 0


@dataclass(frozen=True, slots=True)
class _Lead:
    """The first steps of a tail as sum 2^shift + constants."""

    shift: int
    constants: Array
    steps: int
    output: str
    read_once: bool


def _lead(step: Step, matrix: Matrix, tail: Sequence[Step]) -> _Lead:
    weight = step.constant(1 - matrix.x)
    assert weight is not None
    shape, name, shift, steps = step.site.output.shape, step.node.output, 0, 0
    program = step.program
    constants = -matrix.packing.offset * weight.sum(axis=0, dtype=object)
    if not matrix.packing.offset:
        constants = np.zeros((1,) * len(shape), dtype=object)
    for follower in tail:
        names, tensors = follower.node.inputs, follower.site.inputs
        if names.count(name) != 1 or len(program.readers[name]) > 1:
            break
        fraction = follower.site.output.format.fraction
        ups = [fraction - tensor.format.fraction for tensor in tensors]
        up = ups[names.index(name)]
        more = constants * 2 ** max(up, 0)
        if follower.node.op == "add":
            other = 1 - names.index(name)
            values = program.graph.constants.get(names[other])
            if values is None:
                break
            more = more + without_repeats(values).astype(object) * 2 ** ups[other]
        elif follower.node.op != "cast" or up < 0 or not follower.site.integer("bounded"):
            break
        if _even_step(strides_of(more.shape, shape), shape, matrix.axes) is None:
            break
        constants, shift, steps, name = more, shift + up, steps + 1, follower.node.output
    read_once = len(program.readers.get(name, ())) == 1
    return _Lead(shift, np.asarray(constants, dtype=object), steps, name, read_once)


def _clip(tail: Sequence[Step]) -> tuple[int, int] | None:
    """Where the last cast saturates, if it does and does nothing else to large numbers."""
    if not tail or tail[-1].node.op != "cast" or tail[-1].site.integer("bounded"):
        return None
    fmt = tail[-1].site.output.format
    if fmt.overflow not in (Overflow.SAT, Overflow.SAT_SYM):
        return None
    return fmt.min_saturated, fmt.max_mantissa


def _common(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), min(one[1], other[1])


def _packed_for(program: Program, name: str, rows: int) -> Packing | None:
    """How a vector is packed if matrix products, and nothing else, read it."""
    if name in program.graph.outputs:
        return None
    packings: set[Packing] = set()
    for node in program.readers.get(name, ()):
        step = Step(program, node)
        if node.op in ("reshape", "shift"):
            packing = _packed_for(program, node.output, rows)
        else:
            packing = None
            matrix = matrix_of(step) if node.op == "dot" else None
            if matrix is not None and node.inputs[matrix.x] == name:
                shape = step.site.inputs[matrix.x].shape
                packing = matrix.packing if shape[0] == rows == prod(shape) else None
        if packing is None:
            return None
        packings.add(packing)
    return packings.pop() if len(packings) == 1 else None


def _packed(numbers: Array, factors: int, words: int, padded: int) -> list[int]:
    """Matrices (M, rows, count) as words in the order in which packed_product reads them."""
    matrices, rows, count = numbers.shape
    bits = 32 // factors
    whole = np.zeros((matrices, padded, words * factors), dtype=np.int64)
    whole[:, :rows, :count] = numbers.astype(np.int64)
    parts = whole.reshape(matrices, padded, words, factors) & ((1 << bits) - 1)
    shifts = np.arange(factors, dtype=np.int64) * bits
    packed = (parts << shifts).sum(axis=-1).astype(np.uint32).astype(np.int32)
    starts = range(0, max(padded - 3, 1), _GROUP)
    stops = [*starts[1:], padded]
    return [
        int(v)
        for matrix in packed
        for start, stop in zip(starts, stops, strict=True)
        for v in matrix[start:stop].T.reshape(-1)
    ]
