"""The example trains a jet tagger, and every engine gives Keras's values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hgq", reason="HGQ2 is not installed here: make test-hgq")

EXAMPLE = Path(__file__).parents[2] / "examples" / "hgq_jets.py"


def test_a_trained_jet_tagger_keeps_its_bits() -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(EXAMPLE)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    accuracy, values, bits, *engines = done.stdout.splitlines()
    assert 0.6 < float(accuracy.rpartition(" ")[2]) < 0.8
    assert values == "values that differ from Keras: 0 of 30000"
    assert bits == "mismatching bits: 0"
    assert engines[1:] == [
        "  firmware.onnx (optimisations off): equal",
        "  firmware.onnx (optimisations on): equal",
    ]
