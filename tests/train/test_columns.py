"""Columns of a user's file: found by name where the network's features are known."""

from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.train.data import Features, in_order, load_column


def test_columns_are_found_by_name_whatever_their_order() -> None:
    events = Features(np.array([[1.0, 2.0, 3.0]], np.float32), ("c", "a", "b"), "events.root", "")
    assert in_order(events, ("a", "b")).features.tolist() == [[2.0, 3.0]]
    assert in_order(events, ("a", "b")).feature_names == ("a", "b")


def test_a_missing_column_is_named() -> None:
    events = Features(np.array([[1.0, 2.0, 3.0]], np.float32), ("c", "a", "b"), "events.root", "")
    with pytest.raises(errors.DataError) as caught:
        in_order(events, ("a", "pt"))
    assert str(caught.value) == (
        "events.root: has no column pt, which the network was trained on; it has c, a, b"
    )


def test_columns_without_names_keep_their_places() -> None:
    events = Features(np.array([[1.0, 2.0]], np.float32), ("x0", "x1"), "events.npz", "")
    assert in_order(events, ("a", "b")) is events
    assert in_order(events, ()) is events
    with pytest.raises(errors.DataError) as caught:
        in_order(events, ("a", "b", "pt"))
    assert str(caught.value) == (
        "events.npz: has 2 columns without names, the network was trained on 3: a, b, pt"
    )


def test_a_column_of_an_archive_may_be_one_of_its_features(tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    x = np.array([[1.0, 20.0], [2.0, 10.0]], np.float32)
    np.savez(path, features=x, feature_names=["a", "mass"], w=np.array([3.0, 4.0]))
    assert load_column(path, "mass").tolist() == [20.0, 10.0]
    assert load_column(path, "w").tolist() == [3.0, 4.0]
    with pytest.raises(errors.DataError, match=r"has no array pt; it has: .*, a, mass"):
        load_column(path, "pt")
    np.savez(path, features=x)  # x0 and x1 are made up: nobody can mean them
    with pytest.raises(errors.DataError, match="has no array x0"):
        load_column(path, "x0")
