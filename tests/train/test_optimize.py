"""Losses, optimisers, schedules and early stopping on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest

from samebits import errors
from samebits.train.build import build
from samebits.train.config import fit_options
from samebits.train.layers import Dense
from samebits.train.network import Network
from samebits.train.optimize import Samples, fit_samples, outputs, score

LINE = Network((2,), (Dense(1),))


def plane(events: int, seed: int) -> Samples:
    """y = 2 x0 - x1 + 0.5."""
    x = np.random.default_rng(seed).uniform(-1, 1, (events, 2)).astype(np.float32)
    return Samples(x, x @ np.array([2, -1], np.float32) + np.float32(0.5))


TRAIN, VALIDATION = plane(256, 1), plane(64, 2)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        ("sgd", 0.3),
        ("momentum", 0.05),
        ("nesterov", 0.05),
        ("adagrad", 0.5),
        ("rmsprop", 0.05),
        ("adam", 0.1),
    ],
)
def test_every_optimizer_finds_the_plane(optimizer: str, rate: float) -> None:
    model = build(LINE, seed=3)
    options = fit_options(
        loss="mean_squared_error",
        optimizer=optimizer,
        learning_rate=rate,
        epochs=15,
        batch_size=32,
        clip_norm=5.0,
    )
    curve = fit_samples(model, TRAIN, VALIDATION, options)
    assert score(outputs(model, VALIDATION.inputs), VALIDATION.targets, options.loss) < 0.02
    assert curve.passes[-1].accuracy is None
    rates = [entry.learning_rate for entry in curve.passes]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-3 * rate


def test_training_stops_early_and_keeps_the_best_weights() -> None:
    noise = Samples(VALIDATION.inputs, np.random.default_rng(5).normal(size=64))
    model = build(LINE, seed=3)
    options = fit_options(
        loss="mean_squared_error", schedule="constant", learning_rate=0.05, epochs=60, patience=3
    )
    curve = fit_samples(model, TRAIN, noise, options)
    losses = [entry.validation_loss for entry in curve.passes]
    assert curve.best_pass == 1 + losses.index(min(losses))
    assert len(losses) == curve.best_pass + 3 < 60
    kept = score(outputs(model, noise.inputs), noise.targets, options.loss) ** 2
    assert kept == pytest.approx(min(losses), rel=1e-5)


def test_plateaus_halve_the_learning_rate() -> None:
    options = fit_options(
        loss="mean_squared_error",
        optimizer="sgd",
        schedule="plateau",
        plateau_patience=1,
        learning_rate=0.9,
        batch_size=32,
        epochs=12,
    )
    curve = fit_samples(build(LINE, seed=3), TRAIN, VALIDATION, options)
    rates = np.array([entry.learning_rate for entry in curve.passes])
    losses = [entry.validation_loss for entry in curve.passes]
    assert set(np.log2(rates / rates[0]).round(4) % 1) == {0.0}
    best, wanted = np.inf, [rates[0]]
    for loss in losses[:-1]:
        wanted.append(wanted[-1] if loss < best else wanted[-1] / 2)
        best = min(best, loss)
    assert rates[-1] < rates[0]
    assert rates.tolist() == pytest.approx(wanted)


def test_an_exploding_loss_ends_the_training() -> None:
    options = fit_options(
        loss="mean_squared_error", optimizer="sgd", learning_rate=1e6, epochs=50, batch_size=32
    )
    curve = fit_samples(build(LINE, seed=3), TRAIN, VALIDATION, options)
    assert not curve.finite
    assert len(curve.passes) < 50


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        ("categorical_crossentropy", [0, 1], "got class numbers 0 to 1 for 1 outputs"),
        ("categorical_crossentropy", [0.0, 0.5], "wanted class numbers"),
        ("binary_crossentropy", [0, 2], "targets other than 0 and 1"),
        ("mean_squared_error", [[0, 2], [1, 1]], "wanted one number for each output"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: str, targets: list[float], message: str) -> None:
    samples = Samples(np.zeros((2, 2), np.float32), np.array(targets))
    with pytest.raises(errors.DataError, match=message):
        fit_samples(build(LINE), samples, samples, fit_options(loss=loss))


def test_samples_are_checked() -> None:
    with pytest.raises(errors.DataError, match="the inputs are empty, or hold NaN"):
        Samples(np.array([[np.nan]], np.float32), np.array([1]))
    with pytest.raises(errors.DataError, match="got 2 inputs and 1 targets"):
        Samples(np.zeros((2, 1), np.float32), np.array([1]))
