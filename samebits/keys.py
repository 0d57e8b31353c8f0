"""Which event and bunch crossing a row belongs to: run, lumi, event, bx."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.train.readers import (
    hdf5_names,
    open_tree,
    readable,
    refuse_unreadable,
    split_tree,
    tool,
)

__all__ = ["KEYS", "Columns", "check_keys", "key_words", "keys_of", "open_columns", "read_keys"]

Array = NDArray[Any]
# names in files, the usual ones of experiments' software, in lower case
KEYS: dict[str, tuple[str, ...]] = {
    "run": ("run", "runnumber"),
    "lumi": ("lumi", "luminosityblock", "lumiblock", "ls"),
    "event": ("event", "eventnumber"),
    "bx": ("bx", "bunchcrossing", "bcid"),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The arrays of a file by name; `get` reads one of them."""

    path: Path
    names: tuple[str, ...]
    get: Callable[[str], Array]


@contextlib.contextmanager
def open_columns(path: Path, tree: str | None = None) -> Iterator[Columns]:
    """What a .npz, .h5, .parquet, .root or .csv (with a line of names) holds, read on demand.

    Raises:
        DataError: no such file, another type, or a damaged one.
        MissingToolError: the package that reads such a file is not installed.
    """
    path, tree = split_tree(path, tree)
    suffix = path.suffix.lower()
    opener = _OPENERS.get(suffix)
    if opener is None:
        raise errors.DataError(
            f"{path}: got the file type '{path.suffix}', wanted one of {', '.join(_OPENERS)}"
        )
    if not path.is_file():
        raise errors.DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    with contextlib.ExitStack() as stack:
        with readable(path, suffix):
            names, get = stack.enter_context(opener(path, tree))

        def guarded(name: str) -> Array:
            with readable(path, suffix):
                return get(name)

        yield Columns(path, tuple(names), guarded)


_Opened = tuple[Sequence[str], Callable[[str], Array]]


@contextlib.contextmanager
def _npz(path: Path, tree: str | None) -> Iterator[_Opened]:
    with np.load(path, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            refuse_unreadable(path, ".npz")
        yield list(archive.files), archive.__getitem__


@contextlib.contextmanager
def _hdf5(path: Path, tree: str | None) -> Iterator[_Opened]:
    h5py = tool("h5py", path)
    with h5py.File(path, "r") as file:

        def get(name: str) -> Array:
            text = h5py.check_string_dtype(file[name].dtype) is not None
            return np.asarray(file[name].asstr()[()] if text else file[name][()])

        yield hdf5_names(file), get


@contextlib.contextmanager
def _parquet(path: Path, tree: str | None) -> Iterator[_Opened]:
    with tool("pyarrow.parquet", path).ParquetFile(path) as file:

        def get(name: str) -> Array:
            column = file.read(columns=[name]).column(name).combine_chunks()
            return np.asarray(column.to_numpy(zero_copy_only=False))

        yield [field.name for field in file.schema_arrow], get


@contextlib.contextmanager
def _root(path: Path, tree: str | None) -> Iterator[_Opened]:
    with open_tree(path, tree) as found:

        def get(name: str) -> Array:
            return np.asarray(found[name].array(library="np"))

        yield list(found.keys(recursive=False)), get


@contextlib.contextmanager
def _csv(path: Path, tree: str | None) -> Iterator[_Opened]:
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        names = [text.strip().strip('"') for text in stream.readline().split(",")]
    with contextlib.suppress(ValueError):
        [float(name) for name in names]
        raise errors.DataError(f"{path}: begins with numbers; write a first line of names")
    rows: list[Array] = []

    def get(name: str) -> Array:
        if not rows:
            table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=str, ndmin=2, comments=None)
            if table.shape[1] != len(names):
                raise errors.DataError(
                    f"{path}: {len(names)} names for {table.shape[1]} columns of numbers"
                )
            rows.append(table)
        column = rows[0][:, names.index(name)]
        for kind in (np.int64, np.uint64, np.float64):
            with contextlib.suppress(ValueError, OverflowError):
                return np.asarray(column.astype(kind))
        raise errors.DataError(f"{path}: column {name} holds {column[0]!r}, wanted numbers")

    yield names, get


_OPENERS: dict[str, Callable[[Path, str | None], contextlib.AbstractContextManager[_Opened]]] = {
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".parquet": _parquet,
    ".root": _root,
    ".csv": _csv,
}


def keys_of(columns: Columns) -> dict[str, Array]:
    """run, lumi, event and bx as int64 (N,), those that the file has.

    Raises:
        DataError: two columns for one key, or numbers that are not whole.
    """
    found: dict[str, Array] = {}
    for key, known in KEYS.items():
        names = [name for name in columns.names if name.lower() in known]
        if len(names) > 1:
            raise errors.DataError(f"{columns.path}: {' and '.join(names)} may both be the {key}")
        if not names:
            continue
        values = columns.get(names[0])
        if values.dtype == object or values.ndim != 1 or values.dtype.kind not in "iuf":
            raise errors.DataError(
                f"{columns.path}: {names[0]} is {values.dtype} of shape {values.shape}, wanted one "
                "whole number per event"
            )
        if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
            raise errors.DataError(f"{columns.path}: {names[0]} holds numbers that are not whole")
        found[key] = values.astype(np.int64)
    return found


def read_keys(
    path: Path, tree: str | None = None, *, events: Sized | None = None
) -> dict[str, Array]:
    """The checked keys of a file of events; empty if it has none, as a .csv without names.

    Args:
        events: as they were read from the file, an array or one for each input by name.

    Raises:
        DataError: keys that are not one for each event, or a row's keys that are there twice.
    """
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8", errors="replace") as stream:
            first = stream.readline().lower()
        if not any(name in first for names in KEYS.values() for name in names):
            return {}
    with open_columns(path, tree) as columns:
        keys = keys_of(columns)
    counts = {name: len(values) for name, values in keys.items()}
    wanted = next(iter(counts.values()), 0)
    if events is not None:
        wanted = len(next(iter(events.values())) if isinstance(events, Mapping) else events)
    if other := [f"{count} {name}" for name, count in counts.items() if count != wanted]:
        raise errors.DataError(
            f"{path}: has {', '.join(other)} for {wanted} events, wanted one each for every event"
        )
    check_keys(keys, str(path))
    return keys


def check_keys(keys: Mapping[str, Array], where: str) -> None:
    """Nothing, if no two rows have the same keys.

    Raises:
        DataError: how many have, and the first two.
    """
    if not keys or not len(next(iter(keys.values()))):
        return
    table = np.stack(list(keys.values()), axis=1)
    _, first, inverse, counts = np.unique(
        table, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(-1)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(table)))
    if not len(repeated):
        return
    again = int(repeated[0])
    words = key_words(keys, again)
    missing = "bx" if "bx" not in keys else None
    hint = "; is a column bx missing?" if missing and "event" in keys else ""
    raise errors.DataError(
        f"{where}: {int((counts > 1).sum())} keys are there more than once, the first is {words} "
        f"in rows {int(first[inverse[again]])} and {again}{hint}"
    )


def key_words(keys: Mapping[str, Array], row: int) -> str:
    """One row's keys in words."""
    return ", ".join(f"{name} {int(values[row])}" for name, values in keys.items())
