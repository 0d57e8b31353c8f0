"""Narrower formats: they hold what they must, not one bit more, and change no bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.passes import propagate_ranges, simplify
from samebits.compile.passes.overflow import overflow_sites
from samebits.compile.passes.widths import narrowed, narrowest_formats
from samebits.compile.passes.zero_bits import propagate_zero_bits

from ...oracle import bounds, cast, lsb
from ...strategies import formats, mantissas


@given(data=st.data(), fmt=formats(1, 9))
def test_a_narrowed_format_holds_every_number_and_nothing_shorter_does(
    data: st.DataObject, fmt: Format
) -> None:
    zero_bits = data.draw(st.integers(0, 3))
    drawn = data.draw(st.lists(mantissas(fmt), min_size=1, max_size=4))
    numbers = [number >> zero_bits << zero_bits for number in drawn]
    numbers = [number for number in numbers if number >= fmt.min_saturated] or [0]
    got = narrowed(fmt, min(numbers), max(numbers), zero_bits)
    assert (got.signed, got.rounding, got.overflow) == (fmt.signed, fmt.rounding, fmt.overflow)
    assert got.width <= fmt.width
    for number in numbers:
        value = number * lsb(fmt)
        assert cast(value, got) * lsb(got) == value
    if got.width > 1 + fmt.signed:
        shorter = replace(got, width=got.width - 1, integer=got.integer - 1)
        low, high = (bound * lsb(shorter) for bound in bounds(shorter))
        if fmt.overflow is Overflow.SAT_SYM and fmt.signed:
            low += lsb(shorter)
        reach = min(numbers) * lsb(fmt), max(numbers) * lsb(fmt)
        assert not (low <= reach[0] and reach[1] <= high) or got.width == fmt.width - zero_bits


def formats_of(graph: Graph) -> dict[str, Format]:
    ranges = propagate_ranges(graph)
    zeros = propagate_zero_bits(graph, ranges)
    return narrowest_formats(graph, overflow_sites(graph, ranges), ranges, zeros)


def dense(accum: Format, weights: list[list[int]], bias: list[int]) -> Graph:
    """Two inputs of 0 .. 7, weights and biases in quarters."""
    build = GraphBuilder()
    x = build.input("x", (2,), Format(False, 3, 3))
    matrix = build.integers(weights, Format(True, 6, 4))
    products = build.cast(build.apply("mul", build.reshape(x, (2, 1)), matrix), accum)
    start = build.cast(build.integers(bias, Format(True, 6, 4)), accum)
    order = tuple(range(2))
    total = build.apply(
        "accumulate", products, start, format=accum, kind="chain", order=order, name="accum"
    )
    build.layer("dense", "Dense", total)
    return build.graph((total.name,))


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        # 7 * (6 - 3) / 4 and 7 * -3 / 4 at most, plus 0: -6 .. 10.5 in quarters
        (Overflow.WRAP, Format(True, 6, 5)),  # all even: halves are enough
        # on the way there are 7 * 6 / 4 + 0, too
        (Overflow.SAT, Format(True, 6, 5, Rounding.TRN, Overflow.SAT)),
    ],
)
def test_the_smallest_accumulator(overflow: Overflow, expected: Format) -> None:
    accum = Format(True, 16, 10, Rounding.TRN, overflow)
    graph = simplify(dense(accum, [[6], [-4]], [0]))
    assert formats_of(graph)["accum"] == expected


@pytest.mark.parametrize(("overflow", "integer"), [(Overflow.WRAP, 4), (Overflow.SAT, 5)])
def test_a_saturating_accumulator_keeps_room_for_its_partial_sums(
    overflow: Overflow, integer: int
) -> None:
    # 2 x0 - 2 x1 with both between 4 and 7: at most 6, but 14 on the way
    accum = Format(True, 16, 10, Rounding.TRN, overflow)
    build = GraphBuilder()
    least = build.integers([4, 4], Format(False, 3, 3))
    x = build.apply("max", build.input("x", (2,), Format(False, 3, 3)), least)
    matrix = build.integers([[2], [-2]], Format(True, 3, 3))
    products = build.cast(build.apply("mul", build.reshape(x, (2, 1)), matrix), accum)
    build.apply("accumulate", products, format=accum, kind="chain", order=(0, 1), name="accum")
    graph = simplify(build.graph(("accum",)))
    assert "accumulate" not in [node.op for node in graph.nodes]
    interval = propagate_ranges(graph)["accum"]
    assert (interval.minimum, interval.maximum) == (-6 << 6, 6 << 6)
    assert formats_of(graph)["accum"].integer == integer


def test_where_the_overflow_mode_acts_the_integer_bits_stay() -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 8, 8))
    wide = build.apply("mul", x, build.integers([8], Format(False, 4, 4)))
    for overflow, width in ((Overflow.WRAP, 3), (Overflow.SAT, 6)):
        target = Format(True, 6, 6, Rounding.TRN, overflow)
        y = build.cast(wide, target)
        got = formats_of(build.graph((y.name,)))[y.name]
        assert got == replace(target, width=width, integer=6)


def test_nothing_is_taken_from_a_type_that_is_used_in_full() -> None:
    build = GraphBuilder()
    x = build.input("x", (3,), Format(True, 8, 3))
    y = build.cast(x, Format(True, 8, 3))
    assert formats_of(build.graph((y.name,))) == {y.name: Format(True, 8, 3)}


@settings(max_examples=100)
@given(fmt=formats(2, 8), numbers=st.lists(st.integers(-200, 200), min_size=1, max_size=4))
def test_a_constant_that_is_cast_needs_what_it_becomes(fmt: Format, numbers: list[int]) -> None:
    build = GraphBuilder()
    x = build.integers(numbers, Format(True, 9, 4))
    y = build.cast(x, fmt)
    graph = build.graph((y.name,))
    got = formats_of(graph)[y.name]
    for number in numbers:
        value = number * lsb(Format(True, 9, 4))
        assert cast(value, got) * lsb(got) == cast(value, fmt) * lsb(fmt)
    assert np.array_equal(graph.constants[x.name], numbers)
