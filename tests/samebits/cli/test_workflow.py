"""examples/ci: the workflow is what GitHub takes, and its commands work in its order."""

import shlex
import shutil
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from samebits.gates import Gates

from ...models import quantized_mlp
from ..user_pytest import outcomes, run_pytest
from .command import Command

EXAMPLES = Path(__file__).parents[3] / "examples" / "ci"
WORKFLOW: dict[Any, Any] = yaml.safe_load((EXAMPLES / "same-bits.yml").read_text())
STEPS: list[dict[str, Any]] = WORKFLOW["jobs"]["same-bits"]["steps"]


def test_the_workflow_has_what_github_wants() -> None:
    assert set(WORKFLOW) == {"name", True, "permissions", "env", "jobs"}  # YAML 1.1 reads `on` so
    for step in STEPS:
        assert ("run" in step) != ("uses" in step)
        assert set(step) <= {"name", "id", "run", "uses", "with", "if"}
        assert "@v" in step.get("uses", "@v")
    known = {step["id"] for step in STEPS if "id" in step}
    assert known == {"compile"}
    install = next(step["run"] for step in STEPS if step.get("name") == "Install")
    project = tomllib.loads((EXAMPLES.parents[1] / "pyproject.toml").read_text())["project"]
    (extras,) = [text for text in shlex.split(install) if text.startswith("samebits[")]
    asked = set(extras.removeprefix("samebits[").removesuffix("]").split(","))
    assert asked <= set(project["optional-dependencies"])


def test_its_commands_work(
    samebits: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mplhep", reason="the report needs the extra hep")
    pytest.importorskip("alkaid", reason="the estimates need the extra rtl")
    folder = tmp_path
    monkeypatch.chdir(folder)
    quantized_mlp().save(folder / "model.onnx")
    gates = tomllib.loads((EXAMPLES / "gates.toml").read_text())
    Gates(**gates)
    text = (EXAMPLES / "gates.toml").read_text().replace('"csim", ', "")
    (folder / "gates.toml").write_text(text)
    (folder / "tests").mkdir()
    shutil.copy(EXAMPLES / "test_firmware.py", folder / "tests")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    environment = {**WORKFLOW["env"], "ENGINES": "onnxruntime"}  # no C++ compiler here

    def words(command: str) -> list[str]:
        for name, value in environment.items():
            command = command.replace(f"${name}", value)
        return shlex.split(command)

    commands = [words(step["run"]) for step in STEPS if "run" in step]
    assert [command[0] for command in commands] == ["pip", *["samebits"] * 4, "pytest"]
    for _, *arguments in commands[1:5]:
        result = samebits(*arguments)
        assert result.code == 0, result
        if arguments[0] == "compile":
            assert samebits("freeze", "build", "-o", "golden").code == 0
    for name in ("check", "verify", "gates"):
        suite = ET.parse(folder / "results" / f"{name}.xml").getroot()[0]
        assert (suite.get("failures"), suite.get("skipped")) == ("0", "0")
        assert int(suite.get("tests", 0)) >= 5
    assert outcomes(run_pytest(tmp_path, *commands[5][1:])) == {"passed": 3}
