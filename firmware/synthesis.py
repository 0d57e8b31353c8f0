"""Logic synthesis of the RTL with yosys for AMD's parts: LUT, FF, DSP, BRAM and carry blocks.

yosys reads the files that `verify --against rtl` simulates; what it says stands in synthesis.json
beside them. Its timing is not used, since it knows no routing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from samebits import errors

from . import rtl_results
from .open_tools import YOSYS, OpenTool, find_tool
from .parts import family_of
from .results import Measured, NotRun, Quantity, ResourceEstimate, Text
from .rtl import FACTS, Rtl, read_rtl
from .rtl_results import Progress, RtlResult

__all__ = [
    "FAMILIES",
    "TIMEOUT_S",
    "Synthesis",
    "expected",
    "read_synthesis",
    "synthesise",
    "with_check",
    "write_netlist",
]

RESULT = "synthesis.json"
COMMAND = "samebits rtl BUILD --synthesise"
TIMEOUT_S = 3600.0
FAMILIES: Mapping[str, str] = {"UltraScale+": "xcup", "UltraScale": "xcu", "7 series": "xc7"}
"""yosys' names of the families of `parts.family_of`."""

STEPS = 58  # passes of synth_xilinx in yosys 0.70, for the progress bar
_PASS = re.compile(r"\d+\.(\d+)\. Executing (.+?)(?: pass| frontend)?[.:( ]*(?:\(|$|:)")
_COUNTED: Mapping[str, Mapping[str, float]] = {
    "LUT": {
        **dict.fromkeys(("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "LUT6_2"), 1),
        "INV": 1,  # a LUT of its own, unless place and route hides it in a neighbour
        **dict.fromkeys(("SRL16", "SRL16E", "SRLC16", "SRLC16E", "SRLC32E"), 1),
        # a distributed memory's LUTs: AMD UG953 and UG974
        **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4},
        **{"RAM256X1D": 8, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8},
    },
    "FF": dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE"), 1),
    "DSP": {"DSP48E1": 1, "DSP48E2": 1},
    "BRAM36": {"RAMB36E1": 1, "RAMB36E2": 1, "RAMB18E1": 0.5, "RAMB18E2": 0.5},
    "CARRY4": {"CARRY4": 1, "CARRY8": 2},
}
_OPAQUE = ("DSP48", "RAMB", "URAM")  # black boxes in yosys' library, for one family or all
_NOT_COUNTED = ("MUXF7", "MUXF8", "MUXF9", "BUFG", "VCC", "GND")  # part of a slice, or no logic
_NOTES = (
    "LUT: every LUT cell and inverter counts as one; a sum of three numbers takes yosys three LUT "
    "cells per bit, where alkaid's estimate takes one, as the parts' carry chains allow",
    "CARRY4: blocks of four bits; a CARRY8 of UltraScale and UltraScale+ holds two",
    "after synthesis, neither placed nor routed; no register is moved (retiming)",
)


class Synthesis(RtlResult):
    """What yosys made of the RTL.

    `cells`: the netlist's cells by type. `netlist_check`: what came of simulating it, if anything.
    """

    part: Text
    family: Text
    cells: dict[str, int]
    resources: ResourceEstimate
    netlist_check: str = ""


def synthesise(
    rtl: Rtl,
    *,
    tool: OpenTool | None = None,
    timeout_s: float = TIMEOUT_S,
    progress: Progress | None = None,
) -> Synthesis:
    """The RTL's resources on its part's family; the last result if nothing has changed.

    Args:
        rtl: Verilog on disk.
        timeout_s: after which yosys is stopped.
        progress: called with the number of passes done, how many there are, and the pass.

    Raises:
        UnsupportedError: VHDL, or a part of a family that yosys does not know.
        MissingToolError: no yosys.
        ToolError: yosys fails, takes too long, or writes what is no result.
        BuildError: the RTL changes meanwhile, or something cannot be written.
    """
    family = FAMILIES[family_of(rtl.part)]
    with rtl_results.workplace(rtl, "yosys") as (folder, names, files_sha256):
        tool = tool or find_tool(YOSYS)
        commands = _commands(rtl)
        if last := rtl_results.last(rtl, RESULT, Synthesis, (tool.title,), commands):
            return last
        script = [f"read_verilog -defer {' '.join(names)}", *commands]
        (folder / "synth.ys").write_text("\n".join(script) + "\n", encoding="ascii")
        used = rtl_results.run(
            *(rtl, tool, ["-s", "synth.ys"]),
            folder=folder,
            log="synthesis.log",
            timeout_s=timeout_s,
            on_line=_watch(progress),
        )
        cells = cells_of(folder / "stat.json", tool)
    label = f"{tool.title} (synth_xilinx -family {family})"
    result = Synthesis(
        files_sha256=files_sha256,
        tools=(tool.title,),
        commands=commands,
        used=used,
        part=rtl.part,
        family=family,
        cells=cells,
        resources=ResourceEstimate(
            source="rtl/, yosys",
            used=_resources(cells, label),
            notes=(*_NOTES, *_unknown(cells)),
        ),
    )
    rtl_results.write(rtl, RESULT, result)
    return result


def write_netlist(
    rtl: Rtl,
    synthesis: Synthesis,
    folder: Path,
    *,
    tool: OpenTool | None = None,
    timeout_s: float = TIMEOUT_S,
    progress: Progress | None = None,
) -> Rtl:
    """The netlist of a synthesis as RTL in a new folder, for the simulation that the RTL has.

    Every cell is replaced by what yosys' library says that it does.

    Raises:
        UnsupportedError: cells that yosys has no simulation model of.
        MissingToolError, ToolError, BuildError: as for `synthesise`.
    """
    opaque = [kind for kind in synthesis.cells if kind.startswith(_OPAQUE)]
    if opaque:
        raise errors.UnsupportedError(
            f"{rtl.top}: its netlist holds {', '.join(opaque)}, which yosys cannot simulate; the "
            "RTL itself is checked by `samebits verify --against rtl`"
        )
    with rtl_results.workplace(rtl, "yosys") as (place, names, _):
        tool = tool or find_tool(YOSYS)
        script = (
            f"read_verilog -defer {' '.join(names)}",
            *_commands(rtl),
            "write_verilog -noattr cells.v",
            "design -reset",
            "read_verilog cells.v +/xilinx/cells_sim.v",
            f"hierarchy -check -top {rtl.top}",
            "proc",
            "flatten",
            "opt_clean",
            "write_verilog -noattr netlist.v",
        )
        (place / "synth.ys").write_text("\n".join(script) + "\n", encoding="ascii")
        rtl_results.run(
            *(rtl, tool, ["-s", "synth.ys"]),
            folder=place,
            log="netlist.log",
            timeout_s=timeout_s,
            on_line=_watch(progress),
        )
        if cells_of(place / "stat.json", tool) != synthesis.cells:
            raise errors.ToolError(
                f"{tool.title}: the netlist is not the one of {RESULT}; delete that file"
            )
        try:
            (folder / "src").mkdir(parents=True)
            shutil.copyfile(place / "netlist.v", folder / "src" / "netlist.v")
            shutil.copyfile(rtl.folder / FACTS, folder / FACTS)
        except OSError as error:
            raise errors.BuildError(
                f"{folder}: cannot be written: {error.strerror or error}"
            ) from None
    return read_rtl(folder)


def with_check(rtl: Rtl, synthesis: Synthesis, check: str) -> Synthesis:
    """The synthesis with what came of simulating its netlist, kept beside the RTL.

    Raises:
        BuildError: it cannot be written.
    """
    notes = (*synthesis.resources.notes, check)
    resources = synthesis.resources.model_copy(update={"notes": notes})
    found = synthesis.model_copy(update={"resources": resources, "netlist_check": check})
    rtl_results.write(rtl, RESULT, found)
    return found


def expected(rtl: Rtl) -> str:
    """About how long yosys takes, and its memory; measured as docs/rtl.md says."""
    return rtl_results.expected(rtl, s_per_kb=0.16, mb_per_kb=1.3)


def read_synthesis(rtl: Rtl) -> Synthesis | NotRun:
    """What `synthesise` found for the RTL as it stands there, or why there is nothing.

    Raises:
        BuildError: synthesis.json is damaged.
    """
    return rtl_results.read(rtl, RESULT, Synthesis, COMMAND)


def cells_of(path: Path, tool: OpenTool) -> dict[str, int]:
    """The cells of a netlist by type, from what yosys' `stat -json` wrote.

    Raises:
        ToolError: it is missing or truncated, or counts nothing.
    """
    try:
        found = json.loads(path.read_bytes())["design"]["num_cells_by_type"]
        cells = {str(kind): int(count) for kind, count in found.items() if kind[0] != "$"}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise errors.ToolError(
            f"{tool.title}: its statistics of the netlist cannot be read "
            f"({type(error).__name__}: {error}); run it again"
        ) from None
    if not cells:
        raise errors.ToolError(f"{tool.title}: the netlist holds no cells")
    return cells


def _commands(rtl: Rtl) -> tuple[str, ...]:
    family = FAMILIES[family_of(rtl.part)]
    return (
        f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {rtl.top}",
        "tee -q -o stat.json stat -json",
    )


def _resources(cells: Mapping[str, int], tool: str) -> dict[str, Measured]:
    used: dict[str, Measured] = {}
    for name, weights in _COUNTED.items():
        count = sum(weights.get(kind, 0) * n for kind, n in cells.items())
        value = int(count) if count == int(count) else count
        used[name] = Quantity(value=value, unit=name, kind="synthesised", tool=tool)
    return used


def _unknown(cells: Mapping[str, int]) -> tuple[str, ...]:
    known = {kind for weights in _COUNTED.values() for kind in weights}.union(_NOT_COUNTED)
    other = [f"{n} {kind}" for kind, n in sorted(cells.items()) if kind not in known]
    return (f"not counted: {', '.join(other)}",) if other else ()


def _watch(progress: Progress | None) -> Callable[[str], None] | None:
    if progress is None:
        return None

    def look(line: str) -> None:
        found = _PASS.match(line)
        if found and int(found.group(1)) > 1:
            progress(min(int(found.group(1)), STEPS), STEPS, found.group(2).strip())

    return look
