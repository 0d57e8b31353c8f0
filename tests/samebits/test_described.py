"""Networks of all kinds, trained as a TOML file describes them and put into a build directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from samebits import Design, errors
from samebits.compile.frontends.onnx.formats import quantizers
from samebits.compile.ir import Format
from samebits.compile.target import Target
from samebits.described import train_described
from samebits.recipe import RECIPE, Recipe, refuse_to_replace
from samebits.record import load_record
from samebits.report.facts import MetricsFacts, NotRun, Quantity, RegressionFacts, TrainingFacts
from samebits.stages import build_report, compile_model
from samebits.sweep_network import network_of
from samebits.test_part import labelled_events
from samebits.train.data import Dataset, Features, Regression
from samebits.trigger import score_place
from samebits.tune_training import trainer_of

from .cli.command import Command

CLASSES = """
[network]
inputs = [3]
layers = ["standardise", {embedding = {categories = [4], size = 2}}, {dense = 6}, "relu",
          {dense = 2}, "softmax"]
[fit]
epochs = 3
learning_rate = 0.02
[data]
file = "events.npz"
"""
ANSWERS = """
[network]
inputs = [2]
layers = [{dense = 4}, "relu", {dense = 1}]
[fit]
loss = "mean_squared_error"
epochs = 2
[data]
features = ["a", "b", "answer"]
targets = ["answer"]
"""
BACKGROUND = """
[network]
inputs = [3]
layers = ["standardise", {dense = 2}, {dense = 3}]
[fit]
loss = "mean_squared_error"
epochs = 2
[data]
file = "events.npz"
[anomaly]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Events with a column of categories, as .npz and .parquet."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    x[:, 2] = rng.integers(0, 4, 600)
    label = (x[:, 0] * (x[:, 2] - 1.5) > 0).astype(np.int64)
    np.savez(tmp_path / "events.npz", features=x, label=label, feature_names=["a", "b", "kind"])
    columns = {"a": x[:, 0], "b": x[:, 1], "answer": x[:, 0] - x[:, 1]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "events.parquet")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "net.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_classes_have_a_recipe_for_reports(folder: Path) -> None:
    facts = train_described(folder / "build", written(folder, CLASSES), baselines=True)
    content = json.loads((folder / "build" / RECIPE).read_text())
    assert content["sections"]["description"]["network"]["layers"][2] == {"dense": {"units": 6}}
    recipe = Recipe.read(folder / "build")
    assert recipe is not None
    assert [len(part) for part in recipe.split().parts] == [360, 120, 120]
    training = load_record(folder / "build").training
    assert isinstance(training, TrainingFacts)
    assert training == facts.training
    assert [run.model for run in training.runs] == ["float", "qat"]
    assert not isinstance(training.baselines, NotRun)
    assert training.formats["input"].startswith("ap_fixed")
    score = training.runs[1].score
    assert isinstance(score, Quantity)
    assert facts.firmware is not None
    assert abs(100 * facts.firmware - score.value) < 2
    design = Design.from_onnx(folder / "build" / "model.onnx")
    assert design.feature_names == ("a", "b", "kind")


def test_networks_of_other_events_stay(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samebits, build = Command(capsys, monkeypatch), folder / "build"
    build.mkdir()
    (build / "model.keras").write_bytes(b"mine")
    train = ("train", "--network", written(folder, CLASSES), "-o", build)
    result = samebits(*train)
    assert result.code == 2
    assert "holds networks that samebits train did not make (model.keras); give" in result.error
    recipe = Recipe("other.npz", "0" * 64, 0, {})
    recipe.write(build)
    result = samebits(*train)
    assert result.code == 2
    assert "holds networks trained on other.npz (model.keras); give another" in result.error
    assert (build / "model.keras").read_bytes() == b"mine"
    refuse_to_replace(build, recipe.data_sha256)  # the same events again
    assert samebits(*train, "--force", "--epochs", "1").code == 0
    assert (build / "model.keras").read_bytes() != b"mine"


def test_numbers_are_fitted_without_labels(folder: Path) -> None:
    path = written(folder, ANSWERS)
    facts = train_described(folder / "build", path, data=str(folder / "events.parquet"))
    assert facts.training.score_name == "root mean squared error"
    assert facts.firmware is not None
    recipe = Recipe.read(folder / "build")
    assert recipe is not None
    test = recipe.split().test
    assert isinstance(test, Regression)
    assert test.targets[:, 0].tolist() == (test.features[:, 0] - test.features[:, 1]).tolist()
    design = Design.from_onnx(folder / "build" / "model.onnx")
    assert design.feature_names == ("a", "b")


def test_autoencoders_become_scores(folder: Path) -> None:
    facts = train_described(folder / "build", written(folder, BACKGROUND))
    assert facts.firmware is None
    design = Design.from_onnx(folder / "build" / "model.onnx")
    assert np.asarray(design.simulate(np.zeros((1, 3)))).shape == (1, 1)
    assert {"difference", "score"} <= set(facts.training.formats)


def test_events_that_do_not_fit(folder: Path) -> None:
    path = written(folder, CLASSES.replace("inputs = [3]", "inputs = [4]"))
    with pytest.raises(errors.DataError, match=r"has 3 features \(a, b, kind\); the network takes"):
        train_described(folder / "build", path)
    with pytest.raises(errors.UsageError, match=r"data\.file is missing"):
        train_described(folder / "build", written(folder, ANSWERS))
    path = written(folder, ANSWERS.replace('targets = ["answer"]', ""))
    with pytest.raises(errors.UsageError, match=r"data\.targets is missing"):
        train_described(folder / "build", path, data=str(folder / "events.parquet"))
    path = written(folder, CLASSES + 'targets = ["a"]\n')
    with pytest.raises(errors.UsageError, match=r"data\.targets: are numbers, but fit\.loss is"):
        train_described(folder / "build", path)
    assert not (folder / "build").exists()


def test_classes_get_the_names_of_the_description(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build, text = folder / "build", CLASSES.replace("epochs = 3", "epochs = 1")
    named = text + 'class_names = ["background", "tau"]\n'
    train_described(build, written(folder, named))
    design = compile_model(build / "model.onnx", build, Target())
    assert score_place(design, "tau") == (1, "score of tau")
    metrics = build_report(design).metrics
    assert isinstance(metrics, MetricsFacts)
    assert metrics.models["firmware"].class_names == ("background", "tau")
    recipe = Recipe.read(build)
    assert recipe is not None
    other = np.load(folder / "events.npz")
    text_labels = np.where(other["label"][:50] == 1, "tau", "background")
    one = np.where(text_labels == "tau")[0]
    np.savez(folder / "tau.npz", features=other["features"][one], label=text_labels[one])
    taus = labelled_events(str(folder / "tau.npz"), recipe)[0]
    assert isinstance(taus, Dataset)
    assert set(taus.labels) == {1}  # the class of the training, though it is alone
    older = replace(recipe, columns={k: v for k, v in recipe.columns.items() if k != "class_names"})
    assert older.same_parts(recipe)
    assert caplog.messages == []


def test_names_and_numbers_of_classes_that_do_not_fit(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = CLASSES.replace("{dense = 2}", "{dense = 3}")
    with pytest.raises(
        errors.DataError, match=r"has 3 outputs, the events have 2 classes \(0, 1\)"
    ):
        train_described(folder / "build", written(folder, wrong))
    events = np.load(folder / "events.npz")
    np.savez(folder / "events.npz", **events, class_names=["qcd", "htt"])
    path = written(folder, wrong + 'class_names = ["background", "tau"]\n')
    with pytest.raises(errors.DataError, match=r"the events have 2 classes \(qcd, htt\)"):
        train_described(folder / "build", path)
    assert "names its classes itself: qcd, htt; data.class_names (background, tau)" in caplog.text
    classes = 'class_names = ["a", "b"]\n'
    path = written(folder, ANSWERS + classes)
    with pytest.raises(errors.UsageError, match=r"data\.class_names: data\.targets are numbers"):
        train_described(folder / "build", path)
    path = written(folder, BACKGROUND.replace("[anomaly]", f"{classes}[anomaly]"))
    with pytest.raises(
        errors.UsageError, match=r"data\.class_names: an autoencoder has no classes"
    ):
        train_described(folder / "build", path)


def test_the_command_line_changes_single_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samebits = Command(capsys, monkeypatch)
    options = ("train", "--network", written(folder, CLASSES), "-o", folder / "build")
    ran = samebits(*options, "--hidden", "3")
    assert ran.error == "--hidden: the network is the file's; change it there"
    ran = samebits(*options, "--epochs", "1", "--weight-bits", "4", "--no-baselines", "--json")
    assert ran.code == 0
    runs = json.loads(ran.stdout)["runs"]
    assert [(one["epochs"], one["bits"]) for one in runs] == [(1, None), (1, 4)]


def test_reports_judge_a_regression_by_its_test_part(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build, events = folder / "build", str(folder / "events.parquet")
    train_described(build, written(folder, ANSWERS), data=events)
    design = compile_model(build / "model.onnx", build, Target())
    facts = build_report(design)
    assert isinstance(facts.regression, RegressionFacts)
    assert facts.regression.split == "test"
    assert list(facts.regression.comparison.models) == ["float", "qat", "firmware"]
    assert isinstance(facts.metrics, NotRun)
    assert facts.metrics.reason == "the network predicts answer"
    # the file of the training is its test part also where the target is named
    again = build_report(design, events, target="answer").regression
    assert isinstance(again, RegressionFacts)
    assert again.comparison.models == facts.regression.comparison.models
    assert "its test part is used" in caplog.text
    reads = Recipe.read(build)
    assert reads is not None
    assert [entry["by"] for entry in reads.test_reads] == ["samebits report"] * 2


def test_tuning_trains_described_networks_in_other_formats(folder: Path) -> None:
    build = folder / "build"
    text = CLASSES.replace("epochs = 3", "epochs = 1") + "[quantized]\ndistil = true\n"
    train_described(build, written(folder, text))
    compile_model(build / "model.onnx", build, Target())
    wanted = {"relu_1": Format(False, 3, 1), "dense_1_kernel": Format(True, 4, 1)}
    model = trainer_of(network_of(build))(wanted)
    found = {one.name: one.grid for one in quantizers(model)}
    for name, fmt in wanted.items():
        grid = found[name]
        assert grid is not None
        assert (grid.width, grid.integer) == (fmt.width, fmt.integer)
    before = {one.name: one for one in onnx.load(build / "model.onnx").graph.initializer}
    after = {one.name: one for one in model.graph.initializer}
    weights = [name for name in before if name in after and before[name].dims]
    assert any(before[name] != after[name] for name in weights)  # it was trained


def test_background_alone_has_a_test_part_for_bits_and_none_for_metrics(folder: Path) -> None:
    build = folder / "build"
    train_described(build, written(folder, BACKGROUND))
    recipe = Recipe.read(build)
    assert recipe is not None
    assert type(recipe.split().test) is Features
    assert labelled_events(None, recipe) == (None, "test")
    with pytest.raises(errors.UsageError, match="with other labels or targets, or without"):
        labelled_events(str(folder / "events.npz"), recipe)
