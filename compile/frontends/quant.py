"""QONNX `Quant` nodes that also run under a stock ONNX Runtime.

A Quant node belongs to the domain `qonnx.custom_op.general`. The model file carries, for every
combination of attributes in use, one model-local function of the same domain and name whose body is
standard ONNX; a node picks it by `NodeProto.overload`. qonnx and hls4ml know the operator and
ignore the function; any other runtime inlines it.

    Quant(x, scale, zeropt, bitwidth) =
        (round(clip(x / scale + zeropt, low, high)) - zeropt) * scale

`low` and `high` follow from `bitwidth`, `signed` and `narrow`.

Source: qonnx 1.0, custom_op/general/intquant.py, `int_quant`, `min_int`, `max_int`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from samebits import errors

DOMAIN = "qonnx.custom_op.general"
OPERATOR = "Quant"
OPSET = 17
IR_VERSION = 10  # the first with NodeProto.overload
ROUNDINGS = {"ROUND": "Round", "FLOOR": "Floor"}  # hls4ml reads no other


@dataclass(frozen=True)
class QuantAttributes:
    """The three attributes of a Quant node; `overload` names its function body."""

    signed: bool
    narrow: bool
    rounding: str

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise errors.UnsupportedError(
                f"Quant with rounding_mode {self.rounding!r}: supported are {', '.join(ROUNDINGS)}"
            )
        if self.narrow and not self.signed:
            raise errors.UnsupportedError(
                "Quant with signed=0 and narrow=1: hls4ml has no such type; use narrow=0"
            )

    @property
    def overload(self) -> str:
        """Name of the function body, e.g. `signed_narrow_round`."""
        sign = "signed" if self.signed else "unsigned"
        return f"{sign}{'_narrow' if self.narrow else ''}_{self.rounding.lower()}"


@dataclass(frozen=True)
class QuantGrid:
    """A Quant node whose scales are one power of two and whose zero point is 0: a fixed-point type.

    `width` and `integer` are ap_fixed's: integer bits left of the binary point, the sign included.
    """

    attributes: QuantAttributes
    width: int
    integer: int

    @property
    def precision(self) -> str:
        """The type in hls4ml's words, such as `fixed<8,4,RND_CONV,SAT>`."""
        kind = "fixed" if self.attributes.signed else "ufixed"
        rounding = {"ROUND": "RND_CONV", "FLOOR": "TRN"}[self.attributes.rounding]
        overflow = "SAT_SYM" if self.attributes.narrow else "SAT"
        return f"{kind}<{self.width},{self.integer},{rounding},{overflow}>"


def grid_of(
    node: onnx.NodeProto, scale: NDArray[Any], zero: NDArray[Any], bits: NDArray[Any]
) -> QuantGrid | None:
    """The fixed-point type of a Quant node with these operands, None if it is not one type.

    Raises:
        UnsupportedError: as `attributes_of`.
    """
    attributes = attributes_of(node)
    exponent = power_of_two(scale)
    if exponent is None or np.any(zero) or np.size(bits) != 1:
        return None
    width = int(np.asarray(bits).item())
    return QuantGrid(attributes, width, width + exponent)


def power_of_two(scale: NDArray[Any]) -> int | None:
    """The exponent of scales that are all the same power of two, else None."""
    mantissas, exponents = np.frexp(np.asarray(scale))
    if np.any(mantissas != 0.5) or np.any(exponents != exponents.flat[0]):
        return None
    return int(exponents.flat[0]) - 1


def quant_function(attributes: QuantAttributes) -> onnx.FunctionProto:
    """The body of Quant for these attributes, in operators of ONNX opset 17."""
    nodes = [
        helper.make_node("Div", ["x", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "zeropt"], ["shifted"]),
        _constant("one", 1.0),
        _constant("two", 2.0),
    ]
    if attributes.signed:
        nodes += [
            helper.make_node("Sub", ["bitwidth", "one"], ["magnitude_bits"]),
            helper.make_node("Pow", ["two", "magnitude_bits"], ["levels"]),
            helper.make_node("Neg", ["levels"], ["lowest"]),
            helper.make_node("Sub", ["levels", "one"], ["high"]),
        ]
        low = "lowest"
        if attributes.narrow:
            nodes.append(helper.make_node("Add", ["lowest", "one"], ["low"]))
            low = "low"
    else:
        nodes += [
            helper.make_node("Pow", ["two", "bitwidth"], ["levels"]),
            helper.make_node("Sub", ["levels", "one"], ["high"]),
            _constant("low", 0.0),
        ]
        low = "low"
    nodes += [
        helper.make_node("Min", ["shifted", "high"], ["below"]),
        helper.make_node("Max", ["below", low], ["clipped"]),
        helper.make_node(ROUNDINGS[attributes.rounding], ["clipped"], ["integer"]),
        helper.make_node("Sub", ["integer", "zeropt"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["y"]),
    ]
    return helper.make_function(
        DOMAIN,
        OPERATOR,
        ["x", "scale", "zeropt", "bitwidth"],
        ["y"],
        nodes,
        [helper.make_opsetid("", OPSET)],
        attributes=["signed", "narrow", "rounding_mode"],
        overload=attributes.overload,
    )


def bipolar_function() -> onnx.FunctionProto:
    """The body of BipolarQuant: x >= 0: scale, else -scale.

    Source: qonnx 1.0, custom_op/general/bipolar_quant.py, `binary_quant`.
    """
    nodes = [
        _constant("zero", 0.0),
        _constant("one", 1.0),
        _constant("other", -1.0),
        helper.make_node("GreaterOrEqual", ["x", "zero"], ["above"]),
        helper.make_node("Where", ["above", "one", "other"], ["sign"]),
        helper.make_node("Mul", ["sign", "scale"], ["y"]),
    ]
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, "BipolarQuant", ["x", "scale"], ["y"], nodes, opset)


def quant_node(
    name: str, inputs: tuple[str, str, str, str], output: str, attributes: QuantAttributes
) -> onnx.NodeProto:
    """A Quant node (x, scale, zeropt, bitwidth) -> output that names its function body."""
    return helper.make_node(
        OPERATOR,
        list(inputs),
        [output],
        name=name,
        domain=DOMAIN,
        overload=attributes.overload,
        signed=int(attributes.signed),
        narrow=int(attributes.narrow),
        rounding_mode=attributes.rounding,
    )


def attributes_of(node: onnx.NodeProto) -> QuantAttributes:
    """The attributes of a Quant node; missing ones take QONNX's defaults.

    Raises:
        UnsupportedError: a rounding mode or a combination that hls4ml does not read.
    """
    given = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    rounding = given.get("rounding_mode", b"ROUND")
    text = rounding.decode() if isinstance(rounding, bytes) else str(rounding)
    return QuantAttributes(
        signed=bool(given.get("signed", 1)),
        narrow=bool(given.get("narrow", 0)),
        rounding=text.upper(),
    )


def _constant(name: str, value: float) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.asarray(value, np.float32), name)
    return helper.make_node("Constant", [], [name], value=tensor)
