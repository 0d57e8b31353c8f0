"""L-BFGS for small float networks: SciPy's, on all events at once, with TensorFlow's gradient."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .passes import Pass, Samples
from .steps import Steps
from .tensorflow import load

__all__ = ["MAX_PARAMETERS", "minimise"]

MAX_PARAMETERS = 20_000
RANDOM = ("rate", "stddev", "dropout", "recurrent_dropout")  # of layers that draw in training
MEMORY = 20  # pairs of steps and gradient changes that stand for the curvature


def minimise(
    steps: Steps, validation: Samples, iterations: int, after: Callable[[Pass], bool]
) -> None:
    """Trains the network of `steps`; every iteration of L-BFGS is a pass.

    `after` is told each pass and says whether to stop. The steps come from a line search, so that
    the learning rate of a pass is reported as 1.

    Raises:
        MissingToolError: SciPy is not installed.
        UsageError: more than 20,000 weights, or a network whose loss is not one smooth function.
    """
    try:
        optimize: Any = importlib.import_module("scipy.optimize")
    except ImportError as error:
        raise errors.MissingToolError(
            "optimizer lbfgs needs SciPy; install it with: pip install scipy"
        ) from error
    model = steps.model
    _check(model)
    shapes = [tuple(weight.shape) for weight in model.trainable_variables]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def put(vector: npt.NDArray[np.float64]) -> None:
        parts = np.split(vector.astype(np.float32), ends[:-1])
        for weight, part, shape in zip(model.trainable_variables, parts, shapes, strict=True):
            weight.assign(part.reshape(shape))

    def value(vector: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        put(vector)
        return steps.gradient(steps.train)

    number = 0

    def told(vector: npt.NDArray[np.float64]) -> None:
        nonlocal number
        number += 1
        put(vector)
        loss, right = steps.loss(steps.train)
        validation_loss, validation_right = steps.loss(validation)
        regression = steps.options.loss == "mean_squared_error"
        entry = Pass(
            number,
            loss,
            validation_loss,
            1.0,
            None if regression else right,
            None if regression else validation_right,
        )
        if after(entry):
            raise StopIteration

    start = np.concatenate([weight.numpy().ravel() for weight in model.trainable_variables])
    optimize.minimize(
        value,
        start.astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        callback=told,
        # gradients in float32 carry no more than about seven digits
        options={
            "maxiter": iterations,
            "maxfun": 20 * iterations,
            "maxcor": MEMORY,
            "ftol": 1e-9,
            "gtol": 1e-7,
        },
    )
    if number == 0:  # it stood in a minimum from the start
        told(start.astype(np.float64))


def _check(model: Any) -> None:
    where = f"training of {model.name!r} with lbfgs"
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    if count > MAX_PARAMETERS:
        raise errors.UsageError(
            f"{where}: {count} weights; it takes up to {MAX_PARAMETERS}, because every step looks "
            "at all events. Choose adam"
        )
    keras = load().keras.layers
    for layer in model._flatten_layers(include_self=False):
        if type(layer).__module__.split(".")[0] == "qkeras":
            raise errors.UsageError(
                f"{where}: layer {layer.name!r} rounds, and its gradient is not that of the loss; "
                "the line search fails there. Choose adam for the quantized network (fine_tuning)"
            )
        normalises = isinstance(layer, keras.BatchNormalization) and layer.trainable
        if normalises or any(getattr(layer, name, 0) for name in RANDOM):
            raise errors.UsageError(
                f"{where}: layer {layer.name!r} ({type(layer).__name__}) makes the loss change "
                "from one look to the next. Leave it out, or choose adam"
            )
