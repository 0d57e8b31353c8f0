"""The multilayer perceptron of `samebits train` and `samebits demo`, fitted on classes.

Any other network is fitted by `samebits.train.bench`; the passes of both are `optimize`'s.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .config import TrainingConfig, fit_options
from .data import Dataset
from .models import SCALED_EXTRA_BITS, build_float_mlp, build_mlp, copy_weights
from .optimize import Curve, Pass, Samples, fit_samples
from .optimize import outputs as predict
from .pruning import sparsity
from .scaling import (
    InputFormat,
    InputScaling,
    Kind,
    choose_input_format,
    choose_scaling,
    exact_standardisation,
    hardware_view,
)

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
    `best_epoch`, which has the lowest validation loss; `history` numbers epochs from 1; `curve` is
    the same as the training bench has it."""

    history: tuple[Epoch, ...]
    best_epoch: int
    train_accuracy: float
    validation_accuracy: float
    sparsity: float
    seconds: float
    seed: int
    curve: Curve | None = None


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
    history: list[Epoch] = []

    def record(entry: Pass) -> None:
        if not np.isfinite([entry.loss, entry.validation_loss]).all():
            raise errors.DataError(
                f"training of {model.name!r}: the loss is {entry.loss} in epoch {entry.number}; "
                f"lower the learning rate (it is {config.learning_rate:g})"
            )
        assert entry.accuracy is not None  # both are there for cross entropies
        assert entry.validation_accuracy is not None
        history.append(
            Epoch(
                entry.number,
                entry.loss,
                entry.accuracy,
                entry.validation_loss,
                entry.validation_accuracy,
            )
        )
        if on_epoch is not None:
            on_epoch(history[-1])

    start = time.perf_counter()
    curve = fit_samples(
        model,
        Samples(train.features, train.labels),
        Samples(validation.features, validation.labels),
        fit_options(
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=config.seed,
        ),
        pruning=pruning,
        on_pass=record,
    )
    return FitResult(
        history=tuple(history),
        best_epoch=curve.best_pass,
        train_accuracy=_accuracy(model, train),
        validation_accuracy=_accuracy(model, validation),
        sparsity=sparsity(model),
        seconds=time.perf_counter() - start,
        seed=config.seed,
        curve=curve,
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
