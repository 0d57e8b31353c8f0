"""The fixed-point graph as JSON values and integer arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .format import Format, Overflow, Rounding
from .graph import Attr, Graph, Layer, Node, Tensor

__all__ = ["graph_from_json", "graph_to_json"]

MOST_BITS = 1 << 14  # a mantissa is a Python integer: a width of billions takes all memory


def graph_to_json(graph: Graph) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """(JSON values, int64 arrays). Constants beyond 63 bits are decimal strings in the JSON."""
    arrays: dict[str, NDArray[np.int64]] = {}
    constants: dict[str, Any] = {}
    for number, (name, data) in enumerate(graph.constants.items()):
        if data.dtype == object:
            constants[name] = [str(int(value)) for value in data.flat]
        else:
            arrays[f"constant{number}"] = data
            constants[name] = f"constant{number}"
    values = {
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "tensors": {
            name: [list(tensor.shape), _format_to_json(tensor.format)]
            for name, tensor in graph.tensors.items()
        },
        "constants": constants,
        "nodes": [
            [node.op, list(node.inputs), node.output, _attrs_to_json(node.attrs)]
            for node in graph.nodes
        ],
        "layers": [
            [layer.name, layer.kind, layer.tensor, list(layer.weights), _attrs_to_json(layer.types)]
            for layer in graph.layers
        ],
    }
    return values, arrays


def graph_from_json(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Graph:
    """The graph that `graph_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: the values are not what `graph_to_json` writes.
        FormatError: they are, but the graph makes no sense.
    """
    tensors = {
        name: Tensor(name, tuple(shape), _format_from_json(fmt))
        for name, (shape, fmt) in values["tensors"].items()
    }
    constants: dict[str, NDArray[Any]] = {}
    for name, data in values["constants"].items():
        if isinstance(data, str):
            constants[name] = np.asarray(arrays[data], dtype=np.int64)
        else:
            exact = np.empty(len(data), dtype=object)
            exact[:] = [int(text) for text in data]
            constants[name] = exact.reshape(tensors[name].shape)
    return Graph(
        inputs=tuple(values["inputs"]),
        outputs=tuple(values["outputs"]),
        nodes=tuple(
            Node(op, tuple(inputs), output, _attrs_from_json(attrs))
            for op, inputs, output, attrs in values["nodes"]
        ),
        tensors=tensors,
        constants=constants,
        layers=tuple(_layer_from_json(*layer) for layer in values["layers"]),
    )


def _layer_from_json(
    name: str, kind: str, tensor: str, weights: list[int], types: Mapping[str, Any]
) -> Layer:
    formats = {key: _format_from_json(value["format"]) for key, value in types.items()}
    return Layer(name, kind, tensor, (weights[0], weights[1]), formats)


def _format_to_json(fmt: Format) -> list[Any]:
    return [fmt.signed, fmt.width, fmt.integer, fmt.rounding.value, fmt.overflow.value]


def _format_from_json(values: list[Any]) -> Format:
    signed, width, integer, rounding, overflow = values
    if width > MOST_BITS or abs(integer) > MOST_BITS:
        raise errors.FormatError(f"Format: {width} bits, {integer} of them integer: too many")
    return Format(bool(signed), width, integer, Rounding(rounding), Overflow(overflow))


def _attrs_to_json(attrs: Mapping[str, Attr]) -> dict[str, Any]:
    return {
        key: {"format": _format_to_json(value)} if isinstance(value, Format) else value
        for key, value in attrs.items()
    }


def _attrs_from_json(values: Mapping[str, Any]) -> dict[str, Attr]:
    attrs: dict[str, Attr] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            attrs[key] = _format_from_json(value["format"])
        elif isinstance(value, list):
            attrs[key] = tuple(value)
        else:
            attrs[key] = value
    return attrs
