"""The tuning in the report: whose it is, what the page and the terminal say of it."""

import hashlib
import io
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from samebits import Design, Target
from samebits.firmware.results import NotRun, Quantity
from samebits.report import ReportFacts, render_html, render_terminal
from samebits.report.facts import LatencyFacts
from samebits.stages import build_report, compile_model, recorded_facts
from samebits.tune_record import Confirmation, Loss, Point, QuantizerFormat, Tuning

from ..models import quantized_mlp

BEFORE, AFTER = "ap_fixed<6,1>", "ap_fixed<4,1>"


def point(ebops: int, lost: float, lut: float) -> Point:
    return Point(
        formats=(AFTER,),
        ebops=ebops,
        bops=4.0 * ebops,
        accuracy=70 - lost,
        auc=(0.9, 0.9 - lost / 100),
        accuracy_drop_points=lost,
        auc_drop=lost / 100,
        lut=Quantity(value=lut, unit="LUT", kind="estimated", tool="a tool 1.0"),
    )


def tuning(ebops: int, within: bool = True, sha256: str = "0" * 64) -> Tuning:
    before, after = point(4 * ebops, 0.0, 2000), point(ebops, 0.4, 500)
    return Tuning(
        network="wide <net>",
        objective="bit-operations",
        max_auc_drop=0.005,
        max_accuracy_drop_points=None,
        max_ebops_share=0.5,
        class_names=("a", "b"),
        events=300,
        data="300 events, validation part",
        configurations=1234,
        evaluated_now=1234,
        per_minute=NotRun(reason="known"),
        trained=True,
        quantizers=(
            QuantizerFormat(name="kernel", before=BEFORE, after=AFTER),
            QuantizerFormat(name="odd", before="", after="", fixed="scales per channel"),
        ),
        before=before,
        after=after,
        front=(after, point(2 * ebops, 0.1, 900), before),
        confirmation=Confirmation(
            events=5000,
            data="5000 events, test part",
            accuracy_before=69.5,
            accuracy_after=69.25,
            losses=(
                Loss(quantity="accuracy [points]", value=0.25, low_95=-0.001, high_95=0.5),
                Loss(quantity="AUC of b", value=0.00312, low_95=0.001, high_95=0.00625),
            ),
            resamples=1000,
            within=within,
        ),
        inputs_sha256="0" * 64,
        model_sha256=sha256,
    )


def _digest(design: Design) -> str:
    assert design.model_bytes is not None
    return hashlib.sha256(design.model_bytes).hexdigest()


def test_a_tuning_is_told_only_of_its_own_design(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build = tmp_path / "build"
    model = quantized_mlp(seed=8).save(tmp_path / "m.onnx")
    design = compile_model(model, build, Target())
    assert recorded_facts(design).tuning is None
    path = build / "tune" / "tune.json"
    path.parent.mkdir()
    digest = _digest(design)
    own = tuning(1000, sha256=digest)
    path.write_text(own.model_dump_json())
    assert caplog.records == []
    facts = recorded_facts(design)
    assert facts.tuning == own
    assert ReportFacts.model_validate_json(facts.model_dump_json()) == facts
    with caplog.at_level(logging.WARNING, logger="samebits"):
        path.write_text(tuning(1000).model_dump_json())  # as many bit operations, another network
        assert recorded_facts(design).tuning is None
        path.write_text('{"network": 3}')
        assert recorded_facts(design).tuning is None
    other, damaged = (record.getMessage() for record in caplog.records)
    assert other == (
        f"{path}: is of another network (model.onnx of sha256 {'0' * 12}, this one's is "
        f"{digest[:12]}): the report says nothing of it"
    )
    assert damaged.startswith(f"{path}: cannot be read (")


def test_a_tuned_build_says_why_it_has_no_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = LatencyFacts(estimates=()), NotRun(reason="not needed here")
    monkeypatch.setattr("samebits.estimates.estimate_facts", lambda *arguments: absent)
    monkeypatch.setattr("samebits.report.write_report", lambda *arguments: None)
    model = quantized_mlp(seed=8).save(tmp_path / "m.onnx")
    design = compile_model(model, tmp_path / "build", Target())
    assert build_report(design).metrics == NotRun(reason="no labelled data: give --data FILE")
    path = tmp_path / "build" / "tune" / "tune.json"
    path.parent.mkdir()
    path.write_text(tuning(1000, sha256=_digest(design)).model_dump_json())
    facts = build_report(design)
    assert facts.tuning is not None
    assert facts.metrics == NotRun(
        reason="no labelled data: give --data FILE; what the tuning lost on 5000 events, test part "
        "stands under Tuning"
    )


@pytest.mark.parametrize("within", [True, False])
def test_page_and_terminal(within: bool) -> None:
    for module in ("jinja2", "mplhep"):
        pytest.importorskip(module)
    facts = ReportFacts(
        design="d",
        created=datetime(2026, 3, 14, tzinfo=UTC),
        versions={},
        tuning=tuning(1000, within),
    )
    page = render_html(facts)
    assert "wide &lt;net&gt;" in page
    words = " ".join(re.sub(r"<[^>]*>", " ", page.replace("<wbr>", "")).split())
    for text in (
        ": at most 0.005 of each class's AUC lost, at most 50 % of the EBOPs left. Trained in the "
        "chosen formats after the search. 1,234 configurations",
        "(EBOPs) of an event 4,000 1,000 25.0 % Bit operations (BOPs) of an event 16,000 4,000",
        "LUT 2,000 LUT estimated, a tool 1.0 500 LUT estimated, a tool 1.0 25.0 %",
        "Accuracy on the events of the confirmation 69.50 % 69.25 %",
        "accuracy [points] 0.25 0.00 to 0.50 none AUC of b 0.00312 0.00100 to 0.00625 0.005",
        f"on these events: {'kept' if within else 'EXCEEDED'}",
        "kernel ap_fixed&lt;6,1&gt; ap_fixed&lt;4,1&gt; yes odd stays: scales per channel",
    ):
        assert text in words.replace("&#39;", "'")
    alt = re.findall(r'aria-label="([^"]*effective bit operations[^"]*)"', page)
    assert len(alt) == 2
    assert "Tuned: 0.004 at 1,000. Limit: 0.005. Limit of the bit operations: 2,000." in alt[0]
    assert "0.4 at 1,000; 0.1 at 2,000; 0 at 4,000." in alt[1]
    stream = io.StringIO()
    Console(file=stream, width=200).print(render_terminal(facts))
    shown = " ".join(stream.getvalue().split())
    assert "1,000 of 4,000 EBOPs, 500 of 2,000 LUT (estimated, a tool 1.0); trained" in shown
    assert "lost: AUC of b 0.00312 (0.00100 to 0.00625 at 95 %)" in shown
    assert ("EXCEEDED" in shown) is not within
