"""Random networks over the exporter's layers: never outside of what is proved."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from samebits.compile.frontends.keras import check_export, export_keras
from samebits.train.tensorflow import load, quiet

from .keras_zoo import (
    CELL,
    DEPTH,
    GATED_CELL,
    INPUT,
    KERNEL,
    QUANTIZED_CELL,
    SEPARABLE,
    events,
    randomize,
)

Step = Callable[[Any, Any, Any, np.random.Generator], Any]  # (keras.layers, qkeras, x, rng) -> y

QUANTIZERS = (
    *(
        "quantized_bits(6,2,0,alpha=1)",
        "quantized_relu(5,2)",
        "quantized_tanh(5)",
        "ternary(alpha=1)",
    ),
    *("quantized_sigmoid(4)", "binary(alpha=1)", "quantized_relu(6,2,negative_slope=0.25)"),
)


def a(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


ON_IMAGES: tuple[Step, ...] = (
    lambda k, q, x, r: q.QConv2D(
        int(r.integers(1, 5)), a(r, 1, 2, (3, 2)), a(r, 1, 2), padding="same", **KERNEL
    )(x),
    lambda k, q, x, r: q.QDepthwiseConv2D(
        a(r, 2, 3), padding="same", depth_multiplier=a(r, 1, 2), **DEPTH
    )(x),
    lambda k, q, x, r: q.QSeparableConv2D(3, 2, padding="same", **SEPARABLE)(x),
    lambda k, q, x, r: q.QDense(3, **KERNEL)(x),
    lambda k, q, x, r: k.MaxPooling2D(2, a(r, 1, 2), padding="same")(x),
    lambda k, q, x, r: k.AveragePooling2D(2, 1, padding=a(r, "same", "valid"))(
        k.ZeroPadding2D(1)(x)
    ),
    lambda k, q, x, r: k.Cropping2D(((1, 0), (0, 1)))(k.UpSampling2D(2)(x)),
    lambda k, q, x, r: k.Permute(a(r, (2, 1, 3), (3, 1, 2)))(x),
    lambda k, q, x, r: k.Add()([x, q.QDense(x.shape[-1], **KERNEL)(x)]),
    lambda k, q, x, r: k.Concatenate(a(r, -1, 1))([x, k.LeakyReLU(0.25)(x)]),
)
ON_ANYTHING: tuple[Step, ...] = (
    lambda k, q, x, r: q.QActivation(a(r, *QUANTIZERS))(x),
    lambda k, q, x, r: k.BatchNormalization()(x),
    lambda k, q, x, r: k.Activation(a(r, "tanh", "softplus", "elu", "hard_sigmoid"))(x),
    lambda k, q, x, r: a(r, k.Maximum, k.Minimum, k.Subtract, k.Average)()(
        [x, k.ReLU(max_value=2)(x)]
    ),
)
ON_VECTORS: tuple[Step, ...] = (
    lambda k, q, x, r: q.QDense(int(r.integers(1, 6)), **KERNEL)(x),
    lambda k, q, x, r: k.Dense(3, activation="softmax")(x),
    lambda k, q, x, r: k.RepeatVector(2)(x),
)

ON_SEQUENCES: tuple[Step, ...] = (
    lambda k, q, x, r: a(r, q.QLSTM, q.QGRU)(
        2, return_sequences=True, go_backwards=bool(r.integers(2)), **GATED_CELL
    )(x),
    lambda k, q, x, r: q.QSimpleRNN(3, return_sequences=True, **QUANTIZED_CELL)(x),
    lambda k, q, x, r: a(r, q.QLSTM, q.QGRU)(
        2, activation="tanh", recurrent_activation="sigmoid", return_sequences=True, **CELL
    )(x),
    lambda k, q, x, r: k.Bidirectional(
        a(r, k.LSTM, k.GRU, k.SimpleRNN)(2, return_sequences=True),
        merge_mode=a(r, "concat", "sum", "mul", "ave"),
    )(x),
    lambda k, q, x, r: k.TimeDistributed(q.QDense(3, **KERNEL))(x),
    lambda k, q, x, r: k.Attention()([x, k.ReLU()(x)]),
    lambda k, q, x, r: k.MultiHeadAttention(2, 2)(x, x),
    lambda k, q, x, r: k.LayerNormalization(epsilon=0.01)(x),
    lambda k, q, x, r: k.Dot(axes=a(r, 1, 2))([x, x]),
    lambda k, q, x, r: k.Softmax(axis=a(r, 1, 2))(x),
    lambda k, q, x, r: q.QConv1D(3, 2, padding=a(r, "causal", "same"), **KERNEL)(x),
    lambda k, q, x, r: k.Permute((2, 1))(x),
)
TO_VECTORS: tuple[Step, ...] = (
    lambda k, q, x, r: a(r, q.QLSTM, q.QGRU)(2, **GATED_CELL)(x),
    lambda k, q, x, r: a(r, k.LSTM, k.GRU)(3)(x),
    lambda k, q, x, r: a(r, k.Flatten, k.GlobalAveragePooling1D, k.GlobalMaxPooling1D)()(x),
)


def sequence_network(kit: Any, seed: int) -> Any:
    rng, layers, qkeras = np.random.default_rng(seed), kit.keras.layers, kit.qkeras
    x = kit.keras.Input((3, 2), name="x")
    y = qkeras.QActivation(INPUT)(x)
    for _ in range(rng.integers(1, 3)):
        y = a(rng, *ON_SEQUENCES)(layers, qkeras, y, rng)
        y = a(rng, *ON_ANYTHING[:2])(layers, qkeras, y, rng)
    y = a(rng, *TO_VECTORS)(layers, qkeras, y, rng)
    model = kit.keras.Model(x, a(rng, *ON_VECTORS)(layers, qkeras, y, rng))
    randomize(model, seed)
    return model


def network(kit: Any, seed: int) -> Any:
    rng, layers, qkeras = np.random.default_rng(seed), kit.keras.layers, kit.qkeras
    x = kit.keras.Input((5, 4, 2), name="x")
    y = qkeras.QActivation(INPUT)(x)
    for _ in range(rng.integers(2, 5)):
        y = a(rng, *ON_IMAGES, *ON_ANYTHING)(layers, qkeras, y, rng)
    y = a(rng, layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)()(y)
    for _ in range(rng.integers(1, 3)):
        y = a(rng, *ON_ANYTHING, *ON_VECTORS[:-1])(layers, qkeras, y, rng)
    model = kit.keras.Model(x, a(rng, *ON_VECTORS)(layers, qkeras, y, rng))
    randomize(model, seed)
    return model


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_on_sequences(seed: int) -> None:
    with quiet():
        model = sequence_network(load(), seed)
        check = check_export(model, export_keras(model), events((3, 2), seed=seed))
    assert len(check.tensors) >= 3
    assert check.tensors[0].provable


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int) -> None:
    """`check_export` raises where Keras and ONNX Runtime are further apart than is proved."""
    with quiet():
        model = network(load(), seed)
        check = check_export(model, export_keras(model), events((5, 4, 2), seed=seed))
    assert len(check.tensors) >= 3
    assert check.tensors[0].provable
