"""`samebits compile --calibrate`: what it prints and writes, and options that make no sense."""

import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from samebits import Design

from ...models import ModelWriter, float_mlp
from .command import Command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x = np.random.default_rng(4).normal(0, 1, (300, 4)).astype(np.float32)
    path = tmp_path / "data.npz"
    np.savez(path, features=x, label=(x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5))
    return path


def test_formats_and_loss_are_shown(samebits: Command, tmp_path: Path, data: Path) -> None:
    model, build = float_mlp().save(tmp_path / "m.onnx"), tmp_path / "b"
    result = samebits("compile", model, "-o", build, "--calibrate", data, "--bits", "6",
                      "--bits", "biases=12")  # fmt: skip
    assert (result.code, result.stderr.count("Traceback")) == (0, 0)
    for text in ("Formats from the data", "ap_ufixed<6,", "ap_fixed<12,", "On the labels", "AUC 2",
                 "Quantized against float, 300 events", "note: calibrated: accuracy ",
                 "; 300 calibration events, onnxruntime"):  # fmt: skip
        assert text in result.stdout
    fidelity = json.loads((build / "report.json").read_text())["fidelity"]
    assert (fidelity["events"], fidelity["data"]) == (300, "calibration events")
    design = Design.load(build)
    assert design.facts["source"] == "m.onnx"
    assert design.facts["notes"][0].startswith("calibrated on 300 events: gemm2_out against float")


def test_columns_that_share_an_inputs_format(samebits: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(4).normal(0, [100, 1, 0.01, 1], (300, 4)).astype(np.float32)
    names = ["mass", "tau", "width", "charge"]
    np.savez(tmp_path / "data.npz", features=x, feature_names=names)
    model = float_mlp().save(tmp_path / "m.onnx")
    command = "compile", model, "-o", tmp_path / "b", "--calibrate", tmp_path / "data.npz"
    result = samebits(*command)
    assert "Input x: ap_fixed<22,10,RND_CONV,SAT> for every column" in result.stdout
    assert "│ width  │" in result.stdout
    assert "warning: hls4ml" not in result.stderr
    result = samebits(*command, "--bits", "inputs=16", "--force")
    assert result.code == 0
    warning = next(line for line in result.stderr.splitlines() if line.startswith("warning: hls4"))
    assert warning.startswith(
        "warning: hls4ml gives an input one type, and ap_fixed<16,10,RND_CONV,SAT> is coarse for "
        "width: rounding takes up to "
    )
    assert warning.endswith("(up to 24), or train on columns in units of similar size")


def test_columns_and_labels_are_chosen_by_name(samebits: Command, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = importlib.import_module("pyarrow").table
    x = np.random.default_rng(4).normal(0, 1, (300, 4)).astype(np.float32)
    columns = {"weight": np.ones(300), **dict(zip("abcd", x.T, strict=True))}
    columns["kind"] = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
    path, model = tmp_path / "e.parquet", float_mlp().save(tmp_path / "m.onnx")
    parquet.write_table(table(columns), path)
    command = "compile", model, "-o", tmp_path / "b", "--calibrate", path
    assert samebits(*command).error == (
        f"{path}: 6 columns (weight, a, b, c, d, kind), the input x takes 4 numbers; choose them "
        "with --columns A,B,..."
    )
    result = samebits(*command, "--columns", "b,a,d,c", "--label", "kind")
    assert result.code == 0
    assert "On the labels" in result.stdout
    design = Design.load(tmp_path / "b")
    assert design.feature_names == ("b", "a", "d", "c")
    scores = tmp_path / "s.npy"
    assert samebits("simulate", tmp_path / "b", path, "-o", scores).code == 0
    assert np.array_equal(np.load(scores), design.simulate(x[:, [1, 0, 3, 2]]))
    assert samebits(*command, "--columns", "b,a,d,c", "--label", "nope").error.startswith(
        f"{path}: has no column nope"
    )
    model = tmp_path / "b" / "model.onnx"
    assert samebits("compile", model, "-o", tmp_path / "c", "--label", "kind").error == (
        "--columns and --label are of the file of --calibrate: give it"
    )


def test_json_holds_the_calibration(samebits: Command, tmp_path: Path, data: Path) -> None:
    model = float_mlp().save(tmp_path / "m.onnx")
    result = samebits("compile", model, "-o", tmp_path / "b", "--calibrate", data, "--json")
    calibration = json.loads(result.stdout)["calibration"]
    assert calibration["events"] == 300
    assert [row["tensor"] for row in calibration["formats"]] == [
        "x", "w0", "w1", "relu1_out", "w2", "w3",
    ]  # fmt: skip
    assert calibration["metrics"][0][0] == "accuracy"


def test_images_are_arrays_of_their_inputs_name(samebits: Command, tmp_path: Path) -> None:
    write = ModelWriter()
    x = write.node("Flatten", write.input(size=(2, 2)))
    write.output(write.gemm(x, 4, 3), 3)
    model = write.save(tmp_path / "m.onnx")
    data = tmp_path / "images.npz"
    np.savez(data, features=np.random.default_rng(4).normal(0, 1, (200, 2, 2)))
    assert samebits("compile", model, "-o", tmp_path / "b", "--calibrate", data).code == 0
    np.savez(data, wrong=np.zeros((200, 2, 2)))
    assert samebits("compile", model, "-o", tmp_path / "b", "--calibrate", data).error == (
        f"{data}: has no array features, only wrong; wanted a .npz file with arrays x"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bits", "8"], "--bits and --percentile choose formats from data: --calibrate"),
        (["--calibrate", "{}", "--bits", "x"], "--bits must be N, KIND=N or TENSOR=N, got 'x'"),
        (["--calibrate", "{}", "--bits", "8", "--bits", "7"], "--bits: default is given twice"),
        (["--calibrate", "none.npz"], "none.npz: there is no such file; check the path"),
    ],
)
def test_bad_options(
    samebits: Command, tmp_path: Path, data: Path, options: list[str], message: str
) -> None:
    model = float_mlp().save(tmp_path / "m.onnx")
    given = [text.format(data) for text in options]
    result = samebits("compile", model, "-o", tmp_path / "b", *given)
    assert (result.code, result.error) == (2, message)
    assert not (tmp_path / "b").exists()


def test_columns_are_found_by_the_names_of_the_data(samebits: Command, tmp_path: Path) -> None:
    model, build = float_mlp().save(tmp_path / "m.onnx"), tmp_path / "b"
    x = np.random.default_rng(4).normal(0, 1, (300, 4)).astype(np.float32)
    data, turned = tmp_path / "data.npz", tmp_path / "turned.npz"
    np.savez(data, features=x, feature_names=np.array(["a", "b", "c", "d"]))
    np.savez(turned, features=x[:, ::-1], feature_names=np.array(["d", "c", "b", "a"]))
    result = samebits("compile", model, "-o", build, "--calibrate", data)
    assert result.code == 0
    assert "in this order: a, b, c, d" in " ".join(result.stderr.split())
    assert Design.load(build).feature_names == ("a", "b", "c", "d")
    answers = []
    for events in (data, turned):
        assert samebits("simulate", build, events, "-o", tmp_path / "y.npy").code == 0
        answers.append(np.load(tmp_path / "y.npy"))
    assert np.array_equal(*answers)
    # a model that names its columns is calibrated in their order
    again = tmp_path / "again"
    named = onnx.load(model)
    named.metadata_props.add(key="samebits.features", value=json.dumps(["a", "b", "c", "d"]))
    onnx.save(named, model)
    result = samebits("compile", model, "-o", again, "--calibrate", turned)
    assert result.code == 0
    assert "in this order" not in result.stderr
    assert Design.load(again).fingerprint == Design.load(build).fingerprint
    assert Design.load(again).feature_names == ("a", "b", "c", "d")
