"""Keras 3 and HGQ2, imported once, with a backend that is there."""

import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from samebits import errors

from .tensorflow import _silent_stderr

__all__ = ["load_hgq", "load_keras_3"]

_INSTALL = 'pip install "samebits[hgq]"'
_BACKENDS = ("jax", "tensorflow", "torch")


@functools.cache
def load_keras_3() -> Any:
    """Keras 3 as a module; where the configured backend is not installed, one that is.

    Raises:
        MissingToolError: Keras 3 or its backend is not installed.
    """
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        found = [name for name in _BACKENDS if importlib.util.find_spec(name) is not None]
        if found and _configured_backend() not in found:
            os.environ["KERAS_BACKEND"] = found[0]
    try:
        with _silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keras = importlib.import_module("keras")
    except ImportError as error:
        raise errors.MissingToolError(
            f"Keras 3 models need Keras 3 and a backend, and the import of "
            f"{error.name or 'one of them'!r} failed ({error}). In an environment without QKeras, "
            f"install them with: {_INSTALL}"
        ) from error
    if str(keras.__version__).split(".")[0] != "3":
        raise errors.MissingToolError(
            f"Keras {keras.__version__} is installed, and the model is of Keras 3. In an "
            f"environment without QKeras: {_INSTALL}"
        )
    return keras


@functools.cache
def load_hgq() -> Any:
    """HGQ2 as a module; its layers are known to Keras from then on.

    Raises:
        MissingToolError: HGQ2 is not installed.
    """
    load_keras_3()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("hgq.layers")
            return importlib.import_module("hgq")
    except ImportError as error:
        owners = importlib.metadata.packages_distributions().get("qkeras", [])
        where = "Here"
        if any(owner.lower() == "qkeras" for owner in owners):
            where = "It cannot share an environment with QKeras, so in a new one"
        raise errors.MissingToolError(
            f"HGQ2 models need HGQ2, and the import of {error.name or 'hgq'!r} failed ({error}). "
            f"{where}: {_INSTALL}"
        ) from error


def _configured_backend() -> str:
    """The backend in Keras's configuration, which Keras itself writes where there is none."""
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    try:
        return str(json.loads(path.read_bytes())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"
