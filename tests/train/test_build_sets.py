"""Deep sets, attention and recurrent layers: rows of zeros count for nothing, bits are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from samebits import Design, errors
from samebits.compile.frontends.keras import check_export, export_keras
from samebits.train.bench import train_network
from samebits.train.build import build, take_weights
from samebits.train.config import fit_options
from samebits.train.formats import choose_formats
from samebits.train.layers import (
    Activation,
    Add,
    Dense,
    Recurrent,
    SelfAttention,
    SetPool,
    Standardise,
)
from samebits.train.network import Network, points
from samebits.train.optimize import Samples, outputs
from samebits.train.pruning import kernel_layers
from samebits.train.scaling import InputFormat

ROWS = 8


def events(count: int, seed: int, rows: int = ROWS) -> np.ndarray:
    """Rows of (pT, two angles), of which 1 to `rows` are real, with zeros behind them."""
    rng = np.random.default_rng(seed)
    pt, angles = rng.uniform(0.1, 1, (count, rows, 1)), rng.normal(size=(count, rows, 2))
    real = np.arange(rows) < rng.integers(1, rows + 1, (count, 1))
    return (np.concatenate([pt, angles], axis=2) * real[..., None]).astype(np.float32)


def firmware(model: Any, x: np.ndarray) -> np.ndarray:
    """What the design computes, after the QONNX model was compared with Keras and the engines
    agreed on every bit."""
    check_export(model, export_keras(model), x)
    design = Design.from_keras(model)
    found = design.verify(x, against=["onnxruntime"], adversarial=False)
    assert found.mismatching_bits == 0
    return np.asarray(design.simulate(x))


def quantized(network: Network, x: np.ndarray) -> tuple[Any, Mapping[str, InputFormat]]:
    """A network with biases, and the formats that were chosen for it."""
    twin = build(network, seed=2)
    rng = np.random.default_rng(3)
    for layer in kernel_layers(twin):
        layer.bias.assign(rng.uniform(0.1, 0.5, layer.bias.shape))
    table = choose_formats(network, twin, x, weight_bits=6, activation_bits=8)
    model = build(network, table)
    take_weights(model, twin)
    return model, table


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_a_pool_counts_the_real_rows_in_any_order(how: Any) -> None:
    x = events(150, 1)
    network = Network((ROWS, 3), (Dense(4), "relu", SetPool(how)))
    model, table = quantized(network, x)
    alone = Network((ROWS, 3), (Dense(4), "relu"))
    rows = build(alone, {point: table[point] for point in points(alone)})
    take_weights(rows, model)
    values, real = outputs(rows, x).astype(np.float64), x[..., :1] > 0
    assert (values * ~real > 0).any()  # of the biases: they would count
    kept = values * real
    wanted = {"sum": kept.sum(axis=1), "mean": kept.mean(axis=1), "max": kept.max(axis=1)}[how]
    if how != "max":
        wanted = table["set_pool_1"].quantize(wanted)
    found = firmware(model, x).reshape(wanted.shape)
    assert np.array_equal(found, wanted)
    order = np.random.default_rng(4).permutation(ROWS)
    assert np.array_equal(outputs(model, x[:, order]), found)


def test_nobody_looks_at_padded_rows() -> None:
    x = events(100, 5, rows=4)
    padded = np.concatenate([x, np.zeros_like(x)], axis=1)
    layers = (Dense(6), "relu", SelfAttention(2, 3), Add("relu_1"), Activation("relu"))
    long, short = Network((8, 3), layers), Network((4, 3), layers)
    model, table = quantized(long, padded)
    assert table["attention_1.shares_2.input"].width == 10
    same = build(short, table)
    take_weights(same, model)
    found = outputs(model, padded)
    assert np.array_equal(found[:, :4], outputs(same, x))
    # hls4ml's softmax is a table: single steps may differ
    differ = firmware(model, padded).reshape(found.shape) != found
    assert np.mean(differ) < 0.05
    open_eyes = Network((8, 3), (*layers[:2], SelfAttention(2, 3, padded=False), *layers[3:]))
    other = build(open_eyes, table)
    take_weights(other, model)
    assert not np.array_equal(outputs(other, padded)[:, :4], found[:, :4])


@pytest.mark.parametrize("cell", ["simple", "lstm", "gru"])
def test_recurrent_networks_are_trained_and_compiled(cell: Any) -> None:
    network = Network(
        (ROWS, 3),
        (Standardise(), Recurrent(cell, 4, backwards=True), Dense(1), "sigmoid"),
    )
    parts = [events(count, seed) for count, seed in ((1500, 6), (200, 7), (200, 8))]
    # whether the event holds more than half of the rows
    train, validation, test = (
        Samples(x, ((x[..., 0] > 0).sum(axis=1) > ROWS // 2).astype(np.int64)) for x in parts
    )
    options = fit_options(
        loss="binary_crossentropy", epochs=8, batch_size=64, learning_rate=0.02, seed=1
    )
    trained = train_network(
        network, train, validation, options, activation_bits=8, formats={"input": "fixed<10,3>"}
    )
    wanted = [f"recurrent_1{part}" for part in (".kernel", ".recurrent", ".bias", "")]
    assert [point for point in trained.formats if point.startswith("recurrent")] == wanted
    found = trained.scores(test, firmware(trained.model, test.inputs))
    assert found["float"] > 0.95
    assert found["firmware"] > 0.93


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(errors.UsageError) as caught:
        Network(
            (4, 3),
            (
                Dense(2),
                SetPool("max"),
                SetPool("median"),  # type: ignore[arg-type]
                Recurrent("rnn", 0),  # type: ignore[arg-type]
                SelfAttention(0, 4),
            ),
        )
    assert str(caught.value).splitlines() == [
        "network:",
        "  set_pool_1: the maximum over padded rows needs features that are not negative: put relu "
        "or sigmoid before it, or give padded=False",
        "  set_pool_2: there is no pooling 'median'; wanted sum, mean, max",
        "  recurrent_1: units is 0; wanted 1 or more",
        "  recurrent_1: there is no cell 'rnn'; wanted simple, lstm, gru",
        "  attention_1: heads is 0; wanted 1 or more",
    ]
    for layer in (SetPool("sum"), SelfAttention(1, 2), Recurrent("gru", 2)):
        with pytest.raises(errors.UsageError, match=r"cannot take .* rows of features, \(n, f\)"):
            build(Network((4,), (layer,)))
    again = Network((8, 3), (Recurrent("gru", 2, sequence=True), Dense(2), "relu", SetPool("sum")))
    assert build(again).output_shape == (None, 2)
