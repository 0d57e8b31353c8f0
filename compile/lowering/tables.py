"""The look-up tables of hls4ml's activations, computed as its C simulation computes them.

The C++ code mixes float and double and calls the C library's float functions, whose last bit
differs from NumPy's: the same library is called here. A saved design holds the finished tables.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Carrier, Format
from ..ops import Array
from ..ops.arith import cast_mantissas
from ..ops.boundary import to_mantissas
from .precision import integer_part, is_integer

__all__ = [
    "elu_table",
    "entries",
    "exp_table",
    "garnet_table",
    "inverse_square_root_table",
    "inverse_table",
    "legacy_exp_table",
    "legacy_inverse_table",
    "selu_table",
    "sigmoid_table",
    "softplus_table",
    "softsign_table",
    "tanh_table",
]

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717
_F32 = np.float32
_FINE = Format(True, 240, 80)  # every float32 between 2**-136 and 2**79
_WHOLE = Format(True, 80, 80)


@cache
def _libm(name: str) -> Callable[[float], float]:
    path = ctypes.util.find_library("m") or ctypes.util.find_library("System")
    if path is None:
        raise errors.MissingToolError(
            f"the C library's {name} is needed to build activation tables and was not found"
        )
    function = getattr(ctypes.CDLL(path), name)
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return function  # type: ignore[no-any-return]


def _expf(x: float) -> float:
    return _libm("expf")(x)


def _float(x: float) -> float:
    with np.errstate(over="ignore"):
        return float(_F32(x))


def _table(values: list[float], fmt: Format) -> Array:
    return to_mantissas(np.array(values, dtype=np.float64), fmt, Carrier.PYTHON)


def entries(
    function: Callable[[int, Format], Array], size: int, fmt: Format, precision: Any
) -> Array:
    """The mantissas of a table whose type is an hls4ml precision, of format `fmt`.

    A float32 assigned to an ap_int is not what `Format` says (`integer_part`); so the table is
    first taken in a format that holds it exactly.
    """
    if not is_integer(precision):
        return function(size, fmt)
    whole = [integer_part(int(m) * _FINE.lsb) for m in function(size, _FINE)]
    return cast_mantissas(np.array(whole, dtype=object), _WHOLE, fmt)


def _symmetric_points(size: int, limit: float) -> list[float]:
    # float in_val = 2 * 8.0 * (ii - float(N_TABLE) / 2.0) / float(N_TABLE)
    return [_float(2 * limit * (i - size / 2.0) / size) for i in range(size)]


def sigmoid_table(size: int, fmt: Format) -> Array:
    """1 / (1 + exp(-x)) on -8 .. 8. Source: nnet_activation.h, `init_sigmoid_table`."""
    points = _symmetric_points(size, 8.0)
    return _table([_float(1.0 / _float(1 + _expf(-x))) for x in points], fmt)


def tanh_table(size: int, fmt: Format) -> Array:
    """tanh(x) on -4 .. 4. Source: nnet_activation.h, `init_tanh_table`."""
    return _table([_libm("tanhf")(x) for x in _symmetric_points(size, 4.0)], fmt)


def softplus_table(size: int, fmt: Format) -> Array:
    """log(exp(x) + 1) on -8 .. 8. Source: nnet_activation.h, `init_softplus_table`."""
    points = _symmetric_points(size, 8.0)
    return _table([_float(math.log(_expf(x) + 1.0)) for x in points], fmt)


def softsign_table(size: int, fmt: Format) -> Array:
    """x / (|x| + 1) on -8 .. 8. Source: nnet_activation.h, `init_softsign_table`."""
    points = _symmetric_points(size, 8.0)
    return _table([_float(x / (abs(x) + 1.0)) for x in points], fmt)


def _negative_points(size: int) -> list[float]:
    return [_float(-8.0 * i / size) for i in range(size)]


def elu_table(size: int, fmt: Format) -> Array:
    """exp(x) - 1 on -8 .. 0. Source: nnet_activation.h, `init_elu_table`."""
    return _table([_float(_expf(x) - 1.0) for x in _negative_points(size)], fmt)


def selu_table(size: int, fmt: Format) -> Array:
    """scale * alpha * (exp(x) - 1) on -8 .. 0. Source: nnet_activation.h, `init_selu_table`."""
    return _table(
        [_float(_SELU_SCALE * (_SELU_ALPHA * (_expf(x) - 1.0))) for x in _negative_points(size)],
        fmt,
    )


def _addresses(size: int, fmt: Format) -> list[float]:
    """The values whose top bits are 0 .. size-1 and whose other bits are zero, as floats.

    Source: nnet_activation.h, `softmax_real_val_from_idx`.
    """
    bits = max(1, (size - 1).bit_length())
    values = []
    for address in range(size):
        mantissa = address << (fmt.width - bits)
        if mantissa > fmt.max_mantissa:
            mantissa -= 1 << fmt.width
        values.append(_float(math.ldexp(mantissa, -fmt.fraction)))
    return values


def exp_table(size: int, address: Format, fmt: Format, scale: float, negative: bool) -> Array:
    """exp(x) or exp(-x) by the top bits of x. Source: nnet_activation.h, `init_exp_table`."""
    sign = -1.0 if negative else 1.0
    points = [_float(x * _float(scale)) for x in _addresses(size, address)]
    return _table([_expf(sign * x) for x in points], fmt)


def inverse_table(size: int, address: Format, fmt: Format) -> Array:
    """1 / x by the top bits of x; 1 / 0 is infinity and saturates, or wraps to zero.

    Source: nnet_activation.h, `init_invert_table`.
    """
    values = [
        _float(float(_F32(1.0) / _F32(x))) if x else math.inf for x in _addresses(size, address)
    ]
    return _table(values, fmt)


def legacy_exp_table(size: int, fmt: Format) -> Array:
    """exp(x) on -8 .. 8. Source: nnet_activation.h, `init_exp_table_legacy`."""
    return _table([_expf(x) for x in _symmetric_points(size, 8.0)], fmt)


def legacy_inverse_table(size: int, fmt: Format) -> Array:
    """1 / x on 0 .. 64, 0 at 0. Source: nnet_activation.h, `init_invert_table_legacy`."""
    points = [_float(64.0 * i / size) for i in range(size)]
    return _table([1.0 / x if x > 0 else 0.0 for x in points], fmt)


def inverse_square_root_table(size: int, fmt: Format, range_power2: int, epsilon: int) -> Array:
    """1 / sqrt(x) on 10**-epsilon .. 10**-epsilon + 2**-range_power2, in steps of the range / size.

    Source: nnet_layernorm.h, `init_invert_sqr_table`.
    """
    lowest, step = _F32(10.0**-epsilon), _F32(2.0**-range_power2) / _F32(size)
    points = lowest + step * np.arange(size, dtype=_F32)
    return _table([1.0 / float(x) for x in np.sqrt(points)], fmt)


def garnet_table(distance: Format, fmt: Format) -> Array:
    """exp(-d * d) by the bits of a signed distance d; at zero the ap_ufixed<w,0> closest to 1.

    Source: nnet_garnet.h, `initialize_edge_weights_table`; hls_math.h, `exp`.
    """
    one = Format(False, fmt.width, 0)
    square = Format(True, 2 * distance.width + 1, 2 * distance.integer + 1)
    values = []
    for address in range(1, 1 << distance.width):
        mantissa = address - (1 << distance.width) * (address > distance.max_mantissa)
        values.append(math.exp(-math.ldexp(mantissa * mantissa, -2 * distance.fraction)))
    entries = to_mantissas(np.array(values), square, Carrier.PYTHON)
    first = np.array([one.max_mantissa], dtype=object)
    return np.concatenate([cast_mantissas(first, one, fmt), cast_mantissas(entries, square, fmt)])
