"""Merges against loops that repeat hls4ml's kernels one number at a time."""

from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import pytest

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

Shape = tuple[int, ...]
MERGES = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "average": lambda a, b: (a + b) / 2,
    "maximum": max,
    "minimum": min,
}


def merged(
    shapes: tuple[Shape, Shape],
    kinds: tuple[Kind, Kind],
    layer: dict[str, Any],
    types: dict[str, Kind],
    io_type: str = "io_parallel",
    backend: str = "Vitis",
) -> Any:
    described = {"name": "merge", "inputs": ["x0", "x1"], **layer}
    inputs = list(zip(shapes, kinds, strict=True))
    return convert(inputs, [described], ["merge"], {"merge": types}, io_type, backend)


def run(
    model: Any, shapes: tuple[Shape, Shape], kinds: tuple[Kind, Kind], rng: np.random.Generator
) -> Any:
    """Events, then for each the flat inputs and the flat output, exact."""
    x = [events(rng, kind, shape) for shape, kind in zip(shapes, kinds, strict=True)]
    (got,) = simulate(model, x)
    count = len(got)
    flat = [exactly(values.reshape(count, -1)) for values in (*x, got)]
    return got.shape[1:], list(zip(*flat, strict=True))


@pytest.mark.parametrize("op", MERGES)
@pytest.mark.parametrize(
    ("shapes", "io_type"),
    [
        (((3, 2), (3, 2)), "io_parallel"),
        (((3, 2), (3, 2)), "io_stream"),
        (((3, 2), (2,)), "io_parallel"),  # element i with element i % 2
        (((2, 1), (4, 2)), "io_parallel"),
        (((4, 2, 2), (3, 1)), "io_parallel"),  # no multiple, and no broadcast of NumPy's
    ],
)
def test_element_by_element(op: str, shapes: tuple[Shape, Shape], io_type: str) -> None:
    if "*".join(map(str, max(shapes, key=prod))) < "*".join(map(str, min(shapes, key=prod))):
        shapes = (shapes[0], (1, *shapes[1]))  # hls4ml compares sizes as text
    rng = np.random.default_rng([sorted(MERGES).index(op), prod(shapes[1])])
    for _ in range(4):
        kinds, result = (draw_kind(rng), draw_kind(rng)), draw_kind(rng)
        layer = {"class_name": "Merge", "op": op}
        model = merged(shapes, kinds, layer, {"result": result}, io_type)
        shape, compared = run(model, shapes, kinds, rng)
        assert shape == max(shapes, key=prod)
        for first, second, got in compared:
            for i, value in enumerate(got):
                exact = MERGES[op](first[i % len(first)], second[i % len(second)])
                assert value == result.cast(exact)


@pytest.mark.parametrize("shapes", [((1, 1, 2), (2, 3, 2)), ((2, 3, 2), (2, 3, 1))])
def test_broadcast_streams(shapes: tuple[Shape, Shape]) -> None:
    rng = np.random.default_rng(3)
    kinds, result = (fixed(8, 3), fixed(9, 5)), fixed(16, 8)
    layer = {"class_name": "Merge", "op": "add"}
    model = merged(shapes, kinds, layer, {"result": result}, "io_stream", "Vivado")
    assert "Broadcast" in [each.class_name for each in model.get_layers()]
    x = [events(rng, kind, shape) for shape, kind in zip(shapes, kinds, strict=True)]
    (got,) = simulate(model, x)
    # the copies have the model's default type, which holds both inputs
    assert got.shape == (12, 2, 3, 2)
    assert np.array_equal(got, x[0] + x[1])


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize(
    ("shapes", "axis"),
    [
        (((3,), (4,)), 1),
        (((3,), (4,)), -1),
        (((2, 3), (4, 3)), 1),
        (((2, 3), (4, 3)), -2),
        (((2, 3), (2, 1)), 2),
        (((2, 3), (2, 1)), -1),
        (((2, 3, 2), (1, 3, 2)), 1),
        (((2, 3, 2), (1, 3, 2)), -3),
        (((2, 3, 2), (2, 1, 2)), 2),
        (((2, 3, 2), (2, 1, 2)), -2),
        (((2, 3, 2), (2, 3, 1)), 3),
        (((2, 3, 2), (2, 3, 1)), -1),
    ],
)
def test_side_by_side(shapes: tuple[Shape, Shape], axis: int, io_type: str) -> None:
    rng = np.random.default_rng(len(shapes[0]))
    kinds, result = (draw_kind(rng), draw_kind(rng)), draw_kind(rng)
    layer = {"class_name": "Concatenate", "op": f"concatenate{len(shapes[0])}d", "axis": axis}
    model = merged(shapes, kinds, layer, {"result": result}, io_type)
    shape, compared = run(model, shapes, kinds, rng)
    place = axis - 1 if axis > 0 else axis + len(shapes[0])
    for first, second, got in compared:
        parts = [first.reshape(shapes[0]), second.reshape(shapes[1])]
        for index in np.ndindex(shape):
            part = int(index[place] >= shapes[0][place])
            source = list(index)
            source[place] -= part * shapes[0][place]
            assert got.reshape(shape)[index] == result.cast(parts[part][tuple(source)])


@pytest.mark.parametrize("seed", range(8))
def test_dot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    second = integer(2) if seed % 2 else draw_kind(rng)
    kinds, accum, result = (draw_kind(rng), second), draw_kind(rng), draw_kind(rng)
    layer = {"class_name": "Dot", "op": "dot1d", "axes": -1}
    model = merged(((5,), (5,)), kinds, layer, {"result": result, "accum": accum})
    shape, compared = run(model, ((5,), (5,)), kinds, rng)
    assert shape == (1,)
    for first, other, got in compared:
        total = Fraction(0)
        for a, b in zip(first, other, strict=True):
            # nnet_mult.h, `weight_ternary`: what is neither 0 nor -1 is 1
            weight = (b if b in (0, -1) else 1) if str(second) == "int<2>" else b
            total = accum.cast(total + accum.cast(a * weight))
        assert got[0] == result.cast(total)


def refused(
    shapes: tuple[Shape, Shape],
    layer: dict[str, Any],
    io_type: str = "io_parallel",
    backend: str = "Vitis",
    first: Kind | None = None,
) -> str:
    kind = fixed(8, 4)
    types = {"result": kind, "accum": kind}
    return refusal(merged(shapes, (first or kind, kind), layer, types, io_type, backend))


def test_refused_merges() -> None:
    # hls4ml takes the larger of the texts "2*3" and "3"
    assert refused(((2, 3), (3,)), {"class_name": "Merge", "op": "add"}) == (
        "layer merge (Merge): (2, 3) and (3,): hls4ml takes 3 for the larger size and fills 3 of "
        "6 elements; its C simulation is undefined there; give both one shape"
    )
    assert refused(((2, 3), (2, 3)), {"class_name": "Merge", "op": "divide"}) == (
        "layer merge (Merge): merge 'divide' is not in hls4ml's kernels; supported: add, average, "
        "maximum, minimum, multiply, subtract"
    )


def test_refused_stream_of_two_shapes() -> None:
    model = merged(
        ((2, 3), (2, 3)),
        (fixed(8, 4), fixed(8, 4)),
        {"class_name": "Merge", "op": "add"},
        {"result": fixed(8, 4)},
        "io_stream",
    )
    model.get_input_variables()[0].shape[:] = [1, 6]
    assert refusal(model) == (
        "layer merge (Merge): its input, flattened in io_stream, comes in packets of 3 but is read "
        "in packets of 6; hls4ml's C simulation is undefined there; flatten right before a Dense "
        "layer, or use io_parallel"
    )
    model.get_input_variables()[0].shape[:] = [1, 2, 3]
    assert refusal(model) == (
        "layer merge (Merge): (1, 2, 3) and (2, 3): hls4ml merges streams of one shape only; use "
        "io_parallel"
    )


def test_refused_concatenations() -> None:
    shapes = ((2, 2, 2, 2), (2, 2, 2, 2))
    layer = {"class_name": "Concatenate", "op": "concatenate4d", "axis": -1}
    assert refused(shapes, layer) == (
        "layer merge (Concatenate): (2, 2, 2, 2) and (2, 2, 2, 2): hls4ml's kernels concatenate "
        "tensors of one rank, 1 to 3"
    )
    layer = {"class_name": "Concatenate", "op": "concatenate2d", "axis": -1}
    assert refused(((2, 3), (3, 3)), layer) == (
        "layer merge (Concatenate): (2, 3) and (3, 3) along axis -1 do not make (2, 6); hls4ml's C "
        "simulation is undefined there"
    )


def test_refused_dot_products() -> None:
    layer = {"class_name": "Dot", "op": "dot1d", "axes": -1}
    assert refused(((3,), (3,)), layer, "io_stream") == (
        "layer merge (Dot): hls4ml's dot product in io_stream does not compile; use io_parallel "
        "and more bits"
    )
    assert refused(((3,), (3,)), layer, first=integer(1, signed=False)) == (
        "layer merge (Dot): hls4ml's dot product of an ap_uint<1> does not compile; use "
        "io_parallel and more bits"
    )
