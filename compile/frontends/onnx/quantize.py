"""A float model quantized after training: where rounding belongs, and Quant nodes written there.

Rounded are the inputs, weights and biases, and the activations that a layer hands to the next:
behind its activation function, or behind its bias where it has none. Sums, and the outputs of the
network, stay wide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samebits import errors

from ..quant import DOMAIN, QuantAttributes, QuantGrid, quant_node
from .check import check_operators
from .constants import Names, add_constant, constants_of, drop_unused
from .nodes import node_attributes
from .prepare import remove_identities
from .qdq import to_qonnx
from .sklearn import drop_labels

__all__ = [
    "CALIBRATION",
    "Site",
    "calibration_notes",
    "fixed_format",
    "prepared",
    "quantized",
    "sites_of",
]

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_JOINING = ("Add", "Div", "Mul", "Sub")
_FUSED = ("Clip", "LeakyRelu", "PRelu", "Relu")
# They hand numbers on, already rounded, or round themselves.
_UNTOUCHED = (
    *("Concat", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool"),
    *("Pad", "Reshape", "Resize", "Slice", "Softmax", "Split", "Squeeze", "Transpose"),
    *("Unsqueeze", "Upsample"),
)
_MOVED = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
WIDE_FRACTION = 16  # of constants beside layers: the fraction bits of the default precision

CALIBRATION = "samebits.calibration"  # the metadata that hold what `samebits.calibrate` did

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Site:
    """A tensor to round: `kind` is input, activation, weight or bias.

    `inner`: an activation between two layers with weights, which costs their multipliers; others,
    such as scaled inputs and final scores, cost little. `logits`: one that enters a softmax.
    """

    tensor: str
    kind: str
    inner: bool = True
    logits: bool = False


def calibration_notes(model: onnx.ModelProto) -> list[str]:
    """What rounding cost, as a calibrated model's metadata say it.

    Raises:
        ModelError: damaged metadata.
    """
    properties = {item.key: item.value for item in model.metadata_props}
    if CALIBRATION not in properties:
        return []
    try:
        facts = json.loads(properties[CALIBRATION])
        notes = []
        for loss in facts["loss"]:
            text = f"largest difference {loss['largest_difference']:.3g}"
            text += f" (mean {loss['mean_difference']:.3g})"
            if loss["equal_decisions"] is not None:
                text += f", same decision in {100 * loss['equal_decisions']:.2f} %"
            notes.append(
                f"calibrated on {facts['events']} events: {loss['name']} against float: {text}"
            )
        notes += [
            f"calibrated: {name} {old:.4f} -> {new:.4f}" for name, old, new in facts["metrics"]
        ]
    except (KeyError, TypeError, ValueError):
        raise errors.ModelError(f"the model's metadata {CALIBRATION} are damaged") from None
    return notes


def prepared(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The float model in operators that samebits reads, scales folded into the layers before them.

    Returns:
        The model and notes for the user.

    Raises:
        UsageError: it has quantizers already.
        UnsupportedError: operators that samebits does not have, all of them listed.
    """
    fresh, refused = to_qonnx(model)
    notes = drop_labels(fresh)
    check_operators(fresh, refused)
    rounded = [node.name or node.output[0] for node in fresh.graph.node if node.op_type == "Quant"]
    if rounded:
        raise errors.UsageError(
            f"calibration is for float models, and this one has quantizers ({rounded[0]}"
            f"{', ...' if len(rounded) > 1 else ''}); compile it without calibration"
        )
    remove_identities(fresh)
    for node in list(fresh.graph.node):
        if node.op_type in _PRODUCTS:
            _fold_scales(fresh, node)
    drop_unused(fresh)
    _round_constants(fresh)
    return fresh, notes


def sites_of(model: onnx.ModelProto) -> list[Site]:
    """Where a prepared float model is to be rounded, inputs first, then in the graph's order."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    readers = _readers(model)
    outputs = {value.name for value in graph.output}
    for node in reversed(graph.node):  # what only moves on to an output is one
        if (
            node.op_type in _MOVED
            and node.output[0] in outputs
            and len(readers[node.input[0]]) == 1
        ):
            outputs.add(node.input[0])
    sites = [Site(value.name, "input") for value in graph.input if value.name not in constants]
    weighted: set[str] = set()
    leading: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in _PRODUCTS or leading.intersection(node.output):
            leading.update(node.input)
    for node in graph.node:
        if node.op_type in _PRODUCTS or weighted.intersection(node.input):
            weighted.update(node.output)
        if node.op_type in _PRODUCTS:
            sites += [
                Site(name, kind)
                for name, kind in zip(node.input[1:], ("weight", "bias"), strict=False)
                if name in constants
            ]
        if node.op_type == "Add" and (made := _maker(model, node, constants)) is not None:
            sites += [Site(n, "bias") for n in node.input if n in constants and made == "MatMul"]
        if node.op_type in _UNTOUCHED:
            continue
        for name in node.output:
            users = readers.get(name, [])
            if name in outputs or not users or _is_fused(node, users, constants):
                continue
            logits = any(user.op_type == "Softmax" for user in users)
            inner = name in weighted and name in leading
            sites.append(Site(name, "activation", inner, logits))

    return list(dict.fromkeys(sites))


def _is_fused(node: onnx.NodeProto, users: list[onnx.NodeProto], constants: set[str]) -> bool:
    """Whether the only reader goes on with the same sum: a bias, a scale or a rectifier."""
    sums = node.op_type in (*_PRODUCTS, *_JOINING, "BatchNormalization", "Sum")
    if len(users) != 1 or not sums:
        return False
    (user,) = users
    joins = user.op_type in _JOINING and any(name in constants for name in user.input)
    return joins or user.op_type in (*_FUSED, "BatchNormalization")


def _readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def _maker(model: onnx.ModelProto, node: onnx.NodeProto, constants: set[str]) -> str | None:
    computed = [name for name in node.input if name not in constants]
    if len(computed) != 1:
        return None
    makers = (other.op_type for other in model.graph.node if computed[0] in other.output)
    return next(makers, None)


def fixed_format(low: float, high: float, bits: int, signed: bool | None = None) -> QuantGrid:
    """The format of `bits` bits with the smallest steps that holds low to high, rounded.

    >>> fixed_format(0.0, 3.2, 8).precision, fixed_format(-1.0, 1.5, 8).precision
    ('ufixed<8,2,RND_CONV,SAT>', 'fixed<8,2,RND_CONV,SAT>')
    """
    signed = low < 0 if signed is None else signed
    most, least = 2 ** (bits - signed) - 1, -(2 ** (bits - 1)) if signed else 0
    size = max(abs(low), abs(high))
    exponent = int(np.frexp(size)[1]) - bits - 1
    while np.rint(high * 2.0**-exponent) > most or np.rint(low * 2.0**-exponent) < least:
        exponent += 1
    return QuantGrid(QuantAttributes(signed, False, "ROUND"), bits, bits + exponent)


def quantized(model: onnx.ModelProto, formats: Mapping[str, QuantGrid]) -> onnx.ModelProto:
    """A copy of a prepared model with a Quant node on every tensor that has a format."""
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    names = Names(fresh)
    renamed = {name: names.fresh(f"{name}_quantized") for name in formats}
    made = {name for node in fresh.graph.node for name in node.output}

    def quant(name: str) -> onnx.NodeProto:
        grid = formats[name]
        values = {"scale": 2.0 ** (grid.integer - grid.width), "zeropt": 0.0, "bits": grid.width}
        operands = []
        for part, value in values.items():
            operands.append(names.fresh(f"{name}_{part}"))
            add_constant(fresh, operands[-1], value)
        scale, zero, bits = operands
        inputs = (name, scale, zero, bits)
        node = quant_node(f"{name}_quant", inputs, renamed[name], grid.attributes)
        node.ClearField("overload")
        return node

    nodes = [quant(name) for name in formats if name not in made]
    for node in fresh.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        nodes.append(node)
        nodes += [quant(name) for name in node.output if name in formats]
    del fresh.graph.node[:]
    fresh.graph.node.extend(nodes)
    if all(item.domain != DOMAIN for item in fresh.opset_import):
        fresh.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return fresh


def _round_constants(model: onnx.ModelProto) -> None:
    """Constants of element-wise layers on the grid of the default precision, where it is fine."""
    constants, step = constants_of(model), 2.0**-WIDE_FRACTION
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    users = _readers(model)
    for node in model.graph.node:
        for name in node.input if node.op_type in _JOINING else ():
            values = constants.get(name)
            if values is None or values.dtype != np.float32 or len(users[name]) > 1:
                continue
            close = np.rint(values / step) * step
            if node.op_type == "Div" or np.abs(close - values).max() > 2**-9 * np.abs(values).min():
                continue
            tensors[name].CopyFrom(numpy_helper.from_array(close.astype(np.float32), name))


def _fold_scales(model: onnx.ModelProto, product: onnx.NodeProto) -> None:
    """Scales and shifts behind a layer of constant weights taken into its weights and bias."""
    graph, constants = model.graph, constants_of(model)
    given = node_attributes(product)
    weights = constants.get(product.input[1])
    if weights is None or weights.dtype != np.float32:
        return
    if product.op_type == "Gemm" and (given.get("alpha", 1.0), given.get("beta", 1.0)) != (1, 1):
        return
    conv = product.op_type == "Conv"
    rows = conv or (product.op_type == "Gemm" and bool(given.get("transB", 0)))
    channels = weights.shape[0] if rows else weights.shape[-1]
    bias = constants.get(product.input[2]) if len(product.input) > 2 else None
    scale, shift = np.ones(channels), np.zeros(channels) if bias is None else bias.astype(float)
    chain = []
    for node, step in _affine(model, product, constants, channels):
        scale, shift = scale * step[0], shift * step[0] + step[1]
        chain.append(node)
    if not any(node.op_type not in ("Add", "Sub") for node in chain):
        return
    last = chain[-1].output[0]
    for node in chain:
        graph.node.remove(node)
    shape = (-1,) + (1,) * (weights.ndim - 1) if rows else (1,) * (weights.ndim - 1) + (-1,)
    names = Names(model)
    name = names.fresh(f"{product.output[0]}_folded")
    folded, offset = names.fresh(f"{name}_weights"), names.fresh(f"{name}_bias")
    add_constant(model, folded, weights * scale.reshape(shape))
    add_constant(model, offset, shift)
    product.input[1] = folded
    if product.op_type == "MatMul":
        product.output[0], position = name, list(graph.node).index(product)
        bias_node = helper.make_node("Add", [name, offset], [last], name=f"{name}_add")
        graph.node.insert(position + 1, bias_node)
        return
    product.input[:] = [*product.input[:2], offset]
    product.output[0] = last


def _affine(
    model: onnx.ModelProto, product: onnx.NodeProto, constants: dict[str, Array], channels: int
) -> Iterator[tuple[onnx.NodeProto, tuple[Array, Array]]]:
    """The nodes behind a layer that are its only readers and y = scale * x + shift per channel."""
    outputs = {value.name for value in model.graph.output}
    readers = _readers(model)
    conv, name = product.op_type == "Conv", product.output[0]
    rank = constants[product.input[1]].ndim if conv else 0
    while name not in outputs and len(readers.get(name, [])) == 1:
        (node,) = readers[name]
        operands = [constants.get(operand) for operand in node.input if operand != name]
        if any(values is None for values in operands):
            return
        values = [v.astype(np.float64) for v in operands if v is not None]
        if node.op_type == "BatchNormalization":
            if not conv and product.op_type == "MatMul" and _rank(model, name) != 2:
                return
            epsilon = node_attributes(node).get("epsilon", 1e-5)
            factor = values[0] / np.sqrt(values[3] + epsilon)
            yield node, (factor, values[1] - values[2] * factor)
        elif node.op_type in _JOINING and len(values) == 1:
            (constant,) = values
            shape = (1,) * (rank - constant.ndim) + constant.shape if conv else constant.shape
            wanted = (1, channels, *(1,) * (rank - 2)) if conv else (channels,)
            if constant.size != 1 and (
                constant.size != channels or shape[-len(wanted) :] != wanted
            ):
                return
            flat = np.broadcast_to(constant.reshape(-1), (channels,))
            first = node.input[0] != name
            if node.op_type == "Div" and first:
                return
            one, none = np.ones(channels), np.zeros(channels)
            if node.op_type in ("Add", "Sub"):
                scale = -one if node.op_type == "Sub" and first else one
                yield node, (scale, -flat if node.op_type == "Sub" and not first else flat)
            else:
                yield node, (flat if node.op_type == "Mul" else one / flat, none)
        else:
            return
        name = node.output[0]


def _rank(model: onnx.ModelProto, name: str) -> int:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    for value in (*inferred.value_info, *inferred.output):
        if value.name == name and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            return len(value.type.tensor_type.shape.dim)
    return 0
