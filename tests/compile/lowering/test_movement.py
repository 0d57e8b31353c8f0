"""Data movement against loops that repeat hls4ml's kernels one element at a time."""

from fractions import Fraction
from itertools import permutations
from math import trunc
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

IO_TYPES = ("io_parallel", "io_stream")
BYTE = fixed(8, 4)


def moved(
    shape: tuple[int, ...],
    layer: dict[str, Any],
    data: Kind = BYTE,
    result: Kind = BYTE,
    io_type: str = "io_parallel",
    **types: Kind,
) -> Any:
    described = {"name": "move", "inputs": ["x0"], "data_format": "channels_last", **layer}
    model = convert([(shape, data)], [described], ["move"], {"move": types}, io_type)
    give(model, result)
    return model


def give(model: Any, result: Kind) -> None:
    """Sets the type of the output; most layers would take their input's."""
    precision = model.config.backend.convert_precision_string(str(result))
    model.get_output_variables()[0].type.precision = precision


def run(
    shape: tuple[int, ...], layer: dict[str, Any], rng: np.random.Generator, io_type: str
) -> tuple[Kind, Any, Any]:
    """The result's type, and the exact inputs and outputs of random types and events."""
    data, result = draw_kind(rng), draw_kind(rng)
    x = events(rng, data, shape)
    (got,) = simulate(moved(shape, layer, data, result, io_type), [x])
    return result, exactly(x), exactly(got)


@pytest.mark.parametrize("io_type", IO_TYPES)
@pytest.mark.parametrize(
    "perm", [p for n in (2, 3, 4) for p in permutations(range(n)) if p != tuple(range(n))]
)
def test_transpose(perm: tuple[int, ...], io_type: str) -> None:
    rng = np.random.default_rng(perm)
    shape = (2, 3, 4, 2)[: len(perm)]
    layer = {"class_name": "Transpose", "perm": list(perm)}
    result, x, got = run(shape, layer, rng, io_type)
    for before, after in zip(x, got, strict=True):
        for index in np.ndindex(after.shape):
            source = [0] * len(perm)
            for place, axis in enumerate(perm):
                source[axis] = index[place]
            assert after[index] == result.cast(before[tuple(source)])


@pytest.mark.parametrize("case", ["parallel", "channels_first", "stream"])
@pytest.mark.parametrize("rank", [1, 2])
def test_zero_padding(rank: int, case: str) -> None:
    rng = np.random.default_rng(rank)
    (top, bottom, left, right), first = (1, 2, 3, 0), case == "channels_first"
    height, width, channels = (2, 3, 2) if rank == 2 else (1, 3, 2)
    top, bottom = (top, bottom) if rank == 2 else (0, 0)
    sizes = (height, width)[2 - rank :]
    shape = (channels, *sizes) if first else (*sizes, channels)
    layer = {
        "class_name": f"ZeroPadding{rank}D",
        **{"in_height": height, "in_width": width, "n_chan": channels},
        **{"out_height": height + top + bottom, "out_width": width + left + right},
        **{"pad_top": top, "pad_bottom": bottom, "pad_left": left, "pad_right": right},
        "data_format": "channels_first" if first else "channels_last",
    }
    data = draw_kind(rng)
    result = data if first else draw_kind(rng)  # `zeropad_cf` has one type for both
    x = events(rng, data, shape)
    io_type = "io_stream" if case == "stream" else "io_parallel"
    (got,) = simulate(moved(shape, layer, data, result, io_type), [x])
    for before, after in zip(exactly(x), exactly(got), strict=True):
        if first:
            before, after = np.moveaxis(before, 0, -1), np.moveaxis(after, 0, -1)
        before = before.reshape(height, width, channels)
        after = after.reshape(height + top + bottom, width + left + right, channels)
        for i, j, c in np.ndindex(after.shape):
            inside = 0 <= i - top < height and 0 <= j - left < width
            value = before[i - top, j - left, c] if inside else Fraction(0)
            assert after[i, j, c] == result.cast(value)


@pytest.mark.parametrize("case", ["parallel", "channels_first", "stream"])
@pytest.mark.parametrize("rank", [1, 2])
def test_cropping(rank: int, case: str) -> None:
    if rank == 1 and case == "channels_first":
        return
    rng = np.random.default_rng(rank)
    first, io_type = case == "channels_first", "io_stream" if case == "stream" else "io_parallel"
    height, width, channels = (5, 6, 2) if rank == 2 else (1, 6, 2)
    top, bottom, left, right = (1, 2, 3, 1) if rank == 2 else (0, 0, 3, 1)
    sizes = (height, width)[2 - rank :]
    layer = {
        "class_name": f"Cropping{rank}D",
        **{"in_height": height, "in_width": width, "n_chan": channels},
        **{"out_height": height - top - bottom, "out_width": width - left - right},
        **{"crop_top": top, "crop_bottom": bottom, "crop_left": left, "crop_right": right},
        "data_format": "channels_first" if first else "channels_last",
    }
    result, x, got = run((channels, *sizes) if first else (*sizes, channels), layer, rng, io_type)
    for before, after in zip(x, got, strict=True):
        if first:
            before, after = np.moveaxis(before, 0, -1), np.moveaxis(after, 0, -1)
        before = before.reshape(height, width, channels)
        after = after.reshape(height - top - bottom, width - left - right, channels)
        for i, j, c in np.ndindex(after.shape):
            assert after[i, j, c] == result.cast(before[i + top, j + left, c])


@pytest.mark.parametrize("io_type", IO_TYPES)
@pytest.mark.parametrize("sizes", [(2, 3, 4, 9), (3, 2, 3, 2), (5, 7, 3, 4), (4, 1, 7, 5)])
def test_resize(sizes: tuple[int, int, int, int], io_type: str) -> None:
    height, width, new_height, new_width = sizes
    layer = {
        "class_name": "UpSampling2D",
        "algorithm": "nearest",
        **{"in_height": height, "in_width": width, "n_chan": 2},
        **{"out_height": new_height, "out_width": new_width},
    }
    model = moved((height, width, 2), layer, io_type=io_type)
    if io_type == "io_stream" and (new_height % height or new_width % width):
        assert refusal(model) == (
            f"layer move (Resize): {height} x {width} to {new_height} x {new_width} is no whole "
            "multiple; hls4ml's C simulation aborts there in io_stream"
        )
        return
    x = events(np.random.default_rng(1), BYTE, (height, width, 2))
    (got,) = simulate(model, [x])
    for i, j in np.ndindex(new_height, new_width):
        row = i * ((height << 16) // new_height + 1) >> 16
        column = j * ((width << 16) // new_width + 1) >> 16
        assert np.array_equal(got[:, i, j], x[:, row, column])


@pytest.mark.parametrize("io_type", IO_TYPES)
@pytest.mark.parametrize(
    "kind", [integer(4, signed=False), integer(5), fixed(12, 6), fixed(5, 6), fixed(9, 5, False)]
)
def test_embedding(kind: Kind, io_type: str) -> None:
    rng = np.random.default_rng(5)
    table, weights, result = rng.normal(size=(7, 3)) * 4, fixed(9, 4), fixed(7, 4, modes="RND,SAT")
    layer = {
        "class_name": "Embedding",
        **{"n_in": 4, "n_out": 3, "vocab_size": 7, "embeddings_data": table},
    }
    model = moved((4,), layer, kind, result, io_type, embeddings=weights)
    step = 2.0**-kind.format.fraction
    x = np.floor(rng.uniform(0, 6.01, (20, 4)) / step) * step  # fractions too where there are
    (got,) = simulate(model, [x])
    digits = weights.format.fraction
    flat = [result.cast(weights.cast(Fraction(f"{value:.{digits}f}"))) for value in table.flat]
    for before, after in zip(exactly(x), exactly(got), strict=True):
        for j, i in np.ndindex(4, 3):
            # nnet_embed.h: the product comes before the conversion to an integer
            assert after[j, i] == flat[trunc(before[j] * 3 + i)]


def test_an_embedding_beyond_its_table_takes_the_nearest_entry() -> None:
    layer = {
        "class_name": "Embedding",
        **{"n_in": 3, "n_out": 1, "vocab_size": 3},
        "embeddings_data": np.array([[1.0], [2.0], [3.0]]),
    }
    for kind in (integer(8), fixed(12, 8)):
        model = moved((3,), layer, kind, BYTE, embeddings=BYTE)
        (got,) = simulate(model, [np.array([[-7.0, 1.0, 100.0]])])
        assert got.tolist() == [[[1.0], [2.0], [3.0]]]


@pytest.mark.parametrize("io_type", IO_TYPES)
@pytest.mark.parametrize("target", [(24,), (2, 12), (6, 4), (2, 3, 2, 2), (1, 24)])
def test_reshape(target: tuple[int, ...], io_type: str) -> None:
    rng = np.random.default_rng(target)
    data, result = draw_kind(rng), draw_kind(rng)
    layers = [
        {"class_name": "Reshape", "name": "move", "inputs": ["x0"], "target_shape": list(target)},
        {"class_name": "Transpose", "name": "next", "inputs": ["move"], "perm": [1, 0]},
    ]
    if len(target) != 2:
        layers = layers[:1]
    if len(target) != 2 and io_type == "io_parallel":
        return  # hls4ml removes it
    last = str(layers[-1]["name"])
    model = convert([((2, 3, 4), data)], layers, [last], {"move": {"result": data}}, io_type)
    give(model, result)
    kinds = [each.class_name for each in model.get_layers()]
    assert ("Repack" in kinds) == (io_type == "io_stream")
    x = events(rng, data, (2, 3, 4))
    (got,) = simulate(model, [x])
    values = x.reshape(-1, *target)
    expected = exactly(values.transpose(0, 2, 1) if len(target) == 2 else values)
    for before, after in zip(expected.flat, exactly(got).flat, strict=True):
        assert after == result.cast(before)


def dense(name: str, source: str) -> dict[str, Any]:
    return {
        "class_name": "Dense",
        **{"name": name, "inputs": [source], "n_in": 6, "n_out": 1},
        **{"weight_data": np.ones((6, 1)), "bias_data": np.zeros(1)},
    }


def test_a_flattened_stream_feeds_two_dense_layers() -> None:
    layers = [
        {"class_name": "Reshape", "name": "flat", "inputs": ["x0"], "target_shape": [6]},
        dense("a", "flat"),
        dense("b", "flat"),
    ]
    model = convert([((2, 3), BYTE)], layers, ["a", "b"], {}, "io_stream")
    assert "Clone" in [each.class_name for each in model.get_layers()]
    x = events(np.random.default_rng(0), BYTE, (2, 3))
    for got in simulate(model, [x]):
        assert np.array_equal(got[:, 0], x.sum(axis=(1, 2)))


@pytest.mark.parametrize("copies", [1, 2])
def test_a_flattened_stream_feeds_nothing_else(copies: int) -> None:
    relu = {"class_name": "Activation", "activation": "relu"}
    names = ["a", "b"][:copies]  # a copy has the packets of what it was copied from
    layers = [
        {"class_name": "Reshape", "name": "flat", "inputs": ["x0"], "target_shape": [6]},
        *({**relu, "name": name, "inputs": ["flat"]} for name in names),
    ]
    assert refusal(convert([((2, 3), BYTE)], layers, names, {}, "io_stream")) == (
        "layer a (Activation): its input, flattened in io_stream, comes in packets of 3 but is "
        "read in packets of 6; hls4ml's C simulation is undefined there; flatten right before a "
        "Dense layer, or use io_parallel"
    )


def test_refused_repack() -> None:
    layer = {"class_name": "Reshape", "target_shape": [3, 4]}
    assert refusal(moved((2, 6), layer, io_type="io_stream")) == (
        "layer repack_move (Repack): packets of 6 cannot be packed anew as packets of 4; hls4ml's "
        "C simulation loses elements there"
    )


def test_refused_constant() -> None:
    model = moved((2, 3), {"class_name": "Transpose", "perm": [1, 0]})
    constant = model.make_node("Constant", "three", {"value": np.array([3.0])}, ["x0"])
    model.graph["three"] = constant
    assert refusal(model) == (
        "layer three (Constant): hls4ml writes no values for a constant that is left in its graph; "
        "its C simulation is undefined there"
    )


def test_refused_types() -> None:
    layer = {
        "class_name": "ZeroPadding1D",
        **{"in_width": 2, "n_chan": 2, "out_width": 3, "pad_left": 1, "pad_right": 0},
        "data_format": "channels_first",
    }
    assert refusal(moved((2, 2), layer, result=fixed(9, 4))) == (
        "layer move (ZeroPadding1D): its input is fixed<8,4,TRN,WRAP,0>, its result "
        "fixed<9,4,TRN,WRAP,0>; zeropad_cf has one type for both, so the C simulation does not "
        "compile; give the result its input's type"
    )


def test_refused_sizes() -> None:
    layer = {
        "class_name": "Cropping1D",
        **{"in_width": 4, "n_chan": 2, "out_width": 3, "crop_left": 1, "crop_right": 1},
    }
    assert refusal(moved((4, 2), layer)) == (
        "layer move (Cropping1D): its configuration says (1, 3) is left, cropping leaves (1, 2)"
    )
    assert refusal(moved((5, 2), layer | {"out_width": 2})) == (
        "layer move (Cropping1D): its configuration says (4, 2), its input is (5, 2)"
    )


def test_refused_resizes() -> None:
    layer = {
        "class_name": "UpSampling1D",
        **{"in_height": 1, "out_height": 1, "in_width": 1, "out_width": 257, "n_chan": 1},
    }
    assert refusal(moved((1, 1), layer | {"algorithm": "nearest"})) == (
        "layer move (Resize): resizing 1 to 257 pixels reads beyond the image in hls4ml's 16-bit "
        "arithmetic; its C simulation is undefined there"
    )
    assert refusal(moved((1, 1), layer | {"algorithm": "bilinear"})) == (
        "layer move (Resize): algorithm bilinear is not in hls4ml's Vivado and Vitis kernels; "
        "supported: nearest"
    )


def test_refused_embedding_of_two_axes() -> None:
    layer = {
        "class_name": "Embedding",
        **{"n_in": 2, "n_out": 1, "vocab_size": 2, "embeddings_data": np.ones((2, 1))},
    }
    assert refusal(moved((2, 3), layer, integer(1, False), embeddings=BYTE)) == (
        "layer move (Embedding): its input (2, 3) has 2 axes; hls4ml fills the first only; "
        "flatten it"
    )


def test_an_order_of_two_axes_in_a_stream_is_always_their_exchange() -> None:
    model = moved((3, 3), {"class_name": "Transpose", "perm": [1, 0]}, io_type="io_stream")
    (layer,) = [each for each in model.get_layers() if each.class_name == "Transpose"]
    layer.set_attr("perm", [0, 1])
    x = events(np.random.default_rng(0), BYTE, (3, 3))
    (got,) = simulate(model, [x])
    assert np.array_equal(got, x.transpose(0, 2, 1))
    layer.set_attr("perm", [0])
    assert refusal(model) == (
        "layer move (Transpose): perm (0,) does not order the axes of (3, 3); hls4ml's C "
        "simulation divides by zero there"
    )
    for shape in ((2, 3), (1, 4)):
        model = moved(shape, {"class_name": "Transpose", "perm": [1, 0]}, io_type="io_stream")
        (layer,) = [each for each in model.get_layers() if each.class_name == "Transpose"]
        layer.set_attr("perm", [0, 1])
        assert refusal(model) == (
            "layer move (Transpose): perm (0, 1) in io_stream reads beyond the array; hls4ml's C "
            "simulation is undefined there; remove the transpose, which changes nothing"
        )


def test_refused_broadcast() -> None:
    layers = [
        {"class_name": "Merge", "op": "add", "name": "move", "inputs": ["x0", "x1"]},
    ]
    inputs = [((1, 1, 2), BYTE), ((2, 3, 2), BYTE)]
    model = convert(inputs, layers, ["move"], {}, "io_stream", "Vivado")
    (layer,) = [each for each in model.get_layers() if each.class_name == "Broadcast"]
    layer.get_output_variable().shape[:] = [2, 3, 4]
    assert refusal(model) == (
        f"layer {layer.name} (Broadcast): (1, 1, 2) to (2, 3, 4): hls4ml broadcasts streams from "
        "(1, 1, C) and (H, W, 1) to (H, W, C) only"
    )


def test_the_padding_of_a_convolution_that_goes_to_another_layer() -> None:
    """hls4ml inserts it before the first layer that reads the same input."""

    def converted(*names: str) -> Any:
        relu = {"class_name": "Activation", "activation": "relu", "name": "relu", "n_in": 6}
        conv = {"class_name": "Conv1D", "name": "conv", "n_chan": 2, "n_filt": 1}
        conv |= {"in_width": 3, "out_width": 3, "filt_width": 2, "stride_width": 1}
        conv |= {"pad_left": 0, "pad_right": 1, "data_format": "channels_last"}
        conv |= {"weight_data": np.ones((2, 2, 1)), "bias_data": np.zeros(1)}
        layers = [{"relu": relu, "conv": conv}[name] | {"inputs": ["x0"]} for name in names]
        return convert([((3, 2), BYTE)], layers, names, {}, "io_stream")

    x = np.array([[[1.0, 2], [3, 4], [-5, 6]]])
    for names in (["conv"], ["conv", "relu"]):
        assert simulate(converted(*names), [x])[0].tolist() == [[[10.0], [8.0], [1.0]]]
    assert refusal(converted("relu", "conv")) == (
        "layer zp1d_conv (ZeroPadding1D): hls4ml gives the padding of conv to relu, which reads "
        "the same input; its C simulation is undefined there; pad with a ZeroPadding layer, or "
        "use io_parallel"
    )
