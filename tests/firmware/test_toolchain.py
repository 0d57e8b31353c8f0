"""Finding a C++ compiler, and what is said when there is none or it does not work."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from samebits import errors
from samebits.firmware import toolchain

INSTALL = (
    "install g++ with the system's packages (Debian, Ubuntu: apt install g++; "
    "RHEL, Alma: dnf install gcc-c++; macOS: xcode-select --install) "
    "or get one from PyPI: pip install ziglang"
)


def _script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def without_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_the_compiler_found_says_what_it_is() -> None:
    compiler = toolchain.find_cxx()
    assert compiler.version
    assert compiler.kind in ("gcc", "clang", "zig")
    facts = toolchain.probe()
    assert facts.compiler == compiler
    assert facts.reason == f"{compiler.name}: {compiler.version}"


@pytest.mark.parametrize(
    ("command", "name", "version", "tool"),
    [
        ("/usr/bin/g++", "g++", "g++ (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0", "g++ 13.3.0"),
        ("g++", "g++", "g++ (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)", "g++ 11.4.1"),
        ("clang++", "clang++", "Ubuntu clang version 18.1.3 (1ubuntu1)", "clang++ 18.1.3"),
        ("python", "ziglang", "clang version 19.1.7 (https://a.b/c 1.2.3)", "ziglang 19.1.7"),
        ("/opt/bin/g++-12", "$CXX", "g++-12 (Debian 12.2.0-14) 12.2.0", "g++-12 12.2.0"),
        ("/opt/mine", "$CXX", "of my own", "mine"),
    ],
)
def test_the_tool_names_its_release(command: str, name: str, version: str, tool: str) -> None:
    assert toolchain.Compiler((command,), name, version, "gcc", libcxx=False).tool == tool


def test_cxx_goes_first_and_may_have_arguments(tmp_path: Path) -> None:
    real = shutil.which("g++") or shutil.which("clang++")
    if real is None:
        pytest.skip("needs a C++ compiler of the system")
    compiler = toolchain.find_cxx({"CXX": f"{real} -pipe", "PATH": "/usr/bin:/bin"})
    assert compiler.command == (real, "-pipe")
    assert compiler.name == "$CXX"


def test_cxx_that_is_not_there_is_not_passed_over() -> None:
    with pytest.raises(errors.MissingToolError) as caught:
        toolchain.find_cxx({"CXX": "no-such-g++", "PATH": "/usr/bin:/bin"})
    assert str(caught.value) == (
        "the C++ compiler in the environment variable CXX, 'no-such-g++', is not there: "
        f"unset CXX or {INSTALL}"
    )


@pytest.mark.usefixtures("without_zig")
def test_no_compiler_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingToolError) as caught:
        toolchain.find_cxx({"PATH": str(tmp_path)})
    message = (
        "no C++ compiler: neither $CXX, g++, clang++, c++ on PATH nor the package ziglang; "
        f"{INSTALL}"
    )
    assert str(caught.value) == message
    assert toolchain.probe({"PATH": str(tmp_path)}) == toolchain.CompilerFacts(None, message)


@pytest.mark.usefixtures("without_zig")
def test_a_compiler_that_does_not_work_is_said_to_be_so(tmp_path: Path) -> None:
    broken = _script(
        tmp_path, "g++", 'test "$1" = --version || { echo "error: no headers"; exit 1; }'
    )
    with pytest.raises(errors.ToolError) as caught:
        toolchain.find_cxx({"PATH": f"{tmp_path}"})
    assert not isinstance(caught.value, errors.MissingToolError)
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        f"the C++ compiler {broken} (g++) was found but does not work: "
        "compiling a trivial C++17 program failed with exit code 1:"
    )
    assert lines[1] == "error: no headers"
    assert lines[-1] == INSTALL


def test_the_next_compiler_is_tried_after_a_broken_one(tmp_path: Path) -> None:
    real = shutil.which("g++") or shutil.which("clang++")
    if real is None:
        pytest.skip("needs a C++ compiler of the system")
    _script(tmp_path, "g++", "exit 1")
    (tmp_path / "clang++").symlink_to(real)
    compiler = toolchain.find_cxx({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert compiler.name == "clang++"


def test_errors_start_at_the_first_error_line(tmp_path: Path) -> None:
    noisy = _script(tmp_path, "cc", 'echo "note: a"; echo "x.cpp:3: error: b"; echo c; exit 4')
    with pytest.raises(errors.ToolError) as caught:
        toolchain.run_compiler([str(noisy)], what="a test", timeout_s=10)
    assert str(caught.value) == (
        f"compiling a test failed with exit code 4:\nx.cpp:3: error: b\nc\ncommand: {noisy}"
    )


def test_a_compiler_that_hangs_is_stopped(tmp_path: Path) -> None:
    slow = _script(tmp_path, "cc", "sleep 60")
    with pytest.raises(errors.ToolError) as caught:
        toolchain.run_compiler([str(slow)], what="a test", timeout_s=0.2)
    assert str(caught.value) == (
        f"compiling a test took more than 0.2 s and was stopped\ncommand: {slow}"
    )


def test_headers_for_libstdcxx_are_left_alone(tmp_path: Path) -> None:
    gcc = toolchain.Compiler(("g++",), "g++", "12", "gcc", libcxx=False)
    assert toolchain.headers_for(gcc, tmp_path, tmp_path / "new") == (f"-I{tmp_path}",)
    assert not (tmp_path / "new").exists()


def test_headers_of_another_make_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ap_int_special.h").write_text("// nothing\n")
    zig = toolchain.Compiler(("zig", "c++"), "zig", "22", "zig", libcxx=True)
    with pytest.raises(errors.ToolError, match="expected one forward declaration of std::complex"):
        toolchain.headers_for(zig, tmp_path, tmp_path / "new")


def test_zig_reads_the_corrected_headers(tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    spec = importlib.util.find_spec("hls4ml")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    ap_types = Path(spec.submodule_search_locations[0], "templates", "vivado", "ap_types")
    zig = toolchain.Compiler(
        (sys.executable, "-m", "ziglang", "c++"), "ziglang", "", "zig", libcxx=True
    )
    source = tmp_path / "x.cpp"
    source.write_text("#include <ap_fixed.h>\n#include <ap_int.h>\nap_fixed<8, 4> x = 1.5;\n")
    command = [*zig.command, "-std=c++17", "-w", "-c", str(source), "-o", str(tmp_path / "x.o")]
    with pytest.raises(errors.ToolError, match="complex"):
        toolchain.run_compiler([*command, f"-I{ap_types}"], what="x", timeout_s=120)
    includes = toolchain.headers_for(zig, ap_types, tmp_path / "ap_types")
    toolchain.run_compiler([*command, *includes], what="x", timeout_s=120)
