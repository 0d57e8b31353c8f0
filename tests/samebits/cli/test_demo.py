"""`samebits demo`: exit code 0 only if at least one engine ran and gave the same bits."""

from pathlib import Path
from typing import Any

import pytest

from samebits.report.facts import EngineFacts, ReportFacts, VerificationFacts, utc_now

from .command import Command

RAN = {"status": "equal", "bits_compared": 9}
STATES: list[tuple[dict[str, Any], int]] = [
    (RAN, 0),
    (RAN | {"status": "MISMATCH", "mismatching_bits": 1}, 1),
    ({"status": "not run", "detail": "no compiler"}, 1),
]


@pytest.mark.parametrize(("state", "code"), STATES)
def test_a_demo_without_proof_is_exit_code_1(
    samebits: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Any],
    code: int,
) -> None:
    engine = EngineFacts.model_validate({"engine": "csim", "tool": "hls4ml 1.3", **state})
    verification = VerificationFacts(reference="NumPy", engines=(engine,))
    facts = ReportFacts(design="d", created=utc_now(), versions={}, verification=verification)
    monkeypatch.setattr("samebits.demo.demo", lambda *arguments, **options: facts)
    assert samebits("demo", "-o", tmp_path / "build").code == code
