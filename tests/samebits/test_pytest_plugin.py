"""The pytest plugin in a user's tests: fixtures, marker, options, what a failing bit prints."""

import json
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from samebits import Design, errors
from samebits.golden import freeze
from samebits.pytest_plugin import assert_golden, assert_same_bits

from ..models import quantized_mlp
from .user_pytest import PLUGIN, outcomes, run_pytest

TESTS = """
import numpy as np
import pytest

def test_same_bits(same_bits):
    same_bits()

def test_with_events(design, same_bits):
    same_bits(np.zeros((3, 4)), adversarial=False)
    assert design.simulate(np.zeros((3, 4))).shape == (3, 3)
"""


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two builds of networks with other weights, and golden vectors of the first."""
    folder = tmp_path_factory.mktemp("plugin")
    for name, seed in (("first", 1), ("second", 2)):
        Design.from_onnx(quantized_mlp(seed).model()).save(folder / name)
    freeze(Design.load(folder / "first"), folder / "golden", against=())
    return folder


def shows(lines: list[str], *patterns: str) -> None:
    """Fails unless the lines hold the patterns in this order."""
    pytest.LineMatcher(lines).fnmatch_lines(patterns)


def test_the_entry_point_is_declared() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"samebits": PLUGIN}


def test_the_plugin_alone_loads_nothing() -> None:
    code = (
        f"import sys, pytest; before = set(sys.modules); import {PLUGIN}; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    outside = {name.split(".")[0] for name in done.stdout.split()} - {"samebits"}
    assert outside <= set(sys.stdlib_module_names)
    assert "samebits.design" not in done.stdout.split()


def test_same_bits_pass(tmp_path: Path, builds: Path) -> None:
    (tmp_path / "test_bits.py").write_text(TESTS)
    # the command line goes before the ini file
    (tmp_path / "pytest.ini").write_text("[pytest]\nsamebits_build = nowhere\n")
    arguments = ("--samebits-build", builds / "first", "--samebits-golden", builds / "golden")
    assert outcomes(run_pytest(tmp_path, *arguments, "--junitxml=j.xml")) == {"passed": 2}
    found = (tmp_path / "j.xml").read_text()
    assert f'name="samebits_build" value="{builds / "first"}"' in found


def test_other_bits_name_layer_event_and_format(
    tmp_path: Path, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    (tmp_path / "test_bits.py").write_text(TESTS)
    arguments = ("--samebits-build", builds / "second", "--samebits-golden", builds / "golden")
    lines = run_pytest(tmp_path, *arguments, "--junitxml=j.xml", "-k", "test_same_bits")
    assert outcomes(lines) == {"failed": 1, "deselected": 1}
    shows(
        lines,
        ">       same_bits()",
        f"E       AssertionError: {builds / 'second'} has other bits than "
        f"{builds / 'golden'}: * events",
        "E       numpy: first difference in layer Dense_MatMul_0, event *, element [[]*[]], "
        "ap_fixed<17,9,TRN,WRAP>",
        "E         golden  ????????????????? (*",
        "E         numpy   ????????????????? (*",
        "E         event * is of the kind: *",
        "E         elements that differ: Dense_MatMul_0 * of *, *",
        "E       the design is another one than was frozen; versions: the same",
        "::error file=test_bits.py,line=6,title=samebits%3A pytest%2C test_same_bits::*",
    )
    text = (tmp_path / "j.xml").read_text()
    assert "first difference in layer Dense_MatMul_0, event " in text


def test_marker_before_ini_file(tmp_path: Path, builds: Path) -> None:
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nsamebits_build = {builds / 'second'}\nsamebits_against = onnxruntime\n"
    )
    text = f"""
        import pytest

        def test_ini(design):
            print(f"<{{design.folder.name}}>")

        @pytest.mark.samebits(build={str(builds / "first")!r}, against=["onnxruntime"])
        def test_marker(design, same_bits):
            print(f"[{{design.folder.name}}]")
            same_bits()
        """
    (tmp_path / "test_bits.py").write_text(textwrap.dedent(text))
    lines = run_pytest(tmp_path, "-s")
    assert outcomes(lines) == {"passed": 2}
    shows(lines, "*<second>*", "*[[]first[]]*")


def test_what_is_refused_in_one_line(tmp_path: Path, builds: Path) -> None:
    text = f"""
        import pytest

        def test_none(design):
            pass

        @pytest.mark.samebits(build="nowhere")
        def test_nowhere(design):
            pass

        @pytest.mark.samebits("build", planet="Mars")
        def test_planet(design):
            pass

        @pytest.mark.samebits(build={str(builds / "first")!r})
        def test_golden(same_bits):
            same_bits()
        """
    (tmp_path / "test_bits.py").write_text(textwrap.dedent(text))
    lines = run_pytest(tmp_path, "--samebits-golden=nowhere")
    assert outcomes(lines) == {"errors": 3, "failed": 1}
    shows(
        lines,
        "fixture `design`: no build directory: give --samebits-build DIR, *",
        "*nowhere: holds no design (no design.json); make one with `samebits compile`",
        "marker samebits: knows build, against, golden as keywords, got 'build', planet",
        "*nowhere: holds no golden vectors (no golden.json); make them with `samebits freeze`",
    )
    assert "Traceback" not in "".join(lines)
    assert "another exception" not in "".join(lines)


def test_without_pytest(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design = Design.load(builds / "first")
    assert_same_bits(design)
    assert_golden(design, builds / "golden", against=["onnxruntime"])
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(AssertionError) as caught:
        assert_same_bits(design, against=["onnxruntime", "csim"])
    head, absent = str(caught.value).splitlines()
    assert head.startswith(f"{builds / 'first'}: not the same bits in every engine: ")
    assert absent.startswith("csim: not run: the C++ compiler")
    with pytest.raises(errors.DataError, match="holds no golden vectors"):
        assert_golden(design, builds / "first")
    assert json.loads((builds / "golden" / "golden.json").read_text())["agreed"] == []
