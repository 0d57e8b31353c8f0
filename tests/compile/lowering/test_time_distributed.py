"""TimeDistributed: the wrapped layers applied to every time step."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from samebits.compile.lowering import lower
from samebits.sim.numpy_engine import NumpyEngine

from . import kernels
from .cells import Cell, recurrent
from .converted import (
    Layer,
    caster,
    check,
    convert,
    given,
    grid,
    layer_of,
    precision,
    refusal,
    weights,
)

CONFIG = {"dense": {"Precision": {"weight": "fixed<6,2>", "bias": "fixed<6,2>"}}}


def dense(rng: np.random.Generator, n_in: int, n_out: int) -> Layer:
    made = {"name": "dense", "class_name": "Dense", "inputs": ["steps"], "n_in": n_in}
    made |= {"n_out": n_out, "weight_data": grid(rng, n_in, n_out), "bias_data": grid(rng, n_out)}
    return made


def steps(wrapped: Layer, count: int, shape: list[int]) -> Layer:
    made = {"name": "steps", "class_name": "TimeDistributed", "inputs": ["x"]}
    return made | {"wrapped_layer": wrapped, "n_time_steps": count, "output_shape": [count, *shape]}


def dense_kernel(model: Any) -> Any:
    layer = layer_of(model, "dense")
    accum, result = caster(precision(layer, "accum")), caster(precision(layer, "result"))
    operands = weights(layer, "weight"), weights(layer, "bias"), accum

    def kernel(x: list[Fraction]) -> list[Fraction]:
        return [result(y) for y in kernels.dense_latency(x, *operands, lambda a, w: a * w)]

    return kernel


@pytest.mark.parametrize("count", [1, 4])
def test_dense(count: int, rng: np.random.Generator) -> None:
    layers = [given("x", count, 3), steps(dense(rng, 3, 2), count, [2])]
    model = convert(layers, ["steps"], CONFIG)
    kernel = dense_kernel(model)
    check(model, lambda x: [kernel(row) for row in x], rng)


def test_recurrent(rng: np.random.Generator) -> None:
    inner = recurrent(rng, "LSTM", (3, 2), 2, ("steps",))
    model = convert([given("x", 2, 3, 2), steps(inner, 2, [2])], ["steps"])
    cell = Cell(layer_of(model, "layer"), "LSTM")
    check(model, lambda x: [cell.stack(rows)[-1] for rows in x], rng)


def test_traces_are_those_of_the_last_time_step(rng: np.random.Generator) -> None:
    layers = [given("x", 4, 3), steps(dense(rng, 3, 2), 4, [2])]
    graph = lower(convert(layers, ["steps"], CONFIG))
    assert list(graph.layer_tensors) == ["steps", "dense", "steps_end"]
    x = rng.integers(-64, 64, (5, 4, 3)) / 32
    first, inner, last = NumpyEngine(graph).run([x], list(graph.layer_tensors.values()))
    assert first.tolist() == x[:, -1].tolist()
    assert inner.tolist() == last[:, -1].tolist()
    assert last.shape == (5, 4, 2)


def test_an_output_of_the_network_as_well_is_the_last_time_step(rng: np.random.Generator) -> None:
    """hls4ml then keeps the name of the first marker."""
    layers = [given("x", 4, 3), steps(dense(rng, 3, 2), 4, [2])]
    relu = {"name": "one", "class_name": "Activation", "activation": "relu", "inputs": ["steps"]}
    graph = lower(convert([*layers, relu], ["steps", "one"], CONFIG))
    x = rng.integers(-64, 64, (5, 4, 3)) / 32
    first, _ = NumpyEngine(graph).run([x], graph.outputs)
    assert first.tolist() == x[:, -1].tolist()


def test_a_copy_does_not_convert(rng: np.random.Generator) -> None:
    layers = [given("x", 4, 3), steps(dense(rng, 3, 2), 4, [2])]
    config = CONFIG | {"x": {"Precision": {"result": "fixed<8,3>"}}}
    assert refusal(convert(layers, ["steps"], config)) == (
        "layer steps (TimeDistributed): its input is fixed<8,3,TRN,WRAP,0>, its result "
        "fixed<12,5,TRN,WRAP,0>; hls4ml's kernel compiles only where they are the same"
    )


def test_both_markers_of_the_last_layer_have_one_type_name(rng: np.random.Generator) -> None:
    layers = [given("x", 4, 3), steps(dense(rng, 3, 2), 4, [2])]
    narrow = {"Precision": {"result": "fixed<8,3>"}}
    config = CONFIG | {"x": narrow, "steps": narrow}
    assert refusal(convert(layers, ["steps"], config)) == (
        "layer steps_end (TimeDistributed): hls4ml calls its type fixed<12,5,TRN,WRAP,0> result_t, "
        "and that of steps, fixed<8,3,TRN,WRAP,0>, too; its C++ does not compile; give both the "
        "same precision, or add a layer behind"
    )


def test_a_second_reader_gets_one_time_step(rng: np.random.Generator) -> None:
    readers = [
        {"name": name, "class_name": "Activation", "activation": "relu", "inputs": ["steps"]}
        for name in ("one", "two")
    ]
    layers = [given("x", 4, 3), steps(dense(rng, 3, 2), 4, [2])]
    lower(convert([*layers, readers[0]], ["one"], CONFIG))
    assert refusal(convert([*layers, *readers], ["one", "two"], CONFIG)) == (
        "layer steps (TimeDistributed): several layers read its result, and hls4ml gives two one "
        "time step instead; its C simulation is undefined there; read it once"
    )


def test_streams_have_no_kernel(rng: np.random.Generator) -> None:
    layers = [given("x", 4, 3), steps(dense(rng, 3, 2), 4, [2])]
    assert refusal(convert(layers, ["steps"], io_type="io_stream")) == (
        "layer steps (TimeDistributed): io_stream; hls4ml has no kernel for it"
    )
