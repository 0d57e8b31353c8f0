"""The schema of report.json: round trip, and claims that it refuses."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from samebits import errors
from samebits.report import ReportFacts, read_facts, write_report
from samebits.report.facts import (
    EngineFacts,
    Gate,
    LayerComparison,
    MetricsFacts,
    NotRun,
    Quantity,
    VerificationFacts,
    latency_estimate,
)


def engine(**changes: Any) -> EngineFacts:
    fields = {"engine": "csim", "tool": "hls4ml 1.3.0", "status": "equal", "bits_compared": 96}
    return EngineFacts.model_validate({**fields, **changes})


def test_round_trip(full_facts: ReportFacts, bare_facts: ReportFacts) -> None:
    for facts in (full_facts, bare_facts):
        text = facts.model_dump_json()
        assert ReportFacts.model_validate_json(text) == facts
        assert json.loads(text)["schema_version"] == 2


def test_files_round_trip(bare_facts: ReportFacts, tmp_path: Path) -> None:
    files = write_report(bare_facts, tmp_path / "build")
    assert read_facts(files.json) == read_facts(tmp_path / "build") == bare_facts


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"schema_version": 3},
        {"design": ""},
        {"created": "2026-03-14T15:09:26"},  # no time zone
        {"latency": {"status": "not run"}},  # no reason
        {"latency": {"status": "not run", "reason": ""}},
    ],
)
def test_bad_facts_are_refused(bare_facts: ReportFacts, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReportFacts.model_validate({**bare_facts.model_dump(), **change})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_quantity_is_finite_and_has_a_known_kind(value: float) -> None:
    with pytest.raises(ValidationError):
        Quantity(value=value, unit="ns", kind="measured", tool="t")
    with pytest.raises(ValidationError):
        Quantity.model_validate({"value": 1, "unit": "ns", "kind": "guessed", "tool": "t"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mismatching_bits": 1}, "csim: equal with 1 mismatching bits"),
        ({"status": "MISMATCH"}, "csim: MISMATCH with 0 mismatching bits"),
        ({"bits_compared": 0}, "csim: equal needs bits_compared above 0"),
        ({"status": "not run"}, "csim: not run needs a reason, and no events or bits"),
        (
            {"status": "MISMATCH", "mismatching_bits": 97},
            "csim: more mismatching bits than bits compared",
        ),
    ],
)
def test_an_engine_cannot_claim_the_impossible(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        engine(**changes)


def test_a_differing_layer_needs_a_differing_engine() -> None:
    row = LayerComparison(
        layer="fc1", engine="csim", format="f", bits_compared=9, mismatching_bits=1
    )
    with pytest.raises(ValidationError, match="layers of \\['csim'\\] differ"):
        VerificationFacts(reference="NumPy", engines=(engine(),), layers=(row,))


def test_metrics_need_a_model() -> None:
    with pytest.raises(ValidationError, match="at least one model"):
        MetricsFacts(split="test", tool="t", models={})


def test_verdict(bare_facts: ReportFacts) -> None:
    def with_engines(*engines: EngineFacts, gates: tuple[Gate, ...] = ()) -> ReportFacts:
        verification = VerificationFacts(reference="NumPy", engines=engines)
        return bare_facts.model_copy(update={"verification": verification, "gates": gates})

    absent = engine(status="not run", detail="no compiler", bits_compared=0)
    differs = engine(status="MISMATCH", mismatching_bits=1)
    assert bare_facts.same_bits is None
    assert with_engines(absent).same_bits is None
    assert with_engines(engine(), absent).same_bits is True
    assert with_engines(engine(), differs).same_bits is False
    assert with_engines(engine()).passed
    assert not with_engines(engine(), differs).passed
    for passed, expected in ((True, True), (None, True), (False, False)):
        gate = Gate(name="accuracy", passed=passed, detail="d")
        assert with_engines(engine(), gates=(gate,)).passed is expected
        assert with_engines(engine(), gates=(gate,)).proved is expected
    assert bare_facts.passed
    assert not bare_facts.proved
    assert with_engines(absent).passed
    assert not with_engines(absent).proved
    assert with_engines(engine(), absent).proved
    assert not with_engines(engine(), differs).proved


def test_creation_time_is_kept_in_utc() -> None:
    local = datetime(2026, 3, 14, 17, 0, tzinfo=timezone(timedelta(hours=2)))
    facts = ReportFacts(design="d", created=local, versions={})
    assert facts.created == local
    assert facts.created.tzinfo is UTC


def test_latency_in_the_units_of_the_trigger() -> None:
    estimate = latency_estimate("RTL", 13, 480, 1, "estimated", "alkaid 0.8.2")
    assert isinstance(estimate.latency_ns, Quantity)
    assert isinstance(estimate.bunch_crossings, Quantity)
    assert estimate.latency_ns.value == pytest.approx(27.0833, abs=1e-4)
    assert estimate.bunch_crossings.value == pytest.approx(1.0833, abs=1e-4)


def test_damaged_and_missing_reports_are_build_errors(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(
        errors.BuildError, match=f"^cannot read {re.escape(str(path))}: No such file"
    ):
        read_facts(tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(errors.BuildError, match=r"Invalid JSON.*at the whole file"):
        read_facts(path)
    path.write_text('{"schema_version": 9, "versions": {}}', encoding="utf-8")
    with pytest.raises(errors.BuildError, match="at schema_version, and 2 more"):
        read_facts(path)


def test_not_run_keeps_its_reason() -> None:
    part = NotRun(reason="no labels")
    assert part.model_dump() == {"status": "not run", "reason": "no labels"}
