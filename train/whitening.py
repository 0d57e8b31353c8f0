"""Whitening (decorrelation) for training, folded into the first dense layer before anything else.

z = (s - mean) M with M = C^(-1/2), C the covariance of the (standardised) inputs s: the z have
unit variance and no correlation, which makes steps of equal size in all directions. A dense layer
behind it does the same on s itself with the kernel M W and the bias b - mean M W, so that firmware
needs no layer for it and nothing is left outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .build import build, take_weights
from .config import FitOptions
from .layers import Dense, Standardise
from .network import Network
from .optimize import Curve, Pass, Samples, fit_samples
from .preprocessing import mark
from .scaling import InputScaling

__all__ = ["Whitening", "choose_whitening", "fit_whitened"]

FLOOR = 1e-4  # of the largest variance: flatter directions count as having that much


@dataclass(frozen=True, eq=False)
class Whitening:
    """z = (s - mean) matrix, for inputs (N, F)."""

    mean: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float64]

    def __call__(self, samples: Samples) -> Samples:
        """The samples with whitened inputs, and the note that this happened outside of a network.

        A network trained on them is not compiled; `fold` makes one that is.
        """
        return replace(
            samples, inputs=self.whitened(samples.inputs), outside=(*samples.outside, "whitening")
        )

    def whitened(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The whitened inputs (N, F), without a note: what is trained on them must be folded."""
        return np.asarray((inputs - self.mean) @ self.matrix, np.float32)

    def fold(self, model: Any, layer: str) -> None:
        """Changes kernel and bias of a dense layer, so that it takes s where it took z."""
        dense = model.get_layer(layer)
        kernel, bias = (np.asarray(part, np.float64) for part in dense.get_weights())
        folded = self.matrix @ kernel
        dense.set_weights([folded, bias - self.mean @ folded])


def choose_whitening(inputs: npt.NDArray[np.float32], floor: float = FLOOR) -> Whitening:
    """The symmetric whitening of inputs (N, F), which changes them least.

    Directions whose variance is below `floor` times the largest are scaled as if they had that
    variance: their content is noise, and the folded weights would have to cancel.

    Source: A. Kessy, A. Lewin, K. Strimmer, Am. Stat. 72 (2018) 309, "ZCA".

    Raises:
        DataError: other axes than (N, F), or inputs that are all constant.
    """
    if inputs.ndim != 2:
        raise errors.DataError(
            f"whitening: got events of shape {inputs.shape[1:]}; wanted a row of features"
        )
    wide = np.asarray(inputs, np.float64)
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(wide, rowvar=False)))
    largest = float(variances.max())
    if largest <= 0:
        raise errors.DataError("whitening: the inputs are constant")
    kept = np.maximum(variances, floor * largest)
    return Whitening(wide.mean(axis=0), (directions / np.sqrt(kept)) @ directions.T)


def fit_whitened(
    network: Network,
    train: Samples,
    validation: Samples,
    options: FitOptions,
    *,
    scaling: InputScaling | None = None,
    on_pass: Callable[[Pass], None] | None = None,
) -> tuple[Any, Curve]:
    """The float network, trained behind a whitening that is then folded into its first layer.

    Raises:
        UsageError: the network does not begin with Dense, or Standardise and Dense.
    """
    named = [replace(layer, name=name) for name, layer in network]
    inner = [layer for layer in named if not isinstance(layer, Standardise)]
    if not isinstance(inner[0], Dense):
        raise errors.UsageError(
            f"whitening: the first layer is {inner[0].name!r} ({type(inner[0]).__name__}); it "
            "folds into Dense only. Begin with Dense, or Standardise and Dense, or leave it out"
        )

    def standardised(samples: Samples) -> npt.NDArray[np.float32]:
        x = samples.inputs
        return x if scaling is None else x * scaling.scale + scaling.shift

    whitening = choose_whitening(standardised(train))
    behind = build(replace(network, layers=tuple(inner)), seed=options.seed)
    curve = fit_samples(
        behind,
        replace(train, inputs=whitening.whitened(standardised(train))),
        replace(validation, inputs=whitening.whitened(standardised(validation))),
        options,
        on_pass=on_pass,
    )
    model = build(network, scaling=scaling, seed=options.seed)
    take_weights(model, behind)
    whitening.fold(model, inner[0].name)
    mark(model, train.outside)
    return model, curve
