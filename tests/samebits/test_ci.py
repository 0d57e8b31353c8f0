"""JUnit XML and GitHub's annotations of a check."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from samebits.ci import (
    gate_cases,
    github_lines,
    junit_xml,
    verification_cases,
    write_junit,
    write_summary,
)
from samebits.report.facts import Gate
from samebits.sim.verification import EngineReport, LayerRow, Verification

DETAIL = "first difference in layer fc2, event 3, element [1], ap_fixed<8,4>\n  numpy  0\n  csim  1"
RESULT = Verification(
    (
        EngineReport(
            "csim",
            "MISMATCH",
            DETAIL,
            rows=(
                LayerRow("layer:fc1", "ap_fixed<8,4>", 10, 0, 80, 0),
                LayerRow("layer:fc2", "ap_fixed<8,4>", 10, 2, 80, 5),
                LayerRow("y", "ap_fixed<6,3>", 10, 1, 60, 1),
            ),
            seconds=2.5,
        ),
        EngineReport("rtl", "not run", "no Verilator: 100 % absent,\nreally"),
        EngineReport("numpy", "equal", "", rows=(LayerRow("y", "ap_fixed<6,3>", 10, 0, 60, 0),)),
        EngineReport("native", "MISMATCH", "answers too late"),
    )
)


def test_a_case_for_every_engine_and_tensor() -> None:
    cases = verification_cases(RESULT)
    assert [(case.group, case.name, bool(case.failure), bool(case.skipped)) for case in cases] == [
        ("csim", "layer fc1", False, False),
        ("csim", "layer fc2", True, False),
        ("csim", "output y", True, False),
        ("rtl", "same bits", False, True),
        ("numpy", "output y", False, False),
        ("native", "same bits", True, False),
    ]
    assert cases[1].failure == f"{DETAIL}\n2 of 10 elements (5 of 80 bits) differ, ap_fixed<8,4>"
    assert cases[2].failure == "1 of 10 elements (1 of 60 bits) differ, ap_fixed<6,3>"


def test_junit(tmp_path: Path) -> None:
    cases = [
        *verification_cases(RESULT),
        *gate_cases(
            [
                Gate(name="max_latency_ns", passed=False, detail="80 ns \x00 > 50 ns"),
                Gate(name="max_lut_share", passed=None, detail="not evaluated"),
                Gate(name="min_auc", passed=True, detail="fine"),
            ]
        ),
    ]
    write_junit(tmp_path / "junit.xml", "samebits verify", cases)
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "9", "failures": "4", "skipped": "2", "errors": "0",
    }  # fmt: skip
    found = {(case.get("classname"), case.get("name")): case for case in suite}
    failure = found[("samebits_verify.csim", "layer fc2")].find("failure")
    assert failure is not None
    assert failure.get("message") == DETAIL.splitlines()[0]
    assert failure.text is not None
    assert failure.text.startswith(DETAIL)
    skipped = found[("samebits_verify.rtl", "same bits")].find("skipped")
    assert skipped is not None
    gate = found[("samebits_verify.gates", "max_latency_ns")].find("failure")
    assert gate is not None
    assert gate.get("message") == "80 ns ? > 50 ns"
    assert len(found[("samebits_verify.gates", "min_auc")]) == 0
    assert junit_xml("empty", []).count("testcase") == 0


def test_one_annotation_for_every_engine_that_differs() -> None:
    first, skipped, last = github_lines("samebits verify", verification_cases(RESULT), "a,b.json")
    assert first == (
        "::error file=a%2Cb.json,title=samebits verify%3A csim%2C layer fc2::first difference in "
        "layer fc2, event 3, element [1], ap_fixed<8,4>%0A  numpy  0%0A  csim  1%0A"
        "2 of 10 elements (5 of 80 bits) differ, ap_fixed<8,4>%0A1 more of csim failed"
    )
    assert skipped == (
        "::warning file=a%2Cb.json,title=samebits verify%3A rtl%2C same bits::"
        "no Verilator: 100 %25 absent,%0Areally"
    )
    assert last.endswith("native%2C same bits::answers too late")


def test_an_annotation_for_every_gate() -> None:
    gates = [Gate(name=name, passed=False, detail="no") for name in ("min_auc", "max_lut_share")]
    assert github_lines("samebits report", gate_cases(gates)) == [
        "::error title=samebits report%3A gates%2C min_auc::no",
        "::error title=samebits report%3A gates%2C max_lut_share::no",
    ]


def test_the_job_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    write_summary("samebits verify", verification_cases(RESULT))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write_summary("samebits verify", verification_cases(RESULT))
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("### samebits verify: FAILED\n\n2 passed, 3 failed, 1 not run\n")
    assert DETAIL in text
