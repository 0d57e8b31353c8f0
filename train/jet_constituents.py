"""The leading constituents of a jet as network inputs."""

import numpy as np
import numpy.typing as npt

from .jet_clustering import Constituents

__all__ = ["CONSTITUENT_COLUMNS", "leading_constituents"]

CONSTITUENT_COLUMNS = ("pt_over_jet_pt", "deta", "dphi")

FloatArray = npt.NDArray[np.float64]


def leading_constituents(jet: Constituents, count: int) -> FloatArray:
    """The `count` constituents of the highest pT (count, 3), zeros where the jet has fewer.

    Columns: pT over the jet's pT, pseudorapidity and azimuth relative to the jet's axis, which is
    the direction of the sum of all constituents.
    """
    px, py = jet.pt_gev * np.cos(jet.phi), jet.pt_gev * np.sin(jet.phi)
    pz = np.hypot(jet.pt_gev, jet.mass_gev) * np.sinh(jet.rapidity)
    jet_px, jet_py, jet_pz = px.sum(), py.sum(), pz.sum()
    jet_pt = np.hypot(jet_px, jet_py)
    d_eta = np.arcsinh(pz / jet.pt_gev) - np.arcsinh(jet_pz / jet_pt)
    d_phi = np.mod(jet.phi - np.arctan2(jet_py, jet_px) + np.pi, 2 * np.pi) - np.pi
    order = np.argsort(-jet.pt_gev, kind="stable")[:count]
    leading = np.zeros((count, len(CONSTITUENT_COLUMNS)))
    leading[: len(order)] = np.stack([jet.pt_gev / jet_pt, d_eta, d_phi], axis=1)[order]
    return leading
