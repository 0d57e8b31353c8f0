"""`samebits rtl`: what is written and what is said."""

import json
import os
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


@pytest.fixture
def yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A yosys on PATH that always counts the same cells."""
    cells = {"LUT6": 1_300_000, "FDRE": 20, "CARRY4": 3, "DSP48E2": 1, "STRANGE": 2}
    path = tmp_path / "bin" / "yosys"
    path.parent.mkdir()
    path.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Yosys 0.71 (fake)" && exit\n'
        f"echo '{json.dumps({'design': {'num_cells_by_type': cells}})}' > stat.json\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def test_synthesise(samebits: Command, build: Path, yosys: Path) -> None:
    result = samebits("rtl", build, "--synthesise")
    assert result.code == 0
    rows = [line.replace(" ", "").strip("│") for line in result.stdout.splitlines()]
    assert "LUT│1,300,000│75.23%│70%" in rows
    assert "FF│20│0.00%│50%" in rows
    assert "CARRY4│3│-│-" in rows
    assert "\nyosys 0.71: 0 s\n" in result.stdout
    assert "  not counted: 2 STRANGE\n" in result.stdout
    yosys.write_text("#!/bin/sh\necho not again\nexit 1\n")
    again = samebits("rtl", build, "--synthesise")
    assert again.stdout == result.stdout[result.stdout.index(f"{build / 'rtl'}: ") :].replace(
        "cut for alkaid's delay model", "as it was there"
    )


def test_synthesise_uses_the_rtl_that_is_there(samebits: Command, build: Path, yosys: Path) -> None:
    samebits("rtl", build, "--latency-cycles", "3")
    result = samebits("rtl", build, "--synthesise", "--json")
    found = json.loads(result.stdout)
    assert found["latency_cycles"] == 3
    assert found["synthesis"]["resources"]["used"]["LUT"] == {
        "value": 1_300_000,
        "unit": "LUT",
        "kind": "synthesised",
        "tool": "yosys 0.71 (synth_xilinx -family xcup)",
    }
    assert (build / "rtl" / "synthesis.json").is_file()
    # an option that says how to write it writes it again
    result = samebits("rtl", build, "--latency-cycles", "4", "--synthesise", "--json")
    assert json.loads(result.stdout)["latency_cycles"] == 4


def test_synthesis_of_vhdl(samebits: Command, build: Path) -> None:
    result = samebits("rtl", build, "--vhdl", "--synthesise")
    assert (result.code, result.error) == (
        2,
        "rtl: yosys reads Verilog: --synthesise and --place-and-route do not go with --vhdl; the "
        "Verilog comes from the same pipeline",
    )
    assert not (build / "rtl").exists()
