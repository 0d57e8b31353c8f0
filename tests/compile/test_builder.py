"""`GraphBuilder`: names, constants and their checks."""

from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format


@pytest.mark.parametrize(
    ("mantissas", "fmt", "dtype"),
    [
        ([1, -2], Format(True, 2, 2), np.int64),
        (np.array([3], dtype=np.uint8), Format(False, 2, 2), np.int64),
        ([2**63], Format(False, 64, 64), object),
        ([2**63 - 1, -(2**63)], Format(True, 64, 64), np.int64),
        ([2**63, -1], Format(True, 65, 65), object),  # float64 to NumPy
        (np.array([2**64 - 1], dtype=np.uint64), Format(False, 64, 64), object),
        (np.array(5), Format(False, 3, 3), np.int64),
        (np.zeros((0, 2), dtype=object), Format(True, 0, 0), np.int64),
    ],
)
def test_constants_are_kept_exactly(mantissas: Any, fmt: Format, dtype: Any) -> None:
    build = GraphBuilder()
    tensor = build.integers(mantissas, fmt)
    kept = build.graph((tensor.name,)).constant(tensor.name)
    assert kept.dtype == dtype
    assert kept.shape == np.shape(mantissas)
    assert kept.tolist() == np.asarray(mantissas, dtype=object).tolist()


@pytest.mark.parametrize(
    ("mantissas", "message"),
    [
        ([0, 8], "constant w: mantissas 0 .. 8 do not fit ap_fixed<4,2,TRN,WRAP>"),
        ([2**80], f"constant w: mantissas {2**80} .. {2**80} do not fit ap_fixed<4,2,TRN,WRAP>"),
        ([1, 1.5], "constant w: mantissa 1.5 is not an integer"),
        ([float("nan")], "constant w: mantissa nan is not an integer"),
    ],
)
def test_what_is_no_mantissa_is_refused(mantissas: Any, message: str) -> None:
    with pytest.raises(errors.FormatError) as caught:
        GraphBuilder().integers(mantissas, Format(True, 4, 2), "w")
    assert str(caught.value) == message


def test_names_are_unique_and_scoped() -> None:
    build = GraphBuilder()
    build.scope = "dense"
    fmt = Format(True, 4, 2)
    x = build.input("x", (2,), fmt)
    names = [build.cast(x, fmt).name, build.cast(x, fmt).name, build.number(1, x, fmt).name]
    assert names == ["dense/cast", "dense/cast_2", "dense/constant"]
    assert build.reshape(x, (2,)) is x
    assert build.reshape(x, (1, 2)).shape == (1, 2)
    assert build.number(1, x, fmt).shape == (1,)
