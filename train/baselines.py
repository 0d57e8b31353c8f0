"""Simple fits beside a network: where they win, no network is needed."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from samebits import errors

from .optimize import Samples, score

__all__ = ["Baseline", "fit_baselines"]


@dataclass(frozen=True)
class Baseline:
    """A simple fit: `score` is the accuracy (regression: root mean squared error) on the samples
    that it was not fitted on; `seconds` of fitting."""

    name: str
    score: float
    seconds: float


def fit_baselines(
    train: Samples, validation: Samples, loss: str, *, trees: bool = True, seed: int = 0
) -> tuple[Baseline, ...]:
    """One constant answer, a linear fit and gradient-boosted trees, fitted on the training part.

    scikit-learn with its own settings: LogisticRegression or LinearRegression behind
    StandardScaler, HistGradientBoosting. `trees=False` leaves the last out (many inputs and classes
    take it long). Compare with the network on the same `validation` part.

    Raises:
        MissingToolError: scikit-learn is not installed.
        DataError: more than one output per event.
    """
    if train.targets.ndim > 1 and train.targets.shape[1] != 1:
        raise errors.DataError(
            f"baselines: got {train.targets.shape[1]} outputs per event; wanted one: fit each alone"
        )
    x, x_validation = (part.inputs.reshape(len(part), -1) for part in (train, validation))
    y = train.targets.reshape(-1)
    wanted = validation.targets.reshape(-1)
    found = []
    for name, model in _models(loss, seed)[: 3 if trees else 2]:
        start = time.perf_counter()
        model.fit(x, y)
        seconds = time.perf_counter() - start
        answer = np.asarray(model.predict(x_validation))
        value = (
            score(answer, wanted, loss)
            if loss == "mean_squared_error"
            else float(np.mean(answer == wanted))
        )
        found.append(Baseline(name, value, seconds))
    return tuple(found)


def _models(loss: str, seed: int) -> list[tuple[str, Any]]:
    try:
        dummy, linear, ensemble, pipeline, preprocessing = (
            importlib.import_module(f"sklearn.{name}")
            for name in ("dummy", "linear_model", "ensemble", "pipeline", "preprocessing")
        )
    except ImportError as error:
        raise errors.MissingToolError(
            "simple fits need scikit-learn; install it with: pip install scikit-learn"
        ) from error
    scaler = preprocessing.StandardScaler()
    if loss == "mean_squared_error":
        return [
            ("the mean", dummy.DummyRegressor()),
            ("linear regression", pipeline.make_pipeline(scaler, linear.LinearRegression())),
            ("boosted trees", ensemble.HistGradientBoostingRegressor(random_state=seed)),
        ]
    logistic = linear.LogisticRegression(max_iter=2000)
    return [
        ("the largest class", dummy.DummyClassifier()),
        ("logistic regression", pipeline.make_pipeline(scaler, logistic)),
        ("boosted trees", ensemble.HistGradientBoostingClassifier(random_state=seed)),
    ]
