"""samebits report: metrics, latency, resources and report.html."""

from __future__ import annotations

from typing import Annotated

import typer

from samebits.design import Design

from .console import bar, command_line, line, out
from .options import Build, Json

NAME = "report"


def command(
    build: Build,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Labelled events, a file or 'jets'; default: the test part of the training data.",
        ),
    ] = None,
    budget_ns: Annotated[
        float | None, typer.Option("--budget-ns", help="Latency that the trigger allows.")
    ] = None,
    json: Json = False,
) -> None:
    """Write report.html and report.json; exit code 1 if the bits or a gate failed."""
    import sys

    from samebits.report import render_terminal
    from samebits.stages import build_report

    design = Design.load(build)
    facts = build_report(design, data, budget_ns=budget_ns, command=command_line(), bar=bar)
    if json:
        sys.stdout.write(facts.model_dump_json(indent=1) + "\n")
    else:
        out.print(render_terminal(facts))
        line(f"{build / 'report.html'}")
    raise typer.Exit(0 if facts.passed else 1)
