"""Loaders and splits: what good files give, and the whole message of every bad one."""

import hashlib
import importlib.resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.train.data import Dataset, load, load_features, load_jets

FEATURES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.5], [0.0, -1.0, 2.0]])
NAMES = ("pt", "eta", "phi")
LABELS = np.array([0, 2, 1, 2])
CLASSES = ("g", "q", "w")
SUFFIXES = (".npz", ".h5", ".parquet", ".root")


def write(path: Path, **changes: Any) -> Path:
    """A file of any format holding FEATURES and LABELS; changes with None leave an array out."""
    content: dict[str, Any] = {
        "features": FEATURES,
        "label": LABELS,
        "feature_names": np.array(NAMES),
        "class_names": np.array(CLASSES),
        **changes,
    }
    content = {name: value for name, value in content.items() if value is not None}
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix in (".h5", ".hdf5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for name, value in content.items():
                values = np.asarray(value)
                file[name] = values.astype(object) if values.dtype.kind == "U" else values
    else:
        columns = {
            str(name): content["features"][:, i] for i, name in enumerate(content["feature_names"])
        }
        if "label" in content:
            columns["label"] = content["label"]
        write_columns(path, columns)
    return path


def write_columns(path: Path, columns: dict[str, Any], tree: str = "events") -> Path:
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.table(columns), path)
    else:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(path) as file:
            file.mktree(tree, {name: values.dtype for name, values in columns.items()})
            file[tree].extend(columns)
    return path


def message(path: Path, **options: Any) -> str:
    """The text of the error that loading raises, with the folder left out."""
    with pytest.raises(errors.DataError) as caught:
        load(path, **options)
    return str(caught.value).replace(f"{path.parent}/", "")


class TestGoodFiles:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_every_format_gives_the_same_events(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"data{suffix}")
        data = load(path)
        assert data.features.dtype == np.float32
        assert data.labels.dtype == np.int64
        assert np.array_equal(data.features, FEATURES.astype(np.float32))
        assert np.array_equal(data.labels, LABELS)
        assert data.feature_names == NAMES
        assert data.class_names == (CLASSES if suffix in (".npz", ".h5") else ("0", "1", "2"))
        assert data.source == str(path)
        assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(data) == 4

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_features_are_chosen_by_name_in_the_given_order(
        self, tmp_path: Path, suffix: str
    ) -> None:
        data = load(write(tmp_path / f"data{suffix}"), features=("phi", "pt"))
        assert data.feature_names == ("phi", "pt")
        assert np.array_equal(data.features, FEATURES[:, [2, 0]].astype(np.float32))

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_features_alone_need_no_label(self, tmp_path: Path, suffix: str) -> None:
        with_label = load_features(write(tmp_path / f"with{suffix}"))
        without = load_features(write(tmp_path / f"without{suffix}", label=None))
        for events in (with_label, without):
            assert events.feature_names == NAMES
            assert np.array_equal(events.features, FEATURES.astype(np.float32))
            assert len(events) == 4
        assert without.source == str(tmp_path / f"without{suffix}")
        assert len(without.sha256) == 64

    def test_names_are_made_up_where_the_file_has_none(self, tmp_path: Path) -> None:
        data = load(write(tmp_path / "data.npz", feature_names=None, class_names=None))
        assert data.feature_names == ("x0", "x1", "x2")
        assert data.class_names == ("0", "1", "2")

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_one_hot_labels(self, tmp_path: Path, suffix: str) -> None:
        data = load(write(tmp_path / f"data{suffix}", label=np.eye(3)[LABELS]))
        assert np.array_equal(data.labels, LABELS)
        assert data.class_names == CLASSES

    @pytest.mark.parametrize("suffix", [".npz", ".h5"])
    def test_string_labels_are_numbered_in_sorted_order(self, tmp_path: Path, suffix: str) -> None:
        labels = np.array(["w", "b", "t", "b"])
        data = load(write(tmp_path / f"data{suffix}", label=labels, class_names=None))
        assert data.class_names == ("b", "t", "w")
        assert data.labels.tolist() == [2, 0, 1, 0]

    def test_string_labels_follow_the_class_names_of_the_file(self, tmp_path: Path) -> None:
        labels = np.array([b"w", b"g", b"q", b"q"])
        assert load(write(tmp_path / "data.npz", label=labels)).labels.tolist() == [2, 0, 1, 1]

    def test_string_labels_in_parquet(self, tmp_path: Path) -> None:
        path = write_columns(tmp_path / "a.parquet", {"x": [1.0, 2.0], "kind": ["t", "g"]})
        data = load(path, label="kind")
        assert data.class_names == ("g", "t")
        assert data.labels.tolist() == [1, 0]

    def test_whole_numbers_as_floats_and_another_name(self, tmp_path: Path) -> None:
        path = write(tmp_path / "data.npz", label=None, truth=LABELS.astype(np.float64))
        assert np.array_equal(load(path, label="truth").labels, LABELS)

    def test_columns_that_are_not_numbers_are_left_out(self, tmp_path: Path) -> None:
        columns = {"b": [1.0], "a": [2], "ok": [True], "s": ["x"], "list": [[1.0]], "label": [0]}
        data = load(write_columns(tmp_path / "a.parquet", columns))
        assert data.feature_names == ("b", "a", "ok")
        assert data.features.tolist() == [[1.0, 2.0, 1.0]]

    def test_root_branches_with_several_numbers_are_left_out(self, tmp_path: Path) -> None:
        uproot = pytest.importorskip("uproot")
        with uproot.recreate(tmp_path / "a.root") as file:
            types = {"z": "int8", "v": np.dtype((np.float64, (2,))), "b": "f4", "label": "uint64"}
            file.mktree("t", types)
            columns = {"z": np.array([3, 4], np.int8), "v": np.ones((2, 2))}
            columns |= {"b": np.array([1, 2], "f4"), "label": np.array([1, 0], np.uint64)}
            file["t"].extend(columns)
        data = load(tmp_path / "a.root")
        assert data.feature_names == ("z", "b")
        assert data.features.tolist() == [[3.0, 1.0], [4.0, 2.0]]
        assert data.labels.tolist() == [1, 0]

    def test_root_tree_in_a_folder_and_rntuple(self, tmp_path: Path) -> None:
        uproot = pytest.importorskip("uproot")
        columns = {"a": np.array([1.0, 2.0]), "label": np.array([0, 1])}
        with uproot.recreate(tmp_path / "a.root") as file:
            file.mkrntuple("rn", columns)
            file.mktree("folder/t", {"a": "f8", "label": "i8"})
            file["folder/t"].extend(columns)
        for tree in ("rn", "folder/t"):
            data = load(tmp_path / "a.root", tree=tree)
            assert data.features.tolist() == [[1.0], [2.0]]
            assert data.labels.tolist() == [0, 1]


class TestSplit:
    def data(self, events: int = 100) -> Dataset:
        values = np.arange(events, dtype=np.float32)[:, None]
        labels = np.arange(events, dtype=np.int64) % 2
        return Dataset(values, labels, ("x",), ("a", "b"), "a test", "0" * 64)

    def test_parts_are_disjoint_and_complete_and_keep_labels_with_events(self) -> None:
        split = self.data().split(seed=3)
        assert [len(part) for part in split.parts] == [60, 20, 20]
        assert split.parts == (split.train, split.validation, split.test)
        events = np.concatenate([part.features[:, 0] for part in split.parts])
        assert sorted(events.tolist()) == list(range(100))
        for part in split.parts:
            assert np.array_equal(part.labels, part.features[:, 0].astype(np.int64) % 2)
            assert (part.feature_names, part.class_names) == (("x",), ("a", "b"))
            assert (part.source, part.sha256) == ("a test", "0" * 64)

    def test_the_order_is_fixed_for_ever(self) -> None:
        """These numbers may never change: yesterday's model must meet the same test part."""
        test = self.data(20).split(seed=1).test
        assert test.features[:, 0].tolist() == [13.0, 6.0, 3.0, 1.0]

    def test_equal_seeds_equal_parts_other_seeds_other_parts(self) -> None:
        first, again, other = (self.data().split(seed=seed).test for seed in (5, 5, 6))
        assert np.array_equal(first.features, again.features)
        assert not np.array_equal(first.features, other.features)

    def test_other_fractions(self) -> None:
        parts = self.data().split(seed=1, fractions=(0.5, 0.25, 0.25)).parts
        assert [len(part) for part in parts] == [50, 25, 25]

    @pytest.mark.parametrize("fractions", [(0.6, 0.2, 0.3), (1.0, 0.0, 0.0), (1.2, -0.1, -0.1)])
    def test_wrong_fractions(self, fractions: tuple[float, float, float]) -> None:
        with pytest.raises(errors.UsageError) as caught:
            self.data().split(seed=1, fractions=fractions)
        assert str(caught.value) == (
            f"split fractions for train, validation, test: got {fractions}, wanted three positive "
            "numbers that add up to 1"
        )

    def test_too_few_events(self) -> None:
        with pytest.raises(errors.DataError) as caught:
            self.data(2).split(seed=1)
        assert str(caught.value) == (
            "a test: 2 events are too few to split (0.6, 0.2, 0.2) into train, validation and test "
            "parts with at least one event each; use more events"
        )


class TestShippedJets:
    def test_what_the_data_card_promises(self) -> None:
        jets = load_jets()
        assert jets.class_names == ("g", "q", "w", "z", "t")
        assert jets.feature_names[0] == "zlogz"
        assert jets.feature_names[-2:] == ("mass_mmdt", "multiplicity")
        assert jets.features.shape[1] == 16
        assert len(jets) >= 25000
        assert np.bincount(jets.labels).tolist() == [len(jets) // 5] * 5
        assert jets.source == "the shipped jet sample"

    def test_the_data_card_names_this_very_file(self) -> None:
        card = importlib.resources.files("samebits.train") / "jets" / "DATA_CARD.md"
        assert load_jets().sha256 in card.read_text()

    def test_the_classes_have_their_masses_in_gev(self) -> None:
        jets = load_jets()
        mass = jets.features[:, jets.feature_names.index("mass_mmdt")]
        for name, expected_gev in (("w", 80.4), ("z", 91.2), ("t", 173.0)):
            mine = mass[jets.labels == jets.class_names.index(name)]
            near = mine[np.abs(mine - expected_gev) < 0.12 * expected_gev]
            assert abs(np.median(near) - expected_gev) < 2
            assert len(near) > 0.45 * len(mine)

    def test_d2_a1_b1_is_the_duplicate_that_the_public_set_has(self) -> None:
        jets = load_jets()
        one, two = (jets.feature_names.index(name) for name in ("d2_b1_mmdt", "d2_a1_b1_mmdt"))
        assert np.array_equal(jets.features[:, one], jets.features[:, two])


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        assert message(tmp_path / "a.npz") == "a.npz: there is no such file; check the path"

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").mkdir()
        assert message(tmp_path / "a.npz") == (
            "a.npz: is a folder; wanted a file ending in .npz, .h5, .hdf5, .parquet, .root"
        )

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").touch()
        assert message(tmp_path / "a.h5") == "a.h5: the file is empty (0 bytes); write it again"

    def test_unknown_suffix(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("1,2")
        assert message(tmp_path / "a.csv") == (
            "a.csv: got the file type '.csv', wanted one of .npz, .h5, .hdf5, .parquet, .root; "
            "convert the file"
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
            "a.root: holds several trees; choose one of: signal, background"
        )
        assert message(tmp_path / "a.root", tree="data") == (
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


def test_a_stratified_split_gives_every_part_each_class() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    data = Dataset(
        np.zeros((100, 1), np.float32), labels, ("x",), ("a", "b", "c"), "made", "0" * 64
    )
    split = data.split(seed=1, stratified=True)
    assert [np.bincount(part.labels).tolist() for part in split.parts] == [
        [36, 18, 6],
        [12, 6, 2],
        [12, 6, 2],
    ]
