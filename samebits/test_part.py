"""The test part of what a network was trained on: handed out, and every look at its labels logged.

Comparisons of bits use its inputs alone and say nothing about how good a network is; they do not
count.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors
from samebits.recipe import QAT_MODEL, RECIPE, Recipe, load_data, load_events
from samebits.report.facts import DataFacts, NotRun, ReportFacts, TestReading

if TYPE_CHECKING:
    from samebits.train.data import Columns, Features

__all__ = ["TEST", "data_section", "labelled_events", "log_reading", "with_reading"]

TEST = "test"  # what events of the test part are called
_log = logging.getLogger("samebits")


def labelled_events(
    data: str | None,
    recipe: Recipe | None,
    names: tuple[str, ...] = (),
    columns: Columns | None = None,
) -> tuple[Features | None, str]:
    """The events of a report and what they are: never those of the training, if known.

    With class labels or with targets, as `columns` says, else as in the training; None where there
    are neither.

    Raises:
        UsageError: the events of the training, with other labels or targets.
    """
    from samebits.train.data import Dataset, Regression, in_order

    if data is None:
        test = recipe.split().test if recipe else None
        return (test if isinstance(test, Dataset | Regression) else None), TEST
    if columns is not None:
        found = load_events(data, columns)
    elif recipe is not None and recipe.columns.get("labelled", True):
        found = recipe.load(data)
    else:
        found = load_data(data)
    events = in_order(found, names)
    if recipe and events.sha256 == recipe.data_sha256:
        if type(recipe.load(data)) is not type(events):
            raise errors.UsageError(
                f"{data}: the network was trained on these events, with other labels or targets, "
                "or without; give other events"
            )
        _log.warning("%s: the network was trained on it; its test part is used", events.source)
        return recipe.parts(events).test, TEST
    return events, f"events of {Path(events.source).name}"


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
