"""`samebits rtl`: what is written and what is said."""

import json
from pathlib import Path

import pytest

from .command import Command

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")


def test_verilog(samebits: Command, build: Path) -> None:
    result = samebits("rtl", build)
    assert result.code == 0
    facts = json.loads((build / "rtl" / "rtl.json").read_text())
    assert facts["language"] == "verilog"
    cycles = facts["latency_cycles"]
    assert result.stdout.endswith(
        f"{build / 'rtl'}: verilog, {cycles} cycles at 200 MHz ({cycles * 5} ns; cut for alkaid's "
        f"delay model, not synthesised), one event per clock\n"
        f"next: samebits verify {build} --against rtl\n"
    )
    assert "in_x" in result.stdout


def test_vhdl_elsewhere(samebits: Command, build: Path, tmp_path: Path) -> None:
    place = tmp_path / "vhdl"
    options = "--vhdl", "--latency-cycles", "4", "--clock-mhz", "320", "-o", place
    result = samebits("rtl", build, *options, "--json")
    assert json.loads(result.stdout) == {
        "folder": str(place),
        "top": "model_top",
        "language": "vhdl",
        "clock_mhz": 320.0,
        "latency_cycles": 4,
        "initiation_interval": 1,
    }
    assert (place / "src" / "model_top.vhd").is_file()
    assert not (build / "rtl").exists()


def test_wrong_latency(samebits: Command, build: Path) -> None:
    result = samebits("rtl", build, "--latency-cycles", "0")
    assert (result.code, result.error) == (2, "rtl: the latency must be 1 to 1000 cycles, got 0")
