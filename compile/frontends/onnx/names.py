"""Names by which `--precision` finds a layer: printed ones, and those of the ONNX nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import onnx

from samebits import errors

__all__ = [
    "check_precisions",
    "node_names",
    "printed_names",
    "remember_names",
    "settings_names",
]

_OWN = "samebits.node"  # the key in a node's metadata
# What hls4ml 1.3.0 puts before or behind the name of the node that a layer comes from
# (optimizer/passes: matmul_const_to_dense.py, merge_const.py, conv_to_convxd.py, quant_opt.py).
_MADE = re.compile(r"(?:Dense_|bn_|(?:DepthwiseConv|Conv)[12]D_)?(.+?)(?:_act)?")


def remember_names(model: onnx.ModelProto) -> None:
    """Writes every node's name into its metadata, which qonnx keeps when it renames nodes."""
    for node in model.graph.node:
        if node.name:
            del node.metadata_props[:]
            node.metadata_props.add(key=_OWN, value=node.name)


def node_names(wrapper: Any, before: Iterable[onnx.NodeProto]) -> dict[str, str]:
    """qonnx's name of a node by the model's own.

    Args:
        before: the nodes before each Gemm became a MatMul, which has no metadata.
    """
    names = {
        item.value: node.name
        for node in wrapper.graph.node
        for item in node.metadata_props
        if item.key == _OWN
    }
    products = [node for node in before if node.op_type in ("Gemm", "MatMul")]
    after = [node for node in wrapper.graph.node if node.op_type == "MatMul"]
    if len(products) == len(after):
        for old, new in zip(products, after, strict=True):
            names |= {item.value: new.name for item in old.metadata_props if item.key == _OWN}
    return names


def settings_names(
    given: Iterable[str], layers: Mapping[str, Any], own: Mapping[str, str]
) -> dict[str, str]:
    """hls4ml's key of the settings for every name that is one.

    Args:
        own: hls4ml's keys by the model's own names, of inputs and nodes.
    """
    found = {}
    for name in given:
        made = _MADE.fullmatch(name)
        for candidate in (name, own.get(name), made and made[1]):
            if candidate is not None and candidate in layers:
                found[name] = candidate
                break
    return found


def printed_names(graph: Any, own: Mapping[str, str]) -> list[str]:
    """The layers of a converted model, inputs by the model's own names."""
    inputs = {key: name for name, key in own.items()}
    return [
        inputs.get(layer.name, layer.name) if layer.class_name == "Input" else layer.name
        for layer in graph.get_layers()
    ]


def _text(precision: Any) -> str:
    return str(precision).removesuffix(",0>") + ">" * str(precision).endswith(",0>")


def check_precisions(
    graph: Any, given: Mapping[str, str], keys: Mapping[str, str], own: Mapping[str, str]
) -> None:
    """Raises UsageError for a precision that a converted model does not have where it was asked.

    hls4ml takes a layer's type from a quantizer behind it, and merges layers.
    """
    from hls4ml.backends import FPGABackend  # type: ignore[import-untyped]

    for name, text in given.items():
        if name == "default":
            continue
        layers = [
            layer
            for layer in graph.get_layers()
            if layer.name == keys[name]
            or ((made := _MADE.fullmatch(layer.name)) and made[1] == keys[name])
        ]
        if not layers:
            raise errors.UsageError(
                f"precision: {name!r} is no layer of the firmware: it became part of another one; "
                f"layers: {', '.join(printed_names(graph, own))}"
            )
        wanted = FPGABackend.convert_precision_string(text)
        found = [layer.get_output_variable().type.precision for layer in layers]
        if str(wanted) not in map(str, found):
            raise errors.UsageError(
                f"precision: {name!r} keeps {_text(found[-1])}: a quantizer of the model behind it "
                "says so, or it only hands on the layer before it"
            )
