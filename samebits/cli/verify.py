"""samebits verify: the same bits in every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from samebits.design import Design
from samebits.sim.verification import Verification

from .console import command_line, engine_bars, err, line, out, print_json
from .options import Build, Json, Seed, events_of

NAME = "verify"


def command(
    build: Build,
    events: Annotated[
        Path | None,
        typer.Argument(help="Events; default: the test part of what the network was trained on."),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", help="Engines, separated by commas.")
    ] = "csim,onnxruntime",
    adversarial: Annotated[
        bool, typer.Option(help="Add ties, saturation, extremes, zeros, subnormals.")
    ] = True,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare all engines bit by bit, at the output and every layer; exit code 0 if they agree."""
    from samebits.stages import verify_build

    design = Design.load(build)
    features = events_of(design, events) if events else None
    with engine_bars() as progress:
        result = verify_build(
            design,
            features,
            tuple(name.strip() for name in against.split(",")),
            adversarial=adversarial,
            seed=seed,
            command=command_line(),
            progress=progress,
        )
    if json:
        print_json(_summary(result))
    else:
        out.print(_table(result))
    for engine in result.engines:
        if engine.status == "not run":
            line(f"{engine.engine}: not run: {engine.detail}", err)
        elif engine.detail:
            line(f"{engine.engine}: {engine.detail}", err)
    raise typer.Exit(0 if result.passed else 1)


def _summary(result: Verification) -> dict[str, object]:
    return {
        "mismatching_bits": result.mismatching_bits,
        "events": dict(result.events),
        "engines": [
            {
                "engine": engine.engine,
                "tool": engine.tool,
                "status": engine.status,
                "detail": engine.detail,
                "bits": engine.bits,
                "mismatching_bits": engine.mismatching_bits,
            }
            for engine in result.engines
        ],
    }


def _table(result: Verification) -> Table:
    total = sum(result.events.values())
    table = Table(title=f"Same bits as the NumPy engine? {total} events", title_justify="left")
    table.add_column("engine", overflow="fold")
    table.add_column("status", overflow="fold")
    for column in ("layers and outputs", "bits compared", "mismatching bits", "seconds"):
        table.add_column(column, justify="right")
    for engine in result.engines:
        ran = engine.status != "not run"
        style = {"equal": "green", "MISMATCH": "bold red"}.get(engine.status, "yellow")
        table.add_row(
            engine.engine,
            f"[{style}]{engine.status}[/]",
            str(len(engine.rows)) if ran else "-",
            f"{engine.bits:,}" if ran else "-",
            f"{engine.mismatching_bits:,}" if ran else "-",
            f"{engine.seconds:.1f}" if ran else "-",
        )
    return table
