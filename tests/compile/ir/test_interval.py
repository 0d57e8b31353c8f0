"""`Interval`: bounds of Python integers at every rank."""

import numpy as np
import pytest

from samebits.compile.ir import Format, Interval


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_of_format_spans_it(shape: tuple[int, ...]) -> None:
    interval = Interval.of_format(Format(True, 70, 4), shape)
    assert interval.low.shape == interval.high.shape == shape
    assert (interval.minimum, interval.maximum) == (-(2**69), 2**69 - 1)
    assert interval.magnitude == 2**69
    assert interval.within(-(2**69), 2**69 - 1)
    assert not interval.within(1 - 2**69, 2**69 - 1)


def test_of_constant_holds_python_integers() -> None:
    interval = Interval.of_constant(np.array([-5, 2**62]))
    assert interval.low.dtype == object
    doubled = interval.map(lambda bound: bound * 4)
    assert doubled.high.tolist() == [-20, 2**64]


def test_bare_integers_become_arrays_of_rank_0() -> None:
    interval = Interval(-(2**70), 2**70)  # type: ignore[arg-type]
    assert interval.low.shape == ()
    assert interval.magnitude == 2**70


def test_empty_tensors_are_bounded_by_anything() -> None:
    interval = Interval.of_format(Format(True, 4, 4), (0, 3))
    assert (interval.minimum, interval.maximum, interval.within(5, 4)) == (0, 0, True)
