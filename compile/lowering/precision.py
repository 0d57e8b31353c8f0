"""hls4ml's precision types as formats, and its weights and literals as mantissas."""

from __future__ import annotations

from typing import Any

import numpy as np

from samebits import errors

from ..ir import Carrier, Format, Overflow, Rounding
from ..ops import Array
from ..ops.boundary import to_mantissas

__all__ = [
    "INT32",
    "class_names",
    "format_of",
    "integer_part",
    "is_integer",
    "is_uint1",
    "literal",
    "packet_size",
    "weight_mantissas",
]

# What assigning an ap_fixed to a C++ int does: towards zero, then the low 32 bits.
# Source: ap_fixed_base.h, `to_int`, `to_ap_int_base`.
INT32 = Format(True, 32, 32, Rounding.TRN_ZERO, Overflow.WRAP)


def class_names(value: Any) -> tuple[str, ...]:
    """The names of an object's class and its bases: hls4ml's types are told apart by name, so that
    reading a graph does not import hls4ml."""
    return tuple(cls.__name__ for cls in type(value).__mro__)


def is_uint1(precision: Any) -> bool:
    """True for the C++ type ap_uint<1>, which selects hls4ml's binary kernels."""
    return str(precision) == "uint<1>"


def is_integer(precision: Any) -> bool:
    """True for the C++ types ap_int and ap_uint, which divide and add as ap_fixed does not."""
    names = class_names(precision)
    return "IntegerPrecisionType" in names or "XnorPrecisionType" in names


def packet_size(model: Any, variable: Any) -> int:
    """How many elements of an io_stream tensor travel together.

    hls4ml writes one C++ type for each name, the first it meets: a copy of a flattened stream has
    the packets of the stream whose type it is named after. Source: types.py, `PackedType`;
    vivado_writer.py, `write_defines`.
    """
    name = variable.type.name
    named = (layer.get_layer_precision().get(name) for layer in model.get_layers())
    kind = next((kind for kind in named if kind is not None), variable.type)
    return int(kind.n_elem) * int(kind.n_pack)


def format_of(precision: Any, where: str) -> Format:
    """The format of an hls4ml precision.

    An ap_int takes fractions off towards zero and wraps (ap_int_base.h).

    Raises:
        UnsupportedError: floating point, unresolved ("auto") or exponent types; saturation bits;
            the overflow mode WRAP_SM.
    """
    names = class_names(precision)
    if "FixedPrecisionType" in names:
        rounding = str(getattr(precision.rounding_mode, "name", None))
        saturation = str(getattr(precision.saturation_mode, "name", None))
        if precision.saturation_bits:
            raise errors.UnsupportedError(
                f"{where}: {precision} has saturation bits; supported: 0 saturation bits"
            )
        if rounding not in Rounding.__members__ or saturation not in Overflow.__members__:
            raise errors.UnsupportedError(
                f"{where}: {precision} is not supported; rounding modes: "
                f"{', '.join(Rounding.__members__)}; overflow modes: "
                f"{', '.join(Overflow.__members__)}"
            )
        return Format(
            bool(precision.signed),
            int(precision.width),
            int(precision.integer),
            Rounding[rounding],
            Overflow[saturation],
        )
    if is_integer(precision):
        width = int(precision.width)
        return Format(bool(precision.signed), width, width, Rounding.TRN_ZERO, Overflow.WRAP)
    raise errors.UnsupportedError(
        f"{where}: {names[0]} is not supported; "  # not all of them have a text of their own
        "supported: ap_fixed, ap_ufixed, ap_int, ap_uint"
    )


def literal(value: float, fmt: Format, *, integer: bool = False) -> int:
    """The mantissa of a C++ double constant assigned to a format; `integer`: to an ap_int."""
    if integer:
        value = integer_part(value)
    return int(to_mantissas(np.array([float(value)]), fmt, Carrier.PYTHON)[0])


def integer_part(value: float) -> int:
    """The whole number that an ap_int is made from, given a C++ float or double.

    Towards zero, but +1 for a number between -1/2 and 0. Source: ap_int_base.h,
    `ap_int_base(double)`: it takes -1 for the bits that the shift leaves and then changes the sign.
    """
    return 1 if -0.5 < value < 0 else int(value)


def weight_mantissas(variable: Any, fmt: Format, where: str) -> Array:
    """The mantissas that the C simulation reads for a weight tensor.

    hls4ml prints every weight in decimal with as many digits as the type has fraction bits, and the
    C simulation parses that text as a double and casts it: the decimal rounding comes first.

    Source: hls4ml model/types.py, `WeightVariable.update_precision`; nnet_helpers.h,
    `load_weights_from_txt`.

    Raises:
        ModelError: a weight is NaN or infinite.
    """
    values = np.array(variable.data, dtype=np.float64)
    if not np.isfinite(values).all():
        raise errors.ModelError(f"{where}: weight {variable.name} holds NaN or infinity")
    digits = max(0, fmt.fraction)
    with np.errstate(over="ignore"):
        steps = np.ldexp(values, digits)
    odd = steps != np.rint(steps)  # the others print exactly
    values[odd] = [float(f"{value:.{digits}f}") for value in values[odd].tolist()]
    exact: Array = to_mantissas(values, fmt, Carrier.PYTHON)
    return exact
