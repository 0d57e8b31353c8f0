"""`Design`: where it comes from, what it answers, what it exports."""

import importlib.metadata
from pathlib import Path

import numpy as np
import onnx
import pytest

import samebits
from samebits import Design, Target, errors
from samebits.sim.onnx_engine import OnnxEngine

from ..firmware.networks import classifier, convert
from ..models import float_mlp, quantized_mlp


@pytest.fixture(scope="module")
def design() -> Design:
    return Design.from_onnx(quantized_mlp().model(), Target(clock_mhz=320))


def test_a_path_its_text_and_a_model_give_one_design(design: Design, tmp_path: Path) -> None:
    path = quantized_mlp().save(tmp_path / "m.onnx")
    for source in (path, str(path)):
        other = Design.from_onnx(source, Target(clock_mhz=320))
        assert other.fingerprint == design.fingerprint
        assert other.facts["source"] == "m.onnx"
        assert other.model_bytes == path.read_bytes()
    assert design.facts["source"] == "net"
    assert design.facts["versions"] == {"hls4ml": importlib.metadata.version("hls4ml")}


def test_fingerprints_follow_the_weights_and_the_target(design: Design) -> None:
    models = [quantized_mlp().model(), quantized_mlp(seed=2).model(), float_mlp().model()]
    targets = [Target(clock_mhz=320), Target(clock_mhz=200), Target("Vivado", clock_mhz=320)]
    prints = {Design.from_onnx(m, t).fingerprint for m in models for t in targets}
    assert len(prints) == 9
    assert design.fingerprint in prints
    assert design.fingerprint == Design.from_onnx(models[0], Target(clock_mhz=320)).fingerprint


def test_the_same_model_object_can_be_used_again() -> None:
    model = quantized_mlp().model()
    before = model.SerializeToString(deterministic=True)
    Design.from_onnx(model)
    assert model.SerializeToString(deterministic=True) == before


def test_shapes_and_traces(design: Design) -> None:
    answer = design.simulate(np.zeros((5, 4)))
    assert isinstance(answer, np.ndarray)
    assert (answer.shape, answer.dtype) == ((5, 3), np.float64)
    assert design.simulate(np.zeros((0, 4))).shape == (0, 3)  # type: ignore[union-attr]
    trace = design.trace(np.zeros((5, 4)))
    assert list(trace) == [layer.name for layer in design.graph.layers]
    assert np.array_equal(trace["Softmax_0"], answer)
    done: list[int] = []
    design.simulate(np.zeros((5, 4)), done.append)
    assert done[-1] == 5


def test_workers_share_the_events_and_change_no_bit(
    design: Design, rng: np.random.Generator
) -> None:
    x = rng.normal(0, 3, (design.engine.chunk_events * 3 + 1, 4)).astype(np.float32)
    done: list[int] = []
    assert np.array_equal(design.simulate(x, done.append, workers=3), design.simulate(x))
    assert done == sorted(done)
    assert done[-1] == len(x)
    with pytest.raises(errors.UsageError) as caught:
        design.simulate(x, workers=0)
    assert str(caught.value) == "simulate: workers must be 1 or more, got 0"
    x[-1, 2] = np.nan
    with pytest.raises(errors.DataError, match=f"first in event {len(x) - 1}, feature 2"):
        design.simulate(x, workers=3)


def test_firmware_onnx_answers_like_the_simulator(
    design: Design, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "deep" / "firmware.onnx"
    design.export_onnx(path)
    x = rng.normal(0, 3, (500, 4)).astype(np.float32)
    (got,) = OnnxEngine(str(path)).run([x]).values()
    assert np.array_equal(got, design.simulate(x))
    facts = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert facts["samebits.version"] == samebits.__version__
    assert facts["samebits.fingerprint"] == design.fingerprint
    assert facts["samebits.input.x"] == "ap_fixed<8,4,RND_CONV,SAT>"
    assert len(facts["samebits.model.sha256"]) == 64
    assert facts["samebits.target"].startswith("{")
    assert [p.name for p in path.parent.iterdir()] == ["firmware.onnx"]
    with pytest.raises(errors.BuildError) as caught:
        design.export_onnx(path / "below")
    assert str(caught.value) == f"{path / 'below'}: cannot be written: File exists"


def test_a_design_too_wide_for_onnx_is_saved_and_says_so(tmp_path: Path) -> None:
    wide = Design.from_onnx(float_mlp().model(), Target(precision="fixed<60,30>"))
    wide.save(tmp_path / "build")
    assert not (tmp_path / "build" / "firmware.onnx").exists()
    loaded = Design.load(tmp_path / "build")
    assert "needs integers beyond 63 bits" in loaded.facts["firmware_onnx"]
    engines = wide.verify(against=["onnxruntime"]).engines
    assert {engine.status for engine in engines} == {"not run"}
    assert wide.verify(against=["csim"]).mismatching_bits == 0


@pytest.mark.parametrize("backend", ["Vitis", "Vivado"])
def test_any_hls4ml_graph(backend: str, rng: np.random.Generator) -> None:
    design = Design.from_hls4ml(classifier(backend))
    assert design.target.backend == backend
    assert design.target.clock_mhz == 250.0
    assert design.model_bytes is None
    assert design.facts["source"] == "hls4ml ModelGraph"
    x = rng.normal(0, 3, (200, 4))
    assert design.verify(x, ["onnxruntime"]).passed


def test_the_target_is_read_from_a_graph() -> None:
    asked = Target("Vivado", part="xc7z020clg400-1", strategy="Resource", reuse_factor=2)
    made = Design.from_onnx(quantized_mlp().model(), asked)
    assert Design.from_hls4ml(made._model_graph).target == asked


def test_reuse_factors_that_hls4ml_changes_are_noted() -> None:
    # 4 x 6 and 6 x 3 weights: 5 divides neither
    made = Design.from_onnx(
        quantized_mlp(softmax=False).model(), Target(strategy="Resource", reuse_factor=5)
    )
    assert made.facts["notes"] == [
        "Dense_MatMul_0: reuse factor 4 instead of 5, as hls4ml chose",
        "Dense_MatMul_1: reuse factor 6 instead of 5, as hls4ml chose",
    ]
    assert Design.from_onnx(quantized_mlp(softmax=False).model()).facts["notes"] == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "Vivado"}, "backend is Vivado, but the model was converted for Vitis"),
        ({"io_type": "io_stream"},
         "io_type is io_stream, but the model was converted for io_parallel"),
        ({"part": "xc7z020clg400-1"},
         "part is xc7z020clg400-1, but the model was converted for xcvu13p-flga2577-2-e"),
    ],
)  # fmt: skip
def test_a_target_of_another_graph_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        Design.from_hls4ml(classifier(), target=Target(**given))  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"from_hls4ml: the target's {message}; convert it again or give no target"
    )


def test_other_backends_are_refused() -> None:
    layers = [
        {"name": "x", "class_name": "InputLayer", "input_shape": [3]},
        {"name": "r", "class_name": "Activation", "activation": "relu", "n_in": 3},
    ]
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_hls4ml(convert(layers, ["x"], ["r"], backend="Quartus"))
    assert str(caught.value) == "unsupported backend Quartus; supported: Vivado, Vitis"


def test_unknown_names_of_the_package() -> None:
    with pytest.raises(AttributeError, match="module 'samebits' has no attribute 'compil'"):
        samebits.compil  # noqa: B018


def test_text_of_a_design(design: Design) -> None:
    assert repr(design).startswith("Design(Graph(")
    assert "clock_mhz=320.0" in repr(design)
