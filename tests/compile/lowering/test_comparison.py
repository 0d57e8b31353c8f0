"""Comparisons of signed with unsigned ap_fixed, against the headers' rule written out."""

from fractions import Fraction
from itertools import product
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format
from samebits.compile.lowering.comparison import compare
from samebits.sim.numpy_engine import NumpyEngine

FORMATS = [
    *(Format(True, 16, 6), Format(True, 31, 10), Format(True, 32, 10), Format(True, 40, 20)),
    *(Format(True, 30, 8), Format(True, 32, 32), Format(False, 4, 6), Format(False, 31, 10)),
    *(Format(False, 32, 10), Format(False, 33, 35), Format(False, 40, 40), Format(False, 30, 8)),
    *(Format(False, 22, 1), Format(False, 31, 9)),
]


def word(mantissa: int, fmt: Format, other: Format, plus: int) -> tuple[int, int]:
    """The word and its width on the finer of two grids (ap_fixed_base.h, `OP_CMP_AF`)."""
    finer = other.fraction - fmt.fraction
    if finer <= 0:
        return mantissa, fmt.width
    return mantissa << finer, max(1, fmt.width + finer + plus)


def in_c(relation: str, x: int, a: Format, y: int, b: Format) -> bool:
    """ap_private.h, `operator>` and `operator<`: "gcc rule for comparison"."""
    x, left = word(x, a, b, 1)
    y, right = word(y, b, a, 0)
    mixed, small = a.signed != b.signed, left < 32 and right < 32
    as_unsigned = mixed and not small and (right >= left if a.signed else left >= right)
    if as_unsigned:
        bits = max(left, right) + 1
        x, y = x % 2**bits, y % 2**bits
    return x > y if relation == "gt" else x < y


def some(fmt: Format, rng: np.random.Generator) -> list[int]:
    low, high = fmt.min_mantissa, fmt.max_mantissa
    return [low, low + 1, -1 if fmt.signed else 1, 0, high, *rng.integers(low, high, 4).tolist()]


@pytest.mark.parametrize("relation", ["gt", "lt"])
def test_all_pairs(relation: Literal["gt", "lt"], rng: np.random.Generator) -> None:
    surprising = 0
    for a, b in product(FORMATS, FORMATS):
        build = GraphBuilder()
        context: Any = SimpleNamespace(build=build)
        x, y = build.input("x", (1,), a), build.input("y", (1,), b)
        graph = build.graph((compare(context, x, y, relation).name,))
        pairs = list(product(some(a, rng), some(b, rng)))
        values = [
            np.array([[pair[side] * fmt.lsb] for pair in pairs]) for side, fmt in ((0, a), (1, b))
        ]
        (got,) = NumpyEngine(graph).run(values, graph.outputs)
        wanted = [in_c(relation, p, a, q, b) for p, q in pairs]
        assert got.ravel().tolist() == wanted, (a, b)
        exact = [(Fraction(p) * Fraction(a.lsb), Fraction(q) * Fraction(b.lsb)) for p, q in pairs]
        surprising += wanted != [p > q if relation == "gt" else p < q for p, q in exact]
    assert surprising > 20


def test_a_negative_number_is_more_than_an_unsigned_one_of_33_bits() -> None:
    """As the headers answered when they were run: min(-32, 0) is 0."""
    assert in_c("gt", -32 << 10, Format(True, 16, 6), 0, Format(False, 33, 35))
    assert not in_c("gt", -32 << 10, Format(True, 16, 6), 0, Format(False, 4, 6))
