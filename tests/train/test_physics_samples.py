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
