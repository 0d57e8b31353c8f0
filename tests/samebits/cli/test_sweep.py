"""`samebits sweep`: options, what is printed and written, how it ends."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design
from samebits.cli.sweep import clocks_of, whole_numbers
from samebits.recipe import KERAS_SHA256

from ...models import float_mlp, quantized_mlp
from .command import Command

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that chooses each of its three classes in a third of the events."""
    folder = tmp_path_factory.mktemp("sweep")
    Design.from_onnx(quantized_mlp(seed=8).save(folder / "model.onnx")).save(folder / "build")
    return folder / "build"


@pytest.fixture
def build(balanced: Path, tmp_path: Path) -> Path:
    """A build directory of the test's own."""
    return Path(shutil.copytree(balanced, tmp_path / "build"))


@pytest.fixture
def labelled(build: Path, tmp_path: Path) -> Path:
    """Events labelled by the network itself."""
    x = np.random.default_rng(4).normal(0, 2, (120, 4)).astype(np.float32)
    answer: Any = Design.load(build).simulate(x)
    path = tmp_path / "labelled.npz"
    np.savez(path, features=x, label=answer.argmax(axis=1))
    return path


def test_numbers() -> None:
    assert whole_numbers("--width", "8,4..6", 2, 24) == (4, 5, 6, 8)
    assert whole_numbers("--width", "5", 2, 24) == (5,)
    assert clocks_of("320,200.5") == (200.5, 320.0)


@pytest.mark.parametrize(
    ("option", "text", "shown"),
    [
        ("--width", "4..", "4.."),
        ("--width", "8..4", "8..4"),
        ("--width", "0", "0"),
        ("--width", "65", "65"),
        ("--width", "6,x", "6,x"),
        ("--width", "", ""),
        ("--width", "-4", "-4"),
        ("--reuse", "0", "0"),
        ("--reuse", "1.5", "1.5"),
        ("--clock", "0", "0"),
        ("--clock", "nan", "nan"),
        ("--clock", "200,,", ""),
    ],
)
def test_bad_lists(samebits: Command, build: Path, option: str, text: str, shown: str) -> None:
    result = samebits("sweep", build, f"{option}={text}")
    wanted = {
        "--width": "wanted whole numbers from 2 to 24, such as 4..8 or 2,4",
        "--reuse": "wanted whole numbers from 1 to 1048576, such as 4..8 or 2,4",
        "--clock": "wanted clocks from 1 to 2000 MHz, such as 200,320,480",
    }[option]
    if shown == "8..4":
        wanted = f"the smaller number comes first (4..8); {wanted}"
    assert (result.code, result.error) == (2, f"{option}: got {shown!r}, {wanted}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget-ns", "0"), "--budget-ns must be above 0, got 0"),
        (
            ("--max-lut-share", "70"),
            "--max-lut-share must be above 0 and up to 1 (1: the whole part), got 70",
        ),
        (("--train",), "--train trains at every --width: give widths"),
        ((), "labelled events are needed for the accuracy: give --data"),
        (
            ("--calibrate", "x.npz"),
            "--calibrate is for float ONNX models: give the .onnx file, not a build directory",
        ),
    ],
)
def test_bad_options(
    samebits: Command, build: Path, options: tuple[str, ...], message: str
) -> None:
    result = samebits("sweep", build, *options)
    assert (result.code, result.error) == (2, message)
    assert not (build / "sweep").exists()


def test_an_unknown_part(samebits: Command, build: Path, labelled: Path) -> None:
    result = samebits("sweep", build, "--data", labelled, "--part", "xc1")
    assert result.code == 2
    assert result.error.startswith("unknown part 'xc1'; wanted a full name such as ")


def test_a_build_directory(samebits: Command, build: Path, labelled: Path) -> None:
    options = "--data", labelled, "--width", "3..4,6", "--clock", "200,400"
    result = samebits("sweep", build, *options, "--budget-ns", "100")
    assert result.code == 0, result.stderr
    assert "120 events" in result.stdout
    assert "nothing was trained for it" in result.stdout
    assert "most accurate within 100 ns: 6 bits, RTL" in result.stdout
    folder = build / "sweep"
    names = {"sweep.csv", "sweep.json", "sweep.png", "sweep.pdf"}
    models = {"3-bits.onnx", "4-bits.onnx", "6-bits.onnx"}
    assert {path.name for path in folder.iterdir()} == names | models
    assert f"\n{folder}: sweep.csv, sweep.json, sweep.png, sweep.pdf\n" in result.stdout
    compiled = Design.from_onnx(folder / "6-bits.onnx", Design.load(build).target)
    assert str(compiled.graph.layers) == str(Design.load(build).graph.layers)
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    before = (folder / "sweep.png").read_bytes()
    again = samebits("sweep", build, *options, "--budget-ns", "100", "--json")
    told = json.loads(again.stdout)
    assert told["best"]["width_bits"] == 6
    assert told["best"]["accuracy"]["value"] == 100
    assert {row["width_bits"] for row in told["rows"]} == {3, 4, 6}
    assert (folder / "sweep.png").read_bytes() == before


def test_nothing_within_the_limits(samebits: Command, build: Path, labelled: Path) -> None:
    options = "--data", labelled, "--budget-ns", "1", "--max-lut-share", "0.00001"
    result = samebits("sweep", build, *options)
    assert result.code == 1
    assert result.stderr.endswith("error: no configuration within 1 ns and 0.001 % of the LUTs\n")
    assert (build / "sweep" / "sweep.csv").is_file()


def test_nothing_to_train(samebits: Command, build: Path, labelled: Path) -> None:
    result = samebits("sweep", build, "--data", labelled, "--width", "4", "--train")
    assert (result.code, result.error) == (
        2,
        f"--train: {build} holds no training of this design; give a folder that samebits train "
        "made",
    )


def test_a_float_model(samebits: Command, labelled: Path, tmp_path: Path) -> None:
    source = float_mlp().save(tmp_path / "float.onnx")
    refused = samebits("sweep", source, "--data", labelled, "--width", "4")
    assert refused.code == 2
    assert refused.error.endswith("a float model is quantized with data: --calibrate")
    options = "--data", labelled, "--width", "4,8", "--calibrate", labelled, "-o", tmp_path / "out"
    result = samebits("sweep", source, *options)
    assert result.code == 0, result.stderr
    assert "quantized to the width with data" in result.stdout


def test_a_design_without_model(samebits: Command, build: Path, labelled: Path) -> None:
    facts = json.loads((build / "design.json").read_text())
    (build / "model.onnx").unlink()
    del facts["files"]["model.onnx"]
    (build / "design.json").write_text(json.dumps(facts))
    result = samebits("sweep", build, "--data", labelled, "--width", "4")
    assert result.code == 2
    assert result.error.startswith(f"{build}: holds no model.onnx that could be compiled again; ")
    assert samebits("sweep", build, "--data", labelled).code == 0


def test_training_at_every_width(samebits: Command, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is in the extra train")
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 900)
    features = rng.normal(0, 3, (3, 4))[labels] + rng.normal(0, 0.7, (900, 4))
    data, build = tmp_path / "data.npz", tmp_path / "build"
    np.savez(data, features=features.astype(np.float32), label=labels)
    training = "--data", data, "--hidden", "6", "--epochs", "2", "--weight-bits", "5"
    assert samebits("train", "-o", build, *training).code == 0
    assert samebits("export", build / "model.keras", "-o", build / "model.onnx").code == 0
    assert samebits("compile", build / "model.onnx", "-o", build).code == 0
    result = samebits("sweep", build, "--width", "3", "--train", "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["widths_by"].startswith("a network trained at each width")
    assert told["events"] == 180
    design = Design.from_onnx(build / "sweep" / "3-bits.onnx")
    formats = [design.graph.tensors[layer.tensor].format for layer in design.graph.layers]
    assert 3 in {fmt.width for fmt in formats}
    assert KERAS_SHA256 in {item.key for item in onnx.load(build / "model.onnx").metadata_props}
    samebits("sweep", build, "--width", "3", "--json")
    rounded = onnx.load(build / "sweep" / "3-bits.onnx")
    assert [item.key for item in rounded.metadata_props] == [
        "samebits.features",
        "samebits.classes",
    ]
    assert json.loads((build / "sweep" / "sweep.json").read_text())["widths_by"].startswith("quant")
