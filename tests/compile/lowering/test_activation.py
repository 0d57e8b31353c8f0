"""Activations on streams and images, and where hls4ml's C++ integers wrap."""

from fractions import Fraction
from math import prod, trunc
from typing import Any

import numpy as np
import pytest

from samebits.compile.lowering import tables

from .converted import refusal
from .layer_lists import (
    Kind,
    convert,
    draw_kind,
    events,
    exactly,
    fixed,
    integer,
    simulate,
)

BYTE = fixed(8, 4)
TABLE = fixed(18, 8)  # hls4ml's default table_t


def activated(
    layer: dict[str, Any],
    data: Kind = BYTE,
    result: Kind = BYTE,
    shape: tuple[int, ...] = (4,),
    io_type: str = "io_parallel",
    **settings: Any,
) -> Any:
    described = {"name": "act", "inputs": ["x0"], "n_in": prod(shape), **layer}
    types = {"result": result} | settings.pop("types", {})
    return convert([(shape, data)], [described], ["act"], {"act": types}, io_type, **settings)


def int32(x: Fraction) -> int:
    """A C++ int made of a fixed-point number: towards zero, the low 32 bits."""
    low = trunc(x) % 2**32
    return low - 2**32 if low >= 2**31 else low


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("data", [fixed(5, 2), fixed(4, 1, False), integer(4), fixed(5, 3)])
def test_unary_table(data: Kind, io_type: str) -> None:
    rng = np.random.default_rng(0)
    entries, result, shape = rng.normal(size=32) * 3, fixed(7, 3, modes="RND,SAT"), (2, 3, 2)
    layer = {"class_name": "UnaryLUT", "activation": "unary_lut", "table_data": entries}
    model = activated(layer, data, result, shape, io_type)
    (each,) = [each for each in model.get_layers() if each.class_name == "UnaryLUT"]
    digits = each.weights["table"].type.precision.fractional
    table = [TABLE.cast(Fraction(f"{entry:.{digits}f}")) for entry in entries]
    x = events(rng, data, shape, 40)
    (got,) = simulate(model, [x])
    for value, answer in zip(exactly(x).flat, exactly(got).flat, strict=True):
        bits = int(value * 2**data.format.fraction) % 2**data.format.width
        assert answer == result.cast(table[bits])


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("name", ["sigmoid", "softplus", "softsign", "tanh"])
def test_table_indices_wrap_as_c_integers(name: str, io_type: str) -> None:
    data, result = fixed(34, 32), fixed(18, 8)
    divisor = 8 if name == "tanh" else 16
    table = getattr(tables, f"{name}_table")(1024, TABLE.format)
    model = activated({"class_name": "Activation", "activation": name}, data, result, (9,), io_type)
    steps = np.array([-2.0, -1.0, -0.25, 0.0, 0.25, 0.5, 1.0, 100.0, 2.0**20])
    x = np.array([steps, steps + 2.0**25 - 4, steps + 2.0**24 - 2, steps + 2.0**27, -steps])
    (got,) = simulate(model, [x])
    for value, answer in zip(exactly(x).flat, exactly(got).flat, strict=True):
        index = int32(Fraction(int32(value * 1024 / divisor) + 512))
        entry = Fraction(int(table[min(max(index, 0), 1023)]), 2**10)
        assert answer == result.cast(entry)


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("name", ["elu", "selu"])
def test_exponential_indices_wrap_as_c_integers(name: str, io_type: str) -> None:
    data, result = fixed(34, 30), fixed(18, 8)
    layer = {"class_name": "Activation", "activation": name}
    if name == "elu":
        layer = {"class_name": "ELU", "activation": "elu", "activ_param": 1.0}
    table = getattr(tables, f"{name}_table")(1024, TABLE.format)
    types = {"param": fixed(8, 4)}
    model = activated(layer, data, result, (6,), io_type, types=types)
    steps = np.array([-0.5, -1.0, -7.9375, -8.0, -100.0, -(2.0**20)])
    x = np.array([steps, steps - 2.0**24 + 1, steps - 2.0**25 + 3, steps - 2.0**26])
    (got,) = simulate(model, [x])
    for value, answer in zip(exactly(x).flat, exactly(got).flat, strict=True):
        index = int32(value * 1024 / -8)
        if name == "selu" and io_type == "io_parallel":
            index = max(index, 0)
        index = 1023 if index < 0 or index > 1023 else index  # compared as an unsigned int
        assert answer == result.cast(Fraction(int(table[index]), 2**10))


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("seed", range(6))
def test_slopes_of_an_image(seed: int, io_type: str) -> None:
    rng = np.random.default_rng(seed)
    data, result, slope, shape = draw_kind(rng), draw_kind(rng), fixed(7, 2), (2, 3, 2)
    slopes = rng.normal(size=shape)
    layer = {"class_name": "PReLU", "activation": "PReLU", "param_data": slopes}
    model = activated(layer, data, result, shape, io_type, types={"param": slope})
    x = events(rng, data, shape)
    (got,) = simulate(model, [x])
    printed = [slope.cast(Fraction(f"{value:.5f}")) for value in slopes.flat]
    for event, answer in zip(exactly(x), exactly(got), strict=True):
        for value, alpha, wanted in zip(event.flat, printed, answer.flat, strict=True):
            assert wanted == result.cast(value if value > 0 else alpha * value)


def test_legacy_softmax_in_a_stream_has_1024_entries() -> None:
    layer = {"class_name": "Softmax", "activation": "softmax", "axis": -1}
    settings = {"Implementation": "legacy", "TableSize": 64}
    model = activated(layer, fixed(12, 5), TABLE, (3,), "io_stream", **settings)
    exponential = tables.legacy_exp_table(1024, TABLE.format)
    inverse = tables.legacy_inverse_table(1024, TABLE.format)
    x = events(np.random.default_rng(0), fixed(12, 5), (3,), 30)
    (got,) = simulate(model, [x])
    for event, answer in zip(exactly(x), exactly(got), strict=True):
        for i in range(3):
            total = Fraction(0)
            for j in range(3):
                index = min(max(trunc((event[j] - event[i]) * 64) + 512, 0), 1023)
                term = Fraction(int(exponential[index]), 2**10) if i != j else Fraction(1)
                total = TABLE.cast(total + term)
            place = min(max(trunc(total * 16), 0), 1023)
            assert answer[i] == Fraction(int(inverse[place]), 2**10)


def test_refused() -> None:
    layer = {"class_name": "Activation", "activation": "relu6"}
    assert refusal(activated(layer, io_type="io_stream")) == (
        "layer act (Activation): hls4ml has no relu6 for io_stream; use io_parallel"
    )
    layer = {"class_name": "TernaryTanh", "activation": "ternary_tanh", "threshold": 0.5}
    assert refusal(activated(layer, result=integer(2))) == (
        "layer act (TernaryTanh): hls4ml writes no code for a TernaryTanh that it does not merge "
        "with a BatchNormalization; its C simulation is undefined there; use a threshold other "
        "than 0.5"
    )
    layer = {"class_name": "Softmax", "activation": "softmax", "axis": 1}
    assert refusal(activated(layer, fixed(12, 4), io_type="io_stream")) == (
        "layer act (Softmax): softmax along axis 1 in io_stream; hls4ml's C simulation aborts "
        "there; use axis -1, or io_parallel"
    )


def test_refused_parameters() -> None:
    slopes: dict[str, Any] = {"class_name": "PReLU", "activation": "PReLU"}
    assert refusal(activated(slopes | {"param_data": np.ones(1)})) == (
        "layer act (PReLU): 1 slopes for 4 elements; hls4ml's kernel reads one for each, so its C "
        "simulation is undefined there; give every element its slope"
    )
