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
from .options import Json, Seed, events_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samebits.compare import ComparisonFacts, NumberRow, TextRow

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
    events: Annotated[
        Path | None,
        typer.Option("--events", help="Events for the bits alone; default: the labelled ones."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write a page with plots: .html.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Show what differs between two designs: bits, metrics, latency, resources, formats."""
    from samebits.compare import compare

    if output is not None and output.suffix != ".html":
        raise errors.UsageError(f"{output}: unknown suffix; wanted .html")
    designs = Design.load(a), Design.load(b)
    x: Any = events_of(designs[0], events) if events else None
    with bar("comparing", 1) as advance:
        facts = compare(*designs, data, x, seed=seed)
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
    _numbers("Latency", facts.latency, facts.names)
    _numbers("Resources", facts.resources, facts.names)
    for title, rows in (
        ("Layers", facts.layers),
        ("Target", facts.settings),
        ("Versions that compiled it", facts.versions),
    ):
        _texts(title, rows, facts.names)


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
