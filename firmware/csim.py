"""hls4ml's C simulation of an HLS project: compiled here, run in a process of its own."""

import contextlib
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from . import process, toolchain
from .hls_project import HlsProject, Signal, read_project

__all__ = ["CSimulation", "CsimResult"]

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

_COMPILE_TIMEOUT_S = 900.0
# hls4ml's own script asks for C++23 where the compiler has it, but only float types need it. -O1
# runs as fast as -O3. The weights are found through a relative path, so that the folder can move.
_FLAGS = ("-O1", "-fPIC", "-shared", "-w", '-DWEIGHTS_DIR="weights"')
_START_TIMEOUT_S = 60.0
_EVENT_TIMEOUT_S = 2.0
_FIRST_CHUNK = 64
_LARGEST_CHUNK = 8192
_CHUNK_BYTES = 1 << 25
_TRACE_LIMIT_BYTES = 4 << 30
_WORD = "int64_t"
# hls4ml's trace reads as many packets of a stream as the layer's shape says and writes them back
# behind those that are left. Some layers write more packets than that; then the next one would read
# those first, which it does not without a trace. So they are put behind again.
_TRACE_IN_ORDER = """\
#include <cassert>
#include "firmware/nnet_utils/nnet_helpers.h"
namespace nnet {
template <class data_T>
void trace_in_order(hls::stream<data_T> &data, const char *name, size_t size) {
    save_layer_output<data_T>(data, name, size);
    for (size_t seen = size / data_T::size; trace_enabled && seen < data.size(); seen++)
        data.write(data.read());
}
}
#define save_layer_output trace_in_order
"""


@dataclass(frozen=True)
class CsimResult:
    """Outputs and layers as float64, (N, *shape): exact for values of up to 53 bits.

    `outputs` stand in the order of the model's outputs, `layers` in the order of the graph; it is
    empty without tracing. `n_events` is N.
    """

    n_events: int
    outputs: list[Array]
    layers: dict[str, Array]


class CSimulation:
    """The C simulation of the HLS project in `hls_folder` (written by `write_project`).

    It is compiled once into `build_folder` (`<hls_folder>/csim`), under a name made from the
    sources, the compiler and its flags, and runs in a process of its own: whatever the generated
    code does, the caller gets arrays or a ToolError.

        simulation = CSimulation("build/hls")
        simulation.run(x).outputs[0]

    With `raw` the input adapter runs in front: the one input is int64 words, (N, words), and the
    first output are the columns that it makes of them.
    """

    def __init__(
        self,
        hls_folder: str | os.PathLike[str],
        compiler: toolchain.Compiler | None = None,
        build_folder: str | os.PathLike[str] | None = None,
        *,
        raw: bool = False,
    ) -> None:
        self.hls_folder = Path(hls_folder).resolve()
        self.project: HlsProject = read_project(self.hls_folder)
        self.function = f"{self.project.project_name}_double"
        self.raw = raw
        if raw:
            self.project = _with_raw_signals(self.project, self.hls_folder)
            self.function = f"{self.project.project_name}_raw_double"
        self.build_folder = Path(build_folder or self.hls_folder / "csim").resolve()
        self._compiler = compiler

    @property
    def compiler(self) -> toolchain.Compiler:
        """The compiler given, or the first one found. Raises MissingToolError if there is none."""
        if self._compiler is None:
            self._compiler = toolchain.find_cxx()
        return self._compiler

    def build(self, force: bool = False, timeout_s: float = _COMPILE_TIMEOUT_S) -> Path:
        """The compiled library; compiles it if the sources, compiler or flags are new, or `force`.

        Raises MissingToolError if there is no compiler, ToolError with the compiler's first errors
        if it fails, BuildError if the build folder cannot be written.
        """
        library = self.build_folder / self._key() / f"{self.project.project_name}.so"
        if library.is_file() and not force:
            return library
        try:
            library.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".tmp", dir=self.build_folder) as temporary:
                compiled = self._compile(Path(temporary), library.parent, timeout_s)
                compiled.replace(library)
        except OSError as error:
            raise errors.BuildError(
                f"cannot write the compiled C simulation to {self.build_folder}: {error}"
            ) from error
        return library

    def run(
        self,
        x: npt.ArrayLike | Sequence[npt.ArrayLike],
        trace: bool = False,
        progress: Progress | None = None,
    ) -> CsimResult:
        """The outputs, and with `trace` the layers, of all events in `x`.

        `x` is (N, *shape) or (N, size), a list of such arrays for several inputs, in the order of
        the model's inputs. `progress(done, total)` is called after every chunk of events.

        Raises DataError for a wrong shape, UsageError for a trace above 4 GiB (`iterate` has no
        such limit), and what `iterate` raises.
        """
        inputs = self._inputs(x)
        n_events, project = len(inputs[0]), self.project
        traced = project.layers if trace else ()
        n_bytes = 8 * n_events * sum(layer.size for layer in traced)
        if n_bytes > _TRACE_LIMIT_BYTES:
            raise errors.UsageError(
                f"the traces of {n_events} events are {n_bytes / (1 << 30):.1f} GiB, the limit is "
                f"{_TRACE_LIMIT_BYTES >> 30} GiB: trace fewer events, or chunk by chunk (iterate)"
            )
        outputs = [np.zeros((n_events, *out.shape)) for out in project.outputs]
        layers = {layer.name: np.zeros((n_events, *layer.shape)) for layer in traced}
        done = 0
        for part in self.iterate(inputs, trace):
            stop = done + part.n_events
            for whole, piece in zip(outputs, part.outputs, strict=True):
                whole[done:stop] = piece
            for name, piece in part.layers.items():
                layers[name][done:stop] = piece
            done = stop
            if progress is not None:
                progress(done, n_events)
        return CsimResult(n_events, outputs, layers)

    def iterate(
        self, x: npt.ArrayLike | Sequence[npt.ArrayLike], trace: bool = False
    ) -> Iterator[CsimResult]:
        """The results of consecutive chunks of events, about one second of simulation each.

        Raises ToolError that names the signal or exit code if the simulation ends early, or if a
        chunk takes longer than 60 s and 2 s per event; and what `build` raises.
        """
        inputs = self._inputs(x)
        n_events = len(inputs[0])
        if n_events == 0:
            return
        library = self.build()
        with (
            tempfile.TemporaryDirectory(prefix="samebits_csim_") as folder,
            _Worker(self, library, Path(folder), trace) as worker,
        ):
            start, chunk = 0, _FIRST_CHUNK
            while start < n_events:
                stop = min(n_events, start + min(chunk, worker.largest_chunk))
                began = time.perf_counter()
                result = worker.run([values[start:stop] for values in inputs], start)
                seconds_per_event = (time.perf_counter() - began) / (stop - start)
                yield result
                chunk = max(1, min(4 * chunk, int(1.0 / max(seconds_per_event, 1e-9))))
                start = stop

    def _key(self) -> str:
        """A name that changes with the sources, the compiler and its flags."""
        firmware = self.hls_folder / "firmware"
        sources = sorted(p for p in firmware.rglob("*") if p.suffix in (".h", ".cpp"))
        sources.append(self.hls_folder / self._bridge)
        if self.raw:
            sources.append(self.hls_folder / f"{self.project.project_name}_raw_bridge.cpp")
        digest = hashlib.sha256()
        compiler = self.compiler
        for text in (*compiler.command, compiler.version, *self._flags(), self._unity()):
            digest.update(text.encode() + b"\0")
        for source in sources:
            digest.update(source.relative_to(self.hls_folder).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(self._read(source)).digest())
        return digest.hexdigest()[:16]

    def _read(self, source: Path) -> bytes:
        try:
            return source.read_bytes()
        except OSError as error:
            raise errors.BuildError(
                f"the HLS project {self.hls_folder} is damaged: cannot read {source}: "
                f"{error.strerror}; write it again with `samebits compile`"
            ) from error

    @property
    def _bridge(self) -> str:
        return f"{self.project.project_name}_bridge.cpp"

    def _unity(self) -> str:
        """Both sources as one: their headers, most of the compile time, are then read once."""
        own = _TRACE_IN_ORDER if self.project.io_type == "io_stream" and self.project.layers else ""
        name = self.project.project_name
        text = f'{own}#include "firmware/{name}.cpp"\n#include "{self._bridge}"\n'
        if self.raw:
            text += f'#include "firmware/{name}_raw.cpp"\n#include "{name}_raw_bridge.cpp"\n'
        return text

    def _flags(self) -> tuple[str, ...]:
        defines = self.hls_folder / "firmware" / "defines.h"
        floats = re.search(r"\b(half|bfloat16_t)\b", self._read(defines).decode(errors="replace"))
        standard = "-std=c++23" if floats else "-std=c++17"
        return (standard, *_FLAGS, *self.compiler.flags)

    def _compile(self, temporary: Path, log_folder: Path, timeout_s: float) -> Path:
        source, library = temporary / "csim.cpp", temporary / "csim.so"
        source.write_text(self._unity(), encoding="utf-8")
        headers = toolchain.headers_for(
            self.compiler, Path("firmware", "ap_types"), temporary / "ap_types", self.hls_folder
        )
        command = (*self.compiler.command, *self._flags(), "-I.", *headers)
        toolchain.run_compiler(
            [*command, str(source), "-o", str(library)],
            what=f"the C simulation of {self.hls_folder}",
            timeout_s=timeout_s,
            cwd=self.hls_folder,
            log=log_folder / "compile.log",
        )
        return library

    def _inputs(self, x: npt.ArrayLike | Sequence[npt.ArrayLike]) -> list[Array]:
        """One contiguous (N, size) array per input. Raises DataError if `x` does not fit."""
        signals = self.project.inputs
        given: list[Any] = [x]
        if isinstance(x, list | tuple):
            # With one input, [array] is a list of inputs and [[1.0, 2.0]] an array of one event.
            first_is_whole = len(x) == 1 and isinstance(x[0], np.ndarray) and x[0].ndim > 1
            given = list(x) if len(signals) > 1 or first_is_whole else [np.asarray(x)]
        if len(given) != len(signals):
            raise errors.DataError(
                f"the model has {len(signals)} inputs "
                f"({', '.join(s.name for s in signals)}), got {len(given)}"
            )
        arrays = [_flat(values, signal_) for values, signal_ in zip(given, signals, strict=True)]
        if len({len(a) for a in arrays}) > 1:
            counts = ", ".join(f"{s.name}: {len(a)}" for s, a in zip(signals, arrays, strict=True))
            raise errors.DataError(f"the inputs have different numbers of events: {counts}")
        return arrays


class _Worker(contextlib.AbstractContextManager["_Worker"]):
    """The running worker process; ends with the context, whatever happens."""

    def __init__(self, owner: CSimulation, library: Path, folder: Path, trace: bool) -> None:
        self.project, self.folder = owner.project, folder
        self.layers = owner.project.layers if trace else ()
        per_event = sum(s.size for s in (*owner.project.outputs, *self.layers))
        self.largest_chunk = max(1, min(_LARGEST_CHUNK, _CHUNK_BYTES // (8 * per_event)))
        self.command = (sys.executable, "-P", "-m", f"{__package__}.csim_worker", str(folder))
        self.reply, reply_of_worker = os.pipe()
        job = {
            "library": str(library),
            "firmware": str(owner.hls_folder / "firmware"),
            "function": owner.function,
            "input_sizes": [s.size for s in owner.project.inputs],
            "output_sizes": [s.size for s in owner.project.outputs],
            "layers": [(s.name, s.size) for s in self.layers],
            "reply_fd": reply_of_worker,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        self._running = contextlib.ExitStack()
        try:
            with open(folder / "said.txt", "wb") as said:
                self.process = self._running.enter_context(
                    process.own_session(
                        self.command,
                        stdin=subprocess.PIPE,
                        stdout=said,
                        stderr=subprocess.STDOUT,
                        pass_fds=(reply_of_worker,),
                        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                    )
                )
        except OSError:
            os.close(self.reply)
            raise
        finally:
            os.close(reply_of_worker)

    def __exit__(self, *_: object) -> None:
        os.close(self.reply)
        self._running.close()

    def run(self, inputs: list[Array], first_event: int) -> CsimResult:
        n_events = len(inputs[0])
        for i, values in enumerate(inputs):
            np.save(self.folder / f"x{i}.npy", values, allow_pickle=False)
        events = f"events {first_event} to {first_event + n_events - 1}"
        timeout_s = _START_TIMEOUT_S + _EVENT_TIMEOUT_S * n_events
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the reply says so too
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        ready, _, _ = select.select([self.reply], [], [], timeout_s)
        if not ready:
            raise errors.ToolError(
                f"the C simulation of {self.project.project_name} took more than {timeout_s:g} s "
                f"for {events} and was stopped"
            )
        if os.read(self.reply, 1) != b"\n":
            raise errors.ToolError(self._obituary(events))
        return CsimResult(
            n_events,
            [self._load(f"y{i}", s) for i, s in enumerate(self.project.outputs)],
            {s.name: self._load(f"t{i}", s) for i, s in enumerate(self.layers)},
        )

    def _load(self, name: str, signal_: Signal) -> Array:
        loaded: Array = np.load(self.folder / f"{name}.npy", allow_pickle=False)
        return loaded.reshape(-1, *signal_.shape)

    def _obituary(self, events: str) -> str:
        code = self.process.wait()
        end = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        with open(self.folder / "said.txt", "rb") as said:
            said.seek(max(0, said.seek(0, os.SEEK_END) - 4000))
            lines = said.read().decode(errors="replace").strip().splitlines()[-5:]
        return (
            f"the C simulation of {self.project.project_name} {end} in {events}"
            + "".join(f"\n  {line}" for line in lines)
            + f"\n(hls4ml {self.project.hls4ml_version}, {self.project.backend}, "
            f"{self.project.io_type}; command: {' '.join(self.command[1:-1])})"
        )


def _flat(values: npt.ArrayLike, signal_: Signal) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise errors.DataError(
            f"input {signal_.name}: numbers wanted, got an array of type {array.dtype}"
        )
    if array.ndim == 0 or array.shape[1:] not in (signal_.shape, (signal_.size,)):
        raise errors.DataError(
            f"input {signal_.name}: shape (N, {', '.join(map(str, signal_.shape))}) wanted, "
            f"got {array.shape}"
        )
    dtype = np.int64 if signal_.ctype == _WORD else np.float64
    return np.ascontiguousarray(array.reshape(len(array), signal_.size), dtype=dtype)


def _with_raw_signals(project: HlsProject, folder: Path) -> HlsProject:
    if project.raw is None:
        raise errors.BuildError(
            f"{folder}: its HLS project has no input adapter; compile the model again"
        )
    words, columns = project.raw
    made = Signal("adapter", (columns,), "column_t")
    return replace(
        project, inputs=(Signal("raw", (words,), _WORD),), outputs=(made, *project.outputs)
    )
