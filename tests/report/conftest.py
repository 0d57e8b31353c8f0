"""Facts of a made-up design, with every section there is."""

from datetime import UTC, datetime

import numpy as np
import pytest

from samebits.bits import BitFacts, OutputNoise
from samebits.calibration import OutputLoss, TensorFormat
from samebits.firmware.results import layer_latency
from samebits.report.facts import (
    CalibrationFacts,
    DataFacts,
    EngineFacts,
    EventSet,
    ExportCheck,
    ExportFacts,
    Gate,
    LatencyEstimate,
    LatencyFacts,
    LayerComparison,
    LayerFacts,
    Measured,
    MetricsFacts,
    NotRun,
    PerformanceFacts,
    PerformanceRow,
    Quantity,
    ReportFacts,
    ResourceEstimate,
    ResourceFacts,
    ScalingOption,
    TargetFacts,
    TrainingCurve,
    TrainingFacts,
    TrainingRun,
    VerificationFacts,
    latency_estimate,
)
from samebits.sim.bit_usage import BitUsage
from samebits.sim.metrics import classification_metrics, compare_models
from samebits.sim.trigger import Beam, EfficiencyDifference, point_at_rate, rate_curve
from samebits.sim.turn_on import turn_on
from samebits.sweep import Row, Sweep
from samebits.trigger import TriggerFacts, TriggerModel

CREATED = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
NAMES = ("g", "q", "t")


def measured(value: float, unit: str, tool: str = "numpy 2.4.1") -> Quantity:
    return Quantity(value=value, unit=unit, kind="measured", tool=tool)


def make_metrics() -> MetricsFacts:
    rng = np.random.default_rng(20)
    labels = rng.integers(0, 3, 400)
    logits = rng.normal(size=(400, 3)) + 1.5 * np.eye(3)[labels]
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = {
        "float": exact,
        "qat": np.abs(exact + rng.normal(scale=0.01, size=exact.shape)),
        "firmware": np.floor(exact * 64) / 64,
    }
    return MetricsFacts(
        split="test",
        tool="scikit-learn 1.9.1",
        models={name: classification_metrics(s, labels, NAMES) for name, s in scores.items()},
        comparison=compare_models(scores, labels, NAMES, n_bootstrap=50),
    )


def make_trigger() -> TriggerFacts:
    """Two models; the firmware has 17 scores, and its tightest cut is above 100 kHz."""
    rng = np.random.default_rng(21)
    beam, rates, edges = Beam(2340), (100.0, 2000.0), [10.0 * n for n in range(11)]
    offline = rng.uniform(0, 100, 400)
    noise = rng.uniform(size=500) ** 2
    signal = 1 / (1 + np.exp((50 - offline) / 8 + rng.normal(size=400)))
    models = {}
    for name, round_ in (("float", lambda x: x), ("firmware", lambda x: np.round(16 * x) / 16)):
        scores = round_(signal)
        points = tuple(point_at_rate(round_(noise), {"t": scores}, beam, rate) for rate in rates)
        models[name] = TriggerModel(
            curve=rate_curve(round_(noise), beam),
            points=points,
            turn_ons={
                "t": tuple(
                    None
                    if point.threshold is None
                    else turn_on(offline, scores >= point.threshold, edges)
                    for point in points
                )
            },
        )
    return TriggerFacts(
        score="score of t",
        bunches=beam.bunches,
        luminosity_ratio=1.0,
        crossings_khz=beam.crossings_khz,
        unbiased="zb.root",
        unbiased_events=500,
        signals={"t": 400},
        offline="pt",
        models=models,
        differences=(
            EfficiencyDifference(
                "firmware", "float", "t", 2000.0, -0.0125, -0.02, -0.005, -0.03, 0.01
            ),
        ),
    )


def make_bits() -> BitFacts:
    """A layer that wraps, a ReLU, and a layer that is proven to hold everything."""
    form = "ap_fixed<4,2>"
    return BitFacts(
        data="test",
        events=400,
        layers=(
            BitUsage("fc1", form, 4, (0, 3, 6, 12, 3), 0, 0, 0, 1234, 77, 1, 1, 0, 0.289, False),
            BitUsage("relu1", form, 4, (12, 3, 6, 3, 0), 1, 5, 9, 0, 4, 0, 1, 0, None, True),
            BitUsage("fc2", form, 4, (24, 0, 0, 0, 0), 2, 0, 0, 0, 0, 2, 0, 0, None, False),
            BitUsage("sum", form, 4, (24, 0, 0, 0, 0), 2, 0, 0, 0, 0, 0, 0, 1, None, False),
        ),
        noise=(OutputNoise(name="y", rms_difference=0.0025, rms_output=0.5),),
    )


def make_sweep() -> Sweep:
    """Two widths as RTL, the wider one also as HLS, which no model covers."""
    rows = []
    for form, bits, accuracy, lut in (
        ("RTL", 4, 70.5, 900),
        ("RTL", 6, 74.5, 1800),
        ("HLS", 6, 74.5, 0),
    ):
        absent = NotRun(reason="no model of this layer")
        latency = latency_estimate("RTL", 2 * bits, 200, 1, "estimated", "alkaid 0.8.2")
        used: dict[str, Measured] = {
            "LUT": Quantity(value=lut, unit="LUT", kind="estimated", tool="alkaid 0.8.2")
        }
        if form == "HLS":
            used = {"LUT": absent}
            latency = latency.model_copy(update={"latency_ns": absent, "cycles": absent})
        rows.append(
            Row.model_validate(
                {
                    "implementation": form,
                    "width_bits": bits,
                    "reuse_factor": 1,
                    "accuracy": measured(accuracy, "%"),
                    "accuracy_error": measured(0.5, "percentage points"),
                    "latency": latency,
                    "resources": ResourceEstimate(source=form, used=used),
                    "clock_mhz": 200,
                    "front": ("LUT", "ns") if form == "RTL" else (),
                }
            )
        )
    return Sweep(
        network="jets",
        part="xcvu13p-flga2577-2-e",
        lut_total=1728000,
        events=400,
        data="test part",
        widths_by="quantizers rounded again",
        inputs={"model": "0" * 64},
        rows=tuple(rows),
    )


@pytest.fixture(scope="session")
def full_facts() -> ReportFacts:
    """A design that went through every stage, with all bits equal."""
    pytest.importorskip("sklearn", reason="scikit-learn is in the extra hep")
    nothing = NotRun(reason="no Vitis report in hls/")
    form = "ap_fixed<16,6,TRN,WRAP>"
    names = ("csim", "firmware.onnx")
    return ReportFacts(
        design="jets-16-3",
        created=CREATED,
        versions={"samebits": "0.1.0", "hls4ml": "1.3.0"},
        commands=("samebits demo --seed 7",),
        target=TargetFacts(
            backend="Vitis",
            io_type="io_parallel",
            part="xcvu13p-flga2577-2-e",
            clock_mhz=200,
            strategy="Latency",
            reuse_factor=1,
        ),
        data=DataFacts(
            name="jets",
            source="Pythia",
            sha256="0" * 64,
            events={"train": 1200, "test": 400},
            class_names=NAMES,
            feature_names=("mass", "multiplicity"),
        ),
        training=TrainingFacts(
            runs=(
                TrainingRun(
                    model="qat",
                    network="16-3",
                    bits=6,
                    epochs=3,
                    seconds=measured(4.5, "s"),
                    seed=7,
                    sparsity=NotRun(reason="pruning was not asked for"),
                    tool="qkeras 0.9.0",
                    curve=TrainingCurve(loss=(1.0, 0.8, 0.7), validation_loss=(1.1, 0.9, 0.8)),
                ),
            ),
            scaling_chosen="power of two",
            scaling_options=(
                ScalingOption(
                    name="power of two",
                    accuracy=measured(0.7027, ""),
                    cost_points=measured(0.04, "percentage points"),
                ),
            ),
            input_format=form,
        ),
        export=ExportFacts(
            file="model.onnx",
            sha256="1" * 64,
            provably_equal="all layers before the softmax",
            only_rounding="the softmax",
            checks=(
                ExportCheck(
                    name="logits",
                    promise="equal",
                    values=1200,
                    differing=measured(0, "values"),
                    largest_difference=measured(0.0, ""),
                ),
            ),
        ),
        calibration=CalibrationFacts(
            events=400,
            formats=(TensorFormat("fc1_out", "activation", -1.5, 3.25, "ap_fixed<8,3>", 0.001),),
            loss=(OutputLoss("y", 0.125, 0.01, 4.5, 0.995),),
            metrics=(("accuracy", 0.76, 0.755),),
        ),
        layers=(
            LayerFacts(
                name="fc1",
                class_name="Dense",
                shape=(3,),
                result_format=form,
                weight_format="ap_fixed<6,1,RND_CONV,SAT>",
                weights_nonzero=40,
                weights_total=48,
            ),
        ),
        verification=VerificationFacts(
            reference="NumPy simulator",
            engines=(
                *(
                    EngineFacts(
                        engine=name,
                        tool="tool 1.0",
                        status="equal",
                        created=CREATED,
                        event_sets=(
                            EventSet(kind="test set", events=400, is_adversarial=False),
                            EventSet(kind="ties", events=20, is_adversarial=True),
                        ),
                        bits_compared=20160,
                    )
                    for name in names
                ),
                EngineFacts(
                    engine="RTL", tool="verilator", status="not run", detail="no verilator found"
                ),
            ),
            layers=tuple(
                LayerComparison(
                    layer="fc1", engine=name, format=form, bits_compared=20160, mismatching_bits=0
                )
                for name in names
            ),
        ),
        metrics=make_metrics(),
        trigger=make_trigger(),
        bits=make_bits(),
        performance=PerformanceFacts(
            conditions="single thread",
            rows=(PerformanceRow(name="NumPy simulator", result=measured(3.1e6, "events/s")),),
        ),
        latency=LatencyFacts(
            estimates=(
                latency_estimate(
                    "RTL",
                    13,
                    200,
                    1,
                    "measured",
                    "Verilator 5.48",
                    ("the clock is the target",),
                    fmax_mhz=Quantity(
                        value=160, unit="MHz", kind="estimated", tool="alkaid's delay model"
                    ),
                    layers=tuple(
                        layer_latency(name, cycles, 200, "estimated", "alkaid 0.8.2")
                        for name, cycles in (("fc1", 9.5), ("relu1", 0.0), ("softmax", 3.5))
                    ),
                    layers_note="shares add up",
                ),
                LatencyEstimate(
                    source="Vitis HLS",
                    cycles=nothing,
                    initiation_interval=nothing,
                    latency_ns=nothing,
                    bunch_crossings=nothing,
                ),
            ),
            budget_ns=Quantity(value=1000, unit="ns", kind="assumed", tool="CMS Phase 2"),
            budget_name="correlator",
        ),
        resources=ResourceFacts(
            part="xcvu13p-flga2577-2-e",
            totals={"LUT": Quantity(value=1728000, unit="LUT", kind="assumed", tool="AMD")},
            estimates=(
                ResourceEstimate(
                    source="RTL",
                    used={
                        "LUT": Quantity(
                            value=1296000, unit="LUT", kind="estimated", tool="alkaid 0.8.2"
                        )
                    },
                ),
                ResourceEstimate(source="Vitis HLS", used={"LUT": nothing}),
                ResourceEstimate(
                    source="nextpnr",
                    used={
                        "LUT4": Quantity(
                            value=840, unit="LUT4", kind="synthesised", tool="nextpnr 0.9"
                        )
                    },
                    device="LFE5U-85F",
                    totals={
                        "LUT4": Quantity(
                            value=84000, unit="LUT4", kind="assumed", tool="nextpnr 0.9"
                        )
                    },
                    notes=("another device",),
                ),
            ),
        ),
        variants=make_sweep(),
        gates=(Gate(name="accuracy", passed=True, detail="0.1 of 0.5 points lost"),),
    )


@pytest.fixture(scope="session")
def bare_facts() -> ReportFacts:
    """A user's own model: compiled, and nothing else."""
    return ReportFacts(design="my model", created=CREATED, versions={})
