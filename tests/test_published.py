"""benchmarks/published.py: what it does to a network, and its tables."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design

from .models import ModelWriter

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "published.py"


@pytest.fixture(scope="module")
def published() -> Any:
    spec = importlib.util.spec_from_file_location("published", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["published"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_softmax_goes_and_decisions_stay(published: Any, tmp_path: Path) -> None:
    write = ModelWriter(8)
    x = write.quant(write.input(), 8, 4)
    x = write.quant(write.gemm(x, 4, 3, bits=6), 10, 6)
    write.output(write.node("Softmax", x, axis=-1), 3)
    path = write.save(tmp_path / "model.onnx")
    events = np.random.default_rng(2).normal(0, 2, (300, 4)).astype(np.float32)
    before: Any = Design.from_onnx(path).simulate(events)
    published.without_softmax(path)
    assert all(node.op_type != "Softmax" for node in onnx.load(path).graph.node)
    after: Any = Design.from_onnx(path).simulate(events)
    assert set(after.argmax(axis=1)) == {0, 1, 2}
    largest = np.take_along_axis(before, after.argmax(axis=1)[:, None], axis=1)
    assert np.array_equal(largest[:, 0], before.max(axis=1))


def test_tables(published: Any) -> None:
    def number(value: float, kind: str) -> dict[str, Any]:
        return {"value": value, "unit": "", "kind": kind, "tool": "t"}

    absent = {"status": "not run", "reason": "no tool"}
    times = {"initiation_interval": number(1, "measured"), "latency_ns": number(30, "measured")}
    row = {
        "network": "a network",
        "accuracy": number(68.4833, "measured"),
        "accuracy_error_points": 0.6,
        "verification": {
            "engines": [
                {"engine": "rtl", "status": "equal", "mismatching_bits": 0, "bits_compared": 1000}
            ]
        },
        "latency": [
            {"source": "rtl/ in Verilator", "cycles": number(6, "measured"), **times},
            {"source": "hls/", "cycles": absent, **dict.fromkeys(times, absent)},
        ],
        "resources": [
            {
                "source": "unrolled logic, alkaid",
                "used": {name: number(2339, "estimated") for name in ("LUT", "FF", "DSP")},
            }
        ],
    }
    text = published.tables({"Q4": row})
    assert ("| Q4 | a network | 68.48 ± 0.60 | 2,339 | - | - | - | 6 | 30 | 0 of 1,000 |") in text
    assert "| Q4 | rtl/ in Verilator | measured | - | - | - | 6 | 1 | 30 |" in text
    assert "| Q4 | hls/ |" not in text
    assert "OpenML 42468, another data set" in text
    assert "| TreeLUT-II | 75 | 796 | 74 | 0 | 1.1 | arXiv:2501.01511 |" in text
