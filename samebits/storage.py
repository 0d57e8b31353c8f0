"""Build directories: written whole or not at all, and read without hls4ml."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samebits import errors
from samebits.compile.ir import Graph, graph_from_json, graph_to_json
from samebits.compile.ops import check_graph
from samebits.compile.target import Target
from samebits.firmware.process import locked

__all__ = [
    "ARTEFACTS",
    "SCHEMA",
    "check_folder",
    "fingerprint",
    "made_folder",
    "read_artefact",
    "read_design",
    "replace_file",
    "write_design",
    "write_files",
]

SCHEMA = 1
DESIGN, ARRAYS, MODEL, FIRMWARE, HLS, EMULATOR, RTL = (
    "design.json",
    "design.npz",
    "model.onnx",
    "firmware.onnx",
    "hls",
    "emulator",
    "rtl",
)
ARTEFACTS = (MODEL, FIRMWARE, ARRAYS, HLS, EMULATOR, RTL, DESIGN)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(graph: Graph, target: Target) -> str:
    """A hash that two designs share only if they give the same firmware."""
    values, arrays = graph_to_json(graph)
    text = json.dumps([values, target.to_json()], sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def check_folder(folder: Path) -> None:
    """Says before the long work, not after it, that a folder cannot be written.

    Raises:
        BuildError: it cannot.
    """
    if folder.exists() and not folder.is_dir():
        raise errors.BuildError(f"{folder}: is a file; give a folder")
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        where = "it" if existing == folder else str(existing)
        raise errors.BuildError(f"{folder}: cannot be written: {where} is not a writable folder")


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[Path]:
    """The folder, made where it is missing; what was made is taken away if the block fails and
    left nothing in it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # not empty, or never made
                path.rmdir()
        raise


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; it takes the place of `path` if the block ends well.

    Raises:
        BuildError: the folder cannot be written, or the disk is full.
    """
    try:
        with made_folder(path.parent) as folder:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
            temporary = Path(name)
            try:
                os.close(handle)
                yield temporary
                temporary.chmod(0o644)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise errors.BuildError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_design(
    folder: Path,
    graph: Graph,
    target: Target,
    facts: dict[str, Any],
    model: bytes | None,
    firmware: bytes | None,
    folders: Mapping[str, Callable[[Path], object]],
    *,
    force: bool,
) -> dict[str, str]:
    """Writes design.json, its arrays, the ONNX files and folders; gives the files' SHA-256.

    `folders`: what writes a folder, by its name.

    Everything is made in a temporary folder first and moved when complete, design.json last.

    Raises:
        BuildError: the folder holds another design and `force` is not set, or cannot be written.
    """
    mark = fingerprint(graph, target)
    _check_replaceable(folder, mark, model, force)
    try:
        with made_folder(folder), _stage_in(folder) as stage:
            values, arrays = graph_to_json(graph)
            np.savez_compressed(stage / ARRAYS, allow_pickle=False, **arrays)
            for name, data in ((MODEL, model), (FIRMWARE, firmware)):
                if data is not None:
                    (stage / name).write_bytes(data)
            for name, write in folders.items():
                write(stage / name)
            files = {p.name: _sha256(p) for p in sorted(stage.iterdir()) if p.is_file()}
            design = {
                "schema": SCHEMA,
                "fingerprint": mark,
                "target": target.to_json(),
                **facts,
                "files": files,
                "graph": values,
            }
            (stage / DESIGN).write_text(json.dumps(design, separators=(",", ":")) + "\n")
            with locked(folder):
                _replace(folder, stage)
    except shutil.Error as error:  # a copy of many files, each with its own reason
        raise errors.BuildError(f"{folder}: cannot be written: {error}") from None
    except OSError as error:
        raise errors.BuildError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return files


def write_files(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Writes files into a folder by name, all of them or none.

    Raises:
        BuildError: the folder cannot be written.
    """
    try:
        with made_folder(folder), _stage_in(folder) as stage:
            for name, write in writers.items():
                write(stage / name)
            for name in writers:
                os.replace(stage / name, folder / name)
    except OSError as error:
        raise errors.BuildError(f"{folder}: cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def _stage_in(folder: Path) -> Iterator[Path]:
    """A folder beside the files that are to be replaced; gone with what is left in it."""
    stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(folder: Path, stage: Path) -> None:
    """Moves the staged artefacts into the folder; puts the old ones back if that is cut short."""
    old = stage / "old"
    old.mkdir()
    staged = [name for name in ARTEFACTS if (stage / name).exists()]
    try:
        for name in ARTEFACTS:
            if (folder / name).exists():
                _move(folder / name, old / name)
            if name in staged:
                _move(stage / name, folder / name)
    except BaseException:
        for name in ARTEFACTS:
            if name in staged and not (stage / name).exists():
                (folder / name).rename(stage / name)
            if (old / name).exists():
                (old / name).rename(folder / name)
        raise


def _move(source: Path, destination: Path) -> None:
    source.rename(destination)


def _check_replaceable(folder: Path, mark: str, model: bytes | None, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise errors.BuildError(f"{folder}: is a file; give a folder")
    if force or not folder.is_dir():
        return
    try:
        present = json.loads((folder / DESIGN).read_bytes())["fingerprint"]
    except FileNotFoundError:
        present = None
    except (OSError, ValueError, KeyError, TypeError):
        present = "?"
    if present == mark:
        return
    held = [name for name in ARTEFACTS if (folder / name).exists()]
    if held == [MODEL] and model is not None and (folder / MODEL).read_bytes() == model:
        return
    if held:
        raise errors.BuildError(
            f"{folder}: already holds another design ({', '.join(held)}); choose another folder, "
            "or replace it with --force"
        )


def read_design(folder: Path) -> tuple[Graph, Target, dict[str, Any]]:
    """(graph, target, facts) of a build directory.

    Raises:
        BuildError: no design there, or a damaged one.
    """
    with locked(folder, shared=True):
        return _read(folder)


def _read(folder: Path) -> tuple[Graph, Target, dict[str, Any]]:
    path = folder / DESIGN
    try:
        facts = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise errors.BuildError(
            f"{folder}: holds no design (no {DESIGN}); make one with `samebits compile`"
        ) from None
    except (OSError, RecursionError, ValueError) as error:
        raise errors.BuildError(f"{path}: cannot be read: {error}") from None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        found = facts.get("schema") if isinstance(facts, dict) else None
        raise errors.BuildError(
            f"{path}: has schema {found}, this samebits reads {SCHEMA}; compile the model again"
        )
    try:
        arrays_path = folder / ARRAYS
        if _sha256(arrays_path) != facts["files"][ARRAYS]:
            raise errors.BuildError(
                f"{arrays_path}: does not belong to {DESIGN}; compile the model again"
            )
        with np.load(arrays_path, allow_pickle=False) as arrays:
            graph = graph_from_json(facts.pop("graph"), arrays)
        check_graph(graph)
        target = Target(**facts["target"])
        if fingerprint(graph, target) != facts["fingerprint"]:
            raise errors.BuildError(f"{path}: was changed by hand; compile the model again")
        for name in ("features", "notes"):
            if not all(isinstance(text, str) for text in facts.get(name, ())):
                raise TypeError(f"{name} are no list of texts")
    except errors.BuildError:
        raise
    except OSError as error:
        raise errors.BuildError(
            f"{error.filename or folder}: cannot be read: {error.strerror or error}"
        ) from None
    except Exception as error:  # of zipfile, zlib and NumPy too, or values of the wrong type
        raise errors.BuildError(
            f"{path}: is damaged ({type(error).__name__}: {error}); compile the model again"
        ) from None
    return graph, target, facts


def read_artefact(folder: Path, name: str, files: Mapping[str, str]) -> bytes | None:
    """The content of a file of a saved design; None if the design was saved without it.

    Args:
        files: name -> SHA-256, as `write_design` gives them and design.json holds them.

    Raises:
        BuildError: the file is missing or not the one that was saved.
    """
    path, wanted = folder / name, files.get(name)
    if wanted is None and not path.exists():
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise errors.BuildError(
            f"{path}: cannot be read: {error.strerror}; compile the model again"
        ) from None
    if hashlib.sha256(data).hexdigest() != wanted:
        raise errors.BuildError(
            f"{path}: is not the file that {DESIGN} was saved with; compile the model again"
        )
    return data
