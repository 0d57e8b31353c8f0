"""The process that runs a compiled C simulation: `python -m samebits.firmware.csim_worker FOLDER`.

hls4ml's code may abort, exit or hang, so it runs here and not in the caller's process. FOLDER holds
`job.json`; for each line on standard input the worker reads `x<i>.npy`, writes `y<i>.npy` and
`t<i>.npy` (float64, first axis the event) and answers with one line on the pipe `reply_fd`. It ends
with standard input. Standard output and error belong to the simulated code.
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]


class _TraceData(ctypes.Structure):
    """`struct trace_data` of hls4ml's bridge (templates/vivado/myproject_bridge.cpp)."""

    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p))


class _Simulation:
    """The loaded library; `folder` is where the arrays are exchanged."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self.folder = folder
        self.in_sizes: list[int] = job["input_sizes"]
        self.out_sizes: list[int] = job["output_sizes"]
        self.layers: list[tuple[str, int]] = [(name, size) for name, size in job["layers"]]
        # The weights are read from the relative folder "weights" at the first call.
        os.chdir(job["firmware"])
        self.library = ctypes.CDLL(job["library"])
        self.top = self.library[job["function"]]
        self.top.restype = None
        self.top.argtypes = [ctypes.c_void_p] * (len(self.in_sizes) + len(self.out_sizes))
        self.traces: list[np.ndarray[Any, Any]] = []
        if self.layers:
            self.library.allocate_trace_storage.argtypes = [ctypes.c_size_t]
            self.library.allocate_trace_storage.restype = None
            self.library.allocate_trace_storage(ctypes.sizeof(ctypes.c_double))
            self.traces = self._trace_views()

    def _trace_views(self) -> list[np.ndarray[Any, Any]]:
        """Views of the bridge's buffers, which every event overwrites, in the order of `layers`."""
        entries = (_TraceData * len(self.layers))()
        self.library.collect_trace_output.argtypes = [ctypes.POINTER(_TraceData)]
        self.library.collect_trace_output.restype = None
        self.library.collect_trace_output(entries)
        found = {entry.name.decode(): entry.data for entry in entries if entry.name}
        return [
            np.ctypeslib.as_array(
                ctypes.cast(found[name], ctypes.POINTER(ctypes.c_double)), shape=(size,)
            )
            for name, size in self.layers
        ]

    def run_chunk(self) -> None:
        inputs = [
            np.load(self.folder / f"x{i}.npy", allow_pickle=False)
            for i in range(len(self.in_sizes))
        ]
        n_events = len(inputs[0])
        outputs = [np.zeros((n_events, size)) for size in self.out_sizes]
        layers = [np.zeros((n_events, size)) for _, size in self.layers]
        places = [(a.ctypes.data, a.strides[0]) for a in (*inputs, *outputs)]
        top, traces = self.top, self.traces
        for event in range(n_events):
            top(*(start + event * step for start, step in places))
            for layer, trace in zip(layers, traces, strict=True):
                layer[event] = trace
        for name, arrays in (("y", outputs), ("t", layers)):
            for i, array in enumerate(arrays):
                np.save(self.folder / f"{name}{i}.npy", array, allow_pickle=False)


def main(folder: str) -> None:
    """Serves chunks until standard input ends."""
    job = json.loads((Path(folder) / "job.json").read_text(encoding="utf-8"))
    simulation = _Simulation(Path(folder), job)
    for _ in sys.stdin:
        simulation.run_chunk()
        os.write(job["reply_fd"], b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
