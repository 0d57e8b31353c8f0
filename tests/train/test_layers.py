"""Every kind of layer: what the quantized network computes, and the same bits in firmware."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.train.bench import standardisation, train_network
from samebits.train.build import build, take_weights
from samebits.train.config import fit_options
from samebits.train.formats import choose_formats
from samebits.train.layers import (
    AveragePool,
    Concatenate,
    Conv,
    Dense,
    Embedding,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    L2Pool,
    Maxout,
    Multiply,
    OneHot,
    Square,
    Standardise,
    Sum,
)
from samebits.train.network import Network, points
from samebits.train.optimize import Samples, outputs
from samebits.train.store import load_model, save_model
from samebits.train.tensorflow import load

Array = np.ndarray[Any, np.dtype[np.float32]]


def events(shape: tuple[int, ...], categories: tuple[int, ...] = (), seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, *shape)).astype(np.float32)
    for place, count in enumerate(categories):
        x[:, place - len(categories)] = rng.integers(0, count, len(x))
    return x


def quantized(network: Network, x: Array) -> Any:
    """The quantized network of random weights, with formats from these events."""
    scaling = standardisation(network, x, 6)
    model = build(network, scaling=scaling, seed=3)
    made = build(network, choose_formats(network, model, x), scaling=scaling)
    take_weights(made, model)
    return made


def answers(model: Any, layer: str, x: Array) -> Array:
    return outputs(load().keras.Model(model.input, model.get_layer(layer).output), x)


@pytest.mark.parametrize(
    ("network", "categories"),
    [
        (Network((6,), (Standardise(), Embedding((5, 8), size=3), Maxout(4, 3))), (5, 8)),
        (Network((2,), (OneHot((3, 7)), Dense(4), Multiply("dense_1"))), (3, 7)),
        (Network((6, 5, 1), (Conv(3, 3), "relu", GlobalMaxPool(), Dense(2))), ()),
        (Network((9, 2), (Conv(3, 2), Square(), AveragePool(2), GlobalAveragePool())), ()),
        (Network((8, 2), (Conv(3, 1), L2Pool(2), Flatten(), Dense(2))), ()),
        (Network((4,), (Dense(4), "tanh", Concatenate("input"), Sum((1.0,) * 7 + (-0.25,)))), ()),
    ],
    ids=["embedding, maxout", "one-hot, product", "max", "squares, mean", "l2", "concatenate, sum"],
)
def test_the_same_bits(network: Network, categories: tuple[int, ...]) -> None:
    x = events(network.inputs, categories)
    model = quantized(network, x)
    design = Design.from_keras(model)
    verification = design.verify(x, against=["onnxruntime"], adversarial=not categories)
    assert verification.mismatching_bits == 0
    firmware = np.asarray(design.simulate(x))
    if "tanh_1" not in network.names:  # the only function here that is a table in firmware
        assert np.array_equal(firmware, outputs(model, x).reshape(firmware.shape))


def test_maxout_is_the_largest_piece() -> None:
    x = events((6,))
    model = quantized(Network((6,), (Maxout(4, 3), Dense(1))), x)
    pieces = answers(model, "maxout_1_pieces", x)
    assert np.array_equal(answers(model, "maxout_1", x), pieces.reshape(-1, 3, 4).max(axis=1))


def test_l2_pooling_is_the_root_of_the_mean_square(tmp_path: Any) -> None:
    x = events((4, 4, 2))
    network = Network((4, 4, 2), (L2Pool(2), Flatten(), Dense(1)))
    floats = build(network)
    windows = x.reshape(-1, 2, 2, 2, 2, 2).astype(np.float64)
    exact = np.sqrt((windows**2).mean(axis=(2, 4)))
    assert np.abs(answers(floats, "l2_pool_1", x) - exact).max() < 1e-6
    model = quantized(network, x)
    mean = answers(model, "l2_pool_1.mean.rounded", x)
    again = load_model(save_model(model, tmp_path / "model.keras"))
    assert np.array_equal(answers(again, "l2_pool_1", x), np.sqrt(mean))
    zeros = np.zeros((1, 4, 4, 2), np.float32)
    tf = load().tf
    with tf.GradientTape() as tape:
        value = floats(tape.watch(start := tf.constant(zeros)) or start)
    assert np.array_equal(tape.gradient(value, start), zeros)  # not infinite


def test_categories_are_replaced_and_the_others_stay() -> None:
    x = events((5,), (3, 4))
    network = Network((5,), (OneHot((3, 4)), Dense(1)))
    joined = answers(quantized(network, x), "one_hot_1_joined_rounded", x)
    assert np.array_equal(joined[:, 3:6], np.eye(3)[x[:, 3].astype(int)])
    assert np.array_equal(joined[:, 6:], np.eye(4)[x[:, 4].astype(int)])
    assert np.abs(joined[:, :3] - x[:, :3]).max() <= 2.0**-6
    no_category = np.array([[0, 0, 0, 3, 9]], np.float32)  # three categories have a row for 3
    joined = answers(quantized(network, x), "one_hot_1_joined_rounded", no_category)
    assert joined[0, 3:].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_an_embedding_keeps_its_tables_in_a_file(tmp_path: Any) -> None:
    x = events((3,), (6,))
    model = quantized(Network((3,), (Standardise(), Embedding((6,), size=2), Dense(2))), x)
    again = load_model(save_model(model, tmp_path / "model.keras"))
    assert np.array_equal(outputs(again, x), outputs(model, x))


def test_numbers_that_are_no_categories_are_refused() -> None:
    network = Network((3,), (Embedding((4,)), Dense(1)))
    x = events((3,), (5,))
    part = Samples(x, x[:, 0])
    with pytest.raises(errors.DataError) as caught:
        train_network(network, part, part, fit_options(loss="mean_squared_error"))
    assert str(caught.value) == (
        "samples: column 2 holds the categories of 'embedding_1' and is 4 at event "
        f"{int(np.argmax(x[:, 2] == 4))}; wanted whole numbers from 0 to 3"
    )
    fine = events((3,), (4,))
    table = choose_formats(network, build(network), fine, given={"input": "fixed<4,1>"})
    with pytest.raises(errors.UsageError, match="does not hold the numbers 0 to 3"):
        build(network, table)


def test_wide_inputs_still_hold_whole_numbers() -> None:
    x = events((3,), (4,))
    x[:, 0] *= 3000
    network = Network((3,), (Embedding((4,)), Dense(1)))
    assert choose_formats(network, build(network), x)["input"].lsb == 1


def test_inputs_to_be_standardised_keep_small_channels_beside_large_ones() -> None:
    x = events((3,)) * np.array([300, 1, 0.2], np.float32)
    network = Network((3,), (Standardise(), Dense(1)))
    model = build(network, scaling=standardisation(network, x, 6))
    assert choose_formats(network, model, x)["input"].lsb <= 0.2 / 32


def test_squares_are_exact_in_front_of_sums_only() -> None:
    assert "square_1" not in points(Network((4,), (Square(), Sum())))
    assert "square_1" in points(Network((4,), (Square(), Dense(1))))


def test_every_mistake_is_listed() -> None:
    with pytest.raises(errors.UsageError) as caught:
        Network((4,), (Dense(2), OneHot((1,)), Maxout(0, 3)))
    assert str(caught.value).splitlines() == [
        "network:",
        "  one_hot_1: takes columns of the inputs: it must be the first layer, or behind "
        "Standardise",
        "  one_hot_1: categories are (1,); wanted 2 or more for each of the last columns",
        "  maxout_1: units is 0; wanted 1 or more",
    ]
    for layers, message in (
        ((Conv(2, 3), Maxout(4)), "it takes one axis; put Flatten before it"),
        ((Flatten(), GlobalMaxPool()), "it needs .steps, channels. or .rows, columns, channels."),
        ((Flatten(), Sum((1.0, 2.0))), "it has 2 weights for 12 numbers"),
        ((Embedding((4,)), Dense(1)), "it needs events .columns,. with at least 1"),
    ):
        with pytest.raises(errors.UsageError, match=message):
            build(Network((6, 2), layers))
