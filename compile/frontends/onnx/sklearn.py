"""scikit-learn's models as skl2onnx writes them: labels, `ai.onnx.ml` operators, casts.

Source: https://onnx.ai/onnx/operators/index.html#l-onnx-operators-ai-onnx-ml (Scaler,
LinearClassifier, LinearRegressor, Normalizer, ZipMap).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .constants import Names, add_constant, drop_unused
from .nodes import node_attributes

__all__ = ["drop_labels", "write_sklearn"]

_ML = "ai.onnx.ml"
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_POST = {"NONE": "", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def drop_labels(model: onnx.ModelProto) -> list[str]:
    """Takes out a classifier's outputs that are no real numbers, as long as one is left.

    Labels and {class: probability} (ZipMap) are made from the scores, which firmware answers.

    Returns:
        A note for every output that is gone or has become scores.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    kept, notes = [], []
    for value in model.graph.output:
        maker = makers.get(value.name)
        if value.type.HasField("tensor_type") or not value.HasField("type"):
            kind = value.type.tensor_type.elem_type
            if kind in (*_FLOATS, TensorProto.UNDEFINED):
                kept.append(value)
            else:
                notes.append(f"output {value.name} holds labels: not in the firmware")
        elif maker is not None and maker.op_type == "ZipMap":
            named = node_attributes(maker)
            classes = named.get("classlabels_int64s") or named.get("classlabels_strings") or [None]
            shape = [None, len(classes)]
            scores = helper.make_tensor_value_info(maker.input[0], TensorProto.FLOAT, shape)
            notes.append(f"output {value.name} names its scores: they are output {scores.name}")
            kept.append(scores)
        else:
            notes.append(f"output {value.name} is no tensor: not in the firmware")
    if not kept or not notes:
        return []
    del model.graph.output[:]
    model.graph.output.extend(kept)
    drop_unused(model)
    return notes


def write_sklearn(model: onnx.ModelProto) -> None:
    """Scaler, LinearRegressor and LinearClassifier as ONNX's own operators; casts taken out.

    A Normalizer of probabilities that add up to 1 already is taken out too. What else there is of
    `ai.onnx.ml` stays and is refused by name.
    """
    rules = {
        "LinearClassifier": _linear,
        "LinearRegressor": _linear,
        "Normalizer": _normalizer,
        "Scaler": _scaler,
    }
    floats = _floats(model)
    made: dict[str, onnx.NodeProto] = {}
    nodes = []
    for node in model.graph.node:
        fresh = [node]
        if node.domain == _ML and node.op_type in rules:
            fresh = rules[node.op_type](model, node, made) or fresh
        elif (
            node.op_type == "Cast"
            and node_attributes(node).get("to") in _FLOATS
            and node.input[0] in floats
        ):
            fresh = [helper.make_node("Identity", node.input, node.output, name=node.name)]
        if fresh != [node]:
            floats.update(node.output)
        made |= {name: node for name in node.output}
        nodes += fresh
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _floats(model: onnx.ModelProto) -> set[str]:
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type in _FLOATS}


def _steps(
    model: onnx.ModelProto, node: onnx.NodeProto, y: str, steps: Sequence[tuple[str, Any]]
) -> list[onnx.NodeProto]:
    """A chain of operators, each with a constant or none, from the node's input to y."""
    name, x = node.name or node.output[0], node.input[0]
    names, nodes = Names(model), []
    for position, (op, values) in enumerate(steps):
        target = y if position == len(steps) - 1 else names.fresh(f"{name}_{op.lower()}")
        operands = [x]
        if values is not None:
            operands.append(names.fresh(f"{name}_{op.lower()}_by"))
            add_constant(model, operands[1], values)
        fresh = helper.make_node(op, operands, [target], name=f"{name}_{op.lower()}")
        if op == "Softmax":
            fresh.attribute.append(helper.make_attribute("axis", -1))
        nodes.append(fresh)
        x = target
    return nodes


def _scaler(
    model: onnx.ModelProto, node: onnx.NodeProto, made: dict[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    given = node_attributes(node)
    steps = [("Sub", given.get("offset", [0.0])), ("Mul", given.get("scale", [1.0]))]
    return _steps(model, node, node.output[0], steps)


def _linear(
    model: onnx.ModelProto, node: onnx.NodeProto, made: dict[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    given = node_attributes(node)
    post = given.get("post_transform", b"NONE").decode()
    intercepts = np.asarray(given.get("intercepts", given.get("intercept", [0.0])))
    coefficients = np.asarray(given["coefficients"])
    classes = len(given.get("classlabels_ints", given.get("classlabels_strings", ())))
    outputs = classes if node.op_type == "LinearClassifier" else int(given.get("targets", 1))
    if post not in _POST or len(intercepts) not in (1, outputs) or coefficients.size % outputs:
        return []
    if node.op_type == "LinearClassifier" and len(intercepts) != classes:
        return []  # one row of coefficients for two classes: ONNX's special case
    steps: list[tuple[str, Any]] = [
        ("MatMul", coefficients.reshape(outputs, -1).T),
        ("Add", np.broadcast_to(intercepts, (outputs,))),
    ]
    if _POST[post]:
        steps.append((_POST[post], None))
    return _steps(model, node, node.output[-1], steps)


def _normalizer(
    model: onnx.ModelProto, node: onnx.NodeProto, made: dict[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    maker = made.get(node.input[0])
    while maker is not None and maker.op_type in ("Cast", "Identity"):
        maker = made.get(maker.input[0])
    if maker is None or node_attributes(node).get("norm", b"MAX") != b"L1":
        return []
    if maker.op_type != "Softmax" and not (maker.op_type == "LinearClassifier" and _sums(maker)):
        return []
    return [helper.make_node("Identity", node.input, node.output, name=node.name)]


def _sums(classifier: onnx.NodeProto) -> bool:
    """Whether its probabilities add up to 1: softmax, or sigmoids of z and -z."""
    given = node_attributes(classifier)
    if given.get("post_transform") != b"LOGISTIC":
        return bool(given.get("post_transform") == b"SOFTMAX")
    rows = np.asarray(given["coefficients"]).reshape(len(given.get("intercepts", [0])), -1)
    intercepts = np.asarray(given.get("intercepts", [0.0]))
    return len(rows) == 2 and bool((rows[0] == -rows[1]).all() and intercepts[0] == -intercepts[1])
