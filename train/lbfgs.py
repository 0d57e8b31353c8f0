"""L-BFGS for small float networks: SciPy's, on all events at once, with TensorFlow's gradient.

SciPy keeps its state to itself. A training goes on from a checkpoint because every loss and
gradient that SciPy was told stands there: told them again, it takes the same steps.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .passes import Pass, Samples
from .steps import Steps
from .tensorflow import load

__all__ = ["MAX_PARAMETERS", "Answers", "minimise"]

MAX_PARAMETERS = 20_000
RANDOM = ("rate", "stddev", "dropout", "recurrent_dropout")  # of layers that draw in training
MEMORY = 20  # pairs of steps and gradient changes that stand for the curvature


@dataclass
class Answers:
    """The losses (N,) and gradients (N, weights) that SciPy was told, with a checksum of where."""

    places: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    gradients: list[npt.NDArray[np.float32]] = field(default_factory=list)
    told: int = 0

    @classmethod
    def of_arrays(cls, arrays: tuple[npt.NDArray[Any], ...]) -> Answers:
        """What `arrays` gave."""
        places, losses, gradients = arrays
        return cls(places.tolist(), losses.tolist(), list(gradients))

    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """As a checkpoint holds them."""
        return np.array(self.places, np.uint32), np.array(self.losses), np.array(self.gradients)

    def at(
        self,
        place: npt.NDArray[np.float64],
        look: Callable[[], tuple[float, npt.NDArray[np.float32]]],
    ) -> tuple[float, npt.NDArray[np.float64]]:
        """Loss and gradient at a place: those known, in their order, then what `look` finds.

        Raises:
            UsageError: SciPy asks at another place than before.
        """
        mark = zlib.crc32(place.tobytes())
        if self.told == len(self.losses):
            loss, gradient = look()
            self.places.append(mark)
            self.losses.append(loss)
            self.gradients.append(gradient)
        elif self.places[self.told] != mark:
            raise errors.UsageError(
                "lbfgs: the checkpoint is of another SciPy or machine, whose steps were others; "
                "delete it to train from the start"
            )
        self.told += 1
        return self.losses[self.told - 1], self.gradients[self.told - 1].astype(np.float64)


def minimise(
    steps: Steps,
    validation: Samples,
    iterations: int,
    after: Callable[[Pass], bool],
    answers: Answers,
    done: int = 0,
) -> None:
    """Trains the network of `steps`, from its weights; every iteration of L-BFGS is a pass.

    `after` is told each pass and says whether to stop. The steps come from a line search, so that
    the learning rate of a pass is reported as 1. `answers` are those of the first `done` passes,
    which a checkpoint knows; what follows is added.

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
        def look() -> tuple[float, npt.NDArray[np.float32]]:
            put(vector)
            return steps.gradient(steps.train)

        return answers.at(vector, look)

    number = 0

    def told(vector: npt.NDArray[np.float64]) -> None:
        nonlocal number
        number += 1
        if number <= done:
            return
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
