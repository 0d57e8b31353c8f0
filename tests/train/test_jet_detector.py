"""The detector: who is seen where, cells, and smearing of the promised width."""

from collections.abc import Callable

import numpy as np
import pytest

from samebits.train import jet_detector
from samebits.train.jet_detector import (
    Objects,
    hadron_resolution,
    measure,
    photon_resolution,
    sum_in_cells,
    track_resolution,
)
from samebits.train.jet_events import Particles

PHOTON, ELECTRON, NEUTRINO, PION, NEUTRON = 22, 11, -14, 211, 2112


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def particles(*rows: tuple[int, float, float, float, float]) -> Particles:
    """From rows of PDG number, charge, pT, eta, phi, all in event 0."""
    pdg_id, charge, pt, eta, phi = np.array(rows, dtype=np.float64).T
    return Particles(
        event=np.zeros(len(rows), dtype=np.int64),
        pdg_id=pdg_id.astype(np.int64),
        charge=charge,
        px_gev=pt * np.cos(phi),
        py_gev=pt * np.sin(phi),
        pz_gev=pt * np.sinh(eta),
    )


@pytest.fixture
def sharp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector without smearing."""
    for name in ("track_resolution", "photon_resolution", "hadron_resolution"):
        monkeypatch.setattr(jet_detector, name, np.zeros_like)


def test_resolutions_at_round_numbers() -> None:
    assert track_resolution(np.array([60.0])).item() == pytest.approx(0.015 * 2**0.5)
    expected = (0.027**2 * 1.6 / 10 + 0.024**2 + 0.005**2) ** 0.5
    assert photon_resolution(np.array([10.0])).item() == pytest.approx(expected)
    assert hadron_resolution(np.array([100.0])).item() == pytest.approx((0.1008 + 0.0025) ** 0.5)


@pytest.mark.usefixtures("sharp")
def test_a_track_keeps_its_momentum_and_direction() -> None:
    found = measure(particles((PION, 1, 50.0, 0.31234, -2.0), (ELECTRON, -1, 9.0, -1, 1)), rng())
    assert found.pt_gev == pytest.approx([50.0, 9.0])
    assert found.eta == pytest.approx([0.31234, -1.0])
    assert found.phi == pytest.approx([-2.0, 1.0])
    assert found.mass_gev.tolist() == [0.13957, 0.13957]


@pytest.mark.usefixtures("sharp")
def test_neutrinos_and_forward_particles_are_lost() -> None:
    found = measure(
        particles((NEUTRINO, 0, 50.0, 0.0, 0.0), (PION, 1, 5.0, 3.1, 0.0), (PION, 1, 5.0, 2.9, 0)),
        rng(),
    )
    assert found.eta == pytest.approx([2.9])


@pytest.mark.usefixtures("sharp")
@pytest.mark.parametrize(
    ("row", "cell"),
    [
        ((PHOTON, 0, 30.0, 0.5, 1.0), 0.0175),
        ((NEUTRON, 0, 30.0, 0.5, 1.0), 0.022),
        ((PION, 1, 221.0, 0.5, 1.0), 0.022),
    ],
)
def test_calorimeter_objects_sit_in_the_middle_of_a_cell_and_keep_the_energy(
    row: tuple[int, float, float, float, float], cell: float
) -> None:
    found = measure(particles(row), rng())
    for position, true in ((found.eta.item(), 0.5), (found.phi.item(), 1.0)):
        assert position / cell - 0.5 == pytest.approx(round(position / cell - 0.5))
        assert abs(position - true) <= cell / 2
    assert found.mass_gev.item() == 0
    energy = found.pt_gev.item() * np.cosh(found.eta.item())
    assert energy == pytest.approx(row[2] * np.cosh(0.5))


@pytest.mark.usefixtures("sharp")
def test_a_charged_hadron_is_a_track_up_to_220_gev_and_an_electron_always() -> None:
    rows = ((PION, 1, 219.0, 0.001, 0.001), (ELECTRON, -1, 500.0, 0.001, 0.001))
    assert measure(particles(*rows), rng()).eta == pytest.approx([0.001, 0.001])


def test_particles_of_one_cell_and_event_are_summed() -> None:
    event = np.array([0, 0, 0, 1])
    energy = np.array([1.0, 2.0, 4.0, 8.0])
    eta = np.array([0.001, 0.009, -0.001, 0.001])
    phi = np.full(4, -0.001)
    found = sum_in_cells(event, energy, eta, phi, 0.01)
    assert found[0].tolist() == [0, 0, 1]
    assert found[1].tolist() == [4.0, 3.0, 8.0]
    assert found[2] == pytest.approx([-0.005, 0.005, 0.005])
    assert found[3] == pytest.approx([6.285, 6.285, 6.285])  # column 628 of 629, from 6.28


@pytest.mark.parametrize(
    ("pdg_id", "charge", "pt", "resolution"),
    [
        (PION, 1, 100.0, track_resolution),
        (PHOTON, 0, 5.0, photon_resolution),
        (NEUTRON, 0, 400.0, hadron_resolution),
    ],
)
def test_smearing_has_the_promised_mean_and_width(
    pdg_id: int,
    charge: float,
    pt: float,
    resolution: Callable[[jet_detector.FloatArray], jet_detector.FloatArray],
) -> None:
    """20,000 equal particles in events of their own, in the middle of a cell at eta near 0."""
    count = 20_000
    centre = 0.011 if pdg_id == NEUTRON else 0.00875
    one = particles((pdg_id, charge, pt, centre, centre))
    many = Particles(np.arange(count), *(np.repeat(getattr(one, name), count) for name in FIELDS))
    found = measure(many, rng())
    width = resolution(np.array([pt])).item()
    ratio = found.pt_gev / pt
    assert len(ratio) == count
    assert ratio.mean() == pytest.approx(1, abs=5 * width / count**0.5 + 1e-3)
    assert ratio.std() == pytest.approx(width, rel=0.03)


FIELDS = ("pdg_id", "charge", "px_gev", "py_gev", "pz_gev")


def test_objects_without_energy_are_dropped_and_the_rest_sorted_by_event() -> None:
    """A photon of 0.1 GeV has a noise of 2.4 times its energy: a third is smeared below zero."""
    count = 3000
    one = particles((PHOTON, 0, 0.1, 0.0, 0.0))
    many = Particles(np.arange(count), *(np.repeat(getattr(one, name), count) for name in FIELDS))
    found = measure(many, rng())
    assert isinstance(found, Objects)
    assert 0.6 * count < len(found.event) < 0.7 * count
    assert (found.pt_gev * np.cosh(found.eta)).min() >= 0.001
    assert (np.diff(found.event) > 0).all()


def test_equal_seeds_give_equal_measurements() -> None:
    rows = particles((PION, 1, 50.0, 0.3, -2.0), (PHOTON, 0, 20.0, 0.3, -2.0))
    first, again, other = (measure(rows, rng(seed)).pt_gev.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_particle_along_the_beam_is_lost() -> None:
    zero = np.zeros(1)
    beam = Particles(np.array([0]), np.array([PION]), np.ones(1), zero, zero, np.full(1, 9.0))
    assert len(measure(beam, rng()).event) == 0
