"""Runs the networks of one compiled library: `python -P fuzz_worker.py JOB.json`.

Each network runs in a process forked for it, because hls4ml's asserts abort. Files beside JOB.json,
for a network called NAME, float64 with the event as first axis:

    NAME.x<i>.npy  the inputs
    NAME.y<i>.npy  the outputs
    NAME.z<i>.npy  the outputs of a second run with tracing on, which reads streams and writes back
    NAME.t<i>.npy  the traced layers of that run
    NAME.txt       what the simulated code said

In the end JOB.json.done holds {NAME: exit status}: 0, an exit code, the negative number of the
signal that ended it, or null if it took too long.
"""

import ctypes
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_MEMORY = 6 << 30


class _TraceData(ctypes.Structure):
    """`struct trace_data` of hls4ml's bridge (templates/vivado/myproject_bridge.cpp)."""

    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p))


def simulate(folder: Path, library: str, job: dict[str, Any]) -> None:
    """All events of one network, in this process."""
    name = job["name"]
    inputs = [np.load(folder / f"{name}.x{i}.npy") for i in range(job["inputs"])]
    events = len(inputs[0])
    os.chdir(job["firmware"])  # hls4ml reads the weights from the relative folder "weights"
    loaded = ctypes.CDLL(library)
    top = loaded[f"{name}_double"]
    top.restype = None
    outputs = [np.zeros((events, size)) for size in job["output_sizes"]]
    layers = [np.zeros((events, size)) for _, size in job["layers"]]
    for letter in "yz":
        traces = _start_tracing(loaded, job) if letter == "z" else []
        places = [(a.ctypes.data, a.strides[0]) for a in (*inputs, *outputs)]
        top.argtypes = [ctypes.c_void_p] * len(places)
        for event in range(events):
            top(*(start + event * step for start, step in places))
            for layer, trace in zip(layers, traces, strict=False):
                layer[event] = trace
        for i, array in enumerate(outputs):
            np.save(folder / f"{name}.{letter}{i}.npy", array)
    for i, array in enumerate(layers):
        np.save(folder / f"{name}.t{i}.npy", array)


def _start_tracing(loaded: ctypes.CDLL, job: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    """Views of the layers' numbers, which every event overwrites."""
    loaded[f"fuzz_trace_{job['name']}"]()
    entries = (_TraceData * (len(job["layers"]) + 1))()
    loaded[f"collect_trace_output_{job['name']}"](entries)
    found = {entry.name.decode(): entry.data for entry in entries if entry.name}
    double_p = ctypes.POINTER(ctypes.c_double)
    return [
        np.ctypeslib.as_array(ctypes.cast(found[layer], double_p), shape=(size,))
        for layer, size in job["layers"]
    ]


def run(folder: Path, library: str, job: dict[str, Any], seconds: float) -> int | None:
    """The exit status of a network in a process of its own; None if it took too long."""
    process = os.fork()
    if process == 0:
        said = os.open(folder / f"{job['name']}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
        code = 1
        try:
            simulate(folder, library, job)
            code = 0
        except Exception as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return None


def main(path: str) -> None:
    jobs = json.loads(Path(path).read_text())
    folder = Path(path).parent
    results = {
        job["name"]: run(folder, jobs["library"], job, jobs["seconds"]) for job in jobs["networks"]
    }
    Path(path + ".done").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1])
