"""Simple fits beside a network: where they win, no network is needed."""

from __future__ import annotations

import importlib
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .optimize import Samples, score
from .splits import strata

__all__ = ["Baseline", "fit_baselines"]

# Events of a kernel method, whose time grows with their square (SVM) and cube (Gaussian process).
SVM_EVENTS, PROCESS_EVENTS = 2000, 300


@dataclass(frozen=True)
class Baseline:
    """A simple fit: `score` is the accuracy (regression: root mean squared error) on the samples
    that it was not fitted on; `seconds` of fitting."""

    name: str
    score: float
    seconds: float


def fit_baselines(
    train: Samples,
    validation: Samples,
    loss: str,
    *,
    trees: bool = True,
    kernels: bool = True,
    seed: int = 0,
) -> tuple[Baseline, ...]:
    """A constant answer, a linear fit, boosted trees and a kernel method, fitted on the training
    part.

    scikit-learn with its own settings: LogisticRegression or LinearRegression behind
    StandardScaler, HistGradientBoosting, and behind StandardScaler an SVC with RBF kernel on up to
    2000 events, or a Gaussian process (constant times RBF plus white noise, fitted) on up to 300;
    the name says on how many. `trees=False` (many inputs and classes take them long) and
    `kernels=False` leave these out. Compare with the network on the same `validation` part.

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
    models = _models(loss, seed)
    used = dict.fromkeys(models, len(train))
    if kernels:
        name, limit, model = _kernel_method(loss, seed)
        count = min(limit, len(train))
        name += f" on {count} of {len(train)} events" if count < len(train) else ""
        models[name], used[name] = model, count
    if not trees:
        models.pop("boosted trees")
    order = _stratified_order(train, seed)
    for name, model in models.items():
        start = time.perf_counter()
        events = order[: used[name]] if used[name] < len(train) else np.arange(len(train))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a fit that stops early is still a baseline
            model.fit(x[events], y[events])
        seconds = time.perf_counter() - start
        answer = np.asarray(model.predict(x_validation))
        value = (
            score(answer, wanted, loss)
            if loss == "mean_squared_error"
            else float(np.mean(answer == wanted))
        )
        found.append(Baseline(name, value, seconds))
    return tuple(found)


def _stratified_order(samples: Samples, seed: int) -> npt.NDArray[np.intp]:
    """A random order of the events in which every beginning has about the classes' shares."""
    labels = strata(samples)
    order = np.random.default_rng(seed).permutation(len(samples))
    shares = np.zeros(len(samples))
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        shares[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.argsort(shares, kind="stable")


def _modules(*names: str) -> list[Any]:
    try:
        return [importlib.import_module(f"sklearn.{name}") for name in names]
    except ImportError as error:
        raise errors.MissingToolError(
            "simple fits need scikit-learn; install it with: pip install scikit-learn"
        ) from error


def _kernel_method(loss: str, seed: int) -> tuple[str, int, Any]:
    """Name, largest number of events, and model."""
    pipeline, preprocessing = _modules("pipeline", "preprocessing")
    scaler = preprocessing.StandardScaler()
    if loss != "mean_squared_error":
        (svm,) = _modules("svm")
        return "RBF SVM", SVM_EVENTS, pipeline.make_pipeline(scaler, svm.SVC(random_state=seed))
    (process,) = _modules("gaussian_process")
    parts = process.kernels
    model = process.GaussianProcessRegressor(
        parts.ConstantKernel() * parts.RBF() + parts.WhiteKernel(),
        normalize_y=True,
        random_state=seed,
    )
    return "Gaussian process", PROCESS_EVENTS, pipeline.make_pipeline(scaler, model)


def _models(loss: str, seed: int) -> dict[str, Any]:
    dummy, linear, ensemble, pipeline, preprocessing = _modules(
        "dummy", "linear_model", "ensemble", "pipeline", "preprocessing"
    )
    scaler = preprocessing.StandardScaler()
    if loss == "mean_squared_error":
        return {
            "the mean": dummy.DummyRegressor(),
            "linear regression": pipeline.make_pipeline(scaler, linear.LinearRegression()),
            "boosted trees": ensemble.HistGradientBoostingRegressor(random_state=seed),
        }
    logistic = linear.LogisticRegression(max_iter=2000)
    return {
        "the largest class": dummy.DummyClassifier(),
        "logistic regression": pipeline.make_pipeline(scaler, logistic),
        "boosted trees": ensemble.HistGradientBoostingClassifier(random_state=seed),
    }
