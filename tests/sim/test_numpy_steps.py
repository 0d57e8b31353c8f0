"""Joined steps: what they save is there, and every bit is what the separate steps give."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Carrier, Format, Graph, Overflow, Rounding
from samebits.sim import numpy_engine
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.numpy_steps import join_scaled

from ..oracle import evaluate, lsb
from ..strategies import arrays, formats

EVENTS = 4


@st.composite
def affine_casts(draw: Any) -> tuple[Graph, Any, int]:
    """A product with constants, some additions of constants and a cast; inputs; additions."""
    inputs = draw(formats(1, 12, plain=True))
    weights, biases = draw(formats(1, 30, plain=True)), draw(formats(1, 40, plain=True))
    build = GraphBuilder()
    op = draw(st.sampled_from(("dot", "mul")))
    shape = (3, 1) if op == "dot" else (2,)
    x = build.input("x", shape, inputs)
    # zero bits at the end, as a coarse grid in a fine type has them
    weight = draw(arrays(weights, (3, 2) if op == "dot" else (2,)))
    kept = draw(st.integers(0, weights.width - 1))
    weight = np.vectorize(lambda w: w >> kept << kept, otypes=[object])(weight)
    if draw(st.booleans()):  # an operand with memory of its own
        x = build.apply("mul", x, build.integers(np.ones(shape, int), Format(False, 1, 1)))
    places = [x, build.integers(weight, weights)]
    y = build.apply(op, *(places if draw(st.booleans()) else reversed(places)))
    additions = draw(st.integers(0, 2))
    for _ in range(additions):
        bias = build.integers(draw(arrays(biases, (2,))), biases)
        y = build.apply("add", *((y, bias) if draw(st.booleans()) else (bias, y)))
    y = build.cast(y, draw(formats(1, 24)), name="y")
    return build.graph((y.name,)), draw(arrays(inputs, (EVENTS, *shape))), additions


@given(case=affine_casts())
def test_joined_steps_equal_the_oracle(case: tuple[Graph, Any, int]) -> None:
    graph, mantissas, _ = case
    fmt = graph.tensors["y"].format
    values = (mantissas * lsb(graph.tensors["x"].format)).astype(np.float64)
    with mock.patch.object(numpy_engine, "_LEAST_POOLED", 1):
        (got,) = NumpyEngine(graph).run([values], ["y"])
    expected = [evaluate(graph, {"x": event})["y"] for event in mantissas]
    assert got.tolist() == [[float(m * lsb(fmt)) for m in event] for event in expected]


def dense(bits: int, weights: Any, bias: Any, result: Format) -> Graph:
    build = GraphBuilder()
    x = build.input("x", (2, 1), Format(True, bits, bits))
    y = build.apply("dot", x, build.integers(weights, Format(True, 30, 30)), name="product")
    y = build.apply("add", y, build.integers(bias, Format(True, 30, 30)), name="sum")
    y = build.cast(y, result, name="y")
    return build.graph((y.name,))


ROUNDED = Format(True, 8, 12, Rounding.RND_CONV, Overflow.SAT)


def steps_of(graph: Graph, *wanted: str) -> list[Any]:
    engine = NumpyEngine(graph)
    return join_scaled(engine._steps, frozenset(wanted))


def test_a_dense_layer_is_one_step() -> None:
    graph = dense(6, [[3, -5], [7, 2]], [1, -1], ROUNDED)
    assert [step.op for step in steps_of(graph, "y")] == ["joined"]


@pytest.mark.parametrize("seen", ["product", "sum"])
def test_what_is_asked_for_is_not_joined_away(seen: str) -> None:
    graph = dense(6, [[3, -5], [7, 2]], [1, -1], ROUNDED)
    assert seen in [step.output for step in steps_of(graph, "y", seen)]
    x = np.array([[[3.0], [-4.0]]])
    value, y = NumpyEngine(graph).run([x], [seen, "y"])
    assert value.tolist() == [[-19, -23] if seen == "product" else [-18, -24]]
    assert y.tolist() == [[-16, -32]]  # -18 / 16 and the tie -24 / 16, to even


@pytest.mark.parametrize(
    ("weight", "carrier"), [(1 << 20, Carrier.FLOAT32), ((1 << 20) + 1, Carrier.FLOAT64)]
)
def test_a_coarse_grid_in_a_fine_type_needs_only_float32(weight: int, carrier: Carrier) -> None:
    graph = dense(8, [[weight, 0], [0, weight]], [0, 0], Format(True, 20, 30))
    (step,) = steps_of(graph, "y")
    assert step.carrier is carrier
    x = np.array([[[-128.0], [127.0]]])
    expected = [-128 * weight // 1024 * 1024, 127 * weight // 1024 * 1024]
    assert NumpyEngine(graph).run([x], ["y"])[0].tolist() == [expected]


def two_layers(half: bool) -> Graph:
    """A product of each input, and a dense layer of all or half of them."""
    build = GraphBuilder()
    x = build.input("x", (4,), Format(True, 4, 4))
    inner = build.apply("mul", x, build.integers([1, 2, 3, 4], Format(True, 4, 4)), name="inner")
    first = build.integers([0, 1], Format(False, 1, 1))
    used = build.apply("gather", inner, first) if half else inner  # a view
    count = 2 if half else 4
    column = build.apply("reshape", used, shape=(count, 1))
    weight = build.integers(np.arange(2 * count).reshape(count, 2), Format(True, 4, 4))
    y = build.apply("dot", column, weight)
    y = build.apply("add", y, build.integers([1, 5], Format(True, 5, 5)))
    y = build.cast(y, Format(True, 8, 9, Rounding.TRN, Overflow.SAT), name="y")
    return build.graph((y.name, inner.name))


@pytest.mark.parametrize("half", [False, True])
def test_biases_are_a_row_of_ones_where_it_harms_nobody(
    half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_engine, "_LEAST_POOLED", 1)
    graph = two_layers(half)
    engine = NumpyEngine(graph)
    x = np.array([[1.0, -2.0, 3.0, -4.0], [5.0, 6.0, -7.0, 7.0], [0.0, 1.0, 0.0, 1.0]])
    y, inner = engine.run([x], ["y", "inner"])
    plan = next(iter(engine._plans.values()))
    assert [p.ones for p in plan if p.step.op == "joined"] == [None if half else 0]
    assert inner.tolist() == (x * [1, 2, 3, 4]).tolist()
    used = inner[:, :2] if half else inner
    exact = used @ np.arange(2 * used.shape[1]).reshape(-1, 2) + [1, 5]
    assert y.tolist() == np.clip(np.floor(exact / 2) * 2, -256, 254).tolist()


def test_memory_is_used_again(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_engine, "_LEAST_POOLED", 1)
    graph = dense(6, [[3, -5], [7, 2]], [1, -1], ROUNDED)
    engine = NumpyEngine(graph)
    x = rng.integers(-32, 32, (50, 2, 1)).astype(np.float32)
    first = engine.run([x], ["y", "sum"])
    (pool,) = engine._pools
    blocks = {id(block) for block in pool._free}
    again = engine.run([-x], ["y", "sum"])
    assert blocks
    assert blocks == {id(block) for block in engine._pools[0]._free}
    assert all(
        np.array_equal(a, b) for a, b in zip(first, engine.run([x], ["y", "sum"]), strict=True)
    )
    assert not np.array_equal(first[0], again[0])


def test_a_lookup_never_writes_over_what_it_reads() -> None:
    build = GraphBuilder()
    x = build.input("x", (4,), Format(False, 2, 2))
    table = build.apply("mul", x, build.integers([3, 5, 7, 2], Format(False, 3, 3)))  # own memory
    y = build.apply("lookup", x, table, name="y")  # of the table's shape
    engine = NumpyEngine(build.graph((y.name,)))
    assert not any(step.overwritable for step in engine._steps if step.op == "lookup")
    for events in ([[2, 0, 1, 3]], [[2, 0, 1, 3], [3, 1, 2, 0]]):
        expected = [[(3 * e[0], 5 * e[1], 7 * e[2], 2 * e[3])[k] for k in e] for e in events]
        assert engine.run([np.array(events, dtype=np.float64)], ["y"])[0].tolist() == expected
