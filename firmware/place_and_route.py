"""Place and route of the RTL on a Lattice ECP5, the largest device that open tools place and route.

yosys maps the same files to the device's cells, nextpnr places and routes them and analyses the
timing with real wires. The device is not the target's part: LUT4 instead of LUT6, an older
process. Registers on the device stand before the inputs and behind the outputs, so that all of the
pipeline is timed and three pins are enough.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from samebits import errors

from . import rtl_results
from .open_tools import NEXTPNR, YOSYS, OpenTool, find_tool
from .results import (
    LatencyEstimate,
    Measured,
    NotRun,
    Quantity,
    ResourceEstimate,
    Text,
    at_clock,
    latency_estimate,
)
from .rtl import Rtl
from .rtl_results import Progress, RtlResult, Used
from .synthesis import cells_of

__all__ = [
    "DEVICE",
    "TIMEOUT_S",
    "PlaceAndRoute",
    "expected",
    "place_and_route",
    "read_place_and_route",
]

RESULT = "place_and_route.json"
COMMAND = "samebits rtl BUILD --place-and-route"
DEVICE = "LFE5U-85F"
SPEED_GRADE = 6  # of 6, 7, 8: the slowest
TIMEOUT_S = 3600.0
SEED = 1
_HARNESS = "samebits_harness"
_NETLIST, _REPORT = "netlist.json", "report.json"
_USED = {
    # our name: nextpnr's; a TRELLIS_COMB is a LUT4 or one bit of a carry chain
    "LUT4": "TRELLIS_COMB",
    "FF": "TRELLIS_FF",
    "MULT18": "MULT18X18D",
    "EBR18": "DP16KD",
}

_STEPS = ("mapping", "packing", "placing", "refining the placement", "routing")
_STEP = {
    "Info: Packing": 1,
    "Info: Creating initial": 2,
    "Info: Running simulated annealing": 3,
    "Info: Routing": 4,
}


class PlaceAndRoute(RtlResult):
    """What nextpnr made of the RTL. `utilisation`: (used, available) by the device's cell type."""

    device: Text
    harness_ff: int
    utilisation: dict[str, tuple[int, int]]
    latency: LatencyEstimate
    resources: ResourceEstimate


def place_and_route(
    rtl: Rtl,
    *,
    yosys: OpenTool | None = None,
    nextpnr: OpenTool | None = None,
    timeout_s: float = TIMEOUT_S,
    progress: Progress | None = None,
) -> PlaceAndRoute:
    """The RTL's fastest clock and resources on an LFE5U-85F; the last result if nothing changed.

    Args:
        rtl: Verilog on disk.
        timeout_s: after which a tool is stopped.
        progress: called with the number of steps done, how many there are, and the step.

    Raises:
        UnsupportedError: VHDL, or a network that does not fit into the device.
        MissingToolError: no yosys or no nextpnr-ecp5.
        ToolError: a tool fails, takes too long, or writes what is no result.
        BuildError: the RTL changes meanwhile, or something cannot be written.
    """
    step = progress or (lambda done, total, name: None)
    with rtl_results.workplace(rtl, "yosys") as (folder, names, files_sha256):
        yosys, nextpnr = yosys or find_tool(YOSYS), nextpnr or find_tool(NEXTPNR)
        synthesis = (
            f"synth_lattice -family ecp5 -top {_HARNESS} -json {_NETLIST}",
            "tee -q -o stat.json stat -json",
        )
        options = (
            *("--85k", "--package", "CABGA756", "--speed", str(SPEED_GRADE)),
            *("--freq", f"{rtl.clock_mhz:g}", "--seed", str(SEED)),
            *("--timing-allow-fail", "--lpf-allow-unconstrained"),
        )
        tools = (yosys.title, nextpnr.title)
        commands = (*synthesis, f"nextpnr-ecp5 {' '.join(options)}")
        if last := rtl_results.last(rtl, RESULT, PlaceAndRoute, tools, commands):
            return last
        (folder / "harness.v").write_text(_harness(rtl), encoding="ascii")
        script = [f"read_verilog -defer harness.v {' '.join(names)}", *synthesis]
        (folder / "synth.ys").write_text("\n".join(script) + "\n", encoding="ascii")
        step(0, len(_STEPS), _STEPS[0])
        first = rtl_results.run(
            *(rtl, yosys, ["-s", "synth.ys"]),
            folder=folder,
            log="ecp5_synthesis.log",
            timeout_s=timeout_s,
        )
        _check_fits(rtl, cells_of(folder / "stat.json", yosys))
        second = rtl_results.run(
            *(rtl, nextpnr, [*options, "--json", _NETLIST, "--report", _REPORT]),
            folder=folder,
            log="ecp5_place_and_route.log",
            timeout_s=timeout_s,
            on_line=_watch(step),
        )
        fmax_mhz, utilisation = report_of(folder / _REPORT, nextpnr)
    harness_ff = _given(rtl) + _taken(rtl)
    result = PlaceAndRoute(
        files_sha256=files_sha256,
        tools=tools,
        commands=commands,
        used=Used(
            seconds=round(first.seconds + second.seconds, 1),
            memory_mb=max((x.memory_mb for x in (first, second) if x.memory_mb), default=None),
        ),
        device=DEVICE,
        harness_ff=harness_ff,
        utilisation=utilisation,
        latency=_latency(rtl, fmax_mhz, nextpnr),
        resources=_resources(utilisation, harness_ff, nextpnr),
    )
    rtl_results.write(rtl, RESULT, result)
    return result


def expected(rtl: Rtl) -> str:
    """About how long the tools take, and their memory; measured as docs/rtl.md says."""
    return rtl_results.expected(rtl, s_per_kb=3.0, mb_per_kb=3.0)


def read_place_and_route(rtl: Rtl) -> PlaceAndRoute | NotRun:
    """What `place_and_route` found for the RTL as it stands there, or why there is nothing.

    Raises:
        BuildError: place_and_route.json is damaged.
    """
    return rtl_results.read(rtl, RESULT, PlaceAndRoute, COMMAND)


def report_of(path: Path, tool: OpenTool) -> tuple[float, dict[str, tuple[int, int]]]:
    """(fmax_mhz, {cell type: (used, available)}) from the report that nextpnr writes.

    Raises:
        ToolError: it is missing or truncated, or does not time one clock.
    """
    try:
        report = json.loads(path.read_bytes())
        (clock,) = report["fmax"].values()
        utilisation = {
            str(kind): (int(n["used"]), int(n["available"]))
            for kind, n in report["utilization"].items()
        }
        return float(clock["achieved"]), {k: v for k, v in utilisation.items() if v[0]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise errors.ToolError(
            f"{tool.title}: its report cannot be read ({type(error).__name__}: {error}); "
            "run it again"
        ) from None


_COMB, _FF = 83_640, 83_640  # LUT4 and registers of the device: Lattice FPGA-DS-02012


def _check_fits(rtl: Rtl, cells: Mapping[str, int]) -> None:
    # a CCU2C takes two LUT4
    lut = cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0)
    ff = cells.get("TRELLIS_FF", 0)
    if lut > _COMB or ff > _FF:
        raise errors.UnsupportedError(
            f"{rtl.top} takes {lut} LUT4 and {ff} registers, {DEVICE} has {_COMB} and {_FF}: the "
            "network is too large for the device that is placed and routed; --synthesise counts "
            "its resources on the target's family"
        )


def _given(rtl: Rtl) -> int:
    return 2 + sum(port.bits for port in rtl.inputs)


def _taken(rtl: Rtl) -> int:
    return 1 + sum(port.bits for port in rtl.outputs)


def _harness(rtl: Rtl) -> str:
    """Inputs from a shift register, outputs into registers that nothing reads.

    The enable sets the shift register apart from the network's input registers, which would
    otherwise hold the same bits as their neighbours in it and be merged with them.
    """
    given, taken = _given(rtl), _taken(rtl)
    pins = [".clk(clk)", ".rst(given[0])", ".in_valid(given[1])", ".out_valid(made[0])"]
    for ports, wire, start in ((rtl.inputs, "given", 2), (rtl.outputs, "made", 1)):
        for port in ports:
            pins.append(f".{port.port}({wire}[{start + port.bits - 1}:{start}])")
            start += port.bits
    return f"""module {_HARNESS} (input wire clk, input wire shift, input wire serial);
    (* keep *) reg [{given - 1}:0] given;
    (* keep *) reg [{taken - 1}:0] taken;
    wire [{taken - 1}:0] made;
    always @(posedge clk) begin
        if (shift) given <= {{given[{given - 2}:0], serial}};
        taken <= made;
    end
    {rtl.top} network ({", ".join(pins)});
endmodule
"""


def _label(tool: OpenTool) -> str:
    return f"{tool.title} ({DEVICE}, speed grade {SPEED_GRADE}, placed and routed)"


def _latency(rtl: Rtl, fmax_mhz: float, tool: OpenTool) -> LatencyEstimate:
    fmax = Quantity(value=fmax_mhz, unit="MHz", kind="synthesised", tool=_label(tool))
    written = latency_estimate(
        f"rtl/ on Lattice {DEVICE}, not the target's part",
        rtl.latency_cycles,
        rtl.clock_mhz,
        1,
        "synthesised",
        f"alkaid {rtl.tools.get('alkaid', '')}".strip(),
        (
            f"the same RTL placed and routed on another device ({DEVICE}, LUT4): says nothing "
            f"about {rtl.part}; ns are counted with the device's fastest clock",
            "no register is moved (retiming), which the pipeline relies on",
        ),
        fmax_mhz=fmax,
    )
    return at_clock(written, fmax)


def _resources(
    utilisation: Mapping[str, tuple[int, int]], harness_ff: int, tool: OpenTool
) -> ResourceEstimate:
    def quantity(value: int, unit: str, kind: Any = "synthesised") -> Quantity:
        return Quantity(value=value, unit=unit, kind=kind, tool=_label(tool))

    used: dict[str, Measured] = {}
    totals: dict[str, Quantity] = {}
    for name, cell in _USED.items():
        count, available = utilisation.get(cell, (0, 0))
        used[name] = quantity(count - harness_ff if name == "FF" else count, name)
        if available:
            totals[name] = quantity(available, name, "assumed")
    return ResourceEstimate(
        source=f"rtl/ on Lattice {DEVICE}, not the target's part",
        used=used,
        device=DEVICE,
        totals=totals,
        notes=(
            "LUT4: nextpnr's TRELLIS_COMB, a LUT of four inputs or one bit of a carry chain",
            f"{harness_ff} registers around the network, for timing, are not counted",
        ),
    )


def _watch(step: Progress) -> Callable[[str], None]:
    def look(line: str) -> None:
        for start, done in _STEP.items():
            if line.startswith(start):
                step(done, len(_STEPS), _STEPS[done])

    return look
