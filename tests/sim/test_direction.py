"""The derivative of every operation, against the operation itself moved by one unit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.ops import OPERATIONS
from samebits.sim.direction import RULES, directions, values_needed
from samebits.sim.numpy_engine import NumpyEngine

from ..strategies import EVENTS, Case, operation_cases

STEPS = {"argmax", "compare"}
LINEAR = ("reshape", "transpose", "gather", "concat", "add", "sub", "mul", "dot", "sum", "shift")


def test_every_operation_has_a_rule_or_is_a_step() -> None:
    assert set(RULES) | STEPS == set(OPERATIONS)


def slopes(graph: Graph, inputs: list[Any], weights: Any) -> list[Any]:
    """The derivative of the weighted sum of the output by every input."""
    names = values_needed(graph)
    values = dict(zip(names, NumpyEngine(graph).run(inputs, names), strict=True))
    return directions(graph, values, {graph.outputs[0]: weights})


@pytest.mark.parametrize("op", LINEAR)
def test_exact_where_the_operation_is_linear_in_each_number(op: str) -> None:
    @settings(max_examples=40)
    @given(case=operation_cases(op, 6), data=st.data())
    def check(case: Case, data: st.DataObject) -> None:
        graph = case.graph
        assume(case.inputs and all(array.size for array in case.inputs.values()))
        lsbs = [graph.tensors[name].format.lsb for name in graph.inputs]
        x = [
            case.inputs[name].astype(float) * lsb
            for name, lsb in zip(graph.inputs, lsbs, strict=True)
        ]
        which = data.draw(st.integers(0, len(x) - 1))
        element = tuple(data.draw(st.integers(0, n - 1)) for n in x[which].shape[1:])
        fmt = graph.tensors[graph.inputs[which]].format
        place = (slice(None), *element)
        assume((case.inputs[graph.inputs[which]][place] < fmt.max_mantissa).all())
        (name,) = graph.outputs
        shape = (EVENTS, *graph.tensors[name].shape)
        weights = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        moved = [array.copy() for array in x]
        moved[which][place] += lsbs[which]
        before, after = (NumpyEngine(graph).run(one, [name])[0] for one in (x, moved))
        change = ((after - before) * weights).reshape(EVENTS, -1).sum(axis=1)
        got = slopes(graph, x, weights)[which][place]
        assert np.array_equal(got * lsbs[which], change)

    check()


def one_input(op: str, *others: Any, shape: tuple[int, ...] = (3,), **attrs: Any) -> Graph:
    build = GraphBuilder()
    x = build.input("x", shape, Format(True, 6, 4))
    build.apply(op, x, *(build.integers(*other) for other in others), name="y", **attrs)
    return build.graph(("y",))


WIDE = Format(True, 8, 6)


@pytest.mark.parametrize(
    ("graph", "x", "expected"),
    [
        (one_input("max", ([4, 4, 4], WIDE)), [3.0, -3.0, 1.0], ["all", "little", "all"]),
        (one_input("min", ([4, 4, 4], WIDE)), [3.0, -3.0, 1.0], ["little", "all", "all"]),
        (one_input("reduce_max"), [1.0, 2.0, 0.0], ["little", "all", "little"]),
        (
            one_input("cast", format=Format(True, 3, 3, Rounding.TRN, Overflow.SAT), bounded=0),
            [3.0, 5.0, -5.0],
            ["all", "little", "little"],
        ),
    ],
)
def test_the_branch_that_is_taken_has_the_slope(
    graph: Graph, x: list[float], expected: list[str]
) -> None:
    (got,) = slopes(graph, [np.array([x])], np.ones((1, *graph.tensors["y"].shape)))
    words = {1.0: "all", 2.0**-10: "little"}
    assert [words[float(value)] for value in got[0]] == expected


def test_a_selection_passes_the_slope_to_its_choice() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 6, 4))
    zero = build.integers([0, 0], WIDE)
    double = build.apply("mul", x, build.integers([3, 3], Format(False, 2, 2)))
    chosen = build.apply("compare", x, zero, relation="gt")
    build.apply("select", chosen, double, x, name="y")
    (got,) = slopes(build.graph(("y",)), [np.array([[1.0, -1.0]])], np.ones((1, 2)))
    assert got.tolist() == [[3 + 2.0**-10, 1 + 3 * 2.0**-10]]


def test_a_table_has_the_slope_of_its_neighbours() -> None:
    build = GraphBuilder()
    x = build.input("x", (3,), Format(False, 6, 4))  # an address is a quarter
    table = build.integers(5 * np.arange(64), Format(False, 9, 8))
    build.apply("lookup", x, table, name="y")
    graph = build.graph(("y",))
    (got,) = slopes(graph, [np.array([[0.0, 8.0, 15.75]])], np.ones((1, 3)))
    assert got.tolist() == [[10.0, 10.0, 10.0]]  # 5 halves for each quarter


def test_an_accumulator_passes_the_slope_to_all_terms() -> None:
    build = GraphBuilder()
    fmt = Format(True, 6, 4)
    x, start = build.input("x", (3, 2), fmt), build.input("start", (2,), fmt)
    build.apply("accumulate", x, start, format=fmt, kind="chain", order=(2, 0, 1), name="y")
    graph = build.graph(("y",))
    inputs = [np.zeros((1, 3, 2)), np.zeros((1, 2))]
    terms, first = slopes(graph, inputs, np.array([[1.0, 5.0]]))
    assert terms.tolist() == [[[1.0, 5.0]] * 3]
    assert first.tolist() == [[1.0, 5.0]]


def test_a_division_has_the_slope_of_the_quotient() -> None:
    graph = one_input("divide", ([3, 1, 2], Format(False, 2, 2)))
    (got,) = slopes(graph, [np.array([[1.0, 1.0, 1.0]])], np.ones((1, 3)))
    assert got.tolist() == [[1 / 3, 1.0, 0.5]]
