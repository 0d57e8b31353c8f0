"""samebits report: metrics, latency, resources and report.html."""

from __future__ import annotations

from typing import Annotated

import typer

from samebits.design import Design

from .console import bar, command_line, line, out
from .options import BudgetNs, Build, Json, Label, LabelledEvents, RegressionTargets
from .outcome import GatesFile, Github, Junit, tell_ci

NAME = "report"


def command(
    build: Build,
    data: LabelledEvents = None,
    label: Label = None,
    target: RegressionTargets = None,
    weight: Annotated[
        str | None, typer.Option("--weight", help="Column of --data with weights of the events.")
    ] = None,
    budget_ns: BudgetNs = None,
    plots: Annotated[
        bool, typer.Option("--plots", help="Write every plot as PDF and PNG into plots/ too.")
    ] = False,
    gates: GatesFile = None,
    junit: Junit = None,
    github: Github = False,
    json: Json = False,
) -> None:
    """Write report.html and report.json; exit code 1 if the bits or a gate failed."""
    import sys

    from samebits.ci import gate_cases
    from samebits.gates import read_gates
    from samebits.report import render_terminal, write_plots
    from samebits.stages import build_report

    limits = read_gates(gates) if gates else None
    design = Design.load(build)
    facts = build_report(
        design,
        data,
        target=target,
        label=label,
        weight=weight,
        budget_ns=budget_ns,
        gates=limits,
        command=command_line(),
        bar=bar,
    )
    if plots:
        with bar("plots", 1) as advance:
            write_plots(facts, build)
            advance(1)
    tell_ci("samebits report", gate_cases(facts.gates), junit, github, str(gates or ""))
    if json:
        sys.stdout.write(facts.model_dump_json(indent=1) + "\n")
    else:
        out.print(render_terminal(facts))
        line(f"{build / 'report.html'}" + (f", {build / 'plots'}" if plots else ""))
    raise typer.Exit(0 if facts.passed else 1)
