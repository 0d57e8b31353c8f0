"""Leptons, jets and missing momentum of hand-made events; the integers of the trigger."""

import importlib.util

import numpy as np
import pytest

from samebits.train import reconstruction
from samebits.train.jet_events import Particles
from samebits.train.reconstruction import Kinematics, isolated, reconstruct, select, wrap
from samebits.train.trigger_words import COLUMNS, JET, LSB, MUON, words


def objects(*rows: tuple[float, float, float]) -> Kinematics:
    """Massless objects of pT, pseudorapidity and azimuth."""
    pt, eta, phi = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return Kinematics(pt, eta, phi, np.zeros(len(pt)))


def particles(*rows: tuple[int, int, float, float, float, float]) -> Particles:
    """Particles of event, PDG number, charge, pT, pseudorapidity and azimuth."""
    event, pdg_id, charge, pt, eta, phi = np.array(rows, dtype=np.float64).reshape(-1, 6).T
    return Particles(
        event.astype(np.int64),
        pdg_id.astype(np.int64),
        charge,
        pt * np.cos(phi),
        pt * np.sin(phi),
        pt * np.sinh(eta),
    )


EVENTS = particles(
    (0, 13, -1, 40, 0.5, 1.0),
    (0, -14, 0, 40, 0.0, -2.0),  # not seen
    (0, 211, 1, 30, 0.2, -2.5),
    (2, 11, -1, 30, 1.0, 0.0),
    (2, 22, 0, 20, -1.0, 3.0),
    (2, 22, 0, 3, -1.5, 3.0),  # too soft for a photon
    (2, 13, -1, 50, 2.7, 3.0),  # beyond the muon chambers, not beyond the tracker
)


class TestEvents:
    def test_kinds_stay_apart_and_empty_events_stay_in_place(self) -> None:
        rng = np.random.Generator(np.random.PCG64(1))
        first, empty, last = reconstruct(EVENTS, 3, rng)
        assert (len(first.muons), len(first.electrons), len(first.photons)) == (1, 0, 0)
        assert first.muons.pt_gev[0] == pytest.approx(40, rel=0.1)
        assert len(first.visible) == 1
        assert (len(empty.visible), empty.met_x_gev, empty.met_y_gev) == (0, 0, 0)
        assert (len(last.muons), len(last.electrons), len(last.photons)) == (0, 1, 1)
        assert len(last.visible) == 3

    def test_missing_momentum_is_minus_the_sum_with_muons(self) -> None:
        (event,) = reconstruct(select(EVENTS, EVENTS.event == 0), 1, np.random.default_rng(1))
        muon, pion = event.muons, event.visible
        x = muon.pt_gev[0] * np.cos(muon.phi[0]) + pion.pt_gev[0] * np.cos(pion.phi[0])
        y = muon.pt_gev[0] * np.sin(muon.phi[0]) + pion.pt_gev[0] * np.sin(pion.phi[0])
        assert (event.met_x_gev, event.met_y_gev) == pytest.approx((-x, -y))


class TestIsolation:
    def test_a_fifth_of_the_momentum_in_the_ring_is_too_much(self) -> None:
        candidate = objects((50, 0, 0))
        assert len(isolated(candidate, objects((50, 0, 0), (9.9, 0.2, 0)))) == 1
        assert len(isolated(candidate, objects((50, 0, 0), (10.1, 0.2, 0)))) == 0
        assert len(isolated(candidate, objects((50, 0, 0), (30, 0.4, 0)))) == 1
        assert len(isolated(candidate, objects((50, 0, 0), (30, 0.04, 0)))) == 1

    def test_the_ring_closes_at_phi_of_pi(self) -> None:
        candidate = objects((50, 0, np.pi - 0.05))
        assert len(isolated(candidate, objects((20, 0, -np.pi + 0.05)))) == 0

    def test_hardest_first_and_one_of_two_cells_of_the_same_shower(self) -> None:
        candidates = objects((20, 0, 0), (40, 1, 0), (30, 0.01, 0))
        found = isolated(candidates, candidates)
        assert found.pt_gev.tolist() == [40, 30]

    def test_no_candidates(self) -> None:
        assert len(isolated(objects(), objects((50, 0, 0)))) == 0


def test_wrap() -> None:
    assert wrap(np.array([0.0, np.pi, -np.pi, 3.5, 7.0])) == pytest.approx(
        [0, -np.pi, -np.pi, 3.5 - 2 * np.pi, 7 - 2 * np.pi]
    )


@pytest.mark.skipif(
    importlib.util.find_spec("fastjet") is None, reason="jets need FastJet: the extra physics"
)
def test_jets_of_each_event() -> None:
    first = objects((30, 0, 3.1), (20, 0.1, -3.1), (60, 2, 0), (5, -1, 0))
    jets = reconstruction.cluster([first, objects(), objects((40, 2.8, 1))], 15.0, 2.5)
    assert [len(event) for event in jets] == [2, 0, 0]
    assert jets[0].pt_gev[0] == pytest.approx(60)
    assert jets[0].pt_gev[1] == pytest.approx(50, rel=0.01)
    assert abs(jets[0].phi[1]) == pytest.approx(np.pi, abs=0.05)


class TestWords:
    def test_columns(self) -> None:
        assert len(COLUMNS) == 57
        assert COLUMNS[:4] == ("met_pt", "met_eta", "met_phi", "egamma0_pt")
        assert COLUMNS[-1] == "jet9_phi"
        assert len(LSB) == 57
        assert LSB[:3].tolist() == [0.5, 0.0435, 2 * np.pi / 144]

    def test_codes_are_the_nearest(self) -> None:
        codes = words(MUON, objects((23.3, -1.0, -0.5 * 2 * np.pi / 576), (3.0, 0.0, 3.0)))
        assert codes.dtype == np.int16
        assert codes[:6].tolist() == [47, -92, 0, 6, 0, 275]
        assert (codes[6:] == 0).all()

    def test_azimuth_starts_at_zero_and_a_full_turn_is_zero(self) -> None:
        step = 2 * np.pi / 144
        codes = words(JET, objects((30, 0, -step), (20, 0, -0.4 * step), (20, 0, 143.6 * step)))
        assert codes[[2, 5, 8]].tolist() == [143, 0, 0]

    def test_momentum_saturates_and_only_the_first_objects_are_taken(self) -> None:
        codes = words(MUON, objects(*[(1000 - i, 0, 0) for i in range(6)]))
        assert codes.tolist() == [511, 0, 0] * 4
