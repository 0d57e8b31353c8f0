"""The layers of a graph as the model of HLS designs sees them: shapes, widths, weights' digits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from samebits.compile.ir import Format, Graph, Layer, Node, Overflow, Rounding

from .hls_model import HlsLayer, weights_of

__all__ = ["describe"]

_WIRING = {"reshape", "transpose", "boundary"}
_MOVES = _WIRING | {"gather", "concat", "cast"}
_CLIPS = {"cast", "max", "min", "compare", "select"}
_CONSTANTS = {
    "Dense": "weight",
    "BatchNormalization": "scale",
    "ApplyAlpha": "scale",
    **dict.fromkeys(
        (
            *("Conv1D", "Conv2D", "Conv2DBatchnorm", "PointwiseConv1D", "PointwiseConv2D"),
            *("DepthwiseConv1D", "DepthwiseConv2D"),
        ),
        "weight",
    ),
}
_SCALES = {"BatchNormalization", "ApplyAlpha"}
_POOLS = {"Pooling1D", "Pooling2D", "GlobalPooling1D", "GlobalPooling2D"}
_RECURRENT = {"GRU", "LSTM", "SimpleRNN", "Bidirectional"}
_MADE_OF = {"Merge", "Dot"}
_TABLES = {"UnaryLUT", "ParametrizedActivation", "Embedding"}
_ACTIVATIONS = {
    *("Activation", "ReLU", "PReLU", "HardActivation", "ParametrizedActivation", "Clone"),
    *("BatchNormalizationQuantizedTanh", "FixedPointQuantizer", "UnaryLUT", "TernaryTanh"),
}


def describe(graph: Graph) -> tuple[HlsLayer, ...]:
    """hls4ml's layers of a graph as the model sees them, in order; kind "unknown" with a reason."""
    nodes: dict[str, list[Node]] = {layer.name: [] for layer in graph.layers}
    outside: list[Node] = []
    for node in graph.nodes:
        owner = node.output
        while owner and owner not in nodes:
            owner = owner.rpartition("/")[0]
        nodes.get(owner, outside).append(node)
    found = [_describe(graph, layer, nodes[layer.name]) for layer in graph.layers]
    found += [
        HlsLayer(node.output, "unknown", f"{node.op} {node.output}", 0, 0, 0, 0)
        for node in outside
        if node.op not in _WIRING
    ]
    return tuple(found)


def _describe(graph: Graph, layer: Layer, nodes: Sequence[Node]) -> HlsLayer:
    tensor = graph.tensors[layer.tensor]
    entering = [
        graph.tensors[name]
        for node in nodes[:1]
        for name in node.inputs
        if name not in graph.constants
    ]
    shape = _shape_before(graph, nodes)
    fields: dict[str, Any] = {
        "name": layer.name,
        "what": layer.kind,
        "n_in": sum(math.prod(each.shape) for each in entering),
        "n_out": math.prod(tensor.shape),
        "in_bits": max((each.format.width for each in entering), default=0),
        "out_bits": tensor.format.width,
        "rounds": _rounds(tensor.format),
        "inputs": math.prod(shape[:-1]),
        "outputs": math.prod(tensor.shape[:-1]),
        "channels": shape[-1] if shape else 1,
    }
    ops = {node.op for node in nodes}
    made_here = any(node.output == layer.tensor for node in nodes)
    if ops <= _WIRING and (made_here or not nodes):
        return HlsLayer(kind="wiring", **fields)
    kind = layer.kind
    if kind in _CONSTANTS:
        return _product(graph, fields, layer.types, f"{layer.name}/{_CONSTANTS[kind]}")
    if kind == "Softmax" and "lookup" in ops:
        return HlsLayer(kind="softmax", stable="reduce_max" in ops, **fields)
    if kind in _POOLS:
        window = fields["inputs"] / max(fields["outputs"], 1)
        index = graph.constants.get(f"{layer.name}/index")
        taps = math.ceil(window) if index is None else index.shape[0]
        channels = tensor.shape[-1]
        return HlsLayer(kind="pool", **fields | {"n_in": taps * channels, "n_out": channels})
    if kind in _RECURRENT:
        return _recurrent(graph, fields, nodes)
    if kind in _MADE_OF:
        what = "multiply" if "mul" in ops else kind
        return HlsLayer(kind="merge", **fields | {"what": what})
    if kind in _TABLES | _ACTIVATIONS and "lookup" in ops:
        return HlsLayer(kind="table", **fields)
    if kind in _ACTIVATIONS or (kind == "Softmax" and "argmax" in ops):
        plain = ops <= {"cast"} | _WIRING
        clips = not plain or not tensor.format.signed or fields["rounds"]
        return HlsLayer(kind="activation" if clips else "wiring", **fields)
    if ops <= _MOVES:
        return HlsLayer(kind="move", **fields)
    return HlsLayer(kind="unknown", **fields | {"what": f"{kind} {layer.name}"})


def _shape_before(graph: Graph, nodes: Sequence[Node]) -> tuple[int, ...]:
    """The shape of what a layer reads, before it is flattened: a stream brings its positions."""
    inside = {node.output for node in nodes}
    name = next(
        (
            name
            for node in nodes
            for name in node.inputs
            if name not in graph.constants and name not in inside
        ),
        None,
    )
    if name is None:
        return (1,)
    made = {node.output: node for node in graph.nodes}
    while name in made and made[name].op == "reshape":
        before = made[name].inputs[0]
        if graph.tensors[before].shape[-1:] == graph.tensors[name].shape[-1:]:
            break
        name = before
    return tuple(graph.tensors[name].shape) or (1,)


def _product(
    graph: Graph, fields: dict[str, Any], types: Mapping[str, Format], constant: str
) -> HlsLayer:
    constant, powers = _constant(graph, constant)
    values = graph.constants.get(constant)
    where = f"{fields['what']} {fields['name']}"
    if values is None or values.dtype == object:
        return HlsLayer(kind="unknown", **fields | {"what": where})
    if fields["what"] in _SCALES and not fields["n_out"] % values.size:
        # every input has one weight and makes one output: the terms of one output are one
        every = np.tile(values.reshape(-1), fields["n_out"] // values.size)
        weights = replace(weights_of(every.reshape(-1, 1)), terms=1)
    elif values.ndim == 2 and values.shape == (fields["n_in"], fields["n_out"]):
        weights = weights_of(values)
        fields |= {"outputs": 1}
    elif values.ndim == 3 and values.shape[1] == 1:  # the same weights at several positions
        values = values[:, 0, :]
        weights = weights_of(values)
        fields |= {"n_in": values.shape[0], "n_out": values.shape[1]}
    else:
        return HlsLayer(kind="unknown", **fields | {"what": f"{where} at several places"})
    if powers:  # the multiplication is a shift
        weights = replace(weights, nonzero=values.size, two_digit=0, multiplied=0)
    size = np.abs(values)
    # without trailing zeros, which are wiring
    bits = int((size // np.maximum(size & -size, 1)).max(initial=0)).bit_length() + 1
    accum = types.get("accum")
    product = max(fields["in_bits"] + bits, fields["out_bits"])
    return HlsLayer(
        kind="product",
        accum_bits=accum.width if accum is not None else product,
        accum_rounds=accum is not None and _rounds(accum),
        weight_bits=types["weight"].width if "weight" in types else bits,
        weights=weights,
        **fields,
    )


def _constant(graph: Graph, wanted: str) -> tuple[str, bool]:
    """The constant of a layer's weights, and whether they are powers of two.

    Scales and powers of two are called after hls4ml's variable, as in `w12` and `s12`.
    """
    if wanted in graph.constants:
        return wanted, False
    layer, _, kind = wanted.rpartition("/")
    letter = "s" if kind == "scale" else "w"
    for name in graph.constants:
        owner, _, own = name.rpartition("/")
        if owner == layer and own[0] == letter and own[1:].isdigit():
            return name, letter == "w"
    return wanted, False


def _recurrent(graph: Graph, fields: dict[str, Any], nodes: Sequence[Node]) -> HlsLayer:
    """One product with the input and one with the state in every step; the counts are of both."""
    name = fields["name"]
    what = f"{fields['what']} {name}"
    kernel = graph.constants.get(f"{name}/weight")
    state = graph.constants.get(f"{name}/recurrent_weight")
    if kernel is None or state is None or kernel.ndim != 2 or kernel.dtype == object:
        return HlsLayer(kind="unknown", **fields | {"what": what})
    both = weights_of(np.concatenate([kernel, state]))
    size = np.abs(np.concatenate([kernel, state]))
    inside = {node.output for node in nodes}
    entering = [
        graph.tensors[each]
        for node in nodes
        for each in node.inputs
        if each not in graph.constants and each not in inside
    ]
    bits = max((each.format.width for each in entering), default=fields["out_bits"])
    return HlsLayer(
        kind="recurrent",
        weights=both,
        weight_bits=int(size.max(initial=1)).bit_length() + 1,
        accum_bits=max(bits, fields["out_bits"]),
        **fields
        | {
            "n_in": kernel.shape[0],
            "n_out": kernel.shape[1],
            "in_bits": bits,
            "steps": max(fields["inputs"], 1),
            "states": state.shape[0],
            "inputs": 1,
            "copies": 2 if fields["what"] == "Bidirectional" else 1,
        },
    )


def _rounds(form: Format) -> bool:
    return form.rounding is not Rounding.TRN or form.overflow is not Overflow.WRAP
