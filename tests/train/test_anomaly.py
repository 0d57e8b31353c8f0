"""Autoencoders whose score is computed by the firmware."""

from __future__ import annotations

import numpy as np
import pytest

from samebits import Design, errors
from samebits.train.anomaly import scored, train_anomaly_trigger
from samebits.train.build import build
from samebits.train.config import fit_options
from samebits.train.layers import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    Layer,
    Noise,
    Penalty,
    Standardise,
)
from samebits.train.network import Network
from samebits.train.scaling import InputFormat

OPTIONS = fit_options(loss="mean_squared_error", epochs=8, batch_size=64, learning_rate=0.01)
MIXING = np.random.default_rng(1).normal(size=(2, 6))


def background(events: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Two numbers spread over six inputs, which have means and widths of their own."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(events, 2))
    return (latent @ MIXING * 3 + 0.1 * rng.normal(size=(events, 6)) + 5).astype(np.float32)


def network(*behind_latent: Layer) -> Network:
    layers = (Standardise(), Dense(8), BatchNorm(), "relu", Dense(2, name="latent"))
    return Network((6,), (*layers, *behind_latent, Dense(8), "relu", Dense(6)))


def test_the_firmware_computes_the_reconstruction_score() -> None:
    trigger = train_anomaly_trigger(
        network(),
        background(1500, 1),
        background(500, 2),
        OPTIONS,
        weights=(1.0, 1.0, 1.0, 1.0, 1.0, 0.5),
        formats={"score": "ufixed<14,5>"},
    )
    assert trigger.network.names[-3:] == ("difference", "squares", "score")
    assert trigger.formats["scaling"] == trigger.formats["dense_4"] == InputFormat(8, 3, True)
    assert trigger.formats["difference"] == InputFormat(9, 4, True)  # holds every difference
    assert trigger.formats["score.kernel"] == InputFormat(3, 2, True)  # 1 and 1/2
    assert trigger.formats["score"] == InputFormat(14, 5, False)
    assert "squares" not in trigger.formats  # exact
    low, high = background(800, 3), background(800, 4)
    high[:, 2] += 4
    design = Design.from_keras(trigger.model)
    verification = design.verify(low, against=["onnxruntime"], adversarial=False)
    assert verification.mismatching_bits == 0
    auc = trigger.auc(low, high, (design.simulate(low), design.simulate(high)))
    assert auc["quantized"] == auc["firmware"] > 0.95
    assert abs(auc["float"] - auc["firmware"]) < 0.02


def test_a_score_is_the_weighted_sum_of_squared_differences() -> None:
    from samebits.train.tensorflow import load

    weights = (1.0, 0.5, 0.25, 1.0, 2.0, 1.0)
    trigger = train_anomaly_trigger(
        network(), background(200, 1), background(100, 2), OPTIONS, weights=weights
    )
    model, x = trigger.model, background(300, 3)
    parts = [model.get_layer(name).output for name in ("scaled", "dense_4_rounded")]
    z, r, score = load().keras.Model(model.input, [*parts, model.output]).predict(x, verbose=0)
    exact = ((r.astype(np.float64) - z) ** 2) @ np.array(weights)
    assert np.array_equal(score[:, 0], trigger.formats["score"].quantize(exact))


def test_the_latent_score_needs_no_decoder() -> None:
    trigger = train_anomaly_trigger(
        network(Penalty(0.01), Noise(1.0)),
        background(1500, 1),
        background(500, 2),
        OPTIONS,
        score="latent",
        latent="latent",
    )
    assert trigger.network.names == ("scaling", "dense_1", "relu_1", "latent", "squares", "score")
    low, high = background(500, 3), 5 + 2 * (background(500, 4) - 5)
    design = Design.from_keras(trigger.model)
    assert not design.verify(low, against=["onnxruntime"], adversarial=False).mismatching_bits
    auc = trigger.auc(low, high, (design.simulate(low), design.simulate(high)))
    assert auc["quantized"] == auc["firmware"] > 0.6
    assert abs(auc["float"] - auc["firmware"]) < 0.02


def test_flattened_images_are_compared_behind_the_flattening() -> None:
    images = Network((2, 3, 1), (Standardise(), Flatten(), Dense(6)))
    assert dict(scored(images))["difference"].sources == ("flatten_1",)
    assert dict(scored(Network((6,), (Dense(6),))))["difference"].sources == ("input",)


def test_every_mistake_is_listed() -> None:
    with pytest.raises(errors.UsageError) as caught:
        train_anomaly_trigger(
            Network((6,), (Dense(2), Dense(6, name="score"))),
            background(9, 1),
            background(9, 2),
            fit_options(),
            score="latent",
            latent="dense_7",
        )
    assert str(caught.value).splitlines() == [
        "anomaly trigger:",
        "  latent: no layer is called 'dense_7'; there are dense_1, score",
        "  loss: got categorical_crossentropy; an autoencoder is trained with mean_squared_error",
        "  a layer is called 'score', as one of the score; give it another name",
    ]
    with pytest.raises(errors.DataError, match=r"targets of shape \(9, 6\) for 5 outputs"):
        train_anomaly_trigger(
            Network((6,), (Dense(5),)), background(9, 1), background(9, 2), OPTIONS
        )


def test_convolutions_are_no_reference() -> None:
    with pytest.raises(errors.UsageError, match=r"shape \(4,\): 'input' has another one, \(4, 1\)"):
        build(scored(Network((4, 1), (Conv(2, 1), Flatten(), Dense(4)))))
