"""Which ONNX operators can become firmware, and in what use of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from samebits import errors

from ..quant import DOMAIN, attributes_of
from . import layout, sequences
from .nodes import Check, any_use, node_attributes

__all__ = ["SUPPORTED_OPERATORS", "check_operators"]

_DOMAINS = ("", "ai.onnx", DOMAIN, "onnx.brevitas")
_SELU = {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}


def check_operators(model: onnx.ModelProto, refused: Mapping[str, str] | None = None) -> None:
    """Raises UnsupportedError with every node that cannot become firmware, by name and reason.

    Args:
        refused: reasons that are known already, by the name of a node's output.
    """
    refused = refused or {}
    integers: set[str] = set()
    constants = {tensor.name for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if reason := refused.get(node.output[0], ""):
            found.append((node, reason))
        elif refused and (node.op_type == "QuantizeLinear" or integers.intersection(node.input)):
            integers.update(node.output)  # said with its DequantizeLinear
        elif all(name in constants for name in node.input if name) and (
            node.op_type == "Quant" or node.op_type not in _UNKNOWN
        ):
            constants.update(node.output)
            if node.op_type == "Quant" and (reason := _quant(node, constants)):
                found.append((node, reason))
        elif node.op_type not in CHECKS or node.domain not in _DOMAINS:
            found.append((node, _UNKNOWN.get(node.op_type, "")))
        elif reason := CHECKS[node.op_type](node, constants):
            found.append((node, reason))
    if found:
        named = [
            f"{node.op_type} ({node.name or node.output[0]}{': ' if reason else ''}{reason})"
            for node, reason in found
        ]
        raise errors.UnsupportedError(
            f"unsupported operators: {', '.join(named)}; supported: "
            f"{', '.join(SUPPORTED_OPERATORS)}"
        )


_INTEGERS = "computes with integers; export the model in QDQ format, or in float and --calibrate it"
_UNKNOWN = {
    **dict.fromkeys(
        ("ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QGemm", "QLinearAdd"), _INTEGERS
    ),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QLinearSigmoid"), _INTEGERS),
    "FloatQuant": "rounds to floating point, which is no ap_fixed type",
    "MultiThreshold": "is FINN's; export the model before FINN's transformations",
    "QuantizeLinear": "its integers are used without a DequantizeLinear",
    "Trunc": "drops bits of a number whose type the model does not say; use Quant with FLOOR",
}


def _gemm(node: onnx.NodeProto, constants: set[str]) -> str:
    given = node_attributes(node)
    if not all(name in constants for name in node.input[1:] if name):
        return "weights and bias must be constant"
    for name, wanted in (("transA", 0), ("beta", 1.0)):
        if given.get(name, wanted) != wanted:
            return f"{name}={given[name]:g}, only {wanted:g} is supported"
    return ""


def _matmul(node: onnx.NodeProto, constants: set[str]) -> str:
    return "" if node.input[1] in constants else "the second factor must be constant"


def _batchnorm(node: onnx.NodeProto, constants: set[str]) -> str:
    return "is in training mode" if node_attributes(node).get("training_mode", 0) else ""


def _selu(node: onnx.NodeProto, constants: set[str]) -> str:
    given = node_attributes(node)
    odd = [k for k, v in _SELU.items() if not np.isclose(given.get(k, v), v, rtol=1e-6, atol=0)]
    return f"{odd[0]}={given[odd[0]]:g}, only the standard value is supported" if odd else ""


def _flatten(node: onnx.NodeProto, constants: set[str]) -> str:
    axis = node_attributes(node).get("axis", 1)
    return "" if axis == 1 else f"axis={axis}, only 1 is supported"


def _quant(node: onnx.NodeProto, constants: set[str]) -> str:
    if len(node.input) != 4 or not all(name in constants for name in node.input[1:]):
        return "scale, zero point and bit width must be constant"
    try:
        attributes_of(node)
    except errors.UnsupportedError as error:
        return str(error).removeprefix("Quant with ")
    return ""


_FREE = (
    *("Constant", "Dropout", "Elu", "Identity", "LeakyRelu", "Relu", "Reshape", "Sigmoid"),
    *("Softmax", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"),
)
# What only one module rewrites is checked there; a later entry replaces an earlier one.
CHECKS: dict[str, Check] = {
    **dict.fromkeys(_FREE, any_use),
    "BatchNormalization": _batchnorm,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Quant": _quant,
    "Selu": _selu,
    **layout.CHECKS,
    **sequences.CHECKS,
}
SUPPORTED_OPERATORS = tuple(sorted(CHECKS))
