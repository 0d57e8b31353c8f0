"""`Format`: every property against its definition, and the narrowest format of a range."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samebits import errors
from samebits.compile.ir import Format, Overflow, Rounding

from ... import oracle
from ...strategies import formats


@given(fmt=formats(max_width=40))
def test_properties_are_what_the_bits_say(fmt: Format) -> None:
    assert fmt.fraction == fmt.width - fmt.integer
    assert Fraction(fmt.lsb) == oracle.lsb(fmt)
    assert (fmt.min_mantissa, fmt.max_mantissa) == oracle.bounds(fmt)
    assert fmt.max_mantissa - fmt.min_mantissa + 1 == 2**fmt.width
    assert fmt.min_saturated == oracle.overflow(fmt.min_mantissa, fmt)
    assert fmt.lossless == Format(fmt.signed, fmt.width, fmt.integer, Rounding.TRN, Overflow.WRAP)
    assert fmt.same_grid(fmt.lossless)
    assert not fmt.same_grid(Format(fmt.signed, fmt.width, fmt.integer + 1))


@given(
    ends=st.tuples(st.integers(-300, 300), st.integers(-300, 300)).map(sorted),
    fraction=st.integers(-5, 12),
)
def test_spanning_is_the_narrowest(ends: list[int], fraction: int) -> None:
    low, high = ends
    fmt = Format.spanning(low, high, fraction)
    assert fmt.fraction == fraction
    assert fmt.signed is (low < 0)
    assert fmt.min_mantissa <= low
    assert high <= fmt.max_mantissa
    if fmt.width:
        narrower = Format(fmt.signed, fmt.width - 1, 0)
        assert low < narrower.min_mantissa or narrower.max_mantissa < high


def test_text_is_the_type_in_c() -> None:
    assert str(Format(True, 16, 6)) == "ap_fixed<16,6,TRN,WRAP>"
    fmt = Format(False, 8, -2, Rounding.RND_CONV, Overflow.SAT_SYM)
    assert str(fmt) == "ap_ufixed<8,-2,RND_CONV,SAT_SYM>"


@pytest.mark.parametrize(
    ("width", "integer", "message"),
    [
        (-1, 0, "Format: width must be 0 or more, got -1"),
        (8.0, 0, "Format: width must be an int, got 8.0"),
        (8, "3", "Format: integer must be an int, got '3'"),
        (True, 1, "Format: width must be an int, got True"),
    ],
)
def test_senseless_formats_are_refused(width: object, integer: object, message: str) -> None:
    with pytest.raises(errors.FormatError) as caught:
        Format(True, width, integer)  # type: ignore[arg-type]
    assert str(caught.value) == message
