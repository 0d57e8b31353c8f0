"""hls4ml's precisions as formats, and weights as its C simulation reads them from text."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hls4ml.model.types import (
    FixedPrecisionType,
    IntegerPrecisionType,
    StandardFloatPrecisionType,
    UnspecifiedPrecisionType,
    XnorPrecisionType,
)

from samebits import errors
from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering.precision import format_of, is_uint1, literal, weight_mantissas

INTEGER_MODES = (Rounding.TRN_ZERO, Overflow.WRAP)


@pytest.mark.parametrize(
    ("precision", "fmt"),
    [
        (FixedPrecisionType(16, 6), Format(True, 16, 6)),
        (FixedPrecisionType(8, -2, False), Format(False, 8, -2)),
        (
            FixedPrecisionType(8, 3, True, "AP_RND_CONV", "AP_SAT_SYM"),
            Format(True, 8, 3, Rounding.RND_CONV, Overflow.SAT_SYM),
        ),
        (IntegerPrecisionType(5), Format(True, 5, 5, *INTEGER_MODES)),
        (IntegerPrecisionType(5, signed=False), Format(False, 5, 5, *INTEGER_MODES)),
        (XnorPrecisionType(), Format(False, 1, 1, *INTEGER_MODES)),
    ],
)
def test_format_of(precision: Any, fmt: Format) -> None:
    assert format_of(precision, "here") == fmt


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("overflow", Overflow)
def test_every_mode_has_hls4mls_name(rounding: Rounding, overflow: Overflow) -> None:
    precision = FixedPrecisionType(8, 3, True, f"AP_{rounding.value}", f"AP_{overflow.value}")
    assert format_of(precision, "here") == Format(True, 8, 3, rounding, overflow)


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (
            FixedPrecisionType(8, 3, True, "AP_RND", "AP_SAT", 2),
            "here: fixed<8,3,RND,SAT,2> has saturation bits; supported: 0 saturation bits",
        ),
        (
            UnspecifiedPrecisionType(),
            "here: UnspecifiedPrecisionType is not supported; "
            "supported: ap_fixed, ap_ufixed, ap_int, ap_uint",
        ),
        (
            StandardFloatPrecisionType(width=32, exponent=8),
            "here: StandardFloatPrecisionType is not supported; "
            "supported: ap_fixed, ap_ufixed, ap_int, ap_uint",
        ),
    ],
)
def test_other_precisions_are_refused(precision: Any, message: str) -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        format_of(precision, "here")
    assert str(caught.value) == message


def test_binary_kernels_are_chosen_by_name() -> None:
    assert is_uint1(XnorPrecisionType())
    assert is_uint1(IntegerPrecisionType(1, signed=False))
    assert not is_uint1(IntegerPrecisionType(1))
    assert not is_uint1(FixedPrecisionType(1, 1, False))


def weights(values: list[float], fmt: Format) -> list[int]:
    variable = SimpleNamespace(name="w2", data=np.array(values))
    return [int(m) for m in weight_mantissas(variable, fmt, "layer dense, weight")]


@pytest.mark.parametrize(
    ("fmt", "values", "expected"),
    [
        # two digits: 0.249 is printed as 0.25, 0.244 as 0.24
        (Format(True, 8, 6), [0.249, 0.244, -0.249, -0.255], [1, 0, -1, -2]),
        # no digits: decimal rounding half to even, not floor
        (Format(True, 4, 4), [0.5, 1.5, 2.5, -0.5, -1.5, 0.6], [0, 2, 2, 0, -2, 1]),
        # a grid coarser than one: whole numbers, then floor
        (Format(True, 4, 6), [3.5, 4.4, 7.6, -0.6], [1, 1, 2, -1]),
        # out of range: wraps
        (Format(True, 4, 2), [2.0, -2.25, 1.75], [-8, 7, 7]),
        (Format(False, 2, 2, *INTEGER_MODES), [3.0, 4.0, -1.0], [3, 0, 3]),
        (Format(True, 2, 2, *INTEGER_MODES), [3.0], [-1]),
        # on the grid: exact, whatever the width
        (Format(True, 60, 4), [2.0**-50, -1.0 - 2.0**-52], [2**6, -(2**56) - 2**4]),
        # the type's own modes act on the printed number
        (Format(True, 4, 2, Rounding.RND, Overflow.SAT), [0.126, 9.0], [1, 7]),
    ],
)
def test_weights_are_printed_in_decimal_and_read_back(
    fmt: Format, values: list[float], expected: list[int]
) -> None:
    assert weights(values, fmt) == expected


def test_literals_are_cast_as_they_are() -> None:
    assert literal(0.2, Format(False, 16, 0)) == 13107
    assert literal(0.5, Format(False, 2, 0)) == 2
    assert literal(-0.249, Format(True, 8, 6)) == -1
