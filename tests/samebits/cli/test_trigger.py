"""`samebits trigger`: the firmware's rates from its own scores, recorded for the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebits import Design

from .command import Command

BEAM = ("--bunches", "2340", "--rate-khz", "100,5000")
CROSSINGS_KHZ = 2340 * 11.2456


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Path, Path]:
    """Unbiased events with weights, and signal events with a pT, of four features."""
    rng = np.random.default_rng(8)
    unbiased, signal = tmp_path / "zb.npz", tmp_path / "higgs.npz"
    np.savez(unbiased, features=rng.normal(0, 2, (400, 4)).astype(np.float32), w=np.ones(400))
    pt = rng.uniform(0, 100, 300)
    x = rng.normal(0, 2, (300, 4)) + (pt / 30)[:, None]
    np.savez(signal, features=x.astype(np.float32), pt=pt)
    return unbiased, signal


def test_numbers_are_those_of_the_firmware(
    samebits: Command, build: Path, samples: tuple[Path, Path]
) -> None:
    unbiased, signal = samples
    result = samebits(
        *("trigger", build, "--unbiased", unbiased, "--signal", f"H={signal}", *BEAM),
        *("--score", "1", "--offline", "pt", "--edges", "0:100:5", "--json"),
    )
    assert result.code == 0
    facts: dict[str, Any] = json.loads(result.stdout)
    assert list(facts["models"]) == ["model.onnx", "firmware"]
    design = Design.load(build)
    noise, peak = (np.asarray(design.simulate(np.load(f)["features"]))[:, 1] for f in samples)
    _, point = facts["models"]["firmware"]["points"]
    passed = noise >= point["threshold"]
    assert point["unbiased_passed"] == passed.sum()
    assert point["rate_khz"]["value"] == pytest.approx(passed.mean() * CROSSINGS_KHZ)
    assert point["rate_khz"]["value"] <= 5000
    assert point["next_rate_khz"] > 5000
    assert point["efficiency"]["H"]["value"] == (peak >= point["threshold"]).mean()
    curve = facts["models"]["firmware"]["turn_ons"]["H"][1]
    pt = np.load(signal)["pt"]
    assert sum(curve["passed"]) == (peak >= point["threshold"]).sum()
    assert curve["events"] == np.histogram(pt, curve["edges"])[0].tolist()
    recorded = json.loads((build / "report.json").read_text())
    assert recorded["trigger"] == facts


def test_the_tables_and_weights_of_one(
    samebits: Command, build: Path, samples: tuple[Path, Path]
) -> None:
    unbiased, signal = samples
    arguments = ("trigger", build, "--unbiased", unbiased, "--signal", signal, *BEAM)
    plain = samebits(*arguments, "--score", "0")
    assert plain.code == 0
    assert "efficiency higgs" in plain.stdout
    assert "firmware minus model.onnx" in plain.stdout
    weighted = samebits(*arguments, "--score", "0", "--weight", "w")
    table = [line for line in plain.stdout.splitlines() if "│" in line]
    assert table == [line for line in weighted.stdout.splitlines() if "│" in line]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score", "7"), "no score '7'; there are 0 to"),
        ((), "choose one with --score"),
        (("--score", "0", "--offline", "pt"), "need both --offline COLUMN and --edges"),
        (("--score", "0", "--offline", "eta", "--edges", "0:1:2"), "eta"),
        (("--score", "0", "--offline", "pt", "--edges", "5:1:2"), "LOW below HIGH"),
        (("--score", "0", "--rate-khz", "a"), "numbers separated by commas"),
        (("--score", "0", "--rate-khz", "0"), "above 0 kHz"),
        (("--score", "0", "--bunches", "4000"), "1 to 3564"),
        (("--score", "0", "--signal", "higgs=other.npz"), "given twice"),
    ],
)
def test_mistakes_end_in_one_message(
    samebits: Command,
    build: Path,
    samples: tuple[Path, Path],
    options: tuple[str, ...],
    message: str,
) -> None:
    unbiased, signal = samples
    before = (build / "report.json").exists()
    arguments = ("trigger", build, "--unbiased", unbiased, "--signal", signal, *BEAM)
    result = samebits(*arguments, *options)
    assert result.code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert (build / "report.json").exists() == before


def test_a_menu_of_seeds(
    samebits: Command, build: Path, samples: tuple[Path, Path], tmp_path: Path
) -> None:
    unbiased, signal = samples
    menu = tmp_path / "menu.toml"
    menu.write_text(
        '[[seed]]\nname = "score"\nscore = 1\nrate_khz = 3000\n'
        '[[seed]]\nname = "other"\nscore = 0\nthreshold = 0.5\n'
        f'[[seed]]\nname = "again"\nbuild = "{build}"\nscore = 0\nthreshold = 0.5\n'
    )
    arguments = ("trigger", build, "--unbiased", unbiased, "--bunches", "2340", "--menu", menu)
    result = samebits(*arguments, "--signal", f"H={signal}", "--json")
    assert result.code == 0, result.stderr
    facts = json.loads(result.stdout)["menu"]
    assert list(facts["models"]) == ["model.onnx", "firmware"]
    firmware = facts["models"]["firmware"]
    _, other, again = firmware["rows"]
    assert other["total_khz"] == again["total_khz"]
    assert other["pure_khz"]["value"] == again["pure_khz"]["value"] == 0
    assert other["shared_khz"] == again["shared_khz"]
    assert firmware["total_khz"]["value"] <= 3000 + other["total_khz"]["value"]
    recorded = json.loads((build / "report.json").read_text())
    assert recorded["menu"] == facts
    text = samebits(*arguments).stdout
    assert "menu, firmware minus model.onnx" in text
    menu.write_text('[[seed]]\nname = "x"\ncolumn = "absent"\nthreshold = 1\n')
    assert "absent" in samebits(*arguments).error
    wrong = samebits("trigger", build, "--unbiased", unbiased, "--bunches", "2340")
    assert wrong.error == "give --signal and --rate-khz, or --menu"
