"""Jets from detector objects, and their grooming, by FastJet."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .jet_detector import Objects
from .jet_events import physics_package

__all__ = ["Constituents", "Jet", "find_jets", "four_vectors"]

JET_RADIUS = 0.8
MIN_JET_PT_GEV = 800.0
MAX_JET_PT_GEV = 1600.0
LEADING_JETS = 2
Z_CUT = 0.1
WHOLE_JET_RADIUS = 10.0  # larger than any distance in a jet: all constituents in one tree

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Constituents:
    """The objects of a jet; `rapidity` is y = ln((E + p_z) / (E - p_z)) / 2."""

    pt_gev: FloatArray
    rapidity: FloatArray
    phi: FloatArray
    mass_gev: FloatArray


@dataclass(frozen=True, eq=False)
class Jet:
    """A jet's constituents before and after grooming, and its ungroomed pT."""

    pt_gev: float
    ungroomed: Constituents
    groomed: Constituents


def find_jets(objects: Objects) -> list[Jet]:
    """The leading two jets of each event that have 0.8 < pT < 1.6 TeV, in event order.

    Jets: anti-kT with R = 0.8 (M. Cacciari, G. Salam, G. Soyez, arXiv:0802.1189). Grooming: the
    modified mass drop tagger (M. Dasgupta et al., arXiv:1307.0007), which is soft drop with
    beta = 0 (A. Larkoski et al., arXiv:1402.2657). The jet is clustered again with
    Cambridge/Aachen and unclustered along the harder branch until the softer one carries more
    than a tenth of the pT.
    """
    fastjet = physics_package("fastjet")
    awkward = physics_package("awkward")
    _, counts = np.unique(objects.event, return_counts=True)
    events = awkward.unflatten(_measured_vectors(objects), counts)
    clusters = fastjet.ClusterSequence(
        events, fastjet.JetDefinition(fastjet.antikt_algorithm, JET_RADIUS)
    )
    found = clusters.inclusive_jets(min_pt=MIN_JET_PT_GEV)
    pt = np.hypot(found.px, found.py)
    leading = awkward.argsort(pt, axis=1, ascending=False)[:, :LEADING_JETS]
    members = clusters.constituents(min_pt=MIN_JET_PT_GEV)[leading]
    in_window = pt[leading] < MAX_JET_PT_GEV
    jets = awkward.flatten(members[in_window], axis=1)
    jet_pt = awkward.to_numpy(awkward.flatten(pt[leading][in_window]))
    if len(jets) == 0:
        return []
    groomed = fastjet.ClusterSequence(
        jets, fastjet.JetDefinition(fastjet.cambridge_algorithm, WHOLE_JET_RADIUS)
    ).exclusive_jets_softdrop_grooming(beta=0.0, symmetry_cut=Z_CUT, R0=JET_RADIUS)
    return [
        Jet(float(jet_pt[i]), _constituents(jets[i]), _constituents(groomed.constituents[i]))
        for i in range(len(jets))
    ]


def _measured_vectors(objects: Objects) -> Any:
    """The objects' four-vectors in FastJet's Cartesian form."""
    return _cartesian(
        objects.pt_gev, objects.pt_gev * np.sinh(objects.eta), objects.phi, objects.mass_gev
    )


def four_vectors(constituents: Constituents) -> Any:
    """The constituents' four-vectors in FastJet's Cartesian form."""
    transverse_mass = np.hypot(constituents.pt_gev, constituents.mass_gev)
    pz = transverse_mass * np.sinh(constituents.rapidity)
    return _cartesian(constituents.pt_gev, pz, constituents.phi, constituents.mass_gev)


def _cartesian(pt: FloatArray, pz: FloatArray, phi: FloatArray, mass: FloatArray) -> Any:
    energy = np.sqrt(pt**2 + pz**2 + mass**2)
    return physics_package("awkward").zip(
        {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pz, "E": energy}
    )


def _constituents(vectors: Any) -> Constituents:
    """The constituents from four-vectors."""
    px, py, pz, energy = (
        np.asarray(vectors[name], dtype=np.float64) for name in ("px", "py", "pz", "E")
    )
    mass = np.sqrt(np.maximum(energy**2 - px**2 - py**2 - pz**2, 0))
    return Constituents(np.hypot(px, py), np.arctanh(pz / energy), np.arctan2(py, px), mass)
