"""The jet features on jets small enough for pencil and paper, and against plain triple loops."""

import itertools
import math

import numpy as np
import pytest

from samebits.train.jet_clustering import Constituents, Jet
from samebits.train.jet_features import (
    FEATURE_NAMES,
    correlators,
    distances,
    jet_features,
    mass_gev,
    z_log_z,
)


def constituents(*rows: tuple[float, float, float]) -> Constituents:
    """Massless constituents from rows of pT, rapidity, azimuth."""
    pt, rapidity, phi = np.array(rows, dtype=np.float64).T
    return Constituents(pt, rapidity, phi, np.zeros(len(rows)))


def features(jet: Constituents) -> dict[str, float]:
    values = jet_features(Jet(float(jet.pt_gev.sum()), jet, jet))
    return dict(zip(FEATURE_NAMES, values.tolist(), strict=True))


def random_jet(seed: int, count: int) -> Constituents:
    rng = np.random.Generator(np.random.PCG64(seed))
    return Constituents(
        rng.exponential(20, count) + 1,
        rng.normal(0.5, 0.3, count),
        rng.normal(3.1, 0.3, count),
        rng.exponential(0.1, count),
    )


def test_there_are_sixteen_features_in_the_order_of_the_public_set() -> None:
    assert len(FEATURE_NAMES) == 16
    assert FEATURE_NAMES[0] == "zlogz"
    assert FEATURE_NAMES[8] == "d2_a1_b1_mmdt"
    assert FEATURE_NAMES[14:] == ("mass_mmdt", "multiplicity")


def test_one_particle_has_no_angle_no_mass_and_ratios_of_zero() -> None:
    found = features(constituents((1000, 0.3, 1.0)))
    assert found.pop("multiplicity") == 1
    assert set(found.values()) == {0.0}


def test_one_particle_alone_keeps_its_own_mass() -> None:
    pion = Constituents(np.array([5.0]), np.array([1.2]), np.array([0.4]), np.array([0.13957]))
    assert mass_gev(pion) == pytest.approx(0.13957)


def test_two_particles() -> None:
    """z = 3/4 and 1/4, theta = 0.5 (a 3-4-5 triangle), no triples."""
    found = features(constituents((750, 0.0, 0.1), (250, 0.3, 0.5)))
    e2_b1 = 3 / 16 * 0.5
    e2_b2 = 3 / 16 * 0.25
    assert found["c1_b0_mmdt"] == pytest.approx(3 / 16)
    assert found["c1_b1_mmdt"] == pytest.approx(e2_b1)
    assert found["c1_b2_mmdt"] == pytest.approx(e2_b2)
    for name in FEATURE_NAMES[4:14]:
        assert found[name] == 0
    mass = math.sqrt(2 * 750 * 250 * (math.cosh(0.3) - math.cos(0.4)))
    assert found["mass_mmdt"] == pytest.approx(mass)
    assert mass == pytest.approx(math.sqrt(750 * 250) * 0.5, rel=0.01)  # small angles
    energy = np.array([750.0, 250 * math.cosh(0.3)])
    share = energy / energy.sum()
    assert found["zlogz"] == pytest.approx(float((share * np.log(share)).sum()))
    assert found["multiplicity"] == 2


def test_three_equal_particles_on_a_line() -> None:
    """z = 1/3 each at eta = 0, 0.1, 0.3: distances 0.1, 0.2, 0.3."""
    found = features(constituents((100, 0.0, 1.0), (100, 0.1, 1.0), (100, 0.3, 1.0)))
    e2_b1, e2_b2 = (0.1 + 0.2 + 0.3) / 9, (0.01 + 0.04 + 0.09) / 9
    e3_b1, e3_b2 = 0.006 / 27, 0.000036 / 27
    expected = {
        "c1_b0_mmdt": 1 / 3,
        "c1_b1_mmdt": e2_b1,
        "c1_b2_mmdt": e2_b2,
        "c2_b1_mmdt": e3_b1 / e2_b1**2,
        "c2_b2_mmdt": e3_b2 / e2_b2**2,
        "d2_b1_mmdt": e3_b1 / e2_b1**3,
        "d2_b2_mmdt": e3_b2 / e2_b2**3,
        "d2_a1_b1_mmdt": e3_b1 / e2_b1**3,
        "d2_a1_b2_mmdt": e3_b1 / e2_b2**1.5,
        "m2_b1_mmdt": 0.1 / 27 / e2_b1,
        "m2_b2_mmdt": 0.01 / 27 / e2_b2,
        "n2_b1_mmdt": 0.02 / 27 / e2_b1**2,
        "n2_b2_mmdt": 0.0004 / 27 / e2_b2**2,
        "multiplicity": 3.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_equal_particles_have_z_log_z_of_minus_log_n() -> None:
    jet = constituents(*((50.0, 0.2, angle) for angle in (0.1, 0.2, 0.3, 0.4)))
    assert z_log_z(jet) == pytest.approx(-math.log(4))


def test_groomed_and_ungroomed_constituents_are_not_mixed_up() -> None:
    hard = constituents((750, 0.0, 0.1), (250, 0.3, 0.5))
    soft = constituents((750, 0.0, 0.1), (250, 0.3, 0.5), (10, 0.6, 0.1))
    found = jet_features(Jet(1000.0, ungroomed=soft, groomed=hard))
    alone = jet_features(Jet(1000.0, ungroomed=hard, groomed=hard))
    assert found[1:15].tolist() == alone[1:15].tolist()
    assert found[0] == z_log_z(soft) != alone[0]
    assert found[15] == 3


@pytest.mark.parametrize("count", [3, 4, 12])
def test_triples_against_plain_loops(count: int) -> None:
    jet = random_jet(seed=count, count=count)
    share = jet.pt_gev / jet.pt_gev.sum()
    pairs, triples = correlators(jet)
    theta = distances(jet)
    expected = dict.fromkeys(range(6), 0.0)
    for i, j, k in itertools.combinations(range(count), 3):
        small, middle, large = sorted((theta[i, j], theta[i, k], theta[j, k]))
        weight = share[i] * share[j] * share[k]
        for position, angle in enumerate((small, small * middle, small * middle * large)):
            for power in (1, 2):
                expected[2 * position + power - 1] += weight * angle**power
    assert triples == pytest.approx(tuple(expected.values()), rel=1e-12)
    for power, found in enumerate(pairs):
        plain = sum(
            share[i] * share[j] * theta[i, j] ** power
            for i, j in itertools.combinations(range(count), 2)
        )
        assert found == pytest.approx(plain, rel=1e-12)


def test_angles_are_measured_the_shorter_way_round() -> None:
    jet = constituents((1, 0.0, math.pi - 0.01), (1, 0.0, -math.pi + 0.02))
    assert distances(jet)[0, 1] == pytest.approx(0.03)


def test_features_do_not_depend_on_the_azimuth_or_the_order() -> None:
    jet = random_jet(seed=7, count=20)
    turned = Constituents(
        jet.pt_gev[::-1], jet.rapidity[::-1], jet.phi[::-1] + 2.0, jet.mass_gev[::-1]
    )
    assert features(turned) == pytest.approx(features(jet), rel=1e-9)


def test_mass_from_pairs_is_the_mass_from_four_vectors() -> None:
    jet = random_jet(seed=3, count=30)
    transverse_mass = np.hypot(jet.pt_gev, jet.mass_gev)
    energy = (transverse_mass * np.cosh(jet.rapidity)).sum()
    px, py = (jet.pt_gev * np.cos(jet.phi)).sum(), (jet.pt_gev * np.sin(jet.phi)).sum()
    pz = (transverse_mass * np.sinh(jet.rapidity)).sum()
    assert mass_gev(jet) == pytest.approx(math.sqrt(energy**2 - px**2 - py**2 - pz**2), rel=1e-9)
