"""samebits demo: the whole job on the shipped jets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .console import bar, command_line, engine_bars, line, out, say
from .options import Force, Json, Output, Seed

NAME = "demo"


def command(
    output: Output = Path("build/demo"),
    fast: Annotated[bool, typer.Option("--fast", help="A smaller run, under two minutes.")] = False,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train, export, compile, verify and report on the shipped jets; exit code 1 without proof."""
    from samebits.demo import demo
    from samebits.report import render_terminal

    facts = demo(
        output,
        fast=fast,
        seed=seed,
        force=force,
        command=command_line(),
        bar=bar,
        engine_bars=engine_bars,
        say=say,
    )
    if json:
        sys.stdout.write(facts.model_dump_json(indent=1) + "\n")
    else:
        out.print(render_terminal(facts))
        line(f"{output / 'report.html'}")
    raise typer.Exit(0 if facts.proved else 1)
