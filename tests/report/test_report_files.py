"""The report's files: the same bytes every time, whole or not at all, and what is missing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from samebits import errors
from samebits.report import ReportFacts, render_html, write_plots, write_report
from samebits.report.facts import NotRun

for module in ("jinja2", "matplotlib", "mplhep"):
    pytest.importorskip(module, reason=f"{module} is in the extra hep")


def test_plots_as_files(full_facts: ReportFacts, tmp_path: Path) -> None:
    few = NotRun(reason="not needed here")
    facts = full_facts.model_copy(update={"metrics": few, "training": few, "trigger": few})
    old = tmp_path / "plots"
    old.mkdir()
    for name in ("roc-0.png", "mine.txt"):
        (old / name).write_text("of an earlier report")
    assert write_plots(facts, tmp_path) == old
    plots = ("resources", "variants-lut", "variants-ns", "waterfall-0")
    names = [f"{plot}.{kind}" for plot in plots for kind in ("pdf", "png")]
    assert sorted(path.name for path in old.iterdir()) == sorted(("mine.txt", *names))
    first = {name: (old / name).read_bytes() for name in names}
    assert first["resources.pdf"].startswith(b"%PDF-")
    assert first["resources.png"].startswith(b"\x89PNG")
    write_plots(facts, tmp_path)
    assert {name: (old / name).read_bytes() for name in names} == first


def test_same_facts_same_bytes(full_facts: ReportFacts, tmp_path: Path) -> None:
    first = write_report(full_facts, tmp_path / "a")
    # Another process with another hash seed starts from the JSON of the first.
    code = (
        "import sys; from samebits.report import read_facts, write_report;"
        "write_report(read_facts(sys.argv[1]), sys.argv[2])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(first.json), str(tmp_path / "b")],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    for path in (first.html, first.json):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_interrupted_write_leaves_the_old_files(
    bare_facts: ReportFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_report(bare_facts, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(before) == {"report.html", "report.json"} == {files.html.name, files.json.name}

    def full_disk(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(errors.BuildError, match="No space left on device; give a folder"):
        write_report(bare_facts.model_copy(update={"design": "other"}), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made(bare_facts: ReportFacts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.BuildError, match=r"^cannot write the report into .*Not a directory"):
        write_report(bare_facts, tmp_path / "file" / "build")


def test_a_missing_package_names_the_extra(
    full_facts: ReportFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mplhep", None)
    with pytest.raises(
        errors.MissingToolError, match=r'need mplhep.*pip install "samebits\[hep\]"'
    ):
        render_html(full_facts)
