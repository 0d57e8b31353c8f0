"""samebits compare: two designs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from samebits import errors, storage
from samebits.design import Design
from samebits.firmware.results import Measured, NotRun, Quantity

from .console import bar, line, out, print_json
from .options import Json, Label, RegressionTargets, Seed, Tree, events_of
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
    from collections.abc import Sequence

    from samebits.compare import ComparisonFacts, NumberRow, TextRow
    from samebits.report.facts import RegressionFacts

NAME = "compare"


def command(
    a: Annotated[Path, typer.Argument(help="A build directory.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Labelled events, a file or 'jets'; default: the test part of what they were "
            "trained on.",
        ),
    ] = None,
    label: Label = None,
    events: Annotated[
        Path | None,
        typer.Option("--events", help="Events for the bits alone; default: the labelled ones."),
    ] = None,
    target: RegressionTargets = None,
    unbiased: Annotated[
        Path | None,
        typer.Option("--unbiased", help="Unbiased events, to measure rates of both with."),
    ] = None,
    bunches: Annotated[
        int | None, typer.Option("--bunches", help="Colliding bunches in the machine, 1 to 3564.")
    ] = None,
    signal: SignalFiles = None,
    rate_khz: RateKhz = None,
    score: Score = None,
    luminosity_ratio: LuminosityRatio = 1.0,
    weight: Weight = None,
    offline: Offline = None,
    offline_unit: OfflineUnit = None,
    edges: Edges = None,
    tree: Tree = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a page with plots: .html.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Show what differs between two designs: bits, metrics, rates, latency, resources, formats.

    Rates are what `samebits trigger` recorded for both; with --unbiased, --signal, --bunches and
    --rate-khz they are measured on the same events, and the differences have intervals.
    """
    from samebits.compare import compare
    from samebits.compare_physics import TriggerEvents
    from samebits.sim.trigger import Beam
    from samebits.test_part import warn_of_training
    from samebits.train.data import load_column

    if output is not None and output.suffix != ".html":
        raise errors.UsageError(f"{output}: unknown suffix; wanted .html")
    bins, asked = bin_edges(edges, offline), rates(rate_khz) if rate_khz else []
    needed = {"--unbiased": unbiased, "--bunches": bunches, "--signal": signal, "--rate-khz": asked}
    missing = [name for name, value in needed.items() if not value]
    if missing and (len(missing) < len(needed) or score or weight or offline):
        raise errors.UsageError(f"rates need {', '.join(missing)} too")
    if target is not None and data is None:
        raise errors.UsageError(f"--target {target} is a column of a file: give --data FILE")
    if label is not None and data is None:
        raise errors.UsageError(f"--label {label} is a column of a file: give --data FILE")
    designs = Design.load(a), Design.load(b)
    x: Any = events_of(designs[0], events) if events else None
    with bar("comparing", 1) as advance:
        trigger = None
        if unbiased is not None and bunches is not None:
            files = signal_files(signal)
            for design in designs:
                warn_of_training(design, (unbiased, *files.values()))
            trigger = TriggerEvents(
                (
                    events_of(designs[0], unbiased, tree),
                    events_of(designs[1], unbiased, tree),
                ),
                (
                    signals_of(designs[0], files, offline, tree),
                    signals_of(designs[1], files, offline, tree),
                ),
                Beam(bunches, luminosity_ratio),
                asked,
                score,
                load_column(unbiased, weight, tree=tree) if weight else None,
                bins,
                unbiased.name,
                axis_name(offline, offline_unit),
                seed,
            )
        facts = compare(*designs, data, x, target=target, label=label, trigger=trigger, seed=seed)
        advance(1)
    if output is not None:
        from samebits.report.comparison import comparison_html

        text = comparison_html(facts)
        with storage.replace_file(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if json:
        print_json(facts.model_dump(mode="json"))
        return
    _show(facts)
    if output is not None:
        line(f"written to {output}")


def _show(facts: ComparisonFacts) -> None:
    from samebits.report.comparison import metric_rows, verdict

    from .trigger import show as show_trigger
    from .trigger import show_menu

    head, tail = verdict(facts)
    line(f"{facts.names[0]} (a) and {facts.names[1]} (b): {head}. {tail}")
    if isinstance(facts.bits, NotRun):
        line(f"bits: not run: {facts.bits.reason}")
    elif facts.bits.first_layer:
        line(f"first layer that differs: {facts.bits.first_layer}")
    if isinstance(facts.metrics, NotRun):
        line(f"metrics: not run: {facts.metrics.reason}")
    else:
        table = _table("Metrics of the firmware, b minus a", "", *facts.names)
        for column in ("difference", "95 % interval"):
            table.add_column(column, justify="right")
        for row in metric_rows(facts.metrics):
            table.add_row(row.what, row.a, row.b, row.change, row.interval_95)
        out.print(table)
    if not isinstance(facts.regression, NotRun):
        _errors(facts.regression)
    if isinstance(facts.trigger, NotRun):
        line(f"trigger: not run: {facts.trigger.reason}")
    else:
        show_trigger(facts.trigger)
    if not isinstance(facts.menu, NotRun):
        show_menu(facts.menu)
    _numbers("Latency", facts.latency, facts.names)
    _numbers("Resources", facts.resources, facts.names)
    for title, rows in (
        ("Layers", facts.layers),
        ("Target", facts.settings),
        ("Versions that compiled it", facts.versions),
    ):
        _texts(title, rows, facts.names)


def _errors(facts: RegressionFacts) -> None:
    comparison = facts.comparison
    table = _table("Errors of the firmware, b minus a", "what", *comparison.models)
    for column in ("difference", "95 % interval"):
        table.add_column(column, justify="right")
    for d in comparison.differences:
        pair = [getattr(found[d.target], d.quantity) for found in comparison.models.values()]
        table.add_row(
            f"{d.target}: {d.quantity}",
            *("undefined" if one is None else f"{one.value:.4g}" for one in pair),
            f"{d.value:+.4g}",
            f"{d.low_95:+.4g} to {d.high_95:+.4g}",
        )
    out.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _texts(title: str, rows: Sequence[TextRow], names: tuple[str, str]) -> None:
    from rich.markup import escape

    if not rows:
        line(f"{title}: the same")
        return
    table = _table(title, "what differs", *names)
    for row in rows:
        table.add_row(*map(escape, (row.what, row.a, row.b)))
    out.print(table)


def _numbers(title: str, rows: Sequence[NumberRow] | NotRun, names: tuple[str, str]) -> None:
    from rich.markup import escape

    from samebits.report.comparison import change

    if isinstance(rows, NotRun):
        line(f"{title}: not run: {rows.reason}")
        return
    table = _table(title, "what", "by", *names, "change")
    for row in rows:
        cells = row.what, row.source, _words(row.a), _words(row.b), change(row)
        table.add_row(*map(escape, cells))
    out.print(table)


def _words(number: Measured) -> str:
    from samebits.report.wording import format_quantity

    if isinstance(number, Quantity):
        return f"{format_quantity(number)} ({number.kind})"
    return f"not run: {number.reason}"
