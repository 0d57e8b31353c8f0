"""Makes the jet sample: `python -m samebits.train.generate_jets -o jets.npz --jets 30000 --seed 1`.

Needs the extra `physics` (Pythia 8, FastJet). The steps stand in modules of their own:
`jet_events` (collisions), `jet_detector` (measurement), `jet_clustering` (jets and grooming),
`jet_features` (the 16 numbers), `jet_chunks` (work that can be resumed).
"""

import argparse
import functools
import importlib.metadata
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from . import jet_clustering, jet_detector, jet_events
from .jet_chunks import Chunk, finish_chunks, plan_chunks, read_chunk, write_arrays
from .jet_events import CLASS_NAMES, physics_package
from .jet_features import FEATURE_NAMES, jet_features

__all__ = ["assemble", "generate", "main", "make_chunk", "settings"]

BATCH_EVENTS = 50
EVENTS_PER_JET = 3  # an event gives nearly two jets; this leaves room

FloatArray = npt.NDArray[np.float64]


def settings() -> dict[str, Any]:
    """Everything but seed and numbers that decides what a jet looks like, for card and chunks."""
    for package in ("pythia8mc", "fastjet", "awkward"):
        physics_package(package)
    versions = {name: importlib.metadata.version(name) for name in ("pythia8mc", "fastjet")}
    return {
        "versions": {**versions, "numpy": np.__version__},
        "common": list(jet_events.COMMON),
        "processes": {name: list(lines) for name, lines in jet_events.PROCESSES.items()},
        "undecayed_first": list(jet_events.UNDECAYED_FIRST),
        "undecayed_settings": list(jet_events.UNDECAYED),
        "decays": list(jet_events.TO_QUARKS),
        "batch_events": BATCH_EVENTS,
        "max_abs_eta": jet_detector.MAX_ABS_ETA,
        "photon_cell": jet_detector.PHOTON_CELL,
        "hadron_cell": jet_detector.HADRON_CELL,
        "max_track_pt_gev": jet_detector.MAX_TRACK_PT_GEV,
        "track_mass_gev": jet_detector.TRACK_MASS_GEV,
        "min_energy_gev": jet_detector.MIN_ENERGY_GEV,
        "jet_radius": jet_clustering.JET_RADIUS,
        "jet_pt_gev": [jet_clustering.MIN_JET_PT_GEV, jet_clustering.MAX_JET_PT_GEV],
        "leading_jets": jet_clustering.LEADING_JETS,
        "z_cut": jet_clustering.Z_CUT,
        "feature_names": list(FEATURE_NAMES),
    }


def make_chunk(chunk: Chunk) -> FloatArray:
    """The features (jets, 16) of one chunk.

    Raises `ToolError` if the events run out first, `MissingToolError` without the extra `physics`.
    """
    process_seed, shower_seed, detector_seed = chunk.seeds(3, jet_events.MAX_SEED)
    rng = np.random.Generator(np.random.PCG64(detector_seed))
    rows: list[FloatArray] = []
    events = EVENTS_PER_JET * chunk.jets + BATCH_EVENTS
    for particles in jet_events.simulate_events(
        chunk.class_name, process_seed, shower_seed, events, BATCH_EVENTS
    ):
        objects = jet_detector.measure(particles, rng)
        rows += [jet_features(jet) for jet in jet_clustering.find_jets(objects)]
        if len(rows) >= chunk.jets:
            return np.stack(rows[: chunk.jets])
    raise errors.ToolError(
        f"chunk {chunk.index} of class {chunk.class_name}: got {len(rows)} jets in {events} "
        f"events, wanted {chunk.jets}; try another seed"
    )


def assemble(
    chunks: Sequence[Chunk], folder: Path, chosen: dict[str, Any], jets: int, output: Path
) -> None:
    """Writes the sample from finished chunks: equal class parts, in one seeded random order.

    float16 keeps 11 bits: the resolutions of the detector are far coarser. Raises `DataError` if a
    value does not fit.
    """
    per_class = jets // len(CLASS_NAMES)
    parts = []
    for name in CLASS_NAMES:
        mine = [read_chunk(folder, chunk, chosen) for chunk in chunks if chunk.class_name == name]
        parts.append(np.concatenate(mine)[:per_class])
    labels = np.repeat(np.arange(len(CLASS_NAMES), dtype=np.int8), per_class)
    order = np.argsort(np.random.PCG64(chunks[0].seed).random_raw(jets), kind="stable")
    with np.errstate(over="ignore"):
        features = np.concatenate(parts)[order].astype(np.float16)
    if not np.isfinite(features).all():
        raise errors.DataError(f"{output}: a feature does not fit into float16; nothing is written")
    card = {**chosen, "seed": chunks[0].seed, "jets": jets, "jets_per_chunk": chunks[0].jets}
    write_arrays(
        output,
        {
            "features": np.asfortranarray(features),  # columns together compress better
            "label": labels[order],
            "feature_names": np.array(FEATURE_NAMES),
            "class_names": np.array(CLASS_NAMES),
            "card": np.array(json.dumps(card, sort_keys=True)),
        },
    )


def generate(
    output: Path, jets: int, seed: int, workers: int, folder: Path, progress: Callable[[int], None]
) -> None:
    """Makes the sample; `progress` is told the number of jets that each finished chunk adds."""
    chunks = plan_chunks(CLASS_NAMES, jets, seed)
    if workers <= 0:
        raise errors.UsageError(f"number of workers: got {workers}, wanted 1 or more")
    if not output.absolute().parent.is_dir():
        raise errors.UsageError(
            f"{output}: there is no folder {output.parent}; make it or choose another"
        )
    chosen = settings()
    executor = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_quiet_worker
    )
    finish_chunks(
        chunks, folder, chosen, make_chunk, executor, workers, lambda chunk: progress(chunk.jets)
    )
    assemble(chunks, folder, chosen, jets, output)


def _quiet_worker() -> None:
    """Leaves Ctrl-C to the main process, and silences the C++ libraries' banners."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 good, 2 wrong usage or tools, 130 interrupted."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    parser = argparse.ArgumentParser(
        prog="python -m samebits.train.generate_jets",
        description="Simulate boosted jets of five classes with 16 substructure features each.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--jets", type=int, default=30000, help="in total (default 30000)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same jets (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--resume-folder", type=Path, help="finished chunks (default: OUTPUT with .chunks added)"
    )
    chosen = parser.parse_args(arguments)
    folder = chosen.resume_folder or chosen.output.with_name(chosen.output.name + ".chunks")
    console = Console(stderr=True)
    columns = (TextColumn("jets"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            chunk_total = sum(chunk.jets for chunk in plan_chunks(CLASS_NAMES, chosen.jets, 0))
            task = bar.add_task("jets", total=chunk_total)
            generate(
                chosen.output,
                chosen.jets,
                chosen.seed,
                chosen.workers,
                folder,
                functools.partial(bar.advance, task),
            )
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


if __name__ == "__main__":
    sys.exit(main())
