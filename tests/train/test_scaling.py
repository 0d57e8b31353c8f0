"""Input formats and standardisation in hardware numbers."""

import numpy as np
import pytest

from samebits import errors
from samebits.train.scaling import (
    InputFormat,
    choose_input_format,
    choose_scaling,
    exact_standardisation,
    hardware_view,
)

RNG = np.random.default_rng(2026)
FEATURES = (RNG.normal(size=(4000, 3)) * [80.0, 0.5, 0.03] + [90.0, -2.0, 0.1]).astype(np.float32)
NAMES = ("mass", "zlogz", "c1")


def test_the_format_covers_the_largest_and_resolves_the_finest_feature() -> None:
    chosen = choose_input_format(FEATURES, NAMES)
    assert chosen.signed
    assert chosen.high >= np.abs(FEATURES).max() > chosen.high / 2
    sigma = FEATURES.std(axis=0).min()
    assert chosen.lsb <= sigma / 32 < 2 * chosen.lsb
    assert str(chosen) == f"ap_fixed<{chosen.width},{chosen.integer},AP_RND_CONV,AP_SAT>"


def test_positive_features_need_no_sign() -> None:
    chosen = choose_input_format(np.abs(FEATURES), NAMES)
    assert not chosen.signed
    assert chosen.low == 0
    assert str(chosen).startswith("ap_ufixed<")


def test_rounding_is_half_to_even_and_saturates() -> None:
    quarter = InputFormat(width=6, integer=4, signed=True)
    x = np.array([0.125, 0.375, -0.125, -0.375, 7.9, 100, -100, 0.126, 0.0])
    expected = [0.0, 0.5, 0.0, -0.5, 7.75, 7.75, -8.0, 0.25, 0.0]
    assert quarter.quantize(x).tolist() == expected


def test_a_spread_that_no_format_serves_is_named() -> None:
    features = np.stack([FEATURES[:, 0] * 1000, FEATURES[:, 2] / 1000], axis=1)
    with pytest.raises(
        errors.DataError,
        match=r"no single input format of at most 23 bits serves all features: 'pt' reaches .* and "
        r"'ratio' varies by only .* Change the unit of one of them, or set input_bits",
    ):
        choose_input_format(features, ("pt", "ratio"))


def test_a_given_width_sets_the_step_and_must_hold_the_range() -> None:
    assert choose_input_format(FEATURES, NAMES, width=14) == InputFormat(14, 10, True)
    with pytest.raises(errors.DataError, match=r"input_bits is 8, but feature 'mass' reaches "):
        choose_input_format(FEATURES, NAMES, width=8)


@pytest.mark.parametrize(
    ("width", "integer", "signed"), [(24, 4, True), (1, 1, True), (4, 0, True)]
)
def test_impossible_formats_are_refused(width: int, integer: int, signed: bool) -> None:
    with pytest.raises(errors.FormatError):
        InputFormat(width, integer, signed)


def test_po2_scales_are_powers_of_two_near_the_exact_ones() -> None:
    scaling = choose_scaling(FEATURES, "po2", scaled_bits=8)
    mantissa, _ = np.frexp(scaling.scale)
    assert np.all(mantissa == 0.5)
    ratio = scaling.scale / exact_standardisation(FEATURES).scale
    assert np.all((ratio > 2**-0.51) & (ratio < 2**0.51))
    assert np.all(scaling.shift * 32 == np.rint(scaling.shift * 32))


def test_fold_scales_have_eight_significant_bits() -> None:
    scaling = choose_scaling(FEATURES, "fold", scaled_bits=8)
    exact = exact_standardisation(FEATURES)
    assert np.all(np.abs(scaling.scale / exact.scale - 1) <= 2**-8)
    mantissa, _ = np.frexp(scaling.scale.astype(np.float64))
    assert np.all(mantissa * 256 == np.rint(mantissa * 256))
    assert np.all(np.abs(scaling.shift - exact.shift) <= 1 / 64 + np.abs(exact.shift) * 2**-8)


def test_constant_features_stay_finite() -> None:
    features = np.tile(np.array([[0.0, 5.0, 1e-3]], np.float32), (10, 1))
    for kind in ("po2", "fold"):
        scaling = choose_scaling(features, kind, scaled_bits=8)
        assert np.all(np.isfinite(scaling.scale))
        assert np.all(np.abs(features * scaling.scale + scaling.shift) <= 1)


def test_hardware_view_moves_a_feature_by_at_most_half_a_step() -> None:
    input_format = choose_input_format(FEATURES, NAMES)
    scaling = choose_scaling(FEATURES, "po2", scaled_bits=8)
    seen = hardware_view(FEATURES, input_format, scaling, scaled_bits=8)
    z = FEATURES * scaling.scale + scaling.shift
    inside = np.abs(z) < 3.9
    bound = 0.5 / 32 / scaling.scale + input_format.lsb
    assert np.all((np.abs(seen - FEATURES) <= bound)[inside])
    assert np.any(seen != FEATURES)
