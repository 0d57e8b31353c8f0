"""What was done to the inputs outside of a network stays with it, and firmware of it is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samebits import Design, errors
from samebits.train.bench import train_network
from samebits.train.build import build
from samebits.train.config import fit_options
from samebits.train.layers import Dense
from samebits.train.network import Network
from samebits.train.optimize import Samples, fit_samples
from samebits.train.preprocessing import outside, warn_of_standardised
from samebits.train.store import load_model, save_model
from samebits.train.whitening import choose_whitening

X = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
PART = Samples(X, (X[:, 0] > 0).astype(np.int64))
OPTIONS = fit_options(epochs=2, batch_size=64, learning_rate=0.02)


def test_a_network_with_whitening_outside_is_not_compiled(tmp_path: Path) -> None:
    part = choose_whitening(X)(PART)
    network = Network((3,), (Dense(2), "softmax"))
    model = build(network)
    fit_samples(model, part, part, OPTIONS)
    assert outside(model) == ("whitening",)
    words = (
        "network 'float_network' was trained on inputs that went through whitening outside of "
        "it; firmware would get other numbers. Put the step into the network (Standardise, "
        "train_network(whiten=True)), or train on the inputs that the firmware gets"
    )
    with pytest.raises(errors.UnsupportedError) as wrong:
        Design.from_keras(model)
    assert str(wrong.value) == words
    for suffix in (".keras", ".h5"):
        path = save_model(model, tmp_path / f"net{suffix}")
        assert outside(load_model(path)) == ("whitening",)
        with pytest.raises(errors.UnsupportedError):
            Design.from_keras(path)
    with pytest.raises(errors.DataError, match="the validation part through no"):
        fit_samples(model, part, PART, OPTIONS)


def test_the_mark_stays_on_both_networks_of_a_whitened_training() -> None:
    part = replace(PART, outside=("my step",))
    network = Network((3,), (Dense(2), "softmax"))
    trained = train_network(network, part, part, OPTIONS, whiten=True)
    assert outside(trained.float_model) == outside(trained.model) == ("my step",)


def test_inputs_that_were_standardised_by_hand_are_noticed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    by_hand = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    constant = np.hstack([by_hand, np.ones((len(X), 1), np.float32)])
    warn_of_standardised(Samples(X, PART.targets))
    warn_of_standardised(Samples(by_hand, PART.targets, outside=("standardisation",)))
    assert caplog.messages == []
    warn_of_standardised(Samples(constant, PART.targets))
    assert caplog.messages == [
        "samples: all 3 columns have mean 0 and standard deviation 1: they seem to have been "
        "standardised before. Firmware gets the raw numbers: train on these and put Standardise "
        'into the network, or say Samples(..., outside=("standardisation",))'
    ]
