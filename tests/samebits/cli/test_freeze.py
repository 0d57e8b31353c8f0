"""`samebits freeze` and `samebits check`: exit codes, what is printed, what is refused."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from samebits import Design

from ...models import quantized_mlp
from .command import Command


@pytest.fixture
def golden(samebits: Command, compiled: Path, events: Path, tmp_path: Path) -> Path:
    result = samebits("freeze", compiled, "--data", events, "-o", tmp_path / "golden")
    assert result.code == 0
    return tmp_path / "golden"


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the same network with other weights."""
    folder = tmp_path_factory.mktemp("other")
    Design.from_onnx(quantized_mlp(seed=2).save(folder / "model.onnx")).save(folder / "build")
    return folder


def test_freeze_and_check(
    samebits: Command, golden: Path, compiled: Path, events: Path, tmp_path: Path
) -> None:
    again = samebits("freeze", compiled, "--data", events, "-o", golden)
    assert again.stdout.startswith("230 events: 20 data, 1 zeros, 32 extremes, ")
    assert f"written to {golden}: " in again.stdout
    facts = json.loads(
        samebits("freeze", compiled, "-o", tmp_path / "g", "--against", "none", "--json").stdout
    )
    assert "data" not in facts["events"]
    for arguments in (
        (compiled,),
        (compiled, "--against", "onnxruntime"),
        ("--firmware", compiled / "firmware.onnx"),
        ("--model", compiled / "model.onnx"),
    ):
        result = samebits("check", golden, *arguments)
        assert (result.code, "equal" in result.stdout) == (0, True)
    assert samebits("simulate", compiled, golden / "inputs.npz", "-o", tmp_path / "a.csv").code == 0
    assert samebits("check", golden, "--answers", tmp_path / "a.csv").code == 0
    lines = (tmp_path / "a.csv").read_text().splitlines()
    place = len(lines) - 230 + 11  # behind a header
    first, rest = lines[place].split(",", 1)
    lines[place] = f"{float(first) + 1},{rest}"
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    result = samebits("check", golden, "--answers", tmp_path / "a.csv")
    assert result.code == 1
    assert "first difference in output Softmax_0, event 11, element [0], " in result.stderr


def test_another_design_is_exit_code_1(
    samebits: Command,
    golden: Path,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    junit = tmp_path / "junit.xml"
    result = samebits("check", golden, other / "build", "--junit", junit, "--json")
    assert result.code == 1
    assert json.loads(result.stdout)["mismatching_bits"] > 0
    assert "::error file=golden/golden.json,title=samebits check%3A numpy" in result.stderr
    assert "the design is another one than was frozen; versions: the same" in result.stderr
    assert ET.parse(junit).getroot()[0].get("failures") not in (None, "0")
    monkeypatch.delenv("GITHUB_ACTIONS")
    for arguments in (
        ("--model", other / "model.onnx"),
        ("--firmware", other / "build" / "firmware.onnx"),
    ):
        result = samebits("check", golden, *arguments)
        assert result.code == 1
        assert "::error" not in result.stderr
        assert "first difference in layer " in result.stderr


def test_verify_writes_junit(
    samebits: Command, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    junit = tmp_path / "junit.xml"
    result = samebits("verify", build, "--against", "onnxruntime", "--junit", junit)
    assert result.code == 0
    suite = ET.parse(junit).getroot()[0]
    assert (suite.get("name"), suite.get("failures")) == ("samebits verify", "0")
    assert int(suite.get("tests", 0)) > 10
    assert "::" not in result.stderr


def test_what_cannot_be_checked(
    samebits: Command, golden: Path, compiled: Path, tmp_path: Path
) -> None:
    for arguments, words in (
        ((golden,), "give one thing to check: a BUILD, --firmware"),
        ((golden, compiled, "--model", "m.onnx"), "give one thing to check: a BUILD, --firmware"),
        ((golden, compiled, "--raw"), "--raw says what --answers holds: give --answers too"),
        (
            (golden, "--firmware", compiled / "firmware.onnx", "--against", "native"),
            "--against needs a design: a BUILD or --model",
        ),
        ((golden, compiled, "--against", "planet"), "verify: no engine 'planet'"),
        ((golden, "--model", compiled), "is a folder; give the model.onnx in it"),
        ((tmp_path, compiled), "holds no golden vectors (no golden.json)"),
        ((golden, tmp_path), "holds no design"),
    ):
        result = samebits("check", *arguments)
        assert result.code == 2
        assert words in result.error
    result = samebits("freeze", compiled, "--layers", "some")
    assert (result.code, result.error) == (
        2, "--layers must be one of auto, full, digests, got 'some'",
    )  # fmt: skip
