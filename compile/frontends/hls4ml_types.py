"""Types of a converted hls4ml model replaced by narrower ones, in a copy.

hls4ml's fusions look at types, so a conversion from a changed configuration may give another graph.
Here the finished graph keeps its layers: only the widths of its types change, and the C++ that
names them is rendered again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from samebits import errors

__all__ = ["configuration", "family", "predecessors", "with_types"]

Widths = Mapping[tuple[str, str], tuple[int, int]]
_MODELS = ("OnnxModel", "KerasModel", "PytorchModel")


def with_types(model_graph: Any, widths: Widths) -> Any:
    """A copy of the model graph in which these types have another width and integer part.

    Args:
        widths: (layer, type) -> (width, integer bits); the type by hls4ml's name without `_t`:
            result, accum, weight and so on. Sign and modes stay.

    Raises:
        ModelError: hls4ml's templates fail, as on some graphs that were read from a file.
    """
    model = _copy(model_graph)
    for (layer_name, kind), (width, integer) in widths.items():
        layer = model.graph[layer_name]
        named = _own_type(model, layer, kind)
        precision = copy.copy(named.precision)  # hls4ml lets types share one
        precision.width = width
        if "IntegerPrecisionType" not in _class_names(precision):
            precision.integer = integer
        if kind in list(layer.weights):
            layer.weights[kind].update_precision(precision)
        named.precision = precision
    try:
        model.apply_flow(f"{str(model.config.backend.name).lower()}:apply_templates")
    except Exception as error:  # hls4ml raises whatever its templates run into
        raise errors.ModelError(
            f"hls4ml cannot write the model with other types: {type(error).__name__}: {error}"
        ) from error
    return model


def predecessors(model_graph: Any, layer_name: str) -> list[str]:
    """The layers whose results a layer reads."""
    layer = model_graph.graph[layer_name]
    nodes = [layer.get_input_node(name) for name in layer.inputs]
    return [str(node.name) for node in nodes if node is not None]


def family(model_graph: Any, layer_name: str, kind: str) -> str:
    """ "fixed" or "integer" for a type whose width can be set; "" for all others."""
    layer = model_graph.graph.get(layer_name)
    if layer is None or (kind == "result" and len(layer.outputs) != 1):
        return ""
    precision = getattr(_type(layer, kind), "precision", None)
    names = _class_names(precision)
    if "FixedPrecisionType" in names:
        return "fixed"
    return "integer" if "IntegerPrecisionType" in names else ""


def configuration(model_graph: Any, widths: Widths) -> dict[str, dict[str, dict[str, str]]]:
    """The types as the entry `LayerName` of an hls4ml configuration.

    Args:
        model_graph: the graph that `with_types` gave.
    """
    layers: dict[str, dict[str, dict[str, str]]] = {}
    for layer, kind in widths:
        text = str(_type(model_graph.graph[layer], kind).precision)
        layers.setdefault(layer, {"Precision": {}})["Precision"][kind] = text
    return layers


def _type(layer: Any, kind: str) -> Any:
    return layer.get_output_variable().type if kind == "result" else layer.get_attr(f"{kind}_t")


def _class_names(value: Any) -> tuple[str, ...]:
    return tuple(cls.__name__ for cls in type(value).__mro__)


def _copy(model_graph: Any) -> Any:
    """A deep copy that shares what is not hls4ml's own, or cannot be copied."""
    config = model_graph.config
    shared = [config.backend, *(config.config.get(name) for name in _MODELS)]
    shared.append(getattr(model_graph, "_top_function_lib", None))  # the compiled C simulation
    for layer in model_graph.get_layers():
        for value in layer.attributes.values():
            # a weight's iterator begins anew whenever the weights are written
            shared += [getattr(value, name, None) for name in ("quantizer", "_iterator")]
            if hasattr(value, "hls_type"):
                shared.append(value)
    return copy.deepcopy(model_graph, {id(item): item for item in shared if item is not None})


def _own_type(model: Any, layer: Any, kind: str) -> Any:
    """The type of a layer as an object and under a name that no other layer has.

    The type of a result stays one object: reshaped tensors share it with their source.
    """
    if kind == "result":
        named = _type(layer, kind)
        others = [other for _, other in _types(model) if other is not named]
    else:
        named = copy.copy(_type(layer, kind))
        layer.set_attr(f"{kind}_t", named)
        if kind in list(layer.weights):  # `in` alone finds any attribute
            layer.weights[kind].type = named
        others = [other for name, other in _types(model) if name != layer.name]
    if any(other.name == named.name for other in others):
        named.name = f"{layer.name}_{kind}_t"
    return named


def _types(model: Any) -> Iterator[tuple[str, Any]]:
    """Every named type with the layer that has it."""
    for layer in model.get_layers():
        for value in layer.attributes.values():
            named = getattr(value, "type", value)
            if hasattr(named, "precision") and hasattr(named, "name"):
                yield str(layer.name), named
