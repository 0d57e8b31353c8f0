"""The native emulator as a shared object NAME_vVERSION.so that experiments load."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebits import errors
from samebits.compile.emitters.cpp import CppSource
from samebits.compile.emitters.cpp_model import MODEL

from . import toolchain
from .native import FLAGS, TIMEOUT_S

__all__ = ["compile_library", "library_name"]

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def library_name(name: str, version: str) -> str:
    """NAME_vVERSION.so, as hls4mlEmulatorExtras names and loads models.

    >>> library_name("jets", "3")
    'jets_v3.so'

    Raises:
        UsageError: letters that file names and C strings do not take.
    """
    for what, word in (("name", name), ("version", version)):
        if not _WORD.fullmatch(word):
            raise errors.UsageError(
                f"the library's {what} {word!r}: wanted letters, digits and any of _ . + -"
            )
    return f"{name}_v{version}.so"


def compile_library(
    source: CppSource,
    target: Path,
    *,
    name: str,
    version: str,
    arch: str = "native",
    header: str | None = None,
    ap_types: str | os.PathLike[str] | None = None,
    include: Sequence[str | os.PathLike[str]] = (),
    compiler: toolchain.Compiler | None = None,
) -> None:
    """Compiles the emulator and its class into `target`.

    Args:
        arch: whose instructions may be used, as in -march: "native", "x86-64-v3", ...
        header: what declares the class hls4mlEmulator::Model; None: our own declaration.
        ap_types: a folder with ap_fixed.h, so that the class takes and gives ap_fixed numbers too.
        include: folders with headers.

    Raises:
        MissingToolError: no C++ compiler. ToolError: it fails. UsageError: a name that is none, or
        a folder without ap_fixed.h.
    """
    soname = library_name(name, version)
    compiler = compiler or toolchain.find_cxx()
    flags = [*FLAGS, "-fvisibility=hidden", *compiler.flags]
    if compiler.kind != "zig":
        flags.append(f"-march={arch}")
    flags += [f'-DSAMEBITS_NAME="{name}"', f'-DSAMEBITS_VERSION="{version}"']
    flags += [f"-I{Path(folder).resolve()}" for folder in include]
    if header is not None:
        flags.append(f"-DSAMEBITS_MODEL_HEADER=<{header}>")
    link = "-install_name" if sys.platform == "darwin" else "-soname"
    with tempfile.TemporaryDirectory(prefix="samebits-") as temporary:
        folder = Path(temporary)
        source.write(folder)
        if ap_types is not None:
            there = Path(ap_types).resolve()
            if not (there / "ap_fixed.h").is_file():
                raise errors.UsageError(f"{ap_types}: there is no ap_fixed.h")
            flags.append("-DSAMEBITS_AP_TYPES")
            flags += toolchain.headers_for(compiler, there, folder / "overlay")
        toolchain.run_compiler(
            [*compiler.command, *flags, f"-Wl,{link},{soname}", MODEL, "-o", str(target.resolve())],
            what=soname,
            timeout_s=TIMEOUT_S,
            cwd=folder,
        )
