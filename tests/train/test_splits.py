"""Stratified parts, the log of the test part, cross-validation, AIC and BIC."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_score

from samebits import errors
from samebits.train.baselines import fit_baselines
from samebits.train.config import fit_options
from samebits.train.cross_validation import cross_validate, folds, network_score
from samebits.train.information import information
from samebits.train.layers import Dense, Standardise
from samebits.train.network import Network
from samebits.train.optimize import Samples
from samebits.train.splits import HeldOut, read_log, split_samples

X = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32)
LABELS = (np.arange(1000) % 100 < 7).astype(np.int64)  # 7 %
CLASSES = Samples(X, LABELS)


def test_every_part_has_the_shares_of_the_whole() -> None:
    split = split_samples(CLASSES, seed=3)
    test = split.test.read("a test")
    parts = split.train, split.validation, test
    assert [len(part) for part in parts] == [600, 200, 200]
    assert [int(part.targets.sum()) for part in parts] == [42, 14, 14]
    together = np.concatenate([part.inputs for part in parts])
    assert np.array_equal(np.unique(together, axis=0), np.unique(X, axis=0))
    again = split_samples(CLASSES, seed=3)
    assert np.array_equal(again.train.inputs, split.train.inputs)
    assert not np.array_equal(split_samples(CLASSES, seed=4).train.inputs, split.train.inputs)


def test_a_second_reading_of_the_test_part_is_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "training.json"
    file.write_text(json.dumps({"seed": 3}))
    split = split_samples(CLASSES, seed=3, log=file)
    assert len(split.test) == 200
    assert split.test.reads == ()
    with caplog.at_level(logging.WARNING, "samebits"):
        split.test.read("the final plot", network="abcdef0123456789")
        assert not caplog.messages
        split_samples(CLASSES, seed=3, log=file).test.read("a threshold")
    (message,) = caplog.messages
    assert message.startswith("the test part was read 2 times: 20")
    assert message.count("by the final plot (network abcdef01); ") == 1
    assert json.loads(file.read_text())["seed"] == 3
    assert [entry.by for entry in read_log(file)] == ["the final plot", "a threshold"]
    file.write_text("[")
    with pytest.raises(errors.DataError, match="the log of the test part is damaged"):
        split.test.read("another plot")
    alone = HeldOut(CLASSES)
    alone.read("one")
    assert [entry.by for entry in alone.reads] == ["one"]


def test_each_event_is_judged_once() -> None:
    seen = [fold for _, fold in folds(CLASSES, 5, seed=2)]
    assert [len(fold) for fold in seen] == [200] * 5
    assert [int(fold.targets.sum()) for fold in seen] == [14] * 5
    assert np.array_equal(
        np.unique(np.concatenate([fold.inputs for fold in seen]), axis=0), np.unique(X, axis=0)
    )
    with pytest.raises(errors.UsageError, match="got 1 folds"):
        list(folds(CLASSES, 1))


def test_cross_validation_agrees_with_scikit_learn() -> None:
    y = X @ np.array([1.0, 2.0, 3.0]) + np.random.default_rng(2).normal(0, 0.5, 1000)
    data = Samples(X, y)

    def linear(train: Samples, fold: Samples) -> float:
        return fit_baselines(train, fold, "mean_squared_error", trees=False, kernels=False)[1].score

    found = cross_validate(linear, data, count=4)
    wanted = -cross_val_score(
        LinearRegression(), X, y, cv=KFold(4), scoring="neg_root_mean_squared_error"
    )
    assert found.mean == pytest.approx(wanted.mean(), rel=0.02)
    assert found.spread == np.std(found.scores, ddof=1)
    assert str(found).endswith(")")
    options = fit_options(loss="mean_squared_error", optimizer="lbfgs", epochs=20)
    network = cross_validate(
        network_score(Network((3,), (Standardise(), Dense(1))), options), data, count=2
    )
    assert network.mean == pytest.approx(0.5, abs=0.05)


def test_criteria_choose_the_polynomial_that_made_the_data() -> None:
    random = np.random.default_rng(5)
    x = random.uniform(-1, 1, 200)
    y = 1 - 2 * x + 3 * x**3 + random.normal(0, 0.2, 200)
    found = []
    for degree in range(1, 8):
        powers = np.vander(x, degree + 1)
        fit = powers @ np.linalg.lstsq(powers, y, rcond=None)[0]
        found.append(information(fit, y, "mean_squared_error", degree + 1))
    assert 1 + int(np.argmin([entry.bic for entry in found])) == 3
    assert 1 + int(np.argmin([entry.aicc for entry in found])) in (3, 4)
    sigma = np.sqrt(np.mean((fit - y) ** 2))
    exact = stats.norm(fit, sigma).logpdf(y).sum()
    assert found[-1].log_likelihood == pytest.approx(exact, rel=1e-12)
    assert found[-1].aic == 2 * 9 - 2 * found[-1].log_likelihood


def test_cross_entropies_are_likelihoods() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    found = information(shares, np.array([0, 2]), "categorical_crossentropy", 4)
    assert found.log_likelihood == pytest.approx(np.log(0.7) + np.log(0.1))
    assert found.bic == pytest.approx(4 * np.log(2) - 2 * found.log_likelihood)
    assert found.aicc == np.inf
    one = information(np.array([[0.7], [0.9]]), np.array([1, 0]), "binary_crossentropy", 1)
    assert one.log_likelihood == pytest.approx(np.log(0.7) + np.log(0.1))
    with pytest.raises(errors.UsageError, match="kl_divergence has no likelihood"):
        information(shares, shares, "kl_divergence", 1)
