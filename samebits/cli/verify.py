"""samebits verify: the same bits in every engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from samebits import errors
from samebits.design import Design
from samebits.ranges import Status, TensorRange, describe_overflow, to_json
from samebits.sim.verification import Verification

from .console import command_line, counted, engine_bars, err, line, out, print_json
from .options import Build, Json, Seed, Within, data_range, events_of
from .outcome import Github, Junit, tell_ci

NAME = "verify"


def command(
    build: Build,
    events: Annotated[
        Path | None,
        typer.Argument(help="Events; default: the test part of what the network was trained on."),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against", help="Engines, separated by commas: csim, onnxruntime, native, rtl."
        ),
    ] = "csim,onnxruntime",
    adversarial: Annotated[
        bool, typer.Option(help="Add ties, saturation, extremes, zeros, subnormals.")
    ] = True,
    ranges: Annotated[
        bool, typer.Option("--ranges", help="Fail too if a type that wraps can overflow.")
    ] = False,
    within: Within = None,
    vcd: Annotated[
        Path | None,
        typer.Option("--vcd", help="Waveform of the RTL's first mismatch; FST if it ends in .fst."),
    ] = None,
    junit: Junit = None,
    github: Github = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare all engines bit by bit, at the output and every layer; exit code 0 if they agree."""
    from samebits.ci import verification_cases
    from samebits.keys import read_keys
    from samebits.stages import verify_build

    if within and not ranges:
        raise errors.UsageError("--within says which inputs --ranges expects: give --ranges too")

    design = Design.load(build)
    features = events_of(design, events) if events else None
    keys = (
        read_keys(events, events=features) if events else {}
    )  # a row that is there twice is refused
    with engine_bars() as progress:
        result = verify_build(
            design,
            features,
            tuple(name.strip() for name in against.split(",")),
            keys=keys,
            adversarial=adversarial,
            seed=seed,
            command=command_line(),
            progress=progress,
            vcd=vcd,
        )
    tell_ci("samebits verify", verification_cases(result), junit, github)
    found: dict[str, TensorRange] = {}
    words = ""
    if ranges:
        data, words = data_range(design, features, within or ())
        found = design.ranges(data, seed=seed)
    if json:
        values = summary(result)
        if ranges:
            listed = {name: to_json(design.graph, one) for name, one in found.items()}
            values |= {"within": words, "ranges": listed}
        print_json(values)
    else:
        total = sum(result.events.values())
        out.print(table(result, f"Same bits as the NumPy engine? {counted(total, 'event')}"))
    for engine in result.engines:
        if engine.status == "not run":
            line(f"{engine.engine}: not run: {engine.detail}", err)
        elif engine.detail:
            line(f"{engine.engine}: {engine.detail}", err)
    wrapping = [one for one in found.values() if one.wraps]
    if ranges:
        _show_ranges(design, list(found.values()), words)
    raise typer.Exit(0 if result.passed and not wrapping else 1)


def _show_ranges(design: Design, found: Sequence[TensorRange], words: str) -> None:
    """One line for every type that wraps, and the counts, all on stderr."""
    counts = Counter(one.verdict for one in found)
    for one in found:
        if one.wraps:
            line(f"error: {describe_overflow(design.graph, one)}", err)
    for one in found:
        if one.status is Status.UNDECIDED:
            reached = "nothing reached"
            if one.reached:
                reached = f"{one.reached[0]:g} .. {one.reached[1]:g} reached"
            line(
                f"{one.layer}, {one.what} ({one.tensor}): {one.format}: overflow not decided: "
                f"proven {one.arriving[0]:g} .. {one.arriving[1]:g}, {reached}",
                err,
            )
    listed = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    line(f"ranges (inputs: {words}): {listed}", err)


def summary(result: Verification) -> dict[str, object]:
    """The outcome as --json prints it."""
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


def table(result: Verification, title: str) -> Table:
    """One row for every engine."""
    table = Table(title=title, title_justify="left")
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
