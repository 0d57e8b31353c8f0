"""Gates in a TOML file: limits kept, not kept, not evaluated; what is refused by name."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import errors
from samebits.firmware.results import LatencyEstimate, ResourceEstimate, latency_estimate
from samebits.gates import Gates, evaluate, read_gates, with_gates
from samebits.report.facts import (
    EngineFacts,
    EventSet,
    Gate,
    LatencyFacts,
    MetricsFacts,
    NotRun,
    Quantity,
    ReportFacts,
    ResourceFacts,
    VerificationFacts,
)
from samebits.sim.metrics import classification_metrics, compare_models
from samebits.sim.trigger import Beam, point_at_rate, rate_curve
from samebits.trigger import TriggerFacts, TriggerModel

NAMES = ("g", "q", "t")
PART = "xcvu13p-flga2577-2-e"
SETS = (EventSet(kind="test set", events=40, is_adversarial=False),)
NOTHING = NotRun(reason="no report of it in hls/")


def engine(name: str, bits: int = 0) -> EngineFacts:
    return EngineFacts(
        engine=name,
        tool="tool 1.0",
        status="MISMATCH" if bits else "equal",
        event_sets=SETS,
        bits_compared=1000,
        mismatching_bits=bits,
    )


def lut(value: float, kind: Any, tool: str) -> dict[str, Any]:
    return {"LUT": Quantity(value=value, unit="LUT", kind=kind, tool=tool)}


@pytest.fixture(scope="module")
def metrics() -> MetricsFacts:
    pytest.importorskip("sklearn", reason="scikit-learn is in the extra hep")
    rng = np.random.default_rng(20)
    labels = rng.integers(0, 3, 400)
    exact = rng.normal(size=(400, 3)) + 1.5 * np.eye(3)[labels]
    scores = {"float": exact, "firmware": np.floor(exact * 2) / 2}
    return MetricsFacts(
        split="test",
        tool="scikit-learn 1.9",
        models={name: classification_metrics(s, labels, NAMES) for name, s in scores.items()},
        comparison=compare_models(scores, labels, NAMES, n_bootstrap=50),
    )


@pytest.fixture
def facts(metrics: MetricsFacts) -> ReportFacts:
    absent = LatencyEstimate(
        source="hls/, Vitis HLS",
        cycles=NOTHING,
        initiation_interval=NOTHING,
        latency_ns=NOTHING,
        bunch_crossings=NOTHING,
    )
    return ReportFacts(
        design="jets",
        created=datetime(2026, 3, 14, tzinfo=UTC),
        versions={},
        metrics=metrics,
        verification=VerificationFacts(
            reference="NumPy engine",
            engines=(
                engine("firmware.onnx (optimisations on)"),
                engine("firmware.onnx (the file)"),
                EngineFacts(engine="csim", tool="x", status="not run", detail="no C++ compiler"),
            ),
        ),
        latency=LatencyFacts(
            estimates=(absent, latency_estimate("RTL", 13, 200, 1, "estimated", "alkaid 0.8")),
        ),
        resources=ResourceFacts(
            part=PART,
            totals={"LUT": Quantity(value=1728000, unit="LUT", kind="assumed", tool="AMD")},
            estimates=(
                ResourceEstimate(
                    source="ECP5", used=lut(9000, "synthesised", "nextpnr"), device="LFE5U-85F"
                ),
                ResourceEstimate(source="RTL", used=lut(172800, "estimated", "alkaid 0.8")),
                ResourceEstimate(source="hls/, Vivado", used=lut(86400, "synthesised", "Vivado")),
            ),
        ),
        gates=(
            Gate(name="same bits", passed=True, detail="0 bits"),
            Gate(name="accuracy", passed=False, detail="loses 0.6 points, limit 0.5"),
        ),
    )


def outcome(facts: ReportFacts, **limits: Any) -> tuple[bool | None, str]:
    (gate,) = evaluate(Gates(**limits), facts)
    return gate.passed, gate.detail


@pytest.mark.parametrize(
    ("limits", "passed", "detail"),
    [
        ({"max_mismatching_bits": 0}, True, "0 bits, wanted at most 0: of 2,000, firmware.onnx"),
        ({"max_latency_ns": 65}, True, "65 ns, wanted at most 65: assumed, cycles estimated"),
        ({"max_latency_ns": 64.9}, False, "65 ns, wanted at most 64.9: assumed, cycles estima"),
        ({"max_latency_cycles": 12}, False, "13 cycles, wanted at most 12: "),
        ({"max_initiation_interval": 1}, True, "1 cycles, wanted at most 1: "),
        ({"max_lut_share": 0.1}, True, f"0.1, wanted at most 0.1: 172,800 LUT of {PART}, est"),
        ({"max_lut_share": 0.09}, False, "0.1, wanted at most 0.09: "),
        (
            {"max_lut_share": 0.09, "resources_from": "Vivado"},
            True,
            f"0.05, wanted at most 0.09: 86,400 LUT of {PART}, synthesised, Vivado",
        ),
    ],
)
def test_limits(facts: ReportFacts, limits: dict[str, Any], passed: bool, detail: str) -> None:
    found = outcome(facts, **limits)
    assert found[0] is passed
    assert found[1].startswith(detail)


def test_metrics_are_the_firmwares_and_the_worst_class_counts(
    facts: ReportFacts, metrics: MetricsFacts
) -> None:
    firmware = metrics.models["firmware"]
    assert outcome(facts, min_accuracy=firmware.accuracy)[0] is True
    assert outcome(facts, min_accuracy=firmware.accuracy + 1e-9)[0] is False
    worst = min(firmware.classes, key=lambda one: one.auc)
    assert outcome(facts, min_auc=worst.auc)[0] is True
    passed, detail = outcome(facts, min_auc=worst.auc + 1e-9)
    assert passed is False
    assert f"firmware, class {worst.name}, scikit-learn 1.9" in detail
    drops = {
        one.name: metrics.models["float"].classes[i].auc - one.auc
        for i, one in enumerate(firmware.classes)
    }
    name, drop = max(drops.items(), key=lambda item: item[1])
    assert drop > 0
    assert outcome(facts, max_auc_drop=drop + 1e-9)[0] is True
    passed, detail = outcome(facts, max_auc_drop=drop - 1e-9)
    assert passed is False
    assert f"loss of class {name} against float, " in detail
    points = 100 * (metrics.models["float"].accuracy - firmware.accuracy)
    assert outcome(facts, max_accuracy_drop_points=max(points, 0) + 1e-9)[0] is True


def test_efficiency_of_a_class_at_a_background_efficiency(
    facts: ReportFacts, metrics: MetricsFacts
) -> None:
    points = metrics.models["firmware"].classes[2].working_points
    point = next(p for p in points if p.asked_background_efficiency == 0.1)
    assert point.signal_efficiency is not None

    def gate(**values: Any) -> tuple[bool | None, str]:
        return outcome(facts, efficiency=[{"of": "t", "at_background": 0.1, "min": 0.5} | values])

    assert gate(min=point.signal_efficiency)[0] is True
    passed, detail = gate(min=point.signal_efficiency + 1e-9)
    assert passed is False
    assert "firmware at a background efficiency of 0.0" in detail
    assert gate(of="b") == (False, "not evaluated: no class 'b'; classes: g, q, t")
    assert gate(at_background=0.2) == (
        False,
        "not evaluated: the report has the background efficiencies 0.1, 0.01, 0.001",
    )


def test_efficiency_of_a_signal_at_a_rate(facts: ReportFacts) -> None:
    rng = np.random.default_rng(7)
    noise, signal = rng.normal(size=5000), {"ttbar": rng.normal(2.0, size=400)}
    beam = Beam(bunches=2500)
    points = tuple(point_at_rate(noise, signal, beam, rate) for rate in (0.1, 500.0))
    curve = rate_curve(noise, beam)
    trigger = TriggerFacts(
        score="class t",
        bunches=2500,
        luminosity_ratio=1.0,
        crossings_khz=beam.crossings_khz,
        unbiased="toy",
        unbiased_events=5000,
        signals={"ttbar": 400},
        models={"firmware": TriggerModel(curve=curve, points=points, turn_ons={})},
    )
    measured = facts.model_copy(update={"trigger": trigger})

    def gate(**values: Any) -> tuple[bool | None, str]:
        wanted = {"of": "ttbar", "at_rate_khz": 500, "min": 0.2} | values
        return outcome(measured, efficiency=[wanted])

    found = points[1].efficiency["ttbar"].value
    assert 0.2 < found < 0.9
    assert gate()[0] is True
    assert gate(min=found)[0] is True
    passed, detail = gate(min=found + 1e-9)
    assert passed is False
    assert "kHz (asked 500)" in detail
    rates = [{"of": "ttbar", "at_rate_khz": rate, "min": 0.2} for rate in (500, 0.1)]
    names = [one.name for one in evaluate(Gates.model_validate({"efficiency": rates}), measured)]
    assert names == ["efficiency ttbar at 500 kHz", "efficiency ttbar at 0.1 kHz"]
    assert gate(of="qcd") == (False, "not evaluated: no signal 'qcd'; signals: ttbar")
    assert gate(at_rate_khz=7) == (
        False,
        "not evaluated: the rates that were asked for are 0.1, 500 kHz",
    )
    assert gate(at_rate_khz=0.1) == (
        False,
        "not evaluated: even the tightest cut gives a higher rate",
    )
    absent = outcome(facts, efficiency=[{"of": "ttbar", "at_rate_khz": 500, "min": 0.2}])
    assert absent[0] is False
    assert absent[1].startswith("not evaluated: no rate measurement")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_dsp_share": 0.1}, "RTL: no share of DSP; hls/, Vivado: no share of DSP"),
        ({"max_latency_ns": 1, "latency_from": "Vitis"}, "hls/, Vitis HLS: no report of it in hls"),
        ({"max_latency_ns": 1, "latency_from": "Mars"}, "no estimate of latency_from = 'Mars'"),
        ({"min_fmax_mhz": 200}, "hls/, Vitis HLS: does not tell; RTL: does not tell"),
        ({"engines": ("csim",)}, "no C++ compiler"),
        ({"engines": ("rtl",)}, "not asked for: samebits verify --against rtl"),
    ],
)
def test_a_gate_without_its_number_fails(
    facts: ReportFacts, limits: dict[str, Any], reason: str
) -> None:
    passed, detail = outcome(facts, **limits)
    assert (passed, detail.startswith(f"not evaluated: {reason}")) == (False, True), detail
    assert outcome(facts, **limits, not_evaluated="ignore") == (None, detail)


def test_nothing_was_run() -> None:
    bare = ReportFacts(design="x", created=datetime(2026, 3, 14, tzinfo=UTC), versions={})
    limits = {
        name: 0.5
        for name in Gates.model_fields
        if name.startswith(("max_", "min_")) and name != "max_mismatching_bits"
    }
    gates = Gates(**limits, max_mismatching_bits=0, engines=("csim",))  # type: ignore[arg-type]
    found = evaluate(gates, bare)
    assert len(found) == len(limits) + 2
    assert all(gate.passed is False for gate in found)
    assert all(gate.detail.startswith("not evaluated: no ") for gate in found)


def test_engines_must_have_run_and_be_equal(facts: ReportFacts) -> None:
    assert outcome(facts, engines=("onnxruntime",)) == (True, "0 of 2,000 bits differ")
    assert not isinstance(facts.verification, NotRun)
    rows = (*facts.verification.engines, engine("firmware.onnx (optimisations off)", 3))
    differing = facts.model_copy(
        update={"verification": facts.verification.model_copy(update={"engines": rows})}
    )
    assert outcome(differing, engines=("onnxruntime",)) == (False, "3 of 3,000 bits differ")
    assert outcome(differing, max_mismatching_bits=2)[0] is False


def test_the_files_limit_takes_the_place_of_the_reports_own(facts: ReportFacts) -> None:
    assert not facts.passed
    kept = with_gates(facts, Gates(max_lut_share=0.5))
    assert [gate.name for gate in kept.gates] == ["same bits", "accuracy", "max_lut_share"]
    own = with_gates(facts, Gates(max_accuracy_drop_points=99))
    assert [gate.name for gate in own.gates] == ["same bits", "max_accuracy_drop_points"]
    assert own.passed


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text('max_latency_ns = 100\nengines = ["csim"]\nnot_evaluated = "ignore"\n')
    assert read_gates(path) == Gates(max_latency_ns=100, engines=("csim",), not_evaluated="ignore")
    names = ", ".join(Gates.model_fields)
    for text, words in (
        ("planet = 1\n", f"there is no gate planet; there are: {names}"),
        ("max_luts_share = 2\n", "there is no gate max_luts_share (is it max_lut_share?); there"),
        ("max_latency_ns = true\n", "max_latency_ns = True: Input should be a valid number"),
        ('max_latency_ns = "9"\n', "max_latency_ns = '9': Input should be a valid number"),
        ("[efficiency]\nmin = 0.5\n", "efficiency: wanted a list, [[efficiency]]"),
        (
            '[[efficiency]]\nof = "t"\nmin = 0.5\nat_rate = 3\n',
            "there is no key at_rate of efficiency.0 (is it at_rate_khz?); there are: of, at_b",
        ),
        ("max_lut_share = -1\n", "max_lut_share = -1: Input should be greater than or equal to 0"),
        ("max_lut_share = nan\n", "max_lut_share = nan: Input should be a finite number"),
        ('min_auc = "high"\n', "min_auc = 'high': Input should be a valid number"),
        ('engines = ["cpu"]\n', "engines.0 = 'cpu': Input should be 'csim', 'onnxruntime'"),
        ("max_lut_share = \n", "is no TOML: "),
        (
            '[[efficiency]]\nof = "t"\nmin = 0.5\n',
            "efficiency.0 = {'of': 't', 'min': 0.5}: give at_b",
        ),
        ("", "holds no gate; gates: "),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(errors.UsageError) as caught:
            read_gates(path)
        assert str(caught.value).startswith(f"{path}: {words}")
    with pytest.raises(errors.UsageError, match="cannot be read: No such file"):
        read_gates(tmp_path / "absent.toml")
