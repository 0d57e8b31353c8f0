"""Layer normalisation against nnet_layernorm.h, number by number."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.types import IntegerPrecisionType, XnorPrecisionType

from samebits import errors
from samebits.compile.ir import Format
from samebits.compile.lowering import tables

from .converted import Layer, caster, check, convert, given, grid, layer_of, precision, refusal
from .converted import weights as weights_of

FINE = Format(True, 44, 14)


def layernorm(rng: np.random.Generator, rows: int, columns: int, **more: Any) -> Layer:
    made = {"name": "layer", "class_name": "LayerNormalization", "inputs": ["x"], "axis": 2}
    made |= {"n_in": rows * columns, "n_out": rows * columns, "seq_len": rows}
    made |= {"gamma_data": grid(rng, columns), "beta_data": grid(rng, columns)}
    return made | {"epsilon_power_of_10": 3} | more


def kernel(layer: Any, rule: Any = lambda a, w: a * w) -> Any:
    accum, result = caster(precision(layer, "accum")), caster(precision(layer, "result"))
    size, power = layer.get_attr("table_size"), layer.get_attr("table_range_power2")
    fmt = precision(layer, "table")
    table = tables.inverse_square_root_table(size, fmt, power, 3)
    scale, bias = weights_of(layer, "scale"), weights_of(layer, "bias")

    def one(data: list[Fraction]) -> list[Fraction]:
        dim = len(data)
        k_inv = accum(Fraction(1.0 / dim))
        total = total2 = Fraction(0)
        for x in data:
            total = accum(total + accum(x))
        mean = accum(rule(total, k_inv))
        differences = [accum(accum(x) - mean) for x in data]
        for d in differences:
            total2 = accum(total2 + accum(d * d))
        variance = accum(rule(total2, k_inv))
        index = min(max(int(variance * size * 2**power), 0), size - 1)
        inverse = int(table[index]) * Fraction(2) ** -fmt.fraction
        return [
            result(d * inverse * s + b) for d, s, b in zip(differences, scale, bias, strict=True)
        ]

    return lambda x: [one(row) for row in x]


@pytest.mark.parametrize("accum", [None, "fixed<8,3,TRN_ZERO,SAT>", "fixed<9,5>", "ufixed<9,4>"])
@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (1, 5), (2, 1)])
@pytest.mark.parametrize("power", [0, 2])
def test_layernorm(
    accum: str | None, rows: int, columns: int, power: int, rng: np.random.Generator
) -> None:
    types = {"scale": "fixed<6,2>", "bias": "fixed<6,2>", "result": "fixed<9,4,RND,SAT>"}
    config = {"Precision": types | ({"accum": accum} if accum else {})}
    config |= {"table_range_power2": power, "table_size": 100}
    data = {"x": {"Precision": {"result": "fixed<7,3>"}}}
    layers = [given("x", rows, columns), layernorm(rng, rows, columns)]
    model = convert(layers, ["layer"], data | {"layer": config})
    check(model, kernel(layer_of(model, "layer")), rng)


def ternary(a: Fraction, w: Fraction) -> Fraction:
    return Fraction(0) if w == 0 else -a if w == -1 else a


def binary(a: Fraction, w: Fraction) -> Fraction:
    return -a if w == 0 else a


@pytest.mark.parametrize(
    ("scale", "rule"), [(IntegerPrecisionType(2), ternary), (XnorPrecisionType(), binary)]
)
@pytest.mark.parametrize("accum", ["fixed<8,4>", "fixed<8,8>", "fixed<8,1>"])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_type_of_the_scale_picks_the_product_for_the_mean(
    scale: Any, rule: Any, accum: str, columns: int, rng: np.random.Generator
) -> None:
    more = {"gamma_data": np.ones(columns)}
    layers = [given("x", 2, columns), layernorm(rng, 2, columns, **more)]
    types = {"accum": accum, "bias": "fixed<6,2>"}
    model = convert(layers, ["layer"], {"layer": {"Precision": types}})
    layer = layer_of(model, "layer")
    layer.weights["scale"].type.precision = scale
    check(model, kernel(layer, rule), rng)


def test_the_table_holds_its_function() -> None:
    entries = [int(m) * FINE.lsb for m in tables.inverse_square_root_table(1000, FINE, 1, 4)]
    exact = [1 / math.sqrt(1e-4 + i / 2000) for i in range(1000)]
    assert max(abs(a - b) / b for a, b in zip(entries, exact, strict=True)) < 3e-7  # float32


@pytest.mark.parametrize(
    ("io_type", "tweak", "message"),
    [
        ("io_stream", None, "io_stream; hls4ml has no kernel for it"),
        ("io_parallel", {"seq_len": 4}, "6 inputs are not 4 equal rows"),
    ],
)
def test_refusals(io_type: str, tweak: Any, message: str, rng: np.random.Generator) -> None:
    layers = [given("x", 2, 3), layernorm(rng, 2, 3)]
    model = convert(layers, ["layer"], io_type=io_type)
    for name, value in (tweak or {}).items():
        layer_of(model, "layer").set_attr(name, value)
    assert refusal(model) == f"layer layer (LayerNormalization): {message}"


def test_binary_inputs_are_refused(rng: np.random.Generator) -> None:
    model = convert([given("x", 2, 3), layernorm(rng, 2, 3)], ["layer"])
    layer_of(model, "x").get_output_variable().type.precision = XnorPrecisionType()
    assert refusal(model) == ("layer layer (LayerNormalization): binary inputs are not supported")


def test_missing_weights(rng: np.random.Generator) -> None:
    model = convert([given("x", 2, 3), layernorm(rng, 2, 3)], ["layer"])
    layer_of(model, "layer").weights["scale"].data = np.ones(2)
    assert refusal(model, errors.ModelError) == (
        "layer layer (LayerNormalization): 2 numbers in scale for 3 channels"
    )
