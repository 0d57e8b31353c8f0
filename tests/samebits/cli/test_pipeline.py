"""train, export, compile, verify, report one after the other, and each interrupted."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .command import Command

# not importorskip: qkeras must be imported by samebits, on top of Keras 2
pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("qkeras", "sklearn", "alkaid")),
    reason="the extras train, hep and rtl are not all installed",
)

INTERRUPTED = "interrupted; finished files were kept, nothing half-written is left"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three classes in four features, easy to tell apart."""
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 900)
    centres = rng.normal(0, 3, (3, 4))
    features = (centres[labels] + rng.normal(0, 0.7, (900, 4))).astype(np.float32)
    np.savez(tmp_path / "data.npz", features=features, label=labels)
    return tmp_path / "data.npz"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_stage_by_stage(
    samebits: Command, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tmp_path / "build"
    train = ["train", "-o", build, "--data", data, "--hidden", "8", "--epochs", "25"]

    def interrupt(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    for step in (
        "samebits.train.fit.prepare",
        "samebits.train.fit.fit_quantized",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(step, interrupt)
            result = samebits(*train, "--epochs", "1")
        assert (result.code, result.error) == (2, INTERRUPTED)
        assert not build.exists()

    result = samebits(*train)
    assert result.code == 0, result.stderr
    assert "tensorflow" not in result.stderr.lower()
    assert "input scaling po2 (chosen)" in result.stdout
    assert result.stdout.endswith(
        f"written to {build}: next, samebits export {build}/model.keras\n"
    )
    trained = ["float.keras", "float.onnx", "model.keras", "report.json", "training.json"]
    assert names(build) == trained

    for step in (
        "samebits.compile.frontends.keras.export_keras",
        "samebits.storage.replace_file",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(step, interrupt)
            result = samebits("export", build / "model.keras")
        assert (result.code, result.error) == (2, INTERRUPTED)
        assert names(build) == trained

    result = samebits("export", build / "model.keras", "--json")
    assert result.code == 0, result.stderr
    check = json.loads(result.stdout)["check"]
    assert check["events"] == 180
    assert all(t["different"] == 0 for t in check["tensors"] if t["provable"])

    result = samebits("compile", build / "model.onnx", "-o", build)
    assert result.code == 0, result.stderr
    assert f"written to {build}: next, samebits verify {build}" in result.stdout

    result = samebits("verify", build, "--against", "onnxruntime")
    assert result.code == 0, result.stderr

    result = samebits("report", build, "--json", "--budget-ns", "1000")
    assert result.code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["commands"] == [
        f"samebits train -o {build} --data {data} --hidden 8 --epochs 25",
        f"samebits export {build}/model.keras --json",
        f"samebits compile {build}/model.onnx -o {build}",
        f"samebits verify {build} --against onnxruntime",
        f"samebits report {build} --json --budget-ns 1000",
    ]
    assert facts["metrics"]["split"] == "test"
    assert {gate["name"]: gate["passed"] for gate in facts["gates"]}["same bits"] is True
    assert set(facts["metrics"]["models"]) == {"float", "qat", "firmware"}
    html = (build / "report.html").read_text(encoding="utf-8")
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert names(build) == sorted(
        [
            *trained,
            "design.json",
            "design.npz",
            "emulator",
            "estimate.json",
            "firmware.onnx",
            "hls",
            "model.onnx",
            "report.html",
        ]
    )

    # a wrong verdict stays wrong in the report
    report = json.loads((build / "report.json").read_text())
    report["verification"]["engines"][0]["mismatching_bits"] = 1
    report["verification"]["engines"][0]["status"] = "MISMATCH"
    (build / "report.json").write_text(json.dumps(report))
    assert samebits("report", build).code == 1

    with monkeypatch.context() as patch:
        patch.setattr("samebits.report.write_report", interrupt)
        before = names(build)
        result = samebits("report", build)
    assert (result.code, result.error) == (2, INTERRUPTED)
    assert names(build) == before

    # the training's own data: its test part; trained again: nothing of the old firmware is mixed
    result = samebits("report", build, "--json", "--data", data)
    assert json.loads(result.stdout)["metrics"]["models"]["firmware"]["events"] == 180
    assert f"warning: {data}: the network was trained on it; its test part is used\n" in (
        result.stderr
    )
    assert samebits(*train, "--epochs", "1").code == 0
    result = samebits("verify", build, "--against", "onnxruntime", "--json")
    why = (
        "model.onnx was not exported from the model.keras in this folder: run samebits export and "
        "compile again"
    )
    assert f"warning: the training in {build} is not used: {why}\n" in result.stderr
    assert "data" not in json.loads(result.stdout)["events"]
    facts = json.loads(samebits("report", build, "--json").stdout)
    for section in ("metrics", "training", "data", "export"):
        assert facts[section] == {"status": "not run", "reason": why}
    facts = json.loads(samebits("report", build, "--json", "--data", data).stdout)
    assert facts["metrics"]["split"] == "events of data.npz"
    assert set(facts["metrics"]["models"]) == {"model.onnx", "firmware"}

    # exported and compiled again: all of it is back
    assert samebits("export", build / "model.keras").code == 0
    assert samebits("compile", build / "model.onnx", "-o", build, "--force").code == 0
    facts = json.loads((build / "report.json").read_text())
    assert facts["training"]["runs"][1]["epochs"] == 1
    assert facts["export"]["file"] == "model.onnx"
    assert samebits("verify", build, "--against", "onnxruntime", "--json").code == 0


def test_bad_models_and_options(samebits: Command, tmp_path: Path, data: Path) -> None:
    (tmp_path / "empty.keras").touch()
    (tmp_path / "text.h5").write_text("no model")
    for path in (tmp_path / "absent.keras", tmp_path / "empty.keras", tmp_path / "text.h5"):
        result = samebits("export", path)
        assert result.code == 2
        assert str(path) in result.error
    assert names(tmp_path) == ["data.npz", "empty.keras", "text.h5"]
    build = tmp_path / "build"
    for options, words in (
        (["--hidden", "8,x"], "--hidden: got '8,x', wanted for example 64,32,32"),
        (["--hidden", "0"], "hidden"),
        (["--epochs", "0"], "epochs"),
        (["--weight-bits", "0"], "weight_bits"),
        (["--pruning", "1"], "pruning"),
        (["--scaling", "log"], "scaling"),
        (["--data", str(tmp_path / "absent.npz")], "there is no such file"),
    ):
        result = samebits("train", "-o", build, "--data", data, *options)
        assert result.code == 2
        assert words in result.error
        assert not build.exists()
    result = samebits("train", "-o", data, "--data", data, "--hidden", "2", "--epochs", "1")
    assert (result.code, result.error) == (2, f"{data}: is a file; give a folder")
