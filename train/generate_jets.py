"""Makes the jet sample: `python -m samebits.train.generate_jets -o jets.npz --jets 30000 --seed 1`.

With `--constituents 16` the file also holds the 16 leading constituents of every jet.

Needs the extra `physics` (Pythia 8, FastJet). The steps stand in modules of their own:
`jet_events` (collisions), `jet_detector` (measurement), `jet_clustering` (jets and grooming),
`jet_features` (the 16 numbers), `jet_constituents`, `chunks` (work that can be resumed),
`generation` (what all generators share).
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from . import generation, jet_clustering, jet_detector, jet_events
from .chunks import Arrays, Chunk
from .jet_constituents import CONSTITUENT_COLUMNS, leading_constituents
from .jet_events import CLASS_NAMES
from .jet_features import FEATURE_NAMES, jet_features

__all__ = ["finish", "main", "make_chunk", "recipe", "settings"]

CHUNK_JETS = 500
BATCH_EVENTS = 50
EVENTS_PER_JET = 3  # an event gives nearly two jets; this leaves room


def settings(constituents: int = 0) -> dict[str, Any]:
    """Everything but seed and numbers that decides what a jet looks like, for card and chunks."""
    return {
        "versions": generation.versions(),
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
        "constituents": constituents,
    }


def recipe(jets: int, constituents: int = 0) -> generation.Recipe:
    """The recipe for so many jets in equal class parts; raises `UsageError` for wrong numbers."""
    if jets <= 0 or jets % len(CLASS_NAMES):
        raise errors.UsageError(
            f"number of jets: got {jets}, wanted a positive multiple of {len(CLASS_NAMES)}, the "
            "number of classes"
        )
    if constituents < 0:
        raise errors.UsageError(f"number of constituents: got {constituents}, wanted 0 or more")
    return generation.Recipe(
        counts=dict.fromkeys(CLASS_NAMES, jets // len(CLASS_NAMES)),
        chunk_events=CHUNK_JETS,
        settings=settings(constituents),
        make=functools.partial(make_chunk, constituents=constituents),
        finish=finish,
    )


def make_chunk(chunk: Chunk, constituents: int = 0) -> Arrays:
    """The `features` (jets, 16) of one chunk, and the `constituents` if some are wanted.

    Raises `ToolError` if the events run out first, `MissingToolError` without the extra `physics`.
    """
    process_seed, shower_seed, detector_seed = chunk.seeds(3, jet_events.MAX_SEED)
    rng = np.random.Generator(np.random.PCG64(detector_seed))
    jets: list[jet_clustering.Jet] = []
    events = EVENTS_PER_JET * chunk.events + BATCH_EVENTS
    for particles in jet_events.simulate_events(
        chunk.class_name, process_seed, shower_seed, events, BATCH_EVENTS
    ):
        jets += jet_clustering.find_jets(jet_detector.measure(particles, rng))
        if len(jets) >= chunk.events:
            break
    else:
        raise errors.ToolError(
            f"chunk {chunk.index} of class {chunk.class_name}: got {len(jets)} jets in {events} "
            f"events, wanted {chunk.events}; try another seed"
        )
    jets = jets[: chunk.events]
    arrays: dict[str, npt.NDArray[Any]] = {
        "features": np.stack([jet_features(jet) for jet in jets])
    }
    if constituents:
        arrays["constituents"] = np.stack(
            [leading_constituents(jet.ungroomed, constituents) for jet in jets]
        )
        arrays["jet_pt_gev"] = np.array([jet.pt_gev for jet in jets])
    return arrays


def finish(arrays: Arrays) -> Arrays:
    """What is written: float16 keeps 11 bits, the resolutions of the detector are far coarser.

    Raises `DataError` if a value does not fit.
    """
    written = {
        # columns together compress better
        "features": np.asfortranarray(generation.as_float16("features", arrays["features"])),
        "label": arrays["label"],
        "feature_names": np.array(FEATURE_NAMES),
    }
    if "constituents" in arrays:
        halves = generation.as_float16("constituents", arrays["constituents"])
        written["constituents"] = np.asfortranarray(halves)
        written["constituent_columns"] = np.array(CONSTITUENT_COLUMNS)
        written["jet_pt_gev"] = generation.as_float16("jet_pt_gev", arrays["jet_pt_gev"])
    return written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 good, 2 wrong usage or tools, 130 interrupted."""
    options = generation.parser(
        "generate_jets",
        "Simulate boosted jets of five classes with 16 substructure features each.",
    )
    options.add_argument("--jets", type=int, default=30000, help="in total (default 30000)")
    options.add_argument(
        "--constituents", type=int, default=0, help="leading ones to store too (default 0: none)"
    )

    def chosen_recipe(chosen: argparse.Namespace) -> generation.Recipe:
        return recipe(chosen.jets, chosen.constituents)

    return generation.command(options.parse_args(arguments), chosen_recipe)


if __name__ == "__main__":
    sys.exit(main())
