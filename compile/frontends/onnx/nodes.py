"""ONNX nodes: their attributes, and nodes that stand for one layer of hls4ml."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["Check", "any_use", "layer_node", "node_attributes", "registered"]

# Why a node cannot become firmware, or "": from the node and the names of all constants.
Check = Callable[[onnx.NodeProto, set[str]], str]
_LAYER = "hls4ml."


def node_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, as Python's numbers, lists and bytes."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def any_use(node: onnx.NodeProto, constants: set[str]) -> str:
    """The check of an operator that is supported in every use."""
    return ""


def layer_node(
    class_name: str, name: str, inputs: Sequence[str], output: str, **settings: Any
) -> onnx.NodeProto:
    """A node that hls4ml reads as its layer `class_name` with these attributes.

    Args:
        settings: the layer's attributes: what JSON can say, and arrays.
    """
    arrays = {key: value for key, value in settings.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in settings.items() if key not in arrays}
    node = helper.make_node(
        f"{_LAYER}{class_name}", list(inputs), [output], name=name, settings=json.dumps(plain)
    )
    for key, value in arrays.items():
        node.attribute.append(helper.make_attribute(key, numpy_helper.from_array(value)))
    return node


@contextlib.contextmanager
def registered(model: onnx.ModelProto) -> Iterator[None]:
    """Within it, hls4ml reads the model's `layer_node`s; what others use of hls4ml stays as it was.

    By hls4ml's public hook for operators that it does not have.
    """
    from hls4ml.converters import (  # type: ignore[import-untyped]
        onnx_to_hls,
        register_onnx_layer_handler,
    )

    names = {node.op_type for node in model.graph.node if node.op_type.startswith(_LAYER)}
    for name in names:
        register_onnx_layer_handler(name, _as_layer)
    try:
        yield
    finally:
        for name in names:  # there is no hook to take one back
            del onnx_to_hls.layer_handlers[name]


def _as_layer(
    node: onnx.NodeProto, inputs: Sequence[str], shapes: Any, graph: onnx.GraphProto
) -> dict[str, Any]:
    given = node_attributes(node)
    settings = json.loads(given.pop("settings"))
    return {
        "class_name": node.op_type.removeprefix(_LAYER),
        "name": node.name,
        "inputs": list(inputs),
        "outputs": list(node.output),
        **settings,
        **{key: numpy_helper.to_array(value) for key, value in given.items()},
    }
