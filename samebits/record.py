"""report.json kept up to date: every stage replaces its own section and what depended on it."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from samebits import __version__, errors, storage
from samebits.report.facts import (
    EngineFacts,
    NotRun,
    ReportFacts,
    VerificationFacts,
    utc_now,
)
from samebits.report.files import PLOTS, read_facts

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = [
    "load_record",
    "merged",
    "note",
    "of_design",
    "record",
    "updated",
    "versions",
    "write",
]

_FILE = "report.json"
_log = logging.getLogger("samebits")

# What is out of date as soon as a section changes, in the order of the stages.
_STAGES = (
    *("training", "export", "target", "fidelity"),
    *("verification", "metrics", "regression", "trigger", "menu"),
    *("bits", "latency", "resources"),
)
_PACKAGES = (
    *("numpy", "onnx", "onnxruntime", "qonnx", "hls4ml", "alkaid"),
    *("tensorflow", "tensorflow-cpu", "tf-keras", "qkeras", "scikit-learn"),
)


def versions() -> dict[str, str]:
    """Versions of samebits, Python and the packages it is built on, as far as installed."""
    found = {"samebits": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load_record(folder: Path) -> ReportFacts:
    """The facts recorded in a folder so far; new ones if there are none.

    Sections of another version of samebits are said in a warning and left out; a damaged record is
    begun again.
    """
    path = folder / _FILE
    try:
        if path.exists():
            return read_facts(folder)
    except errors.BuildError as error:
        facts, lost = _readable(path)
        if facts is not None:
            _log.warning("%s: left out, as of another version of samebits: %s", path, lost)
            return facts
        _log.warning("%s; what earlier stages recorded is lost", error)
    name = folder.resolve().name or "design"
    return ReportFacts(design=name, created=utc_now(), versions=versions())


def _readable(path: Path) -> tuple[ReportFacts | None, str]:
    """The sections that can be read, and which cannot; None if that is everything."""
    try:
        values = json.loads(path.read_bytes())
        values["schema_version"] = ReportFacts.model_fields["schema_version"].default
        return ReportFacts.model_validate_json(json.dumps(values)), "nothing"
    except ValidationError as error:
        lost = sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]})
        kept = {name: value for name, value in values.items() if name not in lost}
        try:
            return ReportFacts.model_validate_json(json.dumps(kept)), ", ".join(lost)
        except ValidationError:
            return None, ""
    except (OSError, ValueError, TypeError):
        return None, ""


def updated(old: ReportFacts, command: str | tuple[str, ...], **sections: Any) -> ReportFacts:
    """The facts with these sections; those of later stages that depended on them are dropped.

    Args:
        command: how to do this stage again, for the report's provenance; a command that is there
            already moves to the end.
    """
    fields = {name: getattr(old, name) for name in ReportFacts.model_fields}
    first = min((_STAGES.index(name) for name in sections if name in _STAGES), default=len(_STAGES))
    for name in _STAGES[first + 1 :]:
        # the target's estimates do not depend on the verification, nor the metrics
        if name not in sections and not (first >= _STAGES.index("verification")):
            fields.pop(name, None)
    if sections:
        fields["gates"] = ()
    if first <= _STAGES.index("target"):
        fields.pop("performance", None)
        fields.pop("variants", None)
        if "layers" not in sections:
            fields["layers"] = ()
    fields |= sections
    fields |= {"created": utc_now(), "versions": versions()}
    new = tuple(text for text in ((command,) if isinstance(command, str) else command) if text)
    fields["commands"] = (*(text for text in old.commands if text not in new), *new)
    return ReportFacts(**fields)


def write(folder: Path, facts: ReportFacts) -> ReportFacts:
    """Writes report.json and removes report.html and plots/, which it makes out of date.

    Raises:
        BuildError: the folder cannot be written.
    """
    page, plots = folder / "report.html", folder / PLOTS
    with storage.replace_file(folder / _FILE) as temporary:
        temporary.write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
        old = [path for path in (page, *plots.glob("*.p[dn][fg]")) if path.exists()]
        for path in old:
            path.unlink()
        if plots.is_dir() and not any(plots.iterdir()):
            plots.rmdir()
        if old:
            words = "report.html" if old == [page] else "report.html and plots/"
            _log.warning(
                "%s: %s told the numbers of before, removed: run samebits report", folder, words
            )
    return facts


def record(folder: Path, command: str | tuple[str, ...], **sections: Any) -> ReportFacts:
    """Writes report.json with these sections: see `updated` and `write`."""
    return write(folder, updated(load_record(folder), command, **sections))


def note(folder: Path, command: str) -> None:
    """Adds a command to the provenance in a folder's report.json, if there is one."""
    if not (folder / _FILE).is_file():
        return
    old = load_record(folder)
    commands = (*(text for text in old.commands if text != command), command)
    with storage.replace_file(folder / _FILE) as temporary:
        new = old.model_copy(update={"commands": commands})
        temporary.write_text(new.model_dump_json(indent=1) + "\n", encoding="utf-8")


def merged(old: VerificationFacts | NotRun, new: VerificationFacts) -> VerificationFacts:
    """A new verification with the engines of an old one of the same design that it did not run."""
    if isinstance(old, NotRun):
        return new
    rows = {engine.engine: engine for engine in old.engines}
    for engine in new.engines:
        if engine in new.ran or rows.get(engine.engine) not in old.ran:
            rows[engine.engine] = engine
    ran = {engine.engine for engine in new.ran}
    layers = [row for row in old.layers if row.engine not in ran]
    return VerificationFacts(
        reference=new.reference, engines=tuple(rows.values()), layers=(*layers, *new.layers)
    )


def of_design(old: VerificationFacts | NotRun, design: Design) -> VerificationFacts | NotRun:
    """What an old verification says of a design that is still the same one.

    RTL may have been written again, for another clock or in other stages: then its row says so.
    """
    if isinstance(old, NotRun):
        return old
    rows = []
    for engine in old.engines:
        if engine.files_sha256 and engine.files_sha256 != _rtl_sha256(design):
            changed = "rtl/ is not what was verified; run `samebits verify --against rtl` again"
            engine = EngineFacts(
                engine=engine.engine, tool=engine.tool, status="not run", detail=changed
            )
        rows.append(engine)
    gone = {row.engine for row in rows if row.status == "not run"}
    layers = tuple(row for row in old.layers if row.engine not in gone)
    return VerificationFacts(reference=old.reference, engines=tuple(rows), layers=layers)


def _rtl_sha256(design: Design) -> str | None:
    from samebits.rtl import present

    try:
        rtl = present(design)
    except errors.BuildError:  # damaged, or another design's
        return None
    return None if rtl is None else rtl.files_sha256
