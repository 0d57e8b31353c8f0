"""Curves with one thing wrong each, and the simple fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from samebits import errors
from samebits.train.baselines import Baseline, fit_baselines
from samebits.train.diagnosis import beside_simple_fits, diagnose, loss_without_inputs
from samebits.train.optimize import Curve, Pass, Samples


def curve(losses: list[float], validation: list[float]) -> Curve:
    passes = tuple(
        Pass(number, loss, value, 1e-3, None, None)
        for number, (loss, value) in enumerate(zip(losses, validation, strict=True), start=1)
    )
    return Curve(passes, 1 + int(np.nanargmin(validation)), 0.0)


FLAT = [1.0, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    ("losses", "validation", "kinds"),
    [
        (FLAT, FLAT, ["no problem found"]),
        ([1.0, 0.5, np.nan], [1.0, 0.5, np.nan], ["exploded"]),
        ([1.0, 0.5, 9.0, 40.0], [1.0, 0.5, 9.0, 40.0], ["exploded"]),
        ([1.0, 0.5, 9.0, *FLAT], [1.0, 0.5, 9.0, *FLAT], ["exploded and recovered"]),
        # it comes back to what a constant answers, not to what it had learned
        ([0.8, 0.4, 9.0, 1.0, 1.0], [0.8, 0.4, 9.0, 1.0, 1.0], ["exploded"]),
        ([1.4, 1.0, 1.0, 1.0], [1.2, 1.0, 1.0, 0.98], ["predicts the mean"]),
        ([0.8, 0.4, 0.2, 0.1], [0.8, 0.5, 0.6, 0.7], ["overfitting"]),
        ([0.8, 0.4, 0.2, 0.05, 0.01], [0.8, 0.5, 0.41, 0.4, 0.4], ["overfitting"]),
        ([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], ["underfitting"]),
        # 3 times the lowest loss, but below the loss without inputs: noise of a good fit
        ([0.1, 0.01, 0.04, 0.01], [0.1, 0.01, 0.01, 0.01], ["no problem found"]),
    ],
)
def test_verdicts(losses: list[float], validation: list[float], kinds: list[str]) -> None:
    assert [verdict.kind for verdict in diagnose(curve(losses, validation), 1.0)] == kinds


def test_a_falling_learning_rate_hides_no_underfitting() -> None:
    losses = [0.9, 0.8, 0.7, 0.65, 0.62, 0.62, 0.62, 0.62]
    flat = curve(losses, losses)
    assert diagnose(flat, 1.0)[0].kind == "no problem found"
    rates = [1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.02, 0.0]
    falling = tuple(
        replace(entry, learning_rate=rate) for entry, rate in zip(flat.passes, rates, strict=True)
    )
    assert diagnose(replace(flat, passes=falling), 1.0)[0].numbers == (
        "0.65 before pass 5, 0.62 from there on (without inputs 1)"
    )


def test_the_first_pass_is_compared_with_the_untrained_network() -> None:
    losses = [60.0, *FLAT]
    assert diagnose(curve(losses, FLAT[:1] + FLAT), 1.0)[0].kind == "no problem found"
    for untrained, kind in ((0.9, "exploded and recovered"), (80.0, "no problem found")):
        known = replace(curve(losses, FLAT[:1] + FLAT), untrained=untrained)
        assert diagnose(known, 1.0)[0].kind == kind


def test_a_verdict_names_its_rule_and_its_numbers() -> None:
    (verdict,) = diagnose(curve([0.8, 0.4, 0.2, 0.1], [0.8, 0.5, 0.6, 0.7]), 1.0)
    assert str(verdict) == (
        "overfitting: validation loss 0.5 in pass 2, 0.7 at the end; training loss 0.4, then 0.1 "
        "(rule: validation loss at the end above 1.25 times its lowest value, while the training "
        "loss fell). The weights of the best pass are kept. More events, dropout, l2 or fewer "
        "units help."
    )


def test_a_network_beside_simple_fits() -> None:
    fine = diagnose(curve(FLAT, FLAT), 1.0)
    trees = [Baseline("the largest class", 0.5, 0.0), Baseline("boosted trees", 0.97, 1.0)]
    loss = "categorical_crossentropy"
    assert beside_simple_fits(fine, 0.80, [], loss, 500) == fine
    assert beside_simple_fits(fine, 0.965, trees, loss, 500) == fine
    assert beside_simple_fits(fine, 0.96, trees, loss, 500) == fine  # 1 point, uncertain by 0.9
    (verdict,) = beside_simple_fits(fine, 0.80, trees, loss, 500)
    assert (verdict.kind, verdict.numbers) == (
        "worse than a simple fit",
        "boosted trees 97.0 %, the network 80.0 %, on 500 events",
    )
    line = [Baseline("linear regression", 0.1, 0.0), Baseline("the mean", 1.0, 0.0)]
    assert beside_simple_fits(fine, 0.12, line, "mean_squared_error", 500) == fine
    (verdict,) = beside_simple_fits(fine, 0.2, line, "mean_squared_error", 500)
    assert verdict.numbers == "linear regression 0.1000, the network 0.2000, on 500 events"


def test_loss_without_inputs() -> None:
    labels = np.array([0, 0, 1, 2])
    shares = np.array([0.5, 0.25, 0.25])
    entropy = -np.sum(shares * np.log(shares))
    assert loss_without_inputs(labels, "categorical_crossentropy") == pytest.approx(entropy)
    assert loss_without_inputs(np.array([0, 0, 1, 0]), "binary_crossentropy") == pytest.approx(
        -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    )
    targets = np.array([[0.0, 1.0], [2.0, 1.0]])
    assert loss_without_inputs(targets, "mean_squared_error") == 0.5


def samples(events: int, seed: int, line: bool) -> Samples:
    x = np.random.default_rng(seed).normal(size=(events, 2)).astype(np.float32)
    return Samples(x, x @ np.array([1, 2]) if line else (x[:, 0] * x[:, 1] > 0).astype(np.int64))


def test_simple_fits_see_what_they_can() -> None:
    found = fit_baselines(samples(400, 1, False), samples(400, 2, False), "binary_crossentropy")
    found = found[:3]  # the kernel methods: test_range_test.py
    scores = {baseline.name: baseline.score for baseline in found}
    assert list(scores) == ["the largest class", "logistic regression", "boosted trees"]
    assert scores["logistic regression"] < 0.6 < 0.9 < scores["boosted trees"]
    train, validation = samples(400, 1, True), samples(400, 2, True)
    found = fit_baselines(train, validation, "mean_squared_error", kernels=False)
    scores = {baseline.name: baseline.score for baseline in found}
    assert scores["linear regression"] < 1e-4 < scores["boosted trees"] < scores["the mean"]


def test_simple_fits_of_several_outputs_are_refused() -> None:
    two = Samples(np.zeros((3, 2), np.float32), np.zeros((3, 2)))
    with pytest.raises(errors.DataError, match="got 2 outputs per event; wanted one"):
        fit_baselines(two, two, "mean_squared_error")
