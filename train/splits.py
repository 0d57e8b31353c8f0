"""Train, validation and test part, stratified; every look at the test part is written down.

Choices made after a look at the test part make its numbers too good. It is therefore handed out by
`HeldOut.read`, which counts.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .passes import Samples

__all__ = ["HeldOut", "SampleSplit", "TestRead", "log_read", "read_log", "split_samples", "strata"]

KEY = "test_reads"
Indices = npt.NDArray[np.intp]
_log = logging.getLogger("samebits")


@dataclass(frozen=True)
class TestRead:
    """One look at the test part: when (UTC), by what, and the digest of the network it was for."""

    __test__ = False  # no test, whatever pytest thinks of the name

    when: str
    by: str
    network: str = ""


class HeldOut:
    """The test part: `read` hands it out and writes the reading down, also into the file `log`.

    `len` and `reads` are free.
    """

    def __init__(self, samples: Samples, log: Path | None = None) -> None:
        self._samples, self._log = samples, log
        self._reads: list[TestRead] = []

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def reads(self) -> tuple[TestRead, ...]:
        """All readings, with those that the file knows from before."""
        return read_log(self._log) if self._log else tuple(self._reads)

    def read(self, by: str, network: str = "") -> Samples:
        """The events; `by` says what they are used for, and stands in the log.

        A second reading is a warning: a choice made after the first one spoils it.
        """
        if self._log:
            reads = log_read(self._log, by, network)
        else:
            self._reads.append(_now(by, network))
            reads = tuple(self._reads)
        if len(reads) > 1:
            _log.warning("the test part was read %d times: %s", len(reads), in_words(reads))
        return self._samples


@dataclass(frozen=True, eq=False)
class SampleSplit:
    """Three disjoint parts that together are all events."""

    train: Samples
    validation: Samples
    test: HeldOut


def split_samples(
    samples: Samples,
    seed: int,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    *,
    log: str | Path | None = None,
) -> SampleSplit:
    """Train, validation and test part, each with the classes' shares of the whole.

    Targets of regression have no classes: their parts are random. `log` is a JSON file that keeps
    the readings of the test part, training.json of a build directory for example.

    Raises:
        DataError: a part would be empty.
        UsageError: fractions that are not positive or do not add up to 1.
    """
    pieces = parts(strata(samples), seed, fractions, "samples")
    train, validation, test = (samples.take(piece) for piece in pieces)
    return SampleSplit(train, validation, HeldOut(test, Path(log) if log else None))


def strata(samples: Samples) -> npt.NDArray[np.int64]:
    """A class number for each event: the target if it is one, else 0."""
    targets = samples.targets
    whole = targets.dtype.kind in "iub" and targets.size == len(targets)
    return np.asarray(targets.reshape(-1) if whole else np.zeros(len(samples)), np.int64)


def parts(
    labels: npt.NDArray[Any], seed: int, fractions: Sequence[float], where: str
) -> tuple[Indices, ...]:
    """Indices of the events of each part: of every class the same fractions, up to rounding.

    The order is that of raw words of PCG64, which NumPy promises never to change (NEP 19).

    >>> [len(piece) for piece in parts(np.array([0] * 8 + [1] * 4), 1, (0.5, 0.25, 0.25), "x")]
    [6, 3, 3]
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise errors.UsageError(
            f"split fractions for train, validation, test: got {tuple(fractions)}, wanted "
            "three positive numbers that add up to 1"
        )
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    place = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        events = order[labels[order] == label]
        ends = [round(len(events) * float(end)) for end in np.cumsum(fractions)[:-1]]
        place[events] = np.searchsorted(ends, np.arange(len(events)), side="right")
    pieces = tuple(order[place[order] == number] for number in range(len(fractions)))
    if min(len(piece) for piece in pieces) == 0:
        raise errors.DataError(
            f"{where}: {len(labels)} events are too few to split {tuple(fractions)} into "
            "train, validation and test parts with at least one event each; use more events"
        )
    return pieces


def log_read(path: Path, by: str, network: str = "") -> tuple[TestRead, ...]:
    """Adds a reading of the test part to a JSON file and returns all that it holds.

    A file that cannot be written is a warning: the numbers are worth having all the same.
    """
    reads = (*read_log(path), _now(by, network))
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        values[KEY] = [asdict(entry) for entry in reads]
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
    except (OSError, ValueError) as error:
        _log.warning("%s: the reading of the test part could not be written: %s", path, error)
    finally:
        with contextlib.suppress(OSError):  # of a folder that may only be read
            temporary.unlink()
    return reads


def read_log(path: Path) -> tuple[TestRead, ...]:
    """The readings that a JSON file holds; none where there is no file.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(KEY, [])
        return tuple(TestRead(**{name: str(text) for name, text in e.items()}) for e in found)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise errors.DataError(f"{path}: the log of the test part is damaged: {error}") from error


def in_words(reads: Sequence[TestRead]) -> str:
    """The readings as a list: when, by what, for which network."""
    return "; ".join(
        f"{entry.when} by {entry.by}" + (f" (network {entry.network[:8]})" if entry.network else "")
        for entry in reads
    )


def _now(by: str, network: str) -> TestRead:
    return TestRead(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), by, network)
