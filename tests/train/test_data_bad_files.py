"""The whole message of every file of events that cannot be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.train.data import load

from .event_files import FEATURES, LABELS, SUFFIXES, write, write_columns


def message(path: Path, **options: Any) -> str:
    """The text of the error that loading raises, with the folder left out."""
    with pytest.raises(errors.DataError) as caught:
        load(path, **options)
    return str(caught.value).replace(f"{path.parent}/", "")


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        assert message(tmp_path / "a.npz") == "a.npz: there is no such file; check the path"

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").mkdir()
        assert message(tmp_path / "a.npz") == (
            "a.npz: is a folder; wanted a file ending in .npz, .h5, .hdf5, .parquet, .root, .csv"
        )

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").touch()
        assert message(tmp_path / "a.h5") == "a.h5: the file is empty (0 bytes); write it again"

    def test_unknown_suffix(self, tmp_path: Path) -> None:
        (tmp_path / "a.dat").write_text("1,2")
        assert message(tmp_path / "a.dat") == (
            "a.dat: got the file type '.dat', wanted one of .npz, .h5, .hdf5, .parquet, .root, "
            ".csv; convert the file"
        )

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
    def test_truncated(self, tmp_path: Path, suffix: str, kept: float) -> None:
        path = tmp_path / f"a{suffix}"
        write(path, features=np.zeros((400, 3)), label=np.zeros(400, np.int64))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        assert message(path) == (
            f"a{suffix}: cannot be read as a {suffix} file; it is truncated, damaged or of another "
            "type"
        )

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_of_another_type(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_text("this is not what the suffix says\n" * 100)
        assert message(path) == (
            f"a{suffix}: cannot be read as a {suffix} file; it is truncated, damaged or of another "
            "type"
        )

    def test_npy_under_the_name_npz(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npz").open("wb") as stream:
            np.save(stream, FEATURES)
        assert message(tmp_path / "a.npz") == (
            "a.npz: cannot be read as a .npz file; it is truncated, damaged or of another type"
        )

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_missing_array(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}", features=None, class_names=None, x=FEATURES)
        found = "label, feature_names, x" if suffix == ".npz" else "feature_names, label, x"
        assert message(path) == f"a{suffix}: has no array features; it has: {found}"

    @pytest.mark.parametrize("suffix", [".parquet", ".root"])
    def test_missing_column(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}")
        assert message(path, features=("pt", "mass"), label="kind") == (
            f"a{suffix}: has no column mass, kind; it has: pt, eta, phi, label"
        )

    def test_missing_feature(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz")
        assert message(path, features=("mass",)) == (
            "a.npz: has no feature mass; it has: pt, eta, phi"
        )

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_wrong_feature_count(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}")
        assert message(path, feature_count=16) == (
            f"a{suffix}: got 3 features (pt, eta, phi), wanted 16; choose them by name"
        )

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_nan_and_infinity(self, tmp_path: Path, suffix: str) -> None:
        bad = FEATURES.copy()
        bad[1, 2], bad[3, 0] = np.nan, np.inf
        assert message(write(tmp_path / f"a{suffix}", features=bad)) == (
            f"a{suffix}: 2 of 12 values are NaN or infinite; remove these events (the first: event "
            "1, feature 'phi')"
        )

    def test_beyond_float32(self, tmp_path: Path) -> None:
        bad = FEATURES.copy()
        bad[2, 1] = 1e300
        assert message(write(tmp_path / "a.npz", features=bad)) == (
            "a.npz: 1 of 12 values are beyond the range of float32 (3.4e38); rescale them (the "
            "first: event 2, feature 'eta')"
        )

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_negative_labels(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}", label=np.array([0, 1, -1, -7]))
        assert message(path) == (
            f"a{suffix}: 2 of 4 labels in 'label' are negative; classes are numbered from 0 (the "
            "first: -1 in event 2)"
        )

    def test_labels_that_are_not_whole(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz", label=np.array([0.0, 0.5, np.nan, 1.0]))
        assert message(path) == (
            "a.npz: 2 of 4 labels in 'label' are not whole numbers (the first: 0.5 in event 1)"
        )

    def test_labels_above_the_class_names(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz", label=np.array([0, 1, 2, 3]))
        assert message(path) == (
            "a.npz: 1 of 4 labels in 'label' are above 2, the highest class number allowed here "
            "(the first: 3 in event 3)"
        )

    def test_an_event_number_taken_for_a_label(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz", label=np.arange(4) + 10**9, class_names=None)
        assert message(path) == (
            "a.npz: 4 of 4 labels in 'label' are above 999, the highest class number allowed here "
            "(the first: 1000000000 in event 0)"
        )

    def test_unknown_string_labels(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz", label=np.array(["g", "t", "q", "b"]))
        assert message(path) == (
            "a.npz: got labels b, t in 'label', wanted only class names: g, q, w"
        )

    def test_one_hot_with_two_ones(self, tmp_path: Path) -> None:
        one_hot = np.eye(3)[LABELS]
        one_hot[1] = 1, 0, 1
        assert message(write(tmp_path / "a.npz", label=one_hot)) == (
            "a.npz: 1 of 4 one-hot labels in 'label' are not exactly one 1 among zeros (the first: "
            "event 1)"
        )

    def test_one_hot_with_other_class_names(self, tmp_path: Path) -> None:
        assert message(write(tmp_path / "a.npz", label=np.eye(4))) == (
            "a.npz: got 3 class names for 4 one-hot columns in 'label', wanted one name per column"
        )

    def test_labels_of_another_kind(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.npz", label=np.zeros((4, 2, 2)))
        assert message(path) == (
            "a.npz: got labels 'label' of type float64 and shape (4, 2, 2), wanted whole numbers "
            "or strings (events,), or one-hot (events, classes)"
        )

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_label_count(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}", label=LABELS[:3])
        assert message(path) == (
            f"a{suffix}: got 3 labels in 'label' for 4 events, wanted one label per event"
        )

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_no_events(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}", features=FEATURES[:0], label=LABELS[:0])
        assert message(path) == f"a{suffix}: holds no events; at least one is needed"

    def test_no_events_in_columns(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", features=FEATURES[:0], label=LABELS[:0])
        assert message(path) == "a.parquet: holds no events; at least one is needed"

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_images_are_read_flat(self, tmp_path: Path, suffix: str) -> None:
        images = np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2)
        path = write(tmp_path / f"a{suffix}", features=images, label=LABELS, feature_names=None)
        assert np.array_equal(load(path).features, images.reshape(4, 12))

    def test_features_of_one_axis(self, tmp_path: Path) -> None:
        assert message(write(tmp_path / "a.npz", features=FEATURES[:, 0])) == (
            "a.npz: got features of shape (4,), wanted two axes (events, features)"
        )

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_features_that_are_not_numbers(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a{suffix}", features=FEATURES.astype("S4"))
        kind = "|S4" if suffix == ".npz" else "object"
        assert message(path) == (f"a{suffix}: the array features holds {kind}, wanted real numbers")

    @pytest.mark.parametrize("suffix", [".parquet", ".root"])
    def test_column_that_is_not_a_number(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        if suffix == ".parquet":
            write_columns(path, {"x": [1.0], "s": ["a"], "label": [0]})
        else:
            uproot = pytest.importorskip("uproot")
            with uproot.recreate(path) as file:
                types = {"x": "f8", "s": np.dtype((np.float64, (2,))), "label": "i8"}
                file.mktree("t", types)
                file["t"].extend(
                    {"x": np.ones(1), "s": np.ones((1, 2)), "label": np.zeros(1, np.int64)}
                )
        assert message(path, features=("x", "s")) == (
            f"a{suffix}: the columns s are not single numbers per event; choose among: x, label"
        )

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_empty_selection(self, tmp_path: Path, suffix: str) -> None:
        assert message(write(tmp_path / f"a{suffix}"), features=()) == (
            f"a{suffix}: no feature was selected; at least one is needed"
        )

    def test_only_text_columns(self, tmp_path: Path) -> None:
        path = write_columns(tmp_path / "a.parquet", {"s": ["a"], "label": [0]})
        assert message(path) == "a.parquet: no feature was selected; at least one is needed"

    def test_feature_names_count(self, tmp_path: Path) -> None:
        assert message(write(tmp_path / "a.npz", feature_names=np.array(["a", "b"]))) == (
            "a.npz: got 2 feature names for 3 features, wanted one name per feature"
        )

    def test_feature_names_twice(self, tmp_path: Path) -> None:
        assert message(write(tmp_path / "a.npz", feature_names=np.array(["a", "b", "a"]))) == (
            "a.npz: feature names occur twice: a"
        )

    def test_class_names_twice(self, tmp_path: Path) -> None:
        assert message(write(tmp_path / "a.npz", class_names=np.array(["g", "g", "w"]))) == (
            "a.npz: class names occur twice: g, g, w"
        )

    @pytest.mark.parametrize("name", ["features", "label"])
    def test_pickled_objects_are_refused(self, tmp_path: Path, name: str) -> None:
        objects = np.array([{"a": 1}] * 4, dtype=object)
        assert message(write(tmp_path / "a.npz", **{name: objects})) == (
            "a.npz: holds an array of Python objects, which only unsafe pickle can read; save "
            "plain numbers and strings"
        )

    def test_several_trees(self, tmp_path: Path) -> None:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(tmp_path / "a.root") as file:
            for name in ("signal", "background"):
                file.mktree(name, {"x": "f8"})
        assert message(tmp_path / "a.root") == (
            "a.root: holds several trees; choose one of: signal, background; as in a.root:signal"
        )
        assert message(tmp_path / "a.root", tree="data") == (
            "a.root: has no tree data; it has: signal, background"
        )
        assert message(tmp_path / "a.root:data") == (
            "a.root: has no tree data; it has: signal, background"
        )

    def test_no_tree(self, tmp_path: Path) -> None:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(tmp_path / "a.root") as file:
            file["text"] = "nothing else"
        assert message(tmp_path / "a.root") == "a.root: holds no TTree or RNTuple"

    @pytest.mark.parametrize(
        ("suffix", "package"), [(".h5", "h5py"), (".parquet", "pyarrow"), (".root", "uproot")]
    )
    def test_missing_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
    ) -> None:
        def no_module(name: str) -> None:
            raise ImportError(name)

        monkeypatch.setattr("samebits.train.readers.importlib.import_module", no_module)
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"x")
        with pytest.raises(errors.MissingToolError) as caught:
            load(path)
        assert str(caught.value) == (
            f"{path}: reading {suffix} files needs the package {package}, which is not installed; "
            'run: pip install "samebits[hep]"'
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n3,0\n", "the first line holds numbers (1, 2, ...); wanted the names of the columns"),
        ("a,a,label\n1,2,0\n", "columns occur twice: a"),
        ("a,label\n1,0\n,1\n", "1 of 2 values are NaN or infinite; remove these events"),
        ("a,label\ntrue,0\n,1\n", "1 of 2 values are NaN or infinite; remove these events"),
        ("a,label\n1,0\n1,\n", "1 of 2 labels in 'label' are not whole numbers"),
        ("a,label\n1,0\n1,2,3\n", "cannot be read as a .csv file"),
        ("a,label\n1,x\n2,\n", "wanted only class names"),
        ("a,b,label\nx,1,0\n", "has no column c"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, text: str, said: str) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(errors.DataError) as caught:
        load(path, features=["c"] if said.endswith(" c") else None, class_names=("x", "y", "z"))
    assert said in str(caught.value)
