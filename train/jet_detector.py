"""A simple detector: tracks, two calorimeters with cells, and Gaussian resolutions.

The model and its numbers are those of the public LHC jet set (E. Coleman et al., "The importance of
calorimetry for highly-boosted jet substructure", arXiv:1709.08705; the setting called
h022_e0175_t220), as read from its description:

* neutrinos and everything beyond |eta| = 3 is lost;
* a charged particle is a track with its own direction; a charged hadron above 220 GeV of pT is not
  measured as a track but deposits its energy in the hadron calorimeter;
* photons deposit their energy in cells of 0.0175 x 0.0175 in eta and phi, hadrons without a track
  in cells of 0.022 x 0.022; a cell is one massless object in the direction of its centre;
* every track is taken for a charged pion.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .jet_events import Particles

__all__ = [
    "Objects",
    "hadron_resolution",
    "measure",
    "photon_resolution",
    "sum_in_cells",
    "track_resolution",
]

MAX_ABS_ETA = 3.0
PHOTON_CELL = 0.0175
HADRON_CELL = 0.022
MAX_TRACK_PT_GEV = 220.0
TRACK_MASS_GEV = 0.13957  # the charged pion's (Particle Data Group)
MIN_ENERGY_GEV = 0.001  # after smearing; an object without energy has no direction

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Objects:
    """What the detector has measured, sorted by `event`; `eta` is the pseudorapidity."""

    event: IntArray
    pt_gev: FloatArray
    eta: FloatArray
    phi: FloatArray
    mass_gev: FloatArray


def track_resolution(pt_gev: FloatArray) -> FloatArray:
    """Relative resolution of a track's pT: 0.025 % x pT / GeV (+) 1.5 %."""
    return np.hypot(0.00025 * pt_gev, 0.015)


def photon_resolution(energy_gev: FloatArray) -> FloatArray:
    """Relative resolution of a photon cell's energy: its stochastic, noise and constant terms."""
    return np.sqrt(0.027**2 * 1.6 / energy_gev + (0.24 / energy_gev) ** 2 + 0.005**2)


def hadron_resolution(energy_gev: FloatArray) -> FloatArray:
    """Relative resolution of a hadron cell's energy: its stochastic and constant terms."""
    return np.sqrt(1.2**2 * 7 / energy_gev + 0.05**2)


def measure(particles: Particles, rng: np.random.Generator) -> Objects:
    """What the detector sees of these particles."""
    pt = np.hypot(particles.px_gev, particles.py_gev)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.arcsinh(particles.pz_gev / pt)  # infinite along the beam
    phi = np.arctan2(particles.py_gev, particles.px_gev)
    kind = np.abs(particles.pdg_id)
    seen = (np.abs(eta) < MAX_ABS_ETA) & ~np.isin(kind, (12, 14, 16))
    hadron = kind > 100
    charged = particles.charge != 0
    photon = kind == 22
    track = seen & charged & ~(hadron & (pt > MAX_TRACK_PT_GEV))
    in_photon_cells = seen & photon
    in_hadron_cells = seen & ~track & ~photon

    true_pt = pt[track]
    track_pt = true_pt * (1 + track_resolution(true_pt) * rng.standard_normal(len(true_pt)))
    track_mass = np.full(len(true_pt), TRACK_MASS_GEV)
    parts = [Objects(particles.event[track], track_pt, eta[track], phi[track], track_mass)]
    for chosen, cell, resolution in (
        (in_photon_cells, PHOTON_CELL, photon_resolution),
        (in_hadron_cells, HADRON_CELL, hadron_resolution),
    ):
        energy = pt[chosen] * np.cosh(eta[chosen])
        event, energy, cell_eta, cell_phi = sum_in_cells(
            particles.event[chosen], energy, eta[chosen], phi[chosen], cell
        )
        energy = energy * (1 + resolution(energy) * rng.standard_normal(len(energy)))
        massless = np.zeros(len(energy))
        parts.append(Objects(event, energy / np.cosh(cell_eta), cell_eta, cell_phi, massless))
    return _sorted_and_visible(parts)


def sum_in_cells(
    event: IntArray, energy_gev: FloatArray, eta: FloatArray, phi: FloatArray, cell: float
) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """The energies of each event's hit cells: event, energy, eta and phi of the cell's centre.

    Cells are numbered from eta = 0 and phi = 0; the last one before phi = 2 pi is narrower.
    """
    row = np.floor(eta / cell).astype(np.int64)
    column = np.floor(np.mod(phi, 2 * np.pi) / cell).astype(np.int64)
    keys, position = np.unique(np.stack([event, row, column]), axis=1, return_inverse=True)
    total = np.zeros(keys.shape[1])
    np.add.at(total, position.ravel(), energy_gev)
    centres = (keys[1:].astype(np.float64) + 0.5) * cell
    return keys[0].astype(np.int64), total, centres[0], centres[1]


def _sorted_and_visible(parts: list[Objects]) -> Objects:
    """All objects with at least 1 MeV of momentum, event by event."""
    event = np.concatenate([part.event for part in parts])
    pt = np.concatenate([part.pt_gev for part in parts])
    eta = np.concatenate([part.eta for part in parts])
    phi = np.concatenate([part.phi for part in parts])
    mass = np.concatenate([part.mass_gev for part in parts])
    kept = np.flatnonzero(pt * np.cosh(eta) >= MIN_ENERGY_GEV)
    order = kept[np.argsort(event[kept], kind="stable")]
    return Objects(event[order], pt[order], eta[order], phi[order], mass[order])
