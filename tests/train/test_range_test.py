"""Rates, batch sizes and subsets: the numbers behind the advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.train.baselines import fit_baselines
from samebits.train.build import build
from samebits.train.config import fit_options
from samebits.train.layers import BatchNorm, Dense, Dropout, Standardise
from samebits.train.network import Network
from samebits.train.optimize import Samples, fit_samples
from samebits.train.range_test import batch_speeds, range_test
from samebits.train.subset_check import overfit_subset

X = np.random.default_rng(1).normal(size=(2000, 2)).astype(np.float32)
RING = Samples(X, (np.hypot(*X.T) > 1.2).astype(np.int64))
NETWORK = Network((2,), (Dense(16), "relu", Dense(2), "softmax"))


def test_the_chosen_rate_trains_and_ten_times_the_limit_does_not(tmp_path: Path) -> None:
    options = fit_options(batch_size=64, epochs=3, schedule="constant")
    model = build(NETWORK, seed=1)
    before = model.get_weights()
    found = range_test(model, RING, options, high=100.0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    lowest = found.rates[int(np.argmin(found.smoothed))]
    assert found.chosen == lowest / 10
    assert 1e-3 < found.chosen < 0.3
    assert found.rule.startswith(f"a tenth of {lowest:.2g}, where the smoothed loss is lowest")
    found.draw(tmp_path / "range.png")
    assert (tmp_path / "range.png").stat().st_size > 5000
    losses = {}
    for factor in (0.01, 1.0, 100.0):
        model.set_weights(before)
        rate = options.model_copy(update={"learning_rate": factor * found.chosen})
        losses[factor] = fit_samples(model, RING, RING, rate).passes[-1].validation_loss
    assert losses[1.0] < 0.6 * min(losses[0.01], losses[100.0])
    noise = Samples(X, np.random.default_rng(2).integers(0, 2, 2000))
    with pytest.raises(errors.DataError, match="the loss fell at no rate from 1e-06 to 1e-05"):
        range_test(model, noise, fit_options(batch_size=1000), high=1e-5)


def test_the_smallest_fast_batch_is_chosen() -> None:
    model = build(NETWORK, seed=1)
    found = batch_speeds(model, RING, fit_options(), (1, 512, 4096), seconds=0.02)
    assert set(found.speeds) == {1, 512}  # the last is larger than the sample
    assert found.speeds[512] > 3 * found.speeds[1]
    assert found.chosen == 512
    with pytest.raises(errors.DataError, match="for 2000 events; wanted one that fits"):
        batch_speeds(model, RING, fit_options(), (4096,))


def test_a_sound_network_learns_a_few_events_by_heart() -> None:
    options = fit_options(learning_rate=0.02)
    layers = (Standardise(), Dense(16), BatchNorm(), "relu", Dropout(0.5), Dense(2), "softmax")
    found = overfit_subset(Network((2,), layers, l2=0.1), RING, options, events=20)
    assert found.passed
    assert found.events == 20
    assert found.loss < 0.01 * found.without_inputs == pytest.approx(0.01 * np.log(2))
    assert str(found).startswith("passed: 20 events, lowest loss ")
    same = Samples(np.zeros_like(X), RING.targets)  # inputs that say nothing
    failed = overfit_subset(NETWORK, same, options, events=20, epochs=50)
    assert not failed.passed
    assert failed.epochs == 50
    assert str(failed).startswith("FAILED: 20 events")


def test_kernel_methods_stand_among_the_simple_fits() -> None:
    many = Samples(np.tile(X, (2, 1)), np.tile(RING.targets, 2))
    found = fit_baselines(many, RING, "categorical_crossentropy", trees=False)
    assert [entry.name for entry in found] == [
        "the largest class",
        "logistic regression",
        "RBF SVM on 2000 of 4000 events",
    ]
    assert found[2].score > 0.97 > found[1].score
    wave = Samples(X, np.sin(2 * X[:, 0]))
    found = fit_baselines(wave, wave, "mean_squared_error", trees=False)
    assert found[2].name == "Gaussian process on 300 of 2000 events"
    assert found[2].score < 0.1 * found[1].score
