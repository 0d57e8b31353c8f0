"""Files of events read piece by piece, as a `firmware.onnx` takes them."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.sim.firmware_file import Port
from samebits.train.readers import (
    hdf5_names,
    is_flat_number,
    numeric_columns,
    open_tree,
    readable,
    refuse_unreadable,
    split_tree,
    texts,
    tool,
)

__all__ = ["SUFFIXES", "EventFile", "Network", "open_events"]

Array = NDArray[Any]
_PIECE_NUMBERS = 1 << 20  # of the inputs, read at once
_LABEL = "label"


class Network(Protocol):
    """What events are read for: a `FirmwareFile`, or a design's inputs."""

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs in their order."""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the one input's columns, empty if unknown."""


@dataclass(frozen=True, slots=True)
class EventFile:
    """Events in a file: how many, and a function that reads those from `start` to `stop`.

    What it reads is one array (events, numbers of an event) for each input.
    """

    path: Path
    ports: tuple[Port, ...]
    count: int
    read: Callable[[int, int], Sequence[Array]]
    columns: tuple[str, ...] = ()  # those taken, in the input's order; empty if they have no names

    def pieces(self) -> Iterator[tuple[int, list[Array]]]:
        """(first event, arrays (n, *input shape)) until the end of the file; all finite.

        Raises:
            DataError: NaN, infinity, or numbers that the input's type does not hold.
        """
        sizes = [math.prod(port.shape) for port in self.ports]
        step = max(1, _PIECE_NUMBERS // max(1, sum(sizes)))
        for start in range(0, self.count, step):
            arrays = self.read(start, min(start + step, self.count))
            yield (
                start,
                [self._checked(*pair, start) for pair in zip(self.ports, arrays, strict=True)],
            )

    def _checked(self, port: Port, values: Array, start: int) -> Array:
        where = f"{self.path}: input {port.name}"
        if values.dtype.kind not in "biuf":
            raise errors.DataError(f"{where}: holds {values.dtype}, wanted numbers")
        dtype = np.float64 if port.dtype == "tensor(double)" else np.float32
        with np.errstate(over="ignore"):
            flat = values.astype(dtype).reshape(len(values), -1)
        bad = np.argwhere(~np.isfinite(flat))
        if len(bad):
            event, feature = (int(number) for number in bad[0])
            number = values.reshape(len(values), -1)[event, feature]
            what = f"beyond {np.dtype(dtype)}" if np.isfinite(number) else "not finite"
            raise errors.DataError(
                f"{where}: event {start + event}, feature {feature} is {number}, which is {what}; "
                "the firmware knows finite numbers only: remove such events or mend them"
            )
        return flat.reshape(len(flat), *port.shape)


@contextlib.contextmanager
def open_events(
    path: Path,
    firmware: Network,
    tree: str | None = None,
    columns: Sequence[str] = (),
) -> Iterator[EventFile]:
    """The events of a file, which stays open as long as the context.

    * .npz, .h5: for one input the array `features` (N, F) or one named like the input; for several
      one array for each, named like it. An array `feature_names` names the columns.
    * .parquet, .root, .csv with a line of names: one column per feature; without names as many
      columns as the input has numbers. Columns are found by name where firmware.onnx knows the
      names that the network was trained on, and else taken in the order of the file.

    Args:
        tree: the tree of a .root file that has several.
        columns: names of the columns in the input's order, where firmware.onnx does not know them.

    Raises:
        DataError: a file that cannot be used, or that does not fit the inputs.
        MissingToolError: the package that reads such a file is not installed.
    """
    path, tree = split_tree(path, tree)
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        raise errors.DataError(
            f"{path}: got the file type '{path.suffix}', wanted one of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise errors.DataError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    wanted = _Wanted(path, firmware, tuple(columns) or firmware.features, tree)
    with opener(wanted) as (count, read):
        if count == 0:
            raise errors.DataError(f"{path}: holds no events; at least one is needed")
        yield EventFile(path, firmware.inputs, count, read, tuple(wanted.taken))


_Read = Callable[[int, int], Sequence[Array]]
_Opened = contextlib.AbstractContextManager[tuple[int, _Read]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for in a file."""

    path: Path
    firmware: Network
    columns: tuple[str, ...]
    tree: str | None
    taken: list[str] = field(default_factory=list)  # filled in by `positions`

    def positions(self, names: Sequence[str]) -> list[int]:
        """Where the columns that the one input takes are among those with names."""
        port = self.firmware.inputs[0]
        if missing := [name for name in self.columns if name not in names]:
            raise errors.DataError(
                f"{self.path}: has no column {', '.join(missing)}, which the network takes; it has "
                f"{', '.join(name for name in names if name) or 'none'}"
            )
        kept = list(self.columns) or [name for name in names if name != _LABEL]
        if len(kept) != math.prod(port.shape):
            raise errors.DataError(
                f"{self.path}: {len(kept)} columns ({', '.join(kept)}), the input {port} takes "
                f"{math.prod(port.shape)} numbers; choose them with --columns"
            )
        self.taken.extend(kept)
        return [list(names).index(name) for name in kept]

    def one_input(self) -> None:
        """Raises DataError for several inputs."""
        if len(self.firmware.inputs) > 1:
            names = ", ".join(port.name for port in self.firmware.inputs)
            raise errors.DataError(
                f"{self.path}: the firmware has {len(self.firmware.inputs)} inputs: give a .npz or "
                f".h5 file with one array for each ({names})"
            )


def _from_arrays(
    wanted: _Wanted, present: Sequence[str], get: Callable[[str], Any]
) -> tuple[int, _Read]:
    """Arrays named like the inputs, or `features` for the only one; `get` may be lazy."""
    path, firmware = wanted.path, wanted.firmware
    names = [port.name for port in firmware.inputs]
    if len(names) == 1 and names[0] not in present:
        names = ["features"]
    if missing := [name for name in names if name not in present]:
        either = " or ".join(dict.fromkeys(["features", firmware.inputs[0].name]))
        raise errors.DataError(
            f"{path}: has no array {', '.join(missing)}; it has: {', '.join(present) or 'none'}; "
            f"wanted {either if len(names) == 1 else ', '.join(names)}"
        )
    arrays = [get(name) for name in names]
    columns: list[list[int] | None] = [None] * len(arrays)
    one = arrays[0]
    if len(arrays) == 1 and "feature_names" in present and len(one.shape) == 2:
        found = texts(np.asarray(get("feature_names")))
        if len(found) != one.shape[1]:
            raise errors.DataError(
                f"{path}: {len(found)} feature_names for {one.shape[1]} columns of features"
            )
        columns[0] = wanted.positions(found)
    for port, array, picked in zip(firmware.inputs, arrays, columns, strict=True):
        shape = tuple(array.shape[1:])
        flat = len(shape) == 1 and shape[0] == math.prod(port.shape)
        if picked is None and shape != port.shape and not flat:
            raise errors.DataError(
                f"{path}: input {port.name}: got events of shape {shape}, wanted {port.shape}, "
                "with the batch axis first"
            )
    counts = {len(array) for array in arrays}
    if len(counts) > 1:
        raise errors.DataError(f"{path}: arrays have different numbers of events: {sorted(counts)}")

    def read(start: int, stop: int) -> list[Array]:
        pieces = [np.asarray(array[start:stop]) for array in arrays]
        return [
            piece if picked is None else piece[:, picked]
            for piece, picked in zip(pieces, columns, strict=True)
        ]

    return counts.pop(), read


@contextlib.contextmanager
def _npz(wanted: _Wanted) -> Iterator[tuple[int, _Read]]:
    path = wanted.path
    with readable(path, ".npz"), np.load(path, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            refuse_unreadable(path, ".npz")
        opened = _from_arrays(wanted, list(archive.files), archive.__getitem__)
    yield opened


@contextlib.contextmanager
def _hdf5(wanted: _Wanted) -> Iterator[tuple[int, _Read]]:
    path = wanted.path
    h5py = tool("h5py", path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        refuse_unreadable(path, ".h5", error)
    with file:

        def get(name: str) -> Any:
            strings = h5py.check_string_dtype(file[name].dtype) is not None
            return file[name].asstr()[()] if strings else file[name]

        with readable(path, ".h5"):
            opened = _from_arrays(wanted, hdf5_names(file), get)
        yield _guarded(path, opened)


@contextlib.contextmanager
def _parquet(wanted: _Wanted) -> Iterator[tuple[int, _Read]]:
    path = wanted.path
    parquet = tool("pyarrow.parquet", path)
    wanted.one_input()
    with readable(path, ".parquet"):
        file = parquet.ParquetFile(path)
        numeric = [
            name for name, is_number in numeric_columns(file.schema_arrow).items() if is_number
        ]
    with file:
        names = [numeric[position] for position in wanted.positions(numeric)]
        row_groups = np.cumsum(
            [0, *(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))]
        )

        def read(start: int, stop: int) -> list[Array]:
            first = int(np.searchsorted(row_groups, start, side="right")) - 1
            last = int(np.searchsorted(row_groups, stop, side="left"))
            table = file.read_row_groups(list(range(first, last)), columns=names)
            table = table.slice(start - int(row_groups[first]), stop - start)
            columns = [np.asarray(table.column(name).to_numpy()) for name in names]
            return [np.stack(columns, axis=1)]

        yield _guarded(path, (file.metadata.num_rows, read))


@contextlib.contextmanager
def _root(wanted: _Wanted) -> Iterator[tuple[int, _Read]]:
    path = wanted.path
    wanted.one_input()
    with contextlib.ExitStack() as stack:
        with readable(path, ".root"):
            found = stack.enter_context(open_tree(path, wanted.tree))
            numeric = [n for n in found.keys(recursive=False) if is_flat_number(found[n])]
            count = int(found.num_entries)
        names = [numeric[position] for position in wanted.positions(numeric)]

        def read(start: int, stop: int) -> list[Array]:
            arrays = found.arrays(names, entry_start=start, entry_stop=stop, library="np")
            return [np.stack([np.asarray(arrays[name]) for name in names], axis=1)]

        yield _guarded(path, (count, read))


@contextlib.contextmanager
def _csv(wanted: _Wanted) -> Iterator[tuple[int, _Read]]:
    """Lines of numbers between commas, after a line of names if the first holds any."""
    path, size = wanted.path, math.prod(wanted.firmware.inputs[0].shape)
    wanted.one_input()
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        first = [text.strip().strip('"') for text in stream.readline().split(",")]
        try:
            named = not np.isfinite([float(text) for text in first]).all()
        except ValueError:
            named = True
        picked = wanted.positions(first) if named else list(range(len(first)))
        if len(picked) != size:
            raise errors.DataError(
                f"{path}: got {len(first)} columns without names, the input "
                f"{wanted.firmware.inputs[0]} takes {size} numbers; write a first line of names"
            )
        count = sum(1 for line in stream if line.strip()) + (not named)
        stream.seek(0)
        if named:
            stream.readline()
        lines = (line for line in stream if line.strip())

        def read(start: int, stop: int) -> list[Array]:
            try:
                rows = np.loadtxt(
                    itertools.islice(lines, stop - start), delimiter=",", ndmin=2, comments=None
                )
                return [rows[:, picked]]
            except (ValueError, IndexError):
                raise errors.DataError(
                    f"{path}: {_first_fault(path, len(first), named)}; wanted numbers between "
                    f"commas, {len(first)} in every line"
                ) from None

        yield count, read


def _first_fault(path: Path, size: int, named: bool) -> str:
    """What the first line that does not hold `size` numbers has instead."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            cells = [cell.strip() for cell in line.split(",")]
            if not line.strip() or (named and number == 1):
                continue
            if len(cells) != size:
                return f"line {number} has {len(cells)} entries"
            for place, cell in enumerate(cells, start=1):
                try:
                    float(cell)
                except ValueError:
                    return f"line {number} has {cell!r} in column {place}"
    return "cannot be read"


def _guarded(path: Path, opened: tuple[int, _Read]) -> tuple[int, _Read]:
    """The same; what a library says of damaged bytes becomes a DataError."""
    count, read = opened

    def guarded(start: int, stop: int) -> Sequence[Array]:
        with readable(path, path.suffix):
            return read(start, stop)

    return count, guarded


_OPENERS: dict[str, Callable[[_Wanted], _Opened]] = {
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".parquet": _parquet,
    ".root": _root,
    ".csv": _csv,
}
SUFFIXES = tuple(_OPENERS)
