"""A user's arrays: every shape that fits, and the message for what does not."""

from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.ir import Format, Graph
from samebits.inputs import check_inputs

FMT = Format(True, 8, 4)


def graph(**shapes: tuple[int, ...]) -> Graph:
    build = GraphBuilder()
    made = [build.input(name, shape, FMT) for name, shape in shapes.items()]
    return build.graph((made[0].name,))


ONE, TWO = graph(x=(2, 3)), graph(b=(2,), a=(3,))


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12.0).reshape(2, 2, 3),
        np.arange(12.0).reshape(2, 6),
        np.arange(12).reshape(2, 6),
        np.arange(12, dtype=np.uint8).reshape(2, 6),
        np.arange(12.0, dtype=np.float16).reshape(2, 6),
        np.arange(12.0).reshape(2, 6).tolist(),
        [np.arange(12.0).reshape(2, 6)],
        {"x": np.arange(12.0).reshape(2, 6)},
    ],
)
def test_one_input(x: Any) -> None:
    (array,) = check_inputs(ONE, x)
    assert array.tolist() == np.arange(12.0).reshape(2, 2, 3).tolist()
    assert array.dtype == np.float64


def test_float32_stays_float32_and_is_not_copied() -> None:
    x = np.zeros((5, 2, 3), np.float32)
    (array,) = check_inputs(ONE, x)
    assert array.dtype == np.float32
    assert np.shares_memory(array, x)


def test_one_event_in_a_list_is_an_array() -> None:
    assert check_inputs(graph(x=(2,)), [[1.0, 2.0]])[0].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("events", [0, 1, 7])
def test_any_number_of_events(events: int) -> None:
    assert check_inputs(ONE, np.zeros((events, 6)))[0].shape == (events, 2, 3)


def test_two_inputs_by_order_and_by_name() -> None:
    b, a = np.ones((4, 2)), np.zeros((4, 3))
    for given in ([b, a], (b, a), {"a": a, "b": b}):
        assert [v.shape for v in check_inputs(TWO, given)] == [(4, 2), (4, 3)]


def spoiled(*places: tuple[int, int], value: float = np.nan) -> Any:
    x = np.zeros((4, 6))
    for place in places:
        x[place] = value
    return x


REFUSED: list[tuple[Graph, Any, str]] = [
    (ONE, np.zeros((4, 5)), "input x: got events of shape (5,), wanted (2, 3) (6 features), with "
     "the batch axis first"),
    (ONE, np.zeros((4, 3, 2)), "input x: got events of shape (3, 2), wanted (2, 3) (6 features), "
     "with the batch axis first"),
    (ONE, np.zeros(6), "input x: got events of shape (), wanted (2, 3) (6 features), with the "
     "batch axis first"),
    (ONE, 3.0, "input x: got events of shape (), wanted (2, 3) (6 features), with the batch axis "
     "first"),
    (ONE, [["a"] * 6], "input x: holds <U1, wanted numbers"),
    (ONE, np.zeros((2, 6), complex), "input x: holds complex128, wanted numbers"),
    (ONE, np.array([[None] * 6]), "input x: holds object, wanted numbers"),
    (ONE, [[1.0, 2.0], [3.0]], "input x: rows of different lengths; wanted events of shape (2, 3)"),
    (ONE, {"y": 1}, "inputs: got ['y'], wanted ['x']"),
    (ONE, spoiled((2, 5)), "input x: 1 value is NaN or infinite, the first in event 2, feature 5"),
    (ONE, spoiled((3, 0), (1, 4), value=np.inf), "input x: 2 values are NaN or infinite, the first "
     "in event 1, feature 4"),
    (ONE, spoiled((0, 0), value=-np.inf).astype(np.float32), "input x: 1 value is NaN or "
     "infinite, the first in event 0, feature 0"),
    (TWO, np.zeros((4, 5)), "inputs: the network has 2 (b, a); give a list of as many arrays, or a "
     "dict by name"),
    (TWO, [np.zeros((4, 2))], "inputs: the network has 2 (b, a); give a list of as many arrays, or "
     "a dict by name"),
    (TWO, {"a": 1, "c": 2}, "inputs: got ['a', 'c'], wanted ['a', 'b']"),
    (TWO, [np.zeros((4, 2)), np.zeros((5, 3))], "inputs have different numbers of events: [4, 5]"),
]  # fmt: skip


@pytest.mark.parametrize(("network", "x", "message"), REFUSED)
def test_what_does_not_fit_is_refused(network: Graph, x: Any, message: str) -> None:
    with pytest.raises(errors.DataError) as caught:
        check_inputs(network, x)
    assert str(caught.value) == message


def test_huge_values_are_no_infinities() -> None:
    # their sum is
    assert check_inputs(ONE, np.full((2, 6), 1e308))[0].max() == 1e308
