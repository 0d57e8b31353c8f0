"""samebits match: somebody else's answers against the firmware's, joined by event and bx."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from samebits.design import Design

from .console import bar, counted, line, print_json
from .options import Build, Columns, Json, Tree, column_names, events_of

NAME = "match"


def command(
    build: Build,
    events: Annotated[
        Path, typer.Argument(help="Events with columns event and bx (run, lumi): .npz, .root, ...")
    ],
    answers: Annotated[
        Path,
        typer.Argument(help="Answers from elsewhere with the same keys: .csv, .root, .npz, ..."),
    ],
    columns: Columns = None,
    score: Annotated[
        int | None, typer.Option("--score", help="The element of the output; default: all.")
    ] = None,
    subset: Annotated[
        bool, typer.Option("--subset", help="Events without an answer are no fault.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The answers are mantissas.")] = False,
    tree: Tree = None,
    json: Json = False,
) -> None:
    """Compare answers of another emulator or of hardware, and say what explains differences."""
    from samebits.keys import read_keys
    from samebits.match import match, read_answers

    design = Design.load(build)
    features = events_of(design, events)
    keys = read_keys(events, events=features)
    size = int(np.prod(design.graph.tensors[design.graph.outputs[0]].shape))
    numbers = size if score is None else 1
    theirs = read_answers(answers, column_names(columns), tree, numbers=numbers)
    with bar("comparing", 1) as advance:
        found = match(design, features, keys, theirs, score=score, raw=raw)
        advance(1)
    passed = found.same and (subset or not found.only_events)
    if json:
        print_json({"passed": passed, **dataclasses.asdict(found)})
    else:
        _show(found, answers)
    raise typer.Exit(0 if passed else 1)


def _show(found: Any, answers: Path) -> None:
    by = f"by {', '.join(found.joined_by)}" if found.joined_by else "by their order"
    line(f"{counted(found.joined, 'row')} joined {by}")
    if found.only_answers:
        line(f"{found.only_answers} answers have no event; {found.unjoined}")
    if found.only_events:
        words = "" if found.only_answers else f"; {found.unjoined}"
        line(f"{found.only_events} events have no answer{words}")
    if not found.differing:
        line(f"{answers}: the same bits as the firmware in every joined row")
        return
    line(
        f"{answers}: DIFFERS in {found.differing} of {found.joined} rows "
        f"({100 * found.differing / found.joined:.2f} %), by up to {found.largest_difference:.6g}"
    )
    line(f"first: {found.first}")
    if len(found.by_bx) > 1:
        parts = [f"{bx:+d}: {bad} of {rows}" for bx, bad, rows in found.by_bx[:12]]
        line(f"by bunch crossing: {', '.join(parts)}")
    for one in found.explanations:
        exact = "all" if one.explained == one.differing else f"{one.explained} of"
        line(f"explanation: {one.words}")
        line(
            f"  gives {exact} {one.differing} differing rows exactly, and {one.agreeing} of "
            f"{one.tried} rows tried ({100 * one.chance:.1f} % would fit by chance)"
        )
    if not found.explanations:
        line("no known mistake of bookkeeping or packing explains most of these rows")
