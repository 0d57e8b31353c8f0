"""samebits simulate: what the firmware answers to a file of events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from samebits import errors, storage
from samebits.design import Design

from .console import bar, line, print_json
from .options import Build, Json, events_of

NAME = "simulate"
_SUFFIXES = (".npz", ".npy", ".csv")


def command(
    build: Build,
    events: Annotated[
        Path,
        typer.Argument(
            help="Events: .npz, .h5, .parquet or .root; for several inputs a .npz, one array each."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Scores: .npz, .npy or .csv.")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Every layer too (.npz only).")] = False,
    workers: Annotated[int, typer.Option(help="Threads that share the events.", min=1)] = 1,
    engine: Annotated[
        str, typer.Option(help="numpy, or native: compiled C++, needs a compiler.")
    ] = "numpy",
    json: Json = False,
) -> None:
    """Run the simulator: bit-exact with the firmware; NumPy needs no compiler."""
    if output is not None and output.suffix not in (_SUFFIXES[:1] if trace else _SUFFIXES):
        raise errors.UsageError(
            f"{output}: unknown suffix; wanted {'.npz' if trace else ', '.join(_SUFFIXES)}"
        )
    design = Design.load(build)
    features = events_of(design, events)
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
        _write(output, arrays)
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
        f"{count} events in {seconds:.3f} s "
        f"({summary['events_per_second']:,.0f} events/s, {name} engine)"
    )
    if output is not None:
        line(f"written to {output}")
    else:
        for name, values in arrays.items():
            line(f"{name}, first events:\n{values[:5]}")


def _names(design: Design) -> list[str]:
    from samebits.compile.emitters.onnx import output_names

    return output_names(design.graph)


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    first = next(iter(arrays.values()))
    if path.suffix != ".npz" and len(arrays) > 1:
        raise errors.UsageError(f"{path}: several outputs need a .npz file")
    with storage.replace_file(path) as temporary, temporary.open("wb") as stream:
        if path.suffix == ".npz":
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        elif path.suffix == ".npy":
            np.save(stream, first, allow_pickle=False)
        else:
            np.savetxt(stream, first.reshape(len(first), -1), delimiter=",", fmt="%.17g")
