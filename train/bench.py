"""The training bench: a description of a network in, its float and its quantized form out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .baselines import Baseline
from .build import build, take_weights
from .config import FitOptions
from .diagnosis import Verdict, diagnose, loss_without_inputs
from .formats import choose_formats, fold_batch_norm
from .layers import Categories
from .losses import score_name, score_text
from .network import Network
from .optimize import Augment, Curve, Pass, Samples, fit_samples, outputs, score
from .preprocessing import warn_of_standardised
from .scaling import SCALED_INTEGER_BITS, InputFormat, InputScaling, choose_scaling
from .whitening import fit_whitened

__all__ = ["Trained", "fine_tune", "gentler", "standardisation", "train_network"]


@dataclass(frozen=True, eq=False)
class Trained:
    """A network in float and quantized: Keras models, the formats, and how both were fitted.

    `network` is the quantized one's description, its batch normalisations folded; `verdicts` say
    what the loss curve of the float network tells (`samebits.train.diagnosis`).
    """

    network: Network
    options: FitOptions
    float_model: Any
    model: Any
    formats: Mapping[str, InputFormat]
    float_curve: Curve
    curve: Curve
    verdicts: tuple[Verdict, ...]

    def scores(
        self, samples: Samples, firmware: npt.NDArray[Any] | None = None
    ) -> dict[str, float]:
        """Accuracy (for regression: root mean squared error) of float, quantized, firmware.

        `firmware` are the answers of `Design.simulate` to the same samples.
        """
        answers = self.answers(samples.inputs)
        if firmware is not None:
            answers["firmware"] = firmware
        return {
            name: score(values, samples.targets, self.options.loss)
            for name, values in answers.items()
        }

    def answers(self, inputs: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The outputs (N, K) of "float" and "quantized"."""
        return {
            "float": outputs(self.float_model, inputs),
            "quantized": outputs(self.model, inputs),
        }

    def summary(
        self,
        samples: Samples,
        firmware: npt.NDArray[Any] | None = None,
        baselines: Iterable[Baseline] = (),
    ) -> str:
        """`scores`, those of simple fits (`fit_baselines`), and the verdicts, a line each."""
        loss = self.options.loss
        found = self.scores(samples, firmware) | {fit.name: fit.score for fit in baselines}
        lines = [
            f"{score_name(loss)}, {name}: {score_text(value, loss)}"
            for name, value in found.items()
        ]
        return "\n".join([*lines, *(f"loss curve: {verdict}" for verdict in self.verdicts)])


def train_network(
    network: Network,
    train: Samples,
    validation: Samples,
    options: FitOptions,
    *,
    weight_bits: int = 6,
    activation_bits: int = 6,
    formats: Mapping[str, str] | None = None,
    fine_tuning: FitOptions | None = None,
    pruning: float = 0.0,
    whiten: bool = False,
    distil: bool = False,
    augment: Augment | None = None,
    on_pass: Callable[[str, Pass], None] | None = None,
) -> Trained:
    """Train in float, fold the batch normalisations, choose formats from data, train on quantized.

    1. the float network, with `options`
    2. `fold_batch_norm`, `choose_formats`; `formats` overrides single points ("input", "relu_1",
       "dense_1.kernel", ...: `samebits.train.network.points`)
    3. the quantized network from these weights, with `fine_tuning`; by default half the epochs at
       half the learning rate (behind lbfgs: Adam's)

    `whiten` trains the float network behind a whitening, which is folded into its first layer.
    `distil` gives the quantized network the answers of the float one as targets (kl_divergence, for
    networks that end with softmax). `augment` changes the training part in both
    (`samebits.train.augmentation`). The options `checkpoints` and `tensorboard` keep a file of each
    network; a training that was interrupted goes on where it was.

    `on_pass` is called with "float" or "quantized" and the pass.

    Raises:
        DataError: samples that do not fit the network; a loss that is no longer finite.
        UsageError: a network, formats or options that make no sense.
    """
    for part in (train, validation):
        _check_categories(network, part.inputs)
    warn_of_standardised(train)
    scaling = standardisation(network, train.inputs, activation_bits)
    fine_tuning = fine_tuning or gentler(options)
    if whiten and augment is not None:
        raise errors.UsageError("training: augmentation changes raw inputs; leave whitening out")
    if distil and options.loss != "categorical_crossentropy":
        raise errors.UsageError(
            f"training: distillation takes a network of classes; the loss is {options.loss}, "
            "wanted categorical_crossentropy"
        )

    def told(stage: str) -> Callable[[Pass], None] | None:
        return None if on_pass is None else lambda entry: on_pass(stage, entry)

    if whiten:
        float_model, float_curve = fit_whitened(
            network, train, validation, options, scaling=scaling, on_pass=told("float")
        )
    else:
        float_model = build(network, scaling=scaling, seed=options.seed)
        float_curve = fit_samples(
            float_model, train, validation, options, augment=augment, on_pass=told("float")
        )
    _finite(float_curve, "float", options)
    verdicts = diagnose(float_curve, loss_without_inputs(validation.targets, options.loss))
    plain, folded = fold_batch_norm(network, float_model)
    table = choose_formats(
        plain,
        folded,
        train.inputs,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        given=formats,
    )
    model = build(plain, table, scaling=scaling, seed=options.seed)
    take_weights(model, folded)
    curve = fine_tune(
        model,
        train,
        validation,
        fine_tuning,
        pruning=pruning,
        teacher=float_model if distil else None,
        augment=augment,
        on_pass=told("quantized"),
    )
    return Trained(plain, options, float_model, model, table, float_curve, curve, verdicts)


def gentler(options: FitOptions) -> FitOptions:
    """What a quantized network is trained with unless something else is given: half of both."""
    return options.model_copy(
        update={
            "epochs": -(-options.epochs // 2),
            "learning_rate": options.learning_rate / 2,
            "optimizer": "adam" if options.optimizer == "lbfgs" else options.optimizer,
        }
    )


def fine_tune(
    model: Any,
    train: Samples,
    validation: Samples,
    options: FitOptions,
    *,
    pruning: float = 0.0,
    teacher: Any = None,
    augment: Augment | None = None,
    on_pass: Callable[[Pass], None] | None = None,
) -> Curve:
    """Trains a quantized network from the weights that it has; a teacher's answers are its targets.

    Raises:
        DataError: the loss is no longer finite.
    """
    if teacher is not None:
        options = options.model_copy(update={"loss": "kl_divergence"})
        train, validation = _with_answers(teacher, train), _with_answers(teacher, validation)
    curve = fit_samples(
        model, train, validation, options, pruning=pruning, augment=augment, on_pass=on_pass
    )
    _finite(curve, "quantized", options)
    return curve


def standardisation(
    network: Network, inputs: npt.NDArray[np.float32], activation_bits: int
) -> InputScaling | None:
    """Powers of two per channel if the network standardises its inputs."""
    if not network.standardised:
        return None
    channels = inputs.reshape(-1, inputs.shape[-1]).astype(np.float32)
    # 2 bits more than activations, as in choose_formats
    return choose_scaling(channels, "po2", max(activation_bits + 2, SCALED_INTEGER_BITS + 1))


def _with_answers(teacher: Any, samples: Samples) -> Samples:
    """The samples with the teacher's answers as targets."""
    return replace(samples, targets=outputs(teacher, samples.inputs))


def _check_categories(network: Network, inputs: npt.NDArray[np.float32]) -> None:
    """Raises DataError unless the last columns hold numbers of categories where they should."""
    for name, layer in network:
        sizes = layer.categories if isinstance(layer, Categories) else ()
        for number, count in enumerate(sizes, inputs.shape[1] - len(sizes)):
            column = inputs[..., number]
            wrong = (column != np.floor(column)) | (column < 0) | (column >= count)
            if wrong.any():
                event = int(np.argmax(wrong))
                raise errors.DataError(
                    f"samples: column {number} holds the categories of {name!r} and is "
                    f"{column[event]:g} at event {event}; wanted whole numbers from 0 to "
                    f"{count - 1}"
                )


def _finite(curve: Curve, stage: str, options: FitOptions) -> None:
    if not curve.finite:
        raise errors.DataError(
            f"training of the {stage} network: the loss is {curve.passes[-1].loss} in epoch "
            f"{curve.passes[-1].number}; lower the learning rate (it is "
            f"{options.learning_rate:g}), or set clip_norm"
        )
