"""The native emulator: compiled from its C++ source, called in this process."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors
from samebits.compile.emitters.cpp import SOURCE, to_cpp
from samebits.compile.emitters.interface import input_dtype, output_names
from samebits.compile.ir import Carrier, Format, Graph
from samebits.compile.ops.boundary import input_mantissas, to_values

from . import toolchain

__all__ = ["FLAGS", "TIMEOUT_S", "NativeEmulator"]

Array = npt.NDArray[Any]
FLAGS = ("-std=c++17", "-O3", "-fno-trapping-math", "-fPIC", "-shared", "-w")
_THIS_PROCESSOR = ("-march=native",)
TIMEOUT_S = 900.0
_CHUNK_EVENTS = 1 << 16


class NativeEmulator:
    """The fixed-point graph as machine code of this processor.

    Args:
        graph: what to compile.
        folder: where the library is kept, under a name made from its source, the compiler and its
            flags; an old one is used again.
        compiler: None: the first one found.
        metadata: facts that the emulator tells of itself.

    Raises:
        MissingToolError: no C++ compiler.
        ToolError: it fails.
        UnsupportedError: integers beyond 127 bits.
        BuildError: the folder cannot be written.
    """

    def __init__(
        self,
        graph: Graph,
        folder: str | os.PathLike[str],
        compiler: toolchain.Compiler | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.graph = graph
        self._metadata = dict(metadata or {})
        self._compiler = compiler or toolchain.find_cxx()
        self.tool = self._compiler.tool
        self.outputs = output_names(graph)
        self._formats = [x.format for x in graph.tensors_of(graph.inputs)]
        self._types = [input_dtype(fmt) for fmt in self._formats]
        self._shapes = [y.shape for y in graph.tensors_of(graph.outputs)]
        self._library = ctypes.CDLL(str(self._built(Path(folder).resolve())))
        self._predict = self._library.samebits_predict
        self._predict.restype = ctypes.c_int
        describe = self._library.samebits_describe
        describe.restype = ctypes.c_char_p
        self.description: dict[str, Any] = json.loads(describe())

    def _built(self, folder: Path) -> Path:
        text = to_cpp(self.graph, self._metadata)
        compiler = self._compiler
        flags = (*FLAGS, *(() if compiler.kind == "zig" else _THIS_PROCESSOR), *compiler.flags)
        digest = hashlib.sha256()
        for part in (
            *compiler.command,
            compiler.version,
            *flags,
            _processor(),
            text.header,
            text.source,
        ):
            digest.update(part.encode() + b"\0")
        library = folder / digest.hexdigest()[:16] / "emulator.so"
        if library.is_file():
            return library
        try:
            library.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".tmp", dir=library.parent) as temporary:
                place = Path(temporary)
                text.write(place)
                toolchain.run_compiler(
                    [*compiler.command, *flags, SOURCE, "-o", library.name],
                    what="the native emulator",
                    timeout_s=TIMEOUT_S,
                    cwd=place,
                    log=library.parent / "compile.log",
                )
                (place / library.name).replace(library)
        except OSError as error:
            raise errors.BuildError(
                f"cannot write the native emulator to {folder}: {error.strerror or error}"
            ) from None
        return library

    def run(
        self, inputs: Sequence[Array], progress: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """The outputs by name, float64 (N, *shape), of real inputs (N, *input shape).

        Raises:
            DataError: NaN or infinity.
        """
        fed = [
            np.ascontiguousarray(_on_grid(x, fmt) if x.dtype.itemsize > t().itemsize else x, t)
            for x, t, fmt in zip(inputs, self._types, self._formats, strict=True)
        ]
        events = len(fed[0])
        out = [np.empty((events, *shape)) for shape in self._shapes]
        step = _CHUNK_EVENTS if progress else max(1, events)
        for start in range(0, events, step):
            stop = min(events, start + step)
            sources = [x[start:stop] for x in fed]
            targets = [y[start:stop] for y in out]
            failed = self._predict(
                _pointers(sources), ctypes.c_size_t(stop - start), _pointers(targets)
            )
            if failed:
                raise errors.DataError(f"events {start} to {stop - 1}: an input is NaN or infinite")
            if progress:
                progress(stop)
        return dict(zip(self.outputs, out, strict=True))


def _on_grid(values: Array, fmt: Format) -> Array:
    """Doubles cast to the input's format, as hls4ml casts doubles: the emulator takes floats, and
    a rounding to float first could move a number to another step."""
    return to_values(input_mantissas(values, fmt, Carrier.for_magnitude(1 << fmt.width)), fmt)


def _pointers(arrays: Sequence[Array]) -> Any:
    places = [array.__array_interface__["data"][0] for array in arrays]  # array.ctypes is slower
    return (ctypes.c_void_p * len(arrays))(*places)


def _processor() -> str:
    """What tells this processor from another one: machine code for one may not run on the other."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        import platform

        return platform.processor() or platform.machine()
    return "\n".join(
        dict.fromkeys(x for x in lines if x.startswith(("flags", "Features", "model name")))
    )
