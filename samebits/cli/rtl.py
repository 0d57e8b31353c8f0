"""samebits rtl: the network as pipelined Verilog or VHDL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from samebits.design import Design

from .console import bar, line, out, print_json
from .options import Build, Json

if TYPE_CHECKING:
    from samebits.firmware.rtl import Rtl

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
    json: Json = False,
) -> None:
    """Write pipelined RTL that takes an event in every clock; next, verify --against rtl."""
    design = Design.load(build)
    with bar("tracing", len(design.graph.nodes)) as advance:
        made = design.rtl(
            output,
            language="vhdl" if vhdl else "verilog",
            clock_mhz=clock_mhz,
            latency_cycles=latency_cycles,
            progress=lambda done, total: advance(done),
        )
    if json:
        print_json(
            {
                "folder": str(made.folder),
                "top": made.top,
                "language": made.language,
                "clock_mhz": made.clock_mhz,
                "latency_cycles": made.latency_cycles,
                "initiation_interval": 1,
            }
        )
        return
    out.print(_ports(made))
    chosen = "asked for" if latency_cycles else "cut for alkaid's delay model, not synthesised"
    line(
        f"{made.folder}: {made.language}, {made.latency_cycles} cycles at {made.clock_mhz:g} MHz "
        f"({made.latency_cycles * 1000 / made.clock_mhz:g} ns; {chosen}), one event per clock"
    )
    if output is None and not vhdl:
        line(f"next: samebits verify {build} --against rtl")


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
