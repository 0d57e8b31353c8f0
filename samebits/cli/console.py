"""Results to stdout, progress and messages to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = [
    "bar",
    "command_line",
    "counted",
    "engine_bars",
    "err",
    "line",
    "out",
    "print_json",
    "say",
    "steps",
    "warnings_shown",
]

_WIDTH_COLUMNS = 160  # of a file or pipe, where nothing should be cut short
out = Console(width=None if sys.stdout.isatty() else _WIDTH_COLUMNS)
err = Console(stderr=True)


def _columns() -> tuple[Any, ...]:
    return (
        TextColumn("  {task.description:<34}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )


class _Bars(Progress):
    """Bars on stderr. In a file or pipe no empty line follows them, unlike rich's own."""

    def __init__(self, *columns: Any, transient: bool = False) -> None:
        self._lasting = not transient and not err.is_interactive
        super().__init__(*columns, console=err, transient=transient or self._lasting)

    def stop(self) -> None:
        """Stops; in a file or pipe this writes bars that are to stay, once."""
        self.live.stop()
        if self._lasting:
            self.console.print(self.get_renderable())


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; call what it yields with the number of steps done.

    A second number is that of all steps, where there turn out to be fewer than at most.
    """
    with _Bars(*_columns()) as progress:
        task = progress.add_task(title, total=total)

        def advance(done: int, of: int | None = None) -> None:
            progress.update(task, completed=done, total=of)

        yield advance


@contextlib.contextmanager
def steps(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on stderr for steps that have names: call it with (done, total, name)."""
    columns = (*_columns(), TextColumn("{task.fields[step]}"))
    with _Bars(*columns, transient=True) as progress:
        task = progress.add_task(title, total=None, step="")

        def show(done: int, total: int, step: str) -> None:
            progress.update(task, completed=done, total=total, step=step)

        yield show


@contextlib.contextmanager
def engine_bars() -> Iterator[Callable[[str, int, int], None]]:
    """One bar per engine, for `Design.verify`; shown from the first call to the last event."""
    progress: Progress | None = None
    tasks: dict[str, Any] = {}

    def show(engine: str, done: int, total: int) -> None:
        nonlocal progress
        if progress is None:
            progress = _Bars(*_columns())
            progress.start()
        if engine not in tasks:
            tasks[engine] = progress.add_task(engine, total=total)
        progress.update(tasks[engine], completed=done)

    try:
        yield show
    finally:
        if progress is not None:
            progress.stop()


def say(text: str) -> None:
    """A line on stderr: what happens now."""
    err.print(text, style="bold", highlight=False)


def line(text: str, console: Console = out) -> None:
    """A line on stdout or stderr as it is, not broken at the terminal's width."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def counted(number: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "cycle"), counted(8000, "event")
    ('1 cycle', '8,000 events')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_json(value: Any) -> None:
    """A JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def command_line() -> str:
    """The command that runs now, as it can be given to a shell again."""
    return shlex.join(["samebits", *sys.argv[1:]])


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line(f"{record.levelname.lower()}: {record.getMessage()}", err)


@contextlib.contextmanager
def warnings_shown() -> Iterator[None]:
    """What samebits logs stands on stderr, one line each."""
    logger, handler = logging.getLogger("samebits"), _Lines(logging.WARNING)
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
