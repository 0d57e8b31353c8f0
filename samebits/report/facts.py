"""Everything a report says, as data: the schema of report.json.

Rules of the schema:
1. A number that a tool produced is a `Quantity`: value, unit, kind (measured, synthesised,
   estimated, assumed), tool with version. Settings (bits, epochs, seeds) and counts are plain
   numbers; counts and metrics of a section are measured by the tool that the section names.
2. What was not run is a `NotRun` with its reason; it stands where the number would stand.
3. Every section may be `NotRun`, so that a design without training or labels has a report too.
4. Unknown fields, NaN and infinity are refused, and so are impossible claims: "equal" with a
   mismatching bit.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from samebits.adapter_facts import AdapterFacts
from samebits.bits import BitFacts
from samebits.calibration import InputColumn, OutputLoss, TensorFormat
from samebits.firmware.parts import CLOSURE_LIMITS
from samebits.firmware.results import (
    BUNCH_CROSSING_NS,
    Facts,
    Kind,
    LatencyEstimate,
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    Text,
    latency_estimate,
)
from samebits.menu import MenuFacts
from samebits.sim.metrics import ClassificationMetrics, ModelComparison
from samebits.sim.regression import RegressionComparison
from samebits.sweep import Sweep
from samebits.trigger import TriggerFacts
from samebits.tune_record import Tuning

from .training_facts import (
    BaselineFacts,
    ScalingOption,
    TrainingCurve,
    TrainingFacts,
    TrainingRun,
    VerdictFacts,
)

__all__ = [
    "BUNCH_CROSSING_NS",
    "CLOSURE_LIMITS",
    "BaselineFacts",
    "CalibrationFacts",
    "DataFacts",
    "EngineFacts",
    "EventSet",
    "ExportCheck",
    "ExportFacts",
    "FidelityFacts",
    "Gate",
    "Kind",
    "LatencyEstimate",
    "LatencyFacts",
    "LayerComparison",
    "LayerFacts",
    "Measured",
    "MetricsFacts",
    "NotRun",
    "OutputFidelityFacts",
    "PerformanceFacts",
    "PerformanceRow",
    "Quantity",
    "RegressionFacts",
    "ReportFacts",
    "ResourceEstimate",
    "ResourceFacts",
    "ScalingOption",
    "TargetFacts",
    "TestReading",
    "TrainingCurve",
    "TrainingFacts",
    "TrainingRun",
    "VerdictFacts",
    "VerificationFacts",
    "latency_estimate",
    "utc_now",
]


Count = Annotated[int, Field(ge=0)]
UtcTime = Annotated[AwareDatetime, AfterValidator(lambda t: t.astimezone(UTC))]


def _not_handed_in(what: str) -> NotRun:
    return NotRun(reason=f"no {what} in this run")


def _absent(what: str) -> Callable[[], NotRun]:
    return partial(_not_handed_in, what)


class TargetFacts(Facts):
    """What the design was compiled for."""

    backend: Text
    io_type: Text
    part: Text
    clock_mhz: Annotated[float, Field(gt=0)]
    strategy: Text
    reuse_factor: Annotated[int, Field(ge=1)]


class TestReading(Facts):
    """One look at the labels of the test part, and the digest of the network it was for."""

    __test__ = False  # no test, whatever pytest thinks of the name

    when: Text
    by: Text
    network: str = ""


class DataFacts(Facts):
    """The data set; `events` per split, for example {"train": 18000, "test": 6000}."""

    name: Text
    source: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    events: dict[str, Count]
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    test_reads: tuple[TestReading, ...] = ()


class ExportCheck(Facts):
    """One comparison of the exported file with the trained model.

    `promise` says what may be expected: "equal" where the arithmetic is provably exact, "rounding"
    where float rounding may differ.
    """

    name: Text
    promise: Literal["equal", "rounding"]
    values: Count
    differing: Measured
    largest_difference: Measured


class ExportFacts(Facts):
    """The exported model file, where equality is provable and where only float rounding differs."""

    file: Text
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    provably_equal: Text
    only_rounding: Text
    checks: tuple[ExportCheck, ...] = ()


class CalibrationFacts(Facts):
    """Formats chosen from data after training, and what rounding cost on the same events.

    `columns`: those of inputs of features, which share one format. `metrics`: name, value of the
    float model, value of the quantized one.
    """

    events: Count
    formats: tuple[TensorFormat, ...]
    columns: tuple[InputColumn, ...] = ()
    loss: tuple[OutputLoss, ...]
    metrics: tuple[tuple[str, float, float], ...]


class OutputFidelityFacts(Facts):
    """One output of the firmware against the model's: largest difference, largest magnitude."""

    name: Text
    largest_difference: Measured
    largest_output: Measured
    equal_decisions: Measured


class FidelityFacts(Facts):
    """How far the firmware is from model.onnx on events of `data`; no part of same bits."""

    events: Count
    data: Text = "random events"
    outputs: tuple[OutputFidelityFacts, ...]


class LayerFacts(Facts):
    """One layer with its formats, written like ap_fixed<16,6,TRN,WRAP>.

    The multiplications of one event and their bit operations are those of
    `samebits.bit_operations.LayerOperations`.
    """

    name: Text
    class_name: Text
    shape: tuple[int, ...]
    result_format: Text
    weight_format: str | None = None
    bias_format: str | None = None
    accumulator_format: str | None = None
    weights_nonzero: Count | None = None
    weights_total: Count | None = None
    multiplications: Count | None = None
    bops: float | None = None
    ebops: Count | None = None


class EventSet(Facts):
    """How many events of one kind were compared, for example "test set" or "ties"."""

    kind: Text
    events: Count
    is_adversarial: bool


class EngineFacts(Facts):
    """One engine against the reference; "not run" has a reason and no bits, the rest have bits.

    Attributes:
        detail: why it was not run, its first mismatch, or what was done.
        latency_cycles: as it measured them.
        files_sha256: of what ran, where the design's fingerprint does not fix it.
    """

    engine: Text
    tool: Text
    status: Literal["equal", "MISMATCH", "not run"]
    detail: str = ""
    created: UtcTime | None = None
    event_sets: tuple[EventSet, ...] = ()
    bits_compared: Count = 0
    mismatching_bits: Count = 0
    latency_cycles: Quantity | None = None
    files_sha256: str = ""

    @property
    def events(self) -> int:
        return sum(events.events for events in self.event_sets)

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.status == "not run":
            ran = self.bits_compared or self.mismatching_bits or self.event_sets
            if not self.detail or ran or self.latency_cycles:
                raise ValueError(f"{self.engine}: not run needs a reason, and no events or bits")
        elif not self.bits_compared:
            raise ValueError(f"{self.engine}: {self.status} needs bits_compared above 0")
        elif (self.status == "MISMATCH") != (self.mismatching_bits > 0):
            raise ValueError(
                f"{self.engine}: {self.status} with {self.mismatching_bits} mismatching bits"
            )
        if self.mismatching_bits > self.bits_compared:
            raise ValueError(f"{self.engine}: more mismatching bits than bits compared")
        return self


class LayerComparison(Facts):
    """One traced layer of one engine against the reference."""

    layer: Text
    engine: Text
    format: Text
    bits_compared: Count
    mismatching_bits: Count


class VerificationFacts(Facts):
    """Whether the engines agree bit for bit; each has its own events and time."""

    reference: Text
    engines: tuple[EngineFacts, ...]
    layers: tuple[LayerComparison, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        differing = {row.engine for row in self.layers if row.mismatching_bits}
        claimed = {e.engine for e in self.engines if e.status == "MISMATCH"}
        if differing - claimed:
            raise ValueError(f"layers of {sorted(differing - claimed)} differ, the engine does not")
        return self

    @property
    def mismatching_bits(self) -> int:
        return sum(e.mismatching_bits for e in self.engines)

    @property
    def first_mismatch(self) -> str | None:
        """What the comparison of the first engine that differs printed."""
        return next((e.detail for e in self.engines if e.status == "MISMATCH"), None)

    @property
    def runs(self) -> dict[tuple[EventSet, ...], tuple[EngineFacts, ...]]:
        """The engines that compared the same kinds and numbers of events, by these."""
        found: dict[tuple[EventSet, ...], tuple[EngineFacts, ...]] = {}
        for engine in self.ran:
            if engine.event_sets:
                found[engine.event_sets] = (*found.get(engine.event_sets, ()), engine)
        return found

    @property
    def bits_compared(self) -> int:
        return sum(e.bits_compared for e in self.engines)

    @property
    def ran(self) -> tuple[EngineFacts, ...]:
        return tuple(e for e in self.engines if e.status != "not run")

    @property
    def not_run(self) -> tuple[EngineFacts, ...]:
        return tuple(e for e in self.engines if e.status == "not run")


class MetricsFacts(Facts):
    """Metrics per model, all measured on one split by one tool.

    `no_decision` says why the largest score decides nothing; accuracy, confusion, purity and
    efficiency of the decisions are then without meaning, AUC and working points are not.
    """

    split: Text
    tool: Text
    models: dict[str, ClassificationMetrics]
    no_decision: str = ""
    comparison: ModelComparison | NotRun = Field(
        default_factory=_absent("comparison of several models")
    )

    @model_validator(mode="after")
    def _same_classes(self) -> Self:
        if len({m.class_names for m in self.models.values()}) != 1:
            raise ValueError("give the metrics of at least one model, all with the same classes")
        return self


class RegressionFacts(Facts):
    """Errors of the models' predictions, all measured on the same events by one tool."""

    split: Text
    tool: Text
    comparison: RegressionComparison


class PerformanceRow(Facts):
    """One speed or time, for example "NumPy engine" in events/s."""

    name: Text
    result: Measured


class PerformanceFacts(Facts):
    """Speeds of the software engines under stated conditions."""

    conditions: Text
    rows: tuple[PerformanceRow, ...]


class LatencyFacts(Facts):
    """Latency by every tool there is, against a budget; the first that ran is the headline."""

    estimates: tuple[LatencyEstimate, ...]
    budget_ns: Measured = Field(default_factory=_absent("latency budget"))
    budget_name: str = ""

    @property
    def headline(self) -> LatencyEstimate | None:
        return next((e for e in self.estimates if isinstance(e.latency_ns, Quantity)), None)


class ResourceFacts(Facts):
    """Resources by every tool there is, against the totals of the part and the closure limits."""

    part: Text
    totals: dict[str, Quantity]
    estimates: tuple[ResourceEstimate, ...]
    closure_limits: dict[str, float] = Field(default_factory=lambda: dict(CLOSURE_LIMITS))
    closure_source: str = "FINN's guide to timing closure"

    @property
    def headline(self) -> ResourceEstimate | None:
        """The first that ran and is of the part itself."""
        numbers = (
            e
            for e in self.estimates
            if not e.device and any(isinstance(u, Quantity) for u in e.used.values())
        )
        return next(numbers, None)

    def share(self, estimate: ResourceEstimate, name: str) -> float | None:
        """Fraction of its device that `estimate` uses of resource `name`; None where unknown."""
        totals = estimate.totals if estimate.device else self.totals
        used, total = estimate.used.get(name), totals.get(name)
        if not isinstance(used, Quantity) or total is None or not total.value:
            return None
        return used.value / total.value


class Gate(Facts):
    """One condition that decides the exit code; `passed` is None when it was not evaluated."""

    name: Text
    passed: bool | None
    detail: Text


class ReportFacts(Facts):
    """All facts of one report; `created` is kept in UTC, `fingerprint` is the design's."""

    schema_version: Literal[2] = 2
    design: Text
    fingerprint: str = ""
    created: UtcTime
    versions: dict[str, str]
    commands: tuple[str, ...] = ()
    target: TargetFacts | NotRun = Field(default_factory=_absent("target"))
    data: DataFacts | NotRun = Field(default_factory=_absent("data set"))
    training: TrainingFacts | NotRun = Field(default_factory=_absent("training"))
    export: ExportFacts | NotRun = Field(default_factory=_absent("export check"))
    calibration: CalibrationFacts | NotRun = Field(default_factory=_absent("calibration"))
    layers: tuple[LayerFacts, ...] = ()
    adapter: AdapterFacts | None = None
    fidelity: FidelityFacts | NotRun = Field(default_factory=_absent("fidelity measurement"))
    verification: VerificationFacts | NotRun = Field(default_factory=_absent("verification"))
    metrics: MetricsFacts | NotRun = Field(default_factory=_absent("labelled data"))
    regression: RegressionFacts | NotRun = Field(default_factory=_absent("targets (--target)"))
    trigger: TriggerFacts | NotRun = Field(
        default_factory=_absent("rate measurement (samebits trigger)")
    )
    menu: MenuFacts | NotRun = Field(
        default_factory=_absent("menu of seeds (samebits trigger --menu)")
    )
    bits: BitFacts | NotRun = Field(default_factory=_absent("count of the bits in use"))
    performance: PerformanceFacts | NotRun = Field(default_factory=_absent("speed measurement"))
    latency: LatencyFacts | NotRun = Field(default_factory=_absent("latency estimate"))
    resources: ResourceFacts | NotRun = Field(default_factory=_absent("resource estimate"))
    variants: Sweep | NotRun = Field(default_factory=_absent("sweep"))
    tuning: Tuning | None = None
    gates: tuple[Gate, ...] = ()

    @property
    def same_bits(self) -> bool | None:
        """True when every engine that ran agrees; False on a mismatch; None when none ran."""
        if isinstance(self.verification, NotRun) or not self.verification.ran:
            return None
        return self.verification.mismatching_bits == 0

    @property
    def passed(self) -> bool:
        """No mismatching bit and no failed gate, though perhaps no bit was compared."""
        return self.same_bits is not False and all(g.passed is not False for g in self.gates)

    @property
    def proved(self) -> bool:
        """Passed, and at least one engine ran and gave the same bits."""
        return self.passed and self.same_bits is True


def utc_now() -> datetime:
    """The present time in UTC, to the second, for `ReportFacts.created`."""
    return datetime.now(UTC).replace(microsecond=0)
