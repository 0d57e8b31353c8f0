"""The formats of a quantized network, chosen from its float twin and the training part."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .build import build
from .network import Add, BatchNorm, Network, points
from .scaling import SCALED_INTEGER_BITS, InputFormat, InputScaling
from .tensorflow import load, quiet

__all__ = ["choose_formats", "fold_batch_norm", "parse_format"]

TABLE_BITS = 10  # in front of a table of 1024 entries: one entry for every value
TABLE_INTEGER_BITS = 4  # hls4ml's tables of sigmoid and tanh reach from -8 to 8
BIAS_EXTRA_BITS = 2  # a bias is added once, not multiplied
WEIGHTS = ("kernel", "bias")  # parts of points that are variables of the layer
MAX_EVENTS = 5000  # looked at for the ranges

_FORMAT = re.compile(r"(?:ap_)?(u?)fixed<(\d+),(\d+)>")


def parse_format(text: str) -> InputFormat:
    """The format written as `fixed<6,1>` or `ufixed<5,5>`: width, integer bits with the sign.

    >>> str(parse_format("ufixed<5,5>"))
    'ap_ufixed<5,5,AP_RND_CONV,AP_SAT>'

    Raises:
        FormatError: another text, or a format that QKeras does not have.
    """
    found = _FORMAT.fullmatch(text.replace(" ", ""))
    if found is None:
        raise errors.FormatError(f"format {text!r}: wanted for example fixed<6,1> or ufixed<5,5>")
    unsigned, width, integer = found.groups()
    return InputFormat(int(width), int(integer), not unsigned)


def choose_formats(
    network: Network,
    model: Any,
    inputs: npt.NDArray[np.float32],
    *,
    weight_bits: int = 6,
    activation_bits: int = 6,
    given: Mapping[str, str] | None = None,
) -> dict[str, InputFormat]:
    """A format for each of `points`: the bits are given, the range follows from the data.

    Of the numbers at each point (weights of the float `model`; activations of the first 5000
    events) the integer bits are those with the least mean squared error of rounding and clipping
    together. In front of softmax they cover all numbers; in front of sigmoid and tanh they are
    those of hls4ml's table. Biases have 2 bits more than weights, standardised inputs 2 more than
    activations, the input 10 and the largest value covered. `given` overrides single points.

    Raises:
        FormatError, UsageError: formats that do not exist, or of no point.
    """
    given = given or {}
    unknown = [point for point in given if point not in points(network)]
    if unknown:
        raise errors.UsageError(
            f"formats: no point {', '.join(unknown)}; there are {', '.join(points(network))}"
        )
    tensors = _activations(network, model, inputs[:MAX_EVENTS])
    functions = dict(zip(network.names, network.layers, strict=True))
    table: dict[str, InputFormat] = {}
    for point in points(network):
        layer, _, part = point.partition(".")
        if point in given:
            table[point] = parse_format(given[point])
        elif part in WEIGHTS:
            values = np.asarray(getattr(model.get_layer(layer), part))
            extra = BIAS_EXTRA_BITS if part == "bias" else 0
            table[point] = _best(values, weight_bits + extra, signed=True)
        elif part == "input" and getattr(functions[layer], "function", "") != "softmax":
            table[point] = InputFormat(TABLE_BITS, TABLE_INTEGER_BITS, True)
        elif point == "scaling":
            table[point] = InputFormat(activation_bits + 2, SCALED_INTEGER_BITS, True)
        elif point == "input" or part == "input":
            table[point] = _covering(tensors[point], TABLE_BITS)
        else:
            table[point] = _best(tensors[point], activation_bits)
    return table


def fold_batch_norm(network: Network, model: Any) -> tuple[Network, Any]:
    """The network without its batch normalisations, and a float model of it with equal answers.

    W' = W g, b' = (b - mean) g + beta, g = gamma / sqrt(variance + epsilon) per channel.
    """
    folded: dict[str, str] = {}
    previous = ""
    for name, layer in network:
        if isinstance(layer, BatchNorm):
            folded[name] = previous
        previous = name
    kept = []
    for name, layer in network:
        if isinstance(layer, Add):
            layer = replace(layer, source=folded.get(layer.source, layer.source))
        if name not in folded:
            kept.append(replace(layer, name=name))
    plain = replace(network, layers=tuple(kept))
    scaling = None
    if network.standardised:
        scale, shift = model.get_layer("scaling").get_weights()[:2]
        scaling = InputScaling("", scale, shift)
    result = build(plain, scaling=scaling)
    norms = {layer: norm for norm, layer in folded.items()}
    for layer in result.layers:
        weights = model.get_layer(layer.name).get_weights() if layer.name in plain.names else []
        if layer.name in norms:
            norm = model.get_layer(norms[layer.name])
            gamma, beta, mean, variance = norm.get_weights()
            gain = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * gain, (weights[1] - mean) * gain + beta]
        if weights:
            layer.set_weights(weights)
    return plain, result


def _activations(
    network: Network, model: Any, inputs: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    """What stands at each point that is not a weight."""
    sources = {"input": model.input}
    for point in points(network):
        name, _, part = point.partition(".")
        if part == "input" and name:
            sources[point] = model.get_layer(name).input
        elif not part and point != "input":
            sources[point] = model.get_layer(name).output
    with quiet():
        found = load().keras.Model(model.input, list(sources.values()))
        values = found.predict(inputs, batch_size=1024, verbose=0)
    return dict(zip(sources, values if len(sources) > 1 else [values], strict=True))


def _integer(values: npt.NDArray[Any], signed: bool) -> int:
    """Integer bits that hold every value."""
    return max(0, math.frexp(float(np.abs(values).max(initial=0)))[1]) + signed


def _covering(values: npt.NDArray[Any], width: int) -> InputFormat:
    signed = bool(values.min() < 0)
    return InputFormat(width, _integer(values, signed), signed)


def _best(values: npt.NDArray[Any], width: int, signed: bool | None = None) -> InputFormat:
    """The format with the least mean squared error of rounding and clipping."""
    if signed is None:
        signed = bool(values.min() < 0)
    candidates = [
        InputFormat(width, integer, signed)
        for integer in range(int(signed), _integer(values, signed) + 1)
    ]
    return min(
        candidates or [InputFormat(width, int(signed), signed)],
        key=lambda form: float(np.mean((form.quantize(values) - values) ** 2)),
    )
