"""What the stages did, as the sections of report.json show it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import ValidationError

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
    TargetFacts,
    VerificationFacts,
    utc_now,
)
from samebits.sim.verification import Verification
from samebits.sweep import Sweep, read_sweep

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = [
    "SWEEP",
    "calibration_facts",
    "data_facts",
    "export_facts",
    "fidelity_facts",
    "layer_facts",
    "measured",
    "target_facts",
    "variant_facts",
    "verification_facts",
]

SWEEP = "sweep"

Status = Literal["equal", "MISMATCH", "not run"]


def target_facts(target: Target) -> TargetFacts:
    """The target as the report shows it."""
    values = target.to_json()
    for name in ("precision", "table_size"):  # as the formats and tables of the layers show
        values.pop(name, None)
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
                differing=measured(tensor.different, "values", "onnxruntime"),
                largest_difference=measured(tensor.largest_difference, "", "onnxruntime"),
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
        return measured(value, unit, fidelity.tool)

    return FidelityFacts(
        events=fidelity.events,
        data=fidelity.data,
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


def measured(value: float, unit: str, tool: str) -> Quantity:
    """A number that was measured, with the version of the tool that measured it."""
    if " " not in tool:
        tool = f"{tool} {importlib.metadata.version(tool)}"
    return Quantity(value=value, unit=unit, kind="measured", tool=tool)
