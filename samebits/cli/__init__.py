"""The command line: one file per command, which is imported when the command is called.

So a command starts without the libraries that the others need.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from samebits import __version__, errors

from .console import err, warnings_shown
from .examples import GROUPS, epilog

__all__ = ["app", "main"]

_TYPER_INTERRUPTED = 130

app: typer.Typer  # every command; made on demand


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _app([name for names in GROUPS.values() for name in names])


def _app(names: Sequence[str]) -> typer.Typer:
    """The command line with these commands."""
    made = typer.Typer(
        name="samebits",
        help="Compile quantized networks to FPGA trigger firmware and prove that the bits are the "
        "same: hls4ml's C simulation, the NumPy simulator and firmware.onnx under ONNX Runtime.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    made.callback()(_options)
    groups = {name: group for group, listed in GROUPS.items() for name in listed}
    for name in names:
        module = importlib.import_module(f".{name}", __package__)
        made.command(name=module.NAME, rich_help_panel=groups[name], epilog=epilog(name))(
            module.command
        )
    return made


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"samebits {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Exit codes: 0 good, 1 the bits or a gate failed, 2 wrong usage or bad input."""


_interrupted: list[int] = []


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # a library's callback may swallow the exception: main looks here too
    _interrupted.append(number)
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: errors of samebits end in one message and their exit code."""
    _interrupted.clear()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        # a command's own exit code is returned, not raised; typer turns Ctrl-C into one, or into
        # Abort, depending on its version
        with warnings_shown():
            known = [name for names in GROUPS.values() for name in names]
            called = [name for name in sys.argv[1:2] if name in known]
            code = _app(called or known)(standalone_mode=False)
        if code == _TYPER_INTERRUPTED or _interrupted:
            raise KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        _end("interrupted; finished files were kept, nothing half-written is left", 2)
    except errors.SamebitsError as error:
        _end(str(error), error.exit_code)
    except Exception as error:  # click's usage errors show themselves; the rest is our fault
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code or 0)


def _end(message: str, code: int) -> NoReturn:
    err.print(f"[bold red]error:[/] {_escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
