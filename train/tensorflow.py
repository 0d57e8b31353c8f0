"""TensorFlow, Keras 2 (tf_keras) and QKeras, imported once and without a word on the terminal."""

import contextlib
import functools
import importlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from samebits import errors

_INSTALL = 'pip install "samebits[train]"'
_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN may sum in another order from run to run
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",  # QKeras asks tensorflow.keras for Keras 2 while it is imported
}


@dataclass(frozen=True)
class Toolkit:
    """The three packages that training needs, as imported modules."""

    tf: Any
    keras: Any
    qkeras: Any


@functools.cache
def load() -> Toolkit:
    """Import TensorFlow, tf_keras and QKeras quietly; the environment variables are put back.

    `tensorflow.keras` is Keras 2 in this process from then on, because QKeras looks it up there.

    Raises:
        MissingToolError: one of the packages is not installed, or `qkeras` is the copy inside hgq2.
        ToolError: QKeras was imported before on top of Keras 3.
    """
    _refuse_foreign_qkeras()
    try:
        with _environment(_QUIET), _silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _route_to_keras_2()
            tf = importlib.import_module("tensorflow")
            keras = importlib.import_module("tf_keras")
            qkeras = importlib.import_module("qkeras")
            importlib.import_module("qkeras.utils")
            _heal_qkeras()
    except ImportError as error:
        raise errors.MissingToolError(
            f"training and Keras models need TensorFlow, tf_keras and QKeras, and the import of "
            f"{error.name or 'one of them'!r} failed ({error}). Install them with: {_INSTALL}"
        ) from error
    if not issubclass(qkeras.QDense, keras.layers.Layer):
        raise errors.ToolError(
            "QKeras was imported earlier in this process on top of Keras 3, where it does not "
            "work; "
            "start a new process and import samebits.train, or set TF_USE_LEGACY_KERAS=1, first"
        )
    tf.get_logger().setLevel("ERROR")
    tf.autograph.set_verbosity(0)
    importlib.import_module("absl.logging").set_verbosity("error")
    return Toolkit(tf=tf, keras=keras, qkeras=qkeras)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence TensorFlow's Python warnings inside the block: deprecations that no user can mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _route_to_keras_2() -> None:
    """Make `tensorflow.keras` Keras 2 even where TensorFlow came first, as hls4ml imports it.

    Source: tensorflow/python/util/lazy_loader.py, `KerasLazyLoader`; it decides once.
    """
    tf = sys.modules.get("tensorflow")
    if tf is None or "qkeras" in sys.modules:
        return
    keras = importlib.import_module("tf_keras.api._v2.keras")
    for name in [name for name in sys.modules if name.startswith("tensorflow.keras")]:
        del sys.modules[name]
    sys.modules["tensorflow.keras"] = keras
    tf.__dict__["keras"] = keras


def _heal_qkeras() -> None:
    """Puts names back that QKeras 0.9 asks TensorFlow's modules for, and TensorFlow has moved.

    QSimpleRNN and QGRU need `nest.is_sequence`, QGRU `array_ops.unstack`, QConv2DTranspose
    `array_ops.stack`.
    """
    nest = importlib.import_module("tensorflow.python.util.nest")
    array_ops = importlib.import_module("tensorflow.python.ops.array_ops")
    tf = importlib.import_module("tensorflow")
    for module, name, value in (
        (nest, "is_sequence", nest.is_nested),
        (array_ops, "stack", tf.stack),
        (array_ops, "unstack", tf.unstack),
    ):
        if not hasattr(module, name):
            setattr(module, name, value)


def _refuse_foreign_qkeras() -> None:
    owners = importlib.metadata.packages_distributions().get("qkeras", [])
    foreign = sorted({owner for owner in owners if owner.lower() != "qkeras"})
    if foreign:
        raise errors.MissingToolError(
            f"the Python package 'qkeras' in this environment belongs to {', '.join(foreign)} and "
            "is not QKeras 0.9.0; the two cannot share an environment. Make a new environment "
            f"without {', '.join(foreign)} and install there with: {_INSTALL}"
        )


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None or name == "TF_USE_LEGACY_KERAS":
                os.environ.pop(name, None)  # left set, it would turn Keras 3 code into Keras 2
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Point file descriptor 2 at the null device: TensorFlow writes there before it has loggers."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
