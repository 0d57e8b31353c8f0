"""Chunks of simulated jets: small files that a run can leave behind and a later run can use.

A chunk holds the jets of one class made from one seed, so the result depends neither on the number
of workers nor on interruptions.
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

__all__ = ["Chunk", "finish_chunks", "plan_chunks", "read_chunk", "write_arrays", "write_chunk"]

CHUNK_JETS = 500

FloatArray = npt.NDArray[np.float64]
Maker = Callable[["Chunk"], FloatArray]


@dataclass(frozen=True)
class Chunk:
    """One piece of work: `jets` jets of one class, seeded by (seed, class_index, index)."""

    class_name: str
    class_index: int
    index: int
    jets: int
    seed: int

    @property
    def file_name(self) -> str:
        return f"{self.class_name}_{self.index:04d}.npz"

    def seeds(self, count: int, largest: int) -> tuple[int, ...]:
        """Independent seeds from 1 to `largest` for the steps of this chunk."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self.class_index, self.index))
        return tuple(1 + int(word) % largest for word in sequence.generate_state(count, np.uint64))


def plan_chunks(class_names: tuple[str, ...], jets: int, seed: int) -> list[Chunk]:
    """The chunks for `jets` jets in equal class parts, the classes taking turns.

    All chunks have the same size, the last one of a class is used in part: so a later run for more
    jets can use all of them. Raises `UsageError` for numbers that do not fit.
    """
    if jets <= 0 or jets % len(class_names):
        raise errors.UsageError(
            f"number of jets: got {jets}, wanted a positive multiple of {len(class_names)}, the "
            "number of classes"
        )
    if seed < 0:
        raise errors.UsageError(f"seed: got {seed}, wanted 0 or more")
    chunks_per_class = -(-jets // len(class_names) // CHUNK_JETS)
    return [
        Chunk(name, class_index, index, CHUNK_JETS, seed)
        for index in range(chunks_per_class)
        for class_index, name in enumerate(class_names)
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


def write_chunk(
    folder: Path, chunk: Chunk, settings: Mapping[str, Any], features: FloatArray
) -> None:
    """Writes one finished chunk; the file appears whole or not at all."""
    write_arrays(
        folder / chunk.file_name,
        {"features": features, "settings": np.array(_identity(chunk, settings))},
    )


def read_chunk(folder: Path, chunk: Chunk, settings: Mapping[str, Any]) -> FloatArray:
    """The features (jets, F) of a finished chunk, made with exactly these settings."""
    path = folder / chunk.file_name
    try:
        with path.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            features, found = archive["features"], json.loads(str(archive["settings"]))
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, EOFError, OSError) as error:
        raise errors.DataError(
            f"{path}: cannot be read as a chunk of jets; delete it and run again"
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
    return np.asarray(features, dtype=np.float64)


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
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
