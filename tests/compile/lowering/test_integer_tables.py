"""C++ floats assigned to an ap_int: towards zero, but +1 between -1/2 and 0 (ap_int_base.h)."""

import pytest
from hls4ml.model.types import FixedPrecisionType, IntegerPrecisionType

from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering import tables
from samebits.compile.lowering.precision import integer_part, literal

INT7 = Format(True, 7, 7, Rounding.TRN_ZERO, Overflow.WRAP)


@pytest.mark.parametrize(
    ("value", "whole"),
    # as the header answered when it was run
    [
        *((-5e-324, 1), (-0.3, 1), (-0.5, 0), (-0.9, 0), (-1.0, -1), (-1.9999, -1)),
        *((-7.7, -7), (0.0, 0), (0.7, 0), (1.7, 1), (127.5, 127)),
    ],
)
def test_integer_part(value: float, whole: int) -> None:
    assert integer_part(value) == whole


def test_literals_of_ap_int_and_of_ap_fixed() -> None:
    assert literal(-0.3, INT7, integer=True) == 1
    assert literal(-0.3, INT7) == 0
    assert literal(-200.3, INT7, integer=True) == -200 + 256


def test_tables_of_ap_int_hold_one_for_small_negative_numbers() -> None:
    fixed = FixedPrecisionType(7, 7, True, "TRN_ZERO", "WRAP")
    integer = IntegerPrecisionType(7, True)
    plain = tables.entries(tables.tanh_table, 64, INT7, fixed).tolist()
    assert plain == tables.tanh_table(64, INT7).tolist()
    assert set(plain) == {0}  # |tanh| stays below 1
    # entries i with -1/2 < tanh((i - 32) / 8) < 0: tanh(0.549...) is 1/2
    ones = tables.entries(tables.tanh_table, 64, INT7, integer).tolist()
    assert [i for i, entry in enumerate(ones) if entry == 1] == [28, 29, 30, 31]
    assert set(ones) == {0, 1}


def test_one_does_not_fit_a_signed_bit() -> None:
    bit = Format(True, 1, 1, Rounding.TRN_ZERO, Overflow.WRAP)
    entries = tables.entries(tables.elu_table, 64, bit, IntegerPrecisionType(1, True))
    assert set(entries.tolist()) == {0, -1}
