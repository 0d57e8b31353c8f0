"""Chunks of simulated events: small files that a run can leave behind and a later run can use.

A chunk holds events (or jets) of one class made from one seed, so the result depends neither on the
number of workers nor on interruptions.
"""

import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

__all__ = [
    "Arrays",
    "Chunk",
    "finish_chunks",
    "plan_chunks",
    "read_chunk",
    "write_arrays",
    "write_chunk",
]

Arrays = Mapping[str, npt.NDArray[Any]]  # all with one entry for each event
Maker = Callable[["Chunk"], Arrays]


@dataclass(frozen=True)
class Chunk:
    """One piece of work: `events` events of one class, seeded by (seed, class_index, index)."""

    class_name: str
    class_index: int
    index: int
    events: int
    seed: int

    @property
    def file_name(self) -> str:
        return f"{self.class_name}_{self.index:04d}.npz"

    def seeds(self, count: int, largest: int) -> tuple[int, ...]:
        """Independent seeds from 1 to `largest` for the steps of this chunk."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self.class_index, self.index))
        return tuple(1 + int(word) % largest for word in sequence.generate_state(count, np.uint64))


def plan_chunks(counts: Mapping[str, int], size: int, seed: int) -> list[Chunk]:
    """The chunks for so many events of each class, the classes taking turns.

    All chunks have the same size, the last one of a class is used in part: so a later run for more
    events can use all of them. Raises `UsageError` for numbers that do not fit.
    """
    if seed < 0:
        raise errors.UsageError(f"seed: got {seed}, wanted 0 or more")
    for name, count in counts.items():
        if count <= 0:
            raise errors.UsageError(
                f"number of events of class {name}: got {count}, wanted 1 or more"
            )
    needed = {name: -(-count // size) for name, count in counts.items()}
    return [
        Chunk(name, class_index, index, size, seed)
        for index in range(max(needed.values()))
        for class_index, name in enumerate(counts)
        if index < needed[name]
    ]


def finish_chunks(
    chunks: list[Chunk],
    folder: Path,
    settings: Mapping[str, Any],
    make: Maker,
    executor: Executor,
    workers: int,
    progress: Callable[[Chunk], None],
) -> None:
    """Makes the chunks that are not in the folder yet; `progress` is called for each one there.

    The executor never has more than `workers` chunks: an interruption lets these finish, keeps
    them and ends. Raises `DataError` for a chunk made with other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for chunk in chunks:
        if (folder / chunk.file_name).exists():
            read_chunk(folder, chunk, settings)
            progress(chunk)
        else:
            missing.append(chunk)
    waiting = iter(missing)
    running: set[Future[Chunk]] = set()
    try:
        while True:
            for chunk in itertools.islice(waiting, workers - len(running)):
                running.add(executor.submit(_make_and_write, make, folder, chunk, settings))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                progress(future.result())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _make_and_write(make: Maker, folder: Path, chunk: Chunk, settings: Mapping[str, Any]) -> Chunk:
    write_chunk(folder, chunk, settings, make(chunk))
    return chunk


def write_chunk(folder: Path, chunk: Chunk, settings: Mapping[str, Any], arrays: Arrays) -> None:
    """Writes one finished chunk; the file appears whole or not at all."""
    identity = np.array(_identity(chunk, settings))
    write_arrays(folder / chunk.file_name, {**arrays, "settings": identity})


def read_chunk(folder: Path, chunk: Chunk, settings: Mapping[str, Any]) -> Arrays:
    """The arrays of a finished chunk, made with exactly these settings.

    Raises:
        DataError: damaged, or made with other settings.
    """
    path = folder / chunk.file_name
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files}
        found = json.loads(str(arrays.pop("settings")))
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, EOFError, OSError) as error:
        raise errors.DataError(
            f"{path}: cannot be read as a chunk of events; delete it and run again"
        ) from error
    wanted = json.loads(_identity(chunk, settings))
    if found != wanted:
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        details = "; ".join(
            f"{key}: got {found.get(key)}, wanted {wanted.get(key)}" for key in differing
        )
        raise errors.DataError(
            f"{path}: was made with other settings ({details}); choose another --resume-folder or "
            "delete this one"
        )
    return arrays


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Writes a compressed .npz under a temporary name in the same folder and renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _identity(chunk: Chunk, settings: Mapping[str, Any]) -> str:
    """What decides a chunk's content, as JSON with sorted keys."""
    return json.dumps({**asdict(chunk), **settings}, sort_keys=True)
