"""Every operation of the fixed-point graph in C++: the table of the native emulator."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from ..ops.accumulate import TREE
from .cpp_elements import ELEMENTWISE, Step, index_of, loops, overflowed, shifted_up
from .cpp_matrix import matrix_of, matrix_product
from .cpp_program import Cell, strides_of

__all__ = ["EMITTERS", "VIEWS"]


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
def _copy(target: str, source: Cell, index: str, out: Cell, bits: int = 0) -> list[str]:
    value = source.at(index)
    return [f"EACH_EVENT {target} = {out.type}({shifted_up(f'{out.type}({value})', bits)});"]


def _gather(step: Step) -> list[str]:
    index, (x, *_) = step.constant(1), step.cells()
    assert index is not None
    places = step.program.constant(index, "index")
    inner, out = prod(step.site.inputs[0].shape[1:]), step.result()
    return loops(
        [index.size, inner],
        _copy(out.at(f"i0 * {inner} + i1"), x, f"{places.name}[i0] * {inner} + i1", out),
    )


def _transpose(step: Step) -> list[str]:
    (x,), out = step.cells(), step.result()
    source = strides_of(step.site.inputs[0].shape, step.site.inputs[0].shape)
    shape = step.site.output.shape
    steps = [source[axis] for axis in step.site.integers("perm")]
    place = index_of(strides_of(shape, shape))
    return loops(shape, _copy(out.at(place), x, index_of(steps), out))


def _concat(step: Step) -> list[str]:
    out, lines, start = step.result(), [], 0
    for cell, tensor in zip(step.cells(), step.site.inputs, strict=True):
        size = prod(tensor.shape)
        bits = step.site.output.format.fraction - tensor.format.fraction
        lines += loops([size], _copy(out.at(f"i0 + {start}"), cell, "i0", out, bits))
        start += size
    return lines


def _lookup(step: Step) -> list[str]:
    (index, table), out = step.cells(), step.result()
    places, inner = prod(step.site.inputs[0].shape), prod(step.site.inputs[1].shape[1:])
    if table.constant and inner == 1 and not index.constant:
        body = f"looked_up<B>({table.name}, {index.row('i0')}, {out.row('i0')});"
        return loops([places], [body])
    entry = f"std::size_t({index.at('i0')}) * {inner} + std::size_t(i1)"
    value = (
        f"{table.name}[{entry}]"
        if table.constant
        else f"{table.row('0')}[({entry}) * B + std::size_t(e)]"
    )
    return loops(
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
        return loops([inner], body)

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
    return loops([inner], body)


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
        return loops([inner], body)
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
    return loops([inner], body)


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
    one = a.at(f"k * {sizes[0]} + {index_of(steps[0])}")
    other = b.at(f"k * {sizes[1]} + {index_of(steps[1])}")
    body = [
        f"{ctype} sum[B] = {{}};",
        f"for (int k = 0; k < {left.shape[0]}; ++k) {{",
        f"    EACH_EVENT sum[e] += ({ctype}({one}) * {ctype}({other})){down};",
        "}",
        f"EACH_EVENT {out.at(index_of(strides_of(shape, shape)))} = {out.type}(sum[e]);",
    ]
    return loops(shape, body)


def _dot(step: Step) -> list[str]:
    return _products(step) if matrix_of(step) is None else matrix_product(step)


EMITTERS: dict[str, Callable[[Step], list[str]]] = {
    **dict.fromkeys(ELEMENTWISE, lambda step: step.program.fused([step])),
    "accumulate": _accumulate,
    "argmax": _argmax,
    "concat": _concat,
    "dot": _dot,
    "gather": _gather,
    "lookup": _lookup,
    "reduce_max": _reduced("{type}({x})", "std::max<{type}>(best[e], {x})"),
    "reshape": lambda step: [],
    "shift": lambda step: [],
    "sum": _reduced("{type}({x})", "best[e] + {x}"),
    "transpose": _transpose,
    "truncated_dot": _products,
}
