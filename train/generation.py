"""What all generators of physics samples share: the work in chunks, the file, the command line."""

import argparse
import functools
import importlib.metadata
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .chunks import Arrays, Chunk, Maker, finish_chunks, plan_chunks, read_chunk, write_arrays
from .jet_events import physics_package

__all__ = ["Recipe", "as_float16", "assemble", "command", "generate", "parser", "versions"]


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a sample is made.

    `counts` holds the number of events of each class, `settings` everything but seed and numbers
    that decides what an event looks like. `make` makes a chunk of `chunk_events`; `finish` turns
    all events, mixed and with a `label` each, into what is written.
    """

    counts: Mapping[str, int]
    chunk_events: int
    settings: Mapping[str, Any]
    make: Maker
    finish: Callable[[Arrays], Arrays]

    def chunks(self, seed: int) -> list[Chunk]:
        """The pieces of work."""
        return plan_chunks(self.counts, self.chunk_events, seed)


def versions() -> dict[str, str]:
    """The versions of the packages that decide what an event looks like."""
    for package in ("pythia8mc", "fastjet", "awkward"):
        physics_package(package)
    found = {name: importlib.metadata.version(name) for name in ("pythia8mc", "fastjet")}
    return {**found, "numpy": np.__version__}


def as_float16(name: str, values: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """The values with 11 significant bits; raises `DataError` if one does not fit."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise errors.DataError(
            f"an entry of '{name}' does not fit into float16; nothing is written"
        )
    return halves


def assemble(chunks: Sequence[Chunk], folder: Path, recipe: Recipe, output: Path) -> None:
    """Writes the sample from finished chunks, in one seeded random order of the events."""
    seed, names = chunks[0].seed, tuple(recipe.counts)
    parts: dict[str, list[npt.NDArray[Any]]] = {}
    for name, count in recipe.counts.items():
        mine = [
            read_chunk(folder, chunk, recipe.settings)
            for chunk in chunks
            if chunk.class_name == name
        ]
        for key in mine[0]:
            joined = np.concatenate([arrays[key] for arrays in mine])
            parts.setdefault(key, []).append(joined[:count])
    counts = list(recipe.counts.values())
    order = np.argsort(np.random.PCG64(seed).random_raw(sum(counts)), kind="stable")
    arrays = {key: np.concatenate(values)[order] for key, values in parts.items()}
    arrays["label"] = np.repeat(np.arange(len(names), dtype=np.int8), counts)[order]
    card = {
        **recipe.settings,
        "seed": seed,
        "counts": dict(recipe.counts),
        "chunk_events": recipe.chunk_events,
    }
    write_arrays(
        output,
        {
            **recipe.finish(arrays),
            "class_names": np.array(names),
            "card": np.array(json.dumps(card, sort_keys=True)),
        },
    )


def generate(
    recipe: Recipe,
    output: Path,
    seed: int,
    workers: int,
    folder: Path,
    progress: Callable[[int], None],
) -> None:
    """Makes the sample; `progress` is told the number of events that each finished chunk adds.

    Raises:
        UsageError: no worker, or no folder to write into.
        DataError: a chunk there is damaged or made with other settings.
    """
    chunks = recipe.chunks(seed)
    if workers <= 0:
        raise errors.UsageError(f"number of workers: got {workers}, wanted 1 or more")
    if not output.absolute().parent.is_dir():
        raise errors.UsageError(
            f"{output}: there is no folder {output.parent}; make it or choose another"
        )
    executor = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_quiet_worker
    )
    finish_chunks(
        chunks,
        folder,
        recipe.settings,
        recipe.make,
        executor,
        workers,
        lambda chunk: progress(chunk.events),
    )
    assemble(chunks, folder, recipe, output)


def _quiet_worker() -> None:
    """Leaves Ctrl-C to the main process, and silences the C++ libraries' banners."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """The options that all generators have."""
    options = argparse.ArgumentParser(
        prog=f"python -m samebits.train.{module}", description=description
    )
    options.add_argument("-o", "--output", type=Path, required=True, help="the .npz file to write")
    options.add_argument("--seed", type=int, default=1, help="same seed, same events (default 1)")
    options.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    options.add_argument(
        "--resume-folder", type=Path, help="finished chunks (default: OUTPUT with .chunks added)"
    )
    return options


def command(chosen: argparse.Namespace, recipe_of: Callable[[argparse.Namespace], Recipe]) -> int:
    """Runs a generator with the chosen options.

    Returns the exit code: 0 good, 2 wrong usage or tools, 130 interrupted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    folder = chosen.resume_folder or chosen.output.with_name(chosen.output.name + ".chunks")
    console = Console(stderr=True)
    columns = (TextColumn("events"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        recipe = recipe_of(chosen)
        total = sum(chunk.events for chunk in recipe.chunks(chosen.seed))
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("events", total=total)
            progress = functools.partial(bar.advance, task)
            generate(recipe, chosen.output, chosen.seed, chosen.workers, folder, progress)
    except KeyboardInterrupt:
        console.print(f"interrupted; finished chunks are kept in {folder}: run again to go on")
        return 130
    except BrokenProcessPool:
        console.print(f"error: a worker died; finished chunks are in {folder}: run again to go on")
        return 2
    except errors.SamebitsError as error:
        console.print(f"error: {error}", markup=False)
        return error.exit_code
    return 0
