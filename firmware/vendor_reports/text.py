"""Text that a vendor's tool has left: read whole, its tables and heading, or one plain error."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from samebits import errors

__all__ = ["Heading", "Usage", "decimal", "fault", "heading", "read", "tables"]

_HEADING = re.compile(r"^\| ([A-Z][A-Za-z ]+?)\s*:\s*(.*?)\s*\|?$", re.M)
_VERSION = re.compile(r"v\.?(\d{4}\.\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Usage:
    """How many of a resource are used, of how many on the part (None: the report does not say)."""

    used: float
    available: float | None


@dataclass(frozen=True)
class Heading:
    """What a Vivado report says of itself; None where it does not."""

    version: str | None
    device: str | None
    state: str | None
    command: str | None


def fault(tool: str, path: Path, what: str) -> errors.ToolError:
    """The error for a report that cannot be used."""
    return errors.ToolError(f"{tool} report {path}: {what}")


def read(tool: str, path: Path) -> str:
    """The text of a report. Raises ToolError if it cannot be read or is empty."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise fault(tool, path, f"cannot be read: {error.strerror or error}") from None
    if not text.strip():
        raise fault(tool, path, "is empty: truncated; run the tool again")
    return text


def heading(text: str) -> Heading:
    """The lines between the rules at the top of a Vivado report."""
    found = {name: value for name, value in reversed(_HEADING.findall(text[:4000]))}
    version = _VERSION.search(found.get("Tool Version", ""))
    return Heading(
        version=version[1] if version else None,
        device=found.get("Device"),
        state=found.get("Design State"),
        command=found.get("Command"),
    )


def tables(text: str, first_column: str) -> list[dict[str, str]]:
    """The rows of all tables of |-separated cells whose first column is called so."""
    rows: list[dict[str, str]] = []
    columns: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            if not line.startswith("+"):
                columns = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not columns:
            columns = cells
        elif columns[0] == first_column and len(cells) == len(columns):
            rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def decimal(cell: str) -> float | None:
    """The number in a cell, None if there is none."""
    try:
        value = float(cell.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
