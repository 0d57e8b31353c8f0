"""QONNX as its tools write it, in standard operators and nodes that carry a body.

Older Brevitas and qonnx use their domains without importing them; qonnx's channels-last operators
have no meaning outside qonnx; and a file that was exported for so many events says so in places.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..quant import DOMAIN, IR_VERSION, OPERATOR, attributes_of, bipolar_function, quant_function
from .constants import Names, add_constant

__all__ = [
    "DIALECTS",
    "QUANTIZERS",
    "batch_of",
    "declare_domains",
    "give_bodies",
    "set_batch",
    "write_channels_last",
]

DIALECTS = ("finn.custom_op.general", "onnx.brevitas", DOMAIN)
QUANTIZERS = ("BipolarQuant", "IntQuant", OPERATOR)
_CHANNELS_LAST = "qonnx.custom_op.channels_last"
_WRAPPED = ("BatchNormalization", "Conv", "MaxPool")


def declare_domains(model: onnx.ModelProto) -> None:
    """Imports the domains of QONNX that nodes use without it, as Brevitas 0.6 and qonnx wrote."""
    known = {item.domain for item in model.opset_import}
    for domain in (*DIALECTS, _CHANNELS_LAST):
        if domain not in known and any(node.domain == domain for node in model.graph.node):
            model.opset_import.append(helper.make_opsetid(domain, 1))


def write_channels_last(model: onnx.ModelProto) -> None:
    """qonnx's operators on channels-last tensors as ONNX's own between two Transpose.

    The weights of a Conv stand channels last, too. Source: qonnx 1.0,
    custom_op/channels_last/base_wrapped_op.py.
    """
    names, nodes = Names(model), list[onnx.NodeProto]()
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    weights = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.domain != _CHANNELS_LAST or node.op_type not in _WRAPPED:
            nodes.append(node)
            continue
        rank = 4
        if node.op_type == "Conv":  # its weights, or what is quantized to them
            source = node.input[1]
            while source in weights and source not in ranks:
                source = weights[source].input[0]
            rank = ranks.get(source, rank)
        else:
            kernel = next((a.ints for a in node.attribute if a.name == "kernel_shape"), [1, 1])
            rank = len(kernel) + 2
        first = [0, rank - 1, *range(1, rank - 1)]
        last = [0, *range(2, rank), 1]
        node.domain = ""
        for position in range(2 if node.op_type == "Conv" else 1):
            moved = names.fresh(f"{node.output[0]}_operand{position}")
            nodes.append(helper.make_node("Transpose", [node.input[position]], [moved], perm=first))
            node.input[position] = moved
        made, node.output[0] = node.output[0], names.fresh(f"{node.output[0]}_first")
        nodes += [node, helper.make_node("Transpose", [node.output[0]], [made], perm=last)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def batch_of(model: onnx.ModelProto) -> int:
    """For how many events the model was written; 0 if the number is open."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        if value.name not in constants and dimensions:
            return max(0, int(dimensions[0].dim_value))
    return 0


def set_batch(model: onnx.ModelProto, events: int | str) -> None:
    """Makes a model that was written for a fixed number of events one for `events`, or for any.

    1. inputs and outputs;
    2. `Reshape` to that number of events, which then keeps what it is given;
    3. `Flatten` of one event from axis 0, as keras2onnx writes it.
    """
    old, graph = batch_of(model), model.graph
    constants = _constants(model)
    fixed, names = set(constants), Names(model)
    size = 0 if isinstance(events, str) else events  # 0: as many as the node is given
    for node in graph.node:
        if all(name in fixed for name in node.input if name):
            fixed.update(node.output)
            continue
        if node.op_type == "Flatten" and old == 1:
            _axis_behind_events(node)
        target = constants.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type == "Reshape" and target is not None and old:
            shape = target.copy()
            if shape.size > 1 and shape[0] == old != size:
                shape[0] = size
                node.input[1] = names.fresh(f"{node.input[1]}_open")
                add_constant(model, node.input[1], shape, np.int64)
    for value in _values(model, fixed):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and isinstance(events, str):
            dimensions[0].dim_param = events
        elif dimensions and (not dimensions[0].dim_value or dimensions[0].dim_value == old):
            dimensions[0].dim_value = size
    if old > 1 and old != events:
        del graph.value_info[:]  # shapes for the old number


def _constants(model: onnx.ModelProto) -> dict[str, Any]:
    """Initializers and what Constant nodes hold."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for item in node.attribute if node.op_type == "Constant" else ():
            if item.name == "value":
                tensors[node.output[0]] = item.t
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}


def _axis_behind_events(node: onnx.NodeProto) -> None:
    for item in node.attribute:
        if item.name == "axis" and item.i == 0:
            item.i = 1


def _values(model: onnx.ModelProto, fixed: set[str]) -> Iterable[onnx.ValueInfoProto]:
    return [v for v in (*model.graph.input, *model.graph.output) if v.name not in fixed]


def give_bodies(model: onnx.ModelProto) -> None:
    """Gives QONNX's quantizers without a function body one, which ONNX Runtime can run.

    Raises:
        UnsupportedError: a quantizer with attributes that have no body.
    """
    bodies = {(function.domain, function.name, function.overload) for function in model.functions}
    constants, names = _constants(model), Names(model)
    added: dict[tuple[str, str], onnx.FunctionProto] = {}
    for node in model.graph.node:
        if node.op_type not in QUANTIZERS:
            continue
        if node.domain not in DIALECTS or (node.domain, node.op_type, node.overload) in bodies:
            continue
        bits = constants.get(node.input[3]) if len(node.input) == 4 else None
        for position, name in enumerate(node.input):
            values = constants.get(name)
            if position and values is not None and values.dtype != np.float32:
                node.input[position] = names.fresh(f"{name}_float")
                add_constant(model, node.input[position], values)
        node.domain = DOMAIN
        if node.op_type == "BipolarQuant":
            node.overload, function = "", bipolar_function()
        else:
            attributes = attributes_of(node)
            if attributes.signed and bits is not None and bits.size == 1 and bits.item() == 1:
                # qonnx's one signed bit is -1 or 1
                node.op_type, node.overload, function = "BipolarQuant", "", bipolar_function()
                del node.input[2:], node.attribute[:]
            else:
                node.op_type, node.overload = OPERATOR, attributes.overload
                function = quant_function(attributes)
        if (DOMAIN, node.op_type, node.overload) not in bodies:
            added[node.op_type, node.overload] = function
    if added:
        model.functions.extend(added.values())
        model.ir_version = max(model.ir_version, IR_VERSION)
        if all(item.domain != DOMAIN for item in model.opset_import):
            model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
