"""Leading constituents of a jet, against numbers worked out by hand."""

import numpy as np
import pytest

from samebits.train.jet_clustering import Constituents
from samebits.train.jet_constituents import leading_constituents


def jet(pt: list[float], rapidity: list[float], phi: list[float]) -> Constituents:
    """A jet of massless constituents."""
    return Constituents(np.array(pt), np.array(rapidity), np.array(phi), np.zeros(len(pt)))


def test_sorted_cut_and_padded() -> None:
    three = jet([1.0, 3.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    padded = leading_constituents(three, 4)
    assert padded[:, 0].tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0])
    assert np.array_equal(leading_constituents(three, 2), padded[:2])
    assert (padded[3] == 0).all()


def test_the_axis_is_the_sum_also_across_phi_of_pi() -> None:
    two = jet([1.0, 1.0], [0.5, 0.5], [np.pi - 0.1, -np.pi + 0.3])
    found = leading_constituents(two, 2)
    assert found[:, 2] == pytest.approx([-0.2, 0.2])
    pt = 2 * np.cos(0.2)
    assert found[:, 0] == pytest.approx([1 / pt, 1 / pt])
    axis = np.arcsinh(2 * np.sinh(0.5) / pt)
    assert found[:, 1] == pytest.approx([0.5 - axis, 0.5 - axis])
