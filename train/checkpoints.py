"""Checkpoints: a training goes on from one bit-identically, as if it had never stopped.

One .npz file without pickled objects: weights, the optimiser's variables, the weights of the best
pass, and as JSON the passes, the options and what they were used on. Random numbers need no place
in it: those of an epoch follow from the seed and its number (`samebits.train.steps`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samebits import errors

from .config import FitOptions
from .passes import Pass, Samples

__all__ = ["Checkpoint", "describe", "read_checkpoint", "write_checkpoint"]

FORMAT = 1
FREE = ("checkpoints", "tensorboard")  # options that change no number
SHOWN = ("pruning", "augmentation")  # the rest of a description are digests
EXTENDABLE = ("constant", "plateau")  # schedules that do not depend on the number of epochs
PACKAGES = ("tensorflow", "tf-keras", "qkeras", "numpy", "scipy")

Arrays = tuple[npt.NDArray[Any], ...]
_log = logging.getLogger("samebits")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after `passes`."""

    passes: tuple[Pass, ...]
    weights: Arrays
    optimizer: Arrays
    best: Arrays
    seconds: float


def describe(
    model: Any, train: Samples, validation: Samples, options: FitOptions, **further: Any
) -> dict[str, Any]:
    """Everything that the numbers of a training depend on, as JSON has it."""
    architecture = json.dumps(model.get_config(), sort_keys=True, default=str)
    return {
        "options": options.model_dump(mode="json", exclude=set(FREE)),
        "network": hashlib.sha256(_without_ids(architecture).encode()).hexdigest(),
        "training events": train.sha256,
        "validation events": validation.sha256,
        **further,
    }


def write_checkpoint(path: Path, state: Checkpoint, described: Mapping[str, Any]) -> None:
    """Writes the file at once or not at all.

    Raises:
        UsageError: the folder cannot be written.
    """
    header = {
        "format": FORMAT,
        "training": described,
        "versions": _versions(),
        "passes": [asdict(entry) for entry in state.passes],
        "seconds": state.seconds,
    }
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays: dict[str, npt.NDArray[Any]] = {"header": text}
    for name in ("weights", "optimizer", "best"):
        for index, values in enumerate(getattr(state, name)):
            arrays[f"{name}.{index}"] = values
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        temporary.replace(path)
    except OSError as error:
        raise errors.UsageError(
            f"checkpoint {path}: cannot be written: {error.strerror or error}; give another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path, described: Mapping[str, Any]) -> Checkpoint | None:
    """The state to go on from; None where there is no file.

    More `epochs` than before are allowed where the schedule of the learning rate does not depend on
    their number (constant, plateau) and nothing is pruned.

    Raises:
        UsageError: the file is of another training; the message lists every difference.
        DataError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            groups = {
                name: tuple(file[f"{name}.{index}"] for index in range(_count(file.files, name)))
                for name in ("weights", "optimizer", "best")
            }
        passes = tuple(Pass(**entry) for entry in header["passes"])
        different = _differences(header["training"], described)
        versions, seconds = header["versions"], float(header["seconds"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise errors.DataError(
            f"checkpoint {path}: is damaged, or of another samebits ({error}); delete it to train "
            "from the start"
        ) from error
    if different:
        raise errors.UsageError(
            f"checkpoint {path} is of another training: {'; '.join(different)}. Delete it to train "
            "from the start, or give another folder"
        )
    changed = [name for name, now in _versions().items() if versions.get(name) != now]
    if changed:
        _log.warning(
            "checkpoint %s: other versions of %s; what follows may differ in last bits",
            path,
            ", ".join(changed),
        )
    return Checkpoint(passes, **groups, seconds=seconds)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = dict(before["options"]), dict(now["options"])
    if new["schedule"] in EXTENDABLE and not now.get("pruning"):
        old["epochs"] = new["epochs"]
    found = [
        f"{name} was {old.get(name)}, is {value}"
        for name, value in new.items()
        if old.get(name) != value
    ]
    others = [name for name in now if name != "options" and before.get(name) != now[name]]
    return found + [
        f"{name} was {before.get(name)}, is {now[name]}" if name in SHOWN else f"other {name}"
        for name in others
    ]


def _count(names: list[str], group: str) -> int:
    return sum(name.startswith(f"{group}.") for name in names)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "machine": platform.machine()}


def _without_ids(text: str) -> str:
    """Keras numbers shared objects by their addresses in memory."""
    return re.sub(r'"shared_object_id": \d+|0x[0-9a-f]+', "", text)
