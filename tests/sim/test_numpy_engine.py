"""The NumPy engine: chunks, carriers, traces, and what it gives for constants and no events."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Carrier, Format, Graph, Overflow, Rounding
from samebits.compile.passes import simplify
from samebits.sim import numpy_engine
from samebits.sim.numpy_engine import NumpyEngine

from ..oracle import cast, evaluate, lsb
from ..strategies import EVENTS, MAKERS, Case, operation_cases

FMT = Format(True, 8, 4)


def doubled(fmt: Format = FMT) -> Graph:
    build = GraphBuilder()
    x = build.input("x", (3,), fmt)
    y = build.cast(build.apply("add", x, x, name="sum"), Format(True, 8, 4), name="y")
    build.layer("double", "Dense", y)
    return build.graph((y.name,))


@pytest.mark.parametrize("op", sorted(MAKERS))
def test_engine_equals_the_oracle(op: str) -> None:
    @given(case=operation_cases(op, 12))
    def check(case: Case) -> None:
        (name,) = case.graph.outputs
        fmt = case.graph.tensors[name].format
        fed = [case.inputs[x] * lsb(case.graph.tensors[x].format) for x in case.graph.inputs]
        if not fed:
            return
        got = NumpyEngine(case.graph).run([x.astype(np.float64) for x in fed], [name])[0]
        events = [evaluate(case.graph, case.event(number))[name] for number in range(EVENTS)]
        expected = np.array([[float(m * lsb(fmt)) for m in event.flat] for event in events])
        assert np.array_equal(got.reshape(EVENTS, -1), expected)

    check()


def test_raw_inputs_are_cast_like_doubles(rng: np.random.Generator) -> None:
    fmt = Format(True, 8, 4, Rounding.RND, Overflow.SAT)
    x = rng.normal(0, 5, (50, 3))
    got = NumpyEngine(doubled(fmt)).run([x], ["x"])[0]
    assert got.tolist() == [[float(cast_value(v, fmt)) for v in row] for row in x.tolist()]


def test_an_ap_int_input_takes_small_negative_numbers_for_one() -> None:
    # ap_int_base.h, ap_int_base(double): -1 for the dropped bits, then the sign is changed
    x = np.array([[-0.75, -0.5, -0.25], [-1e-30, 0.25, -1.25]])
    graph = doubled(Format(True, 4, 4, Rounding.TRN_ZERO, Overflow.WRAP))
    assert NumpyEngine(graph).run([x], ["x"])[0].tolist() == [[0, 0, 1], [1, 0, -1]]
    finer = doubled(Format(True, 4, 4, Rounding.TRN_ZERO, Overflow.SAT))
    assert NumpyEngine(finer).run([x], ["x"])[0].tolist() == [[0, 0, 0], [0, 0, -1]]


def cast_value(value: float, fmt: Format) -> Any:
    return cast(Fraction(value), fmt) * lsb(fmt)


@pytest.mark.parametrize("elements", [1, 3, 7, 1000])
def test_chunks_do_not_change_anything(
    elements: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    x = rng.normal(0, 3, (10, 3)).astype(np.float32)
    whole = NumpyEngine(doubled()).run([x], ["y", "sum", "x"])
    monkeypatch.setattr(numpy_engine, "_CHUNK_ELEMENTS", elements)
    done: list[int] = []
    parts = NumpyEngine(doubled()).run([x], ["y", "sum", "x"], done.append)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert done[-1] == 10
    assert done == sorted(set(done))


def test_no_events_give_empty_arrays_of_the_right_shape() -> None:
    (got,) = NumpyEngine(doubled()).run([np.zeros((0, 3))], ["y"])
    assert (got.shape, got.dtype) == ((0, 3), np.float64)


def test_constants_are_the_same_for_every_event() -> None:
    build = GraphBuilder()
    build.input("x", (1,), FMT)
    c = build.integers([1, -2], FMT, "c")
    y = build.cast(c, Format(True, 4, 2), name="y")
    got = NumpyEngine(build.graph((y.name, c.name))).run([np.zeros((3, 1))], [y.name, c.name])
    assert [x.tolist() for x in got] == [[[0, -0.25]] * 3, [[0.0625, -0.125]] * 3]


def test_wide_constants_are_the_same_for_every_event() -> None:
    build = GraphBuilder()
    build.input("x", (1,), FMT)
    c = build.integers([2**70, -(2**69)], Format(True, 80, 20), "c")
    y = build.cast(c, Format(True, 75, 15), name="y")
    got = NumpyEngine(build.graph((y.name, c.name))).run([np.zeros((3, 1))], [y.name, c.name])
    assert [x.tolist() for x in got] == [[[2.0**10, -(2.0**9)]] * 3] * 2


def test_every_carrier_is_used_where_it_is_needed() -> None:
    def product(width: int) -> Carrier:
        build = GraphBuilder()
        x = build.input("x", (1,), Format(False, width, width))
        y = build.apply("mul", x, x, name="y")
        return NumpyEngine(build.graph((y.name,))).carriers["y"]

    widths = (12, 13, 26, 27, 31, 32)
    assert [product(width).value for width in widths] == [
        "float32",
        "float64",
        "float64",
        "int64",
        "int64",
        "python",
    ]


def test_sums_beyond_one_carrier_stay_exact() -> None:
    # 2**24 + 1 is no float32 and 2**53 + 1 no float64: the last bit must survive
    for width in (25, 54, 70):
        build = GraphBuilder()
        x = build.input("x", (2,), Format(False, 2, 2))
        big = build.integers([[1 << width - 1], [1]], Format(False, width, width))
        y = build.apply("dot", build.reshape(x, (2, 1)), big)
        low = build.cast(y, Format(False, 4, 4))
        for graph in (build.graph((low.name,)), simplify(build.graph((low.name,)))):
            assert NumpyEngine(graph).run([np.array([[3.0, 1.0]])], [low.name])[0] == [[1]]
