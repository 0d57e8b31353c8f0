"""Linear bounds: never passed by any input, and exact where the layers are one linear map."""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Interval, Overflow, Rounding, Tensor
from samebits.compile.passes import propagate_ranges, simplify
from samebits.compile.passes.adjoint import ADJOINTS
from samebits.compile.passes.linear_bounds import Ancestry, upper_bounds
from samebits.compile.passes.ranges import refine_ranges
from samebits.sim.numpy_engine import NumpyEngine

from ...oracle import evaluate
from ...strategies import EVENTS, Case, networks

SAT = Overflow.SAT


def contains(outer: Interval, low: Any, high: Any) -> bool:
    return bool((outer.low <= low).all() and (high <= outer.high).all())


@settings(max_examples=100)
@given(case=networks())
def test_no_event_leaves_refined_ranges(case: Case) -> None:
    for graph in (case.graph, simplify(case.graph)):
        plain, refined = propagate_ranges(graph), refine_ranges(graph)
        for name, interval in refined.items():
            assert contains(plain[name], interval.low, interval.high)
        for number in range(EVENTS):
            for name, mantissas in evaluate(graph, case.event(number)).items():
                assert contains(refined[name], mantissas, mantissas), name


def sums(build: GraphBuilder, x: Tensor, weights: Any, op: str, fmt: Format) -> Tensor:
    """x times a matrix: exact, or with products cut to three fraction bits."""
    count = len(weights)
    matrix = build.integers(weights, fmt)
    column = build.reshape(x, (count, 1))
    if op == "dot":
        return build.apply("dot", column, matrix)
    fraction = x.format.fraction + fmt.fraction
    return build.apply("truncated_dot", column, matrix, bits=fraction - 3)


ROUNDINGS = list(Rounding)


@pytest.mark.parametrize("op", ["dot", "truncated_dot"])
@pytest.mark.parametrize(
    "middle", ["relu", "cast", "saturate", "below", "wrap", "clip", "divide", "add"]
)
def test_every_input_of_small_networks(op: str, middle: str, rng: np.random.Generator) -> None:
    """Two layers with something between them, all 4096 inputs tried."""
    weight, sharper = Format(True, 5, 2), 0
    for attempt in range(12):
        build = GraphBuilder()
        x = build.input("x", (4,), Format(True, 3, 1))
        h = sums(build, x, rng.integers(-16, 16, (4, 5)), op, weight)
        rounding = ROUNDINGS[attempt % len(ROUNDINGS)]
        zero = build.integers([0] * 5, Format(True, 2, 2))
        bend = build.integers(rng.integers(-8, 8, 5), Format(True, 4, 2))
        if middle == "relu":
            h = build.cast(build.apply("max", h, zero), Format(False, 10, 6, rounding, SAT))
        elif middle == "cast":
            h = build.cast(h, Format(True, 9, 7, rounding))
        elif middle == "saturate":
            h = build.cast(h, Format(True, 5, 3, rounding, SAT))
        elif middle == "below":
            h = build.cast(h, Format(False, 12, 8, rounding, Overflow.SAT_SYM))
        elif middle == "wrap":
            mode = [Overflow.WRAP, Overflow.SAT_ZERO][attempt % 2]
            h = build.cast(h, Format(True, 6 + attempt % 3, 3 + attempt % 3, rounding, mode))
        elif middle == "clip":
            top = build.integers(rng.integers(0, 8, 5), Format(True, 4, 2))
            h = build.apply("min", build.apply("max", h, bend), top)
        elif middle == "divide":
            h = build.apply("divide", h, build.integers([3, 1, 5, 2, 7], Format(False, 3, 3)))
        else:
            h = build.apply("sub", build.apply("add", h, bend), build.apply("max", h, zero))
        y = sums(build, h, rng.integers(-16, 16, (5, 2)), "dot", weight)
        z = build.cast(y, Format(True, 40, 20), name="z")
        graph = build.graph((z.name,))
        refined, plain = refine_ranges(graph), propagate_ranges(graph)
        events = np.array(list(product(np.arange(-4, 4) / 4, repeat=4)))
        values = NumpyEngine(graph).run([events], [y.name])[0]
        mantissas = np.ldexp(values, y.format.fraction).astype(int)
        assert contains(refined[y.name], mantissas.min(axis=0), mantissas.max(axis=0))
        sharper += refined[y.name].maximum < plain[y.name].maximum
    assert sharper >= 6 or middle in ("clip", "wrap")


def test_linear_layers_are_one_linear_map(rng: np.random.Generator) -> None:
    """Three exact layers in a row: the bounds are those of the product of their matrices."""
    build = GraphBuilder()
    x = build.input("x", (6,), Format(True, 5, 3))
    matrices = [rng.integers(-8, 8, shape) for shape in ((6, 7), (7, 5), (5, 3))]
    y = x
    for matrix in matrices:
        y = sums(build, y, matrix, "dot", Format(True, 4, 2))
    graph = build.graph((build.cast(y, Format(True, 60, 40)).name,))
    whole = matrices[0] @ matrices[1] @ matrices[2]
    corner = np.maximum(-16 * whole, 15 * whole).sum(axis=0)
    other = np.minimum(-16 * whole, 15 * whole).sum(axis=0)
    refined = refine_ranges(graph)[y.name]
    assert refined.high.tolist() == corner.tolist()
    assert refined.low.tolist() == other.tolist()
    assert propagate_ranges(graph)[y.name].maximum > 2 * max(corner)


@pytest.mark.parametrize("rounding", list(Rounding))
def test_what_cancels_is_seen(rounding: Rounding, rng: np.random.Generator) -> None:
    """W x less the same rounded: only what rounding takes is left."""
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 6, 3))
    h = sums(build, x, [[1, 2, 3], [4, -2, 1]], "dot", Format(True, 4, 2))
    wide = h.format.width + 3
    rounded = build.cast(h, Format(True, wide - 3, wide - h.format.fraction, rounding))
    y = build.apply("sub", h, rounded)
    graph = build.graph((build.cast(y, Format(True, 30, 20)).name,))
    interval = refine_ranges(graph)[y.name]
    events = np.array(list(product(np.arange(-32, 32) / 8, repeat=2)))
    values = np.ldexp(NumpyEngine(graph).run([events], [y.name])[0], y.format.fraction)
    assert contains(interval, values.min(axis=0), values.max(axis=0))
    # a step of eight units: known but for the side that a tie takes
    assert (interval.minimum, interval.maximum) in (
        [(0, 7)]
        if rounding is Rounding.TRN
        else [(-7, 7)]
        if rounding is Rounding.TRN_ZERO
        else [(-4, 4)]
    )


def test_the_distance_to_the_largest_comes_from_all_pairs(rng: np.random.Generator) -> None:
    build = GraphBuilder()
    x = build.input("x", (4,), Format(True, 3, 1))
    h = sums(build, x, rng.integers(-8, 8, (4, 6)) * 0 + rng.integers(-8, 8, (4, 1)), "dot",
             Format(True, 4, 2))  # fmt: skip
    bias = build.integers([0, 1, 2, 3, 2, 1], Format(True, 3, 1))
    h = build.cast(build.apply("add", h, bias), Format(True, 20, 10))
    largest = build.reshape(build.apply("reduce_max", h), (1,))
    d = build.apply("sub", largest, h)
    graph = build.graph((build.cast(d, Format(False, 20, 10)).name,))
    interval = refine_ranges(graph)[d.name]
    # all six are the same sum, but for the biases, in quarters
    assert [value / 2**10 for value in interval.high] == [0.75, 0.5, 0.25, 0.0, 0.25, 0.5]


def test_rounding_errors_of_doubles_are_in_the_bound(rng: np.random.Generator) -> None:
    """Coefficients of more bits than a double has, against the sum in exact fractions."""
    build = GraphBuilder()
    x = build.input("x", (5,), Format(True, 20, 20))
    first = rng.integers(-(2**50), 2**50, (5, 8))
    second = rng.integers(-(2**50), 2**50, (8, 40))
    h = sums(build, x, first, "dot", Format(True, 51, 1))
    zero = build.integers([0] * 8, Format(True, 2, 2))
    h = build.apply("add", build.apply("max", h, zero), h)
    y = sums(build, h, second, "dot", Format(True, 51, 1))
    graph = build.graph((y.name,))
    low, high = rng.integers(-(2**19), 0, 5), rng.integers(0, 2**19, 5)
    ranges = propagate_ranges(graph, {"x": Interval(low, high)})
    ancestry = Ancestry(graph)
    bound = upper_bounds(ancestry, ancestry.behind(y.name), ranges, y.name, np.eye(40))
    corners = np.array(list(product(*zip(low, high, strict=True)))).astype(object)
    hidden = corners @ first.astype(object)
    best = ((np.maximum(hidden, 0) + hidden) @ second.astype(object)).max(axis=0)
    assert all(
        Fraction(float(b)) * 2**100 >= int(exact) for b, exact in zip(bound, best, strict=True)
    )
    # one linear map: nothing but the rounding errors is between
    linear = GraphBuilder()
    x = linear.input("x", (5,), Format(True, 20, 20))
    h = sums(linear, x, first, "dot", Format(True, 51, 1))
    y = sums(linear, h, second, "dot", Format(True, 51, 1))
    graph = linear.graph((y.name,))
    ranges, ancestry = propagate_ranges(graph, {"x": Interval(low, high)}), Ancestry(graph)
    bound = upper_bounds(ancestry, ancestry.behind(y.name), ranges, y.name, np.eye(40))
    whole = first.astype(object) @ second.astype(object)
    exact = np.maximum(low[:, None] * whole, high[:, None] * whole).sum(axis=0)
    for value, wanted in zip(bound, exact, strict=True):
        assert 0 <= Fraction(float(value)) * 2**100 - int(wanted) <= int(wanted) >> 35


def test_very_wide_numbers_keep_the_bounds_of_intervals() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 60, 60))
    h = sums(build, x, [[3], [-2]], "dot", Format(True, 3, 3))
    y = build.cast(build.apply("add", h, h), Format(True, 80, 80))
    graph = build.graph((y.name,))
    refined, plain = refine_ranges(graph), propagate_ranges(graph)
    for name in graph.tensors:
        assert contains(plain[name], refined[name].low, refined[name].high)
        assert contains(refined[name], plain[name].low, plain[name].high)


def test_given_bounds_of_inputs_count() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 8, 4))
    h = sums(build, x, [[1, 1], [1, -1]], "dot", Format(True, 2, 2))  # sum and difference
    y = sums(build, h, [[1], [1]], "dot", Format(True, 2, 2))  # twice the first
    graph = build.graph((build.cast(y, Format(True, 20, 12)).name,))
    given = {"x": Interval(np.array([-3, -100]), np.array([5, 100]))}
    interval = refine_ranges(graph, given)[y.name]
    assert (interval.minimum, interval.maximum) == (-6, 10)


def adjoint_case(op: str, size: tuple[int, ...], *others: Any, **attrs: Any) -> Graph:
    build = GraphBuilder()
    fmt = Format(True, 6, 4)
    inputs = [build.input("x", size, fmt)]
    inputs += [
        build.integers(*other)
        if isinstance(other[-1], Format)
        else build.input(f"x{i}", other, fmt)
        for i, other in enumerate(others)
    ]
    build.apply(op, *inputs, name="y", **attrs)
    return build.graph(("y",))


@pytest.mark.parametrize(
    "graph",
    [
        adjoint_case("reshape", (2, 3), shape=(3, 2)),
        adjoint_case("transpose", (2, 3, 4), perm=(2, 0, 1)),
        adjoint_case("gather", (3, 2), ([[0, 2], [2, 2]], Format(False, 2, 2))),
        adjoint_case("concat", (3, 2), (1, 2)),
        adjoint_case("add", (3, 1), (1, 2)),
        adjoint_case("sub", (1, 2), (3, 2)),
        adjoint_case("mul", (3, 1), ([[1, 2]], Format(True, 4, 2))),
        adjoint_case("dot", (3, 2, 1), (np.arange(12).reshape(3, 1, 4), Format(False, 4, 2))),
        adjoint_case("dot", (3, 2), (np.arange(6).reshape(3, 2), Format(False, 4, 2))),
        adjoint_case("dot", (1, 2), (np.arange(4).reshape(1, 4)[:, :2], Format(False, 4, 2))),
        adjoint_case("sum", (3, 2)),
        adjoint_case("shift", (3, 2), bits=-2),
    ],
    ids=lambda graph: graph.nodes[0].op,
)
def test_adjoints_move_coefficients_to_the_operands(graph: Graph, rng: np.random.Generator) -> None:
    """The sum of c * y is the sum of adjoint(c) * x, in exact fractions."""
    (node,) = graph.nodes
    shape = graph.tensors["y"].shape
    coefficients = rng.integers(-9, 9, (2, *shape)).astype(float)
    known = {
        name: np.ldexp(data.astype(float), -graph.tensors[name].format.fraction)[None]
        for name, data in graph.constants.items()
    }
    event = {
        name: rng.integers(-32, 32, graph.tensors[name].shape).astype(object)
        for name in graph.inputs
    }
    values = evaluate(graph, event)

    def total(rows: Any, name: str) -> list[Fraction]:
        lsb = Fraction(2) ** -graph.tensors[name].format.fraction
        return [
            sum((Fraction(float(c)) * int(m) * lsb for c, m in pairs), Fraction(0))
            for row in rows
            for pairs in [list(zip(row.ravel(), values[name].ravel(), strict=True))]
        ]

    parts = ADJOINTS[node.op](graph, node, known, coefficients)
    sums_of_parts = [total(rows, name) for name, rows in parts]
    assert [sum(column) for column in zip(*sums_of_parts, strict=True)] == total(coefficients, "y")
