"""Shipped physics samples, and test parts of builds, as files of events for every command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from samebits import errors, storage

if TYPE_CHECKING:
    from samebits.train.data import Features

__all__ = ["SAMPLES", "Sample", "sample", "write_sample"]


@dataclass(frozen=True, eq=False)
class Sample:
    """Events with everything that is known of them.

    `features` (N, F) and their names; `labels` (N,) into `class_names`, or None; `columns`: further
    numbers (N,) by name, such as `weight`. `rows`: of one collision, one behind the other.
    """

    features: NDArray[np.float32] | NDArray[np.int16]
    feature_names: tuple[str, ...]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    columns: dict[str, NDArray[np.float64]]
    rows: int = 1

    def __len__(self) -> int:
        return len(self.features)

    def take(self, events: NDArray[np.intp]) -> Sample:
        """The events with these indices, in that order."""
        return replace(
            self,
            features=self.features[events],
            labels=None if self.labels is None else self.labels[events],
            columns={name: values[events] for name, values in self.columns.items()},
        )

    def of(self, classes: Sequence[str]) -> Sample:
        """The events of these classes.

        Raises:
            UsageError: a class that is not there, or events without classes.
        """
        if self.labels is None:
            raise errors.UsageError("--classes: the events have no class labels")
        if unknown := [name for name in classes if name not in self.class_names]:
            raise errors.UsageError(
                f"--classes: there is no class {', '.join(unknown)}; there are "
                f"{', '.join(self.class_names)}"
            )
        wanted = [self.class_names.index(name) for name in classes]
        kept = self.take(np.flatnonzero(np.isin(self.labels, wanted)))
        return replace(kept, rows=max(1, self.rows * len(wanted) // len(self.class_names)))

    def part(self, number: int, of: int) -> Sample:
        """Every collision whose number leaves this remainder: parts of one `of` share none."""
        collisions = np.arange(len(self)) // self.rows
        return self.take(np.flatnonzero(collisions % of == number))


def sample(source: str) -> Sample:
    """A shipped sample by its name, or the test part of what a build directory was trained on.

    Raises:
        UsageError: neither a name nor a build. BuildError: a build that was not trained on events
            that can be read again.
    """
    if source in SAMPLES:
        return SAMPLES[source]()
    folder = Path(source)
    if not folder.is_dir():
        raise errors.UsageError(
            f"no sample {source!r}: wanted {', '.join(SAMPLES)}, or a build directory for the test "
            "part of what it was trained on"
        )
    return _test_part(folder)


def write_sample(events: Sample, path: Path) -> None:
    """Writes a .npz: features, feature_names, label and class_names where known, other columns.

    Raises:
        UsageError: another suffix, or no events. BuildError: the file cannot be written.
    """
    if path.suffix.lower() != ".npz":
        raise errors.UsageError(f"{path}: unknown suffix; wanted .npz")
    if not len(events):
        raise errors.UsageError(f"{path}: no events are left")
    arrays = {
        "features": events.features,
        "feature_names": np.array(events.feature_names),
        **events.columns,
    }
    if events.labels is not None:
        arrays |= {"label": events.labels, "class_names": np.array(events.class_names)}
    with storage.replace_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _test_part(folder: Path) -> Sample:
    from samebits.design import Design
    from samebits.recipe import recipe_of
    from samebits.test_part import log_reading

    recipe, why = recipe_of(Design.load(folder))
    if recipe is None:
        raise errors.BuildError(
            f"{folder}: {why or 'holds no training whose events can be read again'}"
        )
    test = recipe.split().test
    log_reading(folder, recipe, "samebits data")
    return _of(test)


def _of(events: Features) -> Sample:
    from samebits.train.data import Dataset, Regression

    if isinstance(events, Dataset):
        labels, names = events.labels, events.class_names
        return Sample(events.features, events.feature_names, labels, names, {})
    columns: dict[str, NDArray[np.float64]] = {}
    if isinstance(events, Regression):
        columns = dict(zip(events.target_names, events.targets.T.astype(np.float64), strict=True))
    return Sample(events.features, events.feature_names, None, (), columns)


def _jets() -> Sample:
    from samebits.train.data import load_jets

    return _of(load_jets())


def _ttbar() -> Sample:
    """The right order of the jets (class right) and a wrong one of every event."""
    from samebits.train.physics_samples import TTBAR_COLUMNS, load_ttbar, right_and_wrong

    features, labels = right_and_wrong(load_ttbar(), seed=0)
    return Sample(features, TTBAR_COLUMNS, labels, ("wrong", "right"), {}, rows=2)


def _trigger_events() -> Sample:
    """The weights of a background add up to what is kept of its cross section in pb, those of
    a signal, which has none, to 1."""
    from samebits.train.physics_samples import load_trigger_events

    events = load_trigger_events()
    counts = np.bincount(events.labels, minlength=len(events.class_names))
    known = [name in events.backgrounds for name in events.class_names]
    weights = (np.where(known, events.accepted_pb, 1.0) / counts)[events.labels]
    return Sample(
        events.codes, events.columns, events.labels, events.class_names, {"weight": weights}
    )


SAMPLES: dict[str, Callable[[], Sample]] = {
    "jets": _jets,
    "ttbar": _ttbar,
    "trigger-events": _trigger_events,
}
