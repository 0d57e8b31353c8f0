"""`samebits compare`: tables, JSON and the page."""

import json
import shutil
from pathlib import Path

import pytest

from samebits import Design

from ...models import quantized_mlp
from .command import Command


def test_tables_and_json(samebits: Command, compiled: Path, events: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    Design.from_onnx(quantized_mlp(seed=2).model()).save(other)
    result = samebits("compare", compiled, other)
    assert result.code == 0
    assert "build (a) and other (b): Different answers. " in result.stdout
    assert "first layer that differs: Dense_MatMul_0" in result.stdout
    assert "metrics: not run: no labelled data: give --data" in result.stdout
    values = json.loads(samebits("compare", compiled, other, "--events", events, "--json").stdout)
    assert values["bits"]["events"] == 20
    assert values["bits"]["what"] == "events"
    assert values["metrics"]["status"] == "not run"
    same = tmp_path / "same"
    shutil.copytree(compiled, same)
    assert "The same firmware" in samebits("compare", compiled, same).stdout


def test_the_page_and_what_is_refused(samebits: Command, compiled: Path, tmp_path: Path) -> None:
    result = samebits("compare", compiled, compiled, "-o", tmp_path / "page.pdf")
    assert (result.code, result.error) == (
        2,
        f"{tmp_path / 'page.pdf'}: unknown suffix; wanted .html",
    )
    result = samebits("compare", compiled, compiled, "--label", "isTau")
    assert result.error == "--label isTau is a column of a file: give --data FILE"
    result = samebits("compare", compiled, tmp_path)
    assert result.code == 2
    assert "holds no design" in result.error
    pytest.importorskip("jinja2", reason="jinja2 is in the extra hep")
    result = samebits("compare", compiled, compiled, "-o", tmp_path / "page.html")
    assert result.code == 0
    assert "The same firmware" in (tmp_path / "page.html").read_text()
