"""What operands have in common: sharper bounds, and never a value outside them."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Interval, Overflow, Rounding, Tensor
from samebits.compile.passes import propagate_ranges
from samebits.compile.passes.relations import sharpen
from samebits.sim.numpy_engine import NumpyEngine

X = Format(True, 3, 2)
EXP = (16, 9, 5, 3, 2, 1, 1, 0)  # of 0, 1, ... 7 steps of 1/2
INVERSE = (255, 255, 128, 85, 64, 51, 43, 37, 32, 28, 26, 23, 21, 20, 18, 17)


def distances(build: GraphBuilder, x: Tensor) -> Tensor:
    largest = build.apply("reduce_max", x)
    return build.apply("sub", build.reshape(largest, (1, *largest.shape)), x)


def softmax(kind: str = "sum", shape: tuple[int, ...] = (3,)) -> tuple[Graph, dict[str, str]]:
    """exp(x - max) over its sum by tables, in few bits; and its tensors by what they are."""
    build = GraphBuilder()
    x = build.input("x", shape, X)
    d = build.cast(distances(build, x), Format(False, 3, 2))
    entry = build.apply("lookup", d, build.integers(EXP, Format(False, 5, 1), "exp"))
    accum = Format(False, 5, 1, Rounding.TRN, Overflow.SAT)
    if kind == "sum":
        e = build.cast(entry, Format(False, 5, 1))
        total = build.apply("sum", e)
    else:
        e = build.cast(entry, accum)
        order = tuple(range(shape[0])) if kind == "chain" else ()
        total = build.apply("accumulate", e, format=accum, kind=kind, order=order)
    address = build.cast(total, Format(False, 4, 2, Rounding.TRN, Overflow.SAT))
    table = build.integers(INVERSE, Format(False, 8, 2), "inverse")
    inverse = build.apply("lookup", address, table)
    y = build.apply("mul", e, build.reshape(inverse, (1, *shape[1:])), name="y")
    names = {"d": d.name, "e": e.name, "total": total.name, "inverse": inverse.name, "y": y.name}
    return build.graph((y.name,)), names


def every_event(graph: Graph, names: list[str]) -> dict[str, Any]:
    """The mantissas (N, *shape) of tensors for all inputs that there are."""
    (name,) = graph.inputs
    tensor = graph.tensors[name]
    numbers = range(tensor.format.min_mantissa, tensor.format.max_mantissa + 1)
    x = np.array(list(product(numbers, repeat=int(np.prod(tensor.shape)))))
    real = x.reshape(-1, *tensor.shape) * tensor.format.lsb
    values = NumpyEngine(graph).run([real], names)
    return {
        one: np.ldexp(array, graph.tensors[one].format.fraction).astype(int)
        for one, array in zip(names, values, strict=True)
    }


@pytest.mark.parametrize("kind", ["sum", "chain", "tree"])
@pytest.mark.parametrize("shape", [(3,), (1,), (2, 2)])
def test_bounds_of_a_softmax_hold_for_every_input(kind: str, shape: tuple[int, ...]) -> None:
    graph, names = softmax(kind, shape)
    ranges, reached_by = propagate_ranges(graph), every_event(graph, list(names.values()))
    for what, name in names.items():
        reached = reached_by[name]
        assert (ranges[name].low <= reached.min(axis=0)).all(), what
        assert (reached.max(axis=0) <= ranges[name].high).all(), what


@settings(max_examples=60)
@given(
    bounds=st.lists(st.lists(st.integers(-4, 3), min_size=2, max_size=2), min_size=3, max_size=3)
)
def test_bounds_of_a_softmax_of_narrower_inputs(bounds: list[list[int]]) -> None:
    graph, names = softmax()
    low, high = np.sort(np.array(bounds), axis=1).T
    ranges = propagate_ranges(graph, {"x": Interval(low, high)})
    reached_by = every_event(graph, [*names.values(), "x"])
    x = reached_by["x"]
    inside = ((low <= x) & (x <= high)).all(axis=1)
    for what, name in names.items():
        reached = reached_by[name][inside]
        assert (ranges[name].low <= reached.min(axis=0)).all(), what
        assert (reached.max(axis=0) <= ranges[name].high).all(), what
        if what == "d":
            assert (ranges[name].low == reached.min(axis=0)).all()
            assert (ranges[name].high == reached.max(axis=0)).all()


def test_what_a_softmax_can_reach_is_known_exactly() -> None:
    graph, names = softmax()
    ranges, reached = propagate_ranges(graph), every_event(graph, list(names.values()))
    for what in ("d", "e"):
        assert ranges[names[what]].minimum == reached[names[what]].min()
        assert ranges[names[what]].maximum == reached[names[what]].max()
    assert ranges[names["total"]].minimum == 16 == reached[names["total"]].min()
    # 16 * 64 is a product of exactly one
    assert ranges[names["y"]].maximum == 16 * 64 == reached[names["y"]].max()


def test_a_single_number_has_no_distance_to_the_largest() -> None:
    build = GraphBuilder()
    x = build.input("x", (1, 2), X)
    y = distances(build, x)
    swapped = build.apply("sub", x, build.reshape(build.apply("reduce_max", x), (1, 2)))
    interval = propagate_ranges(build.graph((y.name, swapped.name)))[y.name]
    assert (interval.minimum, interval.maximum) == (0, 0)


def test_the_maximum_of_other_numbers_tells_nothing() -> None:
    build = GraphBuilder()
    x, z = build.input("x", (2,), X), build.input("z", (2,), X)
    y = build.apply("sub", build.reshape(build.apply("reduce_max", z), (1,)), x)
    assert propagate_ranges(build.graph((y.name,)))[y.name].minimum == -7


@pytest.mark.parametrize("relation", ["gt", "ge"])
def test_a_comparison_that_is_always_true_selects(relation: str) -> None:
    build = GraphBuilder()
    x = build.input("x", (3,), Format(False, 3, 3))
    limit = build.integers([-1, 0, 8], Format(True, 5, 5))
    chosen = build.apply("compare", x, limit, relation=relation)
    y = build.apply("select", chosen, x, build.integers([20] * 3, Format(False, 5, 5)), name="y")
    ranges = propagate_ranges(build.graph((y.name,)))
    first = 1 if relation == "ge" else 0
    assert ranges[chosen.name].low.tolist() == [1, first, 0]
    assert ranges[chosen.name].high.tolist() == [1, 1, 0]
    assert ranges["y"].high.tolist() == [7, 7 if relation == "ge" else 20, 20]
    assert ranges["y"].low.tolist() == [0, 0, 20]


@pytest.mark.parametrize("kind", ["chain", "tree"])
def test_a_saturating_accumulator_ends_where_its_extreme_terms_end(kind: str) -> None:
    build = GraphBuilder()
    fmt = Format(True, 4, 4, Rounding.TRN, Overflow.SAT)
    first = build.input("x", (1,), Format(True, 4, 4, Rounding.TRN, Overflow.SAT))
    rest = build.integers([7, -6, 0] if kind == "chain" else [4, -4, 0], fmt)
    terms = build.apply("concat", first, rest)
    terms = build.cast(terms, fmt)
    order = tuple(range(4)) if kind == "chain" else ()
    y = build.apply("accumulate", terms, format=fmt, kind=kind, order=order)
    graph = build.graph((y.name,))
    reached = every_event(graph, [y.name])[y.name]
    interval = propagate_ranges(graph)[y.name]
    assert (interval.minimum, interval.maximum) == (reached.min(), reached.max())
    assert interval.maximum - interval.minimum < 15  # not all that the type holds


def test_nothing_is_sharpened_without_a_reason() -> None:
    graph, names = softmax()
    ranges = propagate_ranges(graph)
    node = next(node for node in graph.nodes if node.op == "lookup")
    made_by = {node.output: node for node in graph.nodes}
    assert sharpen(graph, made_by, node, ranges[names["e"]], ranges) is ranges[names["e"]]


@pytest.mark.parametrize(
    ("bounds", "expected"), [((-3, 2), (0, 9)), ((1, 3), (1, 9)), ((-4, -2), (4, 16))]
)
def test_squares(bounds: tuple[int, int], expected: tuple[int, int]) -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), X)
    y = build.apply("mul", x, x)
    given = Interval(np.array([bounds[0]]), np.array([bounds[1]]))
    interval = propagate_ranges(build.graph((y.name,)), {"x": given})[y.name]
    assert (interval.minimum, interval.maximum) == expected
