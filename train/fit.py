"""Fitting: a network and two parts of a data set in, a trained network and its record out."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .config import TrainingConfig
from .data import Dataset
from .models import SCALED_EXTRA_BITS, build_float_mlp, build_mlp
from .pruning import full_from, pruning_callback, sparsity
from .scaling import (
    InputFormat,
    InputScaling,
    choose_input_format,
    choose_scaling,
    exact_standardisation,
)
from .tensorflow import load, quiet

__all__ = ["Epoch", "FitResult", "Prepared", "fit", "fit_float", "fit_quantized", "predict", "prepare"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training part; losses are cross entropies in nats, accuracies shares."""

    number: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class FitResult:
    """What a training did. Accuracies and sparsity belong to the kept weights, those of `best_epoch`
    (lowest validation loss); `history` numbers epochs from 1."""

    history: tuple[Epoch, ...]
    best_epoch: int
    train_accuracy: float
    validation_accuracy: float
    sparsity: float
    seconds: float
    seed: int


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the training part decides before any fit: input format and standardisations."""

    input_format: InputFormat
    scaling: InputScaling
    exact: InputScaling


def prepare(train: Dataset, config: TrainingConfig) -> Prepared:
    """Choose the input format and the standardisation from the training part.

    Raises:
        DataError: no input format of at most 23 bits serves all features.
    """
    return Prepared(
        choose_input_format(train.features, train.feature_names, width=config.input_bits),
        choose_scaling(train.features, config.scaling, config.activation_bits + SCALED_EXTRA_BITS),
        exact_standardisation(train.features),
    )


def fit_quantized(
    train: Dataset,
    validation: Dataset,
    prepared: Prepared,
    config: TrainingConfig,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Any, FitResult]:
    """A quantized network trained on raw features, and its record."""
    model = build_mlp(
        prepared.input_format,
        prepared.scaling,
        len(train.class_names),
        hidden=config.hidden,
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        seed=config.seed,
    )
    return model, fit(model, train, validation, config, pruning=config.pruning, on_epoch=on_epoch)


def fit_float(
    train: Dataset,
    validation: Dataset,
    prepared: Prepared,
    config: TrainingConfig,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Any, FitResult]:
    """The float network of the same shape, behind exact standardisation, and its record."""
    model = build_float_mlp(
        prepared.exact, len(train.class_names), hidden=config.hidden, seed=config.seed
    )
    return model, fit(model, train, validation, config, on_epoch=on_epoch)


def fit(
    model: Any,
    train: Dataset,
    validation: Dataset,
    config: TrainingConfig,
    *,
    pruning: float = 0.0,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> FitResult:
    """Train `model` in place and keep the weights of the epoch with the lowest validation loss.

    Adam with a learning rate that falls to zero as a cosine. Equal seeds on the same machine and
    versions give equal weights. With pruning only epochs at full sparsity can be the best.

    Raises:
        DataError: feature or class count does not fit the network, or the loss became NaN.
    """
    _check(model, train)
    kit = load()
    keras = kit.keras
    keras.utils.set_random_seed(config.seed)
    steps = -(-len(train) // config.batch_size) * config.epochs
    history: list[Epoch] = []
    best = _Best(first=full_from(config.epochs) if pruning else 0)

    class Record(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            record = Epoch(
                epoch + 1,
                float(logs["loss"]),
                float(logs["accuracy"]),
                float(logs["val_loss"]),
                float(logs["val_accuracy"]),
            )
            if not np.isfinite(record.loss) or not np.isfinite(record.validation_loss):
                raise errors.DataError(
                    f"training of {model.name!r}: the loss is {record.loss} in epoch {record.number}; "
                    f"lower the learning rate (it is {config.learning_rate:g})"
                )
            history.append(record)
            best.offer(epoch, record, self.model)
            if on_epoch is not None:
                on_epoch(record)

    callbacks = [pruning_callback(config.epochs, pruning)] if pruning else []
    start = time.perf_counter()
    with quiet():
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        model.fit(
            train.features,
            train.labels,
            validation_data=(validation.features, validation.labels),
            validation_batch_size=4096,
            epochs=config.epochs,
            batch_size=config.batch_size,
            callbacks=[*callbacks, Record()],
            verbose=0,
        )
        model.set_weights(best.weights)
    return FitResult(
        history=tuple(history),
        best_epoch=best.number,
        train_accuracy=_accuracy(model, train),
        validation_accuracy=_accuracy(model, validation),
        sparsity=sparsity(model),
        seconds=time.perf_counter() - start,
        seed=config.seed,
    )


def predict(model: Any, features: npt.ArrayLike, batch_size: int = 4096) -> FloatArray:
    """The network's output (N, C) for raw features (N, F), in batches and without a word."""
    load()
    with quiet():
        return np.asarray(
            model.predict(np.asarray(features, np.float32), batch_size=batch_size, verbose=0)
        )


class _Best:
    """Weights of the epoch with the lowest validation loss, from epoch `first` (counted from 0) on."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.loss = np.inf
        self.number = 0
        self.weights: list[Any] = []

    def offer(self, epoch: int, record: Epoch, model: Any) -> None:
        if epoch >= self.first and record.validation_loss < self.loss:
            self.loss, self.number = record.validation_loss, record.number
            self.weights = model.get_weights()


def _accuracy(model: Any, part: Dataset) -> float:
    return float(np.mean(predict(model, part.features).argmax(axis=1) == part.labels))


def _check(model: Any, train: Dataset) -> None:
    wanted, got = int(model.input_shape[-1]), train.features.shape[1]
    if wanted != got:
        raise errors.DataError(
            f"training of {model.name!r}: the network takes {wanted} features, the data have {got}"
        )
    outputs, classes = int(model.output_shape[-1]), len(train.class_names)
    if outputs != classes:
        raise errors.DataError(
            f"training of {model.name!r}: the network has {outputs} outputs, the data {classes} classes"
        )
