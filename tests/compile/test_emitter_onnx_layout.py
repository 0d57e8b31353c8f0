"""Images in firmware.onnx: Conv, MaxPool and Gemm where they are exact, and the same bits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.onnx import to_onnx
from samebits.compile.emitters.onnx_layout import Windows, match_windows
from samebits.compile.ir import Format, Graph, Overflow, Rounding, Tensor
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.onnx_engine import LEVELS, OnnxEngine

INPUT = Format(True, 8, 3)
RELU = Format(False, 6, 3, Rounding.RND_CONV, Overflow.SAT)


@dataclass(frozen=True)
class Shape:
    """An image and the windows that move over it."""

    height: int
    width: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def out(self) -> tuple[int, int]:
        tall = self.height + self.pads[0] + self.pads[2] - self.kernel[0]
        wide = self.width + self.pads[1] + self.pads[3] - self.kernel[1]
        return tall // self.strides[0] + 1, wide // self.strides[1] + 1

    def pixels(self) -> Any:
        """(places in the window, windows), -1 for padding."""
        rows = np.arange(self.out[0]) * self.strides[0] - self.pads[0]
        columns = np.arange(self.out[1]) * self.strides[1] - self.pads[1]
        down, right = np.indices(self.kernel).reshape(2, -1, 1)
        row = rows.repeat(self.out[1]) + down
        column = np.tile(columns, self.out[0]) + right
        inside = (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
        return np.where(inside, row * self.width + column, -1)


shapes = st.builds(
    Shape,
    height=st.integers(3, 7),
    width=st.integers(3, 7),
    channels=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
)


def gathered(build: GraphBuilder, x: Tensor, index: Any, padding: int = 0) -> Tensor:
    count = x.shape[0]
    if (index < 0).any():
        rest = np.full((1, *x.shape[1:]), padding)
        x = build.apply("concat", x, build.integers(rest, x.format))
        index = np.where(index < 0, count, index)
    return build.apply("gather", x, build.integers(index, Format.spanning(0, count, 0)))


def convolved(build: GraphBuilder, x: Tensor, shape: Shape, weights: Any, bias: Any) -> Tensor:
    """What the lowering makes of a convolution: every element of every window by itself."""
    pixels, channels = shape.pixels()[:, None, :], np.arange(shape.channels)[:, None]
    flat = build.reshape(x, (shape.height * shape.width * shape.channels,))
    taken = gathered(build, flat, np.where(pixels < 0, -1, pixels * shape.channels + channels))
    columns = build.reshape(taken, (taken.shape[0] * taken.shape[1], taken.shape[2], 1))
    kernel = build.integers(weights.reshape(columns.shape[0], 1, -1), Format(True, 5, 2))
    return biased(build, build.apply("dot", columns, kernel), shape, bias)


def depthwise(build: GraphBuilder, x: Tensor, shape: Shape, weights: Any, bias: Any) -> Tensor:
    rows = build.reshape(x, (shape.height * shape.width, shape.channels))
    taken = gathered(build, rows, shape.pixels())
    kernel = build.integers(weights.reshape(taken.shape[0], 1, -1), Format(True, 5, 2))
    return biased(build, build.apply("dot", taken, kernel), shape, bias)


def biased(build: GraphBuilder, total: Tensor, shape: Shape, bias: Any) -> Tensor:
    total = build.apply("add", total, build.integers(np.tile(bias, (total.shape[0], 1)), INPUT))
    image = build.reshape(total, (*shape.out, total.shape[1]))
    zero = build.number(0, image, Format(False, 1, 1))
    return build.cast(build.apply("max", image, zero), RELU)


def pooled(build: GraphBuilder, x: Tensor, shape: Shape, padding: int) -> Tensor:
    rows = build.reshape(x, (shape.height * shape.width, shape.channels))
    largest = build.apply("reduce_max", gathered(build, rows, shape.pixels(), padding))
    return build.reshape(largest, (*shape.out, shape.channels))


def same_bits(graph: Graph, inputs: list[Any]) -> list[str]:
    """No tolerance; gives the operators that were used."""
    model = to_onnx(graph)
    expected = NumpyEngine(graph).run(inputs, graph.outputs)
    for level in LEVELS:
        found = OnnxEngine(model, level).run(inputs)
        for got, wanted in zip(found.values(), expected, strict=True):
            assert np.array_equal(got, wanted), level
    return [node.op_type for node in model.graph.node]


def usable(shape: Shape) -> bool:
    """One window at least lies within the image, and no window consists of padding only."""
    pixels = shape.pixels() >= 0
    return bool(pixels.size and pixels.all(axis=0).any() and pixels.any(axis=0).all())


@settings(max_examples=50)
@given(shape=shapes, grouped=st.booleans(), seed=st.integers(0, 99))
def test_convolutions(shape: Shape, grouped: bool, seed: int) -> None:
    if not usable(shape):
        return
    rng, build = np.random.default_rng(seed), GraphBuilder()
    x = build.input("x", (shape.height, shape.width, shape.channels), INPUT)
    filters = shape.channels if grouped else int(rng.integers(1, 4))
    taps = shape.kernel[0] * shape.kernel[1]
    size = (taps, 1 if grouped else shape.channels, filters)
    weights, bias = rng.integers(-16, 16, size), rng.integers(-99, 99, filters)
    y = (depthwise if grouped else convolved)(build, x, shape, weights, bias)
    events = rng.integers(-140, 140, (20, *x.shape)) / 2 * INPUT.lsb
    used = same_bits(build.graph((y.name,)), [events])
    assert "Conv" in used
    assert not {"Gather", "MatMul", "Add"} & set(used[used.index("Conv") :])


@settings(max_examples=40)
@given(shape=shapes, padding=st.sampled_from([-128, -127, 0, 127]), seed=st.integers(0, 99))
def test_maximum_over_windows(shape: Shape, padding: int, seed: int) -> None:
    if not usable(shape):
        return
    rng, build = np.random.default_rng(seed), GraphBuilder()
    x = build.input("x", (shape.height, shape.width, shape.channels), INPUT)
    y = pooled(build, x, shape, padding)
    events = rng.integers(-128, 128, (20, *x.shape)) * INPUT.lsb
    used = same_bits(build.graph((y.name,)), [events])
    least = padding == -128 or (shape.pixels() >= 0).all()
    assert ("MaxPool" in used, "Gather" in used) == (least, not least)


def test_a_whole_network_stays_channels_first(rng: np.random.Generator) -> None:
    """Two convolutions, a pool, a dense layer; the only transposition is that of the input."""
    build = GraphBuilder()
    x = build.input("x", (9, 8, 2), INPUT)
    first = Shape(9, 8, 2, (3, 3), pads=(1, 1, 1, 1))
    y = convolved(build, x, first, rng.integers(-16, 16, (9, 2, 4)), rng.integers(-9, 9, 4))
    y = pooled(build, y, Shape(9, 8, 4, (2, 2), (2, 2)), 0)
    second = Shape(4, 4, 4, (3, 2), (1, 2))
    y = convolved(build, y, second, rng.integers(-16, 16, (6, 4, 3)), rng.integers(-9, 9, 3))
    flat = build.reshape(y, (12, 1))
    weights = build.integers(rng.integers(-16, 16, (12, 5)), Format(True, 5, 2))
    y = build.apply("dot", flat, weights)
    y = build.cast(build.apply("add", y, build.integers(rng.integers(-9, 9, 5), INPUT)), RELU)
    events = rng.integers(-140, 140, (50, 9, 8, 2)) / 2 * INPUT.lsb
    used = same_bits(build.graph((y.name,)), [events])
    linear = [op for op in used if op in ("Transpose", "Conv", "MaxPool", "Gemm", "Gather", "Add")]
    assert linear[-5:] == ["Transpose", "Conv", "MaxPool", "Conv", "Gemm"]


def test_products_that_are_needed_twice_are_not_fused(rng: np.random.Generator) -> None:
    build = GraphBuilder()
    x = build.reshape(build.input("x", (4,), INPUT), (4, 1))
    total = build.apply("dot", x, build.integers(rng.integers(-9, 9, (4, 3)), INPUT))
    plus = build.apply("add", total, build.integers([1, 2, 3], INPUT))
    narrow = build.cast(plus, RELU)
    events = rng.integers(-128, 128, (50, 4)) * INPUT.lsb
    graph = build.graph((narrow.name, total.name))
    assert "MatMul" in same_bits(graph, [events])


@pytest.mark.parametrize("bias", [0, 1 << 23, (1 << 24) - 200 * 2047 * 31])
def test_a_bias_that_partial_sums_cannot_take(bias: int, rng: np.random.Generator) -> None:
    """The sums fit in float32, and with the bias, but not every partial sum with it first."""
    build = GraphBuilder()
    x = build.reshape(build.input("x", (400,), Format(False, 11, 11)), (400, 1))
    signs = np.where(np.arange(400) < 200, 31, -31)[:, None]
    total = build.apply("dot", x, build.integers(signs, Format(True, 6, 6)))
    y = build.apply("add", total, build.integers([bias], Format(False, 25, 25)))
    events = rng.integers(2040, 2048, (200, 400)).astype(float)
    used = same_bits(build.graph((y.name,)), [events])
    assert ("Gemm" in used) == (400 * 2047 * 31 + bias <= 1 << 24)


@settings(max_examples=100)
@given(
    finer=st.integers(0, 20),
    zeros=st.integers(0, 20),
    rounding=st.sampled_from(Rounding),
    overflow=st.sampled_from(Overflow),
    rectified=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_bias_on_a_finer_grid_than_the_products(
    finer: int,
    zeros: int,
    rounding: Rounding,
    overflow: Overflow,
    rectified: bool,
    seed: int,
) -> None:
    """`finer` bits more than the products, of which `zeros` are zero."""
    rng, build = np.random.default_rng(seed), GraphBuilder()
    x = build.reshape(build.input("x", (12,), INPUT), (12, 1))
    total = build.apply(
        "dot", x, build.integers(rng.integers(-16, 16, (12, 3)), Format(True, 5, 2))
    )
    fraction = total.format.fraction + finer
    bias = rng.integers(-(2**24), 2**24, 3) >> zeros << zeros
    y = build.apply("add", total, build.integers(bias, Format(True, 26, 26 - fraction)))
    if rectified:
        y = build.apply("max", y, build.number(0, y, Format(False, 1, 1)))
    y = build.cast(build.reshape(y, (3, 1)), Format(True, 7, 4, rounding, overflow))
    events = rng.integers(-128, 128, (300, 12)) * INPUT.lsb
    same_bits(build.graph((y.name,)), [events])


def test_a_bias_of_few_bits_stays_in_float32(rng: np.random.Generator) -> None:
    """26 bits of the sum, of which the last 10 are zeros: exact in float32."""
    build = GraphBuilder()
    x = build.reshape(build.input("x", (12,), INPUT), (12, 1))
    total = build.apply(
        "dot", x, build.integers(rng.integers(-16, 16, (12, 3)), Format(True, 5, 2))
    )
    bias = build.integers([1024, -5120, 9216], Format(True, 26, 26 - total.format.fraction - 14))
    y = build.cast(build.apply("add", total, bias), RELU)
    graph = build.graph((y.name,))
    events = rng.integers(-128, 128, (300, 12)) * INPUT.lsb
    used = same_bits(graph, [events])
    assert used[-4:] == ["Gemm", "Round", "Clip", "Mul"]
    assert "Cast" not in used


def test_what_is_no_window_of_an_image() -> None:
    image = (4, 4, 1)
    whole = Shape(4, 4, 1, (2, 2)).pixels()[:, :, None]
    assert match_windows(whole, image) == Windows((2, 2), (1, 1), (0, 0, 0, 0), (3, 3))
    assert match_windows(whole[:, ::-1], image) is None
    assert match_windows(whole[[0, 2, 1, 3]], image) is None
    assert match_windows(whole[:, :8], image) is None
    other = whole.copy()
    other[1, 2] = 15
    assert match_windows(other, image) is None
    padded = np.where(whole == 5, 16, whole)  # a hole in the image
    assert match_windows(padded, image) is None


def operators(graph: Graph) -> list[str]:
    """What is between input and output, without the casts of the real numbers."""
    model = to_onnx(graph)
    used = [node.op_type for node in model.graph.node]
    boundary = {"Cast", "Clip", "Mul", "Floor", "Add", "Sub"}
    return [op for op in used if op not in boundary]


def test_a_dense_layer_is_one_matrix_product() -> None:
    build = GraphBuilder()
    column = build.reshape(build.input("x", (5,), INPUT), (5, 1))
    y = build.apply("dot", column, build.integers(np.eye(5, 3, dtype=int), INPUT))
    assert operators(build.graph((y.name,))) == ["MatMul"]


def test_a_product_for_every_pixel_is_one_convolution() -> None:
    build = GraphBuilder()
    patches = build.input("x", (9, 20, 1), INPUT)
    y = build.apply("dot", patches, build.integers(np.ones((9, 1, 4), dtype=int), INPUT))
    assert operators(build.graph((y.name,))) == ["Conv", "Transpose", "Reshape"]


def test_a_depthwise_convolution_is_a_product_and_a_sum() -> None:
    build = GraphBuilder()
    patches = build.input("x", (9, 20, 4), INPUT)
    y = build.apply("dot", patches, build.integers(np.ones((9, 1, 4), dtype=int), INPUT))
    assert operators(build.graph((y.name,))) == ["ReduceSum"]
