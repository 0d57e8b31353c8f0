"""The stages of the main job as Python calls: train, export, compile, verify, report.

Each works on a build directory and keeps its report.json up to date, so that a stage can be run
again alone. The command line is a thin layer over these functions.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebits import errors, storage, tuning_section
from samebits.compile.target import Target
from samebits.design import Design
from samebits.keys import key_words
from samebits.performance import measure_performance
from samebits.recipe import (
    FLOAT_MODEL,
    JETS,
    KERAS_SHA256,
    QAT_MODEL,
    RECIPE,
    Recipe,
    load_data,
    network_sha256,
    recipe_of,
    refuse_to_replace,
    save_networks,
)
from samebits.references import float_onnx
from samebits.storage import check_folder
from samebits.test_part import TEST, data_section, labelled_events, with_reading

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from samebits.fidelity import Fidelity
    from samebits.gates import Gates
    from samebits.report import ReportFacts
    from samebits.report.facts import DataFacts, NotRun
    from samebits.sim.verification import Verification
    from samebits.train.config import TrainingConfig
    from samebits.tune_record import Tuning

__all__ = [
    "build_report",
    "check_folder",
    "compile_model",
    "export_model",
    "fidelity_of",
    "labelled_events",
    "no_bar",
    "recorded_facts",
    "train_models",
    "verify_build",
]

_log = logging.getLogger("samebits")

Bar = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
Progress = Callable[[str, int, int], None]


def no_bar(title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
    """A progress bar that nobody sees."""
    return nullcontext(lambda *_: None)


def train_models(
    folder: Path,
    data: str = JETS,
    config: TrainingConfig | None = None,
    *,
    demo: bool = False,
    baselines: bool = True,
    force: bool = False,
    command: str | tuple[str, ...] = "",
    bar: Bar = no_bar,
) -> ReportFacts:
    """Trains the float baseline and the quantized network; writes model.keras and float.keras.

    Only the training and validation parts are used; the test part waits for the report. `demo`
    marks what `samebits demo` may replace; `baselines` fits simple models beside the networks;
    `force` replaces networks that were trained on other data.

    Raises:
        MissingToolError: the extra `train` is not installed.
        DataError: the data cannot be used.
        UsageError: the folder holds networks of other data.
    """
    from samebits import record
    from samebits.sections import data_facts
    from samebits.train import fit
    from samebits.train.config import training_config
    from samebits.train.diagnosis import loss_without_inputs
    from samebits.training_section import simple_fits, training_facts, training_run

    check_folder(folder)
    config = config or training_config()
    dataset = load_data(data)
    if not force:
        refuse_to_replace(folder, dataset.sha256)
    split = dataset.split(config.seed, stratified=True)
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
    simple = None
    if baselines:
        with bar("simple fits", 1) as advance:
            simple = simple_fits(split, config.seed)
            advance(1)
    digests = save_networks(folder, {FLOAT_MODEL: float_model, QAT_MODEL: model})
    float_onnx(folder, digests[FLOAT_MODEL], float_model)
    sizes = [len(dataset.feature_names), *config.hidden, len(dataset.class_names)]
    network = "-".join(map(str, sizes))
    without = loss_without_inputs(split.validation.labels, "categorical_crossentropy")
    settings = {"batch size": config.batch_size, "learning rate": config.learning_rate}
    runs = (
        training_run(
            "float",
            network,
            None,
            float_fit,
            settings,
            without,
            simple or (),
            len(split.validation),
        ),
        training_run("qat", network, config.weight_bits, quantized_fit, settings, without),
    )
    sections: dict[str, Any] = {
        "data": data_facts(dataset, split),
        "training": training_facts(runs, prepared, costs, simple),
    }
    Recipe(
        data if data == JETS else os.path.abspath(data),
        dataset.sha256,
        config.seed,
        digests,
        demo,
        config.model_dump(mode="json"),
        {name: section.model_dump(mode="json") for name, section in sections.items()},
        stratified=True,
    ).write(folder)
    return record.record(folder, command, **sections)


def export_model(source: Path, output: Path, *, check: bool = True, command: str = "") -> Any:
    """Writes a Keras model as QONNX and compares the two on the test part or on random events.

    Returns:
        The `ExportCheck`, or None without `check`.

    Raises:
        UnsupportedError: layers without an exact QONNX form, all listed.
        MismatchError: a tensor whose equality is provable differs.
    """
    from samebits.compile.frontends.hgq import check_keras_3_export, export_keras_3, is_keras_3
    from samebits.compile.frontends.keras import check_export, export_keras, random_events
    from samebits.train.data import classes_of
    from samebits.train.preprocessing import refuse_outside
    from samebits.train.store import load_model

    check_folder(output.parent)
    model = refuse_outside(load_model(source))
    newer = is_keras_3(model)
    digest = network_sha256(source) or ""
    recipe = Recipe.read(source.parent)
    if recipe and recipe.models.get(source.name) != digest:
        _log.warning(
            "%s: is not what %s says was trained here: compared on random events",
            source,
            RECIPE,
        )
        recipe = None
    split = recipe.split() if recipe else None
    features = split.test.feature_names if split else ()
    classes = classes_of(split.test) if split else ()
    exported = (export_keras_3 if newer else export_keras)(model, features, classes)
    exported.metadata_props.add(key=KERAS_SHA256, value=digest)
    with storage.replace_file(output) as temporary:
        temporary.write_bytes(exported.SerializeToString())
    if not check:
        return None
    if split:
        events: Any = split.test.features
    else:
        events = random_events(exported)
    result = (check_keras_3_export if newer else check_export)(model, exported, events)
    if recipe and output.resolve() == (source.parent / storage.MODEL).resolve():
        from samebits import record
        from samebits.sections import export_facts

        record.record(source.parent, command, export=export_facts(output, result))
    return result


def compile_model(
    source: Path,
    folder: Path,
    target: Target,
    *,
    calibrated: onnx.ModelProto | None = None,
    tighten: bool = False,
    adapter: Path | None = None,
    raw: bool = False,
    force: bool = False,
    command: str = "",
) -> Design:
    """Compiles an ONNX or Keras model into a build directory.

    Args:
        calibrated: the model quantized by calibration, to be compiled instead.
        raw: firmware.onnx returns mantissas.
        tighten: hls4ml's types made as narrow as proofs allow; the bits stay.
        adapter: a TOML file that describes the raw detector integers in front of the network.

    Raises:
        ModelError, UnsupportedError: the model cannot be compiled.
        BuildError: the folder holds another design and `force` is not set.
    """
    from samebits import record
    from samebits.firmware.parts import part_of

    part_of(target.part)
    check_folder(folder)
    from_file = Design.from_keras if source.suffix in (".keras", ".h5") else Design.from_onnx
    design = (
        from_file(source, target) if calibrated is None else Design.from_onnx(calibrated, target)
    )
    if tighten:
        design = design.tighten().design
    if adapter is not None:
        design = design.with_adapter(adapter)
    design.save(folder, force=force, raw=raw)
    facts, _, _ = _recorded(design)
    record.write(folder, record.updated(facts, command, target=facts.target, layers=facts.layers))
    return design


def fidelity_of(design: Design, calibration: Sequence[NDArray[Any]] = ()) -> Fidelity:
    """How far a saved design's firmware is from its model.onnx, measured and recorded.

    On the events of the calibration, if there are any.
    """
    from samebits import record
    from samebits.fidelity import measure_fidelity
    from samebits.sections import fidelity_facts

    assert design.folder is not None
    fidelity = measure_fidelity(design, calibration=calibration)
    record.record(design.folder, "", fidelity=fidelity_facts(fidelity))
    return fidelity


def _recorded(design: Design) -> tuple[ReportFacts, Recipe | None, str]:
    """The record of a saved design, its recipe, and why there is none although a training is there.

    What the record says of another design, or of a training that this design does not come from, is
    taken out.
    """
    from samebits import record
    from samebits.report.facts import NotRun, TrainingFacts
    from samebits.sections import calibration_facts, layer_facts, target_facts

    assert design.folder is not None
    old = record.load_record(design.folder)
    recipe, why = recipe_of(design)
    sections: dict[str, Any] = {
        "design": design.folder.resolve().name,
        "fingerprint": design.fingerprint,
        "target": target_facts(design.target),
        "layers": layer_facts(design.graph),
        "calibration": calibration_facts(design),
        "export": old.export,
        "tuning": tuning_section.tuning_of(design),
        "adapter": old.adapter if old.fingerprint == design.fingerprint else None,
    }
    if why:
        sections |= dict.fromkeys(("data", "training", "export"), NotRun(reason=why))
    elif recipe and recipe.sections:
        sections["data"] = data_section(recipe)
        sections["training"] = TrainingFacts.model_validate(recipe.sections["training"])
    if old.fingerprint == design.fingerprint:
        verification = record.of_design(old.verification, design)
        sections |= {"fidelity": old.fidelity, "verification": verification}
    changed = {name for name, value in sections.items() if getattr(old, name) != value}
    if changed == {"data"} and recipe is not None and _same_events(old.data, sections["data"]):
        # another reading of the test part makes no number old
        return old.model_copy(update={"data": sections["data"]}), recipe, why
    if not changed:
        return old, recipe, why
    return record.updated(old, "", **sections), recipe, why


def _same_events(old: DataFacts | NotRun, new: DataFacts) -> bool:
    """Whether nothing but the readings of the test part differs."""
    from samebits.report.facts import NotRun

    if isinstance(old, NotRun):
        return False
    return old.model_copy(update={"test_reads": new.test_reads}) == new


def recorded_facts(design: Design) -> ReportFacts:
    """What report.json says of a saved design; what it says of another one is left out."""
    return _recorded(design)[0]


def verify_build(
    design: Design,
    events: Any = None,
    against: tuple[str, ...] = ("csim", "onnxruntime"),
    *,
    keys: Mapping[str, Any] | None = None,
    adversarial: bool = True,
    seed: int = 0,
    command: str = "",
    progress: Progress | None = None,
    vcd: Path | None = None,
) -> Verification:
    """Verifies a saved design on events, or on the test part of what it was trained on.

    Args:
        keys: run, lumi, event and bx of the events, as far as they are known.

    Raises:
        BuildError: training.json is damaged, the data changed since the training, or the folder
            cannot be written.
    """
    from samebits import record
    from samebits.sections import verification_facts
    from samebits.verify import verify

    assert design.folder is not None
    check_folder(design.folder)
    facts, recipe, why = _recorded(design)
    name = "data"
    if why:
        _log.warning("the training in %s is not used: %s", design.folder, why)
    if events is None and recipe is not None and design.adapter is None:
        events, name = recipe.split().test.features, "test set"
    known = keys or {}
    result = verify(
        *(design, events, against, adversarial, seed, progress, vcd),
        words=lambda event: key_words(known, event),
    )
    new = verification_facts(result, name)
    verification = record.merged(record.of_design(facts.verification, design), new)
    record.write(design.folder, record.updated(facts, command, verification=verification))
    return result


def build_report(
    design: Design,
    data: str | None = None,
    *,
    target: str | None = None,
    label: str | None = None,
    weight: str | None = None,
    budget_ns: float | None = None,
    gates: Gates | None = None,
    command: str = "",
    bar: Bar = no_bar,
) -> ReportFacts:
    """Metrics, speed, latency and resources added; report.html and report.json written.

    Args:
        data: labelled events for the metrics; None: the test part of what the network was trained
            on, or no metrics if it was not trained here.
        target: columns of the data, A or A,B, that a regression gives; label: that of class labels;
            weight: that of weights.
        budget_ns: the latency the trigger allows.
        gates: limits besides those that every report has.
    """
    from samebits import record
    from samebits.adapter_facts import measure_adapter
    from samebits.bits import measure_bits
    from samebits.estimates import check_budget, estimate_facts
    from samebits.gates import with_gates
    from samebits.report import write_report
    from samebits.sections import variant_facts
    from samebits.standing_gates import standing_gates

    assert design.folder is not None
    check_folder(design.folder)
    check_budget(budget_ns)
    design.check_files()
    facts, recipe, why = _recorded(design)
    if why:
        _log.warning("the training in %s is not used: %s", design.folder, why)
    with bar("metrics", 1) as advance:
        metrics, predicted, events, split = _quality(
            *(design.network, data, recipe, why, target, label, weight, facts.tuning)
        )
        facts = with_reading(facts, design.folder, recipe, split, "samebits report")
        advance(1)
    with bar("bits in use", 1) as advance:
        bits = measure_bits(design, events, split)
        advance(1)
    with bar("latency and resources", 1) as advance:
        latency, resources = estimate_facts(design, budget_ns, facts.verification)
        advance(1)
    facts = record.updated(
        facts,
        command,
        metrics=metrics,
        regression=predicted,
        bits=bits,
        performance=measure_performance(design, events),
        adapter=measure_adapter(design),
        latency=latency,
        resources=resources,
        variants=variant_facts(design),
        gates=standing_gates(facts, metrics, latency),
    )
    if gates is not None:
        facts = with_gates(facts, gates)
    write_report(facts, design.folder)
    return facts


def _quality(
    design: Design,
    data: str | None,
    recipe: Recipe | None,
    why: str,
    target: str | None,
    label: str | None,
    weight: str | None,
    tuning: Tuning | None,
) -> tuple[Any, Any, Any, str]:
    """Metrics of classes or of a regression, the other one not run; the events and what they are"""
    from samebits import quality
    from samebits.report.facts import NotRun

    if data is None or data == JETS:
        for option, value in (("--target", target), ("--weight", weight)):
            if value is not None:
                raise errors.UsageError(f"{option} {value} is a column of a file: give --data FILE")
    from samebits.train.data import Dataset, Regression

    names = design.feature_names
    columns = None if target is None else quality.target_columns(target, names)
    test, split = labelled_events(data, recipe, names, columns, label)
    weights = None
    if weight is not None:
        whole = recipe.load(str(data)) if recipe and split == TEST else None
        weights = quality.event_weights(Path(str(data)), weight, recipe, whole)
    if isinstance(test, Regression):
        metrics = NotRun(reason=f"the network predicts {', '.join(test.target_names)}")
        predicted = quality.regression(design, test, split, weights)
        return metrics, predicted, test.features, split
    absent = NotRun(reason="no --target: the network is no regression, or was not said to be one")
    if not isinstance(test, Dataset):
        return NotRun(reason=why or tuning_section.no_labels(tuning)), absent, None, split
    return quality.classification(design, test, split, weights, why), absent, test.features, split
