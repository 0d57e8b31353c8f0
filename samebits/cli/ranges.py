"""samebits ranges: what every type of a design can meet, and what makes it overflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from samebits import storage
from samebits.compile.ir import Format
from samebits.design import Design
from samebits.ranges import SECONDS, Status, TensorRange, describe_overflow, to_json

from .console import bar, line, out, print_json
from .options import Build, Json, Seed, Within, data_range, events_of

NAME = "ranges"
_STYLES = {"cannot overflow": "green", "wraps": "bold red", "clips": "yellow"}


def command(
    build: Build,
    events: Annotated[
        Path | None, typer.Argument(help="Events whose smallest and largest numbers count.")
    ] = None,
    within: Within = None,
    seconds: Annotated[
        float, typer.Option(help="How long to search for overflows; 0: proofs only.", min=0)
    ] = SECONDS,
    seed: Seed = 0,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the witnesses as events, .npz.")
    ] = None,
    json: Json = False,
) -> None:
    """Prove ranges: which types cannot overflow, an input for those that do, bits to spare."""
    design = Design.load(build)
    features = events_of(design, events) if events else None
    data, words = data_range(design, features, within or (["data"] if events else ["format"]))
    with bar("searching overflows", 1) as advance:
        found = design.ranges(data, seconds=seconds, seed=seed)
        advance(1)
    if save is not None:
        _save(design, list(found.values()), save)
    if json:
        ranges = {name: to_json(design.graph, one) for name, one in found.items()}
        print_json({"within": words, "ranges": ranges})
        return
    out.print(_table(list(found.values()), words))
    for one in found.values():
        if one.wraps:
            line(describe_overflow(design.graph, one))


def _table(found: Sequence[TensorRange], words: str) -> Table:
    table = Table(title=f"Proven ranges; inputs: {words}", title_justify="left")
    for column in ("layer", "type", "format", "arriving, proven", "reached"):
        table.add_column(column, overflow="fold")
    for column in ("spare bits", "zero bits"):
        table.add_column(column, justify="right")
    for column in ("narrowest", "overflow"):
        table.add_column(column, overflow="fold")
    groups: dict[tuple[str, str, str], list[TensorRange]] = {}
    for one in found:
        groups.setdefault((one.layer, one.what, str(one.format)), []).append(one)
    for (layer, what, _), group in groups.items():
        reached = [one.reached for one in group if one.reached]
        worst = max(group, key=_badness)
        narrowest = max(group, key=lambda one: one.narrowest.width).narrowest
        times = f" x{len(group)}" if len(group) > 1 else ""
        table.add_row(
            layer,
            what + times,
            _short(worst.format),
            _span([one.arriving for one in group]),
            _span(reached) if reached else "",
            str(min(one.spare_bits for one in group)),
            str(min(one.zero_bits for one in group)),
            f"<{narrowest.width},{narrowest.integer}>" if narrowest != worst.format else "",
            f"[{_STYLES.get(worst.verdict, 'cyan')}]{worst.verdict}[/]",
        )
    return table


def _short(fmt: Format) -> str:
    """A format as hls4ml's configuration writes it, without the default modes."""
    return str(fmt).removeprefix("ap_").replace(",TRN,WRAP>", ">")


def _badness(found: TensorRange) -> int:
    return found.wraps + [Status.CANNOT, Status.UNDECIDED, Status.OVERFLOWS].index(found.status)


def _span(bounds: Sequence[tuple[float, float]]) -> str:
    return f"{min(low for low, _ in bounds):g} .. {max(high for _, high in bounds):g}"


def _save(design: Design, found: Sequence[TensorRange], path: Path) -> None:
    """The witnesses as one event each, as `samebits simulate` reads them."""
    names = design.graph.inputs
    witnesses = [one.witness for one in found if one.witness]
    arrays = {
        "features" if len(names) == 1 else name: np.stack([w.inputs[i] for w in witnesses])
        for i, name in enumerate(names)
        if witnesses
    }
    with storage.replace_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
