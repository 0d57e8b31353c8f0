"""Leptons, photons, jets and missing momentum of whole events, from simulated particles.

The detector is that of `jet_detector`; here it measures every kind of particle on its own, so that
it is known what each object is. Particle identification is perfect.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .jet_detector import Objects, measure
from .jet_events import Particles, physics_package

__all__ = [
    "Event",
    "Kinematics",
    "cluster",
    "isolated",
    "join",
    "reconstruct",
    "select",
    "wrap",
]

JET_RADIUS = 0.4
MAX_LEPTON_ETA = 2.5
MIN_LEPTON_PT_GEV = 5.0
ISOLATION_RADIUS = 0.3
SAME_SHOWER = 0.05  # what is closer belongs to the candidate itself: split cells, radiated photons
MAX_ISOLATION = 0.2

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Kinematics:
    """Some objects of one event: transverse momentum, pseudorapidity, azimuth, mass."""

    pt_gev: FloatArray
    eta: FloatArray
    phi: FloatArray
    mass_gev: FloatArray

    def __len__(self) -> int:
        return len(self.pt_gev)

    def take(self, chosen: Any) -> "Kinematics":
        """The objects that an index or mask chooses."""
        return Kinematics(
            self.pt_gev[chosen], self.eta[chosen], self.phi[chosen], self.mass_gev[chosen]
        )

    def distance(self, other: "Kinematics") -> FloatArray:
        """The distances (len(self), len(other)) in pseudorapidity and azimuth."""
        return np.hypot(self.eta[:, None] - other.eta, wrap(self.phi[:, None] - other.phi))


@dataclass(frozen=True, eq=False)
class Event:
    """What the detector has seen of one event.

    `electrons` and `muons` have more than 5 GeV within |eta| < 2.5, `photons` too; `visible` is
    everything but muons. `met_x_gev` and `met_y_gev` are minus the sum of all transverse momenta.
    """

    electrons: Kinematics
    photons: Kinematics
    muons: Kinematics
    visible: Kinematics
    met_x_gev: float
    met_y_gev: float


def wrap(angle: FloatArray) -> FloatArray:
    """The same angle from -pi up to pi."""
    return np.mod(angle + np.pi, 2 * np.pi) - np.pi


def reconstruct(particles: Particles, events: int, rng: np.random.Generator) -> list[Event]:
    """The `events` events, measured, in their order."""
    kind = np.abs(particles.pdg_id)
    seen = [
        _by_event(measure(select(particles, mask), rng), events)
        for mask in (kind == 11, kind == 22, kind == 13, ~np.isin(kind, (11, 13, 22)))
    ]
    return [_event(*kinds) for kinds in zip(*seen, strict=True)]


def select(particles: Particles, mask: BoolArray) -> Particles:
    """The particles that the mask chooses."""
    return Particles(
        **{part.name: getattr(particles, part.name)[mask] for part in fields(Particles)}
    )


def join(parts: Sequence[Kinematics]) -> Kinematics:
    """All objects of the parts, in their order."""
    return Kinematics(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Kinematics)
        )
    )


def isolated(candidates: Kinematics, visible: Kinematics) -> Kinematics:
    """The candidates, hardest first, around which there is little else.

    The transverse momenta between 0.05 and 0.3 around a candidate add up to less than a fifth of
    its own. Of candidates closer than 0.05 the hardest is kept.
    """
    candidates = candidates.take(np.argsort(-candidates.pt_gev, kind="stable"))
    distance = candidates.distance(visible)
    ring = (distance > SAME_SHOWER) & (distance < ISOLATION_RADIUS)
    alone = (ring * visible.pt_gev).sum(axis=1) < MAX_ISOLATION * candidates.pt_gev
    near = np.tril(candidates.distance(candidates) < SAME_SHOWER, k=-1)
    return candidates.take(alone & ~near.any(axis=1))


def cluster(
    inputs: Sequence[Kinematics], min_pt_gev: float, max_abs_eta: float
) -> list[Kinematics]:
    """Each event's jets, hardest first: anti-kT, R = 0.4 (arXiv:0802.1189)."""
    fastjet = physics_package("fastjet")
    awkward = physics_package("awkward")
    counts = [len(event) for event in inputs]
    every = join(inputs)
    pt, eta, phi, mass = every.pt_gev, every.eta, every.phi, every.mass_gev
    pz = pt * np.sinh(eta)
    vectors = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pz}
    vectors["E"] = np.sqrt(pt**2 + pz**2 + mass**2)
    found = fastjet.ClusterSequence(
        awkward.unflatten(awkward.zip(vectors), counts),
        fastjet.JetDefinition(fastjet.antikt_algorithm, JET_RADIUS),
    ).inclusive_jets(min_pt=min_pt_gev)
    numbers = awkward.to_numpy(awkward.num(found.px))
    px, py, pz, energy = (
        awkward.to_numpy(awkward.flatten(found[name])) for name in ("px", "py", "pz", "E")
    )
    mass = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0))
    pt = np.hypot(px, py)
    every = Kinematics(pt, np.arcsinh(pz / pt), np.arctan2(py, px), mass)
    jets = []
    for end, number in zip(np.cumsum(numbers), numbers, strict=True):
        mine = every.take(slice(end - number, end))
        mine = mine.take(np.abs(mine.eta) < max_abs_eta)
        jets.append(mine.take(np.argsort(-mine.pt_gev, kind="stable")))
    return jets


def _by_event(objects: Objects, events: int) -> list[Kinematics]:
    """The objects of each event, also of those without any."""
    every = Kinematics(objects.pt_gev, objects.eta, objects.phi, objects.mass_gev)
    limits = np.searchsorted(objects.event, np.arange(events + 1))
    return [every.take(slice(start, end)) for start, end in itertools.pairwise(limits)]


def _event(
    electrons: Kinematics, photons: Kinematics, muons: Kinematics, hadrons: Kinematics
) -> Event:
    visible = join([electrons, photons, hadrons])
    pt = np.concatenate([visible.pt_gev, muons.pt_gev])
    phi = np.concatenate([visible.phi, muons.phi])
    return Event(
        _good_leptons(electrons),
        _good_leptons(photons),
        _good_leptons(muons),
        visible,
        -float((pt * np.cos(phi)).sum()),
        -float((pt * np.sin(phi)).sum()),
    )


def _good_leptons(leptons: Kinematics) -> Kinematics:
    good = (leptons.pt_gev > MIN_LEPTON_PT_GEV) & (np.abs(leptons.eta) < MAX_LEPTON_ETA)
    return leptons.take(good)
