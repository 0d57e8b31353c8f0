"""The command line: one file per command, registered here."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from samebits import __version__, errors

from . import (
    build,
    check,
    compare,
    data,
    demo,
    diff,
    doctor,
    emulate,
    export,
    freeze,
    library,
    match,
    ranges,
    report,
    rtl,
    simulate,
    sweep,
    train,
    trigger,
    tune,
    verify,
)
from . import compile as compile_command
from .console import err, warnings_shown
from .examples import GROUPS, epilog

__all__ = ["app", "main"]

_TYPER_INTERRUPTED = 130

app = typer.Typer(
    name="samebits",
    help="Compile quantized networks to FPGA trigger firmware and prove that the bits are the "
    "same: hls4ml's C simulation, the NumPy simulator and firmware.onnx under ONNX Runtime.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = {
    module.NAME: module.command
    for module in (
        *(demo, data, train, export, compile_command, simulate, ranges, verify, report),
        *(trigger, freeze, check, match, compare, rtl, build, library, emulate),
        *(sweep, tune, diff, doctor),
    )
}
for group, names in GROUPS.items():
    for name in names:
        app.command(name=name, rich_help_panel=group, epilog=epilog(name))(_COMMANDS[name])


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"samebits {__version__}")
        raise typer.Exit


@app.callback()
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
            code = app(standalone_mode=False)
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
