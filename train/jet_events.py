"""Simulated proton collisions with two boosted jets of one class, by Pythia 8.

Classes and processes, all at 13 TeV with 995 < pTHat < 1005 GeV and Pythia's default tune:

    g   gg -> gg, qqbar -> gg            q   qq -> qq, gg -> qqbar, qqbar -> q'qbar' (uds)
    w   qqbar -> WW                      z   qqbar -> ZZ (no photon part)
    t   gg -> ttbar, qqbar -> ttbar      W and Z decay to quarks only

For w, z and t the hard process is first written undecayed as a Les Houches file and then showered
and decayed, so that the decays are isotropic: this is how the public LHC jet set was made
(E. Coleman et al., arXiv:1709.08705; J. Duarte et al., arXiv:1804.06913). W, Z and t are on their
mass shell there; off it, Pythia's boson pairs have a tail of 10 % above 270 GeV at this pTHat.
"""

import importlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

__all__ = [
    "CLASS_NAMES",
    "COMMON",
    "PROCESSES",
    "Particles",
    "event_records",
    "final_particles",
    "physics_package",
    "simulate_events",
    "start_pythia",
    "write_les_houches",
]

CLASS_NAMES = ("g", "q", "w", "z", "t")
COMMON = (
    "Beams:eCM = 13000.",
    "PhaseSpace:pTHatMin = 995.",
    "PhaseSpace:pTHatMax = 1005.",
)
PROCESSES = {
    "g": ("HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on"),
    "q": (
        "HardQCD:qq2qq = on",
        "HardQCD:gg2qqbar = on",
        "HardQCD:qqbar2qqbarNew = on",
        "HardQCD:nQuarkNew = 3",
    ),
    "w": ("WeakDoubleBoson:ffbar2WW = on",),
    "z": ("WeakDoubleBoson:ffbar2gmZgmZ = on", "WeakZ0:gmZmode = 2"),
    "t": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on"),
}
UNDECAYED_FIRST = ("w", "z", "t")
UNDECAYED = (
    "ProcessLevel:resonanceDecays = off",
    "PartonLevel:all = off",
    "PhaseSpace:useBreitWigners = off",
)
TO_QUARKS = (
    "23:onMode = off",
    "23:onIfAny = 1 2 3 4 5",
    "24:onMode = off",
    "24:onIfAny = 1 2 3 4 5",
)
MAX_SEED = 900_000_000  # Pythia's Random:seed

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Particles:
    """The final particles of some events: `event` is the event's number, momenta in GeV.

    `pdg_id` is the Particle Data Group's number, `charge` the electric charge in units of e.
    """

    event: IntArray
    pdg_id: IntArray
    charge: FloatArray
    px_gev: FloatArray
    py_gev: FloatArray
    pz_gev: FloatArray


def physics_package(name: str) -> ModuleType:
    """The imported package of the extra `physics`; raises `MissingToolError` without it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.MissingToolError(
            f"simulating collisions needs the package {name}, which is not installed; "
            'run: pip install "samebits[physics]"'
        ) from error


def simulate_events(
    class_name: str, process_seed: int, shower_seed: int, events: int, batch: int
) -> Iterator[Particles]:
    """At most `events` collisions of one class, in batches; equal seeds give equal events."""
    process = (*COMMON, *PROCESSES[class_name])
    if class_name not in UNDECAYED_FIRST:
        yield from _batches(start_pythia((*process, *TO_QUARKS), shower_seed), events, batch)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "undecayed.lhe"
        write_les_houches(path, start_pythia((*process, *UNDECAYED), process_seed), events)
        shower = ("Beams:frameType = 4", f"Beams:LHEF = {path}", *TO_QUARKS)
        yield from _batches(start_pythia(shower, shower_seed), events, batch)


def write_les_houches(
    path: Path, pythia: Any, events: int, wanted: Callable[[list[Any]], bool] | None = None
) -> int:
    """Writes hard processes as a Les Houches event file (J. Alwall et al., hep-ph/0609017).

    Of `events` processes those are written whose partons are `wanted`; returns their number.
    SCALUP, where the shower starts, is Pythia's renormalisation scale as in its own
    LHAupFromPYTHIA8. The cross section is a stand-in: all events have weight 1 (IDWTUP = 3).
    """
    lines = ['<LesHouchesEvents version="1.0">', "<init>"]
    lines += ["2212 2212 6500. 6500. 0 0 0 0 3 1", "1. 0. 1. 9999", "</init>"]
    written = 0
    for _ in range(events):
        if not pythia.next():
            continue
        info = pythia.infoPython()
        partons = list(pythia.process)[3:]  # after the system and the two beams
        if wanted is not None and not wanted(partons):
            continue
        written += 1
        lines.append("<event>")
        lines.append(
            f"{len(partons)} 9999 1. {info.QRen():.10e} {info.alphaEM():.10e} {info.alphaS():.10e}"
        )
        for parton in partons:
            # Row 3 of the process record, the first incoming parton, is row 1 here.
            mothers = f"{max(parton.mother1() - 2, 0)} {max(parton.mother2() - 2, 0)}"
            status = 1 if parton.status() > 0 else -1 if parton.status() == -21 else 2
            momentum = (parton.px(), parton.py(), parton.pz(), parton.e(), parton.m())
            lines.append(
                f"{parton.id()} {status} {mothers} {parton.col()} {parton.acol()} "
                + " ".join(f"{value:.10e}" for value in momentum)
                + " 0. 9."  # no lifetime, no polarisation
            )
        lines.append("</event>")
    lines.append("</LesHouchesEvents>")
    path.write_text("\n".join(lines) + "\n")
    return written


def start_pythia(settings: tuple[str, ...], seed: int) -> Any:
    """A Pythia generator with these settings, ready for events.

    Raises:
        ToolError: Pythia refuses a setting or does not start.
    """
    pythia = physics_package("pythia8mc").Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}", *settings):
        if not pythia.readString(line):
            raise errors.ToolError(f"Pythia refuses the setting '{line}'; check its version")
    if not pythia.init():
        raise errors.ToolError(f"Pythia cannot start with the settings {', '.join(settings)}")
    return pythia


def _batches(pythia: Any, events: int, batch: int) -> Iterator[Particles]:
    """The final particles of the next events, `batch` events at a time."""
    for record in event_records(pythia, events, batch):
        yield final_particles(pythia, record)


def event_records(pythia: Any, events: int, batch: int) -> Iterator[Any]:
    """Pythia's whole event records of the next events, `batch` events at a time."""
    for start in range(0, events, batch):
        record = pythia.nextBatch(min(batch, events - start))
        if len(record) == 0:
            return
        yield record.prt


def final_particles(pythia: Any, record: Any) -> Particles:
    """The particles that reach the detector (status > 0) out of Pythia's whole event record."""
    awkward = physics_package("awkward")
    final = record[record.status > 0]
    counts = awkward.to_numpy(awkward.num(final.id))

    def flat(values: Any, kind: type) -> Any:
        return awkward.to_numpy(awkward.flatten(values)).astype(kind)

    pdg_id = flat(final.id, np.int64)
    kinds, position = np.unique(pdg_id, return_inverse=True)
    charges = np.array([pythia.particleData.charge(int(kind)) for kind in kinds], dtype=np.float64)
    return Particles(
        event=np.repeat(np.arange(len(counts)), counts),
        pdg_id=pdg_id,
        charge=charges[position],
        px_gev=flat(final.p.px, np.float64),
        py_gev=flat(final.p.py, np.float64),
        pz_gev=flat(final.p.pz, np.float64),
    )
