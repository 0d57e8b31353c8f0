"""The stages of the main job as Python calls: train, export, compile, verify, report, demo.

Each works on a build directory and keeps its report.json up to date, so that a stage can be run
again alone. The command line is a thin layer over these functions.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors, storage
from samebits.compile.target import Target
from samebits.design import Design

if TYPE_CHECKING:
    from samebits.report import ReportFacts
    from samebits.sim.verification import Verification
    from samebits.train.config import TrainingConfig
    from samebits.train.data import Dataset, Split

__all__ = [
    "JETS",
    "Recipe",
    "build_report",
    "compile_model",
    "demo",
    "export_model",
    "load_data",
    "train_models",
    "verify_build",
]

JETS = "jets"
QAT_MODEL, FLOAT_MODEL, RECIPE = "model.keras", "float.keras", "training.json"
ACCURACY_LIMIT_POINTS = 0.5

Bar = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
Progress = Callable[[str, int, int], None]


def _no_bar(title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
    return nullcontext(lambda *_: None)


def load_data(name: str) -> Dataset:
    """A labelled data set: "jets" for the shipped sample, or the path of a file.

    Raises:
        DataError: a file that cannot be used.
    """
    from samebits.train.data import load, load_jets

    return load_jets() if name == JETS else load(name)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is needed to split the data again as a training split them."""

    data: str
    seed: int

    @classmethod
    def read(cls, folder: Path) -> Recipe | None:
        """The recipe of a build directory, None if nothing was trained there.

        Raises:
            BuildError: the file is damaged.
        """
        path = folder / RECIPE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(values["data"]), int(values["seed"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.BuildError(f"{path}: is damaged ({error}); train again") from None

    def split(self) -> Split:
        """Train, validation and test part of the data."""
        return load_data(self.data).split(self.seed)


def train_models(
    folder: Path,
    data: str = JETS,
    config: TrainingConfig | None = None,
    *,
    command: str = "",
    bar: Bar = _no_bar,
) -> ReportFacts:
    """Trains the float baseline and the quantized network; writes model.keras and float.keras.

    Only the training and validation parts are used; the test part waits for the report.

    Raises:
        MissingToolError: the extra `train` is not installed.
        DataError: the data cannot be used.
    """
    from samebits import record
    from samebits.train import fit, store
    from samebits.train.config import training_config

    _check_folder(folder)
    config = config or training_config()
    dataset = load_data(data)
    split = dataset.split(config.seed)
    prepared = fit.prepare(split.train, config)
    part = split.train, split.validation, prepared
    # the quantized network starts from the float one: twice the epochs keep the comparison fair
    longer = config.model_copy(update={"epochs": 2 * config.epochs})
    with bar("float baseline", longer.epochs) as advance:
        float_model, float_fit = fit.fit_float(*part, longer, on_epoch=lambda e: advance(e.number))
    with bar(f"{config.weight_bits}-bit network", config.epochs) as advance:
        model, quantized_fit = fit.fit_quantized(
            *part, config, start=float_model, on_epoch=lambda e: advance(e.number)
        )
    costs = fit.scaling_costs(float_model, split.validation, prepared)
    _make_folder(folder)
    store.save_model(float_model, folder / FLOAT_MODEL)
    store.save_model(model, folder / QAT_MODEL)
    source = data if data == JETS else os.path.abspath(data)
    with storage.replace_file(folder / RECIPE) as temporary:
        values = {"data": source, "seed": config.seed, "config": config.model_dump(mode="json")}
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    sizes = [len(dataset.feature_names), *config.hidden, len(dataset.class_names)]
    network = "-".join(map(str, sizes))
    runs = (
        record.training_run("float", network, None, float_fit),
        record.training_run("qat", network, config.weight_bits, quantized_fit),
    )
    return record.record(
        folder,
        command,
        data=record.data_facts(dataset, split),
        training=record.training_facts(runs, prepared, costs),
    )


def export_model(source: Path, output: Path, *, check: bool = True, command: str = "") -> Any:
    """Writes a Keras model as QONNX and compares the two on the test part or on random events.

    Returns:
        The `ExportCheck`, or None without `check`.

    Raises:
        UnsupportedError: layers without an exact QONNX form, all listed.
        MismatchError: a tensor whose equality is provable differs.
    """
    from samebits.compile.frontends.keras import export_keras
    from samebits.compile.frontends.keras_check import check_export
    from samebits.train.store import load_model

    model = load_model(source)
    recipe = Recipe.read(source.parent)
    split = recipe.split() if recipe else None
    features = split.test.feature_names if split else ()
    classes = split.test.class_names if split else ()
    exported = export_keras(model, features, classes)
    with storage.replace_file(output) as temporary:
        temporary.write_bytes(exported.SerializeToString())
    if not check:
        return None
    if split:
        events = split.test.features
    else:
        shape = (1000, *model.input_shape[1:])
        events = np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)
    result = check_export(model, exported, events)
    if recipe:
        from samebits import record

        record.record(source.parent, command, export=record.export_facts(output, result))
    return result


def compile_model(
    source: Path,
    folder: Path,
    target: Target,
    *,
    force: bool = False,
    command: str = "",
) -> Design:
    """Compiles an ONNX model into a build directory.

    Raises:
        ModelError, UnsupportedError: the model cannot be compiled.
        BuildError: the folder holds another design and `force` is not set.
    """
    from samebits import record
    from samebits.firmware.parts import part_of

    part_of(target.part)
    design = Design.from_onnx(source, target)
    design.save(folder, force=force)
    record.record(
        folder,
        command,
        design=folder.resolve().name,
        target=record.target_facts(target),
        layers=record.layer_facts(design.graph),
    )
    return design


def verify_build(
    design: Design,
    events: Any = None,
    against: tuple[str, ...] = ("csim", "onnxruntime"),
    *,
    adversarial: bool = True,
    seed: int = 0,
    command: str = "",
    progress: Progress | None = None,
) -> Verification:
    """Verifies a saved design on events, or on the test part of what it was trained on."""
    from samebits import record

    assert design.folder is not None
    name = "data"
    if events is None and (recipe := Recipe.read(design.folder)) is not None:
        events, name = recipe.split().test.features, "test set"
    result = design.verify(events, against, adversarial=adversarial, seed=seed, progress=progress)
    record.record(design.folder, command, verification=record.verification_facts(result, name))
    return result


def build_report(
    design: Design,
    data: str | None = None,
    *,
    budget_ns: float | None = None,
    command: str = "",
    bar: Bar = _no_bar,
) -> ReportFacts:
    """Metrics, speed, latency and resources added; report.html and report.json written.

    Args:
        data: labelled events for the metrics; None: the test part of what the network was trained
            on, or no metrics if it was not trained here.
        budget_ns: the latency the trigger allows.
    """
    from samebits import record
    from samebits.estimates import estimate_facts
    from samebits.report import write_report
    from samebits.report.facts import Gate, NotRun

    assert design.folder is not None
    folder = design.folder
    metrics: Any = NotRun(reason="no labelled data: give --data")
    gates: list[Gate] = []
    test = load_data(data) if data else None
    if test is None and (recipe := Recipe.read(folder)) is not None:
        test = recipe.split().test
    if test is not None:
        with bar("metrics", 1) as advance:
            metrics = _metrics(design, test)
            advance(1)
        gates += _accuracy_gates(metrics)
    with bar("latency and resources", 1) as advance:
        latency, resources = estimate_facts(design, budget_ns)
        advance(1)
    facts = record.record(
        folder,
        command,
        metrics=metrics,
        performance=_performance(design, test.features if test is not None else None),
        latency=latency,
        resources=resources,
    )
    facts = record.record(folder, "", gates=(*_bit_gates(facts), *gates))
    write_report(facts, folder)
    return facts


def _metrics(design: Design, test: Dataset) -> Any:
    from samebits.report.facts import MetricsFacts, NotRun
    from samebits.sim.metrics import classification_metrics, compare_models

    assert design.folder is not None
    scores: dict[str, NDArray[Any]] = {}
    for name, file in (("float", FLOAT_MODEL), ("qat", QAT_MODEL)):
        if (design.folder / file).is_file():
            from samebits.train.fit import predict
            from samebits.train.store import load_model

            scores[name] = predict(load_model(design.folder / file), test.features)
    answer = design.simulate(test.features)
    if isinstance(answer, list):
        return NotRun(reason="the network has several outputs")
    scores["firmware"] = answer
    if answer.ndim != 2 or answer.shape[1] != len(test.class_names):
        return NotRun(
            reason=f"outputs of shape {answer.shape[1:]} are not scores of "
            f"{len(test.class_names)} classes"
        )
    models = {
        name: classification_metrics(values, test.labels, test.class_names, where=name)
        for name, values in scores.items()
    }
    comparison: Any = NotRun(reason="only one model")
    if len(scores) > 1:
        comparison = compare_models(
            scores,
            test.labels,
            test.class_names,
            reference=next(iter(scores)),
            limit_points=ACCURACY_LIMIT_POINTS,
        )
    tool = f"scikit-learn {importlib.metadata.version('scikit-learn')}"
    return MetricsFacts(split="test", tool=tool, models=models, comparison=comparison)


def _accuracy_gates(metrics: Any) -> list[Any]:
    from samebits.report.facts import Gate

    gate = getattr(getattr(metrics, "comparison", None), "gate", None)
    if gate is None:
        return []
    detail = (
        f"firmware loses {gate.drop_points:.2f} percentage points against {gate.reference}, "
        f"limit {gate.limit_points:g}"
    )
    return [Gate(name="accuracy", passed=gate.passed, detail=detail)]


def _bit_gates(facts: ReportFacts) -> list[Any]:
    from samebits.report.facts import Gate, NotRun

    if isinstance(facts.verification, NotRun) or not facts.verification.ran:
        return [Gate(name="same bits", passed=None, detail="not run: `samebits verify`")]
    engines = ", ".join(engine.engine for engine in facts.verification.ran)
    detail = f"{facts.verification.mismatching_bits} mismatching bits against {engines}"
    return [Gate(name="same bits", passed=facts.same_bits, detail=detail)]


def _performance(design: Design, features: NDArray[Any] | None) -> Any:
    """Events per second of the software engines on this machine, one thread, median of 5 runs."""
    from samebits.report.facts import PerformanceFacts, PerformanceRow, Quantity
    from samebits.sim.onnx_engine import OnnxEngine

    graph, count = design.graph, 20_000
    if features is not None and len(graph.inputs) == 1:
        inputs = [np.resize(features, (count, *features.shape[1:]))]
    else:
        rng = np.random.default_rng(0)
        shapes = [graph.tensors[name].shape for name in graph.inputs]
        inputs = [rng.normal(0, 1, (count, *shape)).astype(np.float32) for shape in shapes]

    def rate(run: Callable[[], Any]) -> float:
        run()
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        return count / statistics.median(seconds)

    rows: list[tuple[str, str, Callable[[], Any]]] = [
        ("NumPy engine", f"numpy {np.__version__}", lambda: design.simulate(inputs))
    ]
    try:
        engine = OnnxEngine(design.firmware_onnx())
        rows.append(("firmware.onnx", engine.tool, lambda: engine.run(inputs)))
    except (errors.MissingToolError, errors.UnsupportedError):
        pass
    return PerformanceFacts(
        conditions=f"{count} events, ONNX Runtime on one thread, median of 5 runs, this machine",
        rows=tuple(
            PerformanceRow(
                name=name,
                result=Quantity(value=rate(run), unit="events/s", kind="measured", tool=tool),
            )
            for name, tool, run in rows
        ),
    )


def demo(
    folder: Path,
    *,
    fast: bool = False,
    seed: int = 0,
    target: Target | None = None,
    bar: Bar = _no_bar,
    engine_bars: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
    say: Callable[[str], None] = lambda text: None,
) -> ReportFacts:
    """From the shipped jets to verified firmware and its report in one call.

    The other stages' errors apply. An earlier demo in the folder is replaced; another design is
    not.
    """
    from samebits.train.config import training_config

    _check_folder(folder)
    if (folder / storage.DESIGN).exists() and Recipe.read(folder) is None:
        raise errors.BuildError(
            f"{folder}: already holds another design; give another folder with -o"
        )
    config = training_config(seed=seed, **({"epochs": 12} if fast else {}))
    say("1/5 training on the shipped jets")
    train_models(folder, JETS, config, command=f"samebits train -o {folder.name}", bar=bar)
    say("2/5 export to model.onnx")
    model = folder / storage.MODEL
    export_model(folder / QAT_MODEL, model, command=f"samebits export {folder.name}/{QAT_MODEL}")
    say("3/5 hls4ml project and fixed-point graph")
    design = compile_model(
        model,
        folder,
        target or Target(),
        force=True,
        command=f"samebits compile {folder.name}/{storage.MODEL} -o {folder.name}",
    )
    say("4/5 verification, bit by bit")
    with engine_bars() as progress:
        verify_build(design, seed=seed, command=f"samebits verify {folder.name}", progress=progress)
    say("5/5 metrics, latency, resources, report")
    return build_report(design, command=f"samebits report {folder.name}", bar=bar)


def _check_folder(folder: Path) -> None:
    """Says before the long work, not after it, that a folder cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise errors.BuildError(f"{folder}: is a file; give a folder")
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise errors.BuildError(f"{folder}: cannot be written: {existing} is not a writable folder")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.BuildError(f"{folder}: cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise errors.BuildError(f"{folder}: is not writable")
