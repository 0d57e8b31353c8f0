"""samebits build: Vitis HLS and Vivado on a design, where they are installed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from samebits import errors
from samebits.design import Design
from samebits.firmware.results import Measured, Quantity

from .console import err, line, out, print_json
from .options import Build, Json

if TYPE_CHECKING:
    from samebits.firmware.vendor_reports import VendorResults
    from samebits.firmware.vitis import Run

NAME = "build"
_SHOWN_CHARACTERS = 90


def command(
    build: Build,
    vitis: Annotated[
        bool, typer.Option("--vitis", help="C synthesis of hls/ by Vitis HLS (or Vivado HLS).")
    ] = False,
    cosim: Annotated[
        bool, typer.Option("--cosim", help="And C/RTL co-simulation: measured latency.")
    ] = False,
    vivado: Annotated[
        bool, typer.Option("--vivado", help="And Vivado's logic synthesis of what Vitis writes.")
    ] = False,
    route: Annotated[
        bool, typer.Option("--route", help="And placement and routing: the clock it reaches.")
    ] = False,
    rtl: Annotated[
        bool, typer.Option("--rtl", help="Vivado on rtl/: synthesis, placement, routing.")
    ] = False,
    timeout_hours: Annotated[
        float, typer.Option("--timeout-hours", help="For each program.")
    ] = 12.0,
    force: Annotated[bool, typer.Option("--force", help="Even if nothing has changed.")] = False,
    json: Json = False,
) -> None:
    """Run AMD's tools in BUILD/synthesis and read their reports; hls/ and rtl/ stay as they are."""
    from samebits import vendor

    if not (vitis or cosim or vivado or route or rtl):
        raise errors.UsageError(
            "say what to run: --vitis (and --cosim, --vivado, --route) on hls/, --rtl on rtl/"
        )
    if not timeout_hours > 0:
        raise errors.UsageError(f"--timeout-hours must be above 0, got {timeout_hours:g}")
    design = Design.load(build)
    chosen = {"csynth": vitis, "cosim": cosim, "vivado": vivado, "route": route}
    steps = [step for step, wanted in chosen.items() if wanted]
    limits: dict[str, Any] = {"timeout_s": 3600 * timeout_hours, "force": force}
    summaries = []
    try:
        if steps:
            with _progress("hls/") as on_line:
                run = vendor.build_hls(design, steps, on_line=on_line, **limits)
            summaries.append(_summary(run, vendor.results_of_hls(design), json))
        if rtl:
            with _progress("rtl/") as on_line:
                made, run = vendor.build_rtl(design, on_line=on_line, **limits)
            summaries.append(_summary(run, vendor.results_of_rtl(design, made), json))
    except errors.MissingToolError as error:
        if json:
            print_json([*summaries, {"status": "not run", "reason": str(error)}])
        line(f"not run: {error}", err)
        raise typer.Exit(error.exit_code) from None
    if json:
        print_json(summaries)
    else:
        line(f"next: samebits report {build}")


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """The last milestone of the log and the time; without a terminal one line for each stage."""
    from samebits.firmware.vitis import milestone

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    started = time.monotonic()
    hidden = not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=hidden) as progress:
        task = progress.add_task(f"{what}: starting", total=None)

        def on_line(text: str) -> None:
            words = milestone(text)
            if words is None:
                return
            progress.update(task, description=escape(f"{what}: {words[:_SHOWN_CHARACTERS]}"))
            if hidden and text.startswith("*****"):
                line(f"{what} {time.monotonic() - started:6.0f} s  {words}", err)

        yield on_line


def _summary(run: Run, results: VendorResults | None, json: bool) -> dict[str, object]:
    assert results is not None
    if not json:
        words = "nothing has changed since, used again" if run.reused else f"{run.seconds:.0f} s"
        line(f"{run.folder}: {run.tool} ({', '.join(run.steps)}; {words})", err)
        out.print(_table(results))
        noted = [(row.source, row.notes) for row in results.latencies]
        noted += [(row.source, row.notes) for row in results.resources]
        for source, notes in noted:
            for note in notes:
                line(f"{source}: {note}")
    return {
        "status": "done",
        "folder": str(run.folder),
        "steps": dict(run.steps),
        "seconds": run.seconds,
        "reused": run.reused,
        "latency": [row.model_dump() for row in results.latencies],
        "resources": [row.model_dump() for row in results.resources],
    }


def _table(results: VendorResults) -> Table:
    table = Table(title="Reports", title_justify="left")
    table.add_column("source", overflow="fold")
    for column in ("cycles", "interval", "ns", "Fmax/MHz", "used", "kind"):
        table.add_column(column, justify="right", overflow="fold")
    for row in results.latencies:
        numbers = (row.cycles, row.initiation_interval, row.latency_ns, row.fmax_mhz)
        table.add_row(escape(row.source), *map(_number, numbers), "", escape(_kind(row.cycles)))
    for used in results.resources:
        listed = ", ".join(f"{_number(value)} {name}" for name, value in used.used.items())
        kind = _kind(next(iter(used.used.values())))
        table.add_row(escape(used.source), "", "", "", "", listed, escape(kind))
    return table


def _kind(value: Measured) -> str:
    return value.kind if isinstance(value, Quantity) else f"not run: {value.reason}"


def _number(value: Measured | None) -> str:
    return f"{value.value:,.6g}" if isinstance(value, Quantity) else "-"
