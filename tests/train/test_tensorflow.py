"""TensorFlow comes in silently, leaves no environment variable, and a wrong qkeras is refused."""

import importlib.metadata
import subprocess
import sys

import pytest

from samebits import errors
from samebits.train import tensorflow

SCRIPT = """
import os
before = dict(os.environ)
import numpy as np
from samebits.train import tensorflow
kit = tensorflow.load()
assert dict(os.environ) == before, set(os.environ) ^ set(before)
model = kit.keras.Sequential([kit.keras.layers.Dense(2, input_shape=(3,))])
with tensorflow.quiet():
    model.compile("adam", "mse")
    model.fit(np.zeros((8, 3)), np.zeros((8, 2)), verbose=0)
    for width in range(1, 9):
        model.predict(np.zeros((width, 3)), verbose=0)
"""

LATE = """
{first}
import numpy as np
from samebits.train import tensorflow
kit = tensorflow.load()
x = kit.keras.Input((3,))
y = kit.qkeras.QDense(2, kernel_quantizer=kit.qkeras.quantized_bits(4, 0, alpha=1))(x)
y = kit.qkeras.QActivation("quantized_relu(4,1)")(y)
assert kit.keras.Model(x, y).predict(np.ones((5, 3)), verbose=0).shape == (5, 2)
"""


def test_import_and_fit_write_nothing() -> None:
    done = run(SCRIPT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == ""


def test_tensorflow_may_have_come_first_with_keras_3() -> None:
    done = run(LATE.format(first="import tensorflow.keras.layers"))
    assert done.returncode == 0, done.stderr


def test_qkeras_on_keras_3_is_refused() -> None:
    done = run("import qkeras\n" + LATE.format(first=""))
    assert (
        "samebits.errors.ToolError: QKeras was imported earlier in this process on" in done.stderr
    )


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_qkeras_of_hgq2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"qkeras": ["QKeras", "hgq2"]}
    )
    with pytest.raises(errors.MissingToolError) as caught:
        tensorflow._refuse_foreign_qkeras()
    assert str(caught.value) == (
        "the Python package 'qkeras' in this environment belongs to hgq2 and is not QKeras 0.9.0; "
        "the two cannot share an environment. Make a new environment without hgq2 and install "
        'there with: pip install "samebits[train]"'
    )
