"""Anomaly triggers: an autoencoder whose score is computed by the firmware.

An autoencoder learns to give back its own (standardised) inputs z from a few latent numbers m. Two
scores, both large for events unlike those it was trained on:

* reconstruction: sum over i of w_i (r_i - z_i)^2, r the numbers given back
* latent: sum over k of m_k^2; the decoder is needed for training only and is not built. The latent
  numbers must be pulled towards 0: `Penalty` behind their layer, then `Noise(1.0)`.

Source of the second: CMS-DP-2023-079 (AXOL1TL).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from samebits import errors

from .bench import Trained, standardisation, train_network
from .build import build, take_weights
from .config import FitOptions
from .formats import choose_formats, fold_batch_norm, parse_format
from .layers import BatchNorm, Dense, Flatten, Layer, Square, Standardise, Subtract, Sum, either
from .network import Network, points
from .optimize import Pass, Samples, outputs
from .scaling import SCALED_INTEGER_BITS, InputFormat

__all__ = ["AnomalyTrigger", "Score", "scored", "train_anomaly_trigger"]

Score = Literal["reconstruction", "latent"]
FloatArray = npt.NDArray[np.float32]
DIFFERENCE, SQUARES, SCORE = "difference", "squares", "score"  # names of the score's layers


@dataclass(frozen=True, eq=False)
class AnomalyTrigger:
    """A trained autoencoder, and the network of one output that scores events.

    `autoencoder` tells how it was fitted; `network`, `formats`, `float_model` and `model` (the
    quantized one, for `Design.from_keras`) are those of the score. `validation` are the events and
    what the autoencoder should give back.
    """

    autoencoder: Trained
    network: Network
    formats: Mapping[str, InputFormat]
    float_model: Any
    model: Any
    validation: Samples

    def auc(
        self,
        background: npt.ArrayLike,
        signal: npt.ArrayLike,
        firmware: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = None,
    ) -> dict[str, float]:
        """Area under the ROC curve of float, quantized and firmware.

        `firmware` are the answers of `Design.simulate` to background and signal.
        """
        answers: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] = {
            "float": (outputs(self.float_model, background), outputs(self.float_model, signal)),
            "quantized": (outputs(self.model, background), outputs(self.model, signal)),
        }
        if firmware is not None:
            answers["firmware"] = firmware
        return {name: _auc(low, high) for name, (low, high) in answers.items()}


def train_anomaly_trigger(
    network: Network,
    train: npt.ArrayLike,
    validation: npt.ArrayLike,
    options: FitOptions,
    *,
    score: Score = "reconstruction",
    latent: str = "",
    weights: float | tuple[float, ...] = 1.0,
    weight_bits: int = 6,
    activation_bits: int = 6,
    formats: Mapping[str, str] | None = None,
    fine_tuning: FitOptions | None = None,
    pruning: float = 0.0,
    on_pass: Callable[[str, Pass], None] | None = None,
) -> AnomalyTrigger:
    """Train an autoencoder on background alone and put the score behind it.

    Args:
        network: encoder and decoder; it ends with as many numbers as it has inputs.
        train, validation: events (N, F) without labels.
        options: the loss is mean_squared_error, between the numbers given back and the inputs as
            the firmware holds them: standardised, rounded and limited.
        score: `reconstruction`, or `latent`: of the layer that is called so in `latent`.
        weights: of the squared differences or latent numbers, one for all or one for each.
        formats: as of `train_network`, and `difference`, `score.kernel`, `score` of the score. The
            numbers given back have the format of the standardised inputs.

    The other arguments are those of `train_network`.

    Raises:
        DataError, UsageError: as `train_network`; a network or options that are not those of an
            autoencoder, all listed.
    """
    wrong = list(_complaints(network, options, score, latent))
    if wrong:
        raise errors.UsageError("anomaly trigger:\n  " + "\n  ".join(wrong))
    inputs = np.asarray(train, np.float32)
    scaling = standardisation(network, inputs, activation_bits)
    given = dict(formats or {})
    standard = f"fixed<{activation_bits + 2},{SCALED_INTEGER_BITS}>"
    form = parse_format(given.get("scaling", standard))
    last = [name for name, layer in network if not isinstance(layer, BatchNorm)][-1]
    if scaling is not None and isinstance(dict(network)[last], Dense):
        given.setdefault(last, given.get("scaling", standard))

    def part(events: FloatArray) -> Samples:
        z = events
        if scaling is not None:
            z = form.quantize(events * scaling.scale + scaling.shift)
        return Samples(events, z.reshape(len(z), -1))

    held_out = part(np.asarray(validation, np.float32))
    trained = train_network(
        network,
        part(inputs),
        held_out,
        options,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        formats={point: text for point, text in given.items() if not _of_score(point)},
        fine_tuning=fine_tuning,
        pruning=pruning,
        on_pass=on_pass,
    )
    complete = scored(trained.network, score, latent, weights)
    float_model = build(complete, scaling=scaling, name="float_score")
    take_weights(float_model, fold_batch_norm(network, trained.float_model)[1])
    table: dict[str, str | InputFormat] = {
        point: form for point, form in trained.formats.items() if point in points(complete)
    }
    table |= {point: text for point, text in given.items() if _of_score(point)}
    chosen = choose_formats(
        complete,
        float_model,
        inputs,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        given=table,
    )
    model = build(complete, chosen, scaling=scaling, name="quantized_score")
    take_weights(model, trained.model)
    return AnomalyTrigger(trained, complete, chosen, float_model, model, held_out)


def scored(
    network: Network,
    score: Score = "reconstruction",
    latent: str = "",
    weights: float | tuple[float, ...] = 1.0,
) -> Network:
    """The autoencoder with its score as the only output; for `latent` the encoder alone.

    >>> scored(Network((4,), (Dense(2), "relu", Dense(4)))).names
    ('dense_1', 'relu_1', 'dense_2', 'difference', 'squares', 'score')
    """
    layers = [(name, replace(layer, name=name)) for name, layer in network]
    ending: tuple[Layer, ...] = (Square(name=SQUARES), Sum(weights, name=SCORE))
    if score == "latent":
        layers = layers[: network.names.index(latent) + 1]
    else:
        reference = "input"
        for name, layer in layers:
            if not isinstance(layer, Standardise | Flatten):
                break
            reference = name
        ending = (Subtract(reference, name=DIFFERENCE), *ending)
    return replace(network, layers=(*(layer for _, layer in layers), *ending))


def _complaints(network: Network, options: FitOptions, score: str, latent: str) -> Iterator[str]:
    if score not in get_args(Score):
        yield f"there is no score {score!r}; wanted {either(Score)}"
    if score == "latent" and latent not in network.names:
        yield f"latent: no layer is called {latent!r}; there are {', '.join(network.names)}"
    if score == "reconstruction" and latent:
        yield f"latent={latent!r} goes with score='latent'"
    if options.loss != "mean_squared_error":
        yield f"loss: got {options.loss}; an autoencoder is trained with mean_squared_error"
    for name in network.names:
        if _of_score(name):
            yield f"a layer is called {name!r}, as one of the score; give it another name"


def _of_score(point: str) -> bool:
    return point.partition(".")[0] in (DIFFERENCE, SQUARES, SCORE)


def _auc(background: npt.NDArray[Any], signal: npt.NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    scores = np.concatenate([np.ravel(background), np.ravel(signal)])
    return float(roc_auc_score(np.arange(len(scores)) >= np.size(background), scores))
