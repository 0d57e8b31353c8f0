"""The models beside the firmware: which there are, and that each answers its own events."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from samebits import Design, errors
from samebits.adapter import physical_columns
from samebits.compile.adapter import Adapter
from samebits.compile.adapter.raw import random_fields
from samebits.gates import Gates, evaluate
from samebits.quality import class_scores, classification, no_decision, target_columns
from samebits.recipe import KERAS_SHA256, load_events
from samebits.references import FIRMWARE, FLOAT_ONNX, Reference, references, scores_of
from samebits.report import ReportFacts, render_html
from samebits.report.facts import MetricsFacts, NotRun, utc_now
from samebits.sim.metrics import ModelComparison
from samebits.sim.onnx_engine import OnnxEngine
from samebits.train.data import Dataset, Regression

from ..models import ModelWriter, float_mlp, quantized_mlp
from .test_adapter import ADAPTER


def test_a_design_of_an_onnx_file_has_that_file(rng: np.random.Generator) -> None:
    model = float_mlp().model()
    design = Design.from_onnx(model)
    events = rng.normal(0, 1, (20, 4)).astype(np.float32)
    (one,) = references(design)
    assert one.name == "model.onnx"
    expected = next(iter(OnnxEngine(model, "disabled").run([events]).values()))
    found = scores_of(design, events)
    assert list(found) == ["model.onnx", FIRMWARE]
    assert np.array_equal(found["model.onnx"], expected)
    assert np.array_equal(found[FIRMWARE], design.simulate(events))
    assert isinstance(one, Reference)


def test_raw_events_of_an_adapter_reach_the_model_as_physical_numbers() -> None:
    design = Design.from_onnx(quantized_mlp().model()).with_adapter(Adapter.parse(ADAPTER))
    assert design.adapter is not None
    raw = random_fields(design.adapter, 50, np.random.default_rng(3))
    found = scores_of(design, raw)
    (one,) = references(design.network)
    assert np.array_equal(found["model.onnx"], one.run(physical_columns(design, raw)))
    assert np.array_equal(found[FIRMWARE], design.simulate(raw))


def test_what_cannot_be_run_is_left_out(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design.from_onnx(float_mlp().model())

    def broken(_: object) -> tuple[Reference, ...]:
        from samebits import errors

        def run(_: object) -> np.ndarray:
            raise errors.ToolError("no such operator")

        return (Reference("float", run, None),)

    monkeypatch.setattr("samebits.references.references", broken)
    with caplog.at_level(logging.WARNING):
        found = scores_of(design, rng.normal(0, 1, (5, 4)))
    assert list(found) == [FIRMWARE]
    assert "float is left out: no such operator" in caplog.text


def test_one_output_of_two_classes() -> None:
    p = np.array([[0.25], [0.75]])
    found = class_scores({"m": p}, 2)
    assert isinstance(found, dict)
    assert np.array_equal(found["m"], [[0.75, 0.25], [0.25, 0.75]])
    found = class_scores({"m": p, "logit": 4 * p - 2}, 2)
    assert isinstance(found, dict)
    assert np.array_equal(found["logit"], [[1, -1], [-1, 1]])
    absent = class_scores({"m": p}, 3)
    assert isinstance(absent, NotRun)
    assert "are not scores of 3 classes" in absent.reason


def test_scores_without_a_threshold_decide_nothing() -> None:
    p = np.array([[0.25], [0.75]])
    for answers in ({"m": p}, {"m": p, "logit": 4 * p - 2}, {"m": np.array([[3.0, 4.0]])}):
        assert no_decision(answers) == ""
    assert no_decision({"m": p, "anomaly": 4 * p}).startswith("the score is never below 0")


def test_an_anomaly_score_has_auc_and_no_accuracy() -> None:
    write = ModelWriter(4)
    x = write.quant(write.node("Relu", write.quant(write.input(), 8, 4)), 8, 4, signed=False)
    total = write.node("MatMul", x, write.weight(np.ones((4, 1))))
    write.output(total, 1)
    design = Design.from_onnx(write.model())
    rng, labels = np.random.default_rng(3), np.arange(300) % 2
    x = rng.normal(0, 1 + labels[:, None], (300, 4)).astype(np.float32)
    events = Dataset(x, tuple("abcd"), "toy", "0" * 64, labels, ("background", "signal"))
    found = classification(design, events, "toy")
    assert isinstance(found, MetricsFacts)
    assert found.no_decision
    assert isinstance(found.comparison, ModelComparison)
    assert {d.quantity for d in found.comparison.differences} == {"auc"}
    facts = ReportFacts(design="anomaly", created=utc_now(), versions={}, metrics=found)
    page = render_html(facts)
    assert "No decisions:</strong> the score is never below 0" in page
    assert "Confusion matrices" not in page
    assert '<p class="title">AUC, firmware</p>' in page
    (gate,) = evaluate(Gates(min_accuracy=0.5), facts)
    assert gate.passed is False
    assert gate.detail.startswith("not evaluated: the score is never below 0")
    (gate,) = evaluate(Gates(min_auc=0.5), facts)
    assert gate.passed


def test_columns_of_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", features=np.ones((3, 2)), pt=[1.0, 2.0, 3.0], m=[0, 0, 1])
    found = load_events(str(tmp_path / "x.npz"), target_columns("m, pt", ()))
    assert isinstance(found, Regression)
    assert found.target_names == ("m", "pt")
    assert found.targets[:, 1].tolist() == [1, 2, 3]
    with pytest.raises(errors.UsageError, match="wanted different names, got 'm,m'"):
        target_columns("m,m", ())


def test_networks_trained_in_the_folder(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design.from_onnx(float_mlp().model())
    design.save(tmp_path / "build")
    events = rng.normal(0, 1, (20, 4)).astype(np.float32)
    models = {"model.keras": "a" * 64, "float.keras": "b" * 64}
    record = {"data": "x", "data_sha256": "", "seed": 0, "models": models, "sections": {}}
    (tmp_path / "build" / "training.json").write_text(json.dumps(record))
    assert [one.name for one in references(design)] == ["model.onnx"]  # no chain to these

    monkeypatch.setattr("samebits.recipe.Recipe.missing_link", lambda *_: None)
    twin = float_mlp(seed=2).model()
    twin.metadata_props.add(key=KERAS_SHA256, value=models["float.keras"])
    (tmp_path / "build" / FLOAT_ONNX).write_bytes(twin.SerializeToString())
    found = scores_of(design, events)
    assert list(found) == ["float", "qat", FIRMWARE]
    expected = next(iter(OnnxEngine(twin, "disabled").run([events]).values()))
    assert np.array_equal(found["float"], expected)
