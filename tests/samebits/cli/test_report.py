"""`samebits report` of networks that were not trained here: model.onnx beside the firmware."""

import json
from pathlib import Path

import numpy as np

from samebits import Design

from .command import Command


def test_weights_and_classes_of_an_own_model(
    samebits: Command, build: Path, tmp_path: Path
) -> None:
    design = Design.load(build)
    rng = np.random.default_rng(4)
    x = rng.normal(0, 2, (300, 4)).astype(np.float32)
    answer = np.asarray(design.simulate(x))
    labels = (answer + rng.normal(0, 0.3, answer.shape)).argmax(axis=1)
    np.savez(tmp_path / "x.npz", features=x, label=labels, w=rng.uniform(1, 3, 300))
    data = tmp_path / "x.npz"
    result = samebits("report", build, "--data", data, "--weight", "w", "--json")
    assert result.code == 0, result.stderr
    facts = json.loads(result.stdout)
    metrics = facts["metrics"]
    assert list(metrics["models"]) == ["model.onnx", "firmware"]
    weights = np.load(data)["w"]
    expected = np.average(answer.argmax(axis=1) == labels, weights=weights)
    assert abs(metrics["models"]["firmware"]["accuracy"] - expected) < 1e-12
    assert metrics["models"]["firmware"]["weighted"]
    assert metrics["comparison"]["gate"] is None
    assert {gate["name"] for gate in facts["gates"]} == {"same bits"}
    assert [row["layer"] for row in facts["bits"]["model"]["rows"]]
    np.savez(tmp_path / "named.npz", features=x, isTau=labels)
    named = ("report", build, "--data", tmp_path / "named.npz")
    assert "has no array label; it has: features, isTau; name its labels" in samebits(*named).error
    again = json.loads(samebits(*named, "--label", "isTau", "--json").stdout)["metrics"]["models"]
    plain = samebits("report", build, "--data", data, "--json")
    assert again == json.loads(plain.stdout)["metrics"]["models"]
    wrong = samebits("report", build, "--label", "isTau")
    assert wrong.error == "--label isTau is a column of a file: give --data FILE"
    wrong = samebits("report", build, "--weight", "w")
    assert wrong.error == "--weight w is a column of a file: give --data FILE"


def test_a_regression(samebits: Command, build: Path, tmp_path: Path) -> None:
    design = Design.load(build)
    rng = np.random.default_rng(5)
    x = rng.normal(0, 2, (200, 4)).astype(np.float32)
    answer = np.asarray(design.simulate(x))
    names = [f"t{k}" for k in range(answer.shape[1])]
    errors = rng.normal(0, 0.1, answer.shape)
    columns = {name: answer[:, k] - errors[:, k] for k, name in enumerate(names)}
    np.savez(tmp_path / "x.npz", features=x, **columns)
    arguments = ("report", build, "--data", tmp_path / "x.npz", "--target")
    result = samebits(*arguments, ",".join(names), "--json")
    assert result.code == 0, result.stderr
    facts = json.loads(result.stdout)
    comparison = facts["regression"]["comparison"]
    firmware = comparison["models"]["firmware"]
    for k, name in enumerate(names):
        rms = np.sqrt(np.square(errors[:, k]).mean())
        assert abs(firmware[name]["rms"]["value"] - rms) < 1e-6
    assert comparison["reference"] == "model.onnx"
    assert facts["metrics"]["status"] == "not run"
    assert "Regression</h2>" in (build / "report.html").read_text()
    short = json.loads(samebits(*arguments, names[0], "--json").stdout)
    assert "there are 1 targets" in short["regression"]["reason"]
