"""What a fit takes and what it leaves behind: events with targets, and the passes over them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

__all__ = ["Curve", "Pass", "Samples"]


@dataclass(frozen=True, eq=False)
class Samples:
    """Events with what the network should answer.

    `inputs` (N, *shape) float32. `targets`: class numbers (N,) for classification, 0 or 1 (N,) for
    binary_crossentropy, distributions (N, K) for kl_divergence, numbers (N,) or (N, K) for
    regression. `outside` names what was done to the inputs before they came here and that no
    layer of the network does: such a network is not compiled (`samebits.train.preprocessing`).
    `classes` are the names of all classes, where they are known.
    """

    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    outside: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

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

    def take(self, events: npt.NDArray[np.intp]) -> Samples:
        """The events with these indices, in that order."""
        return replace(self, inputs=self.inputs[events], targets=self.targets[events])

    @property
    def sha256(self) -> str:
        """The digest of types, shapes and numbers."""
        digest = hashlib.sha256()
        for values in (self.inputs, self.targets):
            digest.update(f"{values.dtype.str} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


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
    loss became NaN or infinite in the last pass; `untrained` is the validation loss before."""

    passes: tuple[Pass, ...]
    best_pass: int
    seconds: float
    untrained: float = float("inf")

    @property
    def finite(self) -> bool:
        last = self.passes[-1]
        return bool(np.isfinite([last.loss, last.validation_loss]).all())
