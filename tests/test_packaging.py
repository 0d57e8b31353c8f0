"""The folders at the top level as packages: listed, mapped, and not importable under bare names."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TOP = ("train", "compile", "sim", "firmware")


def setuptools_section() -> dict[str, Any]:
    section: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    return dict(section["setuptools"])


def test_every_folder_of_modules_is_a_listed_package() -> None:
    folders = set()
    for top in ("samebits", *TOP):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.parent.relative_to(ROOT).parts
            assert (path.parent / "__init__.py").exists(), f"{path.parent} has no __init__.py"
            folders.add(".".join(parts if top == "samebits" else ("samebits", *parts)))
    assert folders == set(setuptools_section()["packages"])


def test_the_folders_are_mapped() -> None:
    mapping = {"samebits": "samebits"} | {f"samebits.{top}": top for top in TOP}
    assert setuptools_section()["package-dir"] == mapping


@pytest.mark.parametrize("name", TOP)
def test_a_bare_import_is_refused(name: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    message = f"import samebits.{name}, not {name}: the repository root must not be on sys.path"
    assert ran.stderr.strip().splitlines()[-1] == f"ImportError: {message}"
