"""`samebits verify`: exit code 1 for one wrong bit, and where nothing could be compared."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits.sim.onnx_engine import OnnxEngine

from .command import Command


def test_equal_engines(samebits: Command, build: Path, events: Path) -> None:
    result = samebits("verify", build, events, "--against", "onnxruntime")
    assert result.code == 0
    assert "Same bits as the NumPy engine?" in result.stdout
    assert result.stdout.count("equal") == 3
    report = json.loads((build / "report.json").read_text())
    assert [e["status"] for e in report["verification"]["engines"]] == ["equal"] * 3
    assert report["verification"]["engines"][0]["event_sets"][0] == {
        "kind": "data", "events": 20, "is_adversarial": False,
    }  # fmt: skip


def test_json_stands_alone_on_stdout(samebits: Command, build: Path) -> None:
    result = samebits("verify", build, "--against", "onnxruntime", "--json", "--seed", "3")
    values = json.loads(result.stdout)
    assert result.code == 0
    assert values["mismatching_bits"] == 0
    assert [engine["status"] for engine in values["engines"]] == ["equal"] * 3
    assert all(engine["bits"] > 1000 for engine in values["engines"])
    assert "data" not in values["events"]


def test_one_wrong_bit_is_exit_code_1(
    samebits: Command, build: Path, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxEngine.run

    def broken(engine: OnnxEngine, inputs: Sequence[Any], progress: Any = None) -> Any:
        found = run(engine, inputs, progress)
        layer = found.get("layer:Relu_0")  # the file in the folder has no layers
        if layer is not None:
            layer[7, 2] = 0.0625 * (layer[7, 2] == 0)
        return found

    monkeypatch.setattr(OnnxEngine, "run", broken)
    arguments = "verify", build, events, "--against", "onnxruntime", "--no-adversarial"
    result = samebits(*arguments)
    assert result.code == 1
    assert "MISMATCH" in result.stdout
    lines = [line for line in result.stderr.splitlines() if "Traceback" not in line]
    start = next(i for i, line in enumerate(lines) if "first difference" in line)
    assert lines[start] == (
        "firmware.onnx (optimisations off): first difference in layer Relu_0, event 7, element "
        "[2], ap_ufixed<6,2,RND_CONV,SAT>"
    )
    assert lines[start + 1].startswith("  numpy                              0")
    assert lines[start + 2].startswith("  firmware.onnx (optimisations off)  0")
    assert json.loads(samebits(*arguments, "--json").stdout)["mismatching_bits"] > 0
    # the event by its keys, wherever the message goes
    numbers = np.arange(20)
    keys = {"run": 1 + 0 * numbers, "event": numbers // 5, "bx": numbers % 5 - 2}
    np.savez(events, features=np.load(events)["features"], **keys)
    arguments = "verify", build, events, "--against", "onnxruntime", "--junit", "j.xml"
    told = "event 7 is of the kind: data, run 1, event 1, bx 0"
    assert told in samebits(*arguments).stderr
    assert told in Path("j.xml").read_text(encoding="utf-8")
    assert told in (build / "report.json").read_text(encoding="utf-8")


def test_no_compiler_is_no_failure_if_another_engine_ran(
    samebits: Command, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    result = samebits("verify", build)
    assert result.code == 0
    assert "not run" in result.stdout
    assert (
        "csim: not run: the C++ compiler in the environment variable CXX, '/nowhere/g++', is not "
        "there: unset CXX or install g++"
    ) in result.stderr
    assert samebits("verify", build, "--against", "csim").code == 1


def test_engines_that_did_not_run_prove_nothing(
    samebits: Command, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    result = samebits("verify", build, "--against", "rtl", "--json")
    assert result.code == 1
    assert json.loads(result.stdout)["mismatching_bits"] == 0
    shutil.rmtree(build / "hls")
    assert samebits("verify", build, "--against", "csim").code == 1


def test_a_damaged_build_is_bad_input(samebits: Command, build: Path) -> None:
    (build / "hls" / "samebits.json").write_text("{")
    assert samebits("verify", build, "--against", "csim").code == 2
    (build / "firmware.onnx").unlink()
    result = samebits("verify", build, "--against", "onnxruntime")
    assert (result.code, result.error) == (
        2,
        f"{build / 'firmware.onnx'}: cannot be read: No such file or directory; compile the model "
        "again",
    )


def saved(folder: Path, name: str, x: Any) -> Path:
    np.savez(folder / name, features=x)
    return folder / name


@pytest.mark.parametrize("command", ["verify", "simulate"])
def test_bad_events(samebits: Command, build: Path, tmp_path: Path, command: str) -> None:
    x = np.zeros((6, 4), np.float32)
    x[3, 1], x[4, 0] = np.nan, np.inf
    spoiled = saved(tmp_path, "nan.npz", x)
    wrong = saved(tmp_path, "wrong.npz", x[:2, :3])
    (tmp_path / "empty.npz").touch()
    (tmp_path / "cut.npz").write_bytes(spoiled.read_bytes()[:100])
    before = (build / "design.json").read_bytes()
    for path, words in (
        (tmp_path / "absent.npz", "there is no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.npz", "the file is empty"),
        (tmp_path / "cut.npz", f"{tmp_path / 'cut.npz'}: "),
        (spoiled, "2 of 24 values are NaN or infinite"),
        (wrong, "input x: got events of shape (3,), wanted (4,) (4 features), with the batch axis "
         "first"),
    ):  # fmt: skip
        result = samebits(command, build, path)
        assert result.code == 2
        assert words in result.error
    assert "event 3" in samebits(command, build, spoiled).error
    assert (build / "design.json").read_bytes() == before


def test_wrong_usage(samebits: Command, build: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([build, "--against", "vitis"],
         "verify: no engine 'vitis'; engines: csim, onnxruntime, native, rtl"),
        ([build, "--against", "csim,"],
         "verify: no engine ''; engines: csim, onnxruntime, native, rtl"),
        ([build, "--no-adversarial"], "verify: give events, or leave the adversarial inputs on"),
        ([tmp_path / "absent"],
         f"{tmp_path / 'absent'}: holds no design (no design.json); make one with `samebits "
         "compile`"),
    ):  # fmt: skip
        result = samebits("verify", *arguments)
        assert (result.code, result.error) == (2, message)


@pytest.mark.parametrize(
    "step",
    [
        "samebits.verify.adversarial_inputs",
        "samebits.sim.onnx_engine.OnnxEngine.run",
        "samebits.firmware.csim.CSimulation.build",
        "samebits.storage.replace_file",
    ],
)
def test_ctrl_c(samebits: Command, build: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupt(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    before = {path: path.stat().st_mtime_ns for path in build.rglob("*")}
    monkeypatch.setattr(step, interrupt)
    against = "csim" if "csim" in step else "onnxruntime"
    result = samebits("verify", build, "--against", against)
    assert (result.code, result.error) == (
        2,
        "interrupted; finished files were kept, nothing half-written is left",
    )
    assert {path: path.stat().st_mtime_ns for path in build.rglob("*")} == before
