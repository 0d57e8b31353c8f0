"""The HLS project of a design: the network as hls4ml writes it, and the input adapter's C++."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors, storage

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["project_folder", "project_writer"]


def write(design: Design, folder: Path) -> None:
    """Writes the HLS project of a design that was converted in this process."""
    from samebits.firmware.hls_project import write_project

    raw = None
    if design.adapter is not None:
        from samebits.adapter import plan_of
        from samebits.compile.adapter.hls import hls_sources

        raw = partial(hls_sources, plan_of(design))
    write_project(design.model_graph, folder, raw)


def project_writer(design: Design) -> Callable[[Path], object] | None:
    """What writes the HLS project into a folder; None if there is nothing to write it from."""
    if design.model_graph is not None:
        return partial(write, design)
    source = design.folder / storage.HLS if design.folder is not None else None
    return partial(shutil.copytree, source) if source is not None and source.is_dir() else None


def project_folder(design: Design) -> AbstractContextManager[Path]:
    """See `Design.hls_project`."""
    if design.folder is not None and (design.folder / storage.HLS).exists():
        return nullcontext(design.folder / storage.HLS)
    if design.model_graph is None:
        raise errors.BuildError(f"{design.folder}: holds no HLS project; compile the model again")
    return _temporary(design)


@contextmanager
def _temporary(design: Design) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="samebits-") as folder:
        path = Path(folder) / "hls"
        write(design, path)
        yield path
