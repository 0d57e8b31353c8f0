"""firmware.onnx under ONNX Runtime equals the NumPy engine bit for bit, at every level."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters import onnx_operations
from samebits.compile.emitters.onnx import EMITTERS, input_dtype, output_names, to_onnx
from samebits.compile.ir import Carrier, Format, Graph, Overflow, Rounding, Tensor
from samebits.compile.ops import OPERATIONS
from samebits.compile.passes import choose_carriers, simplify
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.onnx_engine import LEVELS, OnnxEngine

from ..strategies import MAKERS, Case, networks, operation_cases

FMT = Format(True, 8, 4)


def same_bits(graph: Graph, inputs: list[Any], levels: tuple[str, ...] = LEVELS) -> None:
    """Outputs and layers of all engines, with no tolerance; and outputs alone, where operations
    are fused that would be layers."""
    for layers in (graph.layer_tensors, {}):
        model = to_onnx(graph, layers=list(layers))
        expected = NumpyEngine(graph).run(inputs, [*graph.outputs, *layers.values()])
        for level in levels:
            found = OnnxEngine(model, level).run(inputs)
            assert len(found) == len(expected)
            for (name, got), wanted in zip(found.items(), expected, strict=True):
                assert got.shape == wanted.shape, (level, name)
                assert np.array_equal(got, wanted), (level, name)
        if not layers:
            return


def fed(case: Case) -> list[Any]:
    graph = case.graph
    return [
        case.inputs[name].astype(np.float64) * graph.tensors[name].format.lsb
        for name in graph.inputs
    ]


def fits(graph: Graph) -> bool:
    """ONNX has no integers beyond 63 bits."""
    return Carrier.PYTHON not in choose_carriers(graph).values()


def test_every_operation_has_an_emitter() -> None:
    assert sorted(EMITTERS) == sorted(OPERATIONS)


# narrow: float32; wide: double and int64
@pytest.mark.parametrize("width", [8, 26])
@pytest.mark.parametrize("op", sorted(MAKERS))
def test_every_operation(op: str, width: int) -> None:
    seen = []

    @settings(max_examples=25)
    @given(case=operation_cases(op, width))
    def check(case: Case) -> None:
        if case.graph.inputs and fits(case.graph):
            seen.append(case)
            same_bits(case.graph, fed(case), ("disabled", "all"))

    check()
    assert len(seen) > 5


@settings(max_examples=60)
@given(case=networks(), simplified=st.booleans())
def test_random_networks(case: Case, simplified: bool) -> None:
    graph = simplify(case.graph) if simplified else case.graph
    if fits(graph):
        same_bits(graph, fed(case))


def cast_graph(bits: int, target: Format, carrier: Carrier) -> Graph:
    """x of `bits` bits, as wide as its carrier needs, cast to `target`."""
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, bits, bits - 6))
    factor = {Carrier.FLOAT32: 1, Carrier.FLOAT64: 1 << 24, Carrier.INT64: 1 << 50}[carrier]
    wide = build.apply("mul", x, build.integers([factor], Format.spanning(0, factor, 0)))
    back = build.apply("shift", wide, bits=1 - factor.bit_length())
    return build.graph((build.cast(back, target, name="y").name,))


@pytest.mark.parametrize("carrier", [Carrier.FLOAT32, Carrier.FLOAT64, Carrier.INT64])
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_cast_mode_on_every_value(
    rounding: Rounding, overflow: Overflow, carrier: Carrier
) -> None:
    events = np.arange(-512.0, 512.0).reshape(-1, 1) / 64
    for target in (
        Format(True, 5, 2, rounding, overflow),
        Format(False, 4, 3, rounding, overflow),
        Format(True, 6, 6, rounding, overflow),
    ):
        graph = cast_graph(10, target, carrier)
        assert choose_carriers(graph)["y"] is carrier
        same_bits(graph, [events], ("disabled", "all"))


@pytest.mark.parametrize("fmt", [Format(True, 8, 3), Format(False, 30, 30), Format(True, 60, 4)])
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_raw_inputs_are_cast_like_the_engine_casts_them(
    fmt: Format, overflow: Overflow, rounding: Rounding, rng: np.random.Generator
) -> None:
    fmt = Format(fmt.signed, fmt.width, fmt.integer, rounding, overflow)
    build = GraphBuilder()
    graph = build.graph((build.reshape(build.input("x", (1,), fmt), (1, 1)).name,))
    halves = rng.integers(-(2**20), 2**20, 400) / 2 * fmt.lsb
    wild = rng.normal(0, 1, 400) * 2.0 ** rng.integers(-140, 120, 400)
    edges = [s * v for v in (0, 1.4e-45, 1e-38, 3e38, fmt.lsb, 128.0) for s in (1.0, -1.0)]
    events = np.concatenate([halves, wild, edges]).astype(input_dtype(fmt)).reshape(-1, 1)
    same_bits(graph, [events], ("disabled", "all"))


def wide_input(build: GraphBuilder, name: str, shape: tuple[int, ...]) -> Tensor:
    """Integers of 59 bits from two inputs, because no double holds them: see `wide_events`."""
    high = build.input(f"{name}_high", shape, Format(True, 28, 28))
    low = build.input(f"{name}_low", shape, Format(False, 31, 31))
    return build.apply("add", build.apply("shift", high, bits=31), low)


def wide_events(rng: np.random.Generator, events: int, shape: tuple[int, ...]) -> list[Any]:
    """The two inputs: integers of all sizes, integers that share the high 32 bits within an event,
    and integers around multiples of 2**31, 2**32, 2**53 and 2**57."""
    full = (events, *shape)
    sizes = rng.integers(-(2**58), 2**58, full) >> rng.integers(0, 58, full)
    one = (events, *(1 for _ in shape))
    words = rng.integers(-(2**26), 2**26, one) >> rng.integers(0, 27, one)
    shared = words * 2**32 + rng.integers(0, 2**32, full)
    steps = rng.choice([2**31, 2**32, 2**53, 2**57], full) * rng.integers(-16, 17, full)
    edges = steps + (rng.integers(-(2**32), 2**32, full) >> rng.integers(0, 33, full))
    edges = ((edges + 2**58) & (2**59 - 1)) - 2**58
    x = np.choose(rng.integers(0, 3, one), [sizes, shared, edges])
    return [(x >> 31).astype(np.float64), (x & (2**31 - 1)).astype(np.float64)]


def every_bit(build: GraphBuilder, *tensors: Tensor) -> Graph:
    """A graph that returns the tensors, which a double may round, and their 32 lowest bits."""
    low = [build.cast(y, Format(False, 32, 32 - y.format.fraction)) for y in tensors]
    return build.graph(tuple(y.name for y in (*tensors, *low)))


def wide_accumulate(build: GraphBuilder, x: Tensor, kind: str, overflow: Overflow) -> Tensor:
    fmt = Format(True, 59, 59, Rounding.TRN, overflow)
    order = (2, 0, 3, 1) if kind == "chain" else ()
    return build.apply("accumulate", build.cast(x, fmt), format=fmt, kind=kind, order=order)


def wide_index(build: GraphBuilder, x: Tensor) -> Tensor:
    return build.cast(x, Format(False, 4, 4))


def wide_dots(build: GraphBuilder, a: Tensor, op: str, **attrs: int) -> list[Tensor]:
    """Sums of products of the 59 bits with 2 bits, constant and not, of many shapes."""

    def small(shape: tuple[int, ...]) -> Tensor:
        return build.integers(np.arange(np.prod(shape)).reshape(shape) % 3 - 1, Format(True, 2, 2))

    def fed(shape: tuple[int, ...]) -> Tensor:
        return build.cast(build.reshape(a, shape), Format(True, 2, 2))

    def x(*shape: int) -> Tensor:
        return build.reshape(a, shape)

    pairs = [
        (x(16, 1), small((16, 3))),
        (small((16,)), x(16)),
        (x(4, 2, 2, 1), small((4, 2, 1, 3))),
        (small((4, 1, 3, 1)), x(4, 4, 1, 1)),
        (x(4, 4, 1), fed((4, 1, 4))),
        (fed((4, 1, 2, 2)), x(4, 2, 2, 1)),
    ]
    return [build.apply(op, left, right, **attrs) for left, right in pairs]


# on a and b of shape (4, 4)
WIDE: dict[str, Callable[[GraphBuilder, Tensor, Tensor], list[Tensor]]] = {
    "accumulate": lambda build, a, b: [
        wide_accumulate(build, x, kind, overflow)
        for kind, x in (("chain", a), ("tree", b))
        for overflow in Overflow
    ],
    "add": lambda build, a, b: [build.apply("add", a, b)],
    "argmax": lambda build, a, b: [
        build.apply("argmax", a),
        build.apply("argmax", build.reshape(b, (1, 16))),
    ],
    "cast": lambda build, a, b: [build.cast(a, Format(True, 58, 58))],
    "compare": lambda build, a, b: [
        build.apply("compare", a, b, relation=relation) for relation in ("gt", "ge", "eq")
    ],
    "concat": lambda build, a, b: [
        build.apply("concat", a, b, build.integers([[-1, 0, 1, 1]], Format(True, 2, 1)), a)
    ],
    "divide": lambda build, a, b: [
        build.apply("divide", a, build.number(1, a, Format(False, 1, 1))),
        build.apply("divide", b, build.integers([[3, 9, 1 << 40, 1 << 58]], Format(False, 60, 60))),
    ],
    "dot": lambda build, a, b: wide_dots(build, a, "dot"),
    "gather": lambda build, a, b: [
        build.apply("gather", a, build.integers([[3, 0, 0], [2, 3, 1]], Format(False, 2, 2)))
    ],
    "lookup": lambda build, a, b: [
        build.apply("lookup", wide_index(build, a), build.reshape(b, (16,))),
        build.apply("lookup", wide_index(build, a), build.reshape(b, (16, 1))),
    ],
    "max": lambda build, a, b: [
        build.apply("max", a, b),
        build.apply("max", a, build.number(0, a, Format(False, 1, 1))),
        build.apply("max", a, build.number(0, a, Format(False, 1, 71))),
    ],
    "min": lambda build, a, b: [
        build.apply("min", a, b),
        build.apply("min", b, build.number(7, b, Format(False, 4, 4))),
    ],
    "mul": lambda build, a, b: [
        build.apply("mul", a, build.integers([[-3, 2, 1, 5]], Format(True, 4, 4)))
    ],
    "reduce_max": lambda build, a, b: [build.apply("reduce_max", a)],
    "reshape": lambda build, a, b: [build.apply("reshape", a, shape=(2, 8))],
    "select": lambda build, a, b: [
        build.apply("select", build.apply("compare", a, b, relation="gt"), a, b)
    ],
    "shift": lambda build, a, b: [build.apply("shift", a, bits=-3)],
    "sub": lambda build, a, b: [build.apply("sub", a, b)],
    "sum": lambda build, a, b: [build.apply("sum", a)],
    "truncated_dot": lambda build, a, b: wide_dots(build, a, "truncated_dot", bits=3),
    "transpose": lambda build, a, b: [build.apply("transpose", a, perm=(1, 0))],
}


def test_every_operation_has_a_case_in_int64() -> None:
    assert sorted(WIDE) == sorted(OPERATIONS)


@pytest.mark.parametrize("op", sorted(WIDE))
def test_every_operation_in_int64(op: str, rng: np.random.Generator) -> None:
    build = GraphBuilder()
    a, b = (wide_input(build, name, (4, 4)) for name in "ab")
    results = WIDE[op](build, a, b)
    graph = every_bit(build, *results)
    carriers = choose_carriers(graph)
    assert {carriers[y.name] for y in results} == {Carrier.INT64}
    events = wide_events(rng, 800, (8, 4))
    same_bits(graph, [half[:, rows] for rows in (slice(4), slice(4, 8)) for half in events])


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_cast_mode_in_int64(
    rounding: Rounding, overflow: Overflow, rng: np.random.Generator
) -> None:
    build = GraphBuilder()
    x = wide_input(build, "x", (6,))
    sizes = [(True, 34, 34), (False, 33, 33), (True, 40, 52), (True, 30, 45), (True, 58, 56)]
    casts = [build.cast(x, Format(*size, rounding, overflow)) for size in sizes]
    carriers = choose_carriers(build.graph(tuple(y.name for y in casts)))
    assert {carriers[y.name] for y in casts} == {Carrier.INT64}
    same_bits(every_bit(build, *casts), wide_events(rng, 1500, (6,)))


def test_a_cast_that_drops_more_bits_than_int64_has(rng: np.random.Generator) -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(False, 63, 63))
    casts = [
        build.cast(x, Format(True, 4, 4 + dropped, Rounding.TRN, Overflow.SAT))
        for dropped in (61, 62, 63, 64, 200)
    ]
    graph = build.graph(tuple(y.name for y in casts))
    assert {choose_carriers(graph)[y.name] for y in casts} == {Carrier.INT64}
    same_bits(graph, [rng.uniform(0, 2.0**63, (300, 1))])


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_raw_inputs_over_the_whole_range_of_doubles(
    rounding: Rounding, overflow: Overflow, rng: np.random.Generator
) -> None:
    build = GraphBuilder()
    inputs, events = [], []
    for signed, width, integer in (
        *((True, 30, 5), (False, 30, 5), (True, 60, 4), (False, 63, 10)),
        *((True, 30, 60), (False, 30, 60), (True, 30, -80), (True, 60, 61)),
    ):
        fmt = Format(signed, width, integer, rounding, overflow)
        inputs.append(build.input(f"x{len(inputs)}", (1,), fmt))
        values = rng.normal(0, 1, 400) * 2.0 ** rng.integers(-1060, 1020, 400)
        edges = [s * v for v in (5e-324, 2e-310, 1e308, 1.7e308) for s in (1.0, -1.0)]
        events.append(np.concatenate([values, edges]).reshape(-1, 1))
    names = tuple(build.apply("reshape", x, shape=(1, 1)).name for x in inputs)
    same_bits(build.graph(names), events, ("disabled", "all"))


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("rounding", list(Rounding))
def test_raw_inputs_of_52_to_63_bits(
    rounding: Rounding, overflow: Overflow, rng: np.random.Generator
) -> None:
    build = GraphBuilder()
    inputs, tops, events = [], [], []
    for width in (52, 53, 54, 61, 62, 63):
        for signed in (True, False):
            fmt = Format(signed, width, 10, rounding, overflow)
            x = build.input(f"x{len(inputs)}", (1,), fmt)
            top = build.integers([fmt.max_mantissa - below for below in range(8)], fmt)
            inputs.append(x)
            tops.append(build.apply("compare", x, top, relation="eq"))
            size = 2.0 ** rng.integers(0, width + 4, 600) * rng.choice([0.75, 1, 3, 7], 600)
            steps = rng.integers(-3, 4, 600) * np.maximum(0.5, np.spacing(size))
            near = (size + steps) * rng.choice([-1.0, 1.0], 600)
            wild = rng.normal(0, 1, 300) * 2.0 ** rng.integers(-80, 900, 300)
            edges = [s * 2.0**k for s in (1, -1) for k in range(-1, 70)]
            values = np.concatenate([near, wild, edges])
            events.append(values.reshape(-1, 1) * fmt.lsb)
    low = every_bit(build, *inputs[:-1])  # the cast to the low bits of the last one leaves int64
    graph = build.graph((*low.outputs, inputs[-1].name, *(y.name for y in tops)))
    assert fits(graph)
    same_bits(graph, events, ("disabled", "all"))


@pytest.mark.parametrize("kind", ["chain", "tree"])
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("width", [6, 30, 56])
def test_saturating_accumulators(kind: str, overflow: Overflow, width: int) -> None:
    rng = np.random.default_rng(width)
    fmt = Format(True, width, 6, Rounding.TRN, overflow)
    build = GraphBuilder()
    x = build.cast(build.input("x", (7, 2), Format(True, 8, 6)), fmt)
    start = [build.integers([9, -9], fmt)] if kind == "chain" else []
    order = (3, 1, 2, 0, 6, 5, 4) if kind == "chain" else ()
    y = build.apply("accumulate", x, *start, format=fmt, kind=kind, order=order)
    events = rng.integers(-128, 128, (300, 7, 2)) / 4
    same_bits(build.graph((y.name,)), [events])


def two_in_two_out() -> Graph:
    build = GraphBuilder()
    a, b = build.input("a", (3,), FMT), build.input("b", (1,), Format(False, 30, 20))
    plus = build.apply("add", a, b)
    build.layer("plus", "Merge", plus)
    return build.graph((plus.name, build.cast(plus, FMT, name="narrow").name))


@pytest.mark.parametrize("events", [0, 1, 2, 5000])
def test_several_inputs_and_outputs_for_any_number_of_events(
    events: int, rng: np.random.Generator
) -> None:
    a, b = rng.normal(0, 5, (events, 3)), rng.uniform(0, 1e6, (events, 1))
    same_bits(two_in_two_out(), [a.astype(np.float32).astype(float), b])


def test_names_types_and_metadata() -> None:
    model = to_onnx(two_in_two_out(), {"key": "value"}, layers=["plus"])
    kinds = {v.name: v.type.tensor_type for v in (*model.graph.input, *model.graph.output)}
    assert {name: kind.elem_type for name, kind in kinds.items()} == {
        "a": onnx.TensorProto.FLOAT,
        "b": onnx.TensorProto.DOUBLE,  # 30 bits do not fit in float32
        "plus": onnx.TensorProto.DOUBLE,
        "narrow": onnx.TensorProto.FLOAT,
        "layer:plus": onnx.TensorProto.DOUBLE,
    }
    assert all(kind.shape.dim[0].dim_param == "N" for kind in kinds.values())
    metadata = {item.key: item.value for item in model.metadata_props}
    (plus,) = json.loads(metadata.pop("samebits.layers"))
    assert plus.pop("tensor") in {name for node in model.graph.node for name in node.output}
    fmt = str(two_in_two_out().tensors["add"].format)
    assert plus == {"name": "plus", "format": fmt, "shape": [3], "stored": [3], "perm": [0]}
    assert metadata == {
        "key": "value",
        "samebits.input.a": "ap_fixed<8,4,TRN,WRAP>",
        "samebits.input.b": "ap_ufixed<30,20,TRN,WRAP>",
        "samebits.output.plus": fmt,
        "samebits.output.narrow": "ap_fixed<8,4,TRN,WRAP>",
        "samebits.outputs": "values",
        "samebits.chunk_events": "4096",
    }
    assert model.ir_version == 10
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    used = {node.op_type for node in model.graph.node}
    assert not used & {"QuantizeLinear", "DequantizeLinear", "QLinearMatMul"}


@pytest.mark.parametrize("width", [8, 30, 60])
def test_raw_outputs_are_mantissas(width: int, rng: np.random.Generator) -> None:
    fmt = Format(True, width, 5)
    build = GraphBuilder()
    x = build.input("x", (3,), fmt)
    y = build.apply("add", x, x)
    graph = build.graph((y.name, x.name))
    model = to_onnx(graph, raw=True)
    assert {v.type.tensor_type.elem_type for v in model.graph.output} == {onnx.TensorProto.INT64}
    integers = rng.integers(-(2 ** min(width - 1, 52)), 2 ** min(width - 1, 52), (100, 3))
    events = integers.astype(float) * fmt.lsb
    for level in LEVELS:
        engine = OnnxEngine(model, level)
        found = engine.native([events])
        assert np.array_equal(found["x_out"], integers)
        assert np.array_equal(found[y.name], 2 * integers)
        assert np.array_equal(engine.run([events])[y.name], 2 * events)  # real numbers again


def test_an_output_that_is_an_input_or_a_constant() -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), FMT)
    build.layer("copy", "Activation", x)
    same_bits(build.graph(("x",)), [np.array([[0.5, -0.5], [100.0, -7.96875]])])


@pytest.mark.parametrize("wide", [False, True])
def test_truncated_products_in_blocks(
    wide: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_operations, "_PRODUCTS_AT_ONCE", 70)
    build = GraphBuilder()
    fmt = Format(True, 50, 10) if wide else FMT
    x = build.input("x", (10, 5, 1), fmt)
    weights = build.integers(rng.integers(-128, 128, (10, 1, 4)), FMT)
    graph = build.graph((build.apply("truncated_dot", x, weights, bits=3).name,))
    used = [node.op_type for node in to_onnx(graph).graph.node]
    assert used.count("Split") == 2
    assert used.count("MatMul" if wide else "ReduceSum") == 4  # 3, 3, 3 and 1 of k
    same_bits(graph, [rng.uniform(-9, 9, (50, 10, 5, 1))])


def test_constant_outputs_and_one_tensor_as_two_outputs(rng: np.random.Generator) -> None:
    build = GraphBuilder()
    x = build.input("x", (2,), FMT)
    given = build.integers([[-3, 7]], FMT, "given")
    build.layer("given", "Constant", given)
    twice = build.apply("concat", given, given)
    y = build.apply("shift", x, bits=1, name="y")
    graph = build.graph((given.name, y.name, twice.name, y.name))
    assert output_names(graph) == ["given", "y", "concat", "y_2"]
    same_bits(graph, [rng.normal(0, 1, (5, 2))])


@pytest.mark.parametrize("bits", [1, 16, 20])
def test_truncated_sums_of_products_of_63_bits(bits: int, rng: np.random.Generator) -> None:
    build = GraphBuilder()
    fmt = Format(True, 32, 16)
    x = build.input("x", (10, 1), fmt)
    ends = [fmt.min_mantissa, fmt.max_mantissa]
    weights = np.concatenate([rng.integers(*ends, (10, 5)), rng.choice(ends, (10, 3))], axis=1)
    total = build.apply("truncated_dot", x, build.integers(weights, fmt), bits=bits)
    fed = np.concatenate([rng.integers(*ends, (300, 10, 1)), rng.choice(ends, (300, 10, 1))])
    graph = every_bit(build, build.cast(total, Format(True, 60, total.format.integer)))
    assert choose_carriers(graph)[total.name] is Carrier.PYTHON
    if bits == 1:  # ten of them are 2**64
        with pytest.raises(errors.UnsupportedError):
            to_onnx(graph)
    else:
        same_bits(graph, [fed * fmt.lsb], ("disabled", "all"))


def test_an_input_beyond_63_bits_is_refused() -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(False, 64, 20))
    with pytest.raises(errors.UnsupportedError) as caught:
        to_onnx(build.graph((build.apply("reshape", x, shape=(1, 1)).name,)))
    assert str(caught.value) == (
        "ONNX: x (ap_ufixed<64,20,TRN,WRAP>) needs integers beyond 63 bits, and ONNX has none; "
        "use narrower formats"
    )


def test_beyond_63_bits_is_refused() -> None:
    build = GraphBuilder()
    x = build.input("x", (1,), Format(True, 40, 20))
    y = build.apply("mul", x, build.integers([1 << 30], Format(True, 40, 20)), name="y")
    with pytest.raises(errors.UnsupportedError) as caught:
        to_onnx(build.graph((y.name,)))
    assert str(caught.value) == (
        "ONNX: y (ap_fixed<80,40,TRN,WRAP>) needs integers beyond 63 bits, and ONNX has none; "
        "use narrower formats"
    )
