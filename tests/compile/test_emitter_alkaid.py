"""alkaid's own bit-exact interpreter against the NumPy engine: mantissas, no tolerance."""

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.alkaid import EMITTERS, to_alkaid, trace
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.lowering import lower
from samebits.compile.ops import OPERATIONS
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine

from ..corpus.runner import load_arrays, load_graph
from ..strategies import Case, networks, operation_cases

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")

CASES = Path(__file__).parents[1] / "corpus" / "cases"
NETWORKS = (
    "qkeras__relu_negative_slope__io_parallel-Vivado-quantizer1__ceb6ff",
    "qkeras__btnn__io_parallel-Vivado-4-10-kernel_quantizer3-bias_quantizer3-te__4291dd",
    "softmax__softmax__16-6-input_shape2-18-8-io_parallel-True-stable-Vitis__b1115f",
    "softmax_impl__softmax__16-6-input_shape0-18-8-io_parallel-False-argmax-Vitis__f96938",
    "trace__trace__relu-Vitis__991717",
)


def values(graph: Graph, name: str, mantissas: Any) -> Any:
    exact = [float(int(m)) * graph.tensors[name].format.lsb for m in np.asarray(mantissas).flat]
    return np.array(exact, dtype=np.float64).reshape(np.shape(mantissas))


def differences(graph: Graph, mantissas: Mapping[str, Any]) -> int:
    """Numbers on which interpreter and engine differ; mantissas: batch axis first."""
    inputs = [values(graph, name, mantissas[name]) for name in graph.inputs]
    logic = to_alkaid(graph)
    events = len(inputs[0])
    got = logic.predict(np.concatenate([x.reshape(events, -1) for x in inputs], 1), n_threads=1)
    outputs = NumpyEngine(graph).run(inputs, list(graph.outputs))
    expected = np.concatenate([y.reshape(events, -1) for y in outputs], 1)
    assert got.shape == expected.shape
    return int((got != expected).sum())


def whole_format(fmt: Format) -> Any:
    """Every mantissa of a format once."""
    return np.arange(fmt.min_mantissa, fmt.max_mantissa + 1)


def test_every_operation_has_an_emitter() -> None:
    assert EMITTERS.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("op", sorted(OPERATIONS))
@given(data=st.data())
def test_operation_equals_the_engine(op: str, data: st.DataObject) -> None:
    width = data.draw(st.sampled_from((5, 12, 26)))
    case: Case = data.draw(operation_cases(op, width))
    constant_table = op != "lookup" or case.graph.nodes[0].inputs[1] in case.graph.constants
    if not case.inputs:
        return
    if width > 12 or not constant_table:  # exact, or refused for it
        with contextlib.suppress(errors.UnsupportedError):
            assert differences(case.graph, case.inputs) == 0
    else:
        assert differences(case.graph, case.inputs) == 0


@given(case=networks())
def test_network_equals_the_engine(case: Case) -> None:
    for graph in (case.graph, simplify(case.graph)):
        try:
            different = differences(graph, case.inputs)
        except errors.UnsupportedError as error:
            refused = str(error)
        else:
            refused = ""
            assert different == 0
        assert not refused or "is wider than alkaid holds exactly" in refused


SOURCES = [Format(True, 8, 3), Format(False, 7, 3), Format(True, 4, -3), Format(False, 3, 6)]
GRIDS = [(4, 2), (3, 5), (6, 1), (1, 1), (2, -2), (10, 4), (0, 0), (5, 6)]  # width, integer bits


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_cast_in_all_modes_on_every_input(source: Format) -> None:
    build = GraphBuilder()
    x = build.input("x", (), source)
    outputs = [
        build.cast(x, Format(signed, width, integer, rounding, overflow)).name
        for signed in (True, False)
        for width, integer in GRIDS
        for rounding in Rounding
        for overflow in Overflow
    ]
    assert differences(build.graph(tuple(outputs)), {"x": whole_format(source)}) == 0


@pytest.mark.parametrize("overflow", Overflow)
def test_cast_to_limits_longer_than_a_float32(overflow: Overflow) -> None:
    build = GraphBuilder()
    x = build.input("x", (), Format(True, 50, 30))
    y = build.cast(x, Format(True, 32, 16, Rounding.RND_CONV, overflow))
    rng = np.random.default_rng(3)
    edge = 1 << 35
    near = [sign * edge + d for sign in (1, -1) for d in range(-40, 40)]
    far = rng.integers(x.format.min_mantissa, x.format.max_mantissa, 2000)
    mantissas = np.array([*near, *far, x.format.min_mantissa, x.format.max_mantissa])
    assert differences(build.graph((y.name,)), {"x": mantissas}) == 0


@pytest.mark.parametrize("source", [Format(True, 9, 4), Format(False, 8, 12)], ids=str)
def test_divide_every_input_by_many_numbers(source: Format) -> None:
    build = GraphBuilder()
    divisors = [*range(1, 20), 25, 49, 63, 64, 65, 127, 255, 256, 257, 300, 999, 65535]
    x = build.input("x", (1,), source)
    y = build.apply("divide", x, build.integers(divisors, Format(False, 16, 16)))
    assert differences(build.graph((y.name,)), {"x": whole_format(source)[:, None]}) == 0


def test_divide_wide_numbers() -> None:
    rng = np.random.default_rng(7)
    source = Format(True, 27, 13)
    build = GraphBuilder()
    y = build.apply(
        "divide",
        build.input("x", (1,), source),
        build.integers([3, 9, 36, 196], Format(False, 8, 8)),
    )
    multiples = rng.integers(-(2**18), 2**18, 500) * 196 + rng.integers(-1, 2, 500)
    ends = np.array([source.min_mantissa, source.min_mantissa + 1, source.max_mantissa])
    anything = rng.integers(source.min_mantissa, source.max_mantissa, 500)
    mantissas = np.concatenate([multiples, ends, anything])[:, None]
    assert differences(build.graph((y.name,)), {"x": mantissas}) == 0


def test_convolution_with_positions_channels_and_groups() -> None:
    rng = np.random.default_rng(8)
    build = GraphBuilder()
    x = build.input("x", (6, 2), Format(True, 6, 3))
    places = np.array([[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]])
    patches = build.apply("gather", x, build.integers(places, Format(False, 3, 3)))  # (3, 4, 2)
    patches = build.reshape(patches, (3, 4, 2, 1))
    kernel = build.integers(rng.integers(-31, 32, (3, 1, 2, 5)), Format(True, 6, 1))
    whole = build.apply("dot", patches, kernel)
    cut = build.apply("truncated_dot", kernel, patches, bits=3)
    graph = build.graph((whole.name, cut.name))
    assert differences(graph, {"x": rng.integers(-32, 32, (200, 6, 2))}) == 0


def test_large_table_of_wide_entries() -> None:
    rng = np.random.default_rng(4)
    entry, index = Format(True, 40, 10), Format(False, 10, 3)
    build = GraphBuilder()
    table = build.integers(rng.integers(entry.min_mantissa, entry.max_mantissa, 1024), entry)
    y = build.apply("lookup", build.input("x", (), index), table)
    assert differences(build.graph((y.name,)), {"x": whole_format(index)}) == 0


def test_long_saturating_chain() -> None:
    rng = np.random.default_rng(5)
    build = GraphBuilder()
    target = Format(True, 6, 3, overflow=Overflow.SAT)
    x = build.input("x", (400, 2), target.lossless)
    y = build.apply("accumulate", x, format=target, kind="chain", order=tuple(range(400)))
    before = sys.getrecursionlimit()
    assert differences(build.graph((y.name,)), {"x": rng.integers(-32, 32, (50, 400, 2))}) == 0
    assert sys.getrecursionlimit() == before


@pytest.mark.parametrize("name", NETWORKS)
def test_lowered_network_equals_the_engine(name: str) -> None:
    lowered = lower(load_graph(CASES / name))
    rng = np.random.default_rng(6)
    recorded = load_arrays(CASES / name / "inputs.npz", "x")
    mantissas = {}
    for tensor, x in zip(lowered.tensors_of(lowered.inputs), recorded, strict=True):
        engine = NumpyEngine(lowered).run([x.reshape(len(x), *tensor.shape)], [tensor.name])[0]
        fmt = tensor.format
        ends = np.array([fmt.min_mantissa, -1, 0, 1, fmt.max_mantissa])
        extreme = ends[rng.integers(0, 5, (100, *tensor.shape))]
        anything = rng.integers(fmt.min_mantissa, fmt.max_mantissa + 1, (300, *tensor.shape))
        mantissas[tensor.name] = np.concatenate([engine / fmt.lsb, extreme, anything])
    for graph in (lowered, simplify(lowered)):
        assert differences(graph, mantissas) == 0


def test_ports_follow_the_graph_and_report_progress() -> None:
    build = GraphBuilder()
    a = build.input("a", (2,), Format(True, 4, 2))
    nothing = build.input("nothing", (3,), Format(False, 0, 0))
    b = build.input("b", (1,), Format(False, 3, 3))
    y = build.apply("add", a, b)
    graph = build.graph((nothing.name, y.name))
    steps: list[tuple[int, int]] = []
    traced = trace(graph, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 1)]
    logic = traced.logic()
    assert logic.shape == (6, 5)
    got = logic.predict(np.array([[0.25, -1.5, 0, 0, 0, 7.0]]), n_threads=1)
    assert got.tolist() == [[0.0, 0.0, 0.0, 7.25, 5.5]]


def test_too_large_a_graph_is_refused_before_tracing() -> None:
    build = GraphBuilder()
    x = build.input("x", (300, 200), Format(True, 4, 2))
    graph = build.graph((build.apply("add", x, x).name,))
    with pytest.raises(errors.UnsupportedError) as error:
        to_alkaid(graph)
    assert str(error.value) == (
        "as unrolled logic this network is 60,000 operations on single numbers (add 60,000), more "
        "than the limit of 50,000 (max_operations)"
    )


def test_missing_emitter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(EMITTERS, "add")
    build = GraphBuilder()
    a = build.input("a", (2,), Format(True, 4, 2))
    graph = build.graph((build.apply("add", a, a).name,))
    with pytest.raises(errors.UnsupportedError) as error:
        to_alkaid(graph)
    assert str(error.value) == f"alkaid: no emitter for add; supported: {', '.join(EMITTERS)}"


def test_missing_alkaid_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alkaid", None)
    build = GraphBuilder()
    a = build.input("a", (2,), Format(True, 4, 2))
    with pytest.raises(errors.MissingToolError) as error:
        to_alkaid(build.graph((a.name,)))
    assert str(error.value) == (
        "alkaid is not installed; it estimates latency and resources; "
        'install it with: pip install "samebits[rtl]"'
    )


def test_numbers_that_alkaid_cannot_hold_are_refused() -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 40, 20))
    graph = build.graph((build.apply("mul", x, x).name,))
    with pytest.raises(errors.UnsupportedError, match="is wider than alkaid holds exactly"):
        to_alkaid(graph)


def test_variable_table_is_refused() -> None:
    build = GraphBuilder()
    index = build.input("i", (1,), Format(False, 1, 1))
    table = build.input("t", (2,), Format(True, 4, 4))
    with pytest.raises(errors.UnsupportedError) as error:
        to_alkaid(build.graph((build.apply("lookup", index, table).name,)))
    assert str(error.value) == "alkaid: lookup: table t is not a constant"
