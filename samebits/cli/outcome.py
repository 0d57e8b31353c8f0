"""Where a check's outcome goes besides the terminal: JUnit XML, GitHub's annotations."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from samebits.ci import Case, github_lines, on_github, write_junit, write_summary
from samebits.report.facts import Gate

from .console import err, line

__all__ = ["GatesFile", "Github", "Junit", "show_gates", "tell_ci"]

_CI = "In CI"  # the heading in --help

Junit = Annotated[
    Path | None,
    typer.Option("--junit", help="Write the outcome as JUnit XML as well.", rich_help_panel=_CI),
]
Github = Annotated[
    bool,
    typer.Option(
        "--github",
        help="GitHub annotations and job summary; by default where GITHUB_ACTIONS is true.",
        rich_help_panel=_CI,
    ),
]
GatesFile = Annotated[
    Path | None,
    typer.Option(
        "--gates",
        help="Limits in a TOML file; exit code 1 if one is not kept.",
        rich_help_panel=_CI,
    ),
]


def tell_ci(
    suite: str, cases: Sequence[Case], junit: Path | None, github: bool, file: str = ""
) -> None:
    """Writes the JUnit file if asked for, and GitHub's annotations there or if asked for.

    Annotations stand on stderr, where GitHub reads them as well.
    """
    if junit is not None:
        write_junit(junit, suite, cases)
    if github or on_github():
        for text in github_lines(suite, cases, _in_workspace(file)):
            sys.stderr.write(f"{text}\n")
        write_summary(suite, cases)


def _in_workspace(file: str) -> str:
    """The path as GitHub wants it, relative to the repository, if it lies in it."""
    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd()).resolve()
    path = Path(file).resolve()
    return str(path.relative_to(workspace)) if path.is_relative_to(workspace) else file


def show_gates(gates: Sequence[Gate]) -> None:
    """One line for every gate, on stderr."""
    words = {True: "passed", False: "FAILED", None: "undecided"}
    for gate in gates:
        line(f"gate {gate.name}: {words[gate.passed]}: {gate.detail}", err)
