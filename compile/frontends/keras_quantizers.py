"""QKeras quantizers as QONNX: the grid of each, and the nodes that apply it to a tensor.

Source: qkeras 0.9.0, quantizers.py; each equation was recomputed against it.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .keras_graph import GraphBuilder, Grid

Apply = Callable[[GraphBuilder, Any, str, str], str]


def is_quantizer(function: object) -> bool:
    """True for an object whose class comes from QKeras's quantizers."""
    return type(function).__module__.split(".")[0] == "qkeras"


def apply_quantizer(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """Add the nodes of an activation quantizer; the last tensor is `name`.

    Raises:
        UnsupportedError: the quantizer, or one of its options, has no exact QONNX form.
    """
    kind = type(quantizer).__name__
    if kind not in _APPLY:
        raise errors.UnsupportedError(
            f"quantizer {kind} has no QONNX form here; supported: {', '.join(_APPLY)}"
        )
    _refuse_noise(quantizer)
    return _APPLY[kind](graph, quantizer, x, name)


def quantized_weight(quantizer: Any, weight: Any) -> tuple[NDArray[np.float32], Grid | None]:
    """The weight as the layer uses it (QKeras's own result) and the grid it stands on.

    `alpha="auto_po2"` scales every output channel by a power of two; the grid is then the finest
    channel's, wide enough for all.

    Raises:
        UnsupportedError: a quantizer other than quantized_bits, or a scale that is no power of two.
    """
    if quantizer is None:
        return np.asarray(weight, np.float32), None
    kind = type(quantizer).__name__
    if kind != "quantized_bits":
        raise errors.UnsupportedError(
            f"weight quantizer {kind} has no QONNX form here; supported: quantized_bits"
        )
    _refuse_noise(quantizer)
    value = np.asarray(quantizer(weight), np.float32)
    grid = _bits_grid(quantizer)
    scale = np.asarray(quantizer.scale, np.float64)
    mantissa, exponent = np.frexp(scale)
    if np.any(mantissa != 0.5):
        raise errors.UnsupportedError(
            f"{quantizer}: its scale is {scale.ravel()[0]:g}, not a power of two, so the weights "
            "are no fixed-point numbers; use alpha=1 or alpha='auto_po2'"
        )
    shift = exponent - 1
    spread = int(shift.max() - shift.min())
    return value, Grid(
        grid.bits + spread,
        grid.exponent + int(shift.min()),
        grid.signed,
        grid.narrow and not spread,
    )


def _bits_grid(quantizer: Any) -> Grid:
    """quantized_bits(b, i): u = b - signed, L = 2^(i-u), s = signed,
    L * clip(rint(x/L), s*(-2^u + symmetric), 2^u - 1)."""
    bits, signed = _integer(quantizer.bits), bool(quantizer.keep_negative)
    if bits - signed < 1:
        raise errors.UnsupportedError(
            f"{quantizer}: one signed bit means -1 or +1, which hls4ml encodes differently; use at "
            "least 2 bits"
        )
    exponent = _integer(quantizer.integer) - (bits - signed)
    return Grid(bits, exponent, signed, narrow=signed and bool(quantizer.symmetric))


def _apply_bits(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    if quantizer.alpha is not None and (
        isinstance(quantizer.alpha, str) or np.any(np.asarray(quantizer.alpha) != 1)
    ):
        raise errors.UnsupportedError(
            f"{quantizer} on an activation: its scale would depend on the batch or leave the grid; "
            "use alpha=1"
        )
    return graph.quant(name, x, _bits_grid(quantizer))


def _apply_relu(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """quantized_relu(b, i): L = 2^(i-b), L * clip(rint(x/L), 0, 2^b-1); with a negative slope
    s = 2^-p the positive part has b-1 bits, and L * clip(rint(s*x/L), -2^(b-1-p), 0) is added."""
    if quantizer.use_sigmoid:
        raise errors.UnsupportedError(f"{quantizer}: use_sigmoid=1 is not supported; use 0")
    if quantizer.relu_upper_bound is not None and not quantizer.is_quantized_clip:
        raise errors.UnsupportedError(
            f"{quantizer}: relu_upper_bound with is_quantized_clip=False is lost when QKeras saves "
            "the model; let the number of integer bits set the bound"
        )
    bits, slope = _integer(quantizer.bits), float(quantizer.negative_slope)
    positive_bits = bits - (slope != 0)
    exponent = _integer(quantizer.integer) - positive_bits
    positive = Grid(positive_bits, exponent, signed=False)
    if slope == 0:
        return graph.quant(name, graph.node("Relu", f"{name}_relu", [x]), positive)
    negative_bits = bits + round(math.log2(slope))
    if negative_bits < 2:
        raise errors.UnsupportedError(
            f"{quantizer}: below zero fewer than 2 bits are left; use more bits or a larger slope"
        )
    above = graph.quant(f"{name}_above", graph.node("Relu", f"{name}_relu", [x]), positive)
    flipped = graph.node(
        "Mul", f"{name}_flip", [x, graph.short_constant(f"{name}_slope", _f32(-slope))]
    )
    below = graph.node("Relu", f"{name}_flip_relu", [flipped])
    below = graph.node(
        "Mul", f"{name}_back", [below, graph.short_constant(f"{name}_sign", _f32(-1.0))]
    )
    below = graph.quant(f"{name}_below", below, Grid(negative_bits, exponent, signed=True))
    return graph.node("Add", name, [above, below])


def _apply_tanh(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """quantized_tanh(b): m = 2^(b-1), clip(rint(m*t)/m, -1 + sym/m, 1 - 1/m); t is tanh(x), or by
    default 2*h(x)-1 = clip(x, -1, 1), whose clip the Quant node does itself."""
    bits = _integer(quantizer.bits)
    if quantizer.use_real_tanh:
        x = graph.node("Tanh", f"{name}_tanh", [x])
    else:
        _need_hard_sigmoid(quantizer)
    return graph.quant(name, x, Grid(bits, 1 - bits, signed=True, narrow=bool(quantizer.symmetric)))


def _apply_sigmoid(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """quantized_sigmoid(b): m = 2^b, clip(rint(m*h)/m, 0, 1 - 1/m); h is sigmoid(x), or by default
    clip(x/2 + 1/2, 0, 1), whose clip the Quant node does itself."""
    bits = _integer(quantizer.bits)
    if quantizer.symmetric:
        raise errors.UnsupportedError(f"{quantizer}: symmetric=1 has no ap_fixed type; use 0")
    if quantizer.use_real_sigmoid:
        x = graph.node("Sigmoid", f"{name}_sigmoid", [x])
    else:
        _need_hard_sigmoid(quantizer)
        half = graph.node(
            "Mul", f"{name}_mul", [x, graph.short_constant(f"{name}_half", _f32(0.5))]
        )
        x = graph.node(
            "Add", f"{name}_add", [half, graph.short_constant(f"{name}_shift", _f32(0.5))]
        )
    return graph.quant(name, x, Grid(bits, -bits, signed=False))


_APPLY: dict[str, Apply] = {
    "quantized_bits": _apply_bits,
    "quantized_relu": _apply_relu,
    "quantized_tanh": _apply_tanh,
    "quantized_sigmoid": _apply_sigmoid,
}


def _refuse_noise(quantizer: Any) -> None:
    if getattr(quantizer, "use_stochastic_rounding", False):
        raise errors.UnsupportedError(f"{quantizer}: stochastic rounding is random; turn it off")
    noise = float(np.asarray(getattr(quantizer, "qnoise_factor", 1.0)))
    if noise != 1.0:
        raise errors.UnsupportedError(
            f"{quantizer}: qnoise_factor is {noise:g}, so its values are only partly quantized; "
            "set it to 1"
        )


def _need_hard_sigmoid(quantizer: Any) -> None:
    module = sys.modules[type(quantizer).__module__]
    mode = module._sigmoid.__name__
    if mode != "hard_sigmoid":
        raise errors.UnsupportedError(
            f"{quantizer}: QKeras's internal sigmoid is set to {mode}; only the default 'hard' is "
            "supported (qkeras.quantizers.set_internal_sigmoid)"
        )


def _integer(value: Any) -> int:
    return int(np.asarray(value))


def _f32(value: float) -> NDArray[np.float32]:
    return np.asarray(value, np.float32)
