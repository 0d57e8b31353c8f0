"""samebits emulate: what a firmware.onnx answers to a file of events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from samebits import errors

from .console import bar, counted, line, print_json
from .options import Columns, Json, Tree, column_names

NAME = "emulate"
_SHOWN_EVENTS = 5


def command(
    firmware: Annotated[Path, typer.Argument(help="A firmware.onnx.")],
    events: Annotated[Path, typer.Argument(help="Events: .npz, .h5, .parquet, .root or .csv.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Scores: .npz, .npy, .parquet, .root or .csv."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Mantissas (integers), not real numbers.")
    ] = False,
    columns: Columns = None,
    tree: Tree = None,
    json: Json = False,
) -> None:
    """Run a firmware.onnx on events: needs ONNX Runtime and NumPy, neither hls4ml nor the build."""
    from samebits.event_files import open_events
    from samebits.keys import read_keys
    from samebits.score_files import SUFFIXES, write_scores
    from samebits.sim.firmware_file import FirmwareFile

    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise errors.UsageError(f"{output}: unknown suffix; wanted one of {', '.join(SUFFIXES)}")
    for given in (firmware, events):
        if output is not None and output.exists() and given.exists() and output.samefile(given):
            raise errors.UsageError(f"{output}: is also what is read; choose another name")
    file = FirmwareFile(firmware)
    first: dict[str, Any] = {}
    keyed = output is not None and output.suffix.lower() != ".npy"
    started = time.perf_counter()
    with (
        open_events(events, file, tree, column_names(columns)) as source,
        bar("emulating", source.count) as advance,
    ):
        keys = read_keys(events, tree, events=range(source.count)) if keyed else {}

        def answers() -> Iterator[dict[str, Any]]:
            for start, arrays in source.pieces():
                found = file.run(arrays, raw)
                stop = start + len(arrays[0])
                advance(stop)
                kept = {name: values[start:stop] for name, values in keys.items()}
                yield {**kept, **{port.name: found[port.name] for port in file.outputs}}

        if output is None:
            for found in answers():
                first = first or {name: values[:_SHOWN_EVENTS] for name, values in found.items()}
        else:
            with write_scores(output) as write:
                for found in answers():
                    write(found)
        count, taken = source.count, source.columns
    seconds = time.perf_counter() - started
    summary = {
        "firmware": str(firmware),
        "fingerprint": file.metadata.get("samebits.fingerprint"),
        "engine": file.engine.tool,
        "events": count,
        "seconds": seconds,
        "events_per_second": count / max(seconds, 1e-9),
        "numbers": "mantissas" if raw else "values",
        "columns": list(taken),
        "outputs": {port.name: str(port.format) for port in file.outputs},
        "output": str(output) if output else None,
    }
    if json:
        print_json(summary)
        return
    line(
        f"{counted(count, 'event')} in {seconds:.3f} s "
        f"({summary['events_per_second']:,.0f} events/s, {file.engine.tool}, "
        f"reading and writing included)"
    )
    if taken and not file.features:
        line(f"columns: {', '.join(taken)}")
    for port in file.outputs:
        line(f"{port}")
        if output is None:
            line(f"{first[port.name]}")
    if output is not None:
        line(f"written to {output}")
