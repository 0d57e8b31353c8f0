"""From the description of a network to firmware with the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from samebits import Design, errors
from samebits.train.baselines import Baseline
from samebits.train.bench import train_network
from samebits.train.config import fit_options
from samebits.train.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    Standardise,
)
from samebits.train.network import Network
from samebits.train.optimize import Samples, outputs


def images(events: int, seed: int) -> Samples:
    x = np.random.default_rng(seed).normal(size=(events, 4, 4, 1)).astype(np.float32)
    return Samples(x, (x.mean(axis=(1, 2, 3)) > 0).astype(np.int64))


def test_a_residual_network_is_trained_folded_and_compiled() -> None:
    network = Network(
        (4, 4, 1),
        (
            Standardise(),
            Conv(3, 3, padding="same"),
            BatchNorm(),
            Conv(3, 3, padding="same"),
            BatchNorm(),
            Add("batch_norm_1"),
            Activation("leaky_relu"),
            AveragePool(2),
            Flatten(),
            Dense(4),
            "elu",
            Dense(2),
            "softmax",
        ),
    )
    stages = []
    trained = train_network(
        network,
        images(300, 1),
        images(100, 2),
        fit_options(epochs=3, batch_size=32, learning_rate=0.02),
        on_pass=lambda stage, entry: stages.append((stage, entry.number)),
    )
    assert stages == [("float", 1), ("float", 2), ("float", 3), ("quantized", 1), ("quantized", 2)]
    assert not any(name.startswith("batch_norm") for name in trained.network.names)
    assert trained.verdicts
    test = images(200, 3)
    design = Design.from_keras(trained.model)
    verification = design.verify(test.inputs, against=["onnxruntime"], adversarial=False)
    assert verification.mismatching_bits == 0
    firmware = np.asarray(design.simulate(test.inputs))
    scores = trained.scores(test, firmware)
    decisions = outputs(trained.model, test.inputs).argmax(axis=1)
    assert scores["quantized"] == np.mean(decisions == test.targets)
    assert scores["firmware"] == np.mean(firmware.argmax(axis=1) == test.targets)
    assert np.mean(decisions == firmware.argmax(axis=1)) > 0.97
    told = trained.summary(test, firmware, [Baseline("the largest class", 0.25, 0.1)]).splitlines()
    assert told[2:4] == [
        f"accuracy, firmware: {100 * scores['firmware']:.1f} %",
        "accuracy, the largest class: 25.0 %",
    ]
    assert told[4:] == [f"loss curve: {verdict}" for verdict in trained.verdicts]


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    x = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    part = Samples(x, x[:, 0])
    options = fit_options(
        loss="mean_squared_error", optimizer="sgd", learning_rate=1e6, epochs=50, batch_size=32
    )
    with pytest.raises(errors.DataError, match="training of the float network: the loss is"):
        train_network(Network((2,), (Dense(1),)), part, part, options)
