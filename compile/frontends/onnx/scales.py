"""Scales that are no powers of two: whole numbers in the firmware, factors where they must be.

Fixed point has no step such as 0.0266. A tensor that a Quant node rounds to such steps is kept as
how many steps it is; so are weights. What follows computes with these whole numbers, exactly, and
carries their scale along: through a layer of weights S_x S_w, through a rectifier, a pooling or a
reshape S itself. The next Quant divides by its own scale: one factor S_x S_w / S_y per channel, a
constant of `FACTOR_BITS` bits. Biases are whole numbers of the sum's steps, or 1/256 of them.

Only that factor and such biases differ from the model's arithmetic, by 2^-20 of the factor and
2^-9 of a sum's step; so the rounded result differs only next to a tie. Source of the method: Jacob
et al., arXiv:1712.05877, section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ..quant import QuantAttributes, attributes_of, power_of_two, quant_node
from .constants import Names, add_constant, constants_of, drop_unused
from .nodes import EXACT, node_attributes
from .prepare import SOFTMAX_BITS
from .quantize import fixed_format
from .storage import quantized_values

__all__ = ["write_scales"]

FACTOR_BITS, BIAS_FRACTION = 20, 8
MOST_BITS, FRACTION = 56, 24  # of sums of which nothing is known
INPUT_BITS = 10  # more of an input than its quantizer has
_PASSED = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "MaxPool")
_FRACTIONAL = ("AveragePool", "GlobalAveragePool", "LeakyRelu")
_RESHAPED = ("Dropout", "Flatten", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_ONE = np.ones((), np.float64)
_SIGNED = QuantAttributes(signed=True, narrow=False, rounding="ROUND")

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Steps:
    """A tensor that is `scale` times another: one number, or one per channel as it broadcasts."""

    name: str
    scale: Array

    @property
    def is_one(self) -> bool:
        """Whether it is the same number for all channels."""
        return self.scale.size == 1


def write_scales(model: onnx.ModelProto) -> list[str]:
    """Rewrites a model of Quant nodes so that every scale left is a power of two.

    Returns:
        Notes for the user; none if nothing was to be done.
    """
    constants = constants_of(model)
    odd = [
        node
        for node in model.graph.node
        if node.op_type == "Quant"
        and all(name in constants for name in node.input[1:])
        and _is_odd(node, constants)
    ]
    return _Rewriting(model).run() if odd else []


def _is_odd(node: onnx.NodeProto, constants: dict[str, Array]) -> bool:
    scale = constants[node.input[1]]
    if node.input[0] in constants:  # powers of two per channel have one grid of their own
        return bool((np.frexp(scale)[0] != 0.5).any())
    return power_of_two(scale) is None


class _Rewriting:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = constants_of(model)
        self.names = Names(model)
        self.old = list(model.graph.node)
        self.nodes: list[onnx.NodeProto] = []
        self.steps: dict[str, _Steps] = {}
        self.written: set[str] = set()
        self.known: dict[str, tuple[float, int]] = {}  # largest magnitude, fraction bits
        self.rounded: set[str] = set()  # by a Quant node
        self.notes: list[str] = []
        self.inputs = {value.name for value in model.graph.input}
        self.quants = {
            node.output[0]: node
            for node in self.old
            if node.op_type == "Quant" and node.input[0] in self.constants
        }

    def run(self) -> list[str]:
        """Every node by its rule, in order."""
        rules: dict[str, Callable[[onnx.NodeProto], bool]] = {
            **dict.fromkeys(("Conv", "Gemm", "MatMul"), self._product),
            **dict.fromkeys(("Add", "Div", "Mul", "Sub"), self._joining),
            **dict.fromkeys((*_PASSED, "Relu"), self._pass),
            **dict.fromkeys(_RESHAPED, self._reshape),
            "Quant": self._quant,
            "Softmax": self._softmax,
        }
        for node in self.old:
            rule = rules.get(node.op_type)
            if node.output[0] in self.quants or rule is None or not rule(node):
                for name in node.input:
                    self._real(name)
                self.nodes.append(node)
        for value in self.model.graph.output:
            self._real(value.name)
        del self.model.graph.node[:]
        self.model.graph.node.extend(self.nodes)
        drop_unused(self.model)
        self.notes.append(
            "scales that are no powers of two: the firmware counts in their steps, with factors of "
            f"{FACTOR_BITS} bits between the layers, so that it may round other than the model "
            "next to a tie"
        )
        return self.notes

    def _real(self, name: str) -> None:
        """The tensor itself, for a node that reads it as it is."""
        steps = self.steps.get(name)
        if steps is not None and name not in self.written:
            self.written.add(name)
            self._scaled("Mul", steps.name, _dyadic(steps.scale), name)

    def _scaled(self, op: str, x: str, values: Array, y: str) -> None:
        if x not in self.rounded:  # hls4ml would merge a bias before it, in the factor's own type
            x = self._wide(x, self.names.fresh(f"{y}_wide"))
        constant = self._tensor(f"{y}_{op.lower()}_by", values)
        node = helper.make_node(op, [x, constant], [y], name=f"{y}_{op.lower()}", doc_string=EXACT)
        self.nodes.append(node)

    def _rounded(
        self, x: str, y: str, step: float, bits: int, attributes: QuantAttributes = _SIGNED
    ) -> str:
        operands = (
            self._tensor(f"{y}_scale", step),
            self._tensor(f"{y}_zeropt", 0.0),
            self._tensor(f"{y}_bits", bits),
        )
        node = quant_node(f"{y}_quant", (x, *operands), y, attributes)
        node.ClearField("overload")
        self.nodes.append(node)
        self.known[y] = 2.0 ** (bits - attributes.signed) * step, -int(np.log2(step))
        self.rounded.add(y)
        return y

    def _wide(self, x: str, y: str) -> str:
        """The same numbers in a type that holds all of them."""
        bound, fraction = self.known.get(x, (2.0 ** (MOST_BITS - FRACTION - 1) - 1, FRACTION))
        bits = min(MOST_BITS, int(np.frexp(bound)[1]) + 1 + fraction)
        return self._rounded(x, y, 2.0**-fraction, max(2, bits))

    def _learn(self, node: onnx.NodeProto, y: str, scale: Array, bits: Array) -> None:
        """What a Quant node of the model itself says of the numbers behind it."""
        zero = self.constants[node.input[2]]
        if (exponent := power_of_two(scale)) is not None and not zero.any():
            width = int(np.max(bits)) - attributes_of(node).signed
            self.known[y] = 2.0 ** (width + exponent), -exponent
        self.rounded.add(y)

    def _constant(self, name: str, values: Array, fraction: int = 0) -> str:
        """A constant on a grid, with a Quant of as many bits as it needs."""
        step = 2.0**-fraction
        whole = np.rint(np.asarray(values, np.float64) / step)
        bits = int(np.abs(whole).max(initial=1)).bit_length() + 1
        source = self._tensor(f"{name}_values", whole * step)
        return self._rounded(source, self.names.fresh(name), step, max(2, bits))

    def _tensor(self, base: str, values: Any) -> str:
        """A new constant; its name."""
        name = self.names.fresh(base)
        add_constant(self.model, name, values)
        return name

    def _value(self, name: str) -> Array | None:
        """The numbers of a constant, rounded if it is quantized."""
        if name in self.quants:
            node = self.quants[name]
            return quantized_values(node, *(self.constants[n] for n in node.input))
        return self.constants.get(name)

    def _quant(self, node: onnx.NodeProto) -> bool:
        x, y = node.input[0], node.output[0]
        scale, zero, bits = (self.constants[name] for name in node.input[1:4])
        exponent, steps = power_of_two(scale), self.steps.get(x)
        if exponent is not None or bits.size != 1 or zero.any():
            self._learn(node, y, scale, bits)
            if steps is None or steps.name not in self.inputs or bits.size != 1:
                return False
            real = (scale / steps.scale).astype(np.float64)
            source = self._input(node, steps.name, real, int(bits.item()))
            scaled = self.names.fresh(f"{y}_scaled")
            self._scaled("Mul", source, _dyadic(steps.scale), scaled)
            fresh = onnx.NodeProto()
            fresh.CopyFrom(node)
            fresh.input[0] = scaled
            self.nodes.append(fresh)
            return True
        attributes, width = attributes_of(node), int(bits.item())
        source, factor = x, 1 / scale.astype(np.float64)
        if steps is not None:
            source, factor = steps.name, steps.scale / scale
        elif x in self.inputs:
            source = self._input(node, x, scale.astype(np.float64), width)
        scaled = self.names.fresh(f"{y}_scaled")
        self._scaled("Mul", source, _dyadic(factor), scaled)
        whole = self._rounded(scaled, self.names.fresh(f"{y}_steps"), 1.0, width, attributes)
        self.steps[y] = _Steps(whole, _unbatched(scale.astype(np.float64)))
        return True

    def _input(self, node: onnx.NodeProto, x: str, scale: Array, width: int) -> str:
        """An input in a type much finer than the steps that it is rounded to."""
        signed = attributes_of(node).signed
        levels = 2.0 ** (width - signed)
        integer = int(np.frexp(levels * float(scale.max()))[1]) + signed
        fraction = INPUT_BITS - int(np.floor(np.log2(float(scale.min()))))
        grid = QuantAttributes(signed, False, "ROUND")
        step, name = 2.0**-fraction, self.names.fresh(f"{node.output[0]}_input")
        self._rounded(x, name, step, integer + fraction, grid)
        kind = "ap_fixed" if signed else "ap_ufixed"
        self.notes.append(
            f"input {x}: rounded to {kind}<{integer + fraction},{integer},RND_CONV,SAT> before the "
            f"model's own quantizer, whose step {float(scale.min()):.6g} is no power of two"
        )
        return name

    def _product(self, node: onnx.NodeProto) -> bool:
        given, y = node_attributes(node), node.output[0]
        have, quant = self.steps.get(node.input[0]), self.quants.get(node.input[1])
        odd = quant is not None and _is_odd(quant, self.constants)
        weights = self._value(node.input[1])
        if have is not None and not have.is_one:
            self._real(node.input[0])
            have = None
        if weights is None or given.get("beta", 1.0) != 1 or given.get("transA", 0):
            return False
        bias = self._value(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if len(node.input) > 2 and node.input[2] and bias is None:
            return False
        rows = node.op_type == "Conv" or bool(given.get("transB", 0))
        scale = (_ONE if have is None else have.scale) * given.get("alpha", 1.0)
        x, whole = node.input[0] if have is None else have.name, weights.astype(np.float64)
        if odd and quant is not None:
            channels = _per_channel(self.constants[quant.input[1]], weights.shape, rows)
            if channels is None:
                return False
            shape = (-1,) + (1,) * (weights.ndim - 1) if rows else (-1,)
            whole = np.rint(whole / channels.reshape(shape if channels.size > 1 else ()))
            tail = (1,) * (weights.ndim - 2) if node.op_type == "Conv" else ()
            scale = scale * (channels.reshape(-1, *tail) if channels.size > 1 else channels)
        known = self._summed(x, whole, rows, 0 if odd else self._fraction(quant))
        if (have is None and not odd) or not (scale > 0).all():
            if known is not None and bias is None and scale == 1:
                self.known[y] = known
            return False
        fresh = onnx.NodeProto()
        fresh.CopyFrom(node)
        total = self.names.fresh(f"{y}_sum")
        fresh.input[0], fresh.output[0] = x, total
        if odd:
            fresh.input[1] = self._constant(f"{y}_weights", whole)
        for item in fresh.attribute:
            if item.name == "alpha":
                item.f = 1.0
        self._know(total, known)
        if bias is not None:
            fresh.input[2] = self._bias(total, f"{y}_bias", bias.reshape(-1) / scale.reshape(-1))
        self.nodes.append(fresh)
        self.steps[y] = _Steps(total, scale)
        return True

    def _fraction(self, quant: onnx.NodeProto | None) -> int | None:
        """The fraction bits of a quantized constant, None if it is not on such a grid."""
        if quant is None:
            return None
        scale, zero = (self.constants[name] for name in quant.input[1:3])
        if (np.frexp(scale)[0] != 0.5).any() or (zero != np.rint(zero)).any():
            return None
        return 1 - int(np.frexp(scale.min())[1])

    def _summed(
        self, x: str, weights: Array, rows: bool, fraction: int | None
    ) -> tuple[float, int] | None:
        """The largest magnitude and the fraction bits of a sum of products; None: not known."""
        if x not in self.known or fraction is None:
            return None
        bound, before = self.known[x]
        lines = (
            weights.reshape(len(weights), -1) if rows else weights.reshape(-1, weights.shape[-1]).T
        )
        return float(np.abs(lines).sum(axis=1).max()) * bound, before + fraction

    def _know(self, name: str, known: tuple[float, int] | None) -> None:
        if known is not None:
            self.known[name] = known

    def _bias(self, y: str, name: str, values: Array) -> str:
        """A constant added to a sum, on its grid or with `BIAS_FRACTION` more bits."""
        bound, fraction = self.known.get(y, (2.0 ** (MOST_BITS - FRACTION - 1), FRACTION))
        scaled = np.ldexp(values, fraction)
        if np.abs(scaled - np.rint(scaled)).max(initial=0) >= 2.0 ** -(BIAS_FRACTION + 1):
            fraction += BIAS_FRACTION
        if y in self.known:
            self.known[y] = bound + float(np.abs(values).max(initial=0)) + 1, fraction
        return self._constant(name, values, fraction)

    def _joining(self, node: onnx.NodeProto) -> bool:
        """A constant added to steps, or a positive factor; two tensors of the same steps added."""
        op, y = node.op_type, node.output[0]
        pair = [self.steps.get(name) for name in node.input]
        first, second = pair
        if first is not None and second is not None and op in ("Add", "Sub"):
            if first.scale.shape != second.scale.shape or (first.scale != second.scale).any():
                return False
            total = self.names.fresh(f"{y}_sum")
            fresh = helper.make_node(op, [first.name, second.name], [total], name=node.name)
            self.nodes.append(fresh)
            if first.name in self.known and second.name in self.known:
                one, other = self.known[first.name], self.known[second.name]
                self.known[total] = one[0] + other[0], max(one[1], other[1])
            self.steps[y] = _Steps(total, first.scale)
            return True
        values = [self._value(name) for name in node.input]
        position = 0 if values[0] is None else 1
        have, value = pair[position], values[1 - position]
        if values[position] is not None or value is None:
            return False
        if position == 1 and op in ("Div", "Sub"):
            return False
        value = _unbatched(value.astype(np.float64))
        if op in ("Mul", "Div"):
            if not (value > 0).all():
                return False
            have = _Steps(node.input[position], _ONE) if have is None else have
            self.steps[y] = _Steps(have.name, have.scale * (value if op == "Mul" else 1 / value))
            return True
        if have is None:
            if node.input[position] in self.known and value.size:
                bound, fraction = self.known[node.input[position]]
                grid = self._fraction(self.quants.get(node.input[1 - position]))
                if grid is not None:
                    bound += float(np.abs(value).max())
                    self.known[y] = bound, max(fraction, grid)
            return False
        total = self.names.fresh(f"{y}_sum")
        self._know(total, self.known.get(have.name))
        operand = self._bias(total, f"{y}_by", value / have.scale)
        operands = [have.name, operand] if position == 0 else [operand, have.name]
        self.nodes.append(helper.make_node(op, operands, [total], name=node.name))
        self.steps[y] = _Steps(total, have.scale)
        return True

    def _softmax(self, node: onnx.NodeProto) -> bool:
        """Steps as real numbers of as many bits as hls4ml's softmax tables look at."""
        have = self.steps.get(node.input[0])
        if have is None or have.name not in self.known:
            return False
        bound = self.known[have.name][0] * float(have.scale.max())
        grid = fixed_format(-bound, bound, SOFTMAX_BITS)
        real, logits = (self.names.fresh(f"{node.input[0]}_{what}") for what in ("real", "logits"))
        self._scaled("Mul", have.name, _dyadic(have.scale), real)
        step = 2.0 ** (grid.integer - grid.width)
        fresh = onnx.NodeProto()
        fresh.CopyFrom(node)
        fresh.input[0] = self._rounded(real, logits, step, grid.width, grid.attributes)
        self.nodes.append(fresh)
        self.notes.append(f"the input of softmax {node.name}: rounded to ap_{grid.precision}")
        return True

    def _pass(self, node: onnx.NodeProto) -> bool:
        """f(S x) = S f(x) for positive S, which differ at most from channel to channel."""
        have = self.steps.get(node.input[0])
        if have is None:
            return False
        y, same = node.output[0], node.op_type in _RESHAPED
        fresh = onnx.NodeProto()
        fresh.CopyFrom(node)
        result = self.names.fresh(f"{y}_steps")
        fresh.input[0], fresh.output[0] = have.name, result
        self.nodes.append(fresh)
        if have.name in self.known:
            bound, fraction = self.known[have.name]
            more = BIAS_FRACTION if node.op_type in _FRACTIONAL else 0
            self.known[result] = bound, fraction + more
        # the default precision may not hold whole numbers of this size
        name = result if same else self._wide(result, self.names.fresh(f"{y}_wide"))
        self.steps[y] = _Steps(name, have.scale)
        return True

    def _reshape(self, node: onnx.NodeProto) -> bool:
        have = self.steps.get(node.input[0])
        return have is not None and have.is_one and self._pass(node)


def _unbatched(values: Array) -> Array:
    """Numbers that broadcast onto one event: without the batch axis, one number without axes."""
    if values.size == 1:
        return values.reshape(())
    return values.reshape(values.shape[1:]) if values.shape[0] == 1 else values


def _dyadic(factor: Array) -> Array:
    """Factors on the grid on which the largest has `FACTOR_BITS` bits."""
    step = 2.0 ** (int(np.frexp(np.abs(factor).max())[1]) - FACTOR_BITS)
    return np.asarray(np.rint(factor / step) * step)


def _per_channel(scale: Array, shape: tuple[int, ...], rows: bool) -> Array | None:
    """One scale, or one per output channel; None if they differ along another axis."""
    if scale.size == 1:
        return scale.astype(np.float64).reshape(())
    whole = np.broadcast_to(scale, shape).astype(np.float64)
    lines = whole.reshape(shape[0], -1) if rows else whole.reshape(-1, shape[-1]).T
    return np.array(lines[:, 0]) if (lines == lines[:, :1]).all() else None
