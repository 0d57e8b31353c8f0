"""The examples run as written and print what they promise."""

from __future__ import annotations

import inspect
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str) -> str:
    """What an example prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_own_model_has_no_mismatching_bits() -> None:
    lines = run("own_model.py").splitlines()
    assert "mismatching bits: 0" in lines
    same = next(line for line in lines if line.startswith("same decisions"))
    assert int(same.split(":")[1].split()[0]) >= 989


def test_firmware_onnx_needs_only_onnx_runtime(tmp_path: Path) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], "dense")],
            "one",
            [helper.make_tensor_value_info("x", 1, ["N", 2])],
            [helper.make_tensor_value_info("y", 1, ["N", 1])],
            [numpy_helper.from_array(np.array([[1.0], [2.0]], np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "one.onnx")
    samebits = pytest.importorskip("samebits")
    design = samebits.Design.from_onnx(tmp_path / "one.onnx")
    design.export_onnx(tmp_path / "firmware.onnx")
    printed = run("firmware_onnx.py", str(tmp_path / "firmware.onnx"))
    assert "samebits.input.x: ap_fixed<16,6,TRN,WRAP>" in printed
    assert "[0.0]" in printed


# In this process: importing TensorFlow is what takes longest.
BENCH = {
    "xor": ("accuracy, firmware", 97.0),
    "digits_cnn": ("accuracy, firmware", 97.0),
    "spiral": ("accuracy, firmware", 95.0),
    "jets_features": ("accuracy, firmware", 64.0),
    "jets_constituents": ("accuracy, firmware", 44.0),
    "jets_images": ("accuracy, firmware", 37.0),
    "ttbar_assignment": ("AUC, firmware", 0.93),
    "anomaly": ("mean AUC, firmware", 0.76),
    "regression": ("root mean squared error, firmware", 0.06),
    "plane_fit": ("root mean squared error, firmware", 0.105),
    "checkerboard": ("accuracy, firmware", 93.0),
}


@pytest.mark.parametrize("name", BENCH)
def test_networks_of_the_training_bench(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]
    example(tmp_path, **{"quick": True} if "quick" in inspect.signature(example).parameters else {})
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    key, wanted = BENCH[name]
    value = float(printed[key].removesuffix(" %"))
    assert value <= wanted if key.startswith("root mean") else value >= wanted
    assert printed["mismatching bits"] == "0"
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_the_description_of_the_jets_needs_no_script(tmp_path: Path) -> None:
    described = pytest.importorskip("samebits.described")
    source = EXAMPLES / "jets_features.toml"
    facts = described.train_described(tmp_path, source, changes={"fit": {"epochs": 1}})
    assert facts.firmware > 0.45  # 59 % after one epoch; 20 % by chance
    assert facts.training.runs[1].bits == 6
