"""Fitting on plain arrays: every loss, optimiser and schedule; the best weights are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .config import FitOptions
from .pruning import full_from, pruning_callback
from .tensorflow import load, quiet

__all__ = ["Curve", "Pass", "Samples", "fit_samples", "outputs", "score"]

KERAS_LOSSES = {
    "mean_squared_error": "mean_squared_error",
    "binary_crossentropy": "binary_crossentropy",
    "categorical_crossentropy": "sparse_categorical_crossentropy",
}
FINAL_SHARE = 0.01  # of the learning rate, at the end of the exponential schedule


@dataclass(frozen=True, eq=False)
class Samples:
    """Events with what the network should answer.

    `inputs` (N, *shape) float32. `targets`: class numbers (N,) for classification, 0 or 1 (N,) for
    binary_crossentropy, numbers (N,) or (N, K) for regression.
    """

    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            values = np.asarray(getattr(self, name))
            if len(values) == 0 or not np.isfinite(values).all():
                raise errors.DataError(
                    f"samples: the {name} are empty, or hold NaN or infinity; remove these events"
                )
        if len(self.inputs) != len(self.targets):
            raise errors.DataError(
                f"samples: got {len(self.inputs)} inputs and {len(self.targets)} targets; wanted "
                "one target per event"
            )

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Pass:
    """One epoch, numbered from 1; `accuracy` is None for regression.

    The training loss is the mean over the epoch while the weights move, so that it lies above the
    validation loss while a network learns fast.
    """

    number: int
    loss: float
    validation_loss: float
    learning_rate: float
    accuracy: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class Curve:
    """The passes of a fit; the weights kept are those of `best_pass`. `finite` is False where the
    loss became NaN or infinite in the last pass."""

    passes: tuple[Pass, ...]
    best_pass: int
    seconds: float

    @property
    def finite(self) -> bool:
        last = self.passes[-1]
        return bool(np.isfinite([last.loss, last.validation_loss]).all())


def fit_samples(
    model: Any,
    train: Samples,
    validation: Samples,
    options: FitOptions,
    *,
    pruning: float = 0.0,
    on_pass: Callable[[Pass], None] | None = None,
) -> Curve:
    """Train `model` in place and keep the weights of the lowest validation loss.

    Equal seeds on the same machine and versions give equal weights. With `pruning` only passes at
    full sparsity can be the best. A loss that is not finite ends the training.

    Raises:
        DataError: inputs or targets do not fit the network.
    """
    _check(model, train, options.loss)
    keras = load().keras
    keras.utils.set_random_seed(options.seed)
    steps = -(-len(train) // options.batch_size) * options.epochs
    passes: list[Pass] = []
    first = full_from(options.epochs) if pruning else 0
    best: dict[str, Any] = {"loss": np.inf, "number": 0, "weights": model.get_weights()}

    def record(epoch: int, logs: dict[str, float]) -> None:
        rate = float(np.asarray(model.optimizer.learning_rate))
        accuracy = {name: logs.get(name) for name in ("accuracy", "val_accuracy")}
        entry = Pass(
            epoch + 1,
            float(logs["loss"]),
            float(logs["val_loss"]),
            rate,
            *(None if value is None else float(value) for value in accuracy.values()),
        )
        passes.append(entry)
        if epoch >= first and entry.validation_loss < best["loss"]:
            best.update(
                loss=entry.validation_loss, number=entry.number, weights=model.get_weights()
            )
        stale = entry.number - max(best["number"], first)
        diverged = not np.isfinite([entry.loss, entry.validation_loss]).all()
        if diverged or (options.patience is not None and stale >= options.patience):
            model.stop_training = True
        if on_pass is not None:
            on_pass(entry)

    callbacks = [pruning_callback(model, options.epochs, pruning)] if pruning else []
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=record))
    if options.schedule == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                factor=0.5, patience=options.plateau_patience, min_delta=0.0
            )
        )
    start = time.perf_counter()
    with quiet():
        model.compile(
            _optimizer(options, steps),
            KERAS_LOSSES[options.loss],
            metrics=[] if options.loss == "mean_squared_error" else ["accuracy"],
        )
        model.fit(
            train.inputs,
            _column(train.targets, options.loss),
            validation_data=(validation.inputs, _column(validation.targets, options.loss)),
            validation_batch_size=4096,
            epochs=options.epochs,
            batch_size=options.batch_size,
            callbacks=callbacks,
            verbose=0,
        )
        model.set_weights(best["weights"])
    return Curve(tuple(passes), best["number"], time.perf_counter() - start)


def outputs(model: Any, inputs: npt.ArrayLike, batch_size: int = 4096) -> npt.NDArray[np.float32]:
    """The network's answers (N, ...) to inputs (N, *shape), in batches and without a word."""
    load()
    with quiet():
        return np.asarray(
            model.predict(np.asarray(inputs, np.float32), batch_size=batch_size, verbose=0)
        )


def score(answers: npt.NDArray[Any], targets: npt.NDArray[Any], loss: str) -> float:
    """The share of right decisions; for regression the root mean squared error.

    >>> score(np.array([[0.2], [0.9]]), np.array([0, 1]), "binary_crossentropy")
    1.0
    """
    if loss == "categorical_crossentropy":
        return float(np.mean(answers.argmax(axis=1) == targets))
    answers = np.asarray(answers, np.float64).reshape(targets.shape)
    if loss == "binary_crossentropy":
        return float(np.mean((answers > 0.5) == (targets > 0.5)))
    return float(np.sqrt(np.mean((answers - targets) ** 2)))


def _optimizer(options: FitOptions, steps: int) -> Any:
    """SGD without and with (Nesterov's) momentum, Adagrad, RMSprop or Adam."""
    keras = load().keras
    rate: Any = options.learning_rate
    schedules = keras.optimizers.schedules
    if options.schedule == "cosine":
        rate = schedules.CosineDecay(rate, steps)
    elif options.schedule == "exponential":
        rate = schedules.ExponentialDecay(rate, steps, FINAL_SHARE)
    common = {"learning_rate": rate, "global_clipnorm": options.clip_norm}
    kinds = {"adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam"}
    if options.optimizer in kinds:
        return getattr(keras.optimizers, kinds[options.optimizer])(**common)
    momentum = 0.0 if options.optimizer == "sgd" else options.momentum
    return keras.optimizers.SGD(
        **common, momentum=momentum, nesterov=options.optimizer == "nesterov"
    )


def _column(targets: npt.NDArray[Any], loss: str) -> npt.NDArray[Any]:
    """Targets (N,) as (N, 1) where Keras would otherwise repeat them."""
    wide = loss != "categorical_crossentropy" and targets.ndim == 1
    return targets[:, None].astype(np.float32) if wide else targets


def _check(model: Any, train: Samples, loss: str) -> None:
    wanted, got = tuple(model.input_shape[1:]), train.inputs.shape[1:]
    where = f"training of {model.name!r}"
    if wanted != got:
        raise errors.DataError(f"{where}: the network takes events of shape {wanted}, got {got}")
    count, targets = int(model.output_shape[-1]), train.targets
    if loss == "categorical_crossentropy":
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise errors.DataError(
                f"{where}: got targets of type {targets.dtype} and shape {targets.shape}; wanted "
                "class numbers (events,)"
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= count:
            raise errors.DataError(
                f"{where}: got class numbers {low} to {high} for {count} outputs; wanted 0 to "
                f"{count - 1}"
            )
        return
    if targets.size != len(targets) * count:
        raise errors.DataError(
            f"{where}: got targets of shape {targets.shape} for {count} outputs; wanted one "
            "number for each output"
        )
    if loss == "binary_crossentropy" and not np.isin(targets, (0, 1)).all():
        raise errors.DataError(f"{where}: got targets other than 0 and 1")
