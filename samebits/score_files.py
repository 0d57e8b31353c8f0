"""Scores written piece by piece: a temporary file that takes its name when it is complete."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors, storage
from samebits.train.readers import tool

__all__ = ["SUFFIXES", "write_scores"]

Array = NDArray[Any]
Arrays = Mapping[str, Array]
_Write = Callable[[Arrays], None]
_COPY_BYTES = 1 << 20


@contextlib.contextmanager
def write_scores(path: Path) -> Iterator[_Write]:
    """A function that appends the next events' outputs, {name: (n, *shape)}, to the file.

    .npz holds one array per output, .npy the only one; .parquet, .root and .csv one column for each
    of its numbers, called after the output and, where it has several, their position: `scores_0`,
    `scores_1`.

    Raises:
        UsageError: another suffix.
        BuildError: the file cannot be written.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise errors.UsageError(f"{path}: unknown suffix; wanted one of {', '.join(SUFFIXES)}")
    with storage.replace_file(path) as temporary, writer(path, temporary) as write:
        yield write


def _columns(arrays: Arrays) -> dict[str, Array]:
    """One column for each number of an event."""
    columns: dict[str, Array] = {}
    for name, values in arrays.items():
        shape = values.shape[1:]
        flat = values.reshape(len(values), math.prod(shape))
        for number, place in enumerate(itertools.product(*map(range, shape))):
            suffix = "" if flat.shape[1] == 1 else "".join(f"_{i}" for i in place)
            columns[re.sub(r"\W", "_", name) + suffix] = flat[:, number]
    return columns


class _Parts:
    """Arrays of unknown length: their bytes in files without a name, headers when all is known."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._parts: dict[str, tuple[Any, Array]] = {}  # bytes, and an empty array like them

    def write(self, arrays: Arrays) -> None:
        for name, values in arrays.items():
            if name not in self._parts:  # the stack closes the file
                file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
                self._parts[name] = self._stack.enter_context(file), values[:0]
            self._parts[name][0].write(np.ascontiguousarray(values).tobytes())

    def names(self) -> list[str]:
        return list(self._parts)

    def copy(self, name: str, target: Any) -> None:
        """One array in NumPy's format."""
        stream, empty = self._parts[name]
        size = empty.dtype.itemsize * math.prod(empty.shape[1:])
        header = {
            "descr": np.lib.format.dtype_to_descr(empty.dtype),
            "fortran_order": False,
            "shape": (stream.tell() // max(1, size), *empty.shape[1:]),
        }
        np.lib.format.write_array_header_2_0(target, header)
        stream.seek(0)
        while data := stream.read(_COPY_BYTES):
            target.write(data)


@contextlib.contextmanager
def _npz(path: Path, temporary: Path) -> Iterator[_Write]:
    with contextlib.ExitStack() as stack:
        parts = _Parts(stack, temporary.parent)
        yield parts.write
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for name in parts.names():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    parts.copy(name, member)


@contextlib.contextmanager
def _npy(path: Path, temporary: Path) -> Iterator[_Write]:
    with contextlib.ExitStack() as stack:
        parts = _Parts(stack, temporary.parent)

        def write(arrays: Arrays) -> None:
            if len(arrays) > 1:
                raise errors.UsageError(f"{path}: several outputs need another type than .npy")
            parts.write(arrays)

        yield write
        with temporary.open("wb") as stream:
            for name in parts.names():
                parts.copy(name, stream)


@contextlib.contextmanager
def _parquet(path: Path, temporary: Path) -> Iterator[_Write]:
    arrow, parquet = tool("pyarrow", path), tool("pyarrow.parquet", path)
    with contextlib.ExitStack() as stack:
        writers: list[Any] = []

        def write(arrays: Arrays) -> None:
            table = arrow.table(_columns(arrays))
            if not writers:
                writers.append(stack.enter_context(parquet.ParquetWriter(temporary, table.schema)))
            writers[0].write_table(table)

        yield write


@contextlib.contextmanager
def _root(path: Path, temporary: Path) -> Iterator[_Write]:
    uproot = tool("uproot", path)
    with uproot.recreate(temporary) as file:
        trees: list[Any] = []

        def write(arrays: Arrays) -> None:
            columns = _columns(arrays)
            if not trees:
                kinds = {name: values.dtype for name, values in columns.items()}
                trees.append(file.mktree("scores", kinds))
            trees[0].extend(columns)

        yield write


@contextlib.contextmanager
def _csv(path: Path, temporary: Path) -> Iterator[_Write]:
    with temporary.open("w", encoding="utf-8") as stream:
        started: list[bool] = []

        def write(arrays: Arrays) -> None:
            columns = _columns(arrays)
            if not started:
                stream.write(",".join(columns) + "\n")
                started.append(True)
            integers = all(values.dtype.kind == "i" for values in columns.values())
            rows = np.stack(list(columns.values()), axis=1)
            np.savetxt(stream, rows, delimiter=",", fmt="%d" if integers else "%.17g")

        yield write


_WRITERS: dict[str, Callable[[Path, Path], contextlib.AbstractContextManager[_Write]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".parquet": _parquet,
    ".root": _root,
    ".csv": _csv,
}
SUFFIXES = tuple(_WRITERS)
