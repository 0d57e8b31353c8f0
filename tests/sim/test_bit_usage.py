"""Bits in use, overflows and rounding noise, against sums in Python fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.sim.bit_usage import measure_bit_usage
from samebits.sim.numpy_engine import NumpyEngine


def one_cast(source: Format, target: Format) -> Graph:
    build = GraphBuilder()
    x = build.input("x", (3,), source)
    y = build.cast(x, target, name="narrow/cast")
    build.layer("narrow", "Activation", y)
    return build.graph((y.name,))


def rounded(value: Fraction, fmt: Format) -> int:
    scaled = value * Fraction(2) ** fmt.fraction
    if fmt.rounding is Rounding.TRN:
        return floor(scaled)
    assert fmt.rounding is Rounding.RND
    return floor(scaled + Fraction(1, 2))


def bits_needed(mantissa: int, fmt: Format) -> int:
    if not mantissa:
        return 0
    return (mantissa if mantissa > 0 else ~mantissa).bit_length() + fmt.signed


@pytest.mark.parametrize("rounding", [Rounding.TRN, Rounding.RND])
@pytest.mark.parametrize("mode", [Overflow.SAT, Overflow.WRAP, Overflow.SAT_SYM])
@pytest.mark.parametrize("signed", [True, False])
def test_counts_are_those_of_every_value(
    signed: bool, mode: Overflow, rounding: Rounding, rng: np.random.Generator
) -> None:
    target = Format(signed, 5, 3, rounding, mode)
    graph = one_cast(Format(True, 10, 5, Rounding.RND, Overflow.SAT), target)
    values = rng.integers(-512, 512, (200, 3)) / 32
    engine = NumpyEngine(graph)
    given, layer = measure_bit_usage(graph, engine, [values])
    (answers,) = engine.run([values], ["narrow/cast"])
    above = below = 0
    squares, inside, events = Fraction(0), 0, 0
    used = [0] * 6
    low, high = target.min_saturated, target.max_mantissa
    for row, answer in zip(values.tolist(), answers.tolist(), strict=True):
        hit = False
        for value, got in zip(map(Fraction, row), map(Fraction, answer), strict=True):
            mantissa = rounded(value, target)
            above += mantissa > high
            below += mantissa < low
            hit |= mantissa > high or (mantissa < low and (signed or mode is Overflow.WRAP))
            used[bits_needed(int(got * 4), target)] += 1
            if low <= value * 4 <= high:
                squares += (got * 4 - value * 4) ** 2
                inside += 1
        events += hit
    wraps = mode is Overflow.WRAP
    assert above > 20
    assert below > 20
    assert (layer.saturated_above, layer.saturated_below) == ((0, 0) if wraps else (above, below))
    assert layer.wrapped == (above + below if wraps else 0)
    assert layer.overflowing_events == events
    assert layer.used == tuple(used)
    assert (layer.values, layer.counted, layer.proven) == (600, 1, 0)
    assert layer.noise_lsb is not None
    assert abs(layer.noise_lsb - float(squares / inside) ** 0.5) < 1e-12
    assert given.layer == "x"
    assert given.wrapped + given.saturated_above + given.saturated_below == 0
    assert given.noise_lsb is None


def test_inputs_beyond_their_format() -> None:
    graph = one_cast(Format(True, 8, 4, Rounding.RND, Overflow.SAT), Format(True, 12, 6))
    # the largest is 7.9375: 7.95 is rounded to it, 7.97 to 8, which saturates
    events = np.array([[7.95, 7.97, 0], [1e30, -8.02, -8.04], [0, 1, 2]])
    given, layer = measure_bit_usage(graph, NumpyEngine(graph), [events])
    assert (given.saturated_above, given.saturated_below, given.overflowing_events) == (2, 1, 2)
    assert (layer.counted, layer.proven, layer.spare_bits) == (1, 0, 2)
    assert (layer.overflowing_events, layer.noise_lsb) == (0, None)


def test_bits_that_hold_most_values() -> None:
    graph = one_cast(Format(True, 8, 8), Format(True, 8, 8))
    events = np.array([[0, 1, 1]] * 33 + [[-128, 3, 1]])
    given, _ = measure_bit_usage(graph, NumpyEngine(graph), [events.astype(float)])
    assert given.used == (33, 0, 67, 1, 0, 0, 0, 0, 1)
    assert (given.most_used, given.bits_of(0.98), given.bits_of(0.99), given.width) == (8, 2, 3, 8)
