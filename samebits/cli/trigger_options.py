"""Options of trigger rates, which two commands share, and the events they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from samebits import errors
from samebits.design import Design
from samebits.trigger import Signal

from .options import events_of

__all__ = [
    "Edges",
    "LuminosityRatio",
    "Offline",
    "OfflineUnit",
    "RateKhz",
    "Score",
    "SignalFiles",
    "Weight",
    "axis_name",
    "bin_edges",
    "rates",
    "signal_files",
    "signals_of",
]

SignalFiles = Annotated[
    list[str] | None,
    typer.Option("--signal", help="Signal events: FILE or NAME=FILE; repeatable."),
]
RateKhz = Annotated[
    str | None, typer.Option("--rate-khz", help="Rates to find cuts for, separated by commas.")
]
Score = Annotated[
    str | None, typer.Option("--score", help="Class or index of the output that is cut on.")
]
LuminosityRatio = Annotated[
    float,
    typer.Option(
        "--luminosity-ratio", help="Luminosity of the target over that of the unbiased events."
    ),
]
Weight = Annotated[
    str | None, typer.Option("--weight", help="Column with weights of the unbiased events.")
]
Offline = Annotated[
    str | None,
    typer.Option("--offline", help="Column of the signals for turn-on curves, such as a pT."),
]
OfflineUnit = Annotated[
    str | None, typer.Option("--offline-unit", help="Unit of this column, for axes: GeV.")
]
Edges = Annotated[
    str | None, typer.Option("--edges", help="Bins of the turn-on curves: LOW:HIGH:BINS.")
]
_MOST_BINS = 1000


def signal_files(texts: Sequence[str] | None) -> dict[str, Path]:
    """The files of `--signal` by name.

    Raises:
        UsageError: a name is given twice.
    """
    files: dict[str, Path] = {}
    for text in texts or []:
        name, _, file = text.rpartition("=")
        path = Path(file)
        if (name or path.stem) in files:
            raise errors.UsageError(f"--signal: {name or path.stem} is given twice")
        files[name or path.stem] = path
    return files


def signals_of(
    design: Design, files: dict[str, Path], offline: str | None, tree: str | None
) -> dict[str, Signal]:
    """The events of these files as the design takes them, with their offline quantity.

    Raises:
        DataError: a file that cannot be used.
    """
    from samebits.train.data import load_column

    return {
        name: Signal(
            events_of(design, path, tree),
            load_column(path, offline, tree=tree) if offline else None,
        )
        for name, path in files.items()
    }


def axis_name(offline: str | None, unit: str | None) -> str:
    """The offline quantity as plots call it: "pt [GeV]"; empty without one.

    Raises:
        UsageError: a unit of nothing.
    """
    if unit is not None and offline is None:
        raise errors.UsageError("--offline-unit is that of --offline COLUMN: give both")
    return f"{offline} [{unit}]" if unit else offline or ""


def rates(text: str) -> list[float]:
    """The numbers of `--rate-khz`."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise errors.UsageError(
            f"--rate-khz must be numbers separated by commas, got {text!r}"
        ) from None


def bin_edges(text: str | None, offline: str | None) -> list[float]:
    """The edges of `--edges`; none without `--offline`.

    Raises:
        UsageError: one without the other, or edges that make no sense.
    """
    if (text is None) != (offline is None):
        raise errors.UsageError("turn-on curves need both --offline COLUMN and --edges")
    if text is None:
        return []
    try:
        low, high, bins = text.split(":")
        numbers = float(low), float(high), int(bins)
    except ValueError:
        raise errors.UsageError(f"--edges must be LOW:HIGH:BINS, got {text!r}") from None
    if not (numbers[0] < numbers[1] and 1 <= numbers[2] <= _MOST_BINS):
        raise errors.UsageError(
            f"--edges: wanted LOW below HIGH and 1 to {_MOST_BINS} bins, got {text!r}"
        )
    return [float(edge) for edge in np.linspace(numbers[0], numbers[1], numbers[2] + 1)]
