"""QDQ, QCDQ and all dialects of QONNX as one: `Quant` nodes of `qonnx.custom_op.general`.

    QuantizeLinear(x) = saturate(round(x / scale) + zero)      rounded half to even
    DequantizeLinear(q) = (q - zero) * scale

The pair rounds x to `scale` times the whole numbers from `low - zero` to `high - zero`. Where those
are all that a Quant with zero point 0 has (zero = low: unsigned; zero = 0: signed or unsigned),
that Quant is the pair, bit for bit in float32. A Quant with the same zero point would not be: it
adds it before it rounds, and ties move. Any other range is rounded on a wider type, and limited by
a second Quant between an addition and a subtraction of whole steps, which are exact.

Source: https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html; ONNX Runtime 1.31,
core/mlas/lib/quantize.cpp; qonnx 1.0, custom_op/general/intquant.py and bipolar_quant.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ..quant import DOMAIN, OPERATOR, QuantAttributes, power_of_two, quant_node
from .constants import Names, add_constant, constants_of, drop_unused, fold_constants
from .dialects import DIALECTS, declare_domains, write_channels_last
from .nodes import node_attributes
from .opset import upgraded
from .sklearn import write_sklearn

__all__ = ["to_qonnx"]

_RANGES: dict[int, tuple[int, int]] = {
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-(2**15), 2**15 - 1),
    TensorProto.UINT16: (0, 2**16 - 1),
    TensorProto.INT32: (-(2**31), 2**31 - 1),
}
_ROUNDED = {"ROUND": np.rint, "HALF_EVEN": np.rint, "FLOOR": np.floor, "CEIL": np.ceil,
            "DOWN": np.trunc}  # fmt: skip
_ONE = np.ones((), np.float32)
_EXACT = 2**24  # whole numbers up to here are float32

Array = NDArray[Any]


class _Refused(Exception):
    """Why a node cannot be converted."""


def to_qonnx(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The same function in operators of opset 13 or later and `Quant` nodes, constants computed.

    Bit for bit what the model says, as ONNX Runtime computes it without optimisations. The model
    itself stays as it is.

    Returns:
        The model, and why a quantizer that is left in it could not be converted exactly, by the
        name of its output.

    Raises:
        ModelError: an opset that cannot be read; a constant that cannot be computed.
    """
    fresh = upgraded(model)
    declare_domains(fresh)
    write_channels_last(fresh)
    write_sklearn(fresh)
    fold_constants(fresh)
    refused = _Conversion(fresh).run()
    fold_constants(fresh)
    return fresh, refused


@dataclass(frozen=True)
class _Grid:
    """Whole numbers low..high, times scales of a shape that fits the tensor."""

    scale: Array
    low: int
    high: int


class _Conversion:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = constants_of(model)
        self.bodies = {(body.domain, body.name, body.overload) for body in model.functions}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.names = Names(model)
        self.nodes: list[onnx.NodeProto] = []
        self.renamed: dict[str, str] = {}
        self.done: dict[tuple[Any, ...], str] = {}
        self.ranks: dict[str, int] = {}

    def run(self) -> dict[str, str]:
        rules = {
            "DequantizeLinear": self._dequantize,
            "BipolarQuant": self._bipolar,
            "IntQuant": self._quant,
            "Quant": self._quant,
        }
        if not any(node.op_type in rules for node in self.model.graph.node):
            return {}
        self.ranks = _ranks(self.model)
        refused = {}
        for node in self.model.graph.node:
            node.input[:] = [self.renamed.get(name, name) for name in node.input]
            rule = rules.get(node.op_type)
            if rule is None or node.domain not in ("", *DIALECTS, "ai.onnx", "com.microsoft"):
                self.nodes.append(node)
                continue
            try:
                rule(node)
            except _Refused as reason:
                refused[node.output[0]] = str(reason)
                self.nodes.append(node)
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        if all(item.domain != DOMAIN for item in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
        drop_unused(self.model)
        return refused

    def _dequantize(self, node: onnx.NodeProto) -> None:
        """DequantizeLinear and what stands before it, back to real numbers."""
        source, limits = self._behind_clips(node.input[0])
        maker = self.makers.get(source)
        values = self.constants.get(source)
        if values is not None:
            kind = _kind(values)
            grid = self._grid(node, kind, values.shape)
            zero = self._zero(node, values.shape)
            whole = values.astype(np.int64) - zero
            self._constant(node, whole, grid.scale)
            return
        if maker is None or maker.op_type != "QuantizeLinear":
            what = f"made by {maker.op_type}" if maker else "an input of the model"
            raise _Refused(f"its integers are {what}; wanted a QuantizeLinear before it")
        x = maker.input[0]
        if x in self.constants:
            values = self.constants[x]
            grid = self._limited(self._grid(maker, self._kind_of(maker), values.shape), limits,
                                 self._zero(maker, values.shape))  # fmt: skip
            self._same(maker, node, values.shape)
            rounded = np.rint(values.astype(np.float32) / grid.scale)
            self._constant(node, np.clip(rounded, grid.low, grid.high).astype(np.int64), grid.scale)
            return
        shape = (1,) * self.ranks.get(x, 0)
        self._same(maker, node, shape)
        zero = self._zero(maker, shape)
        grid = self._limited(self._grid(maker, self._kind_of(maker), shape), limits, zero)
        key = (x, grid.scale.tobytes(), grid.scale.shape, grid.low, grid.high)
        if key in self.done and node.output[0] not in _names(self.model.graph.output):
            self.renamed[node.output[0]] = self.done[key]
            return
        self._activation(maker.name or node.name or node.output[0], x, node.output[0], grid)
        self.done[key] = node.output[0]

    def _behind_clips(self, name: str) -> tuple[str, tuple[int, int] | None]:
        """The tensor before a Clip of integers (QCDQ), and the limits."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "Clip":
            return name, None
        limits = [self.constants.get(operand) for operand in maker.input[1:3]]
        if len(limits) != 2 or any(limit is None for limit in limits):
            raise _Refused("the limits of the Clip before it must be constant")
        low, high = (int(limit.item()) for limit in limits if limit is not None)
        return maker.input[0], (low, high)

    @staticmethod
    def _limited(grid: _Grid, limits: tuple[int, int] | None, zero: Array) -> _Grid:
        if limits is None:
            return grid
        shift = int(zero.flat[0])
        low, high = max(grid.low, limits[0] - shift), min(grid.high, limits[1] - shift)
        if low > high:
            raise _Refused(f"the Clip before it leaves nothing: {limits[0]} to {limits[1]}")
        return _Grid(grid.scale, low, high)

    def _operand(self, node: onnx.NodeProto, position: int, what: str) -> Array | None:
        name = node.input[position] if len(node.input) > position else ""
        if not name:
            return None
        if name not in self.constants:
            raise _Refused(f"its {what} is computed; it must be constant")
        return self.constants[name]

    def _kind_of(self, quantize: onnx.NodeProto) -> int:
        zero = self._operand(quantize, 2, "zero point")
        given = node_attributes(quantize).get("output_dtype", 0)
        kind = _kind(zero) if zero is not None else int(given) or TensorProto.UINT8
        if kind not in _RANGES:
            raise _Refused(f"rounds to {TensorProto.DataType.Name(kind)}; wanted integers")
        return kind

    def _shaped(self, node: onnx.NodeProto, values: Array, shape: tuple[int, ...]) -> Array:
        """One number, or one per channel in a shape that fits the tensor."""
        attributes = node_attributes(node)
        if values.size == 1 and values.ndim < 2:
            return values.reshape(())
        if attributes.get("block_size", 0) or values.ndim != 1:
            raise _Refused("has a scale per block; wanted one, or one per channel")
        if not shape:
            raise _Refused("has a scale per channel of a tensor whose shape is not known")
        axis = attributes.get("axis", 1) % len(shape)
        return values.reshape(-1, *(1,) * (len(shape) - 1 - axis))

    def _zero(self, node: onnx.NodeProto, shape: tuple[int, ...]) -> Array:
        zero = self._operand(node, 2, "zero point")
        if zero is None:
            return np.zeros((), np.int64)
        return self._shaped(node, zero.astype(np.int64), shape)

    def _grid(self, node: onnx.NodeProto, kind: int, shape: tuple[int, ...]) -> _Grid:
        scale = self._operand(node, 1, "scale")
        if kind not in _RANGES:
            raise _Refused(f"reads {TensorProto.DataType.Name(kind)}; wanted integers")
        if scale is None or scale.dtype != np.float32:
            raise _Refused(f"its scale is {scale.dtype if scale is not None else 'missing'}; "
                           "wanted float32")  # fmt: skip
        pruned = node.op_type == "DequantizeLinear" and scale.size > 1  # channels that are all 0
        low_enough = (scale >= 0) if pruned else (scale > 0)
        if not (np.isfinite(scale).all() and low_enough.all() and scale.any()):
            raise _Refused(f"its scale {np.unique(scale)[:3].tolist()} must be above 0")
        zero = self._zero(node, shape)
        (low, high), first = _RANGES[kind], int(zero.flat[0])
        grid = _Grid(self._shaped(node, scale, shape), low - first, high - first)
        if node.op_type == "QuantizeLinear" and (zero != first).any():
            raise _Refused("has zero points that differ from channel to channel")
        return grid

    def _same(self, quantize: onnx.NodeProto, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
        for position, what in ((1, "scale"), (2, "zero point")):
            pair = [self._operand(one, position, what) for one in (quantize, node)]
            one, other = (np.zeros(1) if v is None else v.astype(np.float64) for v in pair)
            if one.size != other.size or (one.reshape(-1) != other.reshape(-1)).any():
                raise _Refused(f"its {what} differs from that of the QuantizeLinear before it")

    def _constant(self, node: onnx.NodeProto, whole: Array, scale: Array) -> None:
        """Whole numbers times scales as a constant with a Quant of as many bits as it needs.

        Numbers beyond 2^24 stay plain: a Quant in float32 would move them.
        """
        values = (whole.astype(np.float32) * scale).astype(np.float32)
        whole, scale = whole * (scale > 0), np.where(scale > 0, scale, scale.max())
        low, high = int(whole.min(initial=0)), int(whole.max(initial=0))
        if max(-low, high) > _EXACT:
            add_constant(self.model, node.output[0], values)
            return
        bits = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1
        name = self._tensor(f"{node.output[0]}_values", values)
        signed = QuantAttributes(signed=True, narrow=False, rounding="ROUND")
        self._write(node.name or node.output[0], name, node.output[0], scale, max(bits, 2), signed)

    def _activation(self, name: str, x: str, y: str, grid: _Grid) -> None:
        exact = _type_of(grid.low, grid.high)
        if exact is not None:
            self._write(name, x, y, grid.scale, *exact)
            return
        levels = grid.high - grid.low
        bits = levels.bit_length()
        narrow = levels == 2**bits - 2
        if levels != 2**bits - 1 and not narrow:
            raise _Refused(
                f"its {levels + 1} steps from {grid.low} to {grid.high} are no type: wanted 2^n, "
                "or 2^n - 1"
            )
        wide = max(grid.high.bit_length(), (-grid.low - 1).bit_length() if grid.low < 0 else 0) + 1
        signed = QuantAttributes(signed=True, narrow=False, rounding="ROUND")
        limited = QuantAttributes(signed=narrow, narrow=narrow, rounding="ROUND")
        shift = -(grid.low + grid.high) // 2 if narrow else -grid.low
        # powers of two stay real numbers, which fixed point holds; others are counted in steps
        step = grid.scale if power_of_two(grid.scale) is not None else np.ones((), np.float32)
        counted, fresh = step is not grid.scale, self.names.fresh
        if counted:
            steps = fresh(f"{name}_steps")
            self._operate("Div", x, grid.scale, steps)
            x = steps
        rounded, up, kept = (fresh(f"{name}_{what}") for what in ("wide", "up", "limited"))
        self._write(f"{name}_rounded", x, rounded, step, wide, signed)
        self._shift("Add", rounded, up, shift, step)
        self._write(name, up, kept, step, bits, limited)
        down = fresh(f"{name}_down") if counted else y
        self._shift("Sub", kept, down, shift, step)
        if counted:
            self._operate("Mul", down, grid.scale, y)

    def _shift(self, op: str, x: str, y: str, steps: int, step: Array) -> None:
        """y = x + or - whole steps, whose type is that of a Quant."""
        name = f"{y}_{op.lower()}"
        values = self._tensor(f"{name}_values", np.float32(steps) * step)
        signed = QuantAttributes(signed=True, narrow=False, rounding="ROUND")
        by = self.names.fresh(f"{name}_by")
        self._write(f"{name}_grid", values, by, step, abs(steps).bit_length() + 1, signed)
        self.nodes.append(helper.make_node(op, [x, by], [y], name=name))

    def _operate(self, op: str, x: str, values: Array, y: str) -> None:
        name = f"{y}_{op.lower()}"
        by = self._tensor(f"{name}_by", values)
        self.nodes.append(helper.make_node(op, [x, by], [y], name=name))

    def _tensor(self, base: str, values: Any) -> str:
        """A new constant; its name."""
        name = self.names.fresh(base)
        add_constant(self.model, name, values)
        return name

    def _write(
        self, name: str, x: str, y: str, scale: Array, bits: int, attributes: QuantAttributes
    ) -> None:
        operands = (
            self._tensor(f"{y}_scale", scale),
            self._tensor(f"{y}_zeropt", 0.0),
            self._tensor(f"{y}_bits", bits),
        )
        self.nodes.append(_bare(quant_node(name, (x, *operands), y, attributes)))

    def _quant(self, node: onnx.NodeProto) -> None:
        """A Quant of any dialect as one with a rounding mode that hls4ml reads."""
        if len(node.input) != 4:
            raise _Refused(f"has {len(node.input)} inputs, wanted 4")
        given = node_attributes(node)
        mode = given.get("rounding_mode", b"ROUND")
        mode = (mode.decode() if isinstance(mode, bytes) else str(mode)).upper()
        signed, narrow = bool(given.get("signed", 1)), bool(given.get("narrow", 0))
        scale, zero, bits = (
            self._operand(node, position, what)
            for position, what in ((1, "scale"), (2, "zero point"), (3, "bit width"))
        )
        if scale is None or zero is None or bits is None:
            raise _Refused("needs a scale, a zero point and a bit width")
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise _Refused(f"its scale {np.unique(scale)[:3].tolist()} must be above 0")
        bare = (node.domain, node.op_type, node.overload) not in self.bodies
        # qonnx: -1 and +1, as BipolarQuant; a body in the file says -1 and 0, as two's complement
        if bits.size == 1 and bits.item() == 1 and signed and bare:
            self._two_values(node, scale)
            return
        x = self.constants.get(node.input[0])
        if x is not None and (mode not in ("ROUND", "HALF_EVEN", "FLOOR") or narrow > signed):
            if mode not in _ROUNDED:
                raise _Refused(f"rounding_mode {mode!r}: supported are {', '.join(_ROUNDED)}")
            levels = np.float32(2) ** (bits - np.float32(signed))
            low = -levels + narrow if signed else np.float32(0)
            high = levels - 1 - np.float32(narrow > signed)
            whole = _ROUNDED[mode](np.clip(x / scale + zero, low, high)) - zero
            if (whole != np.rint(whole)).any():
                raise _Refused("has a zero point between two steps")
            self._constant(node, whole.astype(np.int64), scale)
            return
        if mode == "DOWN" and not signed and not zero.any():
            mode = "FLOOR"  # of numbers above 0
        mode = "ROUND" if mode == "HALF_EVEN" else mode
        if mode not in ("ROUND", "FLOOR"):
            raise _Refused(f"rounding_mode {mode!r}: supported are ROUND, FLOOR")
        if narrow and not signed and (mode != "ROUND" or zero.any() or bits.size != 1):
            raise _Refused("is unsigned and narrow, with another rounding or a zero point")
        if narrow and not signed:
            self._activation(node.name or node.output[0], node.input[0], node.output[0],
                             _Grid(scale, 0, 2 ** int(bits.item()) - 2))  # fmt: skip
            return
        attributes = QuantAttributes(signed, narrow, mode)
        operands = node.input[0], node.input[1], node.input[2], node.input[3]
        fresh = quant_node(node.name, operands, node.output[0], attributes)
        self.nodes.append(_bare(fresh))

    def _bipolar(self, node: onnx.NodeProto) -> None:
        scale = self._operand(node, 1, "scale")
        if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise _Refused("needs a scale above 0")
        self._two_values(node, scale)

    def _two_values(self, node: onnx.NodeProto, scale: Array) -> None:
        """x >= 0: scale, else -scale.

        Of a computed tensor: one signed bit, rounded down, is 0 or -1; twice that and 1 is +1 or
        -1, which two bits hold.
        """
        x = self.constants.get(node.input[0])
        if x is not None:
            self._constant(node, np.where(x >= 0, 1, -1), scale)
            return
        name = node.name or node.output[0]
        floor = QuantAttributes(signed=True, narrow=False, rounding="FLOOR")
        sign, doubled, whole = (
            self.names.fresh(f"{name}_{what}") for what in ("sign", "doubled", "whole")
        )
        self._write(f"{name}_floor", node.input[0], sign, _ONE, 1, floor)
        self._operate("Mul", sign, 2 * _ONE, doubled)
        self._operate("Add", doubled, _ONE, whole)
        rounded = QuantAttributes(signed=True, narrow=True, rounding="ROUND")
        plain = bool((scale == 1).all())
        unit = node.output[0] if plain else self.names.fresh(f"{name}_unit")
        self._write(name, whole, unit, _ONE, 2, rounded)
        if not plain:
            self._operate("Mul", unit, scale, node.output[0])


def _type_of(low: int, high: int) -> tuple[int, QuantAttributes] | None:
    """Bits and attributes of the Quant with zero point 0 whose steps are exactly low..high."""
    bits = high.bit_length()
    if high != 2**bits - 1 or bits == 0:
        return None
    kinds = {0: (0, False, False), -high - 1: (1, True, False), -high: (1, True, True)}
    if low not in kinds:
        return None
    more, signed, narrow = kinds[low]
    return bits + more, QuantAttributes(signed, narrow, "ROUND")


def _bare(node: onnx.NodeProto) -> onnx.NodeProto:
    node.ClearField("overload")
    assert node.op_type == OPERATOR
    return node


def _kind(values: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(values.dtype))


def _names(values: Iterable[Any]) -> set[str]:
    return {value.name for value in values}


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """How many axes every tensor of known shape has."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:  # a domain that it does not know
        graph = model.graph
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
