"""Zero bits: for every tensor, how many low bits of every mantissa are provably zero.

They are fraction bits that a type carries and no number ever uses: of weights on a coarse grid in a
fine type, and of all that is made of them by exact operations.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..ir import Format, Graph, Interval, Node, Overflow
from ..ops.cast import rounded_interval

__all__ = ["ALL_ZERO", "propagate_zero_bits", "zero_bits_of"]

ALL_ZERO = 1 << 20  # more than any width: every bit of every element is zero


def zero_bits_of(mantissas: NDArray[np.generic]) -> int:
    """The zero bits at the end of all the integers of an array.

    >>> zero_bits_of(np.array([4, -12, 0])), zero_bits_of(np.array([0])) == ALL_ZERO
    (2, True)
    """
    joined = int(np.bitwise_or.reduce(mantissas.ravel(), initial=0)) if mantissas.size else 0
    return (joined & -joined).bit_length() - 1 if joined else ALL_ZERO


def propagate_zero_bits(graph: Graph, ranges: Mapping[str, Interval]) -> dict[str, int]:
    """Zero bits by tensor name; whatever the inputs are, no mantissa has fewer."""
    zeros = {name: 0 for name in graph.inputs}
    zeros |= {name: zero_bits_of(data) for name, data in graph.constants.items()}
    for node in graph.nodes:
        zeros[node.output] = min(max(0, _after(graph, node, zeros, ranges)), ALL_ZERO)
    return zeros


def _after(
    graph: Graph, node: Node, zeros: Mapping[str, int], ranges: Mapping[str, Interval]
) -> int:
    given = [zeros[name] for name in node.inputs]
    target = graph.tensors[node.output].format
    # zero bits on the grid of the result
    moved = [
        bits + target.fraction - graph.tensors[name].format.fraction
        for name, bits in zip(node.inputs, given, strict=True)
    ]
    match node.op:
        case "reshape" | "transpose" | "gather" | "shift" | "sum" | "reduce_max":
            return given[0]
        case "add" | "sub" | "max" | "min" | "concat":
            return min(moved)
        case "select":
            return min(moved[1:])
        case "mul" | "dot":
            return given[0] + given[1]
        case "truncated_dot":
            bits = node.attrs["bits"]
            assert isinstance(bits, int)
            return given[0] + given[1] - bits
        case "lookup":
            return given[1]
        case "cast":
            return _after_overflow(moved[0], node, graph, ranges)
        case "accumulate":
            return min(given) if target.overflow is Overflow.WRAP else 0
    return 0


def _after_overflow(bits: int, node: Node, graph: Graph, ranges: Mapping[str, Interval]) -> int:
    """Wrapping keeps zero bits; the ends of a saturating type have none."""
    source, target = graph.tensors[node.inputs[0]].format, graph.tensors[node.output].format
    if target.overflow in (Overflow.WRAP, Overflow.SAT_ZERO):
        return bits
    return bits if _idle(ranges[node.inputs[0]], source, target) else 0


def _idle(interval: Interval, source: Format, target: Format) -> bool:
    rounded = rounded_interval(interval, source, target)
    return rounded.within(target.min_saturated, target.max_mantissa)
