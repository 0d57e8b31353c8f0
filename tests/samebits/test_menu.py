"""Menus of seeds: the file, and rates that are counts of events."""

from pathlib import Path

import numpy as np
import pytest

from samebits import errors
from samebits.menu import SeedValues, measure_menu, read_menu
from samebits.sim.trigger import Beam

FULL = Beam(3564)
MENU = """
[[seed]]
name = "a"
score = "t"
threshold = 0.5
[[seed]]
name = "b"
column = "pt"
rate_khz = 5000.0
"""


def test_rates_are_counts(tmp_path: Path) -> None:
    (tmp_path / "menu.toml").write_text(MENU)
    seeds = read_menu(tmp_path / "menu.toml").seed
    rng = np.random.default_rng(3)
    score, pt = rng.uniform(size=(2, 800))
    coarse = np.floor(score * 4) / 4
    values = {
        "a": SeedValues(
            "score of t", {"float": score, "firmware": coarse}, {"H": {"float": score[:50]}}
        ),
        "b": SeedValues("pt", {"float": pt, "firmware": pt}, {"H": {"float": pt[:50]}}),
    }
    for one in values.values():  # a Mapping to its users, a dict here
        one.signals["H"]["firmware"] = one.signals["H"]["float"]  # type: ignore[index]
    found = measure_menu(seeds, values, FULL, file="menu.toml")
    khz = FULL.crossings_khz
    for name, cut in (("float", score), ("firmware", coarse)):
        model = found.models[name]
        b = model.thresholds["b"]
        assert b is not None
        first, second = cut >= 0.5, pt >= b
        looser = pt >= np.sort(pt)[-second.sum() - 1]
        assert second.mean() * khz <= 5000 < looser.mean() * khz
        assert model.total_khz.value == pytest.approx((first | second).mean() * khz)
        assert model.rows[0].total_khz.value == pytest.approx(first.mean() * khz)
        assert model.rows[0].pure_khz.value == pytest.approx((first & ~second).mean() * khz)
        assert model.rows[0].overlap_khz["b"] == pytest.approx((first & second).mean() * khz)
        shared = sum(row.shared_khz for row in model.rows)
        assert shared == pytest.approx(model.total_khz.value)
        peaks = score[:50] >= 0.5, pt[:50] >= b
        assert model.efficiency["H"].value == (peaks[0] | peaks[1]).mean()
        assert model.seeds["b"]["H"].value == peaks[1].mean()
    assert found.signals == {"H": 50}
    assert [seed.quantity for seed in found.seeds] == ["score of t", "pt"]
    (difference,) = found.differences
    totals = [found.models[name].total_khz.value for name in ("float", "firmware")]
    assert difference.value == pytest.approx(totals[1] - totals[0])
    assert difference.low_95 <= difference.low_68 <= difference.high_68 <= difference.high_95
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_equal_models_do_not_differ_and_weights_of_one_are_none(tmp_path: Path) -> None:
    (tmp_path / "menu.toml").write_text(MENU)
    seeds = read_menu(tmp_path / "menu.toml").seed
    x = np.linspace(0, 1, 100)
    values = {name: SeedValues("x", {"float": x, "firmware": x}, {}) for name in "ab"}
    (difference,) = measure_menu(seeds, values, FULL).differences
    assert (difference.value, difference.low_95, difference.high_95) == (0, 0, 0)
    weighted = measure_menu(seeds, values, FULL, np.ones(100))
    assert weighted == measure_menu(seeds, values, FULL)


def test_the_difference_of_weighted_menus_is_that_of_a_plain_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "menu.toml").write_text('[[seed]]\nname = "a"\nscore = "t"\nthreshold = 0.5\n')
    seeds = read_menu(tmp_path / "menu.toml").seed
    rng = np.random.default_rng(5)
    score, weight = rng.uniform(size=400), rng.uniform(0.5, 2, 400)
    other = score + rng.normal(0, 0.1, 400)
    values = {"a": SeedValues("t", {"float": score, "firmware": other}, {})}
    (found,) = measure_menu(seeds, values, FULL, weight).differences
    change = (other >= 0.5).astype(float) - (score >= 0.5)
    assert found.value == pytest.approx(np.average(change, weights=weight) * FULL.crossings_khz)
    drawn = rng.integers(0, 400, (4000, 400))
    plain = (change * weight)[drawn].sum(axis=1) / weight[drawn].sum(axis=1) * FULL.crossings_khz
    wanted = np.percentile(plain, (2.5, 16, 84, 97.5))
    bounds = (found.low_95, found.low_68, found.high_68, found.high_95)
    assert bounds == pytest.approx(wanted, abs=0.15 * plain.std())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "seed: Field required"),
        ('[[seed]]\nname = "a"', "seed.0: give threshold or rate_khz, one of them"),
        ('[[seed]]\nname = "a"\nthreshold = 1\nrate_khz = 1', "rate_khz, not both; a menu is"),
        ('[[seed]]\nname = "a"\nthreshold = 1\ncut = 2', "seed.0.cut: there is no such key"),
        ('[[seed]]\nname = "a"\nthreshold = 1\ncolumn = "x"\nscore = 1', "give column, or score"),
        (2 * '[[seed]]\nname = "a"\nthreshold = 1\n', "two seeds have the same name"),
        ("[[seed", "is no TOML"),
    ],
)
def test_menus_that_make_no_sense_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "menu.toml"
    path.write_text(text)
    with pytest.raises(errors.UsageError, match=message):
        read_menu(path)
    with pytest.raises(errors.UsageError, match="cannot be read"):
        read_menu(tmp_path / "absent.toml")
