"""Convolutions: windows, kernels and products of hls4ml against its transcribed headers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hls4ml.model.quantizers import BinaryQuantizer, TernaryQuantizer
from hls4ml.model.types import XnorPrecisionType

from samebits import errors
from samebits.compile.lowering import lower
from samebits.sim.numpy_engine import NumpyEngine

from .converted import refusal
from .single import SATURATED, Powers, Single, conv

BACKENDS = ("Vivado", "Vitis")
BOTH_IO = ("io_parallel", "io_stream")
GEOMETRIES: dict[str, tuple[Any, ...]] = {
    # kind, input shape, filters, filter, stride, padding
    "1d": ("Conv1D", (7, 2), 3, (3,), (1,), (0, 0)),
    "1d_stride": ("Conv1D", (8, 2), 3, (3,), (2,), (0, 0)),
    "1d_stride_beyond_filter": ("Conv1D", (9, 2), 2, (2,), (4,), (0, 0)),
    "1d_causal": ("Conv1D", (6, 2), 2, (3,), (1,), (2, 0)),
    "1d_padded": ("Conv1D", (7, 1), 2, (3,), (2,), (1, 2)),
    "1d_pointwise": ("Conv1D", (5, 3), 4, (1,), (1,), (0, 0)),
    "1d_pointwise_stride": ("Conv1D", (5, 3), 4, (1,), (2,), (0, 0)),
    "1d_pointwise_padded": ("Conv1D", (5, 3), 4, (1,), (2,), (1, 2)),
    "2d": ("Conv2D", (5, 4, 2), 3, (3, 2), (1, 1), (0, 0, 0, 0)),
    "2d_stride": ("Conv2D", (6, 7, 2), 2, (2, 3), (3, 2), (0, 0, 0, 0)),
    "2d_padded": ("Conv2D", (4, 5, 2), 2, (3, 3), (1, 2), (1, 2, 0, 1)),
    "2d_column": ("Conv2D", (5, 4, 2), 2, (3, 1), (2, 2), (0, 0, 0, 0)),
    "2d_pointwise": ("Conv2D", (3, 4, 3), 2, (1, 1), (1, 1), (0, 0, 0, 0)),
    "2d_pointwise_stride": ("Conv2D", (4, 5, 3), 2, (1, 1), (2, 3), (0, 0, 0, 0)),
    "1d_depthwise": ("DepthwiseConv1D", (7, 3), 3, (3,), (2,), (1, 1)),
    "1d_depthwise_narrow": ("DepthwiseConv1D", (5, 3), 3, (1,), (1,), (0, 0)),
    "2d_depthwise": ("DepthwiseConv2D", (4, 5, 3), 3, (2, 3), (1, 2), (0, 1, 1, 1)),
}
WEIGHTS = {
    "binary": BinaryQuantizer(1),
    "ternary": TernaryQuantizer(),
    "powers": Powers(3),
}


def attribute(**values: Any) -> Callable[[Any], None]:
    def change(layer: Any) -> None:
        for name, value in values.items():
            layer.set_attr(name, value)

    return change


@pytest.mark.parametrize("io_type", BOTH_IO)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometries(name: str, backend: str, io_type: str, rng: np.random.Generator) -> None:
    geometry = GEOMETRIES[name]
    Single(conv(rng, *geometry), geometry[1], backend, io_type).check(rng)


@pytest.mark.parametrize("io_type", BOTH_IO)
@pytest.mark.parametrize(
    ("name", "reuse"),
    [
        *(("1d", 2), ("1d_stride", 6), ("2d_padded", 6), ("2d_padded", 9)),
        *(("1d_pointwise", 3), ("2d_pointwise_stride", 3), ("2d_pointwise", 1)),
    ],
)
def test_resource(name: str, reuse: int, io_type: str, rng: np.random.Generator) -> None:
    geometry = GEOMETRIES[name]
    Single(conv(rng, *geometry), geometry[1], "Vivado", io_type, "Resource", reuse).check(rng)


@pytest.mark.parametrize("reuse", [2, 3, 6, 12])
@pytest.mark.parametrize("strategy", ["Resource", "resource_unrolled"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_streams_with_any_reuse_factor(
    backend: str, strategy: str, reuse: int, rng: np.random.Generator
) -> None:
    attributes = conv(rng, "Conv1D", (5, 2), 4, (3,), weight_quantizer=BinaryQuantizer(1))
    Single(attributes, (5, 2), backend, "io_stream", strategy, reuse).check(rng)


@pytest.mark.parametrize("accum", [SATURATED, "fixed<7,3>"])
@pytest.mark.parametrize("reuse", [1, 2, 3, 4, 6, 8, 12, 24, 48])
def test_depthwise_resource(reuse: int, accum: str, rng: np.random.Generator) -> None:
    attributes = conv(rng, "DepthwiseConv2D", (4, 4, 4), 4, (3, 2))
    Single(attributes, (4, 4, 4), "Vitis", "io_stream", "Resource", reuse, accum).check(rng)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["Conv1D", "Conv2D"])
def test_parallelization(kind: str, factor: int, rng: np.random.Generator) -> None:
    shape, size = ((8, 2), (1,)) if kind == "Conv1D" else ((2, 4, 2), (1, 1))
    options = {"ParallelizationFactor": factor}
    Single(conv(rng, kind, shape, 3, size), shape, options=options).check(rng)


@pytest.mark.parametrize("data", ["fixed<6,3>", "xnor"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ["1d_padded", "2d_padded", "1d_depthwise", "2d_depthwise"])
def test_products(name: str, weights: str, data: str, rng: np.random.Generator) -> None:
    geometry = GEOMETRIES[name]
    depthwise = "Depthwise" in geometry[0]
    quantizer = "depthwise_quantizer" if depthwise else "weight_quantizer"
    attributes = conv(rng, *geometry, **{quantizer: WEIGHTS[weights]})
    stem = "depthwise_data" if depthwise else "weight_data"
    attributes[stem] = rng.normal(0, 2, attributes[stem].shape)
    kind = XnorPrecisionType() if data == "xnor" else data
    Single(attributes, geometry[1], accum="fixed<14,8,RND,SAT>", data=kind).check(rng)


@pytest.mark.parametrize("kind", ["Conv1D", "DepthwiseConv1D"])
def test_batched_dense_counts_matches_of_the_whole_image(
    kind: str, rng: np.random.Generator
) -> None:
    quantizer = "weight_quantizer" if kind == "Conv1D" else "depthwise_quantizer"
    attributes = conv(rng, kind, (5, 3), 3, (1,), **{quantizer: BinaryQuantizer(1)})
    single = Single(attributes, (5, 3), data=XnorPrecisionType(), accum="fixed<9,6>")
    single.options = {"ParallelizationFactor": 5}
    single.check(rng)


def test_batched_dense_takes_no_product_of_padding(rng: np.random.Generator) -> None:
    # elsewhere padding is a zero, which stands for -1 among binary data
    attributes = conv(rng, "Conv1D", (3, 2), 2, (1,), pads=(1, 1))
    attributes["bias_data"] = np.array([0.5, 0.25])
    attributes["weight_data"] = np.array([[[1.0, 0.5], [0.5, 1.0]]])
    single = Single(attributes, (3, 2), data=XnorPrecisionType(), accum="fixed<8,4>")
    single.options = {"ParallelizationFactor": 5}
    graph = lower(single.model())
    (got,) = NumpyEngine(graph).run([np.ones((1, 3, 2))], graph.outputs)
    assert got.tolist() == [[[0.5, 0.25], [2.0, 1.75], [2.0, 1.75], [2.0, 1.75], [0.5, 0.25]]]
    single.options = {"ParallelizationFactor": 1}  # the kernel of im2col
    graph = lower(single.model())
    (got,) = NumpyEngine(graph).run([np.ones((1, 3, 2))], graph.outputs)
    assert got.tolist()[0][0] == [-1.0, -1.25]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", ["DepthwiseConv1D", "Conv2D", "DepthwiseConv2D"])
def test_encoded(kind: str, size: int, stride: int, rng: np.random.Generator) -> None:
    dimensions = 1 if kind.endswith("1D") else 2
    shape = (*(11, 9)[-dimensions:], 2)
    sizes, strides = (size,) * dimensions, (stride,) * dimensions
    attributes = conv(rng, kind, shape, 2, sizes, strides)
    options = {"ConvImplementation": "Encoded"}
    Single(attributes, shape, "Vivado", "io_stream", options=options).check(rng)


def test_one_filter_row_in_a_stream_knows_no_vertical_stride(rng: np.random.Generator) -> None:
    # the first pixels of too many: hls4ml's kernel of one dimension makes them for every row
    attributes = conv(rng, "Conv2D", (5, 4, 2), 2, (1, 2), (2, 1))
    Single(attributes, (5, 4, 2), io_type="io_stream").check(rng)


def test_streams_ignore_dilation(rng: np.random.Generator) -> None:
    attributes = conv(rng, "Conv2D", (6, 5, 1), 2, (3, 2), dilation=2)
    attributes |= {"out_height": 2, "out_width": 3}
    Single(attributes, (6, 5, 1), io_type="io_stream").check(rng)


CONV1D: tuple[Any, ...] = ("Conv1D", (6, 2), 4, (3,))
DEPTHWISE: tuple[Any, ...] = ("DepthwiseConv1D", (6, 2), 2, (3,))
REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (
        CONV1D,
        {"strategy": "Resource", "reuse": 12},
        "layer layer (Conv1D): reuse factor 12 is more than the 6 inputs of a window; hls4ml's C "
        "simulation aborts or reads beyond its buffer there",
    ),
    (
        CONV1D,
        {"strategy": "Resource", "tweak": attribute(reuse_factor=4)},
        "layer layer (Conv1D): reuse factor 4 does not divide the 6 inputs; hls4ml's resource "
        "kernel is undefined there",
    ),
    (
        CONV1D,
        {"strategy": "Resource", "io_type": "io_stream", "tweak": attribute(reuse_factor=8)},
        "layer layer (Conv1D): reuse factor 8 is neither a divisor nor a multiple of the 6 inputs; "
        "hls4ml's resource kernel is undefined there",
    ),
    (
        # hls4ml checks no reuse factors of convolutions that it makes pointwise
        ("Conv1D", (6, 3), 4, (1,)),
        {"strategy": "Resource", "reuse": 2},
        "layer layer (PointwiseConv1D): reuse factor 2 does not divide the 3 inputs; hls4ml's "
        "resource kernel is undefined there",
    ),
    (
        CONV1D,
        {"tweak": attribute(strategy="compressed")},
        "layer layer (Conv1D): strategy compressed is not supported; supported: latency, "
        "resource, resource_unrolled",
    ),
    (
        CONV1D,
        {"tweak": attribute(data_format="channels_first")},
        "layer layer (Conv1D): data_format channels_first is not supported; supported: "
        "channels_last; hls4ml has no such kernel",
    ),
    (
        CONV1D,
        {"tweak": attribute(out_width=2)},
        "layer layer (Conv1D): hls4ml's kernel, knowing no dilation, makes 4 pixels of a result "
        "that has 2; its C simulation is undefined there",
    ),
    (
        CONV1D,
        {"io_type": "io_stream", "tweak": attribute(pad_left=1)},
        "layer layer (Conv1D): padding in io_stream; hls4ml's C simulation aborts there; pad by a "
        "layer of its own",
    ),
    (
        CONV1D,
        {"io_type": "io_stream", "tweak": attribute(out_width=5)},
        "layer layer (Conv1D): hls4ml's kernel, knowing no dilation, makes 4 pixels of a result "
        "that has 5; its C simulation is undefined there",
    ),
    (
        CONV1D,
        {"io_type": "io_stream", "tweak": attribute(implementation="encoded")},
        "layer layer (Conv1D): implementation encoded is for square filters on Vivado; hls4ml's C "
        "simulation aborts here; use linebuffer",
    ),
    (
        DEPTHWISE,
        {"strategy": "Resource"},
        "layer layer (DepthwiseConv1D): strategy resource in io_parallel; hls4ml's C simulation "
        "aborts there; use latency",
    ),
    (
        DEPTHWISE,
        {"tweak": attribute(n_filt=4)},
        "layer layer (DepthwiseConv1D): 4 filters for 2 channels; hls4ml's C simulation aborts or "
        "writes beyond its buffer there; supported: depth multiplier 1",
    ),
    (
        DEPTHWISE,
        {"strategy": "Resource", "io_type": "io_stream", "tweak": attribute(reuse_factor=4)},
        "layer layer (DepthwiseConv1D): reuse factor 4 does not divide the 6 inputs of a window; "
        "hls4ml's resource kernel is undefined there",
    ),
]
ENCODED: dict[str, Any] = {"backend": "Vivado", "io_type": "io_stream"}
ENCODED["options"] = {"ConvImplementation": "Encoded"}
REFUSED += [
    (
        ("Conv1D", (4, 2), 2, (3,), (2,)),
        ENCODED,
        "layer layer (Conv1D): implementation encoded reads empty streams for this stride and "
        "filter; hls4ml's C simulation is undefined there; use linebuffer",
    ),
    (
        ("Conv2D", (7, 9, 2), 2, (2, 2), (2, 1)),
        ENCODED,
        "layer layer (Conv2D): implementation encoded reads empty streams for this stride and "
        "filter; hls4ml's C simulation is undefined there; use linebuffer",
    ),
    (
        ("Conv2D", (7, 9, 2), 2, (2, 3)),
        ENCODED,
        "layer layer (Conv2D): implementation encoded is for square filters on Vivado; hls4ml's C "
        "simulation aborts here; use linebuffer",
    ),
]


@pytest.mark.parametrize(("geometry", "changes", "message"), REFUSED)
def test_refusals(
    geometry: tuple[Any, ...], changes: dict[str, Any], message: str, rng: np.random.Generator
) -> None:
    single = Single(conv(rng, *geometry), geometry[1])
    for name, value in changes.items():
        setattr(single, name, value)
    assert refusal(single.model()) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_chan": 3}, "layer layer (Conv1D): 24 weights, 36 are needed"),
        (
            {"in_width": 7},
            "layer layer (Conv1D): input shape (6, 2) for an image of 1 x 7 pixels and 2 channels",
        ),
    ],
)
def test_broken_sizes(changes: dict[str, int], message: str, rng: np.random.Generator) -> None:
    single = Single(conv(rng, *CONV1D), (6, 2), tweak=attribute(**changes))
    assert refusal(single.model(), errors.ModelError) == message
