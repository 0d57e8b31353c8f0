"""Making top quark pairs and trigger events: matching, selection, recipes, a few real events."""

import importlib.util

import numpy as np
import pytest

from samebits import errors
from samebits.train import generate_anomaly, generate_ttbar, generation
from samebits.train.chunks import Chunk
from samebits.train.reconstruction import Event, Kinematics

PHYSICS = ("pythia8mc", "fastjet", "awkward")
MISSING = [name for name in PHYSICS if importlib.util.find_spec(name) is None]
needs_physics = pytest.mark.skipif(
    bool(MISSING),
    reason=f"{', '.join(MISSING)} not installed: the generators themselves are not run; "
    'pip install "samebits[physics]" to run them',
)


def objects(*rows: tuple[float, float, float]) -> Kinematics:
    """Massless objects of pT, pseudorapidity and azimuth."""
    pt, eta, phi = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return Kinematics(pt, eta, phi, np.zeros(len(pt)))


NOTHING = objects()
QUARKS = objects((50, 0, 0), (40, 1, 0), (60, -1, 2), (30, 2, -3.1))


@pytest.fixture
def any_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets recipes be made without the physics packages."""
    monkeypatch.setattr(generation, "versions", dict)


class TestMatching:
    def test_each_quark_has_its_jet(self) -> None:
        jets = objects((70, -1, 2.1), (60, 0.1, 0), (50, 1, 0.1), (40, 2.0, 3.1))
        assert generate_ttbar.match(QUARKS, jets) == [1, 2, 0, 3]

    def test_two_quarks_in_one_jet(self) -> None:
        jets = objects((70, -1, 2.1), (60, 0.5, 0), (50, 1, 1.5), (40, 2.0, 3.1))
        assert generate_ttbar.match(QUARKS, jets) is None

    def test_the_harder_jet_of_the_w_comes_first_and_tags_follow_the_quarks(self) -> None:
        jets = objects((70, -1, 2.1), (60, 0.1, 0), (50, 1, 0.1), (40, 2.0, 3.1), (30, 0, 1))
        event = Event(NOTHING, NOTHING, NOTHING, jets, 3.0, 4.0)
        pdg_id = np.array([5, 2, -4, -5])  # the charm quark has the hardest jet
        rng = np.random.Generator(np.random.PCG64(1))
        tags = []
        for _ in range(400):
            found = generate_ttbar.measured(
                event, objects((40, -2, 0)), jets, (pdg_id, QUARKS), rng
            )
            assert found is not None
            assert found.assignment.tolist() == [1, 0, 2, 3]
            assert found.met.tolist() == pytest.approx([5, np.arctan2(4, 3)])
            tags.append(found.b_tag)
        assert np.mean(tags, axis=0) == pytest.approx([0.15, 0.7, 0.01, 0.7], abs=0.07)

    def test_three_jets_beside_the_lepton(self) -> None:
        jets = objects((70, -1, 2.1), (60, 0.1, 0), (50, 1, 0.1), (40, 2.0, 3.1))
        event = Event(NOTHING, NOTHING, NOTHING, jets, 0.0, 0.0)
        lepton = objects((40, 2.0, 3.1))
        rng = np.random.Generator(np.random.PCG64(1))
        truth = (np.array([5, 2, -4, -5]), QUARKS)
        assert generate_ttbar.measured(event, lepton, jets, truth, rng) is None


class TestTriggerEvent:
    def test_kept_with_a_lepton_above_23_gev(self) -> None:
        muons = objects((10, 1, 1), (23.5, -1, 1))
        event = Event(NOTHING, NOTHING, muons, NOTHING, -30.0, 0.0)
        codes = generate_anomaly.trigger_event(event, NOTHING)
        assert codes is not None
        assert codes[:3].tolist() == [60, 0, 72]
        assert codes[[15, 18]].tolist() == [47, 20]
        assert np.count_nonzero(codes) == 2 + 6

    def test_not_kept(self) -> None:
        muons = objects((22.9, 1, 1))
        event = Event(NOTHING, NOTHING, muons, NOTHING, 0.0, 0.0)
        assert generate_anomaly.trigger_event(event, NOTHING) is None

    def test_an_electron_is_no_jet(self) -> None:
        electrons = objects((40, 0.5, 1))
        event = Event(electrons, NOTHING, NOTHING, electrons, 0.0, 0.0)
        jets = objects((42, 0.51, 1.01), (30, 2, 2))
        codes = generate_anomaly.trigger_event(event, jets)
        assert codes is not None
        assert codes[3] == 80
        assert codes[[27, 30]].tolist() == [60, 0]


@pytest.mark.usefixtures("any_versions")
class TestRecipes:
    @pytest.mark.parametrize("events", [0, 7, -2])
    def test_wrong_numbers_of_ttbar(self, events: int) -> None:
        with pytest.raises(errors.UsageError) as caught:
            generate_ttbar.recipe(events)
        assert str(caught.value) == (
            f"number of events: got {events}, wanted a positive even number"
        )

    def test_wrong_numbers_of_anomaly(self) -> None:
        with pytest.raises(errors.UsageError) as caught:
            generate_anomaly.recipe(100)
        assert str(caught.value) == ("number of events: got 100, wanted a positive multiple of 54")

    def test_every_class_has_a_process_and_a_part(self) -> None:
        names = (*generate_anomaly.BACKGROUNDS, *generate_anomaly.SIGNALS)
        assert tuple(generate_anomaly.PROCESSES) == names
        assert tuple(generate_anomaly.recipe(540).counts) == names
        assert sum(generate_anomaly.recipe(540).counts.values()) == 540
        assert set(generate_anomaly.PROCESSES_PER_EVENT) == set(names)


@needs_physics
class TestRealEvents:
    def test_ttbar(self) -> None:
        chunk = Chunk("lepton_minus", 1, 0, 6, 1)
        made = generate_ttbar.make_chunk(chunk)
        assert made["jets"].shape == (6, 4, 4)
        assert (np.diff(made["jets"][:, :, 0], axis=1) <= 0).all()
        assert (made["jets"][:, :, 0] > 25).all()
        assert np.array_equal(np.sort(made["assignment"], axis=1), [[0, 1, 2, 3]] * 6)
        again = generate_ttbar.make_chunk(chunk)
        assert all(np.array_equal(made[name], again[name]) for name in made)

    def test_trigger_events(self) -> None:
        made = generate_anomaly.make_chunk(Chunk("z", 1, 0, 12, 1))
        codes = made["features"]
        assert codes.shape == (12, 57)
        assert (np.maximum(codes[:, 3], codes[:, 15]) >= 46).all()
        assert (codes[:, 1] == 0).all()
        assert (made["accepted_pb"] > 1000).all()
        assert (made["accepted_pb"] < 4000).all()
