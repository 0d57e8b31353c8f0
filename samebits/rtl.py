"""The RTL of a design: written, and found again if it is the design's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import __version__, errors, storage

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.firmware.rtl import Rtl

__all__ = ["present", "write"]

Progress = Callable[[int, int], None]


def write(
    design: Design,
    folder: str | Path | None,
    language: str,
    clock_mhz: float | None,
    latency_cycles: int | None,
    progress: Progress | None,
) -> Rtl:
    """See `Design.rtl`."""
    from samebits.firmware.rtl import write_rtl

    if folder is None:
        if design.folder is None:
            raise errors.UsageError("rtl: give a folder, or save the design first")
        folder = design.folder / storage.RTL
    source = Path(str(design.facts.get("source", "")))  # a file, or what the model was
    return write_rtl(
        design.graph,
        folder,
        part=design.target.part,
        clock_mhz=design.target.clock_mhz if clock_mhz is None else clock_mhz,
        name=source.stem if source.suffix else "network",
        latency_cycles=latency_cycles,
        language=language,
        fingerprint=design.fingerprint,
        tools={"samebits": __version__, **design.facts.get("versions", {})},
        progress=progress,
    )


def present(design: Design) -> Rtl | None:
    """The RTL in the design's folder; None if there is none.

    Raises:
        BuildError: it is damaged, or another design's.
    """
    from samebits.firmware.rtl import read_rtl

    if design.folder is None or not (design.folder / storage.RTL).is_dir():
        return None
    found = read_rtl(design.folder / storage.RTL)
    if found.fingerprint != design.fingerprint:
        raise errors.BuildError(
            f"{found.folder}: is the RTL of another design; write it again with `samebits rtl`"
        )
    return found
