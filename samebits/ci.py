"""What a CI service shows: JUnit XML, and GitHub's annotations and job summary."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from samebits import storage
from samebits.report.facts import Gate
from samebits.sim.verification import Verification

__all__ = [
    "Case",
    "gate_cases",
    "github_lines",
    "junit_xml",
    "on_github",
    "verification_cases",
    "write_junit",
    "write_summary",
]

_GATES = "gates"
# control characters that XML 1.0 forbids even when escaped. Source: XML 1.0, section 2.2.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was checked: passed, failed with a text, or skipped with a reason."""

    group: str
    name: str
    failure: str = ""
    skipped: str = ""
    seconds: float = 0.0


def verification_cases(result: Verification) -> list[Case]:
    """A case for every engine and every layer and output that it compared.

    The text of an engine's first mismatch stands with the tensor that it names; the others say how
    many bits differ.
    """
    cases = []
    for engine in result.engines:
        told = False
        for row in engine.rows:
            bare = row.name.removeprefix("layer:")
            kind = "layer" if row.name.startswith("layer:") else "output"
            failure = ""
            if row.mismatching_elements:
                failure = (
                    f"{row.mismatching_elements:,} of {row.elements:,} elements "
                    f"({row.mismatching_bits:,} of {row.bits:,} bits) differ, {row.format}"
                )
                if not told:
                    failure, told = f"{engine.detail}\n{failure}", True
            cases.append(Case(engine.engine, f"{kind} {bare}", failure))
        skipped = engine.detail if engine.status == "not run" else ""
        failure = engine.detail if engine.status == "MISMATCH" and not told else ""
        if skipped or failure or not engine.rows:
            cases.append(Case(engine.engine, "same bits", failure, skipped, engine.seconds))
        else:
            cases[-1] = replace(cases[-1], seconds=engine.seconds)
    return cases


def gate_cases(gates: Iterable[Gate]) -> list[Case]:
    """A case for every gate."""
    return [
        Case(
            _GATES,
            gate.name,
            gate.detail if gate.passed is False else "",
            gate.detail if gate.passed is None else "",
        )
        for gate in gates
    ]


def junit_xml(suite: str, cases: Sequence[Case]) -> str:
    """The cases as JUnit XML: one suite; failures with their text, skips with their reason."""
    attributes = {
        "name": suite,
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failure) for case in cases)),
        "errors": "0",
        "skipped": str(sum(bool(case.skipped) for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
    root = ET.Element("testsuites")
    element = ET.SubElement(root, "testsuite", attributes)
    for case in cases:
        one = ET.SubElement(
            element,
            "testcase",
            classname=_clean(f"{suite}.{case.group}".replace(" ", "_")),
            name=_clean(case.name),
            time=f"{case.seconds:.3f}",
        )
        for kind, text in (("failure", case.failure), ("skipped", case.skipped)):
            if text:
                ET.SubElement(one, kind, message=_clean(text.splitlines()[0])).text = _clean(text)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)


def write_junit(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Writes `junit_xml`.

    Raises:
        BuildError: the file cannot be written.
    """
    with storage.replace_file(path) as temporary:
        temporary.write_text(junit_xml(suite, cases), encoding="utf-8")


def on_github() -> bool:
    """True in a job of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def github_lines(
    suite: str, cases: Sequence[Case], file: str = "", line: int | None = None
) -> list[str]:
    """A line `::error ...::text` for the first failure of every group, which counts the others,
    for every gate, and `::warning ...::` for every skip: GitHub drops more than ten of each.

    Args:
        file, line: where GitHub shows them; the file relative to the repository.

    Source: "Workflow commands for GitHub Actions" in GitHub's documentation.
    """
    lines = []
    failed = Counter(case.group for case in cases if case.failure)
    told = set()
    for case in cases:
        level, text = ("error", case.failure) if case.failure else ("warning", case.skipped)
        if text and (level, case.group) not in told:
            if case.failure and case.group != _GATES:
                told.add((level, case.group))
                others = failed[case.group] - 1
                text += f"\n{others} more of {case.group} failed" if others else ""
            place = f"file={_property(file)}," if file else ""
            place += f"line={line}," if line is not None else ""
            title = _property(f"{suite}: {case.group}, {case.name}")
            lines.append(f"::{level} {place}title={title}::{_data(text)}")
    return lines


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def write_summary(suite: str, cases: Sequence[Case]) -> None:
    """Appends what failed, and the counts, to GitHub's job summary, if there is one."""
    target = os.environ.get("GITHUB_STEP_SUMMARY")
    if not target:
        return
    failed = [case for case in cases if case.failure]
    skipped = [case for case in cases if case.skipped]
    passed = len(cases) - len(failed) - len(skipped)
    lines = [
        f"### {suite}: {'FAILED' if failed else 'passed'}",
        "",
        f"{passed} passed, {len(failed)} failed, {len(skipped)} not run",
        "",
    ]
    for case in (*failed, *skipped):
        what = "failed" if case.failure else "not run"
        lines += [f"**{case.group}, {case.name}** {what}", ""]
        lines += ["```", *(case.failure or case.skipped).splitlines(), "```", ""]
    with Path(target).open("a", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")
