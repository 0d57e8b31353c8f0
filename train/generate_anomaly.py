"""Makes trigger events for an anomaly search: `python -m samebits.train.generate_anomaly -o x.npz`.

57 integers for each event, like the public ADC2021 challenge (E. Govorkova et al.,
arXiv:2107.02157): the missing transverse momentum, 4 electrons or photons, 4 muons and 10 jets with
pT, eta and phi each. Background: W, Z, photon and jet, top quark pairs; four signals. An event is
kept if it has an electron, photon or muon above 23 GeV.

Needs the extra `physics` (Pythia 8, FastJet).
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from . import generation, jet_detector, jet_events, reconstruction
from .chunks import Arrays, Chunk
from .reconstruction import Event, Kinematics
from .trigger_words import COLUMNS, EGAMMA, JET, LSB, MET, MUON, words

__all__ = ["BACKGROUNDS", "SIGNALS", "main", "make_chunk", "recipe", "settings", "trigger_event"]

PROCESSES = {
    "w": ("WeakSingleBoson:ffbar2W = on", "24:onMode = off", "24:onIfAny = 11 13 15"),
    "z": (
        "WeakSingleBoson:ffbar2gmZ = on",
        "PhaseSpace:mHatMin = 50.",
        "23:onMode = off",
        "23:onIfAny = 11 13 15",
    ),
    "gamma_jet": ("PromptPhoton:all = on", "PhaseSpace:pTHatMin = 18."),
    "tt": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
    "a_to_4l": (
        "HiggsSM:gg2H = on",
        "25:m0 = 50.",
        "25:onMode = off",
        "25:onIfMatch = 23 23",
        "23:onMode = off",
        "23:onIfAny = 11 13",
    ),
    "lq_to_b_tau": (
        "LeptoQuark:gg2LQLQbar = on",
        "LeptoQuark:qqbar2LQLQbar = on",
        "42:m0 = 80.",
        "42:0:products = 5 -15",
    ),
    "h_to_tau_tau": (
        "HiggsSM:gg2H = on",
        "25:m0 = 60.",
        "25:onMode = off",
        "25:onIfMatch = 15 15",
    ),
    "h_to_tau_nu": (
        "Higgs:useBSM = on",
        "HiggsBSM:ffbar2H+- = on",
        "37:m0 = 60.",
        "37:onMode = off",
        "37:onIfMatch = 15 16",
        "15:onMode = off",  # the others would seldom be kept
        "15:onIfAny = 11 13",
    ),
}
BACKGROUNDS = ("w", "z", "gamma_jet", "tt")
SIGNALS = ("a_to_4l", "lq_to_b_tau", "h_to_tau_tau", "h_to_tau_nu")
# The sample is made of 54 equal parts; the last two signals take the longest.
PARTS = {"w": 16, "z": 8, "gamma_jet": 8, "tt": 6}
PARTS |= {"a_to_4l": 5, "lq_to_b_tau": 5, "h_to_tau_tau": 4, "h_to_tau_nu": 2}
# Simulated before the cuts for each event wanted, several times what is needed.
PROCESSES_PER_EVENT = {"w": 25, "z": 15, "gamma_jet": 15, "tt": 15} | {
    "a_to_4l": 15,
    "lq_to_b_tau": 40,
    "h_to_tau_tau": 80,
    "h_to_tau_nu": 80,
}
# A lepton or photon of the hard process as an event that is kept must have it: (pT / GeV, |eta|).
HARD_LEPTON = {"w": (10.0, 3.0), "z": (10.0, 3.0), "gamma_jet": (18.0, 2.8), "tt": (15.0, 2.8)}
MIN_LEPTON_PT_GEV = 23.0
MIN_JET_PT_GEV = 15.0
MAX_JET_ETA = 3.0
LEPTON_FREE = 0.3  # jets closer to an electron or photon are that electron or photon
CHUNK_EVENTS = 250
BATCH_EVENTS = 50


def settings() -> dict[str, Any]:
    """Everything but seed and numbers that decides what an event looks like."""
    return {
        "versions": generation.versions(),
        "processes": {name: list(lines) for name, lines in PROCESSES.items()},
        "processes_per_event": PROCESSES_PER_EVENT,
        "hard_lepton": {name: list(cuts) for name, cuts in HARD_LEPTON.items()},
        "batch_events": BATCH_EVENTS,
        "detector_max_abs_eta": jet_detector.MAX_ABS_ETA,
        "lepton_pt_gev": [reconstruction.MIN_LEPTON_PT_GEV, MIN_LEPTON_PT_GEV],
        "lepton_max_abs_eta": reconstruction.MAX_LEPTON_ETA,
        "isolation": [
            reconstruction.SAME_SHOWER,
            reconstruction.ISOLATION_RADIUS,
            reconstruction.MAX_ISOLATION,
        ],
        "lepton_free": LEPTON_FREE,
        "jet_radius": reconstruction.JET_RADIUS,
        "jet_pt_gev": MIN_JET_PT_GEV,
        "jet_max_abs_eta": MAX_JET_ETA,
        "columns": list(COLUMNS),
        "lsb": LSB.tolist(),
    }


def recipe(events: int) -> generation.Recipe:
    """The recipe for so many events, in the proportions of `PARTS`.

    Raises:
        UsageError: a number that cannot be shared out so.
    """
    parts = sum(PARTS.values())
    if events <= 0 or events % parts:
        raise errors.UsageError(
            f"number of events: got {events}, wanted a positive multiple of {parts}"
        )
    counts = {name: events // parts * part for name, part in PARTS.items()}
    return generation.Recipe(counts, CHUNK_EVENTS, settings(), make_chunk, finish)


def make_chunk(chunk: Chunk) -> Arrays:
    """The `features` (events, 57) int16 of one chunk.

    `accepted_pb` (events,) is the cross section of the process times the share of its events that
    is kept, as this chunk estimates it. Raises `ToolError` if the collisions run out first.
    """
    name = chunk.class_name
    process_seed, shower_seed, detector_seed = chunk.seeds(3, jet_events.MAX_SEED)
    rng = np.random.Generator(np.random.PCG64(detector_seed))
    processes = PROCESSES_PER_EVENT[name] * chunk.events
    rows: list[npt.NDArray[np.int16]] = []
    showered = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "process.lhe"
        start = ("Beams:eCM = 13000.", *PROCESSES[name], "PartonLevel:all = off")
        pythia = jet_events.start_pythia(start, process_seed)
        written = jet_events.write_les_houches(path, pythia, processes, _wanted(name))
        cross_section_pb = pythia.infoPython().sigmaGen() * 1e9 * written / processes
        for events in _simulate(path, shower_seed, written, rng):
            showered += len(events)
            rows += [row for row in map(trigger_event, events, _jets(events)) if row is not None]
            if len(rows) >= chunk.events:
                accepted_pb = cross_section_pb * len(rows) / showered
                return {
                    "features": np.stack(rows[: chunk.events]),
                    "accepted_pb": np.full(chunk.events, accepted_pb),
                }
    raise errors.ToolError(
        f"chunk {chunk.index} of class {name}: got {len(rows)} events in {processes} collisions, "
        f"wanted {chunk.events}; try another seed"
    )


def _wanted(name: str) -> Callable[[list[Any]], bool] | None:
    """Which hard processes of this class may be kept; None: all."""
    if name not in HARD_LEPTON:
        return None
    min_pt, max_eta = HARD_LEPTON[name]

    def wanted(partons: list[Any]) -> bool:
        return any(
            parton.status() > 0
            and parton.idAbs() in (11, 13, 15, 22)
            and parton.pT() > min_pt
            and abs(parton.eta()) < max_eta
            for parton in partons
        )

    return wanted


def _simulate(path: Path, seed: int, count: int, rng: np.random.Generator) -> Iterator[list[Event]]:
    """Batches of measured events."""
    shower = ("Beams:frameType = 4", f"Beams:LHEF = {path}")
    pythia = jet_events.start_pythia(shower, seed)
    for record in jet_events.event_records(pythia, count, BATCH_EVENTS):
        particles = jet_events.final_particles(pythia, record)
        yield reconstruction.reconstruct(particles, len(record), rng)


def _jets(events: list[Event]) -> list[Kinematics]:
    return reconstruction.cluster([event.visible for event in events], MIN_JET_PT_GEV, MAX_JET_ETA)


def trigger_event(event: Event, jets: Kinematics) -> npt.NDArray[np.int16] | None:
    """The integers (57,) of an event; None if it has no lepton or photon above 23 GeV."""
    both = reconstruction.join([event.electrons, event.photons])
    egamma = reconstruction.isolated(both, event.visible)
    muons = event.muons.take(np.argsort(-event.muons.pt_gev, kind="stable"))
    if max([0.0, *egamma.pt_gev[:1], *muons.pt_gev[:1]]) < MIN_LEPTON_PT_GEV:
        return None
    if len(egamma):
        jets = jets.take((jets.distance(egamma) > LEPTON_FREE).all(axis=1))
    met = Kinematics(
        pt_gev=np.array([math.hypot(event.met_x_gev, event.met_y_gev)]),
        eta=np.zeros(1),
        phi=np.array([math.atan2(event.met_y_gev, event.met_x_gev)]),
        mass_gev=np.zeros(1),
    )
    return np.concatenate(
        [words(MET, met), words(EGAMMA, egamma), words(MUON, muons), words(JET, jets)]
    )


def finish(arrays: Arrays) -> Arrays:
    """What is written: the integers, and for each class the cross section of what is kept."""
    label, accepted_pb = arrays["label"], arrays["accepted_pb"]
    return {
        "features": np.asfortranarray(arrays["features"]),  # columns together compress better
        "label": label,
        "feature_names": np.array(COLUMNS),
        "lsb": LSB,
        "backgrounds": np.array(BACKGROUNDS),
        "accepted_pb": np.array(
            [accepted_pb[label == index].mean() for index in range(len(PROCESSES))]
        ),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 good, 2 wrong usage or tools, 130 interrupted."""
    options = generation.parser(
        "generate_anomaly", "Simulate trigger events of four backgrounds and four signals."
    )
    options.add_argument("--events", type=int, default=13500, help="in total (default 13500)")

    def chosen_recipe(chosen: argparse.Namespace) -> generation.Recipe:
        return recipe(chosen.events)

    return generation.command(options.parse_args(arguments), chosen_recipe)


if __name__ == "__main__":
    sys.exit(main())
