"""samebits rtl: the network as pipelined Verilog or VHDL, synthesised, placed and routed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from samebits import errors, record
from samebits.design import Design
from samebits.firmware.results import Quantity

from .console import bar, command_line, counted, engine_bars, line, out, print_json, steps
from .options import Build, Json

if TYPE_CHECKING:
    from samebits.firmware.place_and_route import PlaceAndRoute
    from samebits.firmware.rtl import Rtl
    from samebits.firmware.synthesis import Synthesis

NAME = "rtl"


def command(
    build: Build,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: rtl in the build directory.")
    ] = None,
    vhdl: Annotated[bool, typer.Option("--vhdl", help="VHDL instead of Verilog.")] = False,
    clock_mhz: Annotated[
        float | None, typer.Option("--clock-mhz", help="Default: the design's target clock.")
    ] = None,
    latency_cycles: Annotated[
        int | None,
        typer.Option(
            "--latency-cycles", help="Pipeline stages; default: as many as the clock needs."
        ),
    ] = None,
    synthesise: Annotated[
        bool,
        typer.Option("--synthesise", help="Count LUT, FF, DSP and BRAM with yosys."),
    ] = False,
    place_and_route: Annotated[
        bool,
        typer.Option(
            "--place-and-route", help="Fastest clock on a Lattice ECP5, with yosys and nextpnr."
        ),
    ] = False,
    check_netlist: Annotated[
        bool,
        typer.Option(
            "--check-netlist", help="With --synthesise: simulate yosys' netlist against NumPy."
        ),
    ] = False,
    timeout_min: Annotated[
        float,
        typer.Option("--timeout-min", help="When yosys and nextpnr are stopped.", min=0.01),
    ] = 60.0,
    json: Json = False,
) -> None:
    """Write pipelined RTL that takes an event in every clock; next, verify --against rtl.

    With --synthesise or --place-and-route the RTL that is there is used, unless an option says
    how to write it.
    """
    if check_netlist and not synthesise:
        raise errors.UsageError("rtl: --check-netlist is of the netlist of --synthesise: give both")
    if vhdl and (synthesise or place_and_route):
        raise errors.UsageError(
            "rtl: yosys reads Verilog: --synthesise and --place-and-route do not go with --vhdl; "
            "the Verilog comes from the same pipeline"
        )
    design = Design.load(build)
    made = None
    written = vhdl or any(x is not None for x in (output, clock_mhz, latency_cycles))
    if (synthesise or place_and_route) and not written:
        from samebits.rtl import present

        made = present(design)
    there = made is not None
    if made is None:
        with bar("tracing", len(design.graph.nodes)) as advance:
            made = design.rtl(
                output,
                language="vhdl" if vhdl else "verilog",
                clock_mhz=clock_mhz,
                latency_cycles=latency_cycles,
                progress=lambda done, total: advance(done),
            )
    synthesis = _synthesised(made, timeout_min * 60) if synthesise else None
    if synthesis and check_netlist:
        synthesis = _checked(design, made, synthesis, timeout_min * 60)
    placed = _placed(made, timeout_min * 60) if place_and_route else None
    record.note(build, command_line())
    if json:
        print_json(_as_json(made, synthesis, placed))
        return
    if not there:
        out.print(_ports(made))
    chosen = "as it was there"
    if not there:
        chosen = "asked for" if latency_cycles else "cut for alkaid's delay model"
        chosen += "" if latency_cycles or synthesis else ", not synthesised"
    cycles = counted(made.latency_cycles, "cycle")
    line(
        f"{made.folder}: {made.language}, {cycles} at {made.clock_mhz:g} MHz "
        f"({made.latency_cycles * 1000 / made.clock_mhz:g} ns; {chosen}), one event per clock"
    )
    if synthesis:
        _show_synthesis(made, synthesis)
    if placed:
        _show_placed(made, placed)
    if output is None and not vhdl and not (synthesis or placed):
        line(f"next: samebits verify {build} --against rtl")


def _synthesised(made: Rtl, timeout_s: float) -> Synthesis:
    from samebits.firmware.synthesis import expected, synthesise

    with steps(f"yosys ({expected(made)})") as show:
        return synthesise(made, timeout_s=timeout_s, progress=show)


def _checked(design: Design, made: Rtl, synthesis: Synthesis, timeout_s: float) -> Synthesis:
    from samebits.rtl import check_netlist

    with steps("yosys, netlist") as show, engine_bars() as progress:
        return check_netlist(
            *(design, made, synthesis), timeout_s=timeout_s, show=show, progress=progress
        )


def _placed(made: Rtl, timeout_s: float) -> PlaceAndRoute:
    from samebits.firmware.place_and_route import expected, place_and_route

    with steps(f"ECP5 ({expected(made)})") as show:
        return place_and_route(made, timeout_s=timeout_s, progress=show)


def _as_json(
    made: Rtl, synthesis: Synthesis | None, placed: PlaceAndRoute | None
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "folder": str(made.folder),
        "top": made.top,
        "language": made.language,
        "clock_mhz": made.clock_mhz,
        "latency_cycles": made.latency_cycles,
        "initiation_interval": 1,
    }
    if synthesis:
        value["synthesis"] = synthesis.model_dump(mode="json")
    if placed:
        value["place_and_route"] = placed.model_dump(mode="json")
    return value


def _ports(made: Rtl) -> Table:
    table = Table(title=made.top, title_justify="left")
    for column in ("port", "direction", "bits", "tensor", "shape", "format"):
        table.add_column(column, overflow="fold")
    for way, ports in (("in", made.inputs), ("out", made.outputs)):
        for port in ports:
            shape = "x".join(map(str, port.shape)) or "1"
            cells = (port.port, way, str(port.bits), port.name, shape, str(port.format))
            table.add_row(*map(escape, cells))
    return table


def _show_synthesis(made: Rtl, found: Synthesis) -> None:
    from samebits.firmware.parts import CLOSURE_LIMITS, part_of

    try:
        totals: dict[str, int] = part_of(made.part).totals
    except errors.UsageError:  # yosys knows its family, and no one here its size
        totals = {}
    _show(f"{made.part}: synthesised, not placed", found, totals, CLOSURE_LIMITS)


def _show_placed(made: Rtl, found: PlaceAndRoute) -> None:
    totals = {name: total.value for name, total in found.resources.totals.items()}
    _show(f"{found.device}, which is not {made.part}: placed and routed", found, totals, {})
    fmax_mhz, latency_ns = found.latency.fmax_mhz, found.latency.latency_ns
    if isinstance(fmax_mhz, Quantity) and isinstance(latency_ns, Quantity):
        line(
            f"{found.device}: fastest clock {fmax_mhz.value:.1f} MHz, "
            f"{counted(made.latency_cycles, 'cycle')} in {latency_ns.value:.1f} ns"
        )
    for note in found.latency.notes:
        line(f"  {note}")


def _show(
    title: str,
    found: Synthesis | PlaceAndRoute,
    totals: Mapping[str, float],
    limits: Mapping[str, float],
) -> None:
    table = Table()
    for column in ("resource", "used", "of the device", *(["closure limit"] if limits else [])):
        table.add_column(column, justify="left" if column == "resource" else "right")
    for name, used in found.resources.used.items():
        if not isinstance(used, Quantity):
            continue
        share = used.value / totals[name] if name in totals else None
        limit = limits.get(name)
        cells = [f"{used.value:,}", "-" if share is None else f"{share:.2%}"]
        if limits:
            cells.append("-" if limit is None else f"{limit:.0%}")
        over = share is not None and limit is not None and share > limit
        table.add_row(name, *cells, style="red" if over else "")
    line(title)
    out.print(table)
    line(f"{', '.join(found.tools)}: {found.used.seconds:.0f} s")
    for note in found.resources.notes:
        line(f"  {note}")
