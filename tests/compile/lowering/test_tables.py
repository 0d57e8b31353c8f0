"""The activation tables near the functions they hold; tests/corpus pins their last bits."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering import tables

FINE = Format(True, 44, 14)


def elu(x: float) -> float:
    return math.expm1(x)


def selu(x: float) -> float:
    return 1.0507009873554805 * 1.6732632423543772 * math.expm1(x)


@pytest.mark.parametrize(
    ("table", "function", "low", "high"),
    [
        (tables.sigmoid_table, lambda x: 1 / (1 + math.exp(-x)), -8, 8),
        (tables.tanh_table, math.tanh, -4, 4),
        (tables.softplus_table, lambda x: math.log(math.exp(x) + 1), -8, 8),
        (tables.softsign_table, lambda x: x / (abs(x) + 1), -8, 8),
        (tables.elu_table, elu, 0, -8),
        (tables.selu_table, selu, 0, -8),
        (tables.legacy_exp_table, math.exp, -8, 8),
        (tables.legacy_inverse_table, lambda x: 1 / x if x else 0, 0, 64),
    ],
)
@pytest.mark.parametrize("size", [64, 1000, 1024])
def test_tables_hold_their_functions(
    table: Callable[[int, Format], Any],
    function: Callable[[float], float],
    low: float,
    high: float,
    size: int,
) -> None:
    entries = [int(m) * FINE.lsb for m in table(size, FINE)]
    exact = [function(low + (high - low) * i / size) for i in range(size)]
    assert len(entries) == size
    worst = max(abs(a - b) / max(1, abs(b)) for a, b in zip(entries, exact, strict=True))
    assert worst < 3e-7  # float32


def test_softmax_tables_are_addressed_by_the_top_bits() -> None:
    # 8 entries of a 5-bit word: the low two bits are zero; signed words put negatives last
    address = Format(True, 5, 3)
    entries = tables.exp_table(8, address, FINE, 1.0, negative=False)
    points = [0, 1, 2, 3, -4, -3, -2, -1]
    assert np.argsort(entries).tolist() == np.argsort(points).tolist()
    assert entries[0] == 1 << FINE.fraction
    for entry, x in zip(entries, points, strict=True):
        assert abs(int(entry) * FINE.lsb - math.exp(x)) < 1e-5
    mirrored = tables.exp_table(8, address, FINE, 1.0, negative=True)
    for entry, x in zip(mirrored, points, strict=True):
        assert abs(int(entry) * FINE.lsb - math.exp(-x)) < 1e-4
    scaled = tables.exp_table(8, address, FINE, 0.5, negative=False)
    assert abs(int(scaled[1]) * FINE.lsb - math.exp(0.5)) < 1e-6


@pytest.mark.parametrize(
    ("overflow", "first"), [(Overflow.SAT, 2**17 - 1), (Overflow.WRAP, 0), (Overflow.SAT_ZERO, 0)]
)
def test_one_over_zero_is_what_the_format_makes_of_infinity(overflow: Overflow, first: int) -> None:
    fmt = Format(True, 18, 8, Rounding.TRN, overflow)
    entries = tables.inverse_table(4, Format(False, 4, 4), fmt)
    assert [int(m) for m in entries] == [first, 256, 128, 85]
