"""Recurrent layers against nnet_recurrent.h, transcribed in cells.py."""

from typing import Any

import numpy as np
import pytest
from hls4ml.model.types import XnorPrecisionType

from samebits import errors
from samebits.compile.lowering import lower
from samebits.compile.passes import simplify

from .cells import Cell, bidirectional, recurrent
from .converted import check, convert, given, layer_of, refusal

ACCUM = "fixed<9,4,RND_CONV,SAT>"  # saturates: the order of additions shows
TYPES = {name: "fixed<6,2>" for name in ("weight", "bias", "recurrent_weight", "recurrent_bias")}
SIDES = ("forward", "backward")
CASES = [
    ("LSTM", "Latency", 1, True, False),
    ("LSTM", "Resource", 2, False, True),
    ("LSTM", "Resource_Unrolled", 2, True, True),
    ("LSTM", "Resource", 8, True, False),
    ("GRU", "Latency", 1, False, False),
    ("GRU", "Resource", 4, True, True),
    ("GRU", "Resource_Unrolled", 4, False, True),
    ("GRU", "Resource", 12, False, False),
]


def options(kind: str, accum: str = ACCUM, **more: Any) -> dict[str, Any]:
    """The configuration of x and layer. An LSTM compiles only with one type for all."""
    result = accum if kind == "LSTM" else "fixed<8,3,RND,SAT>"
    types = TYPES | {"accum": accum, "result": result}
    layer = {"Precision": types, "table_t": "fixed<10,2,RND>", "TableSize": 256} | more
    data = result if kind == "LSTM" else "fixed<6,3>"
    names = {name: {"Precision": {"result": result}} for name in ("h", "c")}
    return {"x": {"Precision": {"result": data}}, "layer": layer} | names


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize(("kind", "strategy", "reuse", "static", "sequences"), CASES)
def test_strategies(
    kind: str,
    strategy: str,
    reuse: int,
    static: bool,
    sequences: bool,
    io_type: str,
    rng: np.random.Generator,
) -> None:
    layers = [given("x", 3, 4), recurrent(rng, kind, (3, 4), 4, return_sequences=sequences)]
    config = options(kind, Strategy=strategy, ReuseFactor=reuse, static=static)
    model = convert(layers, ["layer"], config, "Vivado", io_type)
    layer = layer_of(model, "layer")
    assert layer.get_attr("strategy") == strategy.lower()
    assert layer.get_attr("reuse_factor") == layer.get_attr("recurrent_reuse_factor") == reuse
    cell = Cell(layer, kind)
    check(model, lambda x: cell.stack(x)[0 if sequences else -1 :], rng)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize(
    ("activation", "gates"), [("relu", "tanh"), ("sigmoid", "relu"), ("tanh", "tanh")]
)
def test_activations(kind: str, activation: str, gates: str, rng: np.random.Generator) -> None:
    names = {"activation": activation, "recurrent_activation": gates}
    layers = [given("x", 2, 2), recurrent(rng, kind, (2, 2), 3, **names)]
    config = options(kind, "fixed<10,4,TRN_ZERO,SAT>", TableSize=100)
    if kind == "GRU":
        config["layer"]["Precision"]["result"] = "fixed<16,4>"
    model = convert(layers, ["layer"], config)
    cell = Cell(layer_of(model, "layer"), kind)
    check(model, lambda x: cell.stack(x)[-1], rng)


def test_one_time_step_and_sequences_is_one_row(rng: np.random.Generator) -> None:
    layers = [given("x", 1, 2), recurrent(rng, "GRU", (1, 2), 3, return_sequences=True)]
    model = convert(layers, ["layer"], options("GRU"))
    cell = Cell(layer_of(model, "layer"), "GRU")
    check(model, cell.stack, rng)
    graph = lower(model)
    assert graph.tensors[graph.outputs[0]].shape == (1, 3)


def test_pytorch_keeps_the_reset_gate_first(rng: np.random.Generator) -> None:
    layers = [given("x", 3, 2), recurrent(rng, "GRU", (3, 2), 3, pytorch=True)]
    model = convert(layers, ["layer"], options("GRU"))
    cell = Cell(layer_of(model, "layer"), "GRU")
    check(model, lambda x: cell.stack(x)[-1], rng)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize(("kind", "names"), [("LSTM", ("x", "h", "c")), ("GRU", ("x", "h"))])
def test_initial_states(
    kind: str, names: tuple[str, ...], sequences: bool, rng: np.random.Generator
) -> None:
    layer = recurrent(rng, kind, (2, 3), 2, names, return_sequences=sequences)
    layers = [given("x", 2, 3), *(given(name, 1, 2) for name in names[1:]), layer]
    model = convert(layers, ["layer"], options(kind))
    cell = Cell(layer_of(model, "layer"), kind)

    def kernel(x: Any, *states: Any) -> Any:
        return cell.stack(x, *(list(state[0]) for state in states))[0 if sequences else -1 :]

    check(model, kernel, rng)


def test_kernels_overwrite_the_arrays_of_their_initial_states(rng: np.random.Generator) -> None:
    """A second layer, and an LSTM with one array for both states, see what was written."""
    first = recurrent(rng, "LSTM", (2, 3), 2, ("x", "h", "h"))
    second = recurrent(rng, "LSTM", (2, 3), 2, ("x", "h", "c")) | {"name": "second"}
    layers = [given("x", 2, 3), given("h", 1, 2), given("c", 1, 2), first, second]
    config = options("LSTM")
    model = convert(layers, ["layer", "second"], config | {"second": config["layer"]})
    cells = [Cell(layer_of(model, name), "LSTM") for name in ("layer", "second")]

    def kernel(x: Any, h: Any, c: Any) -> Any:
        rows = cells[0].stack(x, h[0], h[0])[-1]
        return [rows, cells[1].stack(x, h[0], c[0])[-1]]

    check(model, kernel, rng)


@pytest.mark.parametrize(
    ("kinds", "strategy", "static", "sequences"),
    [
        (("LSTM", "GRU"), "Latency", True, True),
        (("GRU", "LSTM"), "Resource", True, False),
        (("GRU", "GRU"), "Resource", False, True),
        (("LSTM", "LSTM"), "Latency", False, False),
    ],
)
def test_bidirectional(
    kinds: tuple[str, str], strategy: str, static: bool, sequences: bool, rng: np.random.Generator
) -> None:
    parts = (2, 4)
    layers = [
        given("x", 3, 2),
        bidirectional(rng, kinds, (3, 2), parts, return_sequences=sequences),
    ]
    config = options("LSTM" if "LSTM" in kinds and not static else "GRU")
    types = {f"{side}_{name}": kind for name, kind in TYPES.items() for side in SIDES}
    config["layer"]["Precision"] |= types
    config["layer"] |= {"Strategy": strategy, "ReuseFactor": 2, "static": static}
    model = convert(layers, ["layer"], config)
    layer = layer_of(model, "layer")
    cells = [Cell(layer, kind, f"{side}_") for kind, side in zip(kinds, SIDES, strict=True)]

    def kernel(x: Any) -> Any:
        forward, backward = cells[0].stack(x), cells[1].stack(x[::-1])
        if not sequences:
            return [forward[-1], backward[-1]]
        return list(zip(forward, backward[::-1], strict=True))

    check(model, kernel, rng)


def test_every_step_shares_weights_and_tables(rng: np.random.Generator) -> None:
    layers = [given("x", 20, 6), recurrent(rng, "LSTM", (20, 6), 20)]
    graph = lower(convert(layers, ["layer"], options("LSTM")))
    assert len(simplify(graph).nodes) < 1100
    for name in (
        "layer/weight",
        "layer/bias",
        "recurrent_weight",
        "recurrent_bias",
        "tanh_table",
        "sigmoid_table",
    ):
        stem = name.removeprefix("layer/")
        assert [each for each in graph.constants if f"/{stem}" in each] == [f"layer/{stem}"]


def attributes(name: str = "layer", **values: Any) -> Any:
    def change(model: Any) -> None:
        for key, value in values.items():
            layer_of(model, name).set_attr(key, value)

    return change


REFUSED: list[tuple[str, Any, str]] = [
    (
        "LSTM",
        attributes(return_state=True),
        "layer layer (LSTM): it returns its states, which hls4ml's kernels never write",
    ),
    (
        "GRU",
        attributes(recurrent_activation="hard_sigmoid"),
        "layer layer (GRU): recurrent_activation 'hard_sigmoid' is not supported; hls4ml's "
        "recurrent cells have relu, sigmoid, tanh",
    ),
    (
        "GRU",
        attributes(strategy="resource_unrolled"),
        "layer layer (GRU): strategy resource_unrolled with reuse factor 1; hls4ml writes no "
        "kernel for it, its C++ does not compile; use resource",
    ),
    (
        "GRU",
        attributes(strategy="resource", reuse_factor=2, recurrent_reuse_factor=6),
        "layer layer (GRU): reuse factor 6 for the 3 inputs of recurrent_weight, which hls4ml "
        "gives to its kernel dense_resource_rf_leq_nin; that aborts; choose another reuse factor",
    ),
    (
        "GRU",
        attributes(strategy="resource", reuse_factor=4, recurrent_reuse_factor=3),
        "layer layer (GRU): reuse factor 3 for the 3 inputs of recurrent_weight, which hls4ml "
        "gives to its kernel dense_resource_rf_gt_nin_rem0; that aborts; choose another reuse "
        "factor",
    ),
    (
        "GRU",
        attributes(pass_initial_states=True),
        "layer layer (GRU): it has 0 initial states, GRU has 1",
    ),
]


@pytest.mark.parametrize(("kind", "change", "message"), REFUSED)
def test_refusals(kind: str, change: Any, message: str, rng: np.random.Generator) -> None:
    layers = [given("x", 2, 2), recurrent(rng, kind, (2, 2), 3)]
    model = convert(layers, ["layer"], options(kind))
    change(model)
    assert refusal(model) == message


@pytest.mark.parametrize(
    ("name", "precision", "said"),
    [
        ("layer", XnorPrecisionType(), "fixed<6,3,TRN,WRAP,0> with weight uint<1>"),
        ("x", XnorPrecisionType(), "uint<1> with weight fixed<6,2,TRN,WRAP,0>"),
    ],
)
def test_binary_products_are_refused(
    name: str, precision: Any, said: str, rng: np.random.Generator
) -> None:
    layers = [given("x", 2, 2), recurrent(rng, "GRU", (2, 2), 3)]
    model = convert(layers, ["layer"], options("GRU"))
    layer = layer_of(model, name)
    changed = layer.get_output_variable() if name == "x" else layer.weights["weight"]
    changed.type.precision = precision
    assert refusal(model) == f"layer layer (GRU): binary products ({said}) are not supported"


def test_two_bit_weights_count_as_signs(rng: np.random.Generator) -> None:
    """nnet_mult.h, `weight_ternary`: -2 is taken for +1."""
    weights = rng.integers(-2, 2, (4, 9))
    layer = recurrent(rng, "GRU", (2, 4), 3, weight_data=weights)
    config = options("GRU")
    config["layer"]["Precision"]["weight"] = "int<2>"
    model = convert([given("x", 2, 4), layer], ["layer"], config)
    cell = Cell(layer_of(model, "layer"), "GRU")
    assert (weights == -2).any()
    check(model, lambda x: cell.stack(x)[-1], rng)


@pytest.mark.parametrize("name", ["x", "accum"])
def test_an_lstm_of_several_types_does_not_compile(name: str, rng: np.random.Generator) -> None:
    layers = [given("x", 2, 2), recurrent(rng, "LSTM", (2, 2), 3)]
    config = options("LSTM")
    if name == "x":
        config["x"]["Precision"]["result"] = "fixed<6,3>"
    else:
        config["layer"]["Precision"]["accum"] = "fixed<6,3>"
    wanted = {"x": "input x is fixed<6,3,TRN,WRAP,0>", "accum": "accum_t is fixed<6,3,TRN,WRAP,0>"}
    assert refusal(convert(layers, ["layer"], config)) == (
        f"layer layer (LSTM): {wanted[name]}, the result is fixed<9,4,RND_CONV,SAT,0>; hls4ml's "
        "kernel compiles only where they are the same"
    )


def test_initial_states_need_weights_of_one_type(rng: np.random.Generator) -> None:
    layers = [given("x", 2, 2), given("h", 1, 3), recurrent(rng, "GRU", (2, 2), 3, ("x", "h"))]
    config = options("GRU")
    config["layer"]["Precision"]["recurrent_bias"] = "fixed<7,2>"
    assert refusal(convert(layers, ["layer"], config)) == (
        "layer layer (GRU): bias is fixed<6,2,TRN,WRAP,0>, recurrent_bias is "
        "fixed<7,2,TRN,WRAP,0>; hls4ml's kernel with initial states compiles only where they are "
        "the same"
    )


def test_merge_modes_other_than_concat_overrun_the_result(rng: np.random.Generator) -> None:
    more = {"merge_mode": "sum", "n_out": 2}
    layers = [given("x", 2, 2), bidirectional(rng, ("GRU", "GRU"), (2, 2), (2, 2), **more)]
    assert refusal(convert(layers, ["layer"], backend="Vivado")) == (
        "layer layer (Bidirectional): merge mode 'sum'; hls4ml's kernel writes 4 numbers for each "
        "time step, the result has 2; supported: 'concat'"
    )


def test_bidirectional_streams_have_no_kernel(rng: np.random.Generator) -> None:
    layers = [given("x", 2, 2), bidirectional(rng, ("GRU", "GRU"), (2, 2), (2, 2))]
    assert refusal(convert(layers, ["layer"], backend="Vivado", io_type="io_stream")) == (
        "layer layer (Bidirectional): io_stream; hls4ml has no kernel for it"
    )


def test_simple_rnn_has_no_code(rng: np.random.Generator) -> None:
    layer = recurrent(rng, "GRU", (2, 2), 3) | {"class_name": "SimpleRNN"}
    assert refusal(convert([given("x", 2, 2), layer], ["layer"])) == (
        "layer layer (SimpleRNN): hls4ml writes no code for it on Vivado and Vitis, and its result "
        "is uninitialised memory; use LSTM or GRU"
    )


def test_missing_weights(rng: np.random.Generator) -> None:
    """Keras's GRU with reset_after=False has one bias, of which hls4ml takes single numbers."""
    layers = [given("x", 2, 2), recurrent(rng, "GRU", (2, 2), 3)]
    model = convert(layers, ["layer"], options("GRU"))
    layer_of(model, "layer").weights["bias"].data = np.array([0.5])
    assert refusal(model, errors.ModelError) == (
        "layer layer (GRU): 1 numbers in bias for 2 inputs, 9 outputs"
    )
