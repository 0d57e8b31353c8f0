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

from .build import build, take_weights
from .layers import BatchNorm, Categories, L2Pool, Layer, Merge, Subtract, Sum
from .network import Network, points
from .scaling import (
    MAX_INPUT_BITS,
    SCALED_INTEGER_BITS,
    InputFormat,
    InputScaling,
    choose_input_format,
)
from .tensorflow import load, quiet

__all__ = ["choose_formats", "fold_batch_norm", "parse_format"]

TABLE_BITS = 10  # in front of a table of 1024 entries: one entry for every value
TABLE_INTEGER_BITS = 4  # hls4ml's tables of sigmoid and tanh reach from -8 to 8
BIAS_EXTRA_BITS = 2  # a bias is added once, not multiplied
WEIGHTS = ("kernel", "recurrent", "bias")  # parts of points that are variables of the layer
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
    given: Mapping[str, str | InputFormat] | None = None,
) -> dict[str, InputFormat]:
    """A format for each of `points`: the bits are given, the range follows from the data.

    Of the numbers at each point (weights of the float `model`; activations of the first 5000
    events) the integer bits are those with the least mean squared error of rounding and clipping
    together. In front of softmax they cover all numbers; in front of sigmoid and tanh they are
    those of hls4ml's table. Biases have 2 bits more than weights, standardised inputs 2 more than
    activations, the input 10 and the largest value covered; in front of `Standardise` it covers all
    and resolves 1/32 of every channel's standard deviation. Differences are exact; sums have 10
    bits more than activations and cover four times the largest value. `given` overrides single
    points.

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
    layers = dict(network)
    table: dict[str, InputFormat] = {}
    for point in points(network):
        layer, part = _layer_and_part(point)
        if point in given:
            found = given[point]
            table[point] = parse_format(found) if isinstance(found, str) else found
        elif part in WEIGHTS:
            holder = layer + layers.get(layer, Layer()).held_by
            values = _variable(model.get_layer(holder), part)
            extra = BIAS_EXTRA_BITS if part == "bias" else 0
            form = _best(values, weight_bits + extra, signed=True)
            table[point] = _narrowed(form, values) if isinstance(layers.get(layer), Sum) else form
        elif part == "input" and not _is_softmax(model.get_layer(layer)):
            table[point] = InputFormat(TABLE_BITS, TABLE_INTEGER_BITS, True)
        elif point == "scaling":
            table[point] = InputFormat(activation_bits + 2, SCALED_INTEGER_BITS, True)
        elif point == "input" and network.standardised:
            channels = inputs.reshape(-1, inputs.shape[-1])
            names = tuple(f"column {number}" for number in range(channels.shape[1]))
            table[point] = choose_input_format(channels, names)
        elif point == "input" or part == "input":
            form = _covering(tensors[point], TABLE_BITS)
            if any(isinstance(one, Categories) for one in layers.values()):
                form = replace(form, width=max(form.width, form.integer))  # whole numbers
            table[point] = form
        elif isinstance(layers.get(point.rpartition(".")[0]), L2Pool):
            table[point] = _covering(tensors[point], TABLE_BITS)
        elif isinstance(layers.get(point), Subtract):
            table[point] = _difference(network, point, table)
        else:
            owner = layers.get(point, Layer())
            choose = _covering if owner.covering else _best
            values = tensors[point] * 2**owner.headroom
            table[point] = choose(values, activation_bits + owner.more_bits)
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
        if isinstance(layer, Merge):
            layer = replace(layer, source=folded.get(layer.source, layer.source))
        if name not in folded:
            kept.append(replace(layer, name=name))
    plain = replace(network, layers=tuple(kept))
    scaling = None
    if network.standardised:
        scale, shift = model.get_layer("scaling").get_weights()[:2]
        scaling = InputScaling("", scale, shift)
    result = build(plain, scaling=scaling)
    take_weights(result, model)
    for norm_name, layer_name in folded.items():
        keras_layer, norm = result.get_layer(layer_name), model.get_layer(norm_name)
        gamma, beta, mean, variance = norm.get_weights()
        gain = gamma / np.sqrt(variance + norm.epsilon)
        kernel, bias = keras_layer.get_weights()
        keras_layer.set_weights([kernel * gain, (bias - mean) * gain + beta])
    return plain, result


def _activations(
    network: Network, model: Any, inputs: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    """What stands at each point that is not a weight."""
    sources = {"input": model.input}
    for point in points(network):
        name, part = _layer_and_part(point)
        if part == "input":
            sources[point] = model.get_layer(name).input
        elif not part and point != "input":
            sources[point] = model.get_layer(name).output
    with quiet():
        found = load().keras.Model(model.input, list(sources.values()))
        values = found.predict(inputs, batch_size=1024, verbose=0)
    return dict(zip(sources, values if len(sources) > 1 else [values], strict=True))


def _layer_and_part(point: str) -> tuple[str, str]:
    """The Keras layer of a point, and "kernel", "recurrent", "bias", "input" or "" (its output)."""
    layer, _, part = point.rpartition(".")
    return (layer, part) if layer and part in (*WEIGHTS, "input") else (point, "")


def _variable(layer: Any, part: str) -> npt.NDArray[np.float32]:
    """A kernel or bias of a layer; a recurrent one's cell holds them."""
    owner = getattr(layer, "cell", layer)
    return np.asarray(getattr(owner, "recurrent_kernel" if part == "recurrent" else part))


def _is_softmax(layer: Any) -> bool:
    return getattr(getattr(layer, "activation", None), "__name__", "") == "softmax"


def _difference(network: Network, name: str, table: Mapping[str, InputFormat]) -> InputFormat:
    """The format that holds every difference of the two operands, in 23 bits at most."""
    names = ("input", *network.names)
    layer = dict(network)[name]
    operands = []
    for position in (names.index(name) - 1, names.index(layer.sources[0])):
        while names[position] not in table:  # layers that only move numbers
            position -= 1
        operands.append(table[names[position]])
    integer = max(form.integer + (not form.signed) for form in operands) + 1
    fraction = max(form.width - form.integer for form in operands)
    return InputFormat(min(integer + fraction, MAX_INPUT_BITS), integer, True)


def _integer(values: npt.NDArray[Any], signed: bool) -> int:
    """Integer bits that hold every value."""
    return max(0, math.frexp(float(np.abs(values).max(initial=0)))[1]) + signed


def _covering(values: npt.NDArray[Any], width: int) -> InputFormat:
    signed = bool(values.min() < 0)
    return InputFormat(width, _integer(values, signed), signed)


def _narrowed(form: InputFormat, values: npt.NDArray[Any]) -> InputFormat:
    """Without the fraction bits that none of the values uses."""
    rounded = form.quantize(values)
    while form.width > form.integer and form.width > 1 + form.signed:
        shorter = replace(form, width=form.width - 1)
        if not np.array_equal(shorter.quantize(rounded), rounded):
            break
        form = shorter
    return form


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
