"""L-BFGS and KL divergence, elastic nets and input noise: against what theory says they find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, LogisticRegression

from samebits import errors
from samebits.train.build import build
from samebits.train.config import fit_options
from samebits.train.diagnosis import loss_without_inputs
from samebits.train.layers import BatchNorm, Dense, Dropout
from samebits.train.network import Network
from samebits.train.optimize import Samples, fit_samples, outputs, score
from samebits.train.passes import Curve

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(400, 5)).astype(np.float32)
SLOPES = np.array([2.0, -1.0, 0.5, 0.0, 0.0])
LINE = Samples(X, X @ SLOPES + RANDOM.normal(0, 0.3, 400))


def fitted(network: Network, part: Samples, **options: object) -> tuple[list[np.ndarray], Curve]:
    model = build(network, seed=1)
    curve = fit_samples(model, part, part, fit_options(**options))
    return model.get_weights(), curve


def test_lbfgs_finds_the_least_squares_solution() -> None:
    (kernel, bias), curve = fitted(
        Network((5,), (Dense(1),)), LINE, loss="mean_squared_error", optimizer="lbfgs", epochs=30
    )
    ones = np.column_stack([X, np.ones(400)])
    exact = np.linalg.lstsq(ones, LINE.targets, rcond=None)[0]
    assert np.abs(np.append(kernel[:, 0], bias) - exact).max() < 1e-4
    assert len(curve.passes) < 20
    assert curve.passes[-1].learning_rate == 1.0


def test_lbfgs_needs_fewer_looks_than_adam() -> None:
    labels = (np.hypot(X[:, 0], X[:, 1]) > 1.1).astype(np.int64)
    network = Network((5,), (Dense(6), "tanh", Dense(1), "sigmoid"))
    part = Samples(X, labels)
    same = {"loss": "binary_crossentropy", "epochs": 60, "batch_size": 400}
    _, quick = fitted(network, part, optimizer="lbfgs", **same)
    _, slow = fitted(network, part, optimizer="adam", learning_rate=0.02, **same)
    assert min(p.loss for p in quick.passes) < 0.5 * min(p.loss for p in slow.passes)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Network((5,), (Dense(4000), "relu", Dense(1))), "28001 weights; it takes up to 20000"),
        (Network((5,), (Dense(4), Dropout(0.2), Dense(1))), "layer 'dropout_1' (Dropout) makes"),
        (Network((5,), (Dense(4), BatchNorm(), Dense(1))), "'batch_norm_1' (BatchNormalization)"),
    ],
)
def test_lbfgs_says_where_it_cannot_work(network: Network, words: str) -> None:
    with pytest.raises(errors.UsageError) as wrong:
        fitted(network, LINE, loss="mean_squared_error", optimizer="lbfgs")
    assert words in str(wrong.value)


def test_lbfgs_has_no_use_for_some_options() -> None:
    with pytest.raises(errors.UsageError, match="leave out input_noise, clip_norm, or choose adam"):
        fit_options(optimizer="lbfgs", input_noise=0.1, clip_norm=1.0)


def test_kl_divergence_of_distributions_is_the_cross_entropy_of_their_classes() -> None:
    shares = np.exp(X[:, :3]) / np.exp(X[:, :3]).sum(axis=1, keepdims=True)
    network, soft = Network((5,), (Dense(3), "softmax")), Samples(X, shares)
    same = {"optimizer": "lbfgs", "epochs": 100}
    (kernel, _), curve = fitted(network, soft, loss="kl_divergence", **same)
    assert curve.passes[-1].loss < 1e-5  # the answer is in the family
    assert curve.passes[-1].accuracy == 1.0
    centred = kernel - kernel.mean(axis=1, keepdims=True)
    assert np.abs(centred[:3] - (np.eye(3) - 1 / 3)).max() < 0.01
    without = loss_without_inputs(shares, "kl_divergence")
    mean = shares.mean(axis=0)
    assert without == pytest.approx(np.mean(np.sum(shares * np.log(shares / mean), axis=1)))
    assert score(shares, shares, "kl_divergence") == 1.0
    with pytest.raises(errors.DataError, match=r"smallest number of .* and sums from .*, wanted 1"):
        fitted(network, Samples(X, X[:, :3]), loss="kl_divergence")


def test_l1_and_l2_together_are_an_elastic_net() -> None:
    alpha, share = 0.4, 0.5
    wanted = ElasticNet(alpha=alpha, l1_ratio=share, tol=1e-9).fit(X.astype(float), LINE.targets)
    # scikit-learn minimises half the mean squared error
    network = Network((5,), (Dense(1),), l1=2 * alpha * share, l2=alpha * (1 - share))
    (kernel, bias), _ = fitted(
        network,
        LINE,
        loss="mean_squared_error",
        optimizer="sgd",
        learning_rate=0.1,
        batch_size=400,
        epochs=300,
    )
    assert np.abs(kernel[:, 0] - wanted.coef_).max() < 5e-4
    assert abs(bias[0] - wanted.intercept_) < 5e-4


def test_input_noise_shrinks_weights_as_ridge_does() -> None:
    """E[(y - w(x + s e))^2] = MSE + s^2 w^2: with unit variance the slope is 1 / (1 + s^2)."""
    x = RANDOM.normal(size=(20_000, 1)).astype(np.float32)
    part = Samples(3 * x, x[:, 0])
    model = build(Network((1,), (Dense(1),)), seed=1)
    options = fit_options(
        loss="mean_squared_error",
        optimizer="sgd",
        learning_rate=0.02,
        epochs=5,
        batch_size=256,
        input_noise=1.0,
    )
    curve = fit_samples(model, part, part, options)
    last = curve.passes[-1]
    assert last.loss == pytest.approx(0.5, abs=0.02)  # s^2 / (1 + s^2)
    assert last.validation_loss == pytest.approx(0.25, abs=0.02)  # (1 - slope)^2: no noise there


def test_logistic_regression_is_scikit_learns() -> None:
    labels = (X[:, 0] + RANDOM.logistic(size=400) > 0).astype(np.int64)
    model = build(Network((5,), (Dense(1), "sigmoid")), seed=1)
    options = fit_options(loss="binary_crossentropy", optimizer="lbfgs", epochs=100)
    fit_samples(model, Samples(X, labels), Samples(X, labels), options)
    wanted = LogisticRegression(C=1e9, tol=1e-10).fit(X, labels).predict_proba(X)[:, 1]
    assert np.abs(outputs(model, X)[:, 0] - wanted).max() < 1e-3
