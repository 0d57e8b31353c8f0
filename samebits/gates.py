"""Gates: limits in a TOML file, held against the facts of a report."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from samebits import errors
from samebits.report.facts import Gate, MetricsFacts, NotRun, Quantity, ReportFacts
from samebits.report.wording import format_number
from samebits.trigger import TriggerFacts

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Gates", "evaluate", "read_gates", "with_gates"]

# strict: TOML's true and "0.1" are no numbers
NotNegative = Annotated[float, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
_FIRMWARE = "firmware"
# how the report calls the engines
_ENGINES = {"onnxruntime": "firmware.onnx", "csim": "csim", "native": "native", "rtl": "rtl"}


class EfficiencyGate(BaseModel):
    """The least signal efficiency: of a class at a background efficiency of the report, or of a
    signal at a rate that `samebits trigger` was asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    of: Annotated[str, Field(min_length=1)]
    at_background: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    at_rate_khz: Annotated[float, Field(gt=0, strict=True)] | None = None
    min: Fraction

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if (self.at_background is None) == (self.at_rate_khz is None):
            raise ValueError("give at_background or at_rate_khz")
        return self


class Gates(BaseModel):
    """The limits of a gates file; those that are not given are not looked at.

    `max_..._share`: fraction of the part. `latency_from` and `resources_from` choose the estimate
    whose source or tool contains this text; by default the first that gave a number.
    `not_evaluated`: what a gate without its number does. `efficiency`: an array of tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    not_evaluated: Literal["fail", "ignore"] = "fail"
    latency_from: str = ""
    resources_from: str = ""
    max_mismatching_bits: Annotated[int, Field(ge=0, strict=True)] | None = None
    engines: tuple[Literal["csim", "onnxruntime", "native", "rtl"], ...] = ()
    max_accuracy_drop_points: NotNegative | None = None
    max_auc_drop: Fraction | None = None
    min_accuracy: Fraction | None = None
    min_auc: Fraction | None = None
    efficiency: tuple[EfficiencyGate, ...] = ()
    max_latency_ns: NotNegative | None = None
    max_latency_cycles: NotNegative | None = None
    max_initiation_interval: NotNegative | None = None
    min_fmax_mhz: NotNegative | None = None
    max_lut_share: NotNegative | None = None
    max_ff_share: NotNegative | None = None
    max_dsp_share: NotNegative | None = None
    max_bram_share: NotNegative | None = None


Reading = tuple[float, str]  # the number, and where it comes from; NotRun where there is none


def read_gates(path: Path) -> Gates:
    """The gates of a TOML file.

    Raises:
        UsageError: no such file, no TOML, keys that do not exist or values that make no sense.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.UsageError(f"{path}: cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise errors.UsageError(f"{path}: is no TOML: {error}") from None
    try:
        gates = Gates.model_validate(values)
    except ValidationError as error:
        wrong = [_in_words(problem) for problem in error.errors()]
        raise errors.UsageError(f"{path}: {'; '.join(wrong)}") from None
    lists = gates.engines or gates.efficiency
    if not lists and all(getattr(gates, name) is None for name in _READINGS):
        raise errors.UsageError(f"{path}: holds no gate; gates: {', '.join(_READINGS)}, engines")
    return gates


def _in_words(problem: ErrorDetails) -> str:
    """What is wrong with a key of the file."""
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        *table, name = map(str, problem["loc"])
        known = EfficiencyGate.model_fields if table else Gates.model_fields
        near = difflib.get_close_matches(name, known, 1)
        hint = f" (is it {near[0]}?)" if near else ""
        what = f"key {name} of {'.'.join(table)}" if table else f"gate {name}"
        return f"there is no {what}{hint}; there are: {', '.join(known)}"
    if problem["type"] == "tuple_type":
        return f"{place}: wanted a list{', [[efficiency]]' * (place == 'efficiency')}"
    return f"{place} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def evaluate(gates: Gates, facts: ReportFacts) -> tuple[Gate, ...]:
    """Every gate of the file; one whose number is not there fails, or has `passed` None."""
    found = []
    for name, (read, unit) in _READINGS.items():
        limit = getattr(gates, name)
        if limit is None:
            continue
        reading = read(gates, facts)
        if isinstance(reading, NotRun):
            found.append(_absent(gates, name, reading.reason))
            continue
        value, origin = reading
        passed = value <= limit if name.startswith("max_") else value >= limit
        words = f"{format_number(value)} {unit}".strip()
        wanted = "at most" if name.startswith("max_") else "at least"
        detail = f"{words}, wanted {wanted} {format_number(limit)}: {origin}"
        found.append(Gate(name=name, passed=passed, detail=detail))
    return (
        *found,
        *(_efficiency(gates, wanted, facts) for wanted in gates.efficiency),
        *(_engine(gates, engine, facts) for engine in gates.engines),
    )


def with_gates(facts: ReportFacts, gates: Gates) -> ReportFacts:
    """The facts with the outcome of these gates, which replace a report's own of the same thing."""
    own = {
        "accuracy": gates.max_accuracy_drop_points is not None,
        "latency budget": gates.max_latency_ns is not None,
    }
    kept = (gate for gate in facts.gates if not own.get(gate.name, False))
    return facts.model_copy(update={"gates": (*kept, *evaluate(gates, facts))})


def _absent(gates: Gates, name: str, reason: str) -> Gate:
    passed = False if gates.not_evaluated == "fail" else None
    return Gate(name=name, passed=passed, detail=f"not evaluated: {reason}")


def _engine(gates: Gates, engine: str, facts: ReportFacts) -> Gate:
    name = f"engine {engine}"
    if isinstance(facts.verification, NotRun):
        return _absent(gates, name, facts.verification.reason)
    rows = [e for e in facts.verification.engines if e.engine.startswith(_ENGINES[engine])]
    if not rows:
        return _absent(gates, name, f"not asked for: samebits verify --against {engine}")
    not_run = [e for e in rows if e.status == "not run"]
    if not_run:
        return _absent(gates, name, not_run[0].detail)
    bits = sum(e.mismatching_bits for e in rows)
    compared = sum(e.bits_compared for e in rows)
    detail = f"{bits:,} of {compared:,} bits differ"
    return Gate(name=name, passed=bits == 0, detail=detail)


def _efficiency(gates: Gates, wanted: EfficiencyGate, facts: ReportFacts) -> Gate:
    if wanted.at_rate_khz is not None:
        name = f"efficiency {wanted.of} at {wanted.at_rate_khz:g} kHz"
        return _efficiency_at_rate(gates, wanted, name, facts.trigger)
    name = f"efficiency {wanted.of} at background {wanted.at_background:g}"
    metrics = _metrics(facts)
    if isinstance(metrics, NotRun):
        return _absent(gates, name, metrics.reason)
    classes = {one.name: one for one in metrics.models[_FIRMWARE].classes}
    if wanted.of not in classes:
        return _absent(gates, name, f"no class {wanted.of!r}; classes: {', '.join(classes)}")
    points = {
        point.asked_background_efficiency: point for point in classes[wanted.of].working_points
    }
    point = points.get(wanted.at_background or 0.0)
    if point is None:
        known = ", ".join(f"{asked:g}" for asked in points)
        return _absent(gates, name, f"the report has the background efficiencies {known}")
    if point.signal_efficiency is None or point.background_efficiency is None:
        return _absent(gates, name, point.note or "no cut lets so little background through")
    detail = (
        f"{format_number(point.signal_efficiency)}, wanted at least {format_number(wanted.min)}: "
        f"firmware at a background efficiency of {format_number(point.background_efficiency)} "
        f"(asked {wanted.at_background:g}), {metrics.tool}"
    )
    return Gate(name=name, passed=point.signal_efficiency >= wanted.min, detail=detail)


def _efficiency_at_rate(
    gates: Gates, wanted: EfficiencyGate, name: str, trigger: TriggerFacts | NotRun
) -> Gate:
    if isinstance(trigger, NotRun):
        return _absent(gates, name, trigger.reason)
    if wanted.of not in trigger.signals:
        words = f"no signal {wanted.of!r}; signals: {', '.join(trigger.signals)}"
        return _absent(gates, name, words)
    points = {point.asked_khz: point for point in trigger.models[_FIRMWARE].points}
    point = points.get(wanted.at_rate_khz or 0.0)
    if point is None:
        known = ", ".join(f"{asked:g}" for asked in points)
        return _absent(gates, name, f"the rates that were asked for are {known} kHz")
    if point.rate_khz is None:
        return _absent(gates, name, "even the tightest cut gives a higher rate")
    found = point.efficiency[wanted.of]
    detail = (
        f"{format_number(found.value)} ({format_number(found.low)} to {format_number(found.high)} "
        f"at 68 %), wanted at least {format_number(wanted.min)}: firmware at "
        f"{format_number(point.rate_khz.value)} kHz (asked {wanted.at_rate_khz:g})"
    )
    return Gate(name=name, passed=found.value >= wanted.min, detail=detail)


def _mismatching_bits(gates: Gates, facts: ReportFacts) -> Reading | NotRun:
    v = facts.verification
    if isinstance(v, NotRun):
        return v
    if not v.ran:
        return NotRun(reason="no engine ran")
    return v.mismatching_bits, f"of {v.bits_compared:,}, {', '.join(e.engine for e in v.ran)}"


def _metrics(facts: ReportFacts) -> MetricsFacts | NotRun:
    if not isinstance(facts.metrics, NotRun) and _FIRMWARE not in facts.metrics.models:
        return NotRun(reason="the report holds no metrics of the firmware")
    return facts.metrics


def _accuracy(gates: Gates, facts: ReportFacts) -> Reading | NotRun:
    metrics = _metrics(facts)
    if isinstance(metrics, NotRun):
        return metrics
    if metrics.no_decision:
        return NotRun(reason=metrics.no_decision)
    model = metrics.models[_FIRMWARE]
    return model.accuracy, f"firmware, {model.events:,} events, {metrics.tool}"


def _auc(gates: Gates, facts: ReportFacts) -> Reading | NotRun:
    metrics = _metrics(facts)
    if isinstance(metrics, NotRun):
        return metrics
    worst = min(metrics.models[_FIRMWARE].classes, key=lambda one: one.auc)
    return worst.auc, f"firmware, class {worst.name}, {metrics.tool}"


def _drop(facts: ReportFacts, quantity: str, factor: float) -> Reading | NotRun:
    metrics = _metrics(facts)
    if isinstance(metrics, NotRun):
        return metrics
    comparison = metrics.comparison
    if isinstance(comparison, NotRun):
        return comparison
    differences = [
        d for d in comparison.differences if (d.model, d.quantity) == (_FIRMWARE, quantity)
    ]
    if not differences:
        return NotRun(reason=f"the report compares no {quantity} of the firmware")
    worst = min(differences, key=lambda d: d.value)
    of = f" of class {worst.class_name}" if worst.class_name else ""
    low, high = (format_number(-factor * bound) for bound in (worst.high_95, worst.low_95))
    return -factor * worst.value, (
        f"loss{of} against {comparison.reference}, {low} to {high} at 95 %, "
        f"{comparison.events:,} events"
    )


def _latency(field: str) -> Callable[[Gates, ReportFacts], Reading | NotRun]:
    def read(gates: Gates, facts: ReportFacts) -> Reading | NotRun:
        if isinstance(facts.latency, NotRun):
            return facts.latency
        reasons = []
        for estimate in facts.latency.estimates:
            number = getattr(estimate, field)
            tool = number.tool if isinstance(number, Quantity) else ""
            if gates.latency_from not in f"{estimate.source}, {tool}":
                continue
            if isinstance(number, Quantity):
                return number.value, f"{number.kind}, {number.tool}: {estimate.source}"
            reason = number.reason if isinstance(number, NotRun) else "does not tell"
            reasons.append(f"{estimate.source}: {reason}")
        return _none(reasons, gates.latency_from, "latency_from")

    return read


def _share(resource: str) -> Callable[[Gates, ReportFacts], Reading | NotRun]:
    def read(gates: Gates, facts: ReportFacts) -> Reading | NotRun:
        resources = facts.resources
        if isinstance(resources, NotRun):
            return resources
        reasons = []
        for estimate in resources.estimates:
            used = estimate.used.get(resource)
            tool = used.tool if isinstance(used, Quantity) else ""
            if gates.resources_from not in f"{estimate.source}, {tool}":
                continue
            if estimate.device and not gates.resources_from:  # not of the design's own part
                continue
            share = resources.share(estimate, resource)
            if isinstance(used, Quantity) and share is not None:
                return share, (
                    f"{format_number(used.value)} {used.unit} of {resources.part}, {used.kind}, "
                    f"{used.tool}"
                )
            reason = used.reason if isinstance(used, NotRun) else f"no share of {resource}"
            reasons.append(f"{estimate.source}: {reason}")
        return _none(reasons, gates.resources_from, "resources_from")

    return read


def _none(reasons: list[str], wanted: str, key: str) -> NotRun:
    if not reasons and wanted:
        return NotRun(reason=f"no estimate of {key} = {wanted!r}")
    return NotRun(reason="; ".join(dict.fromkeys(reasons)) or "no tool gave a number")


_READINGS: dict[str, tuple[Callable[[Gates, ReportFacts], Reading | NotRun], str]] = {
    "max_mismatching_bits": (_mismatching_bits, "bits"),
    "max_accuracy_drop_points": (lambda _, f: _drop(f, "accuracy", 100), "points"),
    "max_auc_drop": (lambda _, f: _drop(f, "auc", 1), ""),
    "min_accuracy": (_accuracy, ""),
    "min_auc": (_auc, ""),
    "max_latency_ns": (_latency("latency_ns"), "ns"),
    "max_latency_cycles": (_latency("cycles"), "cycles"),
    "max_initiation_interval": (_latency("initiation_interval"), "cycles"),
    "min_fmax_mhz": (_latency("fmax_mhz"), "MHz"),
    "max_lut_share": (_share("LUT"), ""),
    "max_ff_share": (_share("FF"), ""),
    "max_dsp_share": (_share("DSP"), ""),
    "max_bram_share": (_share("BRAM36"), ""),
}
