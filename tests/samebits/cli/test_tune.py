"""`samebits tune`: options, what is printed and written, how it ends."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design
from samebits.bit_operations import bit_operations, total
from samebits.cli.tune import accuracy_hint
from samebits.tune_record import Tuning

from ...models import float_mlp, quantized_mlp
from .command import Command


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """A model, and events labelled by it, a tenth of them wrongly."""
    model = quantized_mlp(seed=8).save(tmp_path / "model.onnx")
    x = np.random.default_rng(4).normal(0, 2, (300, 4)).astype(np.float32)
    answer: Any = Design.from_onnx(model).simulate(x)
    labels = answer.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 3
    np.savez(tmp_path / "labelled.npz", features=x, label=labels)
    return model, tmp_path / "labelled.npz"


@pytest.fixture(autouse=True)
def no_luts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the seconds that estimates of LUTs take."""
    from samebits.firmware.results import NotRun

    monkeypatch.setattr("samebits.tune._lut", lambda *_: NotRun(reason="a test"))


def test_what_is_written_and_said(
    samebits: Command, labelled: tuple[Path, Path], tmp_path: Path
) -> None:
    model, events = labelled
    folder = tmp_path / "tuned"
    asked = ("tune", model, "--data", events, "--max-accuracy-drop", 6, "-o", folder,
             "--evaluations", 120, "--against", "onnxruntime")  # fmt: skip
    result = samebits(*asked)
    assert result.code == 0, result.stderr
    found = json.loads((folder / "tune" / "tune.json").read_text())
    design = Design.load(folder)
    assert total(bit_operations(design.graph)).ebops == found["after"]["ebops"]
    assert found["after"]["ebops"] < found["before"]["ebops"]
    assert found["confirmation"]["within"]
    for word in ("Formats", "EBOPs", "Lost on 150 events, half 2", "MISMATCH", "equal"):
        assert (word in result.stdout) == (word != "MISMATCH")
    written = {path.name for path in (folder / "tune").iterdir()}
    assert {"tune.json", "tune.csv"} <= written
    assert accuracy_hint(Tuning(**found)) == ""
    lost = found | {"max_auc_drop": 0.002, "max_accuracy_drop_points": None}
    for after, hinted in ((96.5, False), (94.8, True)):
        accuracies = {"accuracy_before": 97.0, "accuracy_after": after}
        one = Tuning(**lost | {"confirmation": found["confirmation"] | accuracies})
        assert ("by 2.20 points" in accuracy_hint(one)) == hinted
        assert ("--max-accuracy-drop" in accuracy_hint(one)) == hinted
    again = samebits(*asked, "--json")
    assert again.code == 0, again.stderr
    values = json.loads(again.stdout)
    assert values["configurations"] == found["configurations"] + values["evaluated_now"]
    assert values["after"]["ebops"] <= found["after"]["ebops"]
    assert values["verification"]["mismatching_bits"] == 0
    other = ("tune", model, "--data", events, "--max-accuracy-drop", 1e-6, "-o", tmp_path / "other")
    exceeded = samebits(*other, "--evaluations", 20, "--against", "onnxruntime")
    kept = json.loads((tmp_path / "other" / "tune" / "tune.json").read_text())["confirmation"]
    assert exceeded.code == (0 if kept["within"] else 1)
    assert ("the budget is exceeded" in exceeded.stderr) == (exceeded.code == 1)


def test_usage(samebits: Command, labelled: tuple[Path, Path], build: Path, tmp_path: Path) -> None:
    model, events = labelled
    assert "--max-auc-drop" in samebits("tune", model, "--data", events).error
    some = ("tune", model, "--data", events, "--max-auc-drop", 0.01)
    assert "bit-operations or lut" in samebits(*some, "--objective", "ns").error
    assert "1 or more" in samebits(*some, "--evaluations", 0).error
    assert "own folder" in samebits("tune", build, "--max-auc-drop", 1, "-o", build).error
    assert "--data" in samebits("tune", build, "--max-auc-drop", 1, "-o", tmp_path / "t").error
    made = ("--data", events, "--max-auc-drop", 1, "-o", build)
    assert "tune did not make" in samebits("tune", model, *made).error
    plain = float_mlp().save(tmp_path / "float.onnx")
    result = samebits("tune", plain, "--data", events, "--max-auc-drop", 1, "-o", tmp_path / "t")
    assert "samebits compile --calibrate" in result.error
    assert result.code == 2
