"""QKeras quantizers as QONNX: the grid of each, and the nodes that apply it to a tensor.

Source: qkeras 0.9.0, quantizers.py; each equation was recomputed against it.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .graph import GraphBuilder
from .grid import Grid, Weight, smallest_grid
from .steps import LOGARITHM, add_steps, find_steps, negative, sign

Apply = Callable[[GraphBuilder, Any, str, str], str]

HARD_TANH = "QKeras computes with x/2 + 1/2"
_RANDOM = {
    "bernoulli": "draws its values at random",
    "stochastic_binary": "rounds at random in training; use binary",
    "stochastic_ternary": "rounds at random in training; use ternary",
}


def is_quantizer(function: object) -> bool:
    """True for an object whose class comes from QKeras's quantizers."""
    module = type(function).__module__.split(".")
    return module[0] == "qkeras" and module[-1] == "quantizers"


def apply_quantizer(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """Add the nodes of an activation quantizer; the last tensor is `name`.

    Raises:
        UnsupportedError: the quantizer, or one of its options, has no exact QONNX form.
    """
    kind = type(quantizer).__name__
    if kind in _RANDOM:
        raise errors.UnsupportedError(f"quantizer {kind} {_RANDOM[kind]}")
    if kind not in APPLY:
        raise errors.UnsupportedError(
            f"quantizer {kind} has no QONNX form on activations; supported: {', '.join(APPLY)}"
        )
    _refuse_noise(quantizer)
    return APPLY[kind](graph, quantizer, x, name)


_STEPS = ("quantized_bits", "binary", "ternary")  # those with a scale
_GRIDS = ("quantized_po2", "quantized_relu", "quantized_relu_po2", "quantized_sigmoid")
_CURVED = ("quantized_hswish", "quantized_ulaw")  # whose values may stand on no grid
WEIGHTS = (*_STEPS, *_GRIDS, "quantized_tanh", *_CURVED)


def quantized_weight(quantizer: Any, weight: Any) -> Weight:
    """The weight as the layer uses it (QKeras's own result) and the grid it stands on.

    1. `alpha` that is a power of two, or one per channel (auto_po2): the grid is the finest
       channel's, wide enough for all.
    2. any other `alpha` (a number, an array, auto): the steps are `scale`.
    3. quantizers without a scale: the narrowest grid that holds the values; curved ones that have
       none give plain numbers.

    Raises:
        UnsupportedError: a random quantizer; values that need more than 24 bits.
    """
    if quantizer is None:
        return Weight(np.asarray(weight, np.float32))
    kind = type(quantizer).__name__
    if kind in _RANDOM:
        raise errors.UnsupportedError(f"weight quantizer {kind} {_RANDOM[kind]}")
    if kind not in WEIGHTS or not is_quantizer(quantizer):
        raise errors.UnsupportedError(
            f"weight quantizer {kind} has no QONNX form here; supported: {', '.join(WEIGHTS)}"
        )
    _refuse_noise(quantizer)
    value = np.asarray(quantizer(weight), np.float32)
    if kind in _STEPS:
        return _scaled_weight(quantizer, value)
    if not np.all(np.isfinite(value)):
        return Weight(value)  # refused by name where the constant is made
    grid = smallest_grid(value)
    if grid is None and kind in _CURVED:
        return Weight(value)
    if grid is None:
        raise errors.UnsupportedError(
            f"{_text(quantizer)}: its values from {np.abs(value[value != 0]).min():g} to "
            f"{np.abs(value).max():g} are no fixed-point numbers of 24 bits; use fewer bits"
        )
    return Weight(value, grid)


def _scaled_weight(quantizer: Any, value: NDArray[np.float32]) -> Weight:
    grid = _weight_grid(quantizer)
    if not np.all(np.isfinite(value)):
        return Weight(value)  # refused by name where the constant is made
    scale = np.asarray(quantizer.scale, np.float64)
    scale = np.where(scale == 0, 1.0, scale)  # a channel of zeros
    steps = np.float32(grid.lsb) * scale.astype(np.float32)
    snapped = np.rint(value.astype(np.float64) / steps).astype(np.float32) * steps
    deviation = float(np.abs(value - snapped).max(initial=0))
    if deviation > 1e-3 * np.abs(steps).min():
        raise errors.ModelError(
            f"{_text(quantizer)}: its result {value.ravel()[0]!r} is no multiple of its scale "
            f"{steps.ravel()[0]!r}; the quantizer and its scale do not agree"
        )
    mantissa, exponent = np.frexp(scale)
    if np.any(np.abs(mantissa) != 0.5):
        return Weight(snapped, grid, steps, deviation)
    shift = exponent - 1
    spread = int(shift.max() - shift.min())
    return Weight(
        snapped,
        Grid(
            grid.bits + spread,
            grid.exponent + int(shift.min()),
            grid.signed,
            grid.narrow and not spread,
        ),
        deviation=deviation,
    )


def _weight_grid(quantizer: Any) -> Grid:
    """The grid before the scale; -1 and +1 take two bits."""
    kind = type(quantizer).__name__
    if kind == "binary":
        unsigned = bool(quantizer.use_01)
        return Grid(1, 0, signed=False) if unsigned else Grid(2, 0, signed=True, narrow=True)
    if kind == "ternary":
        return Grid(2, 0, signed=True, narrow=True)
    if _integer(quantizer.bits) - bool(quantizer.keep_negative) == 0:
        if isinstance(quantizer.alpha, str):
            raise errors.UnsupportedError(
                f"{_text(quantizer)}: with one bit QKeras divides by 0 levels; use alpha=1 or "
                "binary"
            )
        return Grid(2, 0, signed=True, narrow=True)
    grid = _bits_grid(quantizer)
    if grid.signed and isinstance(quantizer.alpha, str):
        return replace(grid, narrow=True)  # auto and auto_po2 are symmetric
    return grid


def _bits_grid(quantizer: Any) -> Grid:
    """quantized_bits(b, i): u = b - signed, L = 2^(i-u), s = signed,
    L * clip(rint(x/L), s*(-2^u + symmetric), 2^u - 1)."""
    bits, signed = _integer(quantizer.bits), bool(quantizer.keep_negative)
    exponent = _integer(quantizer.integer) - (bits - signed)
    return Grid(bits, exponent, signed, narrow=signed and bool(quantizer.symmetric))


def _apply_bits(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """One signed bit: -1 below 0, else +1."""
    alpha = _activation_alpha(quantizer)
    last = name if alpha == 1 else f"{name}_unscaled"
    if _integer(quantizer.bits) - bool(quantizer.keep_negative) == 0:
        y = sign(graph, x, last)
    else:
        y = graph.quant(last, x, _bits_grid(quantizer))
    return _times(graph, y, alpha, name)


def _activation_alpha(quantizer: Any) -> float:
    """The constant that multiplies the result, 1 for None.

    Raises:
        UnsupportedError: one that depends on the batch or differs by channel, or is no power of
            two.
    """
    alpha = quantizer.alpha
    if isinstance(alpha, str) or np.size(alpha) != 1:
        raise errors.UnsupportedError(
            f"{_text(quantizer)} on an activation: its scale would depend on the batch or differ "
            "by "
            "channel; use alpha=1"
        )
    factor = 1.0 if alpha is None else float(np.asarray(alpha).item())
    if abs(math.frexp(factor)[0]) != 0.5:
        raise errors.UnsupportedError(
            f"{_text(quantizer)} on an activation: alpha must be a power of two; with others "
            "QKeras's x + (alpha q - x) rounds by the size of x"
        )
    return factor


def _times(graph: GraphBuilder, y: str, alpha: float, name: str) -> str:
    if alpha == 1:
        return y
    return graph.node("Mul", name, [y, graph.short_constant(f"{name}_alpha", _f32(alpha))])


def _apply_binary(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """-1 or 0 (use_01) where x < 0, else 1, times alpha."""
    alpha = _activation_alpha(quantizer)
    last = name if alpha == 1 else f"{name}_unscaled"
    if quantizer.use_01:
        y = negative(graph, x, f"{last}_negative")
        y = graph.node("Add", last, [y, graph.short_constant(f"{last}_one", _f32(1))])
    else:
        y = sign(graph, x, last)
    return _times(graph, y, alpha, name)


def _apply_ternary(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """[x >= t] - [-x >= t], times alpha; t is the threshold, 0.33 by default."""
    alpha = _activation_alpha(quantizer)
    last = name if alpha == 1 else f"{name}_unscaled"
    given = quantizer.threshold
    threshold = quantizer.default_threshold if given is None else given
    limit = np.asarray(-float(threshold), np.float32)
    above = graph.node("Add", f"{last}_over", [x, graph.short_constant(f"{last}_limit", limit)])
    minus = graph.short_constant(f"{last}_sign", _f32(-1))
    below = graph.node("Mul", f"{last}_flip", [x, minus])
    below = graph.node(
        "Add", f"{last}_under", [below, graph.short_constant(f"{last}_flip_limit", limit)]
    )
    not_above = negative(graph, above, f"{last}_not_above")
    not_below = negative(graph, below, f"{last}_not_below")
    return _times(graph, graph.node("Sub", last, [not_above, not_below]), alpha, name)


def _apply_relu(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """quantized_relu(b, i): L = 2^(i-b), L * clip(rint(x/L), 0, 2^b-1); with a negative slope
    s = 2^-p the positive part has b-1 bits, and L * clip(rint(s*x/L), -2^(b-1-p), 0) is added."""
    if quantizer.use_sigmoid:
        return _apply_relu_sigmoid(graph, quantizer, x, name)
    if quantizer.relu_upper_bound is not None and not quantizer.is_quantized_clip:
        raise errors.UnsupportedError(
            f"{_text(quantizer)}: relu_upper_bound with is_quantized_clip=False is lost when "
            "QKeras saves "
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
            f"{_text(quantizer)}: below zero fewer than 2 bits are left; use more bits or a "
            "larger slope"
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


def _apply_relu_sigmoid(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """use_sigmoid: m = 2^b, p = rint(m * h(x/2^i)), 2^i * clip(2p/m - 1, 0, 1 - 1/m)."""
    if float(quantizer.negative_slope):
        raise errors.UnsupportedError(
            f"{_text(quantizer)}: use_sigmoid with negative_slope has no QONNX form; use one of "
            "the two"
        )
    _need_hard_sigmoid(quantizer)
    bits, integer = _integer(quantizer.bits), _integer(quantizer.integer)
    if bits < 2:
        raise errors.UnsupportedError(f"{_text(quantizer)}: use_sigmoid needs at least 2 bits")
    graph.caveats[name] = HARD_TANH
    # h(z) = z/2 + 1/2 and m/2 is even: 2p/m - 1 = rint(x * m/2^(i+1)) * 2/m, an even number of
    # 1/m; the highest, 1, is clipped to the odd 1 - 1/m, which the second grid does
    even = Grid(bits, integer + 1 - bits, signed=False)
    y = graph.quant(f"{name}_even", graph.node("Relu", f"{name}_relu", [x]), even)
    return graph.quant(name, y, Grid(bits, integer - bits, signed=False))


def _apply_tanh(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """quantized_tanh(b): m = 2^(b-1), clip(rint(m*t)/m, -1 + sym/m, 1 - 1/m); t is tanh(x), or by
    default 2*h(x)-1 = clip(x, -1, 1), whose clip the Quant node does itself."""
    bits = _integer(quantizer.bits)
    if quantizer.use_real_tanh:
        x = graph.node("Tanh", f"{name}_tanh", [x])
    else:
        _need_hard_sigmoid(quantizer)
        graph.caveats[name] = HARD_TANH
    return graph.quant(name, x, Grid(bits, 1 - bits, signed=True, narrow=bool(quantizer.symmetric)))


def _apply_sigmoid(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """quantized_sigmoid(b): m = 2^b, clip(rint(m*h)/m, sym/m, 1 - 1/m); h is sigmoid(x), or by
    default clip(x/2 + 1/2, 0, 1), whose clip the Quant node does itself."""
    bits = _integer(quantizer.bits)
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
    grid = Grid(bits, -bits, signed=False)
    if not quantizer.symmetric:
        return graph.quant(name, x, grid)
    # at least one step: relu(q - L) + L
    least = float(quantizer.symmetric) * grid.lsb
    q = graph.quant(f"{name}_rounded", x, grid)
    down = graph.short_constant(f"{name}_down", _f32(-least))
    q = graph.node("Relu", f"{name}_relu", [graph.node("Add", f"{name}_over", [q, down])])
    return graph.node("Add", name, [q, graph.short_constant(f"{name}_least", _f32(least))])


def _apply_po2(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """sign(x) 2^clip(rint(log2 |x|)), and quantized_relu_po2: as the steps of QKeras's own values.

    Without its straight-through estimator x + (q - x), which is q for |x| < 2^24 q.
    """
    if quantizer.quadratic_approximation:
        raise errors.UnsupportedError(
            f"{_text(quantizer)} on an activation: QKeras's values rise and fall near 0, where its "
            "exponent is not doubled; use quadratic_approximation=False"
        )
    copy = type(quantizer).from_config(quantizer.get_config())
    copy.use_ste = False
    largest, steps = find_steps(copy)
    numbers = np.asarray([largest, *(one.height for one in steps)], np.float32)
    if smallest_grid(numbers) is None:
        raise errors.UnsupportedError(
            f"{_text(quantizer)} on an activation: its steps from {numbers.min():g} to "
            f"{numbers.max():g} are no fixed-point numbers of 24 bits; use fewer bits"
        )
    return add_steps(graph, x, name, largest, steps, LOGARITHM)


def _apply_hswish(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """x min(relu(x + s), t) / t, then as quantized_bits; s is relu_shift, t relu_upper_bound."""
    shift, top = (
        graph.short_constant(f"{name}_{role}", _f32(value))
        for role, value in (("shift", quantizer.relu_shift), ("top", quantizer.relu_upper_bound))
    )
    y = graph.node("Add", f"{name}_shifted", [x, shift])
    y = graph.node("Min", f"{name}_gate", [graph.node("Relu", f"{name}_relu", [y]), top])
    y = graph.node("Mul", f"{name}_product", [x, y])
    by = graph.constant(f"{name}_divisor", float(quantizer.relu_upper_bound))
    y = graph.node("Div", f"{name}_hswish", [y, by])
    return _apply_bits(graph, quantizer, y, name)


def _apply_ulaw(graph: GraphBuilder, quantizer: Any, x: str, name: str) -> str:
    """m = 2^(b-1), r = 2 rint(m h(x/2^i)) / m - 1, 2^i clip(sign(r) log(1 + u |r|) / log(1 + u)):
    a table of QKeras's own m + 1 values, whose last bits depend on the place in the array."""
    _need_hard_sigmoid(quantizer)
    bits, reach = _integer(quantizer.bits), 2.0 ** _integer(quantizer.integer)
    levels = 2 ** (bits - 1)
    places = np.minimum(np.arange(2 * levels), levels) / levels * 2 - 1
    table = np.asarray(quantizer((places * reach).astype(np.float32)), np.float32)
    graph.caveats[f"{name}_level"] = HARD_TANH
    graph.deviations[name] = reach * 2.0**-18  # two logarithms, on either side
    for role, operator, value in (
        ("slope", "Mul", 0.5 / reach),
        ("half", "Add", 0.5),
        ("levels", "Mul", levels),
    ):
        number = graph.short_constant(f"{name}_{role}", _f32(value))
        x = graph.node(operator, f"{name}_by_{role}", [x, number])
    level = graph.quant(f"{name}_level", x, Grid(bits, 0, signed=False))
    index = graph.node("Cast", f"{name}_index", [level], to=7)  # int64
    return graph.node("Gather", name, [graph.constant(f"{name}_table", table), index], axis=0)


APPLY: dict[str, Apply] = {
    "quantized_bits": _apply_bits,
    "quantized_relu": _apply_relu,
    "quantized_tanh": _apply_tanh,
    "quantized_sigmoid": _apply_sigmoid,
    "binary": _apply_binary,
    "ternary": _apply_ternary,
    "quantized_po2": _apply_po2,
    "quantized_relu_po2": _apply_po2,
    "quantized_hswish": _apply_hswish,
    "quantized_ulaw": _apply_ulaw,
}


def _refuse_noise(quantizer: Any) -> None:
    if getattr(quantizer, "use_stochastic_rounding", False):
        raise errors.UnsupportedError(
            f"{_text(quantizer)}: stochastic rounding is random; turn it off"
        )
    noise = float(np.asarray(getattr(quantizer, "qnoise_factor", 1.0)))
    if noise != 1.0:
        raise errors.UnsupportedError(
            f"{_text(quantizer)}: qnoise_factor is {noise:g}, so its values are only partly "
            "quantized; "
            "set it to 1"
        )


def _need_hard_sigmoid(quantizer: Any) -> None:
    module = sys.modules[type(quantizer).__module__]
    mode = module._sigmoid.__name__
    if mode != "hard_sigmoid":
        raise errors.UnsupportedError(
            f"{_text(quantizer)}: QKeras's internal sigmoid is set to {mode}; only the default "
            "'hard' is "
            "supported (qkeras.quantizers.set_internal_sigmoid)"
        )


def _text(quantizer: Any) -> str:
    try:
        return str(quantizer)
    except AssertionError:  # QKeras cannot print quantized_hswish
        return type(quantizer).__name__
    except ValueError:  # nor an array of scales
        return f"{type(quantizer).__name__} with an array of scales"


def _integer(value: Any) -> int:
    numbers = np.unique(np.asarray(value))
    if numbers.size != 1:
        raise errors.UnsupportedError(
            f"integer bits {numbers.tolist()} that differ by channel: supported is one number; "
            "use per_channel=False"
        )
    return int(numbers[0])


def _f32(value: float) -> NDArray[np.float32]:
    return np.asarray(value, np.float32)
