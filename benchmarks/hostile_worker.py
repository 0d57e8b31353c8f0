"""Files opened one by one, each in a process of its own with little memory and little time.

    python -P benchmarks/hostile_worker.py ACTION SECONDS MEGABYTES BUILD < paths

ACTION is one of `ACTIONS`; BUILD is a build directory, for actions that read events. For every path
a line of JSON says how it ended: "good", the name of a samebits error, another exception, a signal
or "too long", with the message, the seconds and the megabytes of memory that it took.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ACTIONS", "outcome"]


def _read(path: Path, build: Path) -> None:
    from samebits.compile.frontends.onnx import read_onnx

    read_onnx(path)


def _compile(path: Path, build: Path) -> None:
    from samebits import Design

    Design.from_onnx(path)


def _emulate(path: Path, build: Path) -> None:
    from samebits.sim.firmware_file import FirmwareFile

    firmware = FirmwareFile(path)
    firmware.run([np.zeros((4, *port.shape)) for port in firmware.inputs])


def _load(path: Path, build: Path) -> None:
    from samebits import Design

    Design.load(path)


def _project(path: Path, build: Path) -> None:
    from samebits.firmware.hls_project import read_project

    read_project(path)


def _events(path: Path, build: Path) -> None:
    from samebits.train.data import load_features

    load_features(path)


def _stream(path: Path, build: Path) -> None:
    from samebits.event_files import open_events
    from samebits.sim.firmware_file import FirmwareFile

    with open_events(path, FirmwareFile(build / "firmware.onnx")) as source:
        for _ in source.pieces():
            pass


ACTIONS: dict[str, Callable[[Path, Path], None]] = {
    "read": _read,
    "compile": _compile,
    "emulate": _emulate,
    "load": _load,
    "project": _project,
    "events": _events,
    "stream": _stream,
}


_FILES = ["samebits.train.data", "h5py", "pyarrow.parquet", "uproot"]
_NEEDED = {
    "read": ["samebits.compile.frontends.onnx"],
    "compile": ["samebits.compile.frontends.onnx", "hls4ml", "onnxruntime", "qonnx.util.cleanup"],
    "emulate": ["samebits.sim.firmware_file", "onnxruntime"],
    "events": _FILES,
    "stream": [*_FILES, "samebits.event_files", "onnxruntime", "onnx"],
}


def outcome(
    action: Callable[[Path, Path], None], path: Path, build: Path, seconds: float, megabytes: int
) -> dict[str, Any]:
    """How opening one file ends."""
    reading, writing = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if not child:
        os.close(reading)
        _run(action, path, build, megabytes, writing)
    os.close(writing)
    text, late = b"", False
    while True:
        left = seconds - (time.monotonic() - start)
        ready, _, _ = select.select([reading], [], [], max(left, 0))
        if not ready:
            late = True
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(reading, 1 << 16)
        if not part:
            break
        text += part
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    found: dict[str, Any] = {"file": path.name, "seconds": round(time.monotonic() - start, 3)}
    found["megabytes"] = usage.ru_maxrss >> 10
    if late:
        return {**found, "kind": "too long", "message": f"over {seconds} s"}
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return {**found, "kind": name, "message": "the process was killed"}
    if not text:
        return {**found, "kind": f"exit code {os.WEXITSTATUS(status)}", "message": "no answer"}
    return {**found, **json.loads(text)}


def _run(
    action: Callable[[Path, Path], None], path: Path, build: Path, megabytes: int, pipe: int
) -> None:
    """The child: never returns."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from samebits import errors

    found = {"kind": "good", "message": ""}
    try:
        action(path, build)
    except errors.SamebitsError as error:
        found = {"kind": type(error).__name__, "message": str(error)}
    except BaseException as error:
        where = traceback.format_exc()[-1500:]
        found = {"kind": f"TRACEBACK {type(error).__name__}", "message": where}
    os.write(pipe, json.dumps(found).encode())
    os._exit(0)


def _paths() -> Iterator[Path]:
    for line in sys.stdin:
        yield Path(line.rstrip("\n"))


def main() -> None:
    action, seconds, megabytes, build = sys.argv[1:]
    for name in ("numpy", "samebits.design", *_NEEDED.get(action, ())):
        importlib.import_module(name)  # once for all files
    for path in _paths():
        found = outcome(ACTIONS[action], path, Path(build), float(seconds), int(megabytes))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
