"""ONNX Runtime as an engine: events, types, what it refuses."""

import sys
from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.compile.builder import GraphBuilder
from samebits.compile.emitters.onnx import to_onnx
from samebits.compile.ir import Format
from samebits.sim import onnx_engine
from samebits.sim.onnx_engine import LEVELS, OnnxEngine

from ..models import float_mlp


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_its_bytes_and_its_model_give_the_same(
    level: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    write = float_mlp()
    path, model = write.save(tmp_path / "m.onnx"), write.model()
    x = rng.normal(0, 1, (10, 4))
    found = [
        OnnxEngine(source, level).run([x])["gemm2_out"]
        for source in (str(path), path.read_bytes(), model)
    ]
    assert found[0].dtype == np.float64
    assert found[0].shape == (10, 3)
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_events_run_in_chunks_and_progress_is_told(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    model, x = float_mlp().model(), rng.normal(0, 1, (10, 4))
    whole = OnnxEngine(model).run([x])["gemm2_out"]
    monkeypatch.setattr(onnx_engine, "_CHUNK_EVENTS", 4)
    engine = OnnxEngine(model)
    done: list[int] = []
    assert np.array_equal(engine.run([x], done.append)["gemm2_out"], whole)
    assert done == [4, 8, 10]
    assert engine.run([x[:0]])["gemm2_out"].shape == (0, 3)


def test_large_tensors_run_in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    build = GraphBuilder()
    row = build.input("row", (1, 10), Format(True, 4, 2))
    column = build.reshape(row, (10, 1))
    total = build.apply("sum", build.apply("mul", row, column))  # (10, 10) on the way
    model = to_onnx(build.graph((total.name,)))
    (chunk,) = (item for item in model.metadata_props if item.key == "samebits.chunk_events")
    chunk.value = "5"
    assert OnnxEngine(model).chunk_events == 5
    del model.metadata_props[:]
    monkeypatch.setattr(onnx_engine, "_CHUNK_ELEMENTS", 300)
    done: list[int] = []
    x = np.ones((7, 1, 10))
    found = OnnxEngine(model).run([x], done.append)
    assert done == [3, 6, 7]
    assert [y.tolist() for y in found.values()] == [[[10.0] * 10] * 7]


def test_what_onnx_runtime_refuses_is_a_tool_error() -> None:
    with pytest.raises(errors.ToolError, match=r"^ONNX Runtime refuses the model: "):
        OnnxEngine(b"no model")


def test_without_onnx_runtime_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(errors.MissingToolError) as caught:
        OnnxEngine(b"")
    assert str(caught.value) == "ONNX Runtime is not installed; pip install onnxruntime"
