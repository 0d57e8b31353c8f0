"""What the fixed-point graph means, slowly and obviously: exact fractions, one number at a time.

Shares no arithmetic with the package: values are `fractions.Fraction`, loops run over elements.
"""

from fractions import Fraction
from itertools import product
from math import floor
from typing import Any

import numpy as np

from samebits.compile.ir import Format, Graph, Node, Overflow, Rounding, Tensor

Values = dict[tuple[int, ...], Fraction]
HALF = Fraction(1, 2)


def lsb(fmt: Format) -> Fraction:
    return Fraction(2) ** -fmt.fraction


def bounds(fmt: Format) -> tuple[int, int]:
    """The mantissas that the bits can hold."""
    if fmt.width == 0:
        return 0, 0
    if fmt.signed:
        return -(2 ** (fmt.width - 1)), 2 ** (fmt.width - 1) - 1
    return 0, 2**fmt.width - 1


def round_to_integer(x: Fraction, rounding: Rounding) -> int:
    low = floor(x)
    rest = x - low
    if rest == 0:
        return low
    up = {
        Rounding.TRN: False,
        Rounding.TRN_ZERO: x < 0,
        Rounding.RND: rest >= HALF,
        Rounding.RND_ZERO: rest > HALF or (rest == HALF and x < 0),
        Rounding.RND_INF: rest > HALF or (rest == HALF and x > 0),
        Rounding.RND_MIN_INF: rest > HALF,
        Rounding.RND_CONV: rest > HALF or (rest == HALF and low % 2 == 1),
    }
    return low + up[rounding]


def overflow(mantissa: int, fmt: Format) -> int:
    low, high = bounds(fmt)
    if fmt.overflow is Overflow.SAT_SYM and fmt.signed and fmt.width > 1:
        low = -high  # not for one signed bit: see tests/apfixed
    if low <= mantissa <= high:
        return mantissa
    if fmt.overflow is Overflow.SAT_ZERO:
        return 0
    if fmt.overflow is Overflow.WRAP:
        raw = mantissa % 2**fmt.width
        return raw - 2**fmt.width if raw > high else raw
    return low if mantissa < low else high


def cast(x: Fraction, fmt: Format) -> int:
    """The mantissa of a real number assigned to a format."""
    return overflow(round_to_integer(x / lsb(fmt), fmt.rounding), fmt)


def values_of(mantissas: Any, fmt: Format) -> Values:
    array = np.asarray(mantissas)
    return {index: int(array[index]) * lsb(fmt) for index in np.ndindex(array.shape)}


def evaluate(graph: Graph, inputs: dict[str, Any]) -> dict[str, Any]:
    """Every tensor's mantissas for one event; checks that they fit the formats."""
    known: dict[str, Values] = {}
    for name, mantissas in [*graph.constants.items(), *inputs.items()]:
        known[name] = values_of(mantissas, graph.tensors[name].format)
    for node in graph.nodes:
        known[node.output] = _apply(graph, node, [known[name] for name in node.inputs])
    return {name: _mantissas(graph.tensors[name], values) for name, values in known.items()}


def _mantissas(tensor: Tensor, values: Values) -> Any:
    out = np.empty(tensor.shape, dtype=object)
    low, high = bounds(tensor.format)
    assert set(values) == set(np.ndindex(tensor.shape)), f"{tensor.name}: wrong shape"
    for index, value in values.items():
        mantissa = value / lsb(tensor.format)
        assert mantissa.denominator == 1, f"{tensor}: {value} is not on the grid"
        assert low <= mantissa <= high, f"{tensor}: {value} is out of range"
        out[index] = int(mantissa)
    return out


def _at(values: Values, tensor: Tensor, index: tuple[int, ...]) -> Fraction:
    """The element under broadcasting."""
    return values[tuple(0 if n == 1 else i for i, n in zip(index, tensor.shape, strict=True))]


def _apply(graph: Graph, node: Node, values: list[Values]) -> Values:
    tensors = [graph.tensors[name] for name in node.inputs]
    shape = graph.tensors[node.output].shape
    attrs: Any = node.attrs
    x, first = values[0], tensors[0]
    everywhere = list(product(*(range(n) for n in shape)))

    def pairs() -> dict[tuple[int, ...], list[Fraction]]:
        return {
            index: [_at(v, t, index) for v, t in zip(values, tensors, strict=True)]
            for index in everywhere
        }

    def column(index: tuple[int, ...]) -> list[Fraction]:
        return [x[(i, *index)] for i in range(first.shape[0])]

    match node.op:
        case "reshape":
            return dict(zip(everywhere, (x[i] for i in np.ndindex(first.shape)), strict=True))
        case "transpose":
            return {tuple(index[axis] for axis in attrs["perm"]): v for index, v in x.items()}
        case "add":
            return {index: a + b for index, (a, b) in pairs().items()}
        case "sub":
            return {index: a - b for index, (a, b) in pairs().items()}
        case "mul":
            return {index: a * b for index, (a, b) in pairs().items()}
        case "max":
            return {index: max(a, b) for index, (a, b) in pairs().items()}
        case "min":
            return {index: min(a, b) for index, (a, b) in pairs().items()}
        case "compare":
            relation = attrs["relation"]
            holds = {"gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b}
            return {index: Fraction(holds[relation](a, b)) for index, (a, b) in pairs().items()}
        case "select":
            return {index: a if c else b for index, (c, a, b) in pairs().items()}
        case "shift":
            return {index: v * Fraction(2) ** attrs["bits"] for index, v in x.items()}
        case "dot":
            total = dict.fromkeys(everywhere, Fraction(0))
            for k, index in product(range(first.shape[0]), everywhere):
                at = (k, *index)
                total[index] += _at(x, first, at) * _at(values[1], tensors[1], at)
            return total
        case "truncated_dot":
            grid = lsb(first.format) * lsb(tensors[1].format) * 2 ** attrs["bits"]
            total = dict.fromkeys(everywhere, Fraction(0))
            for k, index in product(range(first.shape[0]), everywhere):
                at = (k, *index)
                exact = _at(x, first, at) * _at(values[1], tensors[1], at)
                total[index] += floor(exact / grid) * grid
            return total
        case "gather":
            depth = len(tensors[1].shape)
            return {i: x[(int(values[1][i[:depth]]), *i[depth:])] for i in everywhere}
        case "concat":
            ends = [0]
            for tensor in tensors:
                ends.append(ends[-1] + tensor.shape[0])
            return {
                (start + index[0], *index[1:]): v
                for start, part in zip(ends, values, strict=False)
                for index, v in part.items()
            }
        case "divide":
            grid = lsb(first.format)
            return {index: int(a / b / grid) * grid for index, (a, b) in pairs().items()}
        case "sum":
            return {index: sum(column(index), Fraction(0)) for index in everywhere}
        case "reduce_max":
            return {index: max(column(index)) for index in everywhere}
        case "argmax":
            return {i: Fraction(column(i).index(max(column(i)))) for i in everywhere}
        case "lookup":
            depth = len(first.shape)
            return {
                i: values[1][(int(x[i[:depth]] / lsb(first.format)), *i[depth:])]
                for i in everywhere
            }
        case "cast":
            fmt = attrs["format"]
            return {index: cast(v, fmt) * lsb(fmt) for index, v in x.items()}
        case "accumulate":
            fmt = attrs["format"]
            start = values[1] if len(values) == 2 else None
            return {
                index: _accumulate(column(index), start[index] if start else None, attrs)
                for index in everywhere
            }
    raise NotImplementedError(f"the oracle does not know {node.op}")


def _accumulate(terms: list[Fraction], start: Fraction | None, attrs: Any) -> Fraction:
    fmt = attrs["format"]

    def plus(a: Fraction, b: Fraction) -> Fraction:
        return cast(a + b, fmt) * lsb(fmt)

    if attrs["kind"] == "tree":
        while len(terms) > 1:
            # pairs of neighbours, the odd one out goes up as it is: the tree of nnet_common.h
            paired = [plus(a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
            terms = paired + terms[len(terms) // 2 * 2 :]
        return terms[0]
    ordered = [terms[i] for i in attrs["order"]]
    total = ordered.pop(0) if start is None else start
    for term in ordered:
        total = plus(total, term)
    return total
