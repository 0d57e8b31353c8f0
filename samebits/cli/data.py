"""samebits data: shipped physics samples and test parts as files of events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from samebits import errors

from .console import line

NAME = "data"


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="jets, ttbar or trigger-events; or a build directory for the test part of what "
            "it was trained on."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .npz to write.")],
    classes: Annotated[
        str | None, typer.Option("--classes", help="Events of these classes only: A or A,B,...")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--part", help="K/N: every N-th collision from the K-th on; 1/2 and 2/2 share none."
        ),
    ] = None,
) -> None:
    """Write a shipped sample, or the test part of a build's data, as a file of events."""
    from samebits.samples import sample, write_sample

    chosen = _part(part) if part is not None else None
    events = sample(source)
    if classes is not None:
        events = events.of([name.strip() for name in classes.split(",")])
    if chosen is not None:
        events = events.part(chosen[0] - 1, chosen[1])
    write_sample(events, output)
    words = [f"{len(events):,} events", f"{len(events.feature_names)} features"]
    if events.labels is not None:
        counts = np.bincount(events.labels, minlength=len(events.class_names))
        pairs = zip(events.class_names, counts, strict=True)
        words.append(", ".join(f"{name} {count:,}" for name, count in pairs if count))
    line(f"{output}: {'; '.join([*words, *events.columns])}")


def _part(text: str) -> tuple[int, int]:
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise errors.UsageError(f"--part must be K/N with K from 1 to N, got {text!r}")
    return int(first), int(step)
