"""samebits doctor: what is installed, found and missing."""

from __future__ import annotations

import dataclasses

from rich.markup import escape
from rich.table import Table

from .console import out, print_json
from .options import Json

NAME = "doctor"


def command(json: Json = False) -> None:
    """List what is installed, what is missing, and what each missing part would enable."""
    from samebits.doctor import examine

    findings = examine()
    if json:
        print_json([dataclasses.asdict(finding) for finding in findings])
        return
    table = Table(title="samebits doctor", title_justify="left")
    for column in ("part", "state", "version", "enables", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        style = {"found": "green", "missing": "yellow"}.get(finding.state, "red")
        table.add_row(
            finding.name,
            f"[{style}]{finding.state}[/]",
            finding.version or "-",
            finding.enables,
            escape(finding.advice or ""),
        )
    out.print(table)
