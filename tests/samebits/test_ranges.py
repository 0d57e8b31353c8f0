"""`Design.ranges`: proven bounds, spare bits, overflow with a witness, given data."""

from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.compile.passes import simplify
from samebits.ranges import Status, describe_overflow, tensor_ranges, to_json
from samebits.sim.numpy_engine import NumpyEngine

from ..models import float_mlp, quantized_mlp

SAT = Overflow.SAT


def three_times(target: Format) -> Graph:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(False, 4, 4))
    build.scope = "triple"
    y = build.cast(build.apply("mul", x, build.integers([3], Format(False, 2, 2))), target, "y")
    build.layer("triple", "Dense", y)
    return simplify(build.graph((y.name,)))


@pytest.mark.parametrize(
    ("target", "high", "spare", "verdict"),
    [
        (Format(False, 6, 6), 45, 0, "cannot overflow"),
        (Format(False, 9, 9), 45, 3, "cannot overflow"),
        (Format(True, 9, 9), 45, 2, "cannot overflow"),  # 6 bits and the sign
        (Format(False, 5, 5), 31, 0, "wraps"),
        (Format(False, 5, 5, Rounding.TRN, SAT), 31, 0, "clips"),
        (Format(False, 4, 6), 44, 0, "cannot overflow"),
    ],
)
def test_range_of_a_cast(target: Format, high: float, spare: int, verdict: str) -> None:
    found = tensor_ranges(three_times(target))
    one = found["triple"]
    assert (one.tensor, one.layer, one.what, one.format) == ("triple/y", "triple", "result", target)
    assert (one.low, one.high, one.spare_bits, one.verdict) == (0, high, spare, verdict)
    assert one.arriving == (0, 44 if target.fraction < 0 else 45)
    assert one.can_overflow == (verdict != "cannot overflow")
    assert one.wraps == (verdict == "wraps")
    assert one.narrowest.width == target.width - spare
    assert one.exact.width == (one.narrowest.width if verdict == "cannot overflow" else 6)
    x = found["x"]
    assert (x.low, x.high, x.what, x.verdict) == (0, 15, "input", "cannot overflow")


def test_a_witness_is_shown_with_what_arrives_and_what_it_becomes() -> None:
    graph = three_times(Format(False, 5, 5))
    one = tensor_ranges(graph)["triple"]
    assert one.status is Status.OVERFLOWS
    assert one.witness is not None
    x = float(one.witness.inputs[0][0])
    assert (one.witness.value, one.witness.becomes) == (3 * x, 3 * x - 32)
    assert describe_overflow(graph, one) == (
        f"triple, result (triple/y), element [0]: ap_ufixed<5,5,TRN,WRAP> wraps: {3 * x!r} arrives "
        f"and becomes {3 * x - 32!r}; ap_ufixed<6,6,TRN,WRAP> would hold everything; searched: "
        f"x = [{x:g}]"
    )
    values = to_json(graph, one)
    assert values["status"] == "overflows, witness"
    assert values["witness"] == {
        "element": [0], "additions": None, "value": 3 * x, "becomes": 3 * x - 32,
        "origin": "searched", "inputs": {"x": [x]},
    }  # fmt: skip
    assert to_json(graph, tensor_ranges(graph)["x"])["witness"] is None


def test_without_search_it_is_not_decided() -> None:
    one = tensor_ranges(three_times(Format(False, 5, 5)), seconds=0)["triple"]
    assert (one.status, one.verdict, one.reached) == (Status.UNDECIDED, "not decided", None)


def test_what_cannot_be_proved_nor_reached_is_not_decided() -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 4, 4))
    four, least = (build.integers([n], Format(True, 8, 8)) for n in (4, -64))
    # x (4 - x) is 4 at most; interval arithmetic forgets that both are x
    product = build.apply("mul", x, build.apply("sub", four, x))
    y = build.cast(build.apply("max", product, least), Format(True, 7, 7), "y")
    found = tensor_ranges(simplify(build.graph((y.name,))))["y"]
    assert found.status is Status.UNDECIDED
    assert (found.arriving, found.reached) == ((-64, 84), (-64, 4))


@pytest.mark.parametrize("data", [(0, 10), {"x": (0, 10)}, np.array([[0.0], [10.0], [3.0]])])
def test_a_data_range_narrows_the_proof(data: Any) -> None:
    found = tensor_ranges(three_times(Format(False, 5, 5)), data)
    assert found["triple"].verdict == "cannot overflow"
    assert found["triple"].arriving == (0, 30)
    assert (found["x"].low, found["x"].high) == (0, 10)


@pytest.mark.parametrize(
    ("fmt", "data", "bounds", "verdict", "becomes"),
    [
        (Format(True, 4, 3), (-1.0, 3.5), (-1.0, 3.5), "cannot overflow", None),
        (Format(True, 4, 3), (-1.0, 3.99), (-1.0, 3.5), "cannot overflow", None),
        (Format(True, 4, 3, Rounding.RND), (-1.0, 3.99), (-4.0, 3.5), "wraps", -4.0),
        (Format(True, 4, 3), (-1.0, 20.25), (-4.0, 3.5), "wraps", -4.0),
        (Format(True, 4, 3), (-20.0, 1.0), (-4.0, 3.5), "wraps", -4.0),
        (Format(True, 4, 3, Rounding.TRN, SAT), (-1.0, 20.25), (-1.0, 3.5), "clips", 3.5),
        (Format(True, 4, 3, Rounding.TRN, Overflow.SAT_ZERO), (1.0, 20.0), (-4.0, 3.5),
         "clips", 0.0),
        (Format(True, 4, 3), (0.0, 1e300), (-4.0, 3.5), "wraps", 0.0),
    ],
)  # fmt: skip
def test_data_beyond_the_input_format(
    fmt: Format, data: Any, bounds: tuple[float, float], verdict: str, becomes: float | None
) -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), fmt)
    y = build.cast(x, Format(True, 6, 5), "y")
    one = tensor_ranges(build.graph((y.name,)), data)["x"]
    assert ((one.low, one.high), one.verdict) == (bounds, verdict)
    if becomes is None:
        assert one.witness is None
        return
    assert one.witness is not None
    assert one.witness.becomes == becomes
    assert one.witness.origin == "an end of the given range"
    engine = NumpyEngine(build.graph((y.name,)))
    (values,) = engine.run([one.witness.inputs[0][None]], ["x"])
    assert values[(0, *one.witness.element)] == becomes


def test_an_event_of_the_data_is_the_witness() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 4, 3))
    y = build.cast(build.apply("sum", x), Format(True, 4, 3), "y")
    graph = build.graph((y.name,))
    events = np.array([[0.0, 1.0], [3.0, 2.25], [0.0, -9.0]])
    found = tensor_ranges(graph, events)
    for name, event, value, becomes in (("x", 2, -9.0, -1.0), ("y", 1, 5.0, -3.0)):
        witness = found[name].witness
        assert witness is not None
        assert witness.origin == f"event {event} of the data"
        assert witness.inputs[0].tolist() == events[event].tolist()
        assert (witness.value, witness.becomes) == (value, becomes)


def test_ranges_of_single_elements_and_of_several_inputs() -> None:
    build = GraphBuilder()
    a, b = build.input("a", (2,), Format(True, 4, 4)), build.input("b", (2,), Format(True, 4, 4))
    y = build.cast(build.apply("add", a, b), Format(True, 4, 4), "y")
    graph = build.graph((y.name,))
    low, high = np.array([0, -2]), np.array([3, 1])
    assert tensor_ranges(graph, {"a": (low, high), "b": (0, 4)})["y"].arriving == (-2, 7)
    assert tensor_ranges(graph, {"a": (low, high)})["y"].arriving == (-10, 10)
    assert tensor_ranges(graph, [np.zeros((1, 2)), np.ones((1, 2))])["y"].arriving == (1, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"z": (0, 1)}, "ranges: there is no input 'z'; inputs: x"),
        ((1, 0), "ranges: x: (1, 0) is not a finite range low <= high"),
        ((0, np.inf), "ranges: x: (0, inf) is not a finite range low <= high"),
        (
            (0, [1, 2]),
            "ranges: x: wanted (low, high), numbers or arrays of shape (1,), got (0, [1, 2])",
        ),
        (np.zeros((0, 1)), "ranges: the data hold no events"),
    ],
)
def test_wrong_data(data: Any, message: str) -> None:
    with pytest.raises((errors.UsageError, errors.DataError)) as caught:
        tensor_ranges(three_times(Format(False, 5, 5)), data)
    assert str(caught.value) == message


def test_a_search_that_would_lie_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    run = NumpyEngine.run

    def broken(engine: NumpyEngine, inputs: Any, names: Any, *rest: Any) -> Any:
        values = run(engine, inputs, names, *rest)
        return [array + (name == "triple/y") for name, array in zip(names, values, strict=True)]

    monkeypatch.setattr(NumpyEngine, "run", broken)
    with pytest.raises(errors.MismatchError, match="the witness of triple/y gives"):
        tensor_ranges(three_times(Format(False, 5, 5)))


def test_no_event_leaves_the_proven_ranges() -> None:
    design = Design.from_onnx(quantized_mlp().model())
    ranges = design.ranges()
    x = np.random.default_rng(5).uniform(-10, 10, (5000, 4))
    for name, values in design.trace(x).items():
        assert ranges[name].low <= values.min(), name
        assert values.max() <= ranges[name].high, name


def test_a_softmax_network_is_proved_whole() -> None:
    found = Design.from_onnx(quantized_mlp().model()).ranges()
    verdicts = {name: one.verdict for name, one in found.items()}
    assert verdicts.pop("Relu_0") == "clips"  # a quantized ReLU: it is meant to
    assert set(verdicts.values()) == {"cannot overflow"}
    layers = {(one.layer, one.what) for one in found.values()}
    assert {("Dense_MatMul_0", "accum"), ("Dense_MatMul_0", "result"), ("x", "input")} <= layers
    assert {("Softmax_0", "accum"), ("Softmax_0", "inv_inp"), ("Softmax_0", "result")} <= layers


def test_an_overflow_inside_a_network_is_the_networks_own() -> None:
    """Default types: what the ReLU passes on wraps, and the engine shows it."""
    design = Design.from_onnx(float_mlp().model())
    found = design.ranges()
    assert [name for name, one in found.items() if one.wraps] == ["Relu_0"]
    witness = found["Relu_0"].witness
    assert witness is not None
    relu = design.trace(witness.inputs[0][None])["Relu_0"][(0, *witness.element)]
    dense = design.trace(witness.inputs[0][None])["Dense_MatMul_0"][(0, *witness.element)]
    assert relu == witness.becomes < 0 < 32 <= witness.value <= dense
    assert found["Relu_0"].reached == found["Relu_0"].arriving  # the corner is the bound
    assert not any(one.wraps for one in design.ranges((-16, 16)).values())
