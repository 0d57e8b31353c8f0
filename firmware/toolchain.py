"""A C++ compiler: the one of the system, or clang from the PyPI package `ziglang`.

The compiler must build hls4ml's C simulation, whose ap_fixed headers are written for libstdc++:
with libc++ (zig) two forward declarations of `std::complex` clash with the library's inline
namespace and give way to `#include <complex>` (`headers_for`).
"""

import functools
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samebits import errors

from . import process

__all__ = [
    "Compiler",
    "CompilerFacts",
    "find_cxx",
    "headers_for",
    "probe",
    "run_compiler",
]

Kind = Literal["gcc", "clang", "zig"]

_INSTALL = (
    "install g++ with the system's packages (Debian, Ubuntu: apt install g++; "
    "RHEL, Alma: dnf install gcc-c++; macOS: xcode-select --install) "
    "or get one from PyPI: pip install ziglang"
)
_SYSTEM_NAMES = ("g++", "clang++", "c++")
_TRIAL_TIMEOUT_S = 120.0
_TRIAL = """\
#include <cmath>
#include <string>
extern "C" long samebits_trial(double x) {
    if constexpr (sizeof(x) == 8)
        return std::lround(x) + static_cast<long>(std::to_string(x).size());
    return 0;
}
"""
_FORWARD_COMPLEX = re.compile(
    r"namespace\s+std\s*\{\s*template\s*<\s*typename\s+_Tp\s*>\s*class\s+complex\s*;\s*\}"
)
_COMPLEX_HEADERS = ("ap_int_special.h", "ap_fixed_special.h")


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that has compiled a C++17 program.

    `command` is the start of the command line, `name` what it was found as, `version` the first
    line of `--version`, `libcxx` whether its standard library is libc++.
    """

    command: tuple[str, ...]
    name: str
    version: str
    kind: Kind
    libcxx: bool

    @property
    def tool(self) -> str:
        """The compiler and its release, such as "g++ 13.3.0"."""
        name = Path(self.command[0]).name if self.name == "$CXX" else self.name
        bare = re.sub(r"\([^)]*\)", "", self.version)  # who packed it, with numbers of its own
        release = re.search(r"\d+(\.\d+)+", bare)
        return f"{name} {release[0]}" if release else name

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags that make floating point in tables the same on all compilers and processors.

        Fused multiply-add would round once where the reference rounds twice. zig builds for the
        processor it runs on and traps on undefined shifts unless told otherwise.
        """
        if self.kind == "zig":
            return ("-ffp-contract=off", "-mcpu=baseline", "-fno-sanitize=undefined")
        return ("-ffp-contract=off",)


@dataclass(frozen=True)
class CompilerFacts:
    """What `samebits doctor` shows: the compiler, or None and the reason."""

    compiler: Compiler | None
    reason: str


def find_cxx(env: Mapping[str, str] = os.environ) -> Compiler:
    """The first C++ compiler of $CXX, g++, clang++, c++ and ziglang that compiles a C++17 program.

    Raises MissingToolError if there is none, ToolError if $CXX is set and does not work, or if
    all that were found do not.
    """
    path = env.get("PATH")
    if chosen := env.get("CXX", "").strip():
        command = tuple(shlex.split(chosen))
        executable = shutil.which(command[0], path=path)
        if executable is None:
            raise errors.MissingToolError(
                f"the C++ compiler in the environment variable CXX, {command[0]!r}, is not there: "
                f"unset CXX or {_INSTALL}"
            )
        return _tried((executable, *command[1:]), "$CXX", env)
    found: list[tuple[tuple[str, ...], str]] = []
    for name in _SYSTEM_NAMES:
        executable = shutil.which(name, path=path)
        if executable is not None:
            found.append(((executable,), name))
    if importlib.util.find_spec("ziglang") is not None:
        found.append(((sys.executable, "-m", "ziglang", "c++"), "ziglang"))
    failures = []
    for command, name in found:
        try:
            return _tried(command, name, env)
        except errors.ToolError as error:
            failures.append(str(error))
    if failures:
        raise errors.ToolError("\n".join([*failures, _INSTALL]))
    raise errors.MissingToolError(
        f"no C++ compiler: neither $CXX, {', '.join(_SYSTEM_NAMES)} on PATH "
        f"nor the package ziglang; {_INSTALL}"
    )


def probe(env: Mapping[str, str] = os.environ) -> CompilerFacts:
    """The compiler that `find_cxx` finds, or the reason why there is none; never raises."""
    try:
        compiler = find_cxx(env)
    except errors.ToolError as error:
        return CompilerFacts(None, str(error))
    return CompilerFacts(compiler, f"{compiler.name}: {compiler.version}")


def headers_for(
    compiler: Compiler, ap_types: Path, overlay: Path, cwd: Path = Path()
) -> tuple[str, ...]:
    """The -I flags under which `compiler`, run in `cwd`, reads the ap_fixed headers in `ap_types`.

    With libc++ the two headers that declare `std::complex` are corrected in the new folder
    `overlay`, which then comes first; with libstdc++ nothing is written.

    Raises:
        ToolError: headers of another version of hls4ml, which cannot be corrected.
    """
    if not compiler.libcxx:
        return (f"-I{ap_types}",)
    overlay.mkdir(parents=True, exist_ok=True)
    for name in _COMPLEX_HEADERS:
        text = (cwd / ap_types / name).read_text(encoding="utf-8")
        text, n_changed = _FORWARD_COMPLEX.subn("#include <complex>", text)
        if n_changed != 1:
            raise errors.ToolError(
                f"{cwd / ap_types / name}: expected one forward declaration of std::complex, found "
                f"{n_changed}; these are not hls4ml 1.3's headers: use g++, not {compiler.name}"
            )
        (overlay / name).write_text(text, encoding="utf-8")
    return (f"-I{overlay}", f"-I{ap_types}")


def run_compiler(
    command: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    cwd: Path | None = None,
    log: Path | None = None,
) -> None:
    """Runs one compiler command, in a folder of its own unless `cwd` is given.

    Raises ToolError with the compiler's first error lines, or where it takes more than `timeout_s`.
    """
    process.run(command, what=f"compiling {what}", timeout_s=timeout_s, folder=cwd, log=log)


def _tried(command: tuple[str, ...], name: str, env: Mapping[str, str]) -> Compiler:
    """The compiler, after it has compiled the trial program. Raises ToolError if it cannot."""
    return _tried_once(command, name, env.get("PATH"))


@functools.cache
def _tried_once(command: tuple[str, ...], name: str, path: str | None) -> Compiler:
    shown = shlex.join(command)
    env = os.environ if path is None else {**os.environ, "PATH": path}
    version = process.answer([*command, "--version"], _TRIAL_TIMEOUT_S, env)
    if version is None:
        raise errors.ToolError(
            f"the C++ compiler {shown} ({name}) does not start, or does not answer to --version"
        )
    first_line = version.strip().splitlines()[0] if version.strip() else "unknown version"
    kind: Kind = "gcc"
    if "ziglang" in command or Path(command[0]).name == "zig":
        kind = "zig"
        if name == "ziglang":
            first_line = f"ziglang {importlib.metadata.version('ziglang')}, {first_line}"
    elif "clang" in version:
        kind = "clang"
    with tempfile.TemporaryDirectory(prefix="samebits_cxx_") as folder:
        source = Path(folder) / "trial.cpp"
        source.write_text(_TRIAL, encoding="utf-8")
        # zig brings its own libraries and builds them (50 s) on the first link: not for a trial.
        link = ("-c",) if kind == "zig" else ("-shared",)
        try:
            run_compiler(
                [*command, "-std=c++17", "-fPIC", *link, str(source), "-o", f"{folder}/trial.o"],
                what="a trivial C++17 program",
                timeout_s=_TRIAL_TIMEOUT_S,
            )
            libcxx = kind == "zig" or _uses_libcxx(command, Path(folder))
        except errors.ToolError as error:
            raise errors.ToolError(
                f"the C++ compiler {shown} ({name}) was found but does not work: {error}"
            ) from None
    return Compiler(command, name, first_line, kind, libcxx)


def _uses_libcxx(command: tuple[str, ...], folder: Path) -> bool:
    source = folder / "library.cpp"
    source.write_text("#include <cstddef>\n#ifndef _LIBCPP_VERSION\n#error gnu\n#endif\n")
    return process.answer([*command, "-fsyntax-only", str(source)], _TRIAL_TIMEOUT_S) is not None
