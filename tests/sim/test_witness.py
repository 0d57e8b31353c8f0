"""Witnesses: found where there are any, exact, and never claimed where there are none."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Interval, Overflow, Rounding, Tensor
from samebits.compile.passes import propagate_ranges
from samebits.compile.passes.overflow import overflow_sites
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.witness import Box, Reach, find_witnesses

from ..oracle import evaluate

SAT = Overflow.SAT


def search(
    graph: Graph,
    bounds: dict[str, tuple[Any, Any]] | None = None,
    seconds: float = 20,
    events: list[Any] | None = None,
) -> dict[str, Reach]:
    """What the search reaches at all casts and accumulators, by tensor."""
    intervals = {
        name: Interval(*(np.broadcast_to(np.array(x), graph.tensors[name].shape) for x in pair))
        for name, pair in (bounds or {}).items()
    }
    ranges = propagate_ranges(graph, intervals)
    return find_witnesses(
        graph,
        overflow_sites(graph, ranges),
        [Box.of(ranges[name]) for name in graph.inputs],
        {name: interval.magnitude for name, interval in ranges.items()},
        events=events,
        seconds=seconds,
        seed=3,
    )


def products(build: GraphBuilder, x: Tensor, weights: Any) -> Tensor:
    matrix = build.integers(weights, Format(True, 6, 3))
    return build.apply("mul", build.reshape(x, (len(weights), 1)), matrix)


def at_the_edge(build: GraphBuilder, x: Tensor, weights: Any, sign: int) -> tuple[Graph, int]:
    """A linear layer that overflows its type by one unit, at one corner of the inputs only."""
    total = build.apply("sum", products(build, x, weights))
    exact = propagate_ranges(build.graph((total.name,)))[total.name]
    edge = (1 << 13) if sign > 0 else -(1 << 13) - 1
    ends = exact.high if sign > 0 else exact.low
    bias = build.integers(edge - ends, Format(True, 18, 18 - total.format.fraction))
    shifted = build.apply("add", total, bias)
    y = build.cast(shifted, Format(True, 14, 14 - shifted.format.fraction), name="y")
    return build.graph((y.name,)), edge


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("features", [3, 40])
def test_the_extreme_corner_of_a_linear_layer_is_found(
    features: int, sign: int, rng: np.random.Generator
) -> None:
    for _ in range(4):
        build = GraphBuilder()
        x = build.input("x", (features,), Format(True, 5, 3))
        weights = rng.integers(1, 6, (features, 2)) * rng.choice([-1, 1], (features, 2))
        graph, edge = at_the_edge(build, x, weights, sign)
        reach = search(graph)["y"]
        assert (reach.high if sign > 0 else reach.low) == edge
        witness = reach.witness
        assert witness is not None
        assert (witness.origin, witness.partial_sum) == ("searched", None)
        lsb = graph.tensors["y"].format.lsb
        assert witness.value == edge * lsb
        assert witness.becomes == (edge - sign * (1 << 14)) * lsb
        # the corner by the signs of the weights, and no other
        column = sign * weights[:, witness.element[0]]
        assert witness.inputs[0].tolist() == np.where(column > 0, 3.75, -4.0).tolist()
        (values,) = NumpyEngine(graph).run([witness.inputs[0][None]], ["y"])
        assert values[(0, *witness.element)] == witness.becomes


def test_inputs_stay_in_their_box(rng: np.random.Generator) -> None:
    build = GraphBuilder()
    x = build.input("x", (6,), Format(True, 8, 4))
    y = build.cast(build.apply("sum", products(build, x, rng.integers(-31, 31, (6, 4)))),
                   Format(True, 6, 4), name="y")  # fmt: skip
    low, high = -rng.integers(0, 60, 6), rng.integers(0, 60, 6)
    witness = search(build.graph((y.name,)), {"x": (low, high)})["y"].witness
    assert witness is not None
    assert (low / 16 <= witness.inputs[0]).all()
    assert (witness.inputs[0] <= high / 16).all()


def test_nothing_is_claimed_where_nothing_overflows() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 4, 2))
    # |x0| + |x1| is 4 at most: -4 fits a type of -4 .. 3.75, +4 does not
    zero = build.integers([0, 0], Format(True, 2, 2))
    negative = build.apply("min", x, build.apply("sub", zero, x))
    y = build.cast(build.apply("sum", negative), Format(True, 5, 3), name="y")
    square = build.apply("mul", x, x)
    z = build.cast(build.apply("sum", square), Format(False, 7, 3), name="z")  # 8 is too much
    reach = search(build.graph((y.name, z.name)))
    assert reach["y"].witness is None
    assert (reach["y"].low, reach["y"].high) == (-16, 0)
    assert reach["z"].witness is not None
    assert reach["z"].witness.inputs[0].tolist() == [-2.0, -2.0]


def test_behind_a_nonlinear_layer(rng: np.random.Generator) -> None:
    """The largest output of a two-layer network, known by trying every corner of its inputs."""
    build = GraphBuilder()
    x = build.input("x", (10,), Format(True, 4, 2))
    hidden = build.apply("sum", products(build, x, rng.integers(-20, 20, (10, 8))))
    h = build.cast(
        build.apply("max", hidden, build.integers([0] * 8, Format(True, 2, 2))),
        Format(False, 10, 6, Rounding.RND, SAT),
        name="h",
    )
    y = build.apply("sum", products(build, h, rng.integers(-20, 20, (8, 1))), name="sum")
    corners = np.array(list(product((-2.0, 1.75), repeat=10)))
    best = NumpyEngine(build.graph(("sum",))).run([corners], ["sum"])[0].max()
    # a type that holds everything up to one unit less
    fraction = y.format.fraction
    bias = build.integers([(1 << 19) - int(best * 2**fraction)], Format(True, 20, 20 - fraction))
    z = build.cast(build.apply("add", y, bias), Format(True, 20, 20 - fraction), name="z")
    reach = search(build.graph((z.name,)))["z"]
    assert reach.witness is not None
    assert reach.high is not None
    assert reach.high >= 1 << 19


@pytest.mark.parametrize("kind", ["chain", "tree"])
def test_a_partial_sum_of_a_saturating_accumulator(kind: str) -> None:
    """1.5 + 1.5 - 2 x: only what is added first leaves the type, and only where x is large."""
    build = GraphBuilder()
    fmt = Format(True, 5, 3, Rounding.TRN, SAT)
    x = build.input("x", (1,), Format(True, 4, 3))
    terms = build.cast(
        build.apply(
            "concat", build.integers([5], Format(True, 4, 2)), x, x, build.integers([-8, -8], fmt)
        ),
        fmt,
    )
    order = (0, 1, 2, 3, 4) if kind == "chain" else ()
    y = build.apply("accumulate", terms, format=fmt, kind=kind, order=order, name="y")
    graph = build.graph((y.name,))
    witness = search(graph)["y"].witness
    assert witness is not None
    number = 2 * int(witness.inputs[0][0] * 2)
    sums = {"chain": [5, 5 + number, 5 + 2 * number, 2 * number - 3, 2 * number - 11],
            "tree": [5 + number, number - 8, 2 * number - 3, 2 * number - 11]}[kind]  # fmt: skip
    assert witness.partial_sum is not None
    assert witness.value * 4 == sums[witness.partial_sum]
    assert not -16 <= sums[witness.partial_sum] <= 15
    assert witness.becomes in (-4.0, 3.75)


def test_the_total_of_a_wrapping_accumulator() -> None:
    """3 + x - 3: the first partial sum wraps, the total never does."""
    build = GraphBuilder()
    fmt = Format(True, 3, 3)
    x = build.input("x", (1,), fmt)
    terms = build.apply("concat", build.integers([3], fmt), x, build.integers([-3], fmt))
    y = build.apply("accumulate", terms, format=fmt, kind="chain", order=(0, 1, 2), name="y")
    assert search(build.graph((y.name,)))["y"].witness is None


def test_numbers_that_no_double_holds() -> None:
    """2**60 does not fit a type whose largest is 2**60 - 1; as doubles both are equal."""
    build = GraphBuilder()
    x = build.input("x", (1,), Format(False, 31, 31))
    large = build.integers([(1 << 60) - ((1 << 31) - 1)], Format(False, 60, 60))
    y = build.cast(build.apply("add", x, large), Format(False, 60, 60), name="y")
    more = build.apply("add", y, build.integers([1], Format(False, 1, 1)))
    z = build.cast(build.apply("add", x, build.integers([(1 << 60) - (1 << 31) + 2],
                   Format(False, 60, 60))), Format(False, 60, 60), name="z")  # fmt: skip
    graph = build.graph((y.name, z.name, more.name))
    reach = search(graph)
    assert (reach["y"].high, reach["z"].high) == (1 << 60, (1 << 60) + 1)
    for name in ("y", "z"):
        witness = reach[name].witness
        assert witness is not None
        mantissas = {"x": np.array([int(witness.inputs[0][0])], dtype=object)}
        assert int(evaluate(graph, mantissas)[name][0]) == int(witness.becomes)


def test_a_box_of_wide_mantissas_stays_inside() -> None:
    exact = Interval(np.array([-(1 << 60) + 1, -3]), np.array([(1 << 60) - 1, 5]))
    box = Box.of(exact)
    assert int(box.low[0]) >= -(1 << 60) + 1
    assert int(box.high[0]) <= (1 << 60) - 1
    assert (box.low[1], box.high[1]) == (-3, 5)


def test_events_are_tried_first_as_they_are() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 8, 4))
    y = build.cast(build.apply("sum", x), Format(True, 8, 4), name="y")
    graph = build.graph((y.name,))
    events = np.array([[1.03, 2.0], [4.01, 5.0], [-7.0, -7.0]])
    witness = search(graph, events=[events], seconds=0)["y"].witness
    assert witness is not None
    assert witness.origin == "event 1 of the data"
    assert witness.inputs[0].tolist() == [4.01, 5.0]
    assert (witness.value, witness.becomes) == (9.0, -7.0)


def test_the_same_seed_finds_the_same(rng: np.random.Generator) -> None:
    build = GraphBuilder()
    x = build.input("x", (12,), Format(True, 6, 3))
    y = build.cast(build.apply("sum", products(build, x, rng.integers(-9, 9, (12, 3)))),
                   Format(True, 7, 4), name="y")  # fmt: skip
    graph = build.graph((y.name,))
    first, second = (search(graph)["y"].witness for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.inputs[0].tolist() == second.inputs[0].tolist()
