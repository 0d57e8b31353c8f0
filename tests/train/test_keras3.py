"""Keras 3 and HGQ2 files where HGQ2 is not: what is missing, and why it needs another place."""

import importlib
import importlib.metadata
import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from samebits import errors
from samebits.train import keras3, store


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No module is imported for good, and HGQ2 is absent."""
    keras = ModuleType("keras")
    keras.__dict__["__version__"] = "3.15.1"
    original = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] == "hgq":
            raise ModuleNotFoundError("No module named 'hgq'", name="hgq")
        return keras if name == "keras" else original(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    for function in (keras3.load_keras_3, keras3.load_hgq):
        function.cache_clear()


def write(path: Path, config: dict[str, Any], version: str = "3.15.1") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
    return path


def test_an_hgq2_file_says_that_it_needs_hgq2_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"qkeras": ["QKeras"]}
    )
    layer = {"module": "hgq.layers.core.dense", "class_name": "QDense", "config": {}}
    path = write(
        tmp_path / "m.keras",
        {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}},
    )
    with pytest.raises(errors.MissingToolError) as caught:
        store.load_model(path)
    assert str(caught.value) == (
        "HGQ2 models need HGQ2, and the import of 'hgq' failed (No module named 'hgq'). It cannot "
        'share an environment with QKeras, so in a new one: pip install "samebits[hgq]"'
    )


def test_an_older_keras_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("keras").__dict__["__version__"] = "2.15.0"
    with pytest.raises(errors.MissingToolError, match="is installed, and the model is of Keras 3"):
        keras3.load_keras_3()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l"}},
            "'l' is a Lambda layer",
        ),
        (
            {"module": "os", "class_name": "system", "config": {}},
            "'system' comes from the module 'os'",
        ),
        (
            {"module": "qkeras.qlayers", "class_name": "QDense", "config": {}},
            "'QDense' comes from the module 'qkeras.qlayers'",
        ),
    ],
)
def test_files_that_could_run_code_are_refused(
    tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path / "m.keras", {"class_name": "Sequential", "config": {"layers": [config]}})
    with pytest.raises(errors.ModelError) as caught:
        store.load_model(path)
    assert str(caught.value) == (
        f"model file {path}: {reason} and could run any code on loading; build the network from "
        "Keras and HGQ2 layers only"
    )
