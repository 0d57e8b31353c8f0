"""Augmentations keep what physics says they keep."""

from __future__ import annotations

import numpy as np
import pytest

from samebits import errors
from samebits.train.augmentation import Flip, InTurn, Reflect, RotatePhi, RotatePhiPair

Y = np.arange(50)


def random() -> np.random.Generator:
    return np.random.default_rng(4)


def test_images_are_mirrored_in_half_of_the_events() -> None:
    images = random().normal(size=(50, 3, 4, 1)).astype(np.float32)
    changed, targets = Flip(1)(images, Y, random())
    same = (changed == images).all(axis=(1, 2, 3))
    assert 10 < same.sum() < 40
    assert np.array_equal(changed[~same], images[~same][:, :, ::-1])
    assert targets is Y
    with pytest.raises(errors.DataError, match=r"Flip\(axis=3, share=0.5\): events have 3 axes"):
        Flip(3)(images, Y, random())


def test_jets_turn_as_a_whole_and_padding_stays() -> None:
    jets = random().uniform(-1, 1, (50, 4, 3)).astype(np.float32)  # pT, eta, phi
    jets[:, 3] = 0
    turned, _ = RotatePhi(2)(jets, Y, random())
    assert (turned[:, 3] == 0).all()
    assert np.array_equal(turned[..., :2], jets[..., :2])
    phi = turned[:, :3, 2]
    assert phi.min() >= -np.pi
    assert phi.max() < np.pi + 1e-6
    apart = np.cos(phi[:, 0] - phi[:, 1]) - np.cos(jets[:, 0, 2] - jets[:, 1, 2])
    assert np.abs(apart).max() < 1e-5
    assert np.std(phi[:, 0]) > 1


def test_sine_and_cosine_turn_together() -> None:
    phi = random().uniform(-3, 3, (50, 2))
    rows = np.stack([np.sin(phi), np.cos(phi)], axis=-1).astype(np.float32)
    turned, _ = RotatePhiPair(0, 1)(rows, Y, random())
    assert np.abs((turned**2).sum(axis=-1) - 1).max() < 1e-5
    found = np.arctan2(turned[..., 0], turned[..., 1])
    change = np.exp(1j * (found - phi))
    assert np.abs(change[:, 0] - change[:, 1]).max() < 1e-5


def test_eta_changes_sign_and_steps_follow_each_other() -> None:
    jets = random().uniform(0.1, 1, (50, 4, 3)).astype(np.float32)
    both = InTurn((Reflect(1, share=1.0), Reflect(1)))
    changed, _ = both(jets, Y, random())
    assert set(np.unique(np.sign(changed[..., 1]))) == {-1, 1}
    assert np.array_equal(np.abs(changed), jets)
    assert (np.ptp(np.sign(changed[..., 1]), axis=1) == 0).all()
