"""Data augmentation: events turned into others that are as likely and have the same target.

Each is a function of (inputs (N, *shape), targets, random numbers) to inputs and targets of the
same shapes; `fit_samples` and `train_network` call it anew for the shuffled training part of every
epoch, with random numbers that follow from the seed. Any function of that form serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .steps import Augment

__all__ = ["Flip", "InTurn", "Reflect", "RotatePhi", "RotatePhiPair"]

Inputs = npt.NDArray[np.float32]
Targets = npt.NDArray[Any]


@dataclass(frozen=True)
class Flip:
    """Mirrors a share of the events along one axis of an event: 1 are the columns of an image."""

    axis: int
    share: float = 0.5

    def __call__(
        self, inputs: Inputs, targets: Targets, random: np.random.Generator
    ) -> tuple[Inputs, Targets]:
        """The events, and the targets as they were."""
        if not 0 <= self.axis < inputs.ndim - 1:
            raise errors.DataError(
                f"augmentation {self}: events have {inputs.ndim - 1} axes; wanted an axis from 0"
            )
        drawn = random.random(len(inputs)) < self.share
        result = inputs.copy()
        result[drawn] = np.flip(inputs[drawn], axis=self.axis + 1)
        return result, targets


@dataclass(frozen=True)
class Reflect:
    """Changes the sign of one feature (eta, say) of all objects in a share of the events."""

    column: int
    share: float = 0.5

    def __call__(
        self, inputs: Inputs, targets: Targets, random: np.random.Generator
    ) -> tuple[Inputs, Targets]:
        """The events, and the targets as they were."""
        _check_columns(self, inputs, self.column)
        drawn = random.random(len(inputs)) < self.share
        result = inputs.copy()
        result[drawn, ..., self.column] *= -1
        return result, targets


@dataclass(frozen=True)
class RotatePhi:
    """Turns each event by one random angle: phi stays in [-pi, pi).

    Objects whose features are all zero are padding and stay zero.
    """

    column: int

    def __call__(
        self, inputs: Inputs, targets: Targets, random: np.random.Generator
    ) -> tuple[Inputs, Targets]:
        """The events, and the targets as they were."""
        _check_columns(self, inputs, self.column)
        angle = _per_event(random.uniform(-np.pi, np.pi, len(inputs)), inputs.ndim - 2)
        turned = (inputs[..., self.column] + angle + np.pi) % (2 * np.pi) - np.pi
        result = inputs.copy()
        result[..., self.column] = np.where(_there(inputs), turned, 0)
        return result, targets


@dataclass(frozen=True)
class RotatePhiPair:
    """Turns each event by one random angle where phi stands as its sine and cosine."""

    sine: int
    cosine: int

    def __call__(
        self, inputs: Inputs, targets: Targets, random: np.random.Generator
    ) -> tuple[Inputs, Targets]:
        """The events, and the targets as they were."""
        _check_columns(self, inputs, self.sine, self.cosine)
        angle = _per_event(random.uniform(-np.pi, np.pi, len(inputs)), inputs.ndim - 2)
        sine, cosine = inputs[..., self.sine], inputs[..., self.cosine]
        result = inputs.copy()
        result[..., self.sine] = sine * np.cos(angle) + cosine * np.sin(angle)
        result[..., self.cosine] = cosine * np.cos(angle) - sine * np.sin(angle)
        return result, targets


@dataclass(frozen=True)
class InTurn:
    """Several augmentations, one behind the other."""

    steps: tuple[Augment, ...]

    def __call__(
        self, inputs: Inputs, targets: Targets, random: np.random.Generator
    ) -> tuple[Inputs, Targets]:
        """The events and targets after all of them."""
        for step in self.steps:
            inputs, targets = step(inputs, targets, random)
        return inputs, targets


def _check_columns(augment: object, inputs: Inputs, *columns: int) -> None:
    if not all(0 <= column < inputs.shape[-1] for column in columns):
        raise errors.DataError(
            f"augmentation {augment}: there are {inputs.shape[-1]} features; wanted columns from 0 "
            f"to {inputs.shape[-1] - 1}"
        )


def _per_event(values: npt.NDArray[np.float64], axes: int) -> npt.NDArray[np.float32]:
    """One number per event, with `axes` axes of size 1 behind it."""
    return values.astype(np.float32).reshape(-1, *(1,) * axes)


def _there(inputs: Inputs) -> npt.NDArray[np.bool_]:
    """Objects that are not padding."""
    return np.asarray((inputs != 0).any(axis=-1) | (inputs.ndim == 2))
