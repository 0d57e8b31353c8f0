"""Outside programs: with a time limit, in a folder and session of their own, their whole log kept.

A program that fails says so in one ToolError that quotes the telling lines of its log. When it
takes too long, or the caller is interrupted or killed, everything that it started ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from samebits import errors

__all__ = ["answer", "ending", "locked", "own_session", "run", "telling_lines"]

_MARK = "SAMEBITS_PROCESS"
_TELLING = re.compile(
    r"\berror:|\bundefined (reference|symbol)|^%Error|^ERROR\b|^FATAL\b|^Traceback|No space left"
    r"|Segmentation fault|terminate called"
)
_MESSAGE = re.compile(
    r"(INFO|WARNING|CRITICAL WARNING|ERROR|Phase|Starting|Finished|Time)\b|@|\*{3}|#"
)
_NUMBERED = re.compile(r"ERROR: \[\w+ [\d-]+\]")
# hls4ml's build_prj.tcl tries it and goes on where Vitis HLS does not have it: in every log
_CAUGHT = "The 'config_array_partition -maximum_size' command is not supported"
_TELLING_LINES = 12
_LONGEST_LINE = 400
_LOOK_EVERY_S = 0.2  # at a log that is followed
_KILL_ROUNDS = 5
# It ends with the line that is sent when all is well. Standard input that ends without one: the
# caller was killed, and all that carries the mark follows.
_WATCHER = """\
read -r _ && exit
for _ in 1 2 3 4 5; do
    found=$(grep -lsF "$1" /proc/[0-9]*/environ)
    [ "$found" ] || exit
    for file in $found; do
        number=${file#/proc/}
        number=${number%/environ}
        kill -s KILL -- "-$number" "$number"
    done
done
"""


def run(
    command: Sequence[str],
    *,
    what: str,
    timeout_s: float,
    folder: Path | None = None,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Runs a program to its end; gives all that it printed, standard error included.

    Args:
        command: the program and its arguments; no shell reads them.
        what: what is done, for messages: "compiling the native emulator".
        folder: where it runs; None: a temporary folder of its own.
        log: a file that keeps what it prints, also if it fails; its folder must exist. It grows
            while the program runs if there is an `on_line`, else it appears whole at the end (but
            not after an interrupt), so that two programs may have the same one.
        env: the environment; None: this process's. TMPDIR is always a temporary folder of its own.
        on_line: called with every line that it prints, within a fraction of a second.

    Raises:
        ToolError: it does not start, fails, or takes longer than `timeout_s`. Whatever it started
            is over then, as it is after an interrupt.
    """
    shown = shlex.join(command)
    with tempfile.TemporaryDirectory(prefix="samebits-") as temporary:
        scratch = Path(temporary) / "tmp"
        scratch.mkdir()
        printed = log if log and on_line else Path(temporary) / "log"
        environment = {**(os.environ if env is None else env), "TMPDIR": str(scratch)}
        try:
            with (
                open(printed, "wb") as target,
                open(printed, "rb") as source,
                own_session(
                    command,
                    cwd=folder or scratch,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=target,
                    stderr=subprocess.STDOUT,
                ) as process,
            ):
                _wait(process, timeout_s, _Follower(source, on_line) if on_line else None)
        except subprocess.TimeoutExpired:
            _publish(printed, log)
            last = _last_lines(_read(printed), 3)
            raise errors.ToolError(
                "\n".join(
                    [
                        f"{what} took more than {timeout_s:g} s and was stopped"
                        + ("; it last printed:" if last else ""),
                        *last,
                        *_epilogue(shown, log),
                    ]
                )
            ) from None
        except OSError as error:
            raise errors.ToolError(
                f"{what}: {shown} does not start: {error.strerror or error}"
            ) from None
        _publish(printed, log)
        output = _read(printed)
    if process.returncode:
        quoted = telling_lines(output) or ["(it printed nothing)"]
        raise errors.ToolError(
            "\n".join([f"{what} {ending(process.returncode)}:", *quoted, *_epilogue(shown, log)])
        )
    return output


def answer(
    command: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> str | None:
    """What a program prints to standard output, as after --version; None if it fails or hangs."""
    try:
        with own_session(
            command,
            env=os.environ if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            said, _ = process.communicate(timeout=timeout_s)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.decode(errors="replace") if process.returncode == 0 else None


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Waits until no other process exchanges files in a folder; not on file systems without locks.

    Args:
        shared: to read; readers do not wait for each other.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            opened = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, opened)
            fcntl.flock(opened, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def own_session(
    command: Sequence[str], *, env: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose whole family is over when the context is left, however that happens.

    The family is known by its process group, and on Linux also by a mark in the environment, which
    finds children that have made groups of their own. There a watcher ends them all if this
    process is killed: the system's own way, PR_SET_PDEATHSIG, would end only the first of them.
    """
    mark, process = uuid.uuid4().hex, None
    with _watched(f"{_MARK}={mark}"):
        try:
            process = subprocess.Popen(
                command, env={**env, _MARK: mark}, start_new_session=True, **options
            )
            yield process
        finally:
            _end(process, mark)


@contextlib.contextmanager
def _watched(mark: str) -> Iterator[None]:
    watcher = None
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # no shell, or no more processes
            watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHER, "samebits-watcher", mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath)},  # without a mark of its own
                start_new_session=True,
            )
    try:
        yield
    finally:
        if watcher is not None:
            with contextlib.suppress(OSError):
                watcher.communicate(b"\n")


def _end(process: subprocess.Popen[bytes] | None, mark: str) -> None:
    """Kills a process, or what was to become one, with its children.

    Of a process that has ended by itself only what it left behind in its process group.
    """
    running = process is None or process.poll() is None
    if process is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if running:
        for _ in range(_KILL_ROUNDS):  # one of them may have just started another
            found = _marked(f"{_MARK}={mark}".encode())
            for number in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(number, signal.SIGKILL)
            if not found:
                break
            time.sleep(0.01)
    if process is not None:
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def ending(returncode: int) -> str:
    """How a process ended, in words."""
    if returncode >= 0:
        return f"failed with exit code {returncode}"
    name = signal.Signals(-returncode).name
    memory = " (out of memory, perhaps)" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"


def telling_lines(output: str, count: int = _TELLING_LINES) -> list[str]:
    """The lines of a log from the first error on; the last ones where no line tells of an error.

    AMD's tools number their messages: of their logs only the errors, with the lines that belong to
    them.
    """
    lines = output.strip().splitlines()
    numbered, within = [], False
    for line in lines:
        within = bool(_NUMBERED.match(line)) if _MESSAGE.match(line) else within
        if within and line.strip() and _CAUGHT not in line:
            numbered.append(_short(line))
    if numbered:
        return numbered[:count]
    first = next(
        (i for i, line in enumerate(lines) if _TELLING.search(line) and _CAUGHT not in line), None
    )
    start = max(0, len(lines) - count) if first is None else first
    return [_short(line) for line in lines[start : start + count]]


def _publish(printed: Path, log: Path | None) -> None:
    """What was printed as a whole file under its final name; nothing after an interrupt."""
    if log is not None and printed != log:
        new = log.with_name(f".{log.name}.{uuid.uuid4().hex}")
        shutil.copyfile(printed, new)
        new.replace(log)


def _epilogue(shown: str, log: Path | None) -> list[str]:
    return [*([f"whole log: {log}"] if log else []), f"command: {shown}"]


def _last_lines(output: str, count: int) -> list[str]:
    return [_short(line) for line in output.strip().splitlines()[-count:]]


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


class _Follower:
    """Hands on the whole lines that have been added to a file."""

    def __init__(self, source: IO[bytes], on_line: Callable[[str], None]) -> None:
        self._source, self._on_line, self._rest = source, on_line, b""

    def look(self) -> None:
        *lines, self._rest = (self._rest + self._source.read()).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace").rstrip("\r"))


def _wait(process: subprocess.Popen[bytes], timeout_s: float, follower: _Follower | None) -> None:
    """Raises subprocess.TimeoutExpired if the process takes longer."""
    if follower is None:
        process.wait(timeout_s)
        return
    until = time.monotonic() + timeout_s
    while True:
        left = until - time.monotonic()
        try:
            process.wait(max(0.0, min(_LOOK_EVERY_S, left)))
        except subprocess.TimeoutExpired:
            follower.look()
            if left <= 0:
                raise
            continue
        follower.look()
        return


def _marked(text: bytes) -> list[int]:
    """The living processes, other than this one, that have a text in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        number = int(entry.name)
        try:
            if number != os.getpid() and text in (entry / "environ").read_bytes():
                found.append(number)
        except OSError:  # over, or another user's
            continue
    return found
