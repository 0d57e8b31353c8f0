"""The native emulator of a design as a library that experiments load."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors, storage

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["build_library"]


def build_library(
    design: Design,
    name: str,
    version: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    arch: str = "native",
    header: str | None = None,
    ap_types: str | os.PathLike[str] | None = None,
    include: Sequence[str | os.PathLike[str]] = (),
) -> Path:
    """The path of NAME_vVERSION.so, compiled from the design.

    Args:
        version: None: the first eight digits of the design's fingerprint.
        folder: where it is written; None: emulator/ in the design's folder.
        arch, header, ap_types, include: as for `firmware.emulator_library.compile_library`.

    Raises:
        UsageError: a name that is none, or no folder. MissingToolError: no C++ compiler.
        ToolError: it fails. UnsupportedError: integers beyond 127 bits.
        BuildError: the folder cannot be written.
    """
    from samebits.firmware.emulator_library import compile_library, library_name

    version = version or design.fingerprint[:8]
    if folder is None:
        if design.folder is None:
            raise errors.UsageError("the library: give a folder, or save the design first")
        folder = design.folder / storage.EMULATOR
    library = Path(folder) / library_name(name, version)
    source = design.emulator_source()
    with storage.replace_file(library) as temporary:
        compile_library(
            source,
            temporary,
            name=name,
            version=version,
            arch=arch,
            header=header,
            ap_types=ap_types,
            include=include,
        )
    return library
