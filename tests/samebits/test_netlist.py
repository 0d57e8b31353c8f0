"""`check_netlist`: yosys' netlist takes the RTL's place in the simulation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from samebits import Design, errors, verify
from samebits.firmware import synthesis
from samebits.firmware.open_tools import OpenTool
from samebits.firmware.rtl import Rtl
from samebits.firmware.synthesis import Synthesis, read_synthesis, synthesise
from samebits.rtl import check_netlist
from samebits.sim.verification import EngineReport

from ..models import quantized_mlp

pytest.importorskip("alkaid", reason="alkaid is in the extra rtl")

EQUAL = EngineReport("rtl", "equal", tool="Verilator 5.48, alkaid 0.8.2")


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> Design:
    made = Design.from_onnx(quantized_mlp(softmax=False).model())
    made.save(tmp_path_factory.mktemp("netlist") / "build")
    made.rtl()
    return made


@pytest.fixture
def yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A yosys that counts the cells of cells.json and writes a netlist of one line."""
    (tmp_path / "cells.json").write_text('{"design": {"num_cells_by_type": {"LUT6": 3}}}')
    path = tmp_path / "yosys"
    path.write_text(
        f"#!/bin/sh\ncp '{tmp_path}/cells.json' stat.json; cp synth.ys '{tmp_path}'\n"
        "echo 'module netlist; endmodule' > netlist.v\n"
    )
    path.chmod(0o755)
    tool = OpenTool("yosys", (str(path),), "0.70", "on PATH")
    monkeypatch.setattr(synthesis, "find_tool", lambda _: tool)
    return tmp_path


def synthesised(design: Design) -> tuple[Rtl, Synthesis]:
    assert design.folder is not None
    rtl = synthesis.read_rtl(design.folder / "rtl")
    (rtl.folder / "synthesis.json").unlink(missing_ok=True)
    return rtl, synthesise(rtl)


def check(design: Design, rtl: Rtl, found: Synthesis) -> Synthesis:
    return check_netlist(
        *(design, rtl, found),
        timeout_s=10,
        show=lambda *_: None,
        progress=lambda *_: None,
    )


def test_the_netlist_is_what_is_simulated(
    design: Design, yosys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtl, found = synthesised(design)
    seen: list[str] = []

    def simulated(other: Design, inputs: list[object], progress: object) -> list[EngineReport]:
        assert other.folder is not None
        assert other.folder != design.folder
        place = synthesis.read_rtl(other.folder / "rtl")
        assert (place.top, place.inputs, place.outputs) == (rtl.top, rtl.inputs, rtl.outputs)
        assert place.fingerprint == design.fingerprint
        seen.extend(path.read_text() for path in place.sources)
        return [EQUAL]

    monkeypatch.setitem(verify.ENGINES, "rtl", simulated)
    checked = check(design, rtl, found)
    assert seen == ["module netlist; endmodule\n"]
    script = (yosys / "synth.ys").read_text().splitlines()
    assert tuple(script[1:3]) == found.commands  # the same synthesis
    assert script[-5:] == [
        f"hierarchy -check -top {rtl.top}",
        *("proc", "flatten", "opt_clean", "write_verilog -noattr netlist.v"),
    ]
    assert checked.netlist_check.startswith("the netlist, simulated in Verilator 5.48 with ")
    assert checked.netlist_check.endswith("gives the NumPy engine's bits: 0 of 0 differ")
    assert checked.resources.notes[-1] == checked.netlist_check
    assert read_synthesis(rtl) == checked
    assert synthesise(rtl) == checked
    assert check(design, rtl, checked) == checked  # not simulated again
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("report", "error"),
    [
        (replace(EQUAL, status="MISMATCH", detail="event 3"), errors.MismatchError),
        (replace(EQUAL, status="not run", detail="no Verilator"), errors.MissingToolError),
    ],
)
def test_a_netlist_that_is_not_equal(
    design: Design,
    yosys: Path,
    monkeypatch: pytest.MonkeyPatch,
    report: EngineReport,
    error: type[errors.SamebitsError],
) -> None:
    rtl, found = synthesised(design)
    monkeypatch.setitem(verify.ENGINES, "rtl", lambda *_: [report])
    with pytest.raises(error, match=report.detail):
        check(design, rtl, found)
    assert read_synthesis(rtl) == found


def test_cells_that_cannot_be_simulated(design: Design, yosys: Path) -> None:
    cells = {"design": {"num_cells_by_type": {"LUT6": 3, "DSP48E2": 1, "RAMB18E2": 2}}}
    (yosys / "cells.json").write_text(json.dumps(cells))
    rtl, found = synthesised(design)
    with pytest.raises(errors.UnsupportedError, match="its netlist holds DSP48E2, RAMB18E2, which"):
        check(design, rtl, found)


def test_a_netlist_of_another_synthesis(design: Design, yosys: Path) -> None:
    rtl, found = synthesised(design)
    (yosys / "cells.json").write_text('{"design": {"num_cells_by_type": {"LUT6": 4}}}')
    with pytest.raises(errors.ToolError, match=r"is not the one of synthesis\.json"):
        check(design, rtl, found)
