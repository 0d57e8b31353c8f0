"""The stages' own checks: bad folders, other designs, and what still belongs to a training."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors, record, stages
from samebits.compile.emitters.onnx import output_names
from samebits.demo import demo
from samebits.firmware.results import Kind, latency_estimate
from samebits.performance import measure_performance
from samebits.recipe import KERAS_SHA256, Recipe, network_sha256, recipe_of
from samebits.report.facts import DataFacts, LatencyFacts, NotRun, Quantity, ReportFacts
from samebits.sim.onnx_engine import OnnxEngine
from samebits.stages import (
    build_report,
    compile_model,
    recorded_facts,
    train_models,
    verify_build,
)
from samebits.standing_gates import standing_gates
from samebits.test_part import log_reading

from ..models import ModelWriter, float_mlp, quantized_mlp

ENGINES = ("onnxruntime",)
NOT_EXPORTED = (
    "model.onnx was not exported from the model.keras in this folder: run samebits export and "
    "compile again"
)


def events_file(path: Path, seed: int = 1) -> Path:
    """100 events of four features in three classes."""
    features = np.random.default_rng(seed).normal(0, 2, (100, 4))
    np.savez(path, features=features, label=np.resize([0, 1, 2], 100))
    return path


def trained(folder: Path, data: Path, content: bytes = b"network", demo: bool = False) -> Recipe:
    """A folder as a training leaves it, but for the networks, which are any bytes."""
    folder.mkdir(exist_ok=True)
    models = {name: content + name.encode() for name in ("model.keras", "float.keras")}
    for name, values in models.items():
        (folder / name).write_bytes(values)
    hashes = {name: hashlib.sha256(values).hexdigest() for name, values in models.items()}
    recipe = Recipe(str(data), hashlib.sha256(data.read_bytes()).hexdigest(), 3, hashes, demo)
    recipe.write(folder)
    return recipe


def exported(folder: Path, recipe: Recipe, seed: int = 1) -> Path:
    """A model.onnx that says it was exported from the folder's model.keras."""
    path = quantized_mlp(seed=seed).save(folder / "model.onnx")
    import onnx

    proto = onnx.load(path)
    proto.metadata_props.add(key=KERAS_SHA256, value=recipe.models["model.keras"])
    onnx.save(proto, path)
    return path


@pytest.fixture
def built(tmp_path: Path) -> Design:
    """Trained, exported and compiled in one folder."""
    recipe = trained(tmp_path / "build", events_file(tmp_path / "d.npz"))
    return compile_model(exported(tmp_path / "build", recipe), tmp_path / "build", Target())


@pytest.mark.parametrize("stage", [demo, train_models])
def test_bad_folders_are_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Any
) -> None:
    def work(*arguments: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(stages, "load_data", work)
    (tmp_path / "file").touch()
    for place, reason in (
        ("file", "is a file; give a folder"),
        ("file/below/it", f"cannot be written: {tmp_path / 'file'} is not a writable folder"),
    ):
        with pytest.raises(errors.BuildError) as caught:
            stage(tmp_path / place)
        assert str(caught.value) == f"{tmp_path / place}: {reason}"


@pytest.mark.parametrize("holds", ["design", "training", "demo"])
def test_the_demo_replaces_only_a_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: str
) -> None:
    folder = tmp_path / "build"
    if holds == "design":
        compile_model(quantized_mlp().save(tmp_path / "m.onnx"), folder, Target())
    else:
        trained(folder, events_file(tmp_path / "d.npz"), demo=holds == "demo")

    class Begun(Exception):
        pass

    def begin(*arguments: Any, **options: Any) -> None:
        raise Begun

    monkeypatch.setattr("samebits.demo.train_models", begin)
    if holds == "demo":
        with pytest.raises(Begun):
            demo(folder)
        return
    files = {
        "design": "model.onnx, firmware.onnx, design.npz, hls, emulator, design.json",
        "training": "model.keras, float.keras, training.json",
    }
    with pytest.raises(errors.BuildError) as caught:
        demo(folder)
    assert str(caught.value) == (
        f"{folder}: holds what no demo made ({files[holds]}); give another folder with "
        "-o/--output, or replace it with --force"
    )
    with pytest.raises(Begun):
        demo(folder, force=True)


def test_an_unknown_part_is_said_before_the_model_is_read(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="unknown part 'xc0'"):
        compile_model(tmp_path / "absent.onnx", tmp_path / "build", Target(part="xc0"))


def test_verify_takes_the_test_part_of_the_training(built: Design, tmp_path: Path) -> None:
    assert verify_build(built, against=ENGINES).events["data"] == 20
    events_file(tmp_path / "d.npz", seed=2)
    with pytest.raises(errors.BuildError) as caught:
        verify_build(built, against=ENGINES)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'd.npz'}: the data changed since the training (sha256 ")
    assert text.endswith(
        "): train again, or give other data (report --data FILE, verify BUILD FILE)"
    )
    assert verify_build(built, np.ones((5, 4)), ENGINES).events["data"] == 5


def test_every_link_from_the_training_to_the_design(built: Design, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    assert recipe_of(built)[1] == recipe_of(Design.load(folder))[1] == ""

    def why() -> str:
        recipe, reason = recipe_of(Design.load(folder))
        assert (recipe is None) == bool(reason)
        return reason

    # trained again, exported again, compiled again
    again = trained(folder, tmp_path / "d.npz", b"another")
    assert why() == NOT_EXPORTED
    exported(folder, again, seed=2)
    assert why() == (
        "the design was not compiled from the model.onnx in this folder: run samebits compile again"
    )
    compile_model(folder / "model.onnx", folder, Target(), force=True)
    assert why() == ""

    # another network in the place of one that was trained
    for name in again.models:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"mine")
        assert why() == (
            f"{name} in this folder is not the one trained here: run samebits train, export and "
            "compile again"
        )
        (folder / name).write_bytes(content)

    # a foreign model
    compile_model(float_mlp().save(tmp_path / "f.onnx"), folder, Target(), force=True)
    assert why() == NOT_EXPORTED


def test_the_digest_of_a_network_knows_no_dates(tmp_path: Path) -> None:
    digests = []
    for year, date, weights in ((2025, "a", b"1"), (2026, "b", b"1"), (2026, "b", b"2")):
        path = tmp_path / f"{len(digests)}.keras"
        with zipfile.ZipFile(path, "w") as archive:
            for name, values in (
                ("metadata.json", date.encode()),
                ("config.json", f'{{"units": 8, "shared_object_id": {year}}}'.encode()),
                ("model.weights.h5", weights),
            ):
                archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), values)
        digests.append(network_sha256(path))
    assert digests[0] == digests[1] != digests[2]
    assert network_sha256(tmp_path / "absent.keras") is None


def test_a_foreign_design_is_not_mixed_with_the_training(
    built: Design, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "build"
    data = DataFacts(name="d", source="d", sha256="0" * 64, events={}, class_names=(),
                     feature_names=())  # fmt: skip
    record.record(folder, "", data=data)
    foreign = quantized_mlp(seed=5).save(tmp_path / "f.onnx")
    design = compile_model(foreign, folder, Target(), force=True)
    result = verify_build(design, against=ENGINES)
    assert "data" not in result.events
    assert caplog.messages == [f"the training in {folder} is not used: {NOT_EXPORTED}"]
    facts = record.load_record(folder)
    assert facts.data == facts.training == facts.export == NotRun(reason=NOT_EXPORTED)
    assert facts.same_bits


def test_a_design_saved_by_hand_replaces_the_recorded_one(built: Design, tmp_path: Path) -> None:
    verify_build(built, against=ENGINES)
    other = Design.from_onnx(tmp_path / "build" / "model.onnx", Target(clock_mhz=320))
    other.save(tmp_path / "build", force=True)
    verify_build(other, np.ones((5, 4)), ENGINES)
    target = record.load_record(tmp_path / "build").target
    assert target.clock_mhz == 320  # type: ignore[union-attr]


def test_labelled_data_are_named_for_what_they_are(
    built: Design, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, _ = recipe_of(built)
    copy = tmp_path / "copy.npz"
    copy.write_bytes((tmp_path / "d.npz").read_bytes())
    test, name = stages.labelled_events(None, recipe)
    assert test is not None
    assert (len(test), name) == (20, "test")
    assert caplog.messages == []
    again, name = stages.labelled_events(str(copy), recipe)
    assert again is not None
    assert name == "test"
    assert np.array_equal(again.features, test.features)
    assert caplog.messages == [f"{copy}: the network was trained on it; its test part is used"]
    other, name = stages.labelled_events(str(events_file(tmp_path / "other.npz", 2)), recipe)
    assert other is not None
    assert (len(other), name) == (100, "events of other.npz")
    assert len(stages.labelled_events(str(copy), None)[0] or ()) == 100


def test_reports_follow_the_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("alkaid")
    build = tmp_path / "build"
    design = compile_model(quantized_mlp().save(tmp_path / "m.onnx"), build, Target())
    verify_build(design, against=ENGINES)
    facts = build_report(design)
    assert [gate.passed for gate in facts.gates] == [True]
    assert (build / "report.html").is_file()
    run = OnnxEngine.run

    def broken(engine: OnnxEngine, *arguments: Any) -> Any:
        found = run(engine, *arguments)
        return {name: values + 0.0625 for name, values in found.items()}

    monkeypatch.setattr(OnnxEngine, "run", broken)
    assert not verify_build(design, against=ENGINES).passed
    facts = record.load_record(build)
    assert facts.same_bits is False
    assert facts.gates == ()
    assert not (build / "report.html").exists()
    assert [gate.passed for gate in build_report(design).gates] == [False]


def test_speeds_that_were_not_measured_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design.from_onnx(quantized_mlp().model())

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise errors.UnsupportedError("formats beyond 63 bits")

    monkeypatch.setattr(Design, "firmware_onnx", refuse)
    facts = measure_performance(design, None)
    assert [row.name for row in facts.rows] == ["NumPy engine", "firmware.onnx"]
    assert facts.rows[1].result == NotRun(reason="formats beyond 63 bits")
    assert "NumPy with one BLAS thread" in facts.conditions


def test_reports_without_metrics_say_why(tmp_path: Path) -> None:
    pytest.importorskip("alkaid")
    write = ModelWriter()
    x = write.gemm(write.quant(write.input(), 6, 3), 4, 2, bits=4)
    write.output(x, 2)
    write.output(write.node("Relu", x), 2)
    build = tmp_path / "build"
    design = compile_model(write.save(tmp_path / "m.onnx"), build, Target())
    assert len(set(output_names(design.graph))) == 2
    facts = stages.build_report(Design.load(build))
    assert facts.metrics.reason == "no labelled data: give --data FILE"  # type: ignore[union-attr]
    assert facts.passed
    assert (build / "report.html").is_file()
    labels = np.resize([0, 1], 50)
    np.savez(tmp_path / "d.npz", features=np.ones((50, 4)), label=labels)
    facts = stages.build_report(Design.load(build), str(tmp_path / "d.npz"))
    reason = facts.metrics.reason  # type: ignore[union-attr]
    assert reason == "the network has several outputs"


def test_a_network_of_images_reports_on_flat_events(tmp_path: Path) -> None:
    model = Path(__file__).parents[1] / "compile/frontends/exports/images/brevitas_cnn_qonnx.onnx"
    design = compile_model(model, tmp_path / "build", Target())
    (shape,) = (tensor.shape for tensor in design.graph.tensors_of(design.graph.inputs))
    images = np.random.default_rng(2).normal(0, 1, (60, *shape))
    labels = np.resize([0, 1, 2], 60)
    np.savez(tmp_path / "images.npz", features=images, label=labels)
    np.savez(tmp_path / "flat.npz", features=images.reshape(60, -1), label=labels)
    for name in ("images.npz", "flat.npz"):
        one = build_report(design, str(tmp_path / name))
        assert not isinstance(one.performance, NotRun)
        rates = [row.result for row in one.performance.rows]
        assert len(rates) == 2
        assert all(rate.value > 0 for rate in rates)


@pytest.mark.parametrize(
    ("budget", "fmax", "passed"),
    [(50, 400, True), (50, 100, None), (110, 100, True), (40, 100, False)],
)
def test_a_clock_that_cannot_be_reached_keeps_no_budget(
    budget: float, fmax: float, passed: bool | None
) -> None:
    def number(value: float, unit: str, kind: Kind = "estimated") -> Quantity:
        return Quantity(value=value, unit=unit, kind=kind, tool="a tool")

    limit = number(fmax, "MHz")
    latency = LatencyFacts(
        estimates=(latency_estimate("RTL", 10, 200, 1, "measured", "a tool", fmax_mhz=limit),),
        budget_ns=number(budget, "ns", "assumed"),
    )
    facts = ReportFacts(design="d", created="2026-01-01T00:00:00Z", versions={})
    *_, gate = standing_gates(facts, NotRun(reason="no labels"), latency)
    assert gate.name == "latency budget"
    assert gate.passed is passed
    assert ("not 200: 100 ns" in gate.detail) == (fmax < 200)


def test_a_reading_of_the_test_part_makes_no_number_old(built: Design, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    recipe = Recipe.read(folder)
    assert recipe is not None
    data = {
        **{"name": "d", "source": "d.npz", "sha256": recipe.data_sha256},
        "events": {"train": 60, "validation": 20, "test": 20},
        **{"class_names": ("a", "b", "c"), "feature_names": ("p", "q", "r", "s")},
    }
    training = {
        **{"runs": (), "scaling_chosen": "none", "scaling_options": ()},
        "input_format": "fixed<8,4>",
    }
    replace(recipe, sections={"data": data, "training": training}).write(folder)
    before = record.updated(recorded_facts(built), "x", menu=NotRun(reason="marked"))
    record.write(folder, before)
    log_reading(folder, Recipe.read(folder), "samebits compare")
    after = recorded_facts(built)
    assert isinstance(after.data, DataFacts)
    assert [reading.by for reading in after.data.test_reads] == ["samebits compare"]
    assert after.model_copy(update={"data": before.data}) == before
