"""What tools say about the RTL: kept as JSON beside it, and shown for the same sources only."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from samebits import errors

from . import process
from .open_tools import OpenTool
from .results import Facts, NotRun, Text
from .rtl import Rtl

__all__ = [
    "LOGS",
    "Progress",
    "RtlResult",
    "Used",
    "expected",
    "last",
    "read",
    "run",
    "workplace",
    "write",
]

LOGS = "logs"
Progress = Callable[[int, int, str], None]  # steps done, of how many, and the step
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class Used(Facts):
    """Seconds by the clock, and peak memory where it is known."""

    seconds: float
    memory_mb: int | None


class RtlResult(Facts):
    """What a result says about where it comes from.

    `files_sha256`: the RTL's. `commands`: what the tools were told, without file names.
    """

    version: Literal[1] = 1
    files_sha256: Text
    tools: tuple[Text, ...]
    commands: tuple[Text, ...]
    used: Used


_Result = TypeVar("_Result", bound=RtlResult)


def expected(rtl: Rtl, s_per_kb: float, mb_per_kb: float) -> str:
    """About how long a tool takes and its memory, from what it took by size of the sources."""
    logic = [path for path in rtl.sources if not path.stem.endswith("_tables")]
    size_kb = sum(path.stat().st_size for path in logic) / 1000
    seconds, memory_mb = 5 + s_per_kb * size_kb, 200 + mb_per_kb * size_kb
    time_ = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"about {time_} of one core, {memory_mb / 1000:.1f} GB"


def read(rtl: Rtl, name: str, kind: type[_Result], command: str) -> _Result | NotRun:
    """The result `name` beside the RTL, or why there is none; `command` makes one.

    Raises:
        BuildError: it is damaged.
    """
    path = rtl.folder / name
    try:
        found = kind.model_validate_json(path.read_bytes())
        same = found.files_sha256 == rtl.files_sha256
    except FileNotFoundError:
        return NotRun(reason=f"run `{command}`")
    except (OSError, ValidationError) as error:
        told = error.strerror if isinstance(error, OSError) else error.errors()[0]["msg"]
        raise errors.BuildError(f"{path}: is damaged ({told}); delete it") from None
    if not same:
        return NotRun(reason=f"the RTL has changed since {path.name}; run `{command}`")
    return found


def last(
    rtl: Rtl, name: str, kind: type[_Result], tools: Sequence[str], commands: Sequence[str]
) -> _Result | None:
    """The result beside the RTL if the same tools and commands would make it again."""
    try:
        found = read(rtl, name, kind, "")
    except errors.BuildError:  # a damaged one is made again
        return None
    if isinstance(found, NotRun) or found.tools != tuple(tools):
        return None
    return found if found.commands == tuple(commands) else None


def write(rtl: Rtl, name: str, result: RtlResult) -> None:
    """Puts a result beside the RTL, whole or not at all.

    Raises:
        BuildError: the RTL is another one by now, or the file cannot be written.
    """
    path = rtl.folder / name
    temporary: str | None = None
    try:
        if rtl.files_sha256 != result.files_sha256:
            raise errors.BuildError(
                f"{rtl.folder}: the RTL was changed while {result.tools[-1]} ran; run it again"
            )
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=rtl.folder)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(result.model_dump_json(indent=1) + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise errors.BuildError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextlib.contextmanager
def workplace(rtl: Rtl, tool: str) -> Iterator[tuple[Path, list[str], str]]:
    """A temporary folder with a copy of the RTL, the files' names in it, and their SHA-256.

    Raises:
        UnsupportedError: VHDL.
        BuildError: a file whose name cannot stand in a script, or a full disk.
    """
    if rtl.language != "verilog":
        raise errors.UnsupportedError(
            f"{rtl.folder}: {tool} reads Verilog, this RTL is {rtl.language}; write it in Verilog: "
            "both come from the same pipeline"
        )
    names = [path.relative_to(rtl.folder).as_posix() for path in rtl.sources]
    for name in names:
        if not _PLAIN_PATH.fullmatch(name):
            raise errors.BuildError(
                f"{rtl.folder / name}: is no file of this RTL; write the RTL again"
            )
    try:
        files_sha256 = rtl.files_sha256  # before the copy: a change meanwhile is noticed at the end
        with tempfile.TemporaryDirectory(prefix="samebits-") as temporary:
            folder = Path(temporary)
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((rtl.folder / name).read_bytes())
            yield folder, names, files_sha256
    except OSError as error:
        raise errors.BuildError(
            f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}"
        ) from None


def run(
    rtl: Rtl,
    tool: OpenTool,
    arguments: Sequence[str],
    *,
    folder: Path,
    log: str,
    timeout_s: float,
    on_line: Callable[[str], None] | None = None,
) -> Used:
    """Runs a tool in the workplace; its whole log goes to logs/ beside the RTL.

    Raises:
        ToolError: it fails, with the telling lines of its log, or takes too long.
        BuildError: the log cannot be written.
    """
    kept = rtl.folder / LOGS / log
    growing = kept.with_name(f".{log}.{uuid.uuid4().hex}")  # another one may run on the same RTL
    try:
        kept.parent.mkdir(exist_ok=True)
        growing.touch()
    except OSError as error:
        raise errors.BuildError(
            f"{kept.parent}: cannot be written: {error.strerror or error}"
        ) from None
    before, started = _children_mb(), time.monotonic()
    try:
        process.run(
            [*tool.command, *arguments],
            what=f"{tool.title} on {rtl.top}",
            timeout_s=timeout_s,
            folder=folder,
            log=growing,
            # YoWASP's way to hide folders from its programs, this one's too
            env={name: value for name, value in os.environ.items() if name != "YOWASP_MOUNT"},
            on_line=on_line,
        )
    except errors.ToolError as error:
        raise errors.ToolError(str(error).replace(str(growing), str(kept))) from None
    finally:
        growing.replace(kept)
    after = _children_mb()
    # the system keeps the largest of all children so far: known if this one was the largest
    return Used(
        seconds=round(time.monotonic() - started, 1), memory_mb=after if after > before else None
    )


def _children_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))
