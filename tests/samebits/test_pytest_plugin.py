"""The pytest plugin in a user's tests: fixtures, marker, options, what a failing bit prints."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from samebits import Design, errors
from samebits.golden import freeze
from samebits.pytest_plugin import assert_golden, assert_same_bits

from ..models import quantized_mlp

pytest_plugins = ["pytester"]

PLUGIN = "samebits.pytest_plugin"
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


def run(pytester: pytest.Pytester, *arguments: object) -> pytest.RunResult:
    """pytest with the plugin, whether or not its entry point is installed.

    In a process of its own: in this one pytester would unload what was imported, and compiled
    packages cannot be loaded twice.
    """
    installed = any(e.value == PLUGIN for e in metadata.entry_points(group="pytest11"))
    plugin = () if installed else ("-p", PLUGIN)
    return pytester.runpytest_subprocess(*plugin, "--strict-markers", *map(str, arguments))


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


def test_same_bits_pass(pytester: pytest.Pytester, builds: Path) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nsamebits_build = nowhere\n")  # the command line goes before it
    arguments = ("--samebits-build", builds / "first", "--samebits-golden", builds / "golden")
    run(pytester, *arguments, "--junitxml=j.xml").assert_outcomes(passed=2)
    assert f'name="samebits_build" value="{builds / "first"}"' in Path("j.xml").read_text()


def test_other_bits_name_layer_event_and_format(
    pytester: pytest.Pytester, builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    path = pytester.makepyfile(test_bits=TESTS)
    arguments = ("--samebits-build", builds / "second", "--samebits-golden", builds / "golden")
    result = run(pytester, *arguments, "--junitxml=j.xml", "-k", "test_same_bits")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
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
            f"::error file={path.name},line=5,title=samebits%3A pytest%2C test_same_bits::*",
        ]
    )
    text = Path("j.xml").read_text()
    assert "first difference in layer Dense_MatMul_0, event " in text


def test_marker_before_ini_file(pytester: pytest.Pytester, builds: Path) -> None:
    pytester.makeini(
        f"[pytest]\nsamebits_build = {builds / 'second'}\nsamebits_against = onnxruntime\n"
    )
    pytester.makepyfile(
        f"""
        import pytest

        def test_ini(design):
            print(f"<{{design.folder.name}}>")

        @pytest.mark.samebits(build={str(builds / "first")!r}, against=["onnxruntime"])
        def test_marker(design, same_bits):
            print(f"[{{design.folder.name}}]")
            same_bits()
        """
    )
    result = run(pytester, "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*<second>*", "*[[]first[]]*"])


def test_what_is_refused_in_one_line(pytester: pytest.Pytester, builds: Path) -> None:
    pytester.makepyfile(
        f"""
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
    )
    result = run(pytester, "--samebits-golden=nowhere")
    result.assert_outcomes(errors=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "fixture `design`: no build directory: give --samebits-build DIR, *",
            "*nowhere: holds no design (no design.json); make one with `samebits compile`",
            "marker samebits: knows build, against, golden as keywords, got 'build', planet",
            "*nowhere: holds no golden vectors (no golden.json); make them with `samebits freeze`",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "another exception" not in result.stdout.str()


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
