"""samebits trigger: rate in kHz and signal efficiency of cuts on the network's score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from samebits import errors
from samebits.design import Design

from .console import bar, command_line, line, out
from .options import Build, Json, Seed, Tree, events_of

if TYPE_CHECKING:
    from samebits.sim.trigger import RatePoint
    from samebits.trigger import TriggerFacts

NAME = "trigger"
_MOST_BINS = 1000


def command(
    build: Build,
    unbiased: Annotated[
        Path,
        typer.Option("--unbiased", help="Unbiased events, one for each bunch crossing."),
    ],
    signal: Annotated[
        list[str], typer.Option("--signal", help="Signal events: FILE or NAME=FILE; repeatable.")
    ],
    bunches: Annotated[
        int, typer.Option("--bunches", help="Colliding bunches in the machine, 1 to 3564.")
    ],
    rate_khz: Annotated[
        str, typer.Option("--rate-khz", help="Rates to find cuts for, separated by commas.")
    ],
    score: Annotated[
        str | None,
        typer.Option("--score", help="Class or index of the output that is cut on."),
    ] = None,
    luminosity_ratio: Annotated[
        float,
        typer.Option(
            "--luminosity-ratio", help="Luminosity of the target over that of the unbiased events."
        ),
    ] = 1.0,
    weight: Annotated[
        str | None, typer.Option("--weight", help="Column with weights of the unbiased events.")
    ] = None,
    offline: Annotated[
        str | None,
        typer.Option("--offline", help="Column of the signals for turn-on curves, such as a pT."),
    ] = None,
    edges: Annotated[
        str | None, typer.Option("--edges", help="Bins of the turn-on curves: LOW:HIGH:BINS.")
    ] = None,
    tree: Tree = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure trigger rate, efficiency at fixed rate and turn-on; next, samebits report."""
    import sys

    from samebits.sim.trigger import Beam
    from samebits.train.data import load_column
    from samebits.trigger import Signal, measure_trigger, record_trigger

    beam, rates, bins = Beam(bunches, luminosity_ratio), _rates(rate_khz), _edges(edges, offline)
    design = Design.load(build)
    signals = {}
    for text in signal:
        name, _, file = text.rpartition("=")
        path = Path(file)
        if (name or path.stem) in signals:
            raise errors.UsageError(f"--signal: {name or path.stem} is given twice")
        signals[name or path.stem] = Signal(
            events_of(design, path), load_column(path, offline, tree=tree) if offline else None
        )
    with bar("rates and efficiencies", 1) as advance:
        facts = measure_trigger(
            design,
            events_of(design, unbiased),
            signals,
            beam,
            rates,
            score=score,
            weights=load_column(unbiased, weight, tree=tree) if weight else None,
            edges=bins,
            unbiased_name=unbiased.name,
            offline_name=offline or "",
            seed=seed,
        )
        record_trigger(design, facts, command_line())
        advance(1)
    if json:
        sys.stdout.write(facts.model_dump_json(indent=1) + "\n")
        return
    _show(facts)
    line(f"recorded in {build / 'report.json'}; next: samebits report {build}")


def _rates(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise errors.UsageError(
            f"--rate-khz must be numbers separated by commas, got {text!r}"
        ) from None


def _edges(text: str | None, offline: str | None) -> list[float]:
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


def _show(facts: TriggerFacts) -> None:
    line(
        f"{facts.score}; {facts.unbiased_events:,} unbiased events of {facts.unbiased}, "
        f"{facts.bunches} bunches, luminosity x {facts.luminosity_ratio:g}: "
        f"{facts.crossings_khz:,.1f} kHz of crossings"
    )
    table = Table(title="Cuts at a fixed rate (intervals 68 %)", title_justify="left")
    for column in ("asked [kHz]", "model", "threshold", "rate [kHz]", "next cut [kHz]", "at cut"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name in facts.signals:
        table.add_column(f"efficiency {name}", justify="right")
    for place in range(len(next(iter(facts.models.values())).points)):
        for model, one in facts.models.items():
            table.add_row(*_cells(model, one.points[place], list(facts.signals)))
    out.print(table)
    for name, one in facts.models.items():
        step = "one score" if one.curve.step is None else f"steps of {one.curve.step:.3g} or more"
        line(f"{name}: {one.curve.levels:,} different scores of unbiased events, {step}")
    for d in facts.differences:
        line(
            f"{d.signal} at {d.asked_khz:g} kHz, {d.model} minus {d.reference}: "
            f"{100 * d.value:+.2f} points (95 %: {100 * d.low_95:+.2f} to {100 * d.high_95:+.2f})"
        )
    for name, one in facts.models.items():
        for signal, curves in one.turn_ons.items():
            for point, curve in zip(one.points, curves, strict=True):
                if curve is None:
                    continue
                text = curve.note
                if curve.fit is not None:
                    f = curve.fit
                    text = (
                        f"plateau {f.plateau:.3f} ± {f.plateau_error:.3f}, 50 % at {f.half:.4g} ± "
                        f"{f.half_error:.2g}, 95 % at {f.at_95:.4g} ± {f.at_95_error:.2g}"
                    )
                line(f"turn-on of {signal}, {name}, {point.asked_khz:g} kHz: {text}")


def _cells(model: str, point: RatePoint, signals: list[str]) -> list[str]:
    following = "" if point.next_rate_khz is None else _khz(point.next_rate_khz)
    if point.threshold is None or point.rate_khz is None:
        return [f"{point.asked_khz:g}", model, "cannot be reached", "", following, ""]
    rate = point.rate_khz
    cells = [
        f"{point.asked_khz:g}",
        model,
        f"{point.threshold:.6g}",
        f"{_khz(rate.value)} ({_khz(rate.low)} to {_khz(rate.high)})",
        following,
        f"{point.unbiased_at_cut}",
    ]
    for name in signals:
        part = point.efficiency[name]
        cells.append(f"{part.value:.4f} ({part.low:.4f} to {part.high:.4f})")
    return cells


def _khz(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}" if rate < 100 else f"{rate:.1f}"
