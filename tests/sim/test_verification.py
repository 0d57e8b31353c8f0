"""Bit comparison: counts and the whole text of a mismatch."""

import numpy as np
import pytest

from samebits import errors
from samebits.compile.ir import Format
from samebits.sim.verification import (
    EngineReport,
    LayerRow,
    Verification,
    compare_bits,
    describe_mismatch,
)

FMT = Format(True, 6, 2)


def test_equal_values_have_no_differing_bit() -> None:
    x = np.array([[0.0, -2.0], [1.9375, 0.0625]])
    assert compare_bits("fc1", FMT, x, x.copy()) == LayerRow("fc1", str(FMT), 4, 0, 24, 0)


@pytest.mark.parametrize(
    ("wanted", "got", "bits"),
    [
        (0.0625, 0.125, 2),  # 000001, 000010
        (0.0, -0.0625, 6),  # 000000, 111111
        (-2.0, 1.9375, 6),  # 100000, 011111
        (1.0, 1.0625, 1),
        (1.0, 1.03, 6),  # off the grid: all bits
        (1.0, np.nan, 6),
        (1.0, np.inf, 6),
        (1.0, 5.0, 1),  # out of range, same bits: still one
        (0.0, 4.0, 1),
    ],
)
def test_differing_bits_are_counted(wanted: float, got: float, bits: int) -> None:
    row = compare_bits("fc1", FMT, np.array([[wanted, 1.0]]), np.array([[got, 1.0]]))
    assert (row.elements, row.mismatching_elements) == (2, 1)
    assert (row.bits, row.mismatching_bits) == (12, bits)


def test_of_wide_formats_53_bits_are_compared() -> None:
    fmt = Format(True, 70, 40)
    wanted, got = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 2.0**-31, 1.0])
    row = compare_bits("x", fmt, wanted, got)
    assert (row.bits, row.mismatching_bits) == (3 * 53, 39 + 53)
    assert compare_bits("x", fmt, wanted, -wanted).mismatching_bits == 2 * 39
    widest = Format(True, 120, 60)
    assert compare_bits("x", widest, np.array([-(2.0**-60)]), np.array([0.0])).bits == 53
    assert compare_bits("x", widest, np.array([-(2.0**-60)]), np.array([0.0])) == LayerRow(
        "x", str(widest), 1, 1, 53, 53
    )


def test_zeros_of_both_signs_are_the_same_bits() -> None:
    assert compare_bits("x", FMT, np.array([0.0]), np.array([-0.0])).mismatching_bits == 0


def test_the_first_mismatch_in_words() -> None:
    wanted = np.zeros((3, 2, 2))
    got = wanted.copy()
    got[1, 0, 1], got[2, 1, 1] = -0.0625, 1.0
    wanted[1, 0, 1] = 0.3125
    assert describe_mismatch("layer:fc1", FMT, wanted, got, "csim", first_event=100) == (
        "first difference in layer fc1, event 101, element [0, 1], ap_fixed<6,2,TRN,WRAP>\n"
        "  numpy  000101 (5, 0.3125)\n"
        "  csim   111111 (-1, -0.0625)"
    )


def test_a_value_off_the_grid_in_words() -> None:
    assert describe_mismatch("y", FMT, np.array([[0.5]]), np.array([[0.51]]), "csim") == (
        "first difference in output y, event 0, element [0], ap_fixed<6,2,TRN,WRAP>\n"
        "  numpy  001000 (8, 0.5)\n"
        "  csim   0.51 (not on the grid of ap_fixed<6,2,TRN,WRAP>)"
    )


def test_engines_of_long_names_are_aligned() -> None:
    text = describe_mismatch("y", FMT, np.array([[0.5]]), np.array([[0.25]]), "firmware.onnx")
    assert text.splitlines()[1:] == [
        "  numpy          001000 (8, 0.5)",
        "  firmware.onnx  000100 (4, 0.25)",
    ]


def report(status: str, bad: int = 0, detail: str = "") -> EngineReport:
    return EngineReport("csim", status, detail, "hls4ml", (LayerRow("y", str(FMT), 2, 1, 12, bad),))


def test_verdicts() -> None:
    equal, wrong = report("equal"), report("MISMATCH", 3, "first difference in y")
    absent = EngineReport("csim", "not run", "no compiler")
    assert Verification((equal, absent)).passed
    assert not Verification((equal, wrong)).passed
    assert not Verification((absent,)).passed
    assert not Verification(()).passed
    assert not Verification((EngineReport("csim", "equal"),)).passed
    assert not Verification((equal, EngineReport("csim", "MISMATCH"))).passed
    assert Verification((wrong, wrong)).mismatching_bits == 6
    assert (equal.bits, absent.bits) == (12, 0)
    Verification((equal, absent)).raise_on_mismatch()
    with pytest.raises(errors.MismatchError) as caught:
        Verification((wrong, equal)).raise_on_mismatch()
    assert str(caught.value) == "csim: first difference in y"
    assert str(Verification((wrong, absent), {"data": 4, "ties": 3})) == (
        "7 events, 3 mismatching bits\n"
        "  csim: MISMATCH: first difference in y\n"
        "  csim: not run: no compiler"
    )
