"""Makes top quark pairs with one lepton: `python -m samebits.train.generate_ttbar -o ttbar.npz`.

pp at 13 TeV, gg or qqbar -> ttbar, one W to quarks, the other to an electron or a muon. Kept are
events with an isolated lepton and at least four jets, the four hardest of which belong one to one
to the four quarks of the decays: so it is known which jet is which.

Needs the extra `physics` (Pythia 8, FastJet).
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from . import generation, jet_detector, jet_events, reconstruction
from .chunks import Arrays, Chunk
from .jet_events import physics_package
from .reconstruction import Event, Kinematics

__all__ = [
    "CLASS_NAMES",
    "Measured",
    "main",
    "make_chunk",
    "match",
    "measured",
    "recipe",
    "settings",
]

PROCESS = (
    "Beams:eCM = 13000.",
    "Top:gg2ttbar = on",
    "Top:qqbar2ttbar = on",
    "6:onMode = off",
    "6:onIfMatch = 24 5",
    "24:onMode = off",
)
DECAYS = {
    "lepton_plus": ("24:onPosIfAny = 11 13", "24:onNegIfAny = 1 2 3 4 5"),
    "lepton_minus": ("24:onPosIfAny = 1 2 3 4 5", "24:onNegIfAny = 11 13"),
}
CLASS_NAMES = tuple(DECAYS)
PROCESS_LEVEL = "PartonLevel:all = off"
JETS = 4
MIN_LEPTON_PT_GEV = 25.0
MIN_JET_PT_GEV = 25.0
MAX_ABS_ETA = 2.5
MAX_MATCH_DISTANCE = 0.3
LEPTON_FREE = 0.3  # jets closer to the lepton are the lepton
# Before shower and detector; well below the cuts on what is measured.
MIN_QUARK_PT_GEV = 18.0
MAX_QUARK_ETA = 2.8
TAG_RATES = {5: 0.70, 4: 0.15}  # jets of b and c quarks
LIGHT_TAG_RATE = 0.01
CHUNK_EVENTS = 500
BATCH_EVENTS = 50
PROCESSES_PER_EVENT = 60

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """One selected event.

    `jets` (4, 4): pT, eta, phi, mass of the four hardest; `lepton` and `met` as (pT, eta, phi) and
    (pT, phi); `b_tag` (4,); `assignment` (4,): which jet belongs to the b quark beside the W to
    quarks, to the two quarks of that W (the harder jet first) and to the b quark beside the lepton.
    """

    jets: FloatArray
    b_tag: npt.NDArray[np.int8]
    lepton: FloatArray
    met: FloatArray
    assignment: npt.NDArray[np.int8]


def settings() -> dict[str, Any]:
    """Everything but seed and numbers that decides what an event looks like."""
    return {
        "versions": generation.versions(),
        "process": list(PROCESS),
        "decays": {name: list(lines) for name, lines in DECAYS.items()},
        "batch_events": BATCH_EVENTS,
        "detector_max_abs_eta": jet_detector.MAX_ABS_ETA,
        "jet_radius": reconstruction.JET_RADIUS,
        "isolation": [
            reconstruction.SAME_SHOWER,
            reconstruction.ISOLATION_RADIUS,
            reconstruction.MAX_ISOLATION,
        ],
        "lepton_pt_gev": MIN_LEPTON_PT_GEV,
        "jet_pt_gev": MIN_JET_PT_GEV,
        "max_abs_eta": MAX_ABS_ETA,
        "match_distance": MAX_MATCH_DISTANCE,
        "lepton_free": LEPTON_FREE,
        "quark_pt_gev": MIN_QUARK_PT_GEV,
        "quark_max_abs_eta": MAX_QUARK_ETA,
        "tag_rates": [TAG_RATES[5], TAG_RATES[4], LIGHT_TAG_RATE],
    }


def recipe(events: int) -> generation.Recipe:
    """The recipe for so many events, half of them with a positive lepton.

    Raises:
        UsageError: no positive even number.
    """
    if events <= 0 or events % len(CLASS_NAMES):
        raise errors.UsageError(f"number of events: got {events}, wanted a positive even number")
    counts = dict.fromkeys(CLASS_NAMES, events // len(CLASS_NAMES))
    return generation.Recipe(counts, CHUNK_EVENTS, settings(), make_chunk, finish)


def make_chunk(chunk: Chunk) -> Arrays:
    """The arrays of `Measured` for the events of one chunk.

    Raises `ToolError` if the collisions run out first.
    """
    process_seed, shower_seed, detector_seed = chunk.seeds(3, jet_events.MAX_SEED)
    rng = np.random.Generator(np.random.PCG64(detector_seed))
    kept: list[Measured] = []
    for events, quarks in _simulate(chunk, process_seed, shower_seed, rng):
        leptons = [_lepton(event) for event in events]
        jets = reconstruction.cluster(
            [event.visible for event in events], MIN_JET_PT_GEV, MAX_ABS_ETA
        )
        for event, lepton, mine, truth in zip(events, leptons, jets, quarks, strict=True):
            found = None if lepton is None else measured(event, lepton, mine, truth, rng)
            if found is not None:
                kept.append(found)
        if len(kept) >= chunk.events:
            rows = [asdict(event) for event in kept[: chunk.events]]
            return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    raise errors.ToolError(
        f"chunk {chunk.index} of class {chunk.class_name}: got {len(kept)} events in "
        f"{PROCESSES_PER_EVENT * chunk.events} collisions, wanted {chunk.events}; try another seed"
    )


def _simulate(
    chunk: Chunk, process_seed: int, shower_seed: int, rng: np.random.Generator
) -> Iterator[tuple[list[Event], list[tuple[npt.NDArray[np.int64], Kinematics]]]]:
    """Batches of events and of their quarks."""
    process = (*PROCESS, *DECAYS[chunk.class_name], PROCESS_LEVEL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ttbar.lhe"
        pythia = jet_events.start_pythia(process, process_seed)
        jet_events.write_les_houches(path, pythia, PROCESSES_PER_EVENT * chunk.events, _may_be_kept)
        shower = ("Beams:frameType = 4", f"Beams:LHEF = {path}")
        pythia = jet_events.start_pythia(shower, shower_seed)
        for record in jet_events.event_records(
            pythia, PROCESSES_PER_EVENT * chunk.events, BATCH_EVENTS
        ):
            particles = jet_events.final_particles(pythia, record)
            yield reconstruction.reconstruct(particles, len(record), rng), _quarks(record)


def _may_be_kept(partons: list[Any]) -> bool:
    """Whether quarks and lepton may pass the cuts."""
    seen = [parton for parton in partons if parton.status() > 0 and parton.idAbs() not in (12, 14)]
    return all(
        parton.pT() > MIN_QUARK_PT_GEV and abs(parton.eta()) < MAX_QUARK_ETA for parton in seen
    )


def _quarks(record: Any) -> list[tuple[npt.NDArray[np.int64], Kinematics]]:
    """PDG numbers and momenta of the four quarks of each event: b, the W's two, the other b.

    The first b quark is the one beside the W that decays to quarks.
    """
    awkward = physics_package("awkward")
    hard = record[abs(record.status) == 23]
    quarks = []
    for event in hard:
        pdg_id = awkward.to_numpy(event.id)
        px, py, pz = (awkward.to_numpy(event.p[name]) for name in ("px", "py", "pz"))
        lepton_charge = -np.sign(pdg_id[np.isin(np.abs(pdg_id), (11, 13))][0])
        # t -> b W+: the b quark is beside the lepton if the lepton is positive.
        beside_lepton = np.flatnonzero(pdg_id == 5 * lepton_charge)[0]
        beside_quarks = np.flatnonzero(pdg_id == -5 * lepton_charge)[0]
        others = [
            i for i in np.flatnonzero(np.abs(pdg_id) < 6) if i not in (beside_lepton, beside_quarks)
        ]
        order = np.array([beside_quarks, *others, beside_lepton])
        pt = np.hypot(px, py)
        momenta = Kinematics(pt, np.arcsinh(pz / pt), np.arctan2(py, px), np.zeros(len(pt)))
        quarks.append((pdg_id[order].astype(np.int64), momenta.take(order)))
    return quarks


def _lepton(event: Event) -> Kinematics | None:
    """The one isolated electron or muon, if there is exactly one."""
    found = [
        leptons.take(leptons.pt_gev > MIN_LEPTON_PT_GEV)
        for leptons in (
            reconstruction.isolated(event.electrons, event.visible),
            reconstruction.isolated(event.muons, event.visible),
        )
    ]
    return None if sum(map(len, found)) != 1 else max(found, key=len)


def measured(
    event: Event,
    lepton: Kinematics,
    jets: Kinematics,
    truth: tuple[npt.NDArray[np.int64], Kinematics],
    rng: np.random.Generator,
) -> Measured | None:
    """The event, if its four hardest jets are those of its four quarks."""
    jets = jets.take(jets.distance(lepton)[:, 0] > LEPTON_FREE)
    if len(jets) < JETS:
        return None
    jets = jets.take(slice(0, JETS))
    pdg_id, quarks = truth
    matched = match(quarks, jets)
    if matched is None:
        return None
    rates = np.empty(JETS)
    rates[matched] = [TAG_RATES.get(abs(int(quark)), LIGHT_TAG_RATE) for quark in pdg_id]
    return Measured(
        jets=np.stack([jets.pt_gev, jets.eta, jets.phi, jets.mass_gev], axis=1),
        b_tag=(rng.random(JETS) < rates).astype(np.int8),
        lepton=np.array([lepton.pt_gev[0], lepton.eta[0], lepton.phi[0]]),
        met=np.array(
            [
                np.hypot(event.met_x_gev, event.met_y_gev),
                np.arctan2(event.met_y_gev, event.met_x_gev),
            ]
        ),
        assignment=np.array([matched[0], *sorted(matched[1:3]), matched[3]], dtype=np.int8),
    )


def match(quarks: Kinematics, jets: Kinematics) -> list[int] | None:
    """The number of the jet of each quark; None unless they belong together one to one.

    Of all permutations the one is taken whose largest distance is smallest; it must be below 0.3.
    """
    distance = quarks.distance(jets)
    rows = np.arange(JETS)
    best = min(
        itertools.permutations(range(JETS)), key=lambda jet: float(distance[rows, list(jet)].max())
    )
    if distance[rows, list(best)].max() >= MAX_MATCH_DISTANCE:
        return None
    return list(best)


def finish(arrays: Arrays) -> Arrays:
    """What is written: float16 for momenta in GeV, pseudorapidities and azimuths."""
    halves = {
        name: np.asfortranarray(generation.as_float16(name, arrays[name]))
        for name in ("jets", "lepton", "met")
    }
    return {**halves, **{name: arrays[name] for name in ("b_tag", "assignment", "label")}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 good, 2 wrong usage or tools, 130 interrupted."""
    options = generation.parser(
        "generate_ttbar", "Simulate top quark pairs with a lepton and four jets of known origin."
    )
    options.add_argument("--events", type=int, default=8000, help="in total (default 8000)")

    def chosen_recipe(chosen: argparse.Namespace) -> generation.Recipe:
        return recipe(chosen.events)

    return generation.command(options.parse_args(arguments), chosen_recipe)


if __name__ == "__main__":
    sys.exit(main())
