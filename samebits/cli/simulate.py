"""samebits simulate: what the firmware answers to a file of events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from samebits import errors
from samebits.design import Design

from .console import bar, counted, line, print_json
from .options import Build, Json, events_of

NAME = "simulate"


def command(
    build: Build,
    events: Annotated[
        Path,
        typer.Argument(
            help="Events: .npz, .h5, .parquet, .root or .csv; for several inputs a .npz or .h5, "
            "one array each."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Scores: .npz, .npy, .parquet, .root or .csv."),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Every layer too (.npz only).")] = False,
    workers: Annotated[int, typer.Option(help="Threads that share the events.", min=1)] = 1,
    engine: Annotated[
        str, typer.Option(help="numpy, or native: compiled C++, needs a compiler.")
    ] = "numpy",
    json: Json = False,
) -> None:
    """Run the simulator: bit-exact with the firmware; NumPy needs no compiler."""
    from samebits.keys import read_keys
    from samebits.score_files import SUFFIXES, write_scores

    wanted = (".npz",) if trace else SUFFIXES
    if output is not None and output.suffix.lower() not in wanted:
        raise errors.UsageError(f"{output}: unknown suffix; wanted {', '.join(wanted)}")
    design = Design.load(build)
    features = events_of(design, events)
    keys = read_keys(events, events=features)
    count = len(next(iter(features.values())) if isinstance(features, dict) else features)
    started = time.perf_counter()
    with bar("simulating", count) as advance:
        answer = design.simulate(features, progress=advance, workers=workers, engine=engine)
    seconds = time.perf_counter() - started
    arrays = dict(
        zip(_names(design), answer if isinstance(answer, list) else [answer], strict=True)
    )
    if trace:
        arrays |= {f"layer:{name}": values for name, values in design.trace(features).items()}
    if output is not None:
        with write_scores(output) as write:
            write(arrays if output.suffix.lower() == ".npy" else {**keys, **arrays})
    summary = {
        "events": count,
        "seconds": seconds,
        "events_per_second": count / max(seconds, 1e-9),
        "output": str(output) if output else None,
    }
    if json:
        print_json(summary)
        return
    name = {"numpy": "NumPy"}.get(engine, engine)
    line(
        f"{counted(count, 'event')} in {seconds:.3f} s "
        f"({summary['events_per_second']:,.0f} events/s, {name} engine)"
    )
    if output is not None:
        line(f"written to {output}")
    else:
        for name, values in arrays.items():
            line(f"{name}, first events:\n{values[:5]}")


def _names(design: Design) -> list[str]:
    from samebits.compile.emitters.interface import output_names

    return output_names(design.graph)
