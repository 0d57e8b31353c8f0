"""hls4ml's C simulation of many networks at once: one translation unit, one compiler call.

Every project stands in a namespace of its own, in which `nnet` sees the library's `nnet`; hls4ml's
files are included as they are. The library's headers come precompiled.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.firmware import toolchain
from samebits.firmware.hls_project import HlsProject, write_project
from samebits.firmware.process import own_session

from .fuzz_network import quiet

__all__ = ["ABORTED", "BROKEN", "RAN", "SLOW", "Job", "Simulation", "Simulator"]

Array = NDArray[np.float64]
RAN, BROKEN, ABORTED, SLOW = "ran", "does not compile", "aborts", "takes too long"

_FLAGS = ("-std=c++17", "-O0", "-fPIC", "-w", "-fno-gnu-unique")
_SYSTEM_HEADERS = (
    *("algorithm", "array", "cassert", "cmath", "complex", "cstddef", "cstdint", "cstdio"),
    *("cstdlib", "cstring", "fstream", "functional", "iostream", "limits", "map", "numeric"),
    *("sstream", "string", "tuple", "type_traits", "utility", "vector"),
)
_AP_HEADERS = ("ap_fixed.h", "ap_int.h", "hls_math.h", "hls_stream.h", "utils/x_hls_utils.h")
_PER_PROJECT = ("nnet_code_gen.h", "nnet_function_stubs.h")
_GUARD = re.compile(r"^\s*#\s*ifndef\s+(\w+_H_?)\s*$", re.MULTILINE)
_COMPILE_SECONDS = 900.0
_RUN_SECONDS = 60.0
_BRIDGE_NAMES = ("allocate_trace_storage", "free_trace_storage", "collect_trace_output")


@dataclass(frozen=True)
class Job:
    """A converted network, its events, and the name of its project."""

    name: str
    model: Any
    inputs: Sequence[Array]


@dataclass(frozen=True)
class Simulation:
    """What the C simulation gave: `status` RAN, or why not; arrays are (N, *shape).

    `disturbed`: the outputs are others with tracing on, so `layers` is empty. Tracing takes as many
    packets from a stream as the layer should have written; those that a layer writes beyond that
    then come first.
    """

    status: str
    message: str = ""
    outputs: tuple[Array, ...] = ()
    layers: dict[str, Array] = field(default_factory=dict)
    disturbed: bool = False


class Simulator:
    """Compiles and runs batches in `folder`, in which the precompiled headers stay."""

    def __init__(self, folder: Path, compiler: toolchain.Compiler | None = None) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.compiler = compiler or toolchain.find_cxx()

    def run(self, jobs: Sequence[Job], flags: Sequence[str] = ()) -> list[Simulation]:
        """One simulation per job; all jobs are for one backend. `flags` go to the compiler.

        Raises ToolError if hls4ml cannot write a project.
        """
        with tempfile.TemporaryDirectory(prefix="batch_", dir=self.folder) as temporary:
            folder = Path(temporary)
            projects = [self._write(job, folder) for job in jobs]
            written = [(j, p) for j, p in zip(jobs, projects, strict=True) if p is not None]
            done = self._compiled(written, folder, tuple(flags)) if written else {}
            nothing = Simulation(BROKEN, "hls4ml's writer fails")
            return [done.get(job.name, nothing) for job in jobs]

    def _write(self, job: Job, folder: Path) -> HlsProject | None:
        try:
            with quiet():
                return write_project(job.model, folder / job.name)
        except errors.ToolError:
            return None

    def _compiled(
        self, jobs: list[tuple[Job, HlsProject]], folder: Path, flags: tuple[str, ...]
    ) -> dict[str, Simulation]:
        """Compiles all in one; leaves out those that the errors name, or halves the batch."""
        library = folder / f"{jobs[0][0].name}_{len(jobs)}.so"
        source = library.with_suffix(".cpp")
        source.write_text("".join(_included(job.name, folder / job.name) for job, _ in jobs))
        headers = self._headers(folder / jobs[0][0].name, jobs[0][1].backend, flags)
        command = [*self.compiler.command, *_FLAGS, *self.compiler.flags, *flags, "-shared"]
        command += ["-include", str(headers), *_paths(headers.parent), str(source)]
        said = _run_compiler([*command, "-o", str(library)], folder)
        if said is None:
            return self._ran(jobs, folder, library)
        if len(jobs) == 1:
            return {jobs[0][0].name: Simulation(BROKEN, _first_error(said, ""))}
        named = set(re.findall(r"\b(\w+)(?:_space::|/firmware/|_bridge)", said))
        broken = [job.name for job, _ in jobs if job.name in named]
        parts = [jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]]
        done = {}
        if 0 < len(broken) < len(jobs):
            done = {name: Simulation(BROKEN, _first_error(said, name)) for name in broken}
            parts = [[entry for entry in jobs if entry[0].name not in named]]
        for part in parts:
            done |= self._compiled(part, folder, flags)
        return done

    def _headers(self, project: Path, backend: str, flags: tuple[str, ...]) -> Path:
        """The header that includes the whole library, precompiled once for backend and flags."""
        name = "_".join([backend, *(re.sub(r"\W", "", flag) for flag in flags)])
        place = self.folder / f"headers_{name}"
        header = place / "library.h"
        if header.with_suffix(".h.gch").exists():
            return header
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(project / "firmware" / "ap_types", place / "ap_types")
        shutil.copytree(project / "firmware" / "nnet_utils", place / "nnet_utils")
        library = sorted(p.name for p in (place / "nnet_utils").glob("*.h"))
        lines = [f"#include <{h}>" for h in _SYSTEM_HEADERS]
        lines += [f'#include "{h}"' for h in _AP_HEADERS if (place / "ap_types" / h).exists()]
        for name in library:
            if name in _PER_PROJECT:
                continue
            if name == "nnet_sepconv2d.h":  # nnet_sepconv1d_latency.h has 2D's guard
                lines.append("#undef NNET_SEPARABLE_CONV2D_LATENCY_H_")
            lines.append(f'#include "nnet_utils/{name}"')
        lines.append('#include "nnet_utils/nnet_function_stubs.h"')
        lines += ["namespace nnet {", "bool trace_enabled = false;"]
        lines += ["std::map<std::string, void *> *trace_outputs = NULL;"]
        lines += ["size_t trace_type_size = sizeof(double);", "}"]
        header.write_text("\n".join(lines) + "\n")
        command = [*self.compiler.command, *_FLAGS, *self.compiler.flags, *flags]
        toolchain.run_compiler(
            [*command, *_paths(place), "-x", "c++-header", str(header), "-o", f"{header}.gch"],
            what="hls4ml's headers",
            timeout_s=_COMPILE_SECONDS,
        )
        return header

    def _ran(
        self, jobs: list[tuple[Job, HlsProject]], folder: Path, library: Path
    ) -> dict[str, Simulation]:
        networks = []
        for job, project in jobs:
            for i, values in enumerate(job.inputs):
                flat = np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float64)
                np.save(folder / f"{job.name}.x{i}.npy", flat)
            networks.append(
                {
                    "name": job.name,
                    "firmware": str(folder / job.name / "firmware"),
                    "inputs": len(job.inputs),
                    "output_sizes": [signal.size for signal in project.outputs],
                    "layers": [(signal.name, signal.size) for signal in project.layers],
                }
            )
        path = folder / f"{library.stem}.json"
        work = {"library": str(library), "seconds": _RUN_SECONDS, "networks": networks}
        path.write_text(json.dumps(work))
        worker = Path(__file__).with_name("fuzz_worker.py")
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, "-P", str(worker), str(path)],
                timeout=_RUN_SECONDS * len(jobs) + 60,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        ended = Path(f"{path}.done")
        codes = json.loads(ended.read_text()) if ended.exists() else {}
        return {
            job.name: _collected(folder, job.name, project, codes.get(job.name))
            for job, project in jobs
        }


def _paths(headers: Path) -> tuple[str, ...]:
    return (f"-I{headers}", f"-I{headers}/ap_types")


def _included(name: str, project: Path) -> str:
    """hls4ml's files of one project in a namespace: the top function and the bridge."""
    files = [*project.glob("firmware/weights/*.h"), *project.glob("firmware/*.h")]
    files += [project / "firmware/nnet_utils/nnet_code_gen.h", project / f"{name}_bridge.cpp"]
    guards = {guard for file in files for guard in _GUARD.findall(file.read_text())[:1]}
    lines = [f"#undef {guard}" for guard in sorted(guards)]
    lines += [f"#define {n} {n}_{name}" for n in _BRIDGE_NAMES]
    lines += [f"namespace {name}_space {{", "namespace nnet { using namespace ::nnet; }"]
    lines += [f'#include "{name}/firmware/{name}.cpp"', f'#include "{name}/{name}_bridge.cpp"']
    # The library's functions fill the library's own traces.
    lines += [f'extern "C" void fuzz_trace_{name}() {{', "allocate_trace_storage(sizeof(double));"]
    for variable in ("trace_enabled", "trace_outputs", "trace_type_size"):
        lines.append(f"::nnet::{variable} = nnet::{variable};")
    lines += ["}", "}"]
    lines += [f"#undef {n}" for n in _BRIDGE_NAMES]
    return "\n".join(lines) + "\n\n"


def _run_compiler(command: Sequence[str], folder: Path) -> str | None:
    """What the compiler said if it failed, None if it did not."""
    with own_session(
        command,
        env=os.environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            _, said = process.communicate(timeout=_COMPILE_SECONDS)
        except subprocess.TimeoutExpired:
            return f"error: more than {_COMPILE_SECONDS:g} s"
    return said.decode(errors="replace") if process.returncode else None


def _first_error(said: str, name: str) -> str:
    """The first error after the first line that names the project."""
    lines = said.splitlines()
    start = next((i for i, line in enumerate(lines) if name in line), 0)
    errors_ = [line for line in lines[start:] if "error:" in line] or lines[:1]
    text = re.sub(r"^.*?error:\s*", "", errors_[0])
    return re.sub(r"\b\w+_space::", "", text).strip()[:240]


def _collected(folder: Path, name: str, project: HlsProject, code: int | None) -> Simulation:
    said = folder / f"{name}.txt"
    text = said.read_text(errors="replace").strip()[-600:] if said.exists() else ""
    if code is None:
        return Simulation(SLOW, text)
    if code:
        return Simulation(ABORTED, f"exit {code}: {text}")

    def load(letter: str, number: int, shape: tuple[int, ...]) -> Array:
        array: Array = np.load(folder / f"{name}.{letter}{number}.npy")
        return array.reshape(len(array), *shape)

    outputs = tuple(load("y", i, signal.shape) for i, signal in enumerate(project.outputs))
    traced = tuple(load("z", i, signal.shape) for i, signal in enumerate(project.outputs))
    if any(not np.array_equal(y, z) for y, z in zip(outputs, traced, strict=True)):
        return Simulation(RAN, text, outputs, disturbed=True)
    layers = {signal.name: load("t", i, signal.shape) for i, signal in enumerate(project.layers)}
    return Simulation(RAN, text, outputs, layers)
