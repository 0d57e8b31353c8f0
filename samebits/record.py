"""report.json kept up to date: every stage replaces its own section and what depended on it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import ValidationError

from samebits import __version__, errors, storage
from samebits.compile.ir import Format, Graph
from samebits.compile.target import Target
from samebits.fidelity import Fidelity
from samebits.report.facts import (
    CalibrationFacts,
    DataFacts,
    EngineFacts,
    EventSet,
    ExportCheck,
    ExportFacts,
    FidelityFacts,
    LayerComparison,
    LayerFacts,
    NotRun,
    OutputFidelityFacts,
    Quantity,
    ReportFacts,
    ScalingOption,
    TargetFacts,
    TrainingFacts,
    TrainingRun,
    VerificationFacts,
    utc_now,
)
from samebits.report.files import PLOTS, read_facts
from samebits.sim.verification import Verification
from samebits.sweep import Sweep, read_sweep
from samebits.training_section import baseline_facts, curve_facts, settings_of, verdict_facts

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = [
    "calibration_facts",
    "data_facts",
    "export_facts",
    "fidelity_facts",
    "layer_facts",
    "load_record",
    "merged",
    "note",
    "of_design",
    "record",
    "target_facts",
    "training_facts",
    "training_run",
    "updated",
    "variant_facts",
    "verification_facts",
    "write",
]

_FILE = "report.json"
SWEEP = "sweep"
_log = logging.getLogger("samebits")

Status = Literal["equal", "MISMATCH", "not run"]

# What is out of date as soon as a section changes, in the order of the stages.
_STAGES = (
    *("training", "export", "target", "fidelity"),
    *("verification", "metrics", "regression", "trigger", "menu"),
    *("bits", "latency", "resources"),
)
_PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "qonnx", "hls4ml", "alkaid"),
    *("tensorflow", "tensorflow-cpu", "tf-keras", "qkeras", "scikit-learn"),
)


def versions() -> dict[str, str]:
    """Versions of samebits, Python and the packages it is built on, as far as installed."""
    found = {"samebits": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load_record(folder: Path) -> ReportFacts:
    """The facts recorded in a folder so far; new ones if there are none.

    Sections of another version of samebits are said in a warning and left out; a damaged record is
    begun again.
    """
    path = folder / _FILE
    try:
        if path.exists():
            return read_facts(folder)
    except errors.BuildError as error:
        facts, lost = _readable(path)
        if facts is not None:
            _log.warning("%s: left out, as of another version of samebits: %s", path, lost)
            return facts
        _log.warning("%s; what earlier stages recorded is lost", error)
    name = folder.resolve().name or "design"
    return ReportFacts(design=name, created=utc_now(), versions=versions())


def _readable(path: Path) -> tuple[ReportFacts | None, str]:
    """The sections that can be read, and which cannot; None if that is everything."""
    try:
        values = json.loads(path.read_bytes())
        values["schema_version"] = ReportFacts.model_fields["schema_version"].default
        return ReportFacts.model_validate_json(json.dumps(values)), "nothing"
    except ValidationError as error:
        lost = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        kept = {name: value for name, value in values.items() if name not in lost}
        try:
            return ReportFacts.model_validate_json(json.dumps(kept)), ", ".join(lost)
        except ValidationError:
            return None, ""
    except (OSError, ValueError, TypeError):
        return None, ""


def updated(old: ReportFacts, command: str | tuple[str, ...], **sections: Any) -> ReportFacts:
    """The facts with these sections; those of later stages that depended on them are dropped.

    Args:
        command: how to do this stage again, for the report's provenance; a command that is there
            already moves to the end.
    """
    fields = {name: getattr(old, name) for name in ReportFacts.model_fields}
    first = min((_STAGES.index(name) for name in sections if name in _STAGES), default=len(_STAGES))
    for name in _STAGES[first + 1 :]:
        # the target's estimates do not depend on the verification, nor the metrics
        if name not in sections and not (first >= _STAGES.index("verification")):
            fields.pop(name, None)
    if sections:
        fields["gates"] = ()
    if first <= _STAGES.index("target"):
        fields.pop("performance", None)
        fields.pop("variants", None)
        if "layers" not in sections:
            fields["layers"] = ()
    fields |= sections
    fields |= {"created": utc_now(), "versions": versions()}
    new = tuple(text for text in ((command,) if isinstance(command, str) else command) if text)
    fields["commands"] = (*(text for text in old.commands if text not in new), *new)
    return ReportFacts(**fields)


def write(folder: Path, facts: ReportFacts) -> ReportFacts:
    """Writes report.json and removes report.html and plots/, which it makes out of date.

    Raises:
        BuildError: the folder cannot be written.
    """
    page, plots = folder / "report.html", folder / PLOTS
    with storage.replace_file(folder / _FILE) as temporary:
        temporary.write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
        old = [path for path in (page, *plots.glob("*.p[dn][fg]")) if path.exists()]
        for path in old:
            path.unlink()
        if plots.is_dir() and not any(plots.iterdir()):
            plots.rmdir()
        if old:
            words = "report.html" if old == [page] else "report.html and plots/"
            _log.warning(
                "%s: %s told the numbers of before, removed: run samebits report", folder, words
            )
    return facts


def record(folder: Path, command: str | tuple[str, ...], **sections: Any) -> ReportFacts:
    """Writes report.json with these sections: see `updated` and `write`."""
    return write(folder, updated(load_record(folder), command, **sections))


def note(folder: Path, command: str) -> None:
    """Adds a command to the provenance in a folder's report.json, if there is one."""
    if not (folder / _FILE).is_file():
        return
    old = load_record(folder)
    commands = (*(text for text in old.commands if text != command), command)
    with storage.replace_file(folder / _FILE) as temporary:
        new = old.model_copy(update={"commands": commands})
        temporary.write_text(new.model_dump_json(indent=1) + "\n", encoding="utf-8")


def target_facts(target: Target) -> TargetFacts:
    """The target as the report shows it."""
    values = target.to_json()
    values.pop("precision")
    return TargetFacts(**values)


def calibration_facts(design: Design) -> CalibrationFacts | NotRun:
    """What `calibrate` wrote into the design's model.onnx."""
    from onnx import load_model_from_string

    from samebits.compile.frontends.onnx.quantize import CALIBRATION

    absent = NotRun(reason="not calibrated: the model came with its formats")
    if design.model_bytes is None:
        return absent
    found = load_model_from_string(design.model_bytes).metadata_props
    text = next((item.value for item in found if item.key == CALIBRATION), None)
    if text is None:
        return absent
    try:
        return CalibrationFacts.model_validate_json(text)
    except ValidationError as error:
        return NotRun(reason=f"its record in model.onnx is damaged: {error.errors()[0]['msg']}")


def variant_facts(design: Design) -> Sweep | NotRun:
    """The sweep in the design's folder, if it is of this design."""
    found = None if design.folder is None else read_sweep(design.folder / SWEEP)
    if found is None:
        return NotRun(reason="no sweep here: `samebits sweep` tries widths, clocks, reuse factors")
    if not found.inputs.get("model", "").startswith(design.fingerprint):
        return NotRun(reason=f"{SWEEP}/ is of another design: run `samebits sweep` again")
    return found


def layer_facts(graph: Graph) -> tuple[LayerFacts, ...]:
    """Every layer with its format, how many weights are not zero, and its bit operations."""
    from samebits.bit_operations import bit_operations

    rows = []
    operations = {one.layer: one for one in bit_operations(graph)}
    for layer in graph.layers:
        tensor, (nonzero, total) = graph.tensors[layer.tensor], layer.weights
        products = operations.get(layer.name)
        rows.append(
            LayerFacts(
                name=layer.name,
                class_name=layer.kind,
                shape=tensor.shape,
                result_format=str(tensor.format),
                weight_format=_text(layer.types, "weight", "scale"),
                bias_format=_text(layer.types, "bias"),
                accumulator_format=_text(layer.types, "accum"),
                weights_nonzero=nonzero if total else None,
                weights_total=total or None,
                multiplications=None if products is None else products.multiplications,
                bops=None if products is None else products.bops,
                ebops=None if products is None else products.ebops,
            )
        )
    return tuple(rows)


def _text(types: Mapping[str, Format], *names: str) -> str | None:
    return next((str(types[name]) for name in names if name in types), None)


def verification_facts(verification: Verification, data: str = "data") -> VerificationFacts:
    """The outcome of `Design.verify` as the report shows it; `data` names the user's events."""
    events = tuple(
        EventSet(kind=data if kind == "data" else kind, events=count, is_adversarial=kind != "data")
        for kind, count in verification.events.items()
        if count
    )
    created = utc_now()
    engines, layers = [], []
    for engine in verification.engines:
        ran, cycles = engine.status != "not run", None
        tool = engine.tool or engine.engine
        if engine.latency_cycles is not None:
            cycles = Quantity(
                value=engine.latency_cycles,
                unit="cycles",
                kind="measured",
                tool=tool.partition(",")[0],  # Verilator; who wrote the RTL comes after it
            )
        engines.append(
            EngineFacts(
                engine=engine.engine,
                tool=tool,
                status=cast(Status, engine.status),
                detail=engine.detail,
                created=created,
                event_sets=events if ran else (),
                bits_compared=engine.bits,
                mismatching_bits=engine.mismatching_bits,
                latency_cycles=cycles,
                files_sha256=engine.files_sha256,
            )
        )
        layers += [
            LayerComparison(
                layer=row.name.removeprefix("layer:"),
                engine=engine.engine,
                format=row.format,
                bits_compared=row.bits,
                mismatching_bits=row.mismatching_bits,
            )
            for row in engine.rows
        ]
    return VerificationFacts(reference="NumPy engine", engines=tuple(engines), layers=tuple(layers))


def merged(old: VerificationFacts | NotRun, new: VerificationFacts) -> VerificationFacts:
    """A new verification with the engines of an old one of the same design that it did not run."""
    if isinstance(old, NotRun):
        return new
    rows = {engine.engine: engine for engine in old.engines}
    for engine in new.engines:
        if engine in new.ran or rows.get(engine.engine) not in old.ran:
            rows[engine.engine] = engine
    ran = {engine.engine for engine in new.ran}
    layers = [row for row in old.layers if row.engine not in ran]
    return VerificationFacts(
        reference=new.reference, engines=tuple(rows.values()), layers=(*layers, *new.layers)
    )


def of_design(old: VerificationFacts | NotRun, design: Design) -> VerificationFacts | NotRun:
    """What an old verification says of a design that is still the same one.

    RTL may have been written again, for another clock or in other stages: then its row says so.
    """
    if isinstance(old, NotRun):
        return old
    rows = []
    for engine in old.engines:
        if engine.files_sha256 and engine.files_sha256 != _rtl_sha256(design):
            changed = "rtl/ is not what was verified; run `samebits verify --against rtl` again"
            engine = EngineFacts(
                engine=engine.engine, tool=engine.tool, status="not run", detail=changed
            )
        rows.append(engine)
    gone = {row.engine for row in rows if row.status == "not run"}
    layers = tuple(row for row in old.layers if row.engine not in gone)
    return VerificationFacts(reference=old.reference, engines=tuple(rows), layers=layers)


def _rtl_sha256(design: Design) -> str | None:
    from samebits.rtl import present

    try:
        rtl = present(design)
    except errors.BuildError:  # damaged, or another design's
        return None
    return None if rtl is None else rtl.files_sha256


def data_facts(dataset: Any, split: Any) -> DataFacts:
    """A `samebits.train.data.Dataset` and its split as the report shows them."""
    return DataFacts(
        name=Path(dataset.source).name,
        source=dataset.source,
        sha256=dataset.sha256,
        events={
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
        },
        class_names=tuple(dataset.class_names),
        feature_names=tuple(dataset.feature_names),
    )


def training_run(
    name: str,
    network: str,
    bits: int | None,
    fit: Any,
    settings: Mapping[str, Any] | None = None,
    without_inputs: float | None = None,
) -> TrainingRun:
    """A `samebits.train.fit.FitResult` as the report shows it.

    Args:
        without_inputs: the loss of the best constant answer, for the verdicts on the curve.
    """
    from samebits.train.diagnosis import diagnose

    tool = f"tf-keras {importlib.metadata.version('tf-keras')}"
    verdicts: Sequence[Any] = ()
    if fit.curve is not None and without_inputs is not None:
        verdicts = diagnose(fit.curve, without_inputs)
    return TrainingRun(
        model=name,
        network=network,
        bits=bits,
        epochs=len(fit.history),
        seconds=_measured(fit.seconds, "s", tool),
        seed=fit.seed,
        sparsity=_measured(100 * fit.sparsity, "%", "samebits"),
        tool=tool,
        curve=curve_facts(fit.history if fit.curve is None else fit.curve.passes),
        settings=settings_of(settings or {}),
        best_epoch=fit.best_epoch,
        verdicts=verdict_facts(verdicts),
        score=_measured(100 * fit.validation_accuracy, "%", "samebits"),
    )


def training_facts(
    runs: tuple[TrainingRun, ...], prepared: Any, costs: Any, baselines: Any = None
) -> TrainingFacts:
    """How the models were fitted, and what each kind of input scaling costs."""
    return TrainingFacts(
        runs=runs,
        scaling_chosen=prepared.scaling.kind,
        scaling_options=tuple(
            ScalingOption(
                name=cost.kind,
                accuracy=_measured(100 * cost.accuracy, "%", "samebits"),
                cost_points=_measured(-100 * cost.difference, "percentage points", "samebits"),
            )
            for cost in costs
        ),
        input_format=str(prepared.input_format),
        baselines=NotRun(reason="--no-baselines")
        if baselines is None
        else baseline_facts(baselines),
    )


def export_facts(path: Path, check: Any) -> ExportFacts:
    """A `samebits.compile.frontends.keras.check.ExportCheck` as the report shows it."""
    provable = [t.name for t in check.tensors if t.provable]
    rest = [f"{t.name} ({t.reason})" for t in check.tensors if not t.provable]
    return ExportFacts(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        provably_equal=", ".join(provable) or "nothing",
        only_rounding="; ".join(rest) or "nothing",
        checks=tuple(
            ExportCheck(
                name=tensor.name,
                promise="equal" if tensor.provable else "rounding",
                values=tensor.values,
                differing=_measured(tensor.different, "values", "onnxruntime"),
                largest_difference=_measured(tensor.largest_difference, "", "onnxruntime"),
            )
            for tensor in check.tensors
        ),
    )


def fidelity_facts(fidelity: Fidelity) -> FidelityFacts | NotRun:
    """The firmware against model.onnx as the report shows it."""
    if not fidelity.outputs:
        return NotRun(reason=fidelity.reason)

    def number(value: float | None, unit: str = "") -> Quantity | NotRun:
        if value is None:
            return NotRun(reason="one element per event decides nothing")
        if not math.isfinite(value):
            return NotRun(reason=f"the model's answer is not finite: {value}")
        return _measured(value, unit, fidelity.tool)

    return FidelityFacts(
        events=fidelity.events,
        outputs=tuple(
            OutputFidelityFacts(
                name=output.name,
                largest_difference=number(output.largest_difference),
                largest_output=number(output.largest_output),
                equal_decisions=number(
                    None if output.equal_decisions is None else 100 * output.equal_decisions, "%"
                ),
            )
            for output in fidelity.outputs
        ),
    )


def _measured(value: float, unit: str, tool: str) -> Quantity:
    if " " not in tool:
        tool = f"{tool} {importlib.metadata.version(tool)}"
    return Quantity(value=value, unit=unit, kind="measured", tool=tool)
