"""`samebits data`: shipped samples as files of events, and the commands of docs/trigger.md."""

import hashlib
import json
import re
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design
from samebits.recipe import KERAS_SHA256, Recipe
from samebits.sim.trigger import compare_at_rates
from samebits.train.data import load, load_column, load_jets
from samebits.train.physics_samples import load_trigger_events

from ...models import ModelWriter
from .command import Command

ROOT = Path(__file__).parents[3]


def network(features: int, scores: int) -> Any:
    """One quantized layer with weights from a seed."""
    writer = ModelWriter(seed=3)
    x = writer.quant(writer.input("x", features), 18, 14)
    writer.output(writer.quant(writer.gemm(x, features, scores, 6), 24, 18), scores)
    return writer.model()


def saved(model: Any, path: Path, digest: str, **metadata: Any) -> None:
    for key, values in metadata.items():
        model.metadata_props.add(key=f"samebits.{key}", value=json.dumps(list(values)))
    model.metadata_props.add(key=KERAS_SHA256, value=digest)
    onnx.save(model, path)


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A build as `samebits demo` leaves it, but for the networks, which nobody trained."""
    folder, jets = tmp_path / "demo", load_jets()
    folder.mkdir()
    hashes = {}
    for name in ("model.keras", "float.keras"):
        (folder / name).write_bytes(name.encode())
        hashes[name] = hashlib.sha256(name.encode()).hexdigest()
    names = {"features": jets.feature_names, "classes": jets.class_names}
    saved(network(16, 5), folder / "model.onnx", hashes["model.keras"], **names)
    saved(network(16, 5), folder / "float.onnx", hashes["float.keras"])
    Recipe("jets", jets.sha256, 0, hashes, stratified=True).write(folder)
    Design.from_onnx(folder / "model.onnx").save(folder)
    return folder


def commands(page: str) -> list[list[str]]:
    """The commands of the indented blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in re.findall(r"^    (samebits .*)$", text, re.M)]


def test_the_commands_of_the_page_run_as_they_stand(
    samebits: Command, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but those that train; verify and report are other tests'."""
    few = partial(compare_at_rates, replicates=10)
    monkeypatch.setattr("samebits.trigger.compare_at_rates", few)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    anomaly = tmp_path / "anomaly"
    anomaly.mkdir()
    onnx.save(network(57, 1), anomaly / "model.onnx")
    ran = []
    for command in commands("docs/trigger.md"):
        if command[0] in ("data", "trigger", "compile"):
            result = samebits(*command)
            assert result.code == 0, (command, result.stderr)
            ran.append(command[0])
    assert (ran.count("data"), ran.count("trigger"), ran.count("compile")) == (5, 3, 1)
    facts = json.loads((demo / "report.json").read_text())
    assert list(facts["trigger"]["models"]) == ["float", "qat", "firmware"]
    assert facts["trigger"]["signals"] == {"t": 1200}
    assert list(facts["menu"]["models"]["firmware"]["seeds"]) == ["top", "W", "heavy jet"]
    found = json.loads((anomaly / "report.json").read_text())["trigger"]
    assert found["signals"] == {"a_to_4l": 1250}
    assert found["differences"][0]["model"] == "firmware"  # although the events have weights


def test_a_test_part_is_that_of_the_training(samebits: Command, demo: Path, tmp_path: Path) -> None:
    result = samebits("data", demo, "-o", "part.npz", "--classes", "t,g")
    assert result.code == 0, result.stderr
    assert result.stdout == "part.npz: 2,400 events; 16 features; g 1,200, t 1,200\n"
    test = load_jets().split(0, stratified=True).test
    kept = np.isin(test.labels, [0, 4])
    written = load(tmp_path / "part.npz")
    assert np.array_equal(written.features, test.features[kept])
    assert np.array_equal(written.labels, test.labels[kept])
    assert written.feature_names == test.feature_names
    assert written.class_names == test.class_names
    recipe = Recipe.read(demo)
    assert recipe is not None
    assert [reading["by"] for reading in recipe.test_reads] == ["samebits data"]


def test_rates_of_the_events_of_the_training_are_told(
    samebits: Command, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(compare_at_rates, replicates=10)
    monkeypatch.setattr("samebits.trigger.compare_at_rates", few)
    jets = load_jets()
    for name, start in (("own.npz", 0), ("others.npz", 100)):
        np.savez(tmp_path / name, features=jets.features[start : start + 100])
    recipe = Recipe.read(demo)
    assert recipe is not None
    digest = hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()
    replace(recipe, data="own.npz", data_sha256=digest).write(demo)
    rates = ("--bunches", "2340", "--rate-khz", "9000", "--score", "4")
    result = samebits("trigger", demo, "--unbiased", "others.npz", "--signal", "own.npz", *rates)
    assert result.code == 0, result.stderr
    said = " ".join(result.stderr.split())
    assert (
        "own.npz: the network was trained on these events, and does better on them than on others; "
        f"samebits data {demo} -o FILE writes those of its test part" in said
    )
    assert "others.npz: the network" not in said


def test_shipped_events_have_their_weights(samebits: Command, tmp_path: Path) -> None:
    assert samebits("data", "trigger-events", "-o", "all.npz").code == 0
    events, all_of_them = load_trigger_events(), load(tmp_path / "all.npz")
    assert np.array_equal(all_of_them.features, events.codes)
    weight = load_column(tmp_path / "all.npz", "weight")
    for number, name in enumerate(events.class_names):
        total = events.accepted_pb[number] if name in events.backgrounds else 1
        assert weight[events.labels == number].sum() == pytest.approx(total)


def test_both_rows_of_a_collision_are_in_one_part(samebits: Command, tmp_path: Path) -> None:
    found = []
    for part in ("1/2", "2/2"):
        assert samebits("data", "ttbar", "-o", "ttbar.npz", "--part", part).code == 0
        events = load(tmp_path / "ttbar.npz")
        assert events.class_names == ("wrong", "right")
        assert np.bincount(events.labels).tolist() == [3000, 3000]
        found.append({row.tobytes() for row in events.features[:, 20:]})  # of lepton and MET
    assert len(found[0]) == len(found[1]) == 3000
    assert not found[0] & found[1]
    assert samebits("data", "ttbar", "-o", "r.npz", "--classes", "right", "--part", "2/2").code == 0
    right = load(tmp_path / "r.npz").features
    assert np.array_equal(right, events.features[events.labels == 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("jet", "-o", "x.npz"), "no sample 'jet': wanted jets, ttbar, trigger-events, or a build"),
        (("jets", "-o", "x.csv"), "x.csv: unknown suffix; wanted .npz"),
        (("jets", "-o", "x.npz", "--classes", "g,b"), "there is no class b; there are g, q, w, z"),
        (("jets", "-o", "x.npz", "--part", "3/2"), "K/N with K from 1 to N, got '3/2'"),
        (("untrained", "-o", "x.npz"), "untrained: holds no training whose events"),
    ],
)
def test_mistakes(
    samebits: Command, compiled: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "untrained").symlink_to(compiled)
    result = samebits("data", *arguments)
    assert result.code == 2
    assert message in result.error
    assert not (tmp_path / "x.npz").exists()
