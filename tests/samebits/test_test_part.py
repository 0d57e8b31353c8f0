"""Every look at the test part's labels is written down, also after training again."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.recipe import Recipe
from samebits.report import render_html
from samebits.report.facts import DataFacts, ReportFacts, utc_now
from samebits.test_part import data_section, labelled_events, log_reading, with_reading
from samebits.train.data import Columns, Dataset

DATA = {
    "name": "toy",
    "source": "toy.npz",
    "sha256": "0" * 64,
    "events": {"train": 60, "validation": 20, "test": 20},
    "class_names": ("a", "b"),
    "feature_names": ("x0",),
}
RECIPE = Recipe(
    "toy.npz",
    "0" * 64,
    1,
    {"model.keras": "1111aaaa2222"},
    sections={"data": DATA},
    stratified=True,
)


def test_readings_stay_with_the_data_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    RECIPE.write(tmp_path)
    with caplog.at_level(logging.WARNING, "samebits"):
        assert [entry.by for entry in log_reading(tmp_path, RECIPE, "samebits report")] == [
            "samebits report"
        ]
        log_reading(tmp_path, RECIPE, "samebits compare")
        assert caplog.messages == []  # the same network twice spoils nothing
        again = replace(RECIPE, models={"model.keras": "3333bbbb"})
        again.write(tmp_path)  # trained again on the same parts
        assert len(json.loads((tmp_path / "training.json").read_text())["test_reads"]) == 2
        facts = ReportFacts(
            design="toy", created=utc_now(), versions={}, data=DataFacts.model_validate(DATA)
        )
        assert with_reading(facts, tmp_path, again, "events of other.npz", "x") is facts
        facts = with_reading(facts, tmp_path, again, "test", "samebits report")
    assert caplog.messages == [
        "the test part was read 3 times, for 2 networks: choosing between them by its numbers "
        "makes the chosen one look better than it is"
    ]
    read = Recipe.read(tmp_path)
    assert read is not None
    assert read.stratified
    assert data_section(read) == facts.data
    page = render_html(facts)
    assert "<dt>Test part</dt><dd>read 3 times: 20" in page
    assert "by samebits compare (network <code>1111aaaa</code>); 20" in page
    assert "Choosing between these networks by its numbers" in page
    replace(again, seed=2).write(tmp_path)  # other parts
    assert Recipe.read(tmp_path).test_reads == ()  # type: ignore[union-attr]


def test_recipes_without_the_word_are_cut_as_they_were(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [90, 10])
    np.savez(tmp_path / "d.npz", features=np.arange(100.0)[:, None], label=labels)
    old = Recipe(str(tmp_path / "d.npz"), "", 1, {})
    old.write(tmp_path)
    values = json.loads((tmp_path / "training.json").read_text())
    del values["stratified"], values["test_reads"]
    (tmp_path / "training.json").write_text(json.dumps(values))
    read = Recipe.read(tmp_path)
    assert read == old
    dataset = labelled_events(old.data, None)[0]
    assert dataset is not None
    order = np.argsort(np.random.PCG64(1).random_raw(100), kind="stable")
    assert np.array_equal(old.parts(dataset).test.features[:, 0], order[80:])
    shares = replace(old, stratified=True).parts(dataset).test.labels
    assert np.bincount(shares).tolist() == [18, 2]


NAMES = ("pt", "eta")
X = np.arange(8, dtype=np.float32).reshape(4, 2)
LABELS = [1, 0, 0, 1]


def labels_of(events: object) -> list[int]:
    assert isinstance(events, Dataset)
    assert np.array_equal(events.features, X)
    return events.labels.tolist()


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("name", ["isTau", "label"])
def test_labels_are_found_by_the_name_given_that_of_the_training_or_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, name: str
) -> None:
    path = tmp_path / f"events{suffix}"
    if suffix == ".npz":
        np.savez(path, features=X, feature_names=NAMES, **{name: np.array(LABELS)})
    else:
        pyarrow = pytest.importorskip("pyarrow")
        columns = {"pt": X[:, 0], "eta": X[:, 1], name: np.array(LABELS)}
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)
    recipe = replace(RECIPE, columns=asdict(Columns(label="isTau")))
    with caplog.at_level(logging.WARNING, "samebits"):
        assert labels_of(labelled_events(str(path), recipe, NAMES)[0]) == LABELS
    told = [f"{path}: has no isTau, as the training calls its labels; its label is taken for them"]
    assert caplog.messages == (told if name == "label" else [])
    assert labels_of(labelled_events(str(path), recipe, NAMES, label=name)[0]) == LABELS
    assert labels_of(labelled_events(str(path), None, NAMES, label=name)[0]) == LABELS
    regression = replace(RECIPE, columns=asdict(Columns(targets=("eta",))))
    assert labels_of(labelled_events(str(path), regression, NAMES, label=name)[0]) == LABELS
    with pytest.raises(errors.DataError, match=r"has no (array|column) isMuon; it has: "):
        labelled_events(str(path), recipe, NAMES, label="isMuon")
    if name == "isTau":
        with pytest.raises(errors.DataError, match="; name its labels: report --label NAME"):
            labelled_events(str(path), None, NAMES)


def test_classes_in_another_order_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    names = {"feature_names": NAMES, "class_names": ["b", "a"]}  # trained on a, b
    np.savez(path, features=X, label=LABELS, **names)
    events, _ = labelled_events(str(path), RECIPE, NAMES)
    assert labels_of(events) == [1 - label for label in LABELS]
    assert isinstance(events, Dataset)
    assert events.class_names == ("a", "b")


def test_labels_that_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "events.npz"
    np.savez(path, features=X, feature_names=NAMES, isTau=LABELS, other=LABELS)
    columns = asdict(Columns(label="isTau"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    trained = replace(RECIPE, data_sha256=digest, columns=columns)
    with pytest.raises(errors.UsageError, match="trained on these events, with other labels"):
        labelled_events(str(path), trained, NAMES, label="other")
    for data in (None, "jets"):
        with pytest.raises(errors.UsageError, match="--label isTau is a column of a file"):
            labelled_events(data, None, label="isTau")
    with pytest.raises(errors.UsageError, match="--label names classes, --target numbers"):
        labelled_events(str(path), None, (), Columns(targets=("other",)), "isTau")
    # broken labels of the right name are not passed over for others
    np.savez(path, features=X, feature_names=NAMES, isTau=[0.5, 1, 1, 0], label=LABELS)
    with pytest.raises(errors.DataError, match="'isTau' are not whole numbers"):
        labelled_events(str(path), replace(RECIPE, columns=columns), NAMES)
    # a feature called label is none
    np.savez(path, features=X, feature_names=("pt", "label"))
    with pytest.raises(errors.DataError, match="has no array isTau"):
        labelled_events(str(path), replace(RECIPE, columns=columns), ("pt", "label"))
