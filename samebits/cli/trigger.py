"""samebits trigger: rate in kHz and signal efficiency of cuts on the network's score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from samebits import errors
from samebits.design import Design

from .console import bar, command_line, line, out, print_json
from .options import Build, Json, Seed, Tree, events_of
from .trigger_options import (
    Edges,
    LuminosityRatio,
    Offline,
    OfflineUnit,
    RateKhz,
    Score,
    SignalFiles,
    Weight,
    axis_name,
    bin_edges,
    rates,
    signal_files,
    signals_of,
)

if TYPE_CHECKING:
    from samebits.menu import MenuFacts, MenuSeed, SeedValues
    from samebits.sim.intervals import Fraction
    from samebits.sim.trigger import RatePoint
    from samebits.trigger import TriggerFacts

NAME = "trigger"


def command(
    build: Build,
    unbiased: Annotated[
        Path,
        typer.Option("--unbiased", help="Unbiased events, one for each bunch crossing."),
    ],
    bunches: Annotated[
        int, typer.Option("--bunches", help="Colliding bunches in the machine, 1 to 3564.")
    ],
    signal: SignalFiles = None,
    rate_khz: RateKhz = None,
    menu: Annotated[
        Path | None,
        typer.Option("--menu", help="Seeds in a TOML file: total, pure and shared rates."),
    ] = None,
    score: Score = None,
    luminosity_ratio: LuminosityRatio = 1.0,
    weight: Weight = None,
    offline: Offline = None,
    offline_unit: OfflineUnit = None,
    edges: Edges = None,
    tree: Tree = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure trigger rate, efficiency at fixed rate and turn-on; next, samebits report."""
    from samebits.menu import measure_menu, read_menu
    from samebits.sim.trigger import Beam
    from samebits.test_part import warn_of_training
    from samebits.train.data import load_column
    from samebits.trigger import measure_trigger, record_trigger

    if menu is None and not (signal and rate_khz):
        raise errors.UsageError("give --signal and --rate-khz, or --menu")
    beam, bins = Beam(bunches, luminosity_ratio), bin_edges(edges, offline)
    asked = rates(rate_khz) if rate_khz else []
    if asked and not signal:
        raise errors.UsageError("--rate-khz needs --signal")
    seeds = None if menu is None else read_menu(menu)
    design = Design.load(build)
    files = signal_files(signal)
    warn_of_training(design, (unbiased, *files.values()))
    weights = load_column(unbiased, weight, tree=tree) if weight else None
    facts, menu_facts = None, None
    with bar("rates and efficiencies", 1) as advance:
        if asked:
            facts = measure_trigger(
                design,
                events_of(design, unbiased, tree),
                signals_of(design, files, offline, tree),
                beam,
                asked,
                score=score,
                weights=weights,
                edges=bins,
                unbiased_name=unbiased.name,
                offline_name=axis_name(offline, offline_unit),
                seed=seed,
            )
        if menu is not None and seeds is not None:
            menu_facts = measure_menu(
                seeds.seed,
                {
                    one.name: _seed_values(design, one, menu.parent, unbiased, files, tree)
                    for one in seeds.seed
                },
                beam,
                weights,
                file=menu.name,
                unbiased_name=unbiased.name,
                seed=seed,
            )
        record_trigger(design, facts, command_line(), menu_facts)
        advance(1)
    if json:
        parts = {"": facts, "menu": menu_facts}
        found = {name: part.model_dump(mode="json") for name, part in parts.items() if part}
        print_json({**found.pop("", {}), **found})
        return
    if facts is not None:
        show(facts)
    if menu_facts is not None:
        show_menu(menu_facts)
    line(f"recorded in {build / 'report.json'}; next: samebits report {build}")


def _seed_values(
    design: Design,
    seed: MenuSeed,
    folder: Path,
    unbiased: Path,
    signals: dict[str, Path],
    tree: str | None,
) -> SeedValues:
    """What a seed of the menu cuts on, for every model of the design."""
    from samebits.menu import SeedValues
    from samebits.references import FIRMWARE, references, scores_of
    from samebits.train.data import load_column
    from samebits.trigger import score_place

    names = [*(one.name for one in references(design)), FIRMWARE]
    if seed.column is not None:
        column = seed.column
        words = column

        def of(path: Path) -> dict[str, Any]:
            return dict.fromkeys(names, load_column(path, column, tree=tree))
    else:
        own = design if seed.build is None else Design.load(folder / seed.build)
        place, words = score_place(own, None if seed.score is None else str(seed.score))
        if seed.build is not None:
            words += f" of {seed.build}"

        def of(path: Path) -> dict[str, Any]:
            found = scores_of(own, events_of(own, path, tree))
            first = next(iter(found))  # another build may have other models beside its firmware
            return {name: found.get(name, found[first])[:, place] for name in names}

    return SeedValues(words, of(unbiased), {name: of(path) for name, path in signals.items()})


def show_menu(facts: MenuFacts) -> None:
    """Prints total, pure and shared rates of the seeds."""
    line(
        f"menu {facts.file}: {facts.unbiased_events:,} unbiased events of {facts.unbiased}, "
        f"{facts.bunches} bunches, luminosity x {facts.luminosity_ratio:g}"
    )
    table = Table(title="Seeds, rates in kHz (intervals 68 %)", title_justify="left")
    for column in ("seed", "cuts on", "model", "threshold", "total", "pure", "shared"):
        table.add_column(
            column, justify="left" if column in ("seed", "cuts on", "model") else "right"
        )
    for name in facts.signals:
        table.add_column(f"efficiency {name}", justify="right")
    for place, seed in enumerate(facts.seeds):
        for model, one in facts.models.items():
            row, cut = one.rows[place], one.thresholds[seed.name]
            parts = one.seeds[seed.name]
            table.add_row(
                *map(escape, (seed.name, seed.quantity, model)),
                "cannot be reached" if cut is None else f"{cut:.6g}",
                _interval(row.total_khz),
                _interval(row.pure_khz),
                _khz(row.shared_khz),
                *(f"{parts[name].value:.4f}" for name in facts.signals),
            )
    for model, one in facts.models.items():
        table.add_row(
            "menu",
            "",
            model,
            "",
            _interval(one.total_khz),
            "",
            "",
            *(f"{one.efficiency[name].value:.4f}" for name in facts.signals),
        )
    out.print(table)
    for d in facts.differences:
        line(
            f"menu, {d.model} minus {d.reference}: {d.value:+.3g} kHz "
            f"(95 %: {d.low_95:+.3g} to {d.high_95:+.3g})"
        )


def _interval(rate: Fraction) -> str:
    return f"{_khz(rate.value)} ({_khz(rate.low)} to {_khz(rate.high)})"


def show(facts: TriggerFacts) -> None:
    """Prints rates, efficiencies, differences and turn-ons."""
    from samebits.report.wording import turn_on_words

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
                text = curve.note if curve.fit is None else turn_on_words(curve.fit)
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
