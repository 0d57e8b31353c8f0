"""Adjoints: what coefficients of an operation's result are as coefficients of its operands.

For linear operations, and for products with what is given: the sum of c * op(x) over all elements
is the sum of adjoint(c) * x. Arrays are float64 of shape (N, *tensor shape), one row for each sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_letters
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir import Graph, Node

__all__ = ["ADJOINTS", "Rule", "Values", "fold"]

Values: TypeAlias = NDArray[np.float64]
Parts: TypeAlias = Sequence[tuple[str, Values]]
Rule: TypeAlias = Callable[[Graph, Node, Mapping[str, Values], Values], Parts]


def fold(rows: Values, shape: tuple[int, ...]) -> Values:
    """Coefficients of an operand that was broadcast from `shape`."""
    axes = tuple(axis for axis, size in enumerate(shape, 1) if size == 1 and rows.shape[axis] != 1)
    return np.asarray(rows.sum(axis=axes, keepdims=True)) if axes else rows


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    return graph.tensors[name].shape


def _reshape(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    (x,) = node.inputs
    return [(x, rows.reshape(len(rows), *_shape(graph, x)))]


def _transpose(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    perm = node.attrs["perm"]
    assert isinstance(perm, tuple)
    back = np.argsort(np.asarray(perm, dtype=int))
    return [(node.inputs[0], rows.transpose(0, *(int(axis) + 1 for axis in back)))]


def _gather(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    x, index = node.inputs
    shape = _shape(graph, x)
    places = graph.constants[index].astype(np.intp).ravel()
    picked = rows.reshape(len(rows), places.size, *shape[1:]).swapaxes(0, 1)
    out = np.zeros((shape[0], len(rows), *shape[1:]))
    np.add.at(out, places, picked)
    return [(x, out.swapaxes(0, 1))]


def _concat(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    ends = np.cumsum([_shape(graph, name)[0] for name in node.inputs])[:-1]
    return list(zip(node.inputs, np.split(rows, ends, axis=1), strict=True))


def _signed(sign: float) -> Rule:
    def rule(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
        left, right = node.inputs
        return [
            (left, fold(rows, _shape(graph, left))),
            (right, sign * fold(rows, _shape(graph, right))),
        ]

    return rule


def _mul(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    left, right = node.inputs
    return [
        (name, fold(rows * known[other], _shape(graph, name)))
        for name, other in ((left, right), (right, left))
        if name not in graph.constants
    ]


def _dot(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    left, right = node.inputs
    return [
        (name, _dot_part(rows, known[other], _shape(graph, name)))
        for name, other in ((left, right), (right, left))
        if name not in graph.constants
    ]


def _dot_part(rows: Values, other: Values, shape: tuple[int, ...]) -> Values:
    """The sum of rows (N, *E) times other (N, K, *E) over what `shape` (K, *E) lacks."""
    letters = ascii_letters[: len(shape) + 1]

    def used(array: Values, names: str) -> tuple[Values, str]:
        axes = tuple(axis for axis, size in enumerate(array.shape) if size == 1)
        return array.squeeze(axes), "".join(n for i, n in enumerate(names) if i not in axes)

    (a, a_names), (b, b_names) = used(rows, letters[0] + letters[2:]), used(other, letters)
    out = "".join(
        name
        for name, size in zip(letters, (len(rows), *shape), strict=True)
        if size != 1 and name in a_names + b_names
    )
    product = np.einsum(f"{a_names},{b_names}->{out}", a, b, optimize=True)
    full = [
        size if name in out else 1 for name, size in zip(letters, (len(rows), *shape), strict=True)
    ]
    return np.broadcast_to(product.reshape(full), (len(rows), *shape))


def _sum(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    x, *start = node.inputs
    parts = [(x, np.broadcast_to(rows[:, None], (len(rows), *_shape(graph, x))))]
    return [*parts, *((name, rows) for name in start)]


def _shift(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    bits = node.attrs["bits"]
    assert isinstance(bits, int)
    return [(node.inputs[0], rows * 2.0**bits)]


def _divide(graph: Graph, node: Node, known: Mapping[str, Values], rows: Values) -> Parts:
    x, by = node.inputs
    return [(x, fold(rows / known[by], _shape(graph, x)))]


ADJOINTS: dict[str, Rule] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "gather": _gather,
    "concat": _concat,
    "add": _signed(1.0),
    "sub": _signed(-1.0),
    "mul": _mul,
    "dot": _dot,
    "truncated_dot": _dot,
    "sum": _sum,
    "accumulate": _sum,
    "shift": _shift,
    "divide": _divide,
}
