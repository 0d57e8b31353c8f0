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
from .models import SCALED_EXTRA_BITS, build_float_mlp, build_mlp, copy_weights
from .pruning import full_from, pruning_callback, sparsity
from .scaling import (
    InputFormat,
    InputScaling,
    Kind,
    choose_input_format,
    choose_scaling,
    exact_standardisation,
    hardware_view,
)
from .tensorflow import load, quiet

__all__ = [
    "Epoch",
    "FitResult",
    "Prepared",
    "ScalingCost",
    "fit",
    "fit_float",
    "fit_quantized",
    "predict",
    "prepare",
    "scaling_costs",
]

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
    """What a training did. Accuracies and sparsity belong to the kept weights, those of
    `best_epoch`, which has the lowest validation loss; `history` numbers epochs from 1."""

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
    choices: dict[Kind, InputScaling]
    scaled_bits: int


@dataclass(frozen=True)
class ScalingCost:
    """Accuracy of the float network behind a hardware standardisation; `difference` is that minus
    the
    accuracy behind exact float standardisation, `changed` the share of events decided otherwise."""

    kind: Kind
    accuracy: float
    difference: float
    changed: float


def prepare(train: Dataset, config: TrainingConfig) -> Prepared:
    """Choose the input format and the standardisation from the training part.

    Raises:
        DataError: no input format of at most 23 bits serves all features.
    """
    bits = config.activation_bits + SCALED_EXTRA_BITS
    kinds: tuple[Kind, ...] = ("po2", "fold")
    choices = {kind: choose_scaling(train.features, kind, bits) for kind in kinds}
    return Prepared(
        input_format=choose_input_format(
            train.features, train.feature_names, width=config.input_bits
        ),
        scaling=choices[config.scaling],
        exact=exact_standardisation(train.features),
        choices=choices,
        scaled_bits=bits,
    )


def fit_quantized(
    train: Dataset,
    validation: Dataset,
    prepared: Prepared,
    config: TrainingConfig,
    *,
    start: Any = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Any, FitResult]:
    """A quantized network trained on raw features, and its record.

    `start` is the float network of `fit_float`: the quantized one then begins with its weights,
    which brings it closer to the float accuracy than random weights do; None begins with random
    ones.
    """
    model = build_mlp(
        prepared.input_format,
        prepared.scaling,
        len(train.class_names),
        hidden=config.hidden,
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        seed=config.seed,
    )
    if start is not None:
        copy_weights(start, model, prepared.exact, prepared.scaling)
    return model, fit(model, train, validation, config, pruning=config.pruning, on_epoch=on_epoch)


def fit_float(
    train: Dataset,
    validation: Dataset,
    prepared: Prepared,
    config: TrainingConfig,
    *,
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

    def record(epoch: int, logs: dict[str, float]) -> None:
        entry = Epoch(
            epoch + 1,
            float(logs["loss"]),
            float(logs["accuracy"]),
            float(logs["val_loss"]),
            float(logs["val_accuracy"]),
        )
        if not np.isfinite(entry.loss) or not np.isfinite(entry.validation_loss):
            raise errors.DataError(
                f"training of {model.name!r}: the loss is {entry.loss} in epoch {entry.number}; "
                f"lower the learning rate (it is {config.learning_rate:g})"
            )
        history.append(entry)
        best.offer(epoch, entry, model)
        if on_epoch is not None:
            on_epoch(entry)

    callbacks = [pruning_callback(model, config.epochs, pruning)] if pruning else []
    callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=record))
    start = time.perf_counter()
    with quiet():
        model.compile(
            keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
            ),
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
            callbacks=callbacks,
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


def scaling_costs(float_model: Any, part: Dataset, prepared: Prepared) -> tuple[ScalingCost, ...]:
    """What rounding the input and each kind of standardisation cost the trained float network.

    The same network sees the features exactly, and as the hardware has them after standardisation;
    nothing is trained again, so the differences carry no training noise. Use the validation part.
    """
    exact = predict(float_model, part.features).argmax(axis=1)
    reference = float(np.mean(exact == part.labels))
    costs = []
    for kind, scaling in prepared.choices.items():
        seen = hardware_view(part.features, prepared.input_format, scaling, prepared.scaled_bits)
        decisions = predict(float_model, seen).argmax(axis=1)
        accuracy = float(np.mean(decisions == part.labels))
        changed = float(np.mean(decisions != exact))
        costs.append(ScalingCost(kind, accuracy, accuracy - reference, changed))
    return tuple(costs)


def predict(model: Any, features: npt.ArrayLike, batch_size: int = 4096) -> FloatArray:
    """The network's output (N, C) for raw features (N, F), in batches and without a word."""
    load()
    with quiet():
        return np.asarray(
            model.predict(np.asarray(features, np.float32), batch_size=batch_size, verbose=0)
        )


class _Best:
    """Weights of the epoch with the lowest validation loss, from epoch `first` (from 0) on."""

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
            f"training of {model.name!r}: the network has {outputs} outputs, the data have "
            f"{classes} "
            "classes"
        )
