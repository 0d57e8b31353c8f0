"""The test part of what a network was trained on: handed out, and every look at its labels logged.

Comparisons of bits use its inputs alone and say nothing about how good a network is; they do not
count.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors
from samebits.recipe import (
    JETS,
    QAT_MODEL,
    RECIPE,
    Recipe,
    file_sha256,
    load_data,
    load_events,
    recipe_of,
)
from samebits.report.facts import DataFacts, NotRun, ReportFacts, TestReading

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.train.data import Columns, Features

__all__ = [
    "TEST",
    "data_section",
    "labelled_events",
    "log_reading",
    "warn_of_training",
    "with_reading",
]

TEST = "test"  # what events of the test part are called
_LABEL = "label"  # the name that the documents give the labels of a file
_log = logging.getLogger("samebits")


def labelled_events(
    data: str | None,
    recipe: Recipe | None,
    names: tuple[str, ...] = (),
    columns: Columns | None = None,
    label: str | None = None,
) -> tuple[Features | None, str]:
    """The events of a report and what they are: never those of the training, if known.

    With class labels or with targets, as `columns` says, else as in the training; None where there
    are neither. Classes have the numbers that they had in the training.

    Args:
        label: the file's column of class labels; None: that of the training, or where the file has
            no such column `label`.

    Raises:
        UsageError: the events of the training, with other labels or targets; a label without a
            file, or beside targets.
        DataError: the events cannot be read, or are of a class that the training had not.
    """
    from samebits.train.data import Dataset, Regression, in_classes, in_order

    if label is not None and data in (None, JETS):
        raise errors.UsageError(f"--label {label} is a column of a file: give --data FILE")
    if label is not None and columns is not None:
        raise errors.UsageError("--label names classes, --target numbers: give one of them")
    if data is None:
        test = recipe.split().test if recipe else None
        return (test if isinstance(test, Dataset | Regression) else None), TEST
    if columns is not None:
        found = load_events(data, columns)
    else:
        found = _with_labels(data, recipe, names, label)
    events = in_order(found, names)
    if recipe and events.sha256 == recipe.data_sha256:
        other_label = label is not None and label != recipe.label
        if other_label or type(recipe.load(data)) is not type(events):
            raise errors.UsageError(
                f"{data}: the network was trained on these events, with other labels or targets, "
                "or without; give other events"
            )
        _log.warning("%s: the network was trained on it; its test part is used", events.source)
        return recipe.parts(events).test, TEST
    if recipe and isinstance(events, Dataset):
        events = in_classes(events, recipe.sections.get("data", {}).get("class_names", ()))
    return events, f"events of {Path(events.source).name}"


def _with_labels(
    data: str, recipe: Recipe | None, names: tuple[str, ...], label: str | None
) -> Features:
    """Events with class labels, or with what else the training took from its file."""
    from samebits.train.readers import MissingLabelError

    trained = recipe if recipe is not None and recipe.columns.get("labelled", True) else None
    if trained is not None and label is not None and trained.columns.get("targets"):
        trained = None  # the label asks for classes
    if trained is None and label is None:
        label = _LABEL

    def load(name: str | None) -> Features:
        return load_data(data, str(name)) if trained is None else trained.load(data, name)

    try:
        return load(label)
    except MissingLabelError as error:
        if trained is not None and label is None and _LABEL not in (trained.label, *names):
            with contextlib.suppress(MissingLabelError):
                found = load(_LABEL)
                _log.warning(
                    "%s: has no %s, as the training calls its labels; its %s is taken for them",
                    *(data, trained.label, _LABEL),
                )
                return found
        hint = "" if label not in (None, _LABEL) else "; name its labels: report --label NAME"
        raise errors.DataError(f"{error}{hint}") from None


def log_reading(folder: Path, recipe: Recipe | None, by: str) -> tuple[TestReading, ...]:
    """Writes into a folder's training.json that `by` looked at the labels of the test part.

    Returns:
        All readings so far. A second one for another network is a warning.
    """
    from samebits.train.splits import log_read

    if recipe is None:
        return ()
    reads = log_read(folder / RECIPE, by, recipe.models.get(QAT_MODEL, ""))
    networks = {entry.network for entry in reads}
    if len(networks) > 1:
        _log.warning(
            "the test part was read %d times, for %d networks: choosing between them by its "
            "numbers makes the chosen one look better than it is",
            len(reads),
            len(networks),
        )
    return tuple(TestReading(when=e.when, by=e.by, network=e.network) for e in reads)


def warn_of_training(design: Design, files: Iterable[Path]) -> None:
    """Says of which of these files a saved design's network has seen the events."""
    recipe, _ = recipe_of(design)
    for file in files:
        if recipe is not None and file_sha256(file) == recipe.data_sha256:
            _log.warning(
                "%s: the network was trained on these events, and does better on them than on "
                "others; samebits data %s -o FILE writes those of its test part",
                *(file, design.folder),
            )


def with_reading(
    facts: ReportFacts, folder: Path, recipe: Recipe | None, split: str, by: str
) -> ReportFacts:
    """The facts with this reading in them, if the events were the test part's."""
    if split != TEST or recipe is None or isinstance(facts.data, NotRun):
        return facts
    data = facts.data.model_copy(update={"test_reads": log_reading(folder, recipe, by)})
    return facts.model_copy(update={"data": data})


def data_section(recipe: Recipe) -> DataFacts:
    """The report's section on the data, with the readings so far."""
    return DataFacts.model_validate({**recipe.sections["data"], "test_reads": recipe.test_reads})
