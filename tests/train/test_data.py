"""Loaders, splits and the shipped jets."""

import hashlib
import importlib.resources
from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.train.data import Dataset, in_classes, load, load_features, load_jets

from .event_files import CLASSES, FEATURES, LABELS, NAMES, SUFFIXES, write, write_columns


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

    def test_text_with_commas(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        path = tmp_path / "a.csv"
        lines = "".join(f"{n},{n % 2},b\r\n" for n in range(300_000))  # more than pyarrow's block
        path.write_text(f"\ufeffpt, isTau, kind\r\n{lines}0.5,1,s\r\n", newline="")
        data = load(path, label="kind", features=["isTau", "pt"])
        assert data.class_names == ("b", "s")
        assert data.features[-2:].tolist() == [[1.0, 299_999.0], [1.0, 0.5]]
        assert data.labels[-2:].tolist() == [0, 1]
        assert load(path, label="isTau").feature_names == ("pt",)

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
        return Dataset(values, ("x",), "a test", "0" * 64, labels, ("a", "b"))

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


def test_a_stratified_split_gives_every_part_each_class() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    data = Dataset(
        np.zeros((100, 1), np.float32), ("x",), "made", "0" * 64, labels, ("a", "b", "c")
    )
    split = data.split(seed=1, stratified=True)
    assert [np.bincount(part.labels).tolist() for part in split.parts] == [
        [36, 18, 6],
        [12, 6, 2],
        [12, 6, 2],
    ]


@pytest.mark.parametrize(
    ("found", "labels", "wanted"),
    [
        (("b", "g", "t"), [0, 1, 2], [1, 0, 2]),  # another order
        (("b", "t"), [1, 0, 1], [2, 1, 2]),  # one class is missing
        (("x", "t", "g"), [1, 2, 2], [2, 0, 0]),  # a name without events
        (("0", "1"), [1, 0, 1], [1, 0, 1]),  # numbers
    ],
)
def test_classes_are_found_by_name(
    found: tuple[str, ...], labels: list[int], wanted: list[int]
) -> None:
    events = in_classes(of_classes(found, labels), ("g", "b", "t"))
    assert events.labels.tolist() == wanted
    assert events.class_names == ("g", "b", "t")


def test_a_class_that_was_not_trained() -> None:
    with pytest.raises(errors.DataError, match="events of class x, the network was trained on g, "):
        in_classes(of_classes(("g", "x"), [0, 1]), ("g", "b", "t"))


def test_classes_that_had_only_numbers() -> None:
    events = of_classes(("g", "x"), [0, 1])
    assert in_classes(events, ("0", "1")) is events


def of_classes(names: tuple[str, ...], labels: list[int]) -> Dataset:
    features = np.zeros((len(labels), 1), np.float32)
    return Dataset(features, ("x0",), "toy.npz", "0" * 64, np.array(labels), names)
