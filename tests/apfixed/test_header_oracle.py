"""The header oracle itself: answers worked out by hand, and the headers' known oddities."""

import math

import pytest

from .header_oracle import Fmt, header_aborts, header_cast, header_from_double

WIDE: Fmt = (True, 8, 4, "TRN", "WRAP")
ROUNDINGS = ("TRN", "TRN_ZERO", "RND", "RND_ZERO", "RND_INF", "RND_MIN_INF", "RND_CONV")


def test_every_rounding_mode_on_ties_and_neighbours() -> None:
    # Quarters: -1.5 -1.25 -0.5 -0.25 0.25 0.5 0.75 1.5 to integers.
    quarters = [-6, -5, -2, -1, 1, 2, 3, 6]
    source: Fmt = (True, 6, 4, "TRN", "WRAP")
    got = header_cast([(source, (True, 4, 4, mode, "WRAP"), quarters) for mode in ROUNDINGS])
    assert dict(zip(ROUNDINGS, got, strict=True)) == {
        "TRN": [-2, -2, -1, -1, 0, 0, 0, 1],
        "TRN_ZERO": [-1, -1, 0, 0, 0, 0, 0, 1],
        "RND": [-1, -1, 0, 0, 0, 1, 1, 2],
        "RND_ZERO": [-1, -1, 0, 0, 0, 0, 1, 1],
        "RND_INF": [-2, -1, -1, 0, 0, 1, 1, 2],
        "RND_MIN_INF": [-2, -1, -1, 0, 0, 0, 1, 1],
        "RND_CONV": [-2, -1, 0, 0, 0, 0, 1, 2],
    }


def test_every_overflow_mode() -> None:
    values = [-128, -65, -64, -63, 63, 64, 100, 127]  # sixteenths
    modes = ("WRAP", "SAT", "SAT_ZERO", "SAT_SYM")
    signed = header_cast([(WIDE, (True, 7, 3, "TRN", mode), values) for mode in modes])
    assert dict(zip(modes, signed, strict=True)) == {
        "WRAP": [0, 63, -64, -63, 63, -64, -28, -1],
        "SAT": [-64, -64, -64, -63, 63, 63, 63, 63],
        "SAT_ZERO": [0, 0, -64, -63, 63, 0, 0, 0],
        "SAT_SYM": [-63, -63, -63, -63, 63, 63, 63, 63],
    }
    unsigned = header_cast([(WIDE, (False, 6, 2, "TRN", mode), values) for mode in modes])
    assert dict(zip(modes, unsigned, strict=True)) == {
        "WRAP": [0, 63, 0, 1, 63, 0, 36, 63],
        "SAT": [0, 0, 0, 0, 63, 63, 63, 63],
        "SAT_ZERO": [0, 0, 0, 0, 63, 0, 0, 0],
        "SAT_SYM": [0, 0, 0, 0, 63, 63, 63, 63],
    }


def test_wide_formats_keep_every_bit() -> None:
    source: Fmt = (True, 130, 70, "TRN", "WRAP")
    mantissas = [-(1 << 129), (1 << 129) - 1, -1, 3, -(1 << 64), (1 << 65) + 1]
    same, floor, unsigned = header_cast(
        [
            (source, (True, 130, 70, "RND", "SAT"), mantissas),
            (source, (True, 129, 70, "TRN", "WRAP"), mantissas),
            (source, (False, 64, 4, "TRN", "WRAP"), mantissas),
        ]
    )
    assert same == mantissas
    assert floor == [m >> 1 for m in mantissas]
    assert unsigned == [m & ((1 << 64) - 1) for m in mantissas]


def test_doubles() -> None:
    values = [0.0, -0.0, 5e-324, -5e-324, 0.3, -0.3, 1e300, -1e300, math.inf, -math.inf]
    wrap, saturated, rounded = header_from_double(
        [
            ((True, 8, 4, "TRN", "WRAP"), values),
            ((True, 8, 4, "TRN", "SAT"), values),
            ((True, 8, 4, "RND_CONV", "SAT_SYM"), values),
        ]
    )
    assert wrap == [0, 0, 0, -1, 4, -5, 0, 0, 0, 0]
    assert saturated == [0, 0, 0, -1, 4, -5, 127, -128, 127, -128]
    assert rounded == [0, 0, 0, 0, 5, -5, 127, -127, 127, -127]


def test_one_signed_bit_saturates_symmetrically_to_minus_one() -> None:
    # A symmetric range of one signed bit would be {0}; the headers give -1 for every negative.
    target: Fmt = (True, 1, 1, "TRN", "SAT_SYM")
    assert header_cast([(WIDE, target, [-128, -16, -1, 0, 1, 127])]) == [[-1, -1, -1, 0, 0, 0]]
    assert header_from_double([(target, [-9.0, -0.25, 0.0, 9.0])]) == [[-1, -1, 0, 0]]


def test_integers_truncate_toward_zero_and_wrap() -> None:
    integer: Fmt = (True, 3, 3, "INT", "WRAP")
    assert header_cast([(WIDE, integer, [-17, -16, -15, -1, 15, 16, 64, 127])]) == [
        [-1, -1, 0, 0, 0, 1, -4, -1]
    ]
    assert header_from_double([(integer, [-1.5, -0.5, 1.5, 4.0])]) == [[-1, 0, 1, -4]]


@pytest.mark.parametrize("mode", ["TRN", "RND"])
def test_rounding_away_the_whole_word_aborts(mode: str) -> None:
    source: Fmt = (True, 3, 0, "TRN", "WRAP")  # 3 fractional bits
    cases = [(source, (True, 4, 4 - f, mode, "WRAP"), [-4, 1]) for f in (1, 0, -1)]
    assert header_aborts(cases) == [False, False, mode == "RND"]
    assert header_cast(cases[2:]) == [[-1, 0] if mode == "TRN" else [0, 0]]


def test_a_mantissa_outside_the_source_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mantissa 128 does not fit ap_fixed<8, 4, AP_TRN, AP_WR"):
        header_cast([(WIDE, WIDE, [128])])
