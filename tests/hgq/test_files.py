"""Saved Keras 3 networks: loading runs no code of the file; what is missing is named."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("hgq", reason="HGQ2 is not installed here: make test-hgq")

import keras
from hgq import layers as q
from typer.testing import CliRunner

from samebits import Design, errors
from samebits.cli import app

from .networks import answers, network


def refusal(path: Path) -> str:
    with pytest.raises(errors.SamebitsError) as caught:
        Design.from_keras(path)
    return str(caught.value)


def test_compile_from_the_command_line(tmp_path: Path, rng: np.random.Generator) -> None:
    model, events = network("QDense", rng)
    model.save(tmp_path / "tagger.keras")
    done = CliRunner().invoke(
        app, ["compile", str(tmp_path / "tagger.keras"), "-o", str(tmp_path / "build"), "--json"]
    )
    assert done.exit_code == 0, done.output
    fidelity = json.loads(done.stdout)["fidelity"]
    assert fidelity["outputs"][0]["largest_difference"] == 0
    assert fidelity["tool"].startswith("keras 3.")
    found = Design.load(tmp_path / "build").simulate(events)
    assert np.array_equal(found, answers(model, events)[0])


def test_lambda_layers_are_refused(tmp_path: Path) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Lambda(lambda v: v * 2, name="double")(x))
    model.save(tmp_path / "l.keras")
    assert refusal(tmp_path / "l.keras") == (
        f"model file {tmp_path / 'l.keras'}: 'double' is a Lambda layer and could run any code on "
        "loading; build the network from Keras and HGQ2 layers only"
    )


def test_classes_from_elsewhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), q.QDense(3)]).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b"hgq.layers.core.dense", b"os.path")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    assert "comes from the module 'os.path' and could run any code on loading" in refusal(path)


def test_h5_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    keras.Sequential([keras.Input((4,)), q.QDense(3)]).save(path)
    assert refusal(path) == (
        f"model file {path}: Keras 3 does not check .h5 files for code; save the network as .keras"
    )


def test_qkeras_models_are_refused_beside_hgq2(tmp_path: Path) -> None:
    path = tmp_path / "q.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.21.0"}))
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Sequential"}))
    assert refusal(path) == (
        "the Python package 'qkeras' in this environment belongs to hgq2 and is not QKeras 0.9.0; "
        "the two cannot share an environment. Make a new environment without hgq2 and install "
        'there with: pip install "samebits[train]"'
    )
