"""Regression metrics against scikit-learn, plain counting, and cases done by hand."""

import dataclasses
import json

import numpy as np
import pytest

from samebits import errors
from samebits.sim.regression import regression_metrics

pytest.importorskip("sklearn", reason="scikit-learn is in the extra hep")


def made(seed: int = 0, count: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(20, 200, count)
    good = target + rng.normal(2.0, 5.0, count)
    return target, good, np.round(good / 8) * 8


def test_metrics_equal_scikit_learn() -> None:
    from sklearn import metrics as reference  # type: ignore[import-untyped]

    target, good, coarse = made()
    weights = np.random.default_rng(1).uniform(0, 2, len(target))
    for weight in (None, weights):
        found = regression_metrics(
            {"float": good[:, None], "firmware": coarse[:, None]}, {"pt": target}, weight, 50
        )
        for name, answer in (("float", good), ("firmware", coarse)):
            metrics = found.models[name]["pt"]
            mse = reference.mean_squared_error(target, answer, sample_weight=weight)
            mae = reference.mean_absolute_error(target, answer, sample_weight=weight)
            assert metrics.rms.value == np.sqrt(mse)
            assert metrics.mae.value == pytest.approx(mae)
            assert metrics.r2 is not None
            r2 = reference.r2_score(target, answer, sample_weight=weight)
            assert metrics.r2.value == pytest.approx(r2)
            assert metrics.bias.value == pytest.approx(np.average(answer - target, weights=weight))
            for one in (metrics.rms, metrics.mae, metrics.bias, metrics.resolution):
                assert one.low < one.value < one.high


def test_the_interval_of_the_bias_is_that_of_a_mean() -> None:
    target, good, _ = made(2, 2000)
    bias = regression_metrics({"m": good[:, None]}, {"pt": target}).models["m"]["pt"].bias
    error = np.std(good - target) / np.sqrt(len(target))
    assert bias.high - bias.low == pytest.approx(2 * 0.9945 * error, rel=0.1)


def test_differences_are_paired() -> None:
    target, good, coarse = made(3)
    same = regression_metrics({"a": good[:, None], "b": good[:, None]}, {"pt": target}, None, 20)
    assert {(d.value, d.low_95, d.high_95) for d in same.differences} == {(0, 0, 0)}
    found = regression_metrics({"a": good[:, None], "b": coarse[:, None]}, {"pt": target})
    rms = next(d for d in found.differences if d.quantity == "rms")
    assert rms.value > 0
    assert rms.low_95 <= rms.low_68 <= rms.value <= rms.high_68 <= rms.high_95
    single = found.models["a"]["pt"].rms
    assert rms.high_68 - rms.low_68 < single.high - single.low


def test_response_and_resolution() -> None:
    target = np.arange(1000.0)
    error = np.resize([-1.0, 0.0, 3.0], 1000)
    found = regression_metrics({"m": (target + error)[:, None]}, {"x": target}, None, 5)
    metrics = found.models["m"]["x"]
    assert metrics.resolution.value == 2.0
    assert len(metrics.response) == 12
    assert sum(one.events for one in metrics.response) == 1000
    one = metrics.response[0]
    assert (one.low, one.median, one.quantile_16, one.quantile_84) == (0.0, 0.0, -1.0, 3.0)


def test_a_constant_target_has_no_r2_and_the_result_is_plain_json() -> None:
    found = regression_metrics({"m": np.ones((20, 1))}, {"x": np.ones(20)}, None, 5)
    assert found.models["m"]["x"].r2 is None
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(errors.DataError, match=r"m: predictions of shape \(20, 2\), wanted"):
        regression_metrics({"m": np.ones((20, 2))}, {"x": np.ones(20)})
    with pytest.raises(errors.DataError, match="target x"):
        regression_metrics({"m": np.ones((20, 1))}, {"x": np.full(20, np.nan)})
