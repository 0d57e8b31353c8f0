"""The shipped physics samples: what their cards promise, and what the loaders make of them."""

import importlib.resources

import numpy as np
import pytest

from samebits.train import physics_samples as samples


def card(folder: str, name: str) -> str:
    return (importlib.resources.files("samebits.train") / folder / name).read_text()


class TestConstituents:
    def test_what_the_data_card_promises(self) -> None:
        jets = samples.load_constituents()
        assert jets.sha256 in card("jets", "CONSTITUENTS.md")
        assert np.bincount(jets.labels).tolist() == [2200] * 5
        assert jets.constituents.shape == (11000, 16, 3)
        assert jets.features.shape == (11000, 16)
        share = jets.constituents[:, :, 0]
        assert (np.diff(share, axis=1) <= 0).all()
        assert 0.84 < share.sum(axis=1).mean() < 0.86
        assert (share.sum(axis=1) < 1.2).all()
        assert ((share > 0) | (jets.constituents == 0).all(axis=2)).all()

    def test_the_mass_of_the_constituents_grows_with_the_groomed_mass(self) -> None:
        """The constituents of a jet belong to its features."""
        jets = samples.load_constituents()
        share, deta, dphi = np.moveaxis(jets.constituents.astype(np.float64), 2, 0)
        angle2 = (deta[:, :, None] - deta[:, None]) ** 2 + (dphi[:, :, None] - dphi[:, None]) ** 2
        mass = jets.jet_pt_gev * np.sqrt(np.einsum("ni,nj,nij->n", share, share, angle2) / 2)
        groomed = jets.features[:, jets.feature_names.index("mass_mmdt")]
        assert np.corrcoef(mass, groomed)[0, 1] > 0.8

    def test_take(self) -> None:
        jets = samples.load_constituents()
        few = jets.take(np.array([5, 3]))
        assert len(few) == 2
        assert np.array_equal(few.constituents, jets.constituents[[5, 3]])
        assert np.array_equal(few.labels, jets.labels[[5, 3]])


class TestImages:
    def test_pixels_rows_are_eta_and_columns_phi(self) -> None:
        constituents = np.array(
            [
                [[0.5, -0.8, -0.8], [0.25, 0.79, -0.79], [0.125, 0.79, -0.65]],
                [[0.5, 0.01, 0.01], [0.25, 0.0, 0.9], [0.0, 0.0, 0.0]],
            ],
            np.float32,
        )
        images = samples.jet_images(constituents, pixels=16)
        assert images.shape == (2, 16, 16)
        assert images[0, 0, 0] == 0.5
        assert images[0, 15, :2].tolist() == [0.25, 0.125]
        assert images[1, 8, 8] == 0.5
        assert images.sum(axis=(1, 2)).tolist() == [0.875, 0.5]  # 0.9 lies outside

    def test_all_shipped_jets(self) -> None:
        jets = samples.load_constituents()
        images = samples.jet_images(jets.constituents)
        assert images.sum(axis=(1, 2)) == pytest.approx(
            jets.constituents[:, :, 0].sum(axis=1), abs=0.2
        )


class TestTtbar:
    def test_what_the_data_card_promises(self) -> None:
        events = samples.load_ttbar()
        assert events.sha256 in card("ttbar", "DATA_CARD.md")
        assert len(events) == 6000
        assert (np.diff(events.jets[:, :, 0], axis=1) <= 0).all()
        assert (events.jets[:, :, 0] >= 25).all()
        assert (np.abs(events.jets[:, :, 1]) <= 2.5).all()
        assert np.array_equal(np.unique(events.b_tag), [0, 1])

    def test_right_jets_have_the_masses_of_w_and_t(self) -> None:
        events = samples.load_ttbar()
        jets = np.take_along_axis(events.momenta(), events.assignment[:, :, None], axis=1)

        def mass_gev(momentum: np.ndarray) -> float:
            square = momentum[:, 3] ** 2 - (momentum[:, :3] ** 2).sum(axis=1)
            return float(np.median(np.sqrt(np.maximum(square, 0))))

        assert abs(mass_gev(jets[:, 1] + jets[:, 2]) - 80.4) < 4
        assert abs(mass_gev(jets[:, 0] + jets[:, 1] + jets[:, 2]) - 172.5) < 12

    def test_b_tags_are_those_of_the_right_jets(self) -> None:
        events = samples.load_ttbar()
        rates = np.take_along_axis(events.b_tag, events.assignment, axis=1).mean(axis=0)
        assert rates == pytest.approx([0.7, 0.05, 0.05, 0.7], abs=0.04)

    def test_inputs_stand_as_their_columns_say(self) -> None:
        events = samples.load_ttbar().take(np.arange(5))
        inputs = events.inputs(np.array([2, 0, 3, 1]))
        assert inputs.shape == (5, 26)
        table = dict(zip(samples.TTBAR_COLUMNS, inputs.T, strict=True))
        assert np.array_equal(table["b_hadronic_b_tag"], events.b_tag[:, 2])
        assert np.array_equal(table["b_leptonic_e"], events.momenta()[:, 1, 3])
        assert np.hypot(table["q1_px"], table["q1_py"]) == pytest.approx(events.jets[:, 0, 0])
        lepton_pt = np.hypot(table["lepton_px"], table["lepton_py"])
        assert lepton_pt == pytest.approx(events.lepton[:, 0])
        assert np.array_equal(table["met"], events.met[:, 0])
        assert table["met_sin_phi"] == pytest.approx(np.sin(events.met[:, 1]))

    def test_twelve_orders_one_of_them_right(self) -> None:
        events = samples.load_ttbar().take(np.arange(50))
        inputs, right = events.all_inputs()
        assert len(np.unique(samples.TTBAR_PERMUTATIONS, axis=0)) == 12
        assert inputs.shape == (50, 12, 26)
        assert np.array_equal(inputs[np.arange(50), right], events.inputs(events.assignment))

    def test_right_and_wrong(self) -> None:
        events = samples.load_ttbar().take(np.arange(50))
        inputs, labels = samples.right_and_wrong(events, seed=3)
        assert labels.tolist() == [1, 0] * 50
        right = events.inputs(events.assignment)
        assert np.array_equal(inputs[::2], right)
        assert (inputs[1::2] != right).any(axis=1).all()
        assert np.array_equal(inputs, samples.right_and_wrong(events, seed=3)[0])
        assert not np.array_equal(inputs, samples.right_and_wrong(events, seed=4)[0])


class TestTriggerEvents:
    def test_what_the_data_card_promises(self) -> None:
        events = samples.load_trigger_events()
        assert events.sha256 in card("anomaly", "DATA_CARD.md")
        assert len(events) == 13500
        assert events.codes.shape == (13500, 57)
        assert events.codes.dtype == np.int16
        assert events.backgrounds == ("w", "z", "gamma_jet", "tt")
        counts = np.bincount(events.labels)
        assert counts.tolist() == [4000, 2000, 2000, 1500, 1250, 1250, 1000, 500]

    def test_every_event_has_a_lepton_or_photon_above_23_gev(self) -> None:
        events = samples.load_trigger_events()
        leading = [events.columns.index(name) for name in ("egamma0_pt", "muon0_pt")]
        pt_gev = (events.codes * events.lsb)[:, leading]
        assert (pt_gev.max(axis=1) >= 23).all()

    def test_objects_fall_in_momentum_and_empty_slots_are_zero(self) -> None:
        events = samples.load_trigger_events()
        for kind, count in (("egamma", 4), ("muon", 4), ("jet", 10)):
            start = events.columns.index(f"{kind}0_pt")
            slots = events.codes[:, start : start + 3 * count].reshape(-1, count, 3)
            assert (np.diff(slots[:, :, 0], axis=1) <= 0).all()
            assert (slots[slots[:, :, 0] == 0] == 0).all()

    def test_azimuths_are_codes_of_a_full_turn(self) -> None:
        events = samples.load_trigger_events()
        for column, name in enumerate(events.columns):
            if name.endswith("_phi"):
                codes = events.codes[:, column]
                assert codes.min() >= 0
                assert codes.max() < round(2 * np.pi / events.lsb[column])

    def test_the_mass_of_the_z(self) -> None:
        """Of the two hardest muons, where there are two."""
        events = samples.load_trigger_events()
        start = events.columns.index("muon0_pt")
        values = events.of("z")[:, start : start + 6] * events.lsb[start : start + 6]
        pt, eta, phi = values[values[:, 3] > 15].reshape(-1, 2, 3).transpose(2, 1, 0)
        mass2 = 2 * pt[0] * pt[1] * (np.cosh(eta[0] - eta[1]) - np.cos(phi[0] - phi[1]))
        assert len(mass2) > 300
        assert abs(np.median(np.sqrt(mass2)) - 91.2) < 1.5

    def test_four_leptons_are_mostly_the_a(self) -> None:
        events = samples.load_trigger_events()
        slots = [i for i, name in enumerate(events.columns) if name[-3:] == "_pt"][1:9]
        leptons = {name: (events.of(name)[:, slots] > 0).sum(1) for name in ("a_to_4l", "w")}
        assert (leptons["a_to_4l"] >= 3).mean() > 10 * (leptons["w"] >= 3).mean()

    def test_cross_sections_fall_from_photons_to_top_quarks(self) -> None:
        events = samples.load_trigger_events()
        known = dict(zip(events.class_names, events.accepted_pb, strict=True))
        assert known["gamma_jet"] > known["w"] > known["z"] > known["tt"] > 100
