"""Passes change no bit: random networks through the engine and the oracle, before and after."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Interval, Overflow, Rounding, Tensor
from samebits.compile.passes import (
    bound_casts,
    carriers,
    choose_carriers,
    open_accumulators,
    propagate_ranges,
    simplify,
)
from samebits.sim.numpy_engine import NumpyEngine

from ...oracle import evaluate
from ...strategies import EVENTS, Case, networks


def run(graph: Graph, inputs: dict[str, Any], names: list[str]) -> list[Any]:
    """The engine's values for input mantissas."""
    fed = [
        inputs[name].astype(np.float64) * graph.tensors[name].format.lsb for name in graph.inputs
    ]
    return NumpyEngine(graph).run(fed, names)


@settings(max_examples=250)
@given(case=networks())
def test_simplify_changes_no_bit(case: Case) -> None:
    names = [*case.graph.outputs, *case.graph.layer_tensors.values()]
    events = [evaluate(case.graph, case.event(number)) for number in range(EVENTS)]
    lsbs = [case.graph.tensors[name].format.lsb for name in names]
    for graph in (case.graph, simplify(case.graph), simplify(simplify(case.graph))):
        assert graph.outputs == case.graph.outputs
        assert graph.layer_tensors == case.graph.layer_tensors
        for name in names:
            assert graph.tensors[name] == case.graph.tensors[name]
        got = run(graph, case.inputs, names)
        for values, name, lsb in zip(got, names, lsbs, strict=True):
            expected = np.array([event[name] for event in events], dtype=np.float64) * lsb
            assert np.array_equal(values, expected), name


@settings(max_examples=100)
@given(case=networks())
def test_the_simplified_graph_is_sound_and_its_ranges_hold_every_value(case: Case) -> None:
    for graph in (case.graph, simplify(case.graph)):
        ranges = propagate_ranges(graph)
        chosen = choose_carriers(graph)
        for number in range(EVENTS):
            # the oracle ignores `bounded`, and checks every format
            for name, mantissas in evaluate(graph, case.event(number)).items():
                assert (ranges[name].low <= mantissas).all(), name
                assert (mantissas <= ranges[name].high).all(), name
                if name in chosen:
                    assert chosen[name].holds(ranges[name].magnitude)


def test_the_ranges_of_a_graph_are_analysed_once_for_all_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, analysed = dense(Format(True, 16, 8)), 0
    analyse = carriers.propagate_ranges

    def counted(graph: Graph) -> dict[str, Interval]:
        nonlocal analysed
        analysed += 1
        return analyse(graph)

    monkeypatch.setattr(carriers, "propagate_ranges", counted)
    peaks = carriers.choose_peaks(graph)
    expected = dict(peaks)
    peaks.clear()  # the caller's own
    assert carriers.choose_peaks(graph) == expected
    NumpyEngine(graph)
    assert analysed == 1
    assert carriers.choose_peaks(dense(Format(True, 16, 8))) == expected
    assert analysed == 2


def dense(accumulator: Format, column: bool = True) -> Graph:
    """Three inputs of 4 bits, weights of 4 bits, a bias, one accumulator."""
    build = GraphBuilder()
    x = build.input("x", (3,), Format(True, 4, 2))
    weights = build.integers(np.arange(9).reshape(3, 3) - 4, Format(True, 4, 2), "w")
    factor = build.reshape(x, (3, 1) if column else (1, 3))
    products = build.cast(build.apply("mul", factor, weights), accumulator)
    bias = build.cast(build.integers([3, -3, 0], Format(True, 4, 2), "bias"), accumulator)
    y = build.apply(
        "accumulate", products, bias, format=accumulator, kind="chain", order=(2, 0, 1), name="y"
    )
    return build.graph((y.name,))


def operations(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize(
    ("accumulator", "expected"),
    [
        # wraps, keeps every fraction bit: one matrix product, however narrow
        (Format(True, 5, 1), ["reshape", "dot", "add", "cast"]),
        # wraps, drops fraction bits of every product
        (Format(True, 9, 6), ["reshape", "truncated_dot", "add", "cast"]),
        # saturates, but never: proven by range
        (Format(True, 12, 8, Rounding.TRN, Overflow.SAT), ["reshape", "dot", "add", "cast"]),
        # saturates, and may
        (
            Format(True, 7, 3, Rounding.TRN, Overflow.SAT),
            ["reshape", "mul", "cast", "accumulate"],
        ),
    ],
)
def test_accumulators_open_where_it_is_proven(accumulator: Format, expected: list[str]) -> None:
    assert operations(simplify(dense(accumulator))) == expected


def test_a_row_is_not_a_column() -> None:
    # y[j] = sum over i of x[j] * w[i, j] is no matrix product
    graph = dense(Format(True, 12, 8), column=False)
    assert "dot" not in operations(simplify(graph))


def test_products_that_wrap_stay_out_of_a_sum_that_saturates() -> None:
    # 7 x 3 = 21 wraps to 5, which the accumulator holds; the product itself would saturate at 7
    build, grid = GraphBuilder(), Format(True, 4, 4)
    x = build.input("x", (1,), grid)
    weights = build.integers([[3]], Format(True, 3, 3))
    product = build.cast(build.apply("mul", build.reshape(x, (1, 1)), weights), grid)
    accumulator = Format(True, 4, 4, Rounding.TRN, Overflow.SAT)
    y = build.apply("accumulate", product, format=accumulator, kind="chain", order=(0,))
    graph = build.graph((y.name,))
    assert operations(simplify(graph)) == ["reshape", "mul", "cast", "sum", "cast"]
    for each in (graph, simplify(graph)):
        assert run(each, {"x": np.array([[7], [-3]])}, [y.name])[0].tolist() == [[5], [7]]


def test_the_last_reachable_sum_decides() -> None:
    # 3 x 7 + 3 = 24 fits 6 signed bits, 25 does not fit SAT's 24 either
    def chain(width: int, terms: int) -> Graph:
        build, fmt = GraphBuilder(), Format(False, width, width, Rounding.TRN, Overflow.SAT)
        x = build.cast(build.input("x", (terms,), Format(False, 3, 3)), fmt)
        order = tuple(range(terms))
        y = build.apply("accumulate", x, format=fmt, kind="chain", order=order)
        return build.graph((y.name,))

    assert operations(simplify(chain(5, 4))) == ["cast", "sum", "cast"]  # 28 of 31
    assert operations(simplify(chain(5, 5))) == ["cast", "accumulate"]  # 35 of 31


@pytest.mark.parametrize("kind", ["tree", "chain"])
def test_an_intermediate_sum_that_saturates_keeps_the_accumulator(kind: str) -> None:
    # 7 + 7 saturates although the total fits: -1, not -2
    build, fmt = GraphBuilder(), Format(True, 4, 4, Rounding.TRN, Overflow.SAT)
    x = build.input("x", (4,), Format(False, 1, 1))
    terms = build.apply("mul", x, build.integers([7, 7, -8, -8], fmt))
    total = build.cast(build.apply("add", terms, build.integers([0, 0, 0, 0], fmt)), fmt)
    order = () if kind == "tree" else (0, 1, 2, 3)
    y = build.apply("accumulate", total, format=fmt, kind=kind, order=order)
    graph = build.graph((y.name,))
    ones = {"x": np.ones((1, 4), dtype=object)}
    expected = -1 if kind == "tree" else -8
    assert run(graph, ones, [y.name])[0].tolist() == [expected]
    assert run(simplify(graph), ones, [y.name])[0].tolist() == [expected]


def constants_accumulated(terms: list[int], fmt: Format, kind: str) -> tuple[Graph, Tensor]:
    build = GraphBuilder()
    build.input("x", (1,), fmt)
    order = () if kind == "tree" else tuple(range(len(terms)))
    fixed = build.integers(terms, fmt.lossless)
    y = build.apply("accumulate", fixed, format=fmt, kind=kind, order=order)
    return build.graph((y.name,)), y


@pytest.mark.parametrize(
    ("terms", "overflow", "kind", "expected"),
    [
        ([7, 7, -8, -8], Overflow.SAT, "tree", -1),
        ([7, 7, -8, -8], Overflow.SAT, "chain", -8),
        ([-4, -4, 3], Overflow.SAT_SYM, "chain", -4),  # -8 becomes -7
        ([-4, -4, 1, 1], Overflow.SAT_SYM, "tree", -5),
        ([7, 7, -8, -8], Overflow.SAT_ZERO, "chain", 0),
        ([7, 7, -8, -8], Overflow.WRAP, "tree", -2),
    ],
)
def test_partial_sums_of_known_terms(
    terms: list[int], overflow: Overflow, kind: str, expected: int
) -> None:
    graph, y = constants_accumulated(terms, Format(True, 4, 4, Rounding.TRN, overflow), kind)
    for each in (graph, simplify(graph)):
        assert run(each, {"x": np.zeros((1, 1))}, [y.name])[0].tolist() == [expected]
        interval = propagate_ranges(each)[y.name]
        assert interval.minimum <= expected <= interval.maximum


@pytest.mark.parametrize(
    ("target", "bounded"),
    [
        (Format(True, 4, 2), 1),
        (Format(True, 3, 1), 0),
        (Format(False, 4, 2), 0),
        (Format(True, 4, 2, Rounding.TRN, Overflow.SAT_SYM), 0),  # the minimum moves
        (Format(True, 5, 3, Rounding.TRN, Overflow.SAT_SYM), 1),
        (Format(True, 3, 2, Rounding.RND, Overflow.SAT), 0),  # 1.75 rounds up to 2
        (Format(True, 3, 2, Rounding.TRN, Overflow.SAT), 1),
    ],
)
def test_casts_that_cannot_overflow_are_marked(target: Format, bounded: int) -> None:
    build = GraphBuilder()
    y = build.cast(build.input("x", (2,), Format(True, 4, 2)), target)
    graph = build.graph((y.name,))
    (node,) = bound_casts(graph, propagate_ranges(graph)).nodes
    assert node.attrs["bounded"] == bounded


def test_narrower_inputs_open_more() -> None:
    graph = dense(Format(True, 7, 3, Rounding.TRN, Overflow.SAT))
    narrow = {"x": Interval(np.array([0, 0, 0]), np.array([1, 1, 1]))}
    opened = open_accumulators(graph, propagate_ranges(graph, narrow))
    assert "accumulate" not in operations(opened)


@given(st.integers(1, 12))
def test_trees_open_for_any_number_of_terms(count: int) -> None:
    fmt = Format(True, 10, 10, Rounding.TRN, Overflow.SAT)
    graph, y = constants_accumulated([3 * i - 7 for i in range(count)], fmt, "tree")
    opened = simplify(graph)
    assert "accumulate" not in operations(opened)
    got = run(opened, {"x": np.zeros((1, 1))}, [y.name])[0]
    assert got.tolist() == [sum(3 * i - 7 for i in range(count))]


ZERO_CLAMP: list[tuple[Format, int, bool]] = [
    (Format(False, 3, 2, Rounding.RND, Overflow.SAT), 0, True),
    (Format(False, 3, 2, Rounding.RND_CONV, Overflow.SAT_SYM), 0, True),
    (Format(False, 3, 2, Rounding.TRN, Overflow.WRAP), 0, False),
    (Format(False, 3, 2, Rounding.TRN, Overflow.SAT_ZERO), 0, False),
    (Format(True, 3, 2, Rounding.TRN, Overflow.SAT), 0, False),
    (Format(False, 3, 2, Rounding.TRN, Overflow.SAT), 1, False),
]


@pytest.mark.parametrize(("target", "limit", "dropped"), ZERO_CLAMP)
def test_a_clamp_goes_only_where_the_cast_does_the_same(
    target: Format, limit: int, dropped: bool
) -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 6, 4))
    y = build.cast(build.apply("max", x, build.number(limit, x, Format(False, 4, 2))), target)
    graph = build.graph((y.name,))
    simpler = simplify(graph)
    assert ("max" not in operations(simpler)) is dropped
    everything = {"x": np.arange(-32, 32).reshape(-1, 1)}
    before, after = (run(each, everything, [y.name])[0] for each in (graph, simpler))
    assert np.array_equal(before, after)
