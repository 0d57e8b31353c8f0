"""ONNX nodes: their attributes, and nodes that stand for one layer of hls4ml."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = [
    "EXACT",
    "FLAT",
    "Check",
    "any_use",
    "layer_node",
    "layer_precisions",
    "node_attributes",
    "registered",
    "set_layer_precision",
]

# Why a node cannot become firmware, or "": from the node and the names of all constants.
Check = Callable[[onnx.NodeProto, set[str]], str]
_LAYER = "hls4ml."
EXACT = "exact"  # the doc_string of a node whose constant is to have a type of its own
FLAT = "flat"  # the doc_string of a softmax over its axis and all behind it, as until opset 12


def node_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, as Python's numbers, lists and bytes."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def any_use(node: onnx.NodeProto, constants: set[str]) -> str:
    """The check of an operator that is supported in every use."""
    return ""


def layer_node(
    class_name: str,
    name: str,
    inputs: Sequence[str],
    output: str,
    precision: Mapping[str, str] | None = None,
    **settings: Any,
) -> onnx.NodeProto:
    """A node that hls4ml reads as its layer `class_name` with these attributes.

    Args:
        precision: of the layer's types, such as {"result": "fixed<8,4>"}.
        settings: the layer's attributes: what JSON can say, and arrays. Names that end in `_prec`
            or `_precision` are types, [width, integer bits, signed]; `quantizer` names the entry of
            `precision` that hls4ml keeps whatever it does with the layer.
    """
    arrays = {key: value for key, value in settings.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in settings.items() if key not in arrays}
    node = helper.make_node(
        f"{_LAYER}{class_name}",
        list(inputs),
        [output],
        name=name,
        settings=json.dumps(plain),
        precision=json.dumps(dict(precision or {})),
    )
    for key, value in arrays.items():
        node.attribute.append(helper.make_attribute(key, numpy_helper.from_array(value)))
    return node


def layer_precisions(model: onnx.ModelProto) -> dict[str, dict[str, str]]:
    """{layer: {type: precision}} of the model's `layer_node`s."""
    layers = [node for node in model.graph.node if node.op_type.startswith(_LAYER)]
    return {node.name: json.loads(node_attributes(node)["precision"]) for node in layers}


def set_layer_precision(node: onnx.NodeProto, **types: str) -> None:
    """Gives types of a `layer_node` precisions."""
    (attribute,) = (item for item in node.attribute if item.name == "precision")
    attribute.s = json.dumps(json.loads(attribute.s) | types).encode()


@contextlib.contextmanager
def registered(model: onnx.ModelProto) -> Iterator[None]:
    """Within it, hls4ml reads the model's `layer_node`s; what others use of hls4ml stays as it was.

    By hls4ml's public hook for operators that it does not have.
    """
    from hls4ml.converters import (  # type: ignore[import-untyped]
        register_onnx_layer_handler,
    )

    # the package shows a function of the module's name
    handlers = importlib.import_module("hls4ml.converters.onnx_to_hls").layer_handlers
    names = {node.op_type for node in model.graph.node if node.op_type.startswith(_LAYER)}
    for name in names:
        register_onnx_layer_handler(name, _as_layer)
    try:
        yield
    finally:
        for name in names:  # there is no hook to take one back
            del handlers[name]


def _as_layer(
    node: onnx.NodeProto, inputs: Sequence[str], shapes: Any, graph: onnx.GraphProto
) -> dict[str, Any]:
    from hls4ml.backends import FPGABackend  # type: ignore[import-untyped]
    from hls4ml.model.quantizers import QuantNodeQuantizer  # type: ignore[import-untyped]
    from hls4ml.model.types import FixedPrecisionType  # type: ignore[import-untyped]

    given = node_attributes(node)
    precision = json.loads(given.pop("precision"))
    settings = json.loads(given.pop("settings"))
    if "quantizer" in settings:
        text = precision[settings["quantizer"]]
        settings["quantizer"] = QuantNodeQuantizer(FPGABackend.convert_precision_string(text))
    for key in settings.keys() & {"inp0_shape", "inp1_shape", "out_shape"}:  # of an Einsum
        settings[key] = tuple(settings[key])
    for key in [key for key in settings if key.endswith(("_prec", "_precision"))]:
        width, integer, signed = settings[key]
        settings[key] = FixedPrecisionType(width, integer, bool(signed))
    return {
        "class_name": node.op_type.removeprefix(_LAYER),
        "name": node.name,
        "inputs": list(inputs),
        "outputs": list(node.output),
        **settings,
        **{key: numpy_helper.to_array(value) for key, value in given.items()},
    }
