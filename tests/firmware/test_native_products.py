"""The native emulator's matrix products: packed factors, and what is computed in registers."""

from pathlib import Path

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.cpp import to_cpp
from samebits.compile.emitters.onnx import input_dtype
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.firmware import toolchain

from .test_native import EVENTS, same_bits

pytestmark = pytest.mark.skipif(toolchain.probe().compiler is None, reason="needs a C++ compiler")

INPUTS = {
    "bytes": Format(False, 6, 4),
    "signed bytes": Format(True, 8, 4),
    "16 bits": Format(True, 16, 6),
}
BETWEEN = [(False, 6, 3), (True, 8, 5), (True, 5, 3), (False, 8, 9), (True, 13, 6)]


@pytest.mark.parametrize("source", INPUTS)
def test_a_product_a_bias_a_cast_of_every_mode_and_a_product(
    source: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Biases finer than the sums: some of them leave no ties, some do."""
    build, fmt, outputs = GraphBuilder(), INPUTS[source], []
    x = build.reshape(build.input("x", (13,), fmt), (13, 1))
    grids = iter(BETWEEN * 20)
    for rounding in Rounding:
        for overflow in (Overflow.WRAP, Overflow.SAT, Overflow.SAT_ZERO):
            weights = build.integers(rng.integers(-16, 16, (13, 6)), Format(True, 5, 2))
            sums = build.apply("dot", x, weights)
            fine = int(rng.integers(0, 4))
            bias = rng.integers(-(2**9), 2**9, 6) & rng.choice([-1, -8], 6)
            constant = build.integers(bias, Format(True, 10, 10 - sums.format.fraction - fine))
            total = build.apply("add", sums, constant)
            between = build.cast(total, Format(*next(grids), rounding, overflow))
            second = build.integers(rng.integers(-8, 8, (6, 7)), Format(True, 4, 2))
            again = build.apply("dot", build.reshape(between, (6, 1)), second)
            outputs.append(again.name)
    graph = build.graph(tuple(outputs))
    text = to_cpp(graph).source
    assert "Words<4, " in text
    assert "Words<2, " in text
    assert "rounded_to_even<" in text
    events = rng.integers(fmt.min_mantissa, fmt.max_mantissa + 1, (EVENTS, 13)) * fmt.lsb
    same_bits(graph, [events.astype(input_dtype(fmt))], tmp_path)


@pytest.mark.parametrize("rows", [4, 7, 9])
def test_any_number_of_rows_and_factors(
    rows: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Rows are taken by four, factors by four and by two; the last ones are what is left."""
    build, outputs, inputs = GraphBuilder(), [], []
    for number, (count, width) in enumerate(((1, 5), (2, 5), (3, 12), (4, 5), (6, 5), (7, 12))):
        fmt = Format(True, width, 4)
        x = build.reshape(build.input(f"x{number}", (count,), fmt), (count, 1))
        weights = build.integers(rng.integers(-16, 16, (count, rows)), Format(True, 5, 2))
        between = build.cast(
            build.apply("dot", x, weights), Format(False, 7, 6, Rounding.RND, Overflow.SAT)
        )
        second = build.integers(rng.integers(-8, 8, (rows, 5)), Format(True, 4, 2))
        outputs.append(build.apply("dot", build.reshape(between, (rows, 1)), second).name)
        outputs.append(build.apply("dot", x, weights).name)  # as it is
        values = rng.integers(fmt.min_mantissa, fmt.max_mantissa + 1, (EVENTS, count))
        inputs.append((values * fmt.lsb).astype(np.float32))
    same_bits(build.graph(tuple(outputs)), inputs, tmp_path)


def test_a_product_at_many_positions_with_a_bias(tmp_path: Path, rng: np.random.Generator) -> None:
    """What a convolution becomes: rows stand apart, a constant for every row or place."""
    build = GraphBuilder()
    x = build.input("x", (9, 10, 1), Format(False, 6, 3))
    weights = build.integers(rng.integers(-16, 16, (9, 1, 6)), Format(True, 5, 2))
    sums = build.apply("dot", x, weights)
    outputs = []
    for shape in ((1, 6), (10, 1), (10, 6)):
        bias = build.integers(rng.integers(-999, 999, shape), Format(True, 11, 6))
        relu = Format(False, 6, 3, Rounding.RND_CONV, Overflow.SAT)
        outputs.append(build.cast(build.apply("add", sums, bias), relu).name)
        more = build.apply("dot", x, weights)
        outputs.append(build.cast(build.apply("add", more, bias), relu).name)
    events = rng.integers(0, 64, (EVENTS, 9, 10, 1)) / 8
    same_bits(build.graph(tuple(outputs)), [events.astype(np.float32)], tmp_path)
