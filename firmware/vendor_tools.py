"""AMD's programs: whether they are on PATH, and of which release. None is started for that."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from samebits import errors

__all__ = ["VITIS_HLS", "VIVADO", "VIVADO_HLS", "FoundProgram", "VendorProgram", "find", "hls_of"]

_RELEASE_IN_PATH = re.compile(r"(?<!\d)20\d\d\.\d(?!\d)")


@dataclass(frozen=True)
class VendorProgram:
    """What is looked for: `commands`, one of which is enough, the first one preferred.

    `tested`: the releases that hls4ml names (https://fastmachinelearning.org/hls4ml/status.html);
    samebits was run with none of them, only its readers with their reports. "": it names none.
    """

    name: str
    commands: tuple[str, ...]
    tested: str = ""

    @property
    def install(self) -> str:
        """What to do where it is missing."""
        return "install it from AMD and source its settings64.sh"


VITIS_HLS = VendorProgram("Vitis HLS", ("vitis-run", "vitis_hls"), ">=2022.2,<=2024.1")
VIVADO_HLS = VendorProgram("Vivado HLS", ("vivado_hls",), ">=2018.2,<=2020.1")
VIVADO = VendorProgram("Vivado", ("vivado",))


@dataclass(frozen=True)
class FoundProgram:
    """A program on PATH; `release` is what its folder is called, None if that tells nothing."""

    program: VendorProgram
    path: str
    release: str | None

    @property
    def command(self) -> str:
        """Its name on PATH."""
        return Path(self.path).name

    @property
    def untested(self) -> bool:
        """Whether the release is known and not one that hls4ml names."""
        if self.release is None or not self.program.tested:
            return False
        return self.release not in SpecifierSet(self.program.tested)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.program.name, self.release)))


def hls_of(backend: str) -> VendorProgram:
    """The HLS tool of hls4ml's backend, Vitis or Vivado."""
    return {"Vitis": VITIS_HLS, "Vivado": VIVADO_HLS}[backend]


def find(program: VendorProgram, env: Mapping[str, str] = os.environ) -> FoundProgram:
    """The program on PATH.

    Raises:
        MissingToolError: it is not there.
    """
    for command in program.commands:
        path = shutil.which(command, path=env.get("PATH"))
        if path is not None:
            # of the real file: names on PATH may be links
            releases = _RELEASE_IN_PATH.findall(str(Path(path).resolve()))
            return FoundProgram(program, path, releases[-1] if releases else None)
    raise errors.MissingToolError(
        f"{program.name} not found: no {' or '.join(program.commands)} on PATH; {program.install} "
        "(everything else in samebits works without it)"
    )
