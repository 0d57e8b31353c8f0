"""The 16 substructure features of a jet, from its constituents, in NumPy alone.

With z_i = pT_i / sum(pT) and theta_ij^2 = (y_i - y_j)^2 + (phi_i - phi_j)^2 over the groomed
constituents (y is the rapidity), the energy correlation functions are (I. Moult, L. Necib,
J. Thaler, arXiv:1609.07483, section 2):

    e2(b)  = sum_{i<j}   z_i z_j     theta_ij^b
    1e3(b) = sum_{i<j<k} z_i z_j z_k m1^b
    2e3(b) = sum_{i<j<k} z_i z_j z_k (m1 m2)^b
    e3(b)  = sum_{i<j<k} z_i z_j z_k (m1 m2 m3)^b     m1 <= m2 <= m3: the three distances

The features, in the order of `FEATURE_NAMES` (the order of the public LHC jet set):

    zlogz        = sum (E_i / E) ln(E_i / E)             all constituents of the ungroomed jet
    c1(b)        = e2(b)                                 b = 0, 1, 2      arXiv:1305.0007
    c2(b)        = e3(b) / e2(b)^2                                        arXiv:1305.0007
    d2(b)        = e3(b) / e2(b)^3                                        arXiv:1409.6298
    d2_a1_b1     = e3(1) / e2(1)^(3 x 1/1) = d2(1)       a duplicate that the public set also has
    d2_a1_b2     = e3(1) / e2(2)^(3 x 1/2)                                arXiv:1409.6298
    m2(b)        = 1e3(b) / e2(b)                                         arXiv:1609.07483
    n2(b)        = 2e3(b) / e2(b)^2                                       arXiv:1609.07483
    mass         = sqrt((sum E_i)^2 - (sum p_i)^2) in GeV
    multiplicity = number of constituents of the ungroomed jet

Ratios are 0 where e2 = 0, that is for a single groomed constituent.
"""

import numpy as np
import numpy.typing as npt

from .jet_clustering import Constituents, Jet

__all__ = [
    "FEATURE_NAMES",
    "correlators",
    "distances",
    "jet_features",
    "mass_gev",
    "sum_over_triples",
    "z_log_z",
]

FEATURE_NAMES = (
    "zlogz",
    "c1_b0_mmdt",
    "c1_b1_mmdt",
    "c1_b2_mmdt",
    "c2_b1_mmdt",
    "c2_b2_mmdt",
    "d2_b1_mmdt",
    "d2_b2_mmdt",
    "d2_a1_b1_mmdt",
    "d2_a1_b2_mmdt",
    "m2_b1_mmdt",
    "m2_b2_mmdt",
    "n2_b1_mmdt",
    "n2_b2_mmdt",
    "mass_mmdt",
    "multiplicity",
)

FloatArray = npt.NDArray[np.float64]


def jet_features(jet: Jet) -> FloatArray:
    """The features (16,) of one jet in the order of `FEATURE_NAMES`."""
    pairs, triples = correlators(jet.groomed)
    e2_b0, e2_b1, e2_b2 = pairs
    one_b1, one_b2, two_b1, two_b2, e3_b1, e3_b2 = triples
    d2_b1 = _ratio(e3_b1, e2_b1**3)
    return np.array(
        [
            z_log_z(jet.ungroomed),
            e2_b0,
            e2_b1,
            e2_b2,
            _ratio(e3_b1, e2_b1**2),
            _ratio(e3_b2, e2_b2**2),
            d2_b1,
            _ratio(e3_b2, e2_b2**3),
            d2_b1,
            _ratio(e3_b1, e2_b2**1.5),
            _ratio(one_b1, e2_b1),
            _ratio(one_b2, e2_b2),
            _ratio(two_b1, e2_b1**2),
            _ratio(two_b2, e2_b2**2),
            mass_gev(jet.groomed),
            len(jet.ungroomed.pt_gev),
        ]
    )


def correlators(
    constituents: Constituents,
) -> tuple[tuple[float, float, float], tuple[float, float, float, float, float, float]]:
    """e2(0), e2(1), e2(2) and then 1e3(1), 1e3(2), 2e3(1), 2e3(2), e3(1), e3(2)."""
    share = constituents.pt_gev / constituents.pt_gev.sum()
    theta = distances(constituents)
    upper = np.triu(np.outer(share, share), k=1)
    pairs = (
        float(upper.sum()),
        float((upper * theta).sum()),
        float((upper * theta**2).sum()),
    )
    return pairs, sum_over_triples(share, theta)


def distances(constituents: Constituents) -> FloatArray:
    """The matrix (N, N) of theta_ij = sqrt(d_y^2 + d_phi^2), d_phi the shorter way round."""
    d_y = constituents.rapidity[:, None] - constituents.rapidity
    d_phi = constituents.phi[:, None] - constituents.phi
    d_phi = np.mod(d_phi + np.pi, 2 * np.pi) - np.pi
    return np.hypot(d_y, d_phi)


def sum_over_triples(
    share: FloatArray, theta: FloatArray
) -> tuple[float, float, float, float, float, float]:
    """1e3(1), 1e3(2), 2e3(1), 2e3(2), e3(1), e3(2).

    `share` (N) holds z, `theta` (N, N) the distances. For each i: a sum over the pairs i < j < k.
    """
    sums = np.zeros(6)
    for i in range(len(share) - 2):
        rest = share[i + 1 :]
        weight = share[i] * np.triu(np.outer(rest, rest), k=1)
        to_i = theta[i, i + 1 :]
        side_j, side_k, side_jk = to_i[:, None], to_i[None, :], theta[i + 1 :, i + 1 :]
        smallest = np.minimum(np.minimum(side_j, side_k), side_jk)
        product = side_j * side_k * side_jk
        two_smallest = np.minimum(np.minimum(side_j, side_k) * side_jk, side_j * side_k)
        for position, angle in enumerate((smallest, two_smallest, product)):
            weighted = weight * angle
            sums[2 * position] += weighted.sum()
            sums[2 * position + 1] += (weighted * angle).sum()
    one_b1, one_b2, two_b1, two_b2, e3_b1, e3_b2 = (float(value) for value in sums)
    return one_b1, one_b2, two_b1, two_b2, e3_b1, e3_b2


def z_log_z(constituents: Constituents) -> float:
    """sum (E_i / E) ln(E_i / E): 0 for one constituent, -ln N for N equal ones."""
    transverse_mass = np.hypot(constituents.pt_gev, constituents.mass_gev)
    energy = transverse_mass * np.cosh(constituents.rapidity)
    share = energy / energy.sum()
    return float((share * np.log(share)).sum())


def mass_gev(constituents: Constituents) -> float:
    """The invariant mass, from pairs: m^2 = sum_ij mT_i mT_j cosh(y_i - y_j) - pT_i . pT_j.

    Seen from the jet's own direction, small angles and masses are not lost in large energies.
    """
    pt, y, phi = constituents.pt_gev, constituents.rapidity, constituents.phi
    transverse_mass = np.hypot(pt, constituents.mass_gev)
    lengths = np.outer(transverse_mass, transverse_mass) * np.cosh(y[:, None] - y)
    products = np.outer(pt, pt) * np.cos(phi[:, None] - phi)
    return float(np.sqrt(max((lengths - products).sum(), 0.0)))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0
