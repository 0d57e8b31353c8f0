"""HGQ2's quantizers, a format for every element, in ONNX: QONNX's Quant with tensors for operands.

Quant rounds half to even (ROUND) or down (FLOOR) and saturates. What HGQ2 does beyond that is
written in front of it in standard operators: half a step is added for RND, numbers are wrapped for
WRAP, and the Quant node behind says only which numbers can occur.

Source: quantizers 1.2.2, fixed_point/_fixed_point_ops.py, `FixedPointQuantizer.forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .. import quant
from ..keras.graph import GraphBuilder

__all__ = ["Fixed", "HgqGraph", "fixed_of"]

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A quantizer's formats as arrays that broadcast with the data: sign, integer, fraction bits.

    An element of no bits has the only value 0, and the step 1.
    """

    signed: NDArray[np.float64]
    integer: NDArray[np.float64]
    fraction: NDArray[np.float64]
    rounding: str
    overflow: str

    @property
    def bits(self) -> NDArray[np.float64]:
        """The width, sign included."""
        return self.signed + self.integer + self.fraction

    @property
    def step(self) -> NDArray[np.float64]:
        """Distance between neighbours."""
        return np.asarray(np.exp2(-self.fraction))

    def map(self, move: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Fixed:
        """The same formats, moved."""
        parts = (self.signed, self.integer, self.fraction)
        signed, integer, fraction = (move(part) for part in parts)
        return Fixed(signed, integer, fraction, self.rounding, self.overflow)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest number of all elements."""
        reach = np.exp2(self.integer) * (self.bits > 0)
        return float((-self.signed * reach).min()), float((reach - self.step).max())


def fixed_of(quantizer: Any) -> Fixed:
    """The formats of an HGQ2 quantizer.

    Raises:
        UnsupportedError: a rounding that has no form in ONNX here.
    """
    import keras  # type: ignore[import-untyped]

    inner = quantizer.quantizer
    k, i, f = (np.asarray(keras.ops.convert_to_numpy(a), np.float64) for a in inner.kif)
    rounding = inner.round_mode.removeprefix("S_")
    if rounding not in ("RND", "RND_CONV", "TRN"):
        raise errors.UnsupportedError(
            f"its quantizer {quantizer.name} rounds by {rounding}; supported: RND, RND_CONV, TRN"
        )
    i = np.maximum(i, -f)
    empty = k + i + f <= 0
    k, i, f = (np.where(empty, 0.0, a) for a in (k, i, f))
    return Fixed(k, i, f, rounding, inner.overflow_mode)


class HgqGraph(GraphBuilder):
    """A graph whose Quant nodes may have a step and a width for every element."""

    def elements(self, name: str, x: str, fixed: Fixed) -> str:
        """The data x as the quantizer leaves them.

        Source of each step: the modes of `quantizers`, named in this module's docstring.
        """
        if fixed.overflow == "WRAP":
            return self._quant(name, self._wrapped(name, x, fixed), fixed, "ROUND")
        if np.any(fixed.bits <= 0):
            x = self.node("Mul", f"{name}_some", [x, self._number(name, "mask", fixed.bits > 0)])
        if len(np.unique(fixed.signed)) > 1:
            low = np.where(fixed.signed > 0, _LOWEST, 0.0)
            x = self.node("Max", f"{name}_positive", [x, self._number(name, "lowest", low)])
        if fixed.rounding == "RND":
            half = self._number(name, "half", fixed.step / 2)
            x = self.node("Add", f"{name}_up", [x, half])
        return self._quant(name, x, fixed, "ROUND" if fixed.rounding == "RND_CONV" else "FLOOR")

    def weights(self, name: str, value: NDArray[Any], fixed: Fixed | None) -> str:
        """A constant as its quantizer left it, behind a Quant node that says its formats."""
        if fixed is None:
            return self.constant(name, value)
        value, step = np.asarray(value, np.float64), np.broadcast_to(fixed.step, np.shape(value))
        steps = value / step
        if np.any(steps != np.rint(steps)):
            return self.constant(name, value)
        # weights do not wrap: one may need more bits than its quantizer has
        needed = np.ceil(np.log2(np.where(steps >= 0, steps + 1, -steps)))
        integer = np.maximum(np.broadcast_to(fixed.integer, value.shape), needed - fixed.fraction)
        signed = np.maximum(np.broadcast_to(fixed.signed, value.shape), value < 0)
        fraction = np.broadcast_to(fixed.fraction, value.shape)
        grid = Fixed(signed, integer, fraction, "RND_CONV", "SAT")
        return self._quant(name, self.constant(f"{name}_value", value), grid, "ROUND")

    def rename(self, old: str, new: str) -> str:
        """The last node's output under another name, if that is what `old` is."""
        if self.nodes and self.nodes[-1].output[0] == old and new not in self._names:
            self.nodes[-1].output[0] = self._claim(new)
            return new
        return old

    def _quant(self, name: str, x: str, fixed: Fixed, rounding: str) -> str:
        """A Quant node; where only some elements have a sign the others get a bit more."""
        signed = bool(np.any(fixed.signed))
        narrow = signed and fixed.overflow == "SAT_SYM"
        attributes = quant.QuantAttributes(signed, narrow, rounding)
        self.functions.setdefault(attributes.overload, quant.quant_function(attributes))
        width = fixed.integer + fixed.fraction + signed
        inputs = (
            x,
            self._number(name, "scale", fixed.step),
            self.constant(f"{name}_zeropt", 0.0),
            self._number(name, "bitwidth", np.maximum(width, 1)),
        )
        self.nodes.append(quant.quant_node(f"{name}_Quant", inputs, self._claim(name), attributes))
        return name

    def _wrapped(self, name: str, x: str, fixed: Fixed) -> str:
        """Rounded numbers brought into the range by whole periods, as integers of a step."""
        step = self._number(name, "step", fixed.step)
        x = self.node("Div", f"{name}_steps", [x, step])
        if fixed.rounding == "RND":
            x = self.node("Add", f"{name}_up", [x, self.constant(f"{name}_half", 0.5)])
        operator = "Round" if fixed.rounding == "RND_CONV" else "Floor"
        x = self.node(operator, f"{name}_rounded", [x])
        period = np.exp2(fixed.bits)
        periods = self._number(name, "period", period)
        lowest = self._number(name, "offset", fixed.signed * period / 2)
        y = self.node("Add", f"{name}_shifted", [x, lowest])
        y = self.node("Div", f"{name}_turns", [y, periods])
        y = self.node("Floor", f"{name}_whole_turns", [y])
        y = self.node("Mul", f"{name}_excess", [y, periods])
        y = self.node("Sub", f"{name}_inside", [x, y])
        return self.node("Mul", f"{name}_wrapped", [y, step])

    def _number(self, name: str, what: str, value: NDArray[Any]) -> str:
        """A constant, 0-d where all its elements are equal."""
        array = np.asarray(value, np.float32)
        if array.size and np.all(array == array.flat[0]):
            array = array.reshape(-1)[0]
        return self.constant(f"{name}_{what}", array)
