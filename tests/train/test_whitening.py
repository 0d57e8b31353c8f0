"""Whitening ends inside the network; what stays outside is refused."""

from __future__ import annotations

import numpy as np
import pytest

from samebits import Design, errors
from samebits.train.bench import train_network
from samebits.train.build import build
from samebits.train.config import fit_options
from samebits.train.layers import Dense, Flatten, Standardise
from samebits.train.network import Network
from samebits.train.optimize import Samples, fit_samples, outputs
from samebits.train.scaling import choose_scaling
from samebits.train.whitening import choose_whitening, fit_whitened

RANDOM = np.random.default_rng(1)
MIX = np.array([[3.0, 2.9, 0.0], [0.0, 0.3, 1.0], [0.0, 0.0, 0.5]])
X = (RANDOM.normal(size=(2000, 3)) @ MIX + [5, 0, 0]).astype(np.float32)
PART = Samples(X, (X[:, 0] - X[:, 1] > 5).astype(np.int64))
OPTIONS = fit_options(epochs=4, batch_size=64, learning_rate=0.02)


def test_whitened_inputs_have_unit_variance_and_no_correlation() -> None:
    white = choose_whitening(X)
    z = white.whitened(X).astype(np.float64)
    assert np.abs(np.cov(z, rowvar=False) - np.eye(3)).max() < 1e-3
    assert np.abs(z.mean(axis=0)).max() < 1e-3
    twice = choose_whitening(np.column_stack([X[:, 0], X[:, 0]]))
    assert np.abs(twice.matrix).max() < 100  # a direction without variance does not explode
    with pytest.raises(errors.DataError, match="wanted a row of features"):
        choose_whitening(X[:, None])


def test_the_folded_network_gives_the_answers_of_the_whitened_one() -> None:
    network = Network((3,), (Standardise(), Dense(8), "relu", Dense(2), "softmax"))
    scaling = choose_scaling(X, "po2", 8)
    model, curve = fit_whitened(network, PART, PART, OPTIONS, scaling=scaling)
    assert [layer.name for layer in model.layers][1:3] == ["scaling", "dense_1"]
    best = curve.passes[curve.best_pass - 1]
    accuracy = np.mean(outputs(model, X).argmax(axis=1) == PART.targets)
    assert accuracy == pytest.approx(best.validation_accuracy, abs=0.002)
    plain = build(network, scaling=scaling, seed=0)
    slow = fit_samples(plain, PART, PART, OPTIONS)
    assert best.validation_loss < 0.9 * min(p.validation_loss for p in slow.passes)
    with pytest.raises(errors.UsageError, match="first layer is 'flatten_1' \\(Flatten\\)"):
        fit_whitened(Network((3,), (Flatten(), Dense(2), "softmax")), PART, PART, OPTIONS)


def test_firmware_of_a_whitened_training_takes_raw_inputs() -> None:
    network = Network((3,), (Standardise(), Dense(8), "relu", Dense(2), "softmax"))
    trained = train_network(
        network, PART, PART, OPTIONS, weight_bits=8, activation_bits=8, whiten=True
    )
    design = Design.from_keras(trained.model)
    result = design.verify(X[:300], against=["onnxruntime"], adversarial=False)
    assert result.mismatching_bits == 0
    scores = trained.scores(PART, np.asarray(design.simulate(X)))
    assert scores["firmware"] > 0.95
