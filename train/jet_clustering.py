"""Jets from detector objects, and their grooming, by FastJet."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .jet_detector import Objects
from .jet_events import physics_package

__all__ = ["Constituents", "Jet", "find_jets"]

JET_RADIUS = 0.8
MIN_JET_PT_GEV = 800.0
MAX_JET_PT_GEV = 1600.0
LEADING_JETS = 2
Z_CUT = 0.1
WHOLE_JET_RADIUS = 10.0  # larger than any distance in a jet: all constituents in one tree

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Constituents:
    """The massless objects of a jet."""

    pt_gev: FloatArray
    eta: FloatArray
    phi: FloatArray


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
    beta = 0 (A. Larkoski et al., arXiv:1402.2657): the jet is clustered again with Cambridge/Aachen and
    unclustered along the harder branch until the softer one carries at least a tenth of the pT.
    """
    fastjet = physics_package("fastjet")
    awkward = physics_package("awkward")
    _, counts = np.unique(objects.event, return_counts=True)
    events = awkward.unflatten(_four_vectors(objects.pt_gev, objects.eta, objects.phi), counts)
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


def _four_vectors(pt: FloatArray, eta: FloatArray, phi: FloatArray) -> Any:
    """Massless four-vectors in FastJet's Cartesian form."""
    return physics_package("awkward").zip(
        {
            "px": pt * np.cos(phi),
            "py": pt * np.sin(phi),
            "pz": pt * np.sinh(eta),
            "E": pt * np.cosh(eta),
        }
    )


def _constituents(vectors: Any) -> Constituents:
    """The massless constituents from four-vectors."""
    px, py, pz = (np.asarray(vectors[name], dtype=np.float64) for name in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    return Constituents(pt, np.arcsinh(pz / pt), np.arctan2(py, px))
