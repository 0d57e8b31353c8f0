"""Constants folded: the same graph with fewer nodes."""

import numpy as np

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.passes import fold_constants
from samebits.sim.numpy_engine import NumpyEngine


def test_an_operation_on_constants_becomes_a_constant() -> None:
    build = GraphBuilder()
    x = build.input("x", (3,), Format(True, 8, 4))
    rounded = Format(True, 6, 4, Rounding.RND, Overflow.SAT)
    bias = build.cast(build.integers([5, -7, 100], Format(True, 9, 3), "bias"), rounded)
    y = build.apply("add", x, build.apply("add", bias, bias))
    graph = build.graph((y.name,))
    folded = fold_constants(graph)
    assert [node.op for node in graph.nodes] == ["cast", "add", "add"]
    assert [node.op for node in folded.nodes] == ["add"]
    (constant,) = folded.constants.values()
    assert constant.dtype == np.int64
    assert constant.tolist() == [0, 0, 12]  # 5/64, -7/64 and 100/64 in steps of 1/4, twice
    events = np.array([[0.0, 1.0, -2.5], [7.9375, -8.0, 0.0625]])
    expected, got = (NumpyEngine(g).run([events], [y.name])[0] for g in (graph, folded))
    assert np.array_equal(expected, got)


def test_an_output_may_be_a_constant_and_wider_than_63_bits() -> None:
    build = GraphBuilder()
    build.input("x", (1,), Format(True, 8, 4))
    wide = build.integers(np.array([1 << 62], dtype=object), Format(False, 63, 63), "wide")
    y = build.apply("mul", wide, wide)
    folded = fold_constants(build.graph((y.name,)))
    assert folded.nodes == ()
    assert folded.constants[y.name].tolist() == [1 << 124]
    assert NumpyEngine(folded).run([np.zeros((2, 1))], [y.name])[0].tolist() == [[2.0**124]] * 2
