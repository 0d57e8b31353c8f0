"""Trained networks on disk: written at once or not at all, read without running foreign code."""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samebits import errors

from .functions import FUNCTIONS
from .keras3 import load_hgq, load_keras_3
from .tensorflow import load, quiet

__all__ = ["custom_objects", "load_model", "save_model"]

SUFFIXES = (".keras", ".h5")
_TRUSTED = ("keras", "tf_keras", "qkeras", "builtins")
_TRUSTED_BY_KERAS_3 = ("keras", "hgq", "builtins")


def save_model(model: Any, path: str | Path) -> Path:
    """Write the network to a .keras or .h5 file; an old file stays until the new one is complete.

    Raises:
        UsageError: another suffix, or the folder cannot be written to.
    """
    target = _checked_suffix(Path(path))
    load()
    temporary = target.with_name(f".{os.getpid()}.{target.name}")
    try:
        with quiet():
            model.save(temporary)
        temporary.replace(target)
    except OSError as error:
        raise errors.UsageError(
            f"cannot write the model to {target}: {error}; choose a folder you may write to"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def load_model(path: str | Path) -> Any:
    """Read a network of Keras 2 and QKeras layers, or of Keras 3 and HGQ2 layers.

    Lambda layers and classes from other modules are refused before anything is built, because a
    file could make them run any code.

    Raises:
        ModelError: the file is missing, damaged, unsafe, or of another Keras.
        MissingToolError: the packages that it needs are not installed.
    """
    source = _checked_suffix(Path(path))
    if not source.is_file():
        raise errors.ModelError(f"model file {source} does not exist")
    config, version = _read_config(source)
    newer = version.startswith("3.")
    for name, reason in _unsafe(config, _TRUSTED_BY_KERAS_3 if newer else _TRUSTED):
        raise errors.ModelError(
            f"model file {source}: {name!r} {reason} and could run any code on loading; build the "
            f"network from {'Keras and HGQ2' if newer else 'Keras and QKeras'} layers only"
        )
    return _load_keras_3(source, config) if newer else _load_keras_2(source)


def custom_objects() -> dict[str, Any]:
    """What Keras 2 must know to make a network of QKeras's layers and our functions, by name."""
    custom: dict[str, Any] = {}
    load().qkeras.utils._add_supported_quantized_objects(custom)
    return custom | FUNCTIONS


def _load_keras_3(source: Path, config: Any) -> Any:
    if source.suffix != ".keras":
        raise errors.ModelError(
            f"model file {source}: Keras 3 does not check .h5 files for code; save the network as "
            ".keras"
        )
    keras = load_keras_3()
    if any(module.split(".")[0] == "hgq" for module in _modules(config)):
        load_hgq()
    try:
        with quiet():
            return keras.models.load_model(source, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        raise errors.ModelError(
            f"model file {source} cannot be loaded by Keras {keras.__version__} "
            f"({lines[0][:200]}); save it again with this version of Keras and HGQ2"
        ) from error


def _load_keras_2(source: Path) -> Any:
    kit = load()
    try:
        with quiet():
            return kit.keras.models.load_model(
                source, custom_objects=custom_objects(), compile=False, safe_mode=True
            )
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError) as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        advice = "save the network with tf_keras and QKeras 0.9"
        if "QActivation" in lines[0] and source.suffix == ".keras":
            advice = (
                "a .keras file cannot hold a QActivation made from a quantizer object: make it "
                "from "
                "text, as QActivation('quantized_relu(6,2)'), or save the network as .h5"
            )
        raise errors.ModelError(
            f"model file {source} cannot be loaded as a Keras 2 model ({lines[0][:200]}); {advice}"
        ) from error


def _checked_suffix(path: Path) -> Path:
    if path.suffix not in SUFFIXES:
        raise errors.UsageError(
            f"model file {path}: the suffix is {path.suffix!r}; wanted {' or '.join(SUFFIXES)}"
        )
    return path


def _read_config(path: Path) -> tuple[Any, str]:
    """The network's description and the version of the Keras that wrote it."""
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                metadata = json.loads(archive.read("metadata.json"))
                return json.loads(archive.read("config.json")), str(metadata["keras_version"])
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path) as file:
            version = file.attrs.get("keras_version", "2")
            return json.loads(file.attrs["model_config"]), str(version)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise errors.ModelError(
            f"model file {path} is damaged or not a Keras model: {error}"
        ) from error


def _modules(node: Any) -> Iterator[str]:
    """The modules that the classes of a network come from."""
    if isinstance(node, dict) and isinstance(node.get("module"), str):
        yield node["module"]
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list):
            yield from _modules(value)


def _unsafe(node: Any, trusted: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Name and reason of every part that could run foreign code."""
    if isinstance(node, list):
        for item in node:
            yield from _unsafe(item, trusted)
    if not isinstance(node, dict):
        return
    kind = node.get("class_name")
    if kind in ("Lambda", "__lambda__"):
        with contextlib.suppress(AttributeError):
            yield str(node.get("config", {}).get("name", kind)), "is a Lambda layer"
    module = node.get("module")
    if isinstance(module, str) and module.split(".")[0] not in trusted:
        yield str(kind), f"comes from the module {module!r}"
    for value in node.values():
        yield from _unsafe(value, trusted)
