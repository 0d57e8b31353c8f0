"""Data sets: features with a class label or numbers per event, the shipped jets, a user's files.

Files are read by the functions of `samebits.train.readers`; everything that can be wrong with their
content is checked here, once for all formats.
"""

import hashlib
import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from samebits import errors

from .readers import READERS, Request, Table, split_tree
from .splits import parts

__all__ = [
    "Columns",
    "Dataset",
    "Features",
    "Regression",
    "Split",
    "classes_of",
    "in_classes",
    "in_order",
    "load",
    "load_column",
    "load_events",
    "load_features",
    "load_jets",
]

MAX_CLASSES = 1000  # more than that is an event number or a PDG code taken for a label

Events = TypeVar("Events", bound="Features")
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Features:
    """Events without labels, as a simulation or a verification needs them.

    `features` (N, F) float32, finite; `feature_names` (F); `source` says where they come from;
    `sha256` is the digest of the file they were read from (the parts of a split keep it).
    """

    features: FloatArray
    feature_names: tuple[str, ...]
    source: str
    sha256: str

    def __len__(self) -> int:
        return len(self.features)

    def take(self, events: npt.NDArray[np.intp]) -> Self:
        """The events with these indices, in that order."""
        return replace(self, features=self.features[events])

    def split(
        self,
        seed: int,
        fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
        *,
        stratified: bool = False,
    ) -> "Split[Self]":
        """Three disjoint parts that together are all events; equal seeds give equal parts.

        The parts are cut from one random order of the events. `stratified`: each class is cut
        alone, so that every part has its share; otherwise the shares vary within the binomial
        spread. The order is that of raw words of PCG64, which NumPy promises never to change (NEP
        19; `Generator.permutation` may change).

        Raises `DataError` if a part would be empty, `UsageError` for fractions that are not
        positive or do not add up to 1.

        >>> [len(part) for part in load_jets().take(np.arange(1000)).split(seed=1).parts]
        [600, 200, 200]
        """
        strata = self._strata() if stratified else np.zeros(len(self), np.int64)
        return Split(*(self.take(piece) for piece in parts(strata, seed, fractions, self.source)))

    def _strata(self) -> IntArray:
        """A number for each event: of equal ones every part has its share."""
        return np.zeros(len(self), np.int64)


@dataclass(frozen=True, eq=False)
class Dataset(Features):
    """Events with one class label each; all events count the same (no weights).

    `labels` (N,) int64, each an index into `class_names`.
    """

    labels: IntArray
    class_names: tuple[str, ...]

    def take(self, events: npt.NDArray[np.intp]) -> Self:
        """The events with these indices, in that order."""
        return replace(self, features=self.features[events], labels=self.labels[events])

    def _strata(self) -> IntArray:
        return self.labels


@dataclass(frozen=True, eq=False)
class Regression(Features):
    """Events with numbers that a network is to answer: `targets` (N, T) float32."""

    targets: FloatArray
    target_names: tuple[str, ...]

    def take(self, events: npt.NDArray[np.intp]) -> Self:
        """The events with these indices, in that order."""
        return replace(self, features=self.features[events], targets=self.targets[events])


@dataclass(frozen=True, eq=False)
class Split(Generic[Events]):
    """The three parts of a data set; use the test part once, at the end."""

    train: Events
    validation: Events
    test: Events

    @property
    def parts(self) -> tuple[Events, Events, Events]:
        return self.train, self.validation, self.test


@dataclass(frozen=True)
class Columns:
    """What the columns of a file are: features (None: all others), and the label or the targets.

    `label` names the column or array of class labels, which is left out where `labelled` is False;
    with `targets` the events have numbers instead. `tree` is that of a .root file. `class_names`
    are for files that have none.
    """

    features: tuple[str, ...] | None = None
    label: str = "label"
    targets: tuple[str, ...] = ()
    tree: str | None = None
    labelled: bool = True
    class_names: tuple[str, ...] = ()


def load_events(path: str | Path, columns: Columns) -> Features:
    """Events as the columns say: a `Dataset`, a `Regression`, or `Features` without labels.

    Raises:
        DataError, MissingToolError: as `load`.
    """
    options: dict[str, Any] = {"features": columns.features, "tree": columns.tree}
    if not columns.targets:
        if not columns.labelled:
            return load_features(path, label=columns.label, **options)
        return load(path, label=columns.label, class_names=columns.class_names, **options)
    table = load_features(path, label=columns.targets[0], **options)
    kept = [name for name in table.feature_names if name not in columns.targets]
    if not kept:
        raise errors.DataError(f"{path}: no feature was selected besides the targets")
    table = in_order(table, kept)
    targets = [load_column(path, name, tree=columns.tree) for name in columns.targets]
    values = np.stack(targets, axis=1).astype(np.float32)
    if len(values) != len(table):
        raise errors.DataError(
            f"{path}: got {len(values)} targets for {len(table)} events, wanted one for each event"
        )
    return Regression(
        table.features, table.feature_names, table.source, table.sha256, values, columns.targets
    )


def load_jets() -> Dataset:
    """The shipped simulated jets: 16 substructure features, classes g, q, w, z, t in equal parts.

    How they were made stands in `jets/DATA_CARD.md` beside the file.

    >>> load_jets().class_names
    ('g', 'q', 'w', 'z', 't')
    """
    resource = importlib.resources.files("samebits.train") / "jets" / "jets.npz"
    with importlib.resources.as_file(resource) as path:
        return replace(load(path), source="the shipped jet sample")


def load(
    path: str | Path,
    *,
    features: Sequence[str] | None = None,
    label: str = "label",
    tree: str | None = None,
    feature_count: int | None = None,
    class_names: Sequence[str] = (),
) -> Dataset:
    """The events of a .npz, .h5, .hdf5, .parquet, .root or .csv file with their labels.

    * .npz, .h5: an array `features` (N, F), an array named by `label` (N,) or one-hot (N, C), and
      optionally `feature_names` (F) and `class_names` (C); otherwise the features are called x0,
      x1, ...
    * .parquet, .root, .csv: one numeric column (flat branch of a TTree or field of an RNTuple) per
      feature, and the column named by `label`; a .csv names its columns in the first line. `tree`
      is needed if a .root file holds several.

    `features` chooses features by name, in that order; by default all of them (all numeric columns
    but the label, in file order). Labels are whole numbers from 0, or strings, whose classes are
    then numbered in sorted order. Classes without names in the file get those of `class_names`, or
    are called 0, 1, ... Values become float32. `feature_count` is checked if given.

    Raises `DataError` for everything that is wrong with the file, `MissingToolError` if the package
    that reads it is not installed.
    """
    path = Path(path)
    table, sha256 = _read(path, Request(features, label, True, tree))
    values = _checked_features(path, table, feature_count)
    assert table.labels is not None  # Request.label_needed
    given = tuple(class_names) or None
    labels, names = _checked_labels(path, label, table.labels, table.class_names or given)
    if len(labels) != len(values):
        raise errors.DataError(
            f"{path}: got {len(labels)} labels in '{label}' for {len(values)} events, wanted one "
            "label per event"
        )
    return Dataset(values, table.feature_names, str(path), sha256, labels, names)


def load_features(
    path: str | Path,
    *,
    features: Sequence[str] | None = None,
    label: str = "label",
    tree: str | None = None,
    feature_count: int | None = None,
) -> Features:
    """The events of a file as `load` reads it, without labels.

    A column or array named by `label` may be there and is left out.

    Raises the same errors as `load`.
    """
    path = Path(path)
    table, sha256 = _read(path, Request(features, label, False, tree))
    values = _checked_features(path, table, feature_count)
    return Features(values, table.feature_names, str(path), sha256)


def load_column(path: str | Path, name: str, *, tree: str | None = None) -> npt.NDArray[np.float64]:
    """One number per event (N,), float64: a column, or an array of a .npz or .h5.

    Raises:
        DataError: it is not there, holds no numbers, or NaN or infinity.
    """
    path = Path(path)
    table, _ = _read(path, Request(None, name, True, tree))
    values = np.asarray(table.labels)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        raise errors.DataError(
            f"{path}: '{name}' holds {values.dtype} of shape {values.shape}; wanted one number per "
            "event"
        )
    column = values.astype(np.float64)
    if not np.isfinite(column).all():
        first = int(np.flatnonzero(~np.isfinite(column))[0])
        raise errors.DataError(f"{path}: '{name}' is NaN or infinite at event {first}")
    return column


def _read(path: Path, request: Request) -> tuple[Table, str]:
    """The content of the file and its SHA-256, after checks on the file as such."""
    path, tree = split_tree(path, request.tree)
    request = replace(request, tree=tree)
    known = ", ".join(READERS)
    if path.is_dir():
        raise errors.DataError(f"{path}: is a folder; wanted a file ending in {known}")
    if not path.exists():
        raise errors.DataError(f"{path}: there is no such file; check the path")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise errors.DataError(
            f"{path}: got the file type '{path.suffix}', wanted one of {known}; convert the file"
        )
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise errors.DataError(f"{path}: cannot be opened: {error.strerror}") from error
    if path.stat().st_size == 0:
        raise errors.DataError(f"{path}: the file is empty (0 bytes); write it again")
    return reader(path, request), sha256


def _checked_features(path: Path, table: Table, feature_count: int | None) -> FloatArray:
    """The features as finite float32 (N, F) with N and F at least 1 and one name per feature."""
    names, values = table.feature_names, table.features
    if values.ndim != 2:
        raise errors.DataError(
            f"{path}: got features of shape {values.shape}, wanted two axes (events, features)"
        )
    if values.shape[1] == 0:
        raise errors.DataError(f"{path}: no feature was selected; at least one is needed")
    if len(names) != values.shape[1]:
        raise errors.DataError(
            f"{path}: got {len(names)} feature names for {values.shape[1]} features, wanted one "
            "name per feature"
        )
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise errors.DataError(f"{path}: feature names occur twice: {', '.join(twice)}")
    if feature_count is not None and values.shape[1] != feature_count:
        raise errors.DataError(
            f"{path}: got {values.shape[1]} features ({', '.join(names)}), wanted {feature_count}; "
            "choose them by name"
        )
    if len(values) == 0:
        raise errors.DataError(f"{path}: holds no events; at least one is needed")
    _refuse_where(path, names, ~np.isfinite(values), "are NaN or infinite; remove these events")
    with np.errstate(over="ignore"):
        singles = np.ascontiguousarray(values, dtype=np.float32)
    _refuse_where(
        path, names, ~np.isfinite(singles), "are beyond the range of float32 (3.4e38); rescale them"
    )
    return singles


def _refuse_where(
    path: Path, names: tuple[str, ...], bad: npt.NDArray[np.bool_], complaint: str
) -> None:
    """Raises `DataError` with the count and the first position if any element is bad."""
    count = int(np.count_nonzero(bad))
    if count:
        event, feature = (int(i) for i in np.argwhere(bad)[0])
        raise errors.DataError(
            f"{path}: {count} of {bad.size} values {complaint} (the first: event {event}, feature "
            f"'{names[feature]}')"
        )


def _checked_labels(
    path: Path, name: str, labels: npt.NDArray[Any], class_names: tuple[str, ...] | None
) -> tuple[IntArray, tuple[str, ...]]:
    """Labels as indices into the class names; names are made up where the file has none.

    1. strings: classes in sorted order (or that of `class_names`)
    2. one-hot (N, C): the position of the one
    3. whole numbers (N,), also as floats
    """
    if class_names is not None and len(set(class_names)) != len(class_names):
        raise errors.DataError(f"{path}: class names occur twice: {', '.join(class_names)}")
    if labels.dtype.kind == "U" and labels.ndim == 1:  # 1
        found = tuple(str(text) for text in np.unique(labels))
        wanted = found if class_names is None else class_names
        unknown = [text for text in found if text not in wanted]
        if unknown:
            raise errors.DataError(
                f"{path}: got labels {', '.join(unknown)} in '{name}', wanted only class names: "
                f"{', '.join(wanted)}"
            )
        positions = {text: index for index, text in enumerate(wanted)}
        return np.array([positions[str(text)] for text in labels], dtype=np.int64), wanted
    if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2):
        raise errors.DataError(
            f"{path}: got labels '{name}' of type {labels.dtype} and shape {labels.shape}, wanted "
            "whole numbers or strings (events,), or one-hot (events, classes)"
        )
    if labels.ndim == 2:  # 2
        wrong = np.flatnonzero(((labels != 0) & (labels != 1)).any(1) | (labels.sum(1) != 1))
        if len(wrong):
            raise errors.DataError(
                f"{path}: {len(wrong)} of {len(labels)} one-hot labels in '{name}' are not exactly "
                f"one 1 among zeros (the first: event {wrong[0]})"
            )
        if class_names is not None and len(class_names) != labels.shape[1]:
            raise errors.DataError(
                f"{path}: got {len(class_names)} class names for {labels.shape[1]} one-hot columns "
                f"in '{name}', wanted one name per column"
            )
        if class_names is None:
            class_names = _numbers(labels.shape[1])
        return labels.argmax(axis=1).astype(np.int64), class_names
    limit = MAX_CLASSES if class_names is None else len(class_names)  # 3
    rules = (
        (~np.isfinite(labels) | (labels != np.floor(labels)), "are not whole numbers"),
        (labels < 0, "are negative; classes are numbered from 0"),
        (labels >= limit, f"are above {limit - 1}, the highest class number allowed here"),
    )
    for bad, complaint in rules:
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise errors.DataError(
                f"{path}: {np.count_nonzero(bad)} of {len(labels)} labels in '{name}' {complaint} "
                f"(the first: {labels[first]} in event {first})"
            )
    indices = labels.astype(np.int64)
    if class_names is None:
        class_names = _numbers(int(indices.max(initial=0)) + 1)
    return indices, class_names


def classes_of(events: Features) -> tuple[str, ...]:
    """The names of the classes; none of events without class labels."""
    return events.class_names if isinstance(events, Dataset) else ()


def in_order(events: Events, names: Sequence[str]) -> Events:
    """The events with the columns that a network was trained on, found by name, in its order.

    Columns without names (x0, x1, ...) are taken by position; further columns are left out.

    Raises:
        DataError: a column is missing; the message lists what is missing and what is there.
    """
    if not names:
        return events
    found = events.feature_names
    missing = [name for name in names if name not in found]
    if not missing:
        columns = [found.index(name) for name in names]
        return replace(events, features=events.features[:, columns], feature_names=tuple(names))
    unnamed = found == tuple(f"x{number}" for number in range(len(found)))
    if unnamed and len(found) == len(names):
        return events
    if unnamed:
        raise errors.DataError(
            f"{events.source}: has {len(found)} columns without names, the network was trained on "
            f"{len(names)}: {', '.join(names)}"
        )
    raise errors.DataError(
        f"{events.source}: has no column {', '.join(missing)}, which the network was trained on; "
        f"it has {', '.join(found)}"
    )


def in_classes(events: Dataset, names: Sequence[str]) -> Dataset:
    """The events with labels that count the classes of a network, found by name, in its order.

    Classes without names (0, 1, ...), here or there, are taken by number.

    Raises:
        DataError: there are events of a class that the network was not trained on.
    """
    found = events.class_names
    if found == _numbers(len(found)) and len(found) <= len(names):
        return replace(events, class_names=tuple(names))
    if any(own == _numbers(len(own)) for own in (found, tuple(names))):
        return events
    present = np.unique(events.labels)
    unknown = [found[number] for number in present if found[number] not in names]
    if unknown:
        raise errors.DataError(
            f"{events.source}: has events of class {', '.join(unknown)}, the network was trained "
            f"on {', '.join(names)}"
        )
    numbers = np.array([names.index(name) if name in names else -1 for name in found])
    return replace(events, labels=numbers[events.labels], class_names=tuple(names))


def _numbers(count: int) -> tuple[str, ...]:
    """The names of classes that have none."""
    return tuple(str(number) for number in range(count))
