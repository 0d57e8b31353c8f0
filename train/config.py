"""The options of a training, checked."""

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import pydantic

from samebits import errors

__all__ = ["FitOptions", "TrainingConfig", "fit_options", "training_config"]


class TrainingConfig(pydantic.BaseModel):
    """Options of one training; `training_config` makes one and reports wrong values readably."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    hidden: tuple[int, ...] = pydantic.Field(
        (64, 32, 32), min_length=1, max_length=16, description="units of the hidden layers"
    )
    weight_bits: int = pydantic.Field(6, ge=2, le=16, description="bits of weights and biases")
    activation_bits: int = pydantic.Field(6, ge=2, le=16, description="bits of hidden activations")
    epochs: int = pydantic.Field(40, ge=1, le=10_000, description="passes over the training part")
    batch_size: int = pydantic.Field(256, ge=1, le=1_000_000)
    learning_rate: float = pydantic.Field(
        2e-3, gt=0, le=1, description="of Adam, at the start; falls to zero as a cosine"
    )
    pruning: float = pydantic.Field(
        0.0, ge=0, le=0.99, description="share of every layer's weights set to zero; 0 prunes none"
    )
    scaling: Literal["po2", "fold"] = pydantic.Field(
        "po2", description="how features are standardised in hardware: by shifts, or by multipliers"
    )
    input_bits: int | None = pydantic.Field(
        None, ge=2, le=23, description="width of a raw feature; None chooses it from the data"
    )
    seed: int = pydantic.Field(0, ge=0, le=2**31 - 1)

    @pydantic.field_validator("hidden")
    @classmethod
    def _sizes(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        for units in value:
            if not 1 <= units <= 4096:
                raise ValueError(f"a hidden layer has {units} units; wanted 1 to 4096")
        return value


class FitOptions(pydantic.BaseModel):
    """How a network is fitted; `fit_options` makes one and reports wrong values readably."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    loss: Literal[
        "mean_squared_error", "binary_crossentropy", "categorical_crossentropy", "kl_divergence"
    ] = pydantic.Field(
        "categorical_crossentropy",
        description="in nats; targets are class numbers, of kl_divergence distributions",
    )
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "lbfgs"] = (
        pydantic.Field("adam", description="lbfgs: all events at once, for small float networks")
    )
    learning_rate: float = pydantic.Field(2e-3, gt=0, le=1e6, description="at the start")
    schedule: Literal["constant", "cosine", "exponential", "plateau"] = pydantic.Field(
        "cosine",
        description="of the learning rate: to zero as a half cosine; to 1 % exponentially; halved "
        "after `plateau_patience` epochs without a lower validation loss",
    )
    momentum: float = pydantic.Field(0.9, ge=0, lt=1, description="of momentum and Nesterov")
    plateau_patience: int = pydantic.Field(5, ge=1)
    clip_norm: float | None = pydantic.Field(
        None, gt=0, description="longest gradient of a step, all weights together"
    )
    epochs: int = pydantic.Field(40, ge=1, le=100_000, description="passes over the training part")
    batch_size: int = pydantic.Field(256, ge=1, le=1_000_000)
    patience: int | None = pydantic.Field(
        None, ge=1, description="epochs without a lower validation loss before training stops"
    )
    input_noise: float = pydantic.Field(
        0.0, ge=0, le=10, description="in training only: normal, in standard deviations of an input"
    )
    seed: int = pydantic.Field(0, ge=0, le=2**31 - 1)
    checkpoints: Path | None = pydantic.Field(
        None, description="folder: every epoch is written there, and training goes on from there"
    )
    tensorboard: Path | None = pydantic.Field(None, description="folder for TensorBoard's files")

    @pydantic.model_validator(mode="after")
    def _lbfgs(self) -> Self:
        if self.optimizer == "lbfgs":
            given = [
                name
                for name, value in (
                    ("input_noise", self.input_noise),
                    ("clip_norm", self.clip_norm),
                )
                if value
            ]
            if given:
                raise ValueError(
                    f"lbfgs works on one smooth function with steps of its own: leave out "
                    f"{', '.join(given)}, or choose adam"
                )
        return self


Options = TypeVar("Options", TrainingConfig, FitOptions)


def training_config(**options: Any) -> TrainingConfig:
    """The checked options; what is not given takes its default.

    >>> training_config(hidden=(16,), epochs=2).batch_size
    256

    Raises:
        UsageError: lists every wrong option with its value and what was wanted.
    """
    return _checked(TrainingConfig, options)


def fit_options(**options: Any) -> FitOptions:
    """The checked options of a fit; what is not given takes its default.

    >>> fit_options(optimizer="nesterov", clip_norm=1.0).schedule
    'cosine'

    Raises:
        UsageError: lists every wrong option with its value and what was wanted.
    """
    return _checked(FitOptions, options)


def _checked(kind: type[Options], options: dict[str, Any]) -> Options:
    try:
        return kind(**options)
    except pydantic.ValidationError as error:
        lines = [_sentence(detail, kind) for detail in error.errors()]
        raise errors.UsageError("training options:\n  " + "\n  ".join(lines)) from error


def _sentence(detail: Any, kind: type[pydantic.BaseModel]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if not name:
        return str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{name}: no such option; there are {', '.join(kind.model_fields)}"
    wanted = str(detail["msg"]).removeprefix("Value error, ")
    return f"{name}: got {detail['input']!r}; {wanted[0].lower()}{wanted[1:]}"
