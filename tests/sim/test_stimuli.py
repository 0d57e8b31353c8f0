"""Adversarial inputs: they are what they claim to be, for every format."""

import numpy as np
import pytest

from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph, Overflow, Rounding
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.stimuli import adversarial_inputs, as_finite, cover_casts

FORMATS = [
    Format(True, 8, 4),
    Format(False, 8, 4, Rounding.RND, Overflow.SAT),
    Format(True, 16, 6),
    Format(True, 1, 1),
    Format(False, 1, 0),
    Format(True, 24, 2),
    Format(True, 40, 10),
    Format(False, 0, 0),
    Format(True, 8, 14),
    Format(True, 8, -6),
    Format(True, 64, 32),
    Format(True, 80, 60),
]


def inputs_of(fmt: Format, *shapes: tuple[int, ...]) -> Graph:
    build = GraphBuilder()
    tensors = [build.input(f"x{i}", shape, fmt) for i, shape in enumerate(shapes)]
    return build.graph((tensors[0].name,))


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kinds_are_what_they_claim(fmt: Format, dtype: type[np.floating]) -> None:
    kinds = adversarial_inputs(inputs_of(fmt, (3,)), [dtype], seed=1)
    flat = {kind: arrays[0].ravel() for kind, arrays in kinds.items()}
    assert list(kinds) == [
        "zeros", "extremes", "saturation", "subnormals", "ties", "uniform", "small",
    ]  # fmt: skip
    for values in flat.values():
        assert np.isfinite(values).all()
        assert np.array_equal(values, values.astype(dtype))
    assert not flat["zeros"].any()
    low, high = fmt.min_mantissa * fmt.lsb, fmt.max_mantissa * fmt.lsb
    assert flat["saturation"].max() > high
    assert flat["saturation"].min() < low
    tiny = np.finfo(dtype).tiny
    assert (np.abs(flat["subnormals"])[flat["subnormals"] != 0] <= tiny * 1.01).all()
    assert (flat["subnormals"] > 0).any()
    assert (flat["subnormals"] < 0).any()
    assert np.abs(flat["saturation"]).max() == np.finfo(dtype).max
    if 0 < fmt.width <= (22 if dtype is np.float32 else 51):
        scaled = flat["ties"] / fmt.lsb
        tie = scaled - np.floor(scaled) == 0.5
        assert 0.4 < tie.mean() < 1  # the others stand one float step beside
        grid = flat["uniform"] / fmt.lsb
        assert np.array_equal(grid, np.floor(grid))
        assert grid.min() >= fmt.min_mantissa
        assert grid.max() <= fmt.max_mantissa
        assert {low, high} <= set(flat["extremes"])


def test_numbers_beyond_a_float_type_become_its_largest() -> None:
    largest = np.finfo(np.float32).max
    found = as_finite(np.array([1e300, -np.inf, 0.1]), np.float32)
    assert found.dtype == np.float32
    assert found.tolist() == [largest, -largest, np.float32(0.1)]


def test_seeds() -> None:
    graph = inputs_of(Format(True, 8, 4), (3,))

    def ties(seed: int) -> list[float]:
        return adversarial_inputs(graph, [np.float32], seed)["ties"][0].ravel().tolist()

    assert ties(1) == ties(1)
    assert ties(1) != ties(2)


def test_several_inputs_have_as_many_events() -> None:
    graph = inputs_of(Format(True, 8, 4), (3,), (2, 2))
    kinds = adversarial_inputs(graph, [np.float32, np.float64], seed=1)
    for arrays in kinds.values():
        assert [a.shape[1:] for a in arrays] == [(3,), (2, 2)]
        assert len(arrays[0]) == len(arrays[1])


def corners(overflow: Overflow, rounding: Rounding) -> Graph:
    build = GraphBuilder()
    x = build.input("x", (2,), Format(True, 10, 5))
    build.cast(x, Format(True, 6, 3, rounding, overflow), name="narrow")
    build.cast(x, Format(True, 12, 6), name="wide")
    return build.graph(("narrow", "wide"))


@pytest.mark.parametrize("rounding", list(Rounding))
def test_coverage_counts_what_the_pool_reaches(rounding: Rounding) -> None:
    graph = corners(Overflow.SAT, rounding)
    pool = np.array([[0.0, 0.0], [0.0625, 0.0], [5.0, 1.0], [-9.0, 0.1875], [0.03125, 0.0]])
    keep, coverage = cover_casts(graph, NumpyEngine(graph), [pool])
    (narrow,) = coverage  # the wide cast can do nothing
    assert narrow.tensor == "narrow"
    ties = {"tie": 2} if rounding not in (Rounding.TRN, Rounding.TRN_ZERO) else {}
    assert narrow.reached == ties | {"above": 1, "below": 1}
    assert keep.tolist() == ([1, 2, 3] if ties else [2, 3])


def test_unreached_conditions_count_zero() -> None:
    graph = corners(Overflow.WRAP, Rounding.RND)
    keep, coverage = cover_casts(graph, NumpyEngine(graph), [np.zeros((3, 2))])
    assert coverage[0].reached == {"tie": 0, "above": 0, "below": 0}
    assert keep.tolist() == []


def test_at_most_four_events_are_kept_per_condition() -> None:
    graph = corners(Overflow.WRAP, Rounding.TRN)
    keep, coverage = cover_casts(graph, NumpyEngine(graph), [np.full((100, 2), 10.0)])
    assert coverage[0].reached == {"above": 100, "below": 0}
    assert keep.tolist() == [0, 1, 2, 3]


def test_large_images_get_fewer_events_of_every_kind() -> None:
    build = GraphBuilder()
    x = build.input("x", (200, 200, 1), Format(True, 8, 4))
    graph = build.graph((x.name,))
    kinds = adversarial_inputs(graph, [np.float32], 0)
    events = {kind: len(arrays[0]) for kind, arrays in kinds.items()}
    assert 1000 < sum(events.values()) < 3000
    alone = kinds["extremes"][0].reshape(events["extremes"], -1)
    places = {int(np.flatnonzero(row)[0]) for row in alone if np.count_nonzero(row) == 1}
    assert {0, 200 * 200 - 1} <= places
