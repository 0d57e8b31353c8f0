"""Readers of table files, one function per format, each giving the same `Table`.

A reader finds the arrays or columns and complains if they are missing, of the wrong kind or
unreadable; what the numbers may be is checked by `samebits.train.data`.
"""

import contextlib
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from samebits import errors

__all__ = [
    "READERS",
    "MissingLabelError",
    "Request",
    "Table",
    "hdf5_names",
    "is_flat_number",
    "numeric_columns",
    "open_tree",
    "readable",
    "refuse_unreadable",
    "split_tree",
    "texts",
    "tool",
]

Array = npt.NDArray[Any]
_DEFLATE = 1100  # no file is packed tighter
_MOST_TEXT = (1 << 31) - 1  # bytes in a block that pyarrow reads
_MOST_UNWRITTEN = 1 << 28  # bytes of numbers that a file may only claim


class MissingLabelError(errors.DataError):
    """The file has everything that was asked for but the labels."""


@dataclass(frozen=True)
class Request:
    """What to read: feature names (None: all), the label and if it must exist, the ROOT tree."""

    features: Sequence[str] | None
    label: str
    label_needed: bool
    tree: str | None


@dataclass(frozen=True, eq=False)
class Table:
    """What a file holds: numeric features, their names, and labels of any kind where asked for."""

    features: Array
    feature_names: tuple[str, ...]
    labels: Array | None
    class_names: tuple[str, ...] | None


def read_npz(path: Path, request: Request) -> Table:
    """The arrays of a NumPy archive; pickled objects are never loaded."""
    with readable(path, ".npz"), path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):  # a single array, from np.save
            refuse_unreadable(path, ".npz")

        def read(name: str) -> Array:
            try:
                return np.asarray(archive[name])
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                raise errors.DataError(
                    f"{path}: holds an array of Python objects, which only unsafe pickle can "
                    "read; save plain numbers and strings"
                ) from error

        return _from_arrays(path, request, list(archive.files), read)


def read_hdf5(path: Path, request: Request) -> Table:
    """The datasets of an HDF5 file; names with slashes reach into groups."""
    h5py = tool("h5py", path)
    with readable(path, ".h5"), h5py.File(path, "r") as file:

        def read(name: str) -> Array:
            dataset = file[name]
            if dataset.nbytes > _MOST_UNWRITTEN + _DEFLATE * path.stat().st_size:
                refuse_unreadable(path, ".h5")  # numbers that were never written
            if h5py.check_string_dtype(dataset.dtype) is not None:
                dataset = dataset.asstr()
            return np.asarray(dataset[()])

        return _from_arrays(path, request, hdf5_names(file), read)


def hdf5_names(file: Any) -> list[str]:
    """The names of the datasets of an open HDF5 file, those that are no text left out."""
    h5py = importlib.import_module("h5py")
    names: list[str] = []

    def visit(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and isinstance(name, str):
            names.append(name)

    file.visititems(visit)
    return names


def read_parquet(path: Path, request: Request) -> Table:
    """The columns of a Parquet file."""
    parquet = tool("pyarrow.parquet", path)
    with readable(path, ".parquet"):
        file = parquet.ParquetFile(path)

        def read(names: Sequence[str]) -> Mapping[str, Array]:
            table = file.read(columns=list(dict.fromkeys(names)))
            return {
                name: table.column(name).combine_chunks().to_numpy(zero_copy_only=False)
                for name in table.column_names
            }

        return _from_columns(path, request, numeric_columns(file.schema_arrow), read)


def read_csv(path: Path, request: Request) -> Table:
    """The columns of a text file with commas; its first line names them.

    Like Parquet's, so that labels may be texts. An entry that is missing is NaN.
    """
    csv = tool("pyarrow.csv", path)
    with readable(path, ".csv"):
        # in one block, else the first alone decides whether a column is of whole numbers
        block = min(path.stat().st_size + 1, _MOST_TEXT)
        table = csv.read_csv(path, read_options=csv.ReadOptions(block_size=block))
        names = tuple(name.strip() for name in table.column_names)
        table = table.rename_columns(list(names))
        if any(_is_number(name) for name in names):
            raise errors.DataError(
                f"{path}: the first line holds numbers ({', '.join(names[:4])}, ...); wanted the "
                "names of the columns"
            )
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise errors.DataError(f"{path}: columns occur twice: {', '.join(twice)}")
        numeric = numeric_columns(table.schema)

        def read(wanted: Sequence[str]) -> Mapping[str, Array]:
            columns = {name: table.column(name) for name in wanted}
            return {
                name: (column.cast("float64") if column.null_count and numeric[name] else column)
                .combine_chunks()
                .to_numpy(zero_copy_only=False)
                for name, column in columns.items()
            }

        return _from_columns(path, request, numeric, read)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def numeric_columns(schema: Any) -> dict[str, bool]:
    """Which columns of an Arrow schema hold numbers or truth values."""
    kinds = importlib.import_module("pyarrow").types
    checks = (kinds.is_integer, kinds.is_floating, kinds.is_boolean)
    return {field.name: any(check(field.type) for check in checks) for field in schema}


def read_root(path: Path, request: Request) -> Table:
    """The flat branches of a TTree, or the flat fields of an RNTuple, of a ROOT file."""
    with readable(path, ".root"), open_tree(path, request.tree) as tree:
        numeric = {name: is_flat_number(tree[name]) for name in tree.keys(recursive=False)}

        def read(names: Sequence[str]) -> Mapping[str, Array]:
            return {name: np.asarray(tree[name].array(library="np")) for name in names}

        return _from_columns(path, request, numeric, read)


@contextlib.contextmanager
def open_tree(path: Path, wanted: str | None) -> Iterator[Any]:
    """The wanted TTree or RNTuple of a ROOT file, or the only one.

    Raises:
        DataError: a truncated file; no such tree, or several and none is wanted.
        MissingToolError: uproot is not installed.
    """
    with tool("uproot", path).open(path) as file:
        if file.file.fEND > path.stat().st_size:  # uproot may not notice: it seeks
            refuse_unreadable(path, ".root")
        kinds = {
            name.split(";")[0]: kind
            for name, kind in file.classnames().items()
            if kind in ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
        }
        yield file[_choose_tree(path, wanted, list(kinds))]


def split_tree(path: Path, tree: str | None = None) -> tuple[Path, str | None]:
    """The file and the tree of `events.root:folder/tree`, as uproot writes them.

    Any other path comes back as it is, with the `tree` that was given beside it; so does a file
    whose own name has the colon.
    """
    name, colon, inside = str(path).rpartition(".root:")
    if not colon or path.exists():
        return path, tree
    return Path(f"{name}.root"), inside or tree


READERS: dict[str, Callable[[Path, Request], Table]] = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".parquet": read_parquet,
    ".root": read_root,
    ".csv": read_csv,
}


def tool(module: str, path: Path) -> ModuleType:
    """The imported package that reads this kind of file.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise errors.MissingToolError(
            f"{path}: reading {path.suffix} files needs the package {package}, which is not "
            'installed; run: pip install "samebits[hep]"'
        ) from error


@contextlib.contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """What a library says of damaged bytes becomes the DataError of `refuse_unreadable`."""
    try:
        yield
    except errors.SamebitsError:
        raise
    except Exception as error:  # h5py, pyarrow, uproot, zipfile and NumPy raise whatever comes
        refuse_unreadable(path, kind, error)


def refuse_unreadable(path: Path, kind: str, cause: Exception | None = None) -> NoReturn:
    """Raises the DataError of a file that is not what its ending says."""
    raise errors.DataError(
        f"{path}: cannot be read as a {kind} file; it is truncated, damaged or of another type"
    ) from cause


def _refuse_missing(
    path: Path,
    kind: str,
    missing: Iterable[str],
    present: Iterable[str],
    error: type[errors.DataError] = errors.DataError,
) -> None:
    """Raises `DataError` naming what is missing and what is there, if anything is missing."""
    lacking = list(missing)
    if lacking:
        raise error(
            f"{path}: has no {kind} {', '.join(lacking)}; it has: {', '.join(present) or 'none'}"
        )


def _from_arrays(
    path: Path, request: Request, present: Sequence[str], read: Callable[[str], Array]
) -> Table:
    """The table from the arrays `features`, the label, `feature_names` and `class_names`.

    A label that is no array of its own may be one of the features, which is then none.
    """
    _refuse_missing(path, "array", [] if "features" in present else ["features"], present)
    values = read("features")
    if values.dtype.kind not in "biuf":
        raise errors.DataError(
            f"{path}: the array features holds {values.dtype}, wanted real numbers"
        )
    if values.ndim > 2:  # images, sequences: their numbers in C order
        values = values.reshape(len(values), math.prod(values.shape[1:]))
    if "feature_names" in present:
        names = texts(read("feature_names"))
    else:
        names = tuple(f"x{i}" for i in range(values.shape[1] if values.ndim == 2 else 0))
    labels = class_names = None
    is_table = values.ndim == 2 and values.shape[1] == len(names)
    if request.label_needed and request.label not in present:
        known = names if is_table and "feature_names" in present else ()
        lacking = [] if request.label in known else [request.label]
        _refuse_missing(path, "array", lacking, [*present, *known], MissingLabelError)
        place = names.index(request.label)
        labels, values = values[:, place], np.delete(values, place, axis=1)
        names = (*names[:place], *names[place + 1 :])
    elif request.label_needed:
        labels = _as_plain(read(request.label))
        class_names = texts(read("class_names")) if "class_names" in present else None
    if request.features is not None and is_table:
        unknown = [name for name in request.features if name not in names]
        _refuse_missing(path, "feature", unknown, names)
        values = values[:, [names.index(name) for name in request.features]]
        names = tuple(request.features)
    return Table(values, names, labels, class_names)


def _from_columns(
    path: Path,
    request: Request,
    numeric: Mapping[str, bool],
    read: Callable[[Sequence[str]], Mapping[str, Array]],
) -> Table:
    """The table from one column per feature and one for the label; `numeric` lists all columns."""
    if request.features is None:
        names = [name for name in numeric if numeric[name] and name != request.label]
    else:
        names = list(request.features)
    needed = [*names, *([request.label] if request.label_needed else [])]
    lacking = [name for name in needed if name not in numeric]
    kind = MissingLabelError if lacking == [request.label] else errors.DataError
    _refuse_missing(path, "column", lacking, numeric, kind)
    other = [name for name in names if not numeric[name]]
    if other:
        raise errors.DataError(
            f"{path}: the columns {', '.join(other)} are not single numbers per event; choose "
            f"among: {', '.join(name for name in numeric if numeric[name]) or 'none'}"
        )
    columns = read(needed)
    values = np.stack([columns[name] for name in names], axis=1) if names else np.empty((0, 0))
    labels = _as_plain(columns[request.label]) if request.label_needed else None
    return Table(values, tuple(names), labels, None)


def _as_plain(labels: Array) -> Array:
    """Labels as they are, but strings in one NumPy string array."""
    if labels.dtype.kind in "OS" and all(isinstance(item, str | bytes) for item in labels.flat):
        return np.array(texts(labels))
    return labels


def texts(values: Array) -> tuple[str, ...]:
    """Strings from an array of strings or bytes."""
    return tuple(
        item.decode() if isinstance(item, bytes) else str(item) for item in values.ravel().tolist()
    )


def _choose_tree(path: Path, wanted: str | None, present: Sequence[str]) -> str:
    """The wanted tree if it is there, or the only one.

    Raises:
        DataError: it is not there, or several are and none is named.
    """
    if not present:
        raise errors.DataError(f"{path}: holds no TTree or RNTuple")
    if wanted is None and len(present) > 1:
        raise errors.DataError(
            f"{path}: holds several trees; choose one of: {', '.join(present)}; as in "
            f"{path}:{present[0]}"
        )
    if wanted is not None:
        _refuse_missing(path, "tree", [wanted] if wanted not in present else [], present)
    return wanted or present[0]


def is_flat_number(branch: Any) -> bool:
    """True if the branch of a TTree or field of an RNTuple holds one number per event."""
    numbers = ("bool", "float", "double", "char", "short", "int", "long", "Bool_t", "Char_t")
    sized = tuple(f"std::{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64))
    root = ("Float_t", "Double_t", "Short_t", "Int_t", "Long_t", "Long64_t", "int64_t")
    known = {*numbers, *root, *(name.removeprefix("std::") for name in sized), *sized}
    known |= {f"unsigned {name}" for name in numbers} | {f"U{name}" for name in root}
    return str(branch.typename) in known | {"UChar_t", "long long", "unsigned long long"}
