"""training.json: what was trained in a folder, and whether a design still comes from it.

Every link holds the hash of the one before: training.json those of the data and of both networks,
model.onnx that of the network it was exported from, design.json that of model.onnx.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from samebits import errors, storage

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.train.data import Columns, Dataset, Features, Split

__all__ = [
    "JETS",
    "Recipe",
    "file_sha256",
    "load_data",
    "network_sha256",
    "recipe_of",
    "refuse_to_replace",
    "save_networks",
]

JETS = "jets"
QAT_MODEL, FLOAT_MODEL, RECIPE = "model.keras", "float.keras", "training.json"
KERAS_SHA256 = "samebits.keras.sha256"
_ADDRESSES = re.compile(rb'"shared_object_id": \d+')
Events = TypeVar("Events", bound="Features")
_TRAIN_AGAIN = "run samebits train, export and compile again"


def load_data(name: str, label: str = "label") -> Dataset:
    """A labelled data set: "jets" for the shipped sample, or the path of a file.

    Args:
        label: the file's column or array of labels.

    Raises:
        DataError: a file that cannot be used.
    """
    from samebits.train.data import load, load_jets

    return load_jets() if name == JETS else load(name, label=label)


def load_events(name: str, columns: Columns) -> Features:
    """Events with what the columns say: labels, targets or neither.

    Raises:
        DataError: as `load_data`.
    """
    from samebits.train import data
    from samebits.train.data import Features, in_order, load_jets

    if name != JETS:
        return data.load_events(name, columns)
    jets = in_order(load_jets(), columns.features or ())
    if columns.targets:
        raise errors.DataError("the shipped jets have classes, no numbers to be predicted")
    if columns.labelled:
        return jets
    return Features(jets.features, jets.feature_names, jets.source, jets.sha256)


def file_sha256(path: Path) -> str | None:
    """The digest of a file, None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def network_sha256(path: Path) -> str | None:
    """The digest of a network file, None where there is none; of a .keras file without dates
    and the addresses in memory that Keras writes into config.json.

    So the same training gives the same digest again, and the same model.onnx.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            digest = hashlib.sha256()
            for name in sorted(set(archive.namelist()) - {"metadata.json"}):
                content = _ADDRESSES.sub(b"", archive.read(name))
                digest.update(f"{name} {len(content)}\n".encode() + content)
            return digest.hexdigest()
    except (OSError, ValueError, zipfile.BadZipFile):
        return file_sha256(path)


def refuse_to_replace(folder: Path, data_sha256: str) -> None:
    """Says before a training that a folder holds networks that were not trained on these events.

    What was trained on the same events may be trained again there.

    Raises:
        UsageError: it does.
    """
    held = [name for name in (QAT_MODEL, FLOAT_MODEL) if (folder / name).exists()]
    try:
        recipe = Recipe.read(folder)
    except errors.BuildError:  # damaged: its message says to train again
        return
    if not held or (recipe is not None and recipe.data_sha256 == data_sha256):
        return
    source = "that samebits train did not make" if recipe is None else f"trained on {recipe.data}"
    raise errors.UsageError(
        f"{folder}: holds networks {source} ({', '.join(held)}); give another folder with -o, or "
        "replace them with --force"
    )


def save_networks(folder: Path, networks: Mapping[str, Any]) -> dict[str, str]:
    """Writes networks into a folder by file name, all of them or none; gives their digests.

    Raises:
        BuildError: the folder cannot be written.
    """
    from samebits.train.store import save_model

    writers = {name: partial(save_model, network) for name, network in networks.items()}
    try:
        storage.write_files(folder, writers)
    except errors.UsageError as error:  # of save_model, which names the temporary file
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise errors.BuildError(f"{folder}: cannot be written: {reason}") from None
    return {name: network_sha256(folder / name) or "" for name in networks}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the networks of a folder were trained.

    `columns` says what the columns of the data are (fields of `samebits.train.data.Columns`),
    `models` holds the sha256 of the network files, `sections` the report's sections on the data and
    the training, `demo` says that `samebits demo` made them, `stratified` how the data were split,
    `test_reads` when, by what and for which network the test part was read.
    """

    data: str
    data_sha256: str
    seed: int
    models: Mapping[str, str]
    demo: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)
    stratified: bool = False  # as before there was a choice
    test_reads: tuple[Mapping[str, str], ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Recipe | None:
        """The recipe of a build directory, None if nothing was trained there.

        Raises:
            BuildError: the file is damaged.
        """
        path = folder / RECIPE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                str(values["data"]),
                str(values["data_sha256"]),
                int(values["seed"]),
                {str(name): str(digest) for name, digest in values["models"].items()},
                bool(values.get("demo", False)),
                dict(values.get("config", {})),
                dict(values.get("sections", {})),
                bool(values.get("stratified", False)),
                tuple(dict(entry) for entry in values.get("test_reads", ())),
                dict(values.get("columns", {})),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise errors.BuildError(
                f"{path}: is damaged, or of an older samebits ({type(error).__name__}: {error}); "
                "train again"
            ) from None

    def write(self, folder: Path) -> None:
        """Writes training.json; what an earlier one says of the same test part stays.

        Raises:
            BuildError: the folder cannot be written.
        """
        values = asdict(self)
        with contextlib.suppress(errors.BuildError):
            before = Recipe.read(folder)
            if before is not None and before.same_parts(self):
                values["test_reads"] = before.test_reads
        with storage.replace_file(folder / RECIPE) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    @property
    def label(self) -> str:
        """What the column of labels was called."""
        return str(self.columns.get("label", "label"))

    def load(self, name: str, label: str | None = None) -> Features:
        """Events of a file whose columns are those of the training, but for the `label` given."""
        from samebits.train.data import Columns

        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.columns.items()
        }
        if label is not None:
            given["label"] = label
        return load_events(name, Columns(**given))

    def labelled(self) -> Split[Dataset]:
        """The parts of a training on classes; raises as `split`.

        Raises:
            UsageError: the network was not trained on classes.
        """
        from samebits.train.data import Dataset

        split: Any = self.split()
        if not isinstance(split.train, Dataset):
            raise errors.UsageError(f"{self.data}: the network was not trained on classes")
        return cast("Split[Dataset]", split)

    def split(self) -> Split[Features]:
        """Train, validation and test part of the data.

        Raises:
            DataError: the data cannot be read any more.
            BuildError: the data are not those of the training.
        """
        dataset = self.load(self.data)
        if dataset.sha256 != self.data_sha256:
            raise errors.BuildError(
                f"{dataset.source}: the data changed since the training (sha256 "
                f"{dataset.sha256[:12]}, was {self.data_sha256[:12]}): train again, or give other "
                "data (report --data FILE, verify BUILD FILE)"
            )
        return self.parts(dataset)

    def parts(self, events: Events) -> Split[Events]:
        """The parts of a data set, cut as those of the training were."""
        return events.split(self.seed, stratified=self.stratified)

    def same_parts(self, other: Recipe) -> bool:
        """Whether both cut the same events in the same way, whatever the classes are called."""
        mine, others = (
            json.dumps(
                [
                    *(one.data_sha256, one.seed, one.stratified),
                    {key: value for key, value in one.columns.items() if key != "class_names"},
                ]
            )
            for one in (self, other)
        )
        return mine == others

    def missing_link(self, design: Design) -> str | None:
        """None if a saved design comes from the networks trained here, else what speaks against."""
        assert design.folder is not None
        for name, digest in self.models.items():
            if network_sha256(design.folder / name) != digest:
                return f"{name} in this folder is not the one trained here: {_TRAIN_AGAIN}"
        model = design.folder / storage.MODEL
        compiled_from = design.facts.get("files", {}).get(storage.MODEL)
        if compiled_from and compiled_from != file_sha256(model):
            return (
                "the design was not compiled from the model.onnx in this folder: run samebits "
                "compile again"
            )
        if not model.is_file() or _keras_sha256(model.read_bytes()) != self.models.get(QAT_MODEL):
            return (
                "model.onnx was not exported from the model.keras in this folder: run samebits "
                "export and compile again"
            )
        return None


def _keras_sha256(model: bytes) -> str | None:
    import onnx

    proto = onnx.load_model_from_string(model)
    return {entry.key: entry.value for entry in proto.metadata_props}.get(KERAS_SHA256)


def recipe_of(design: Design) -> tuple[Recipe | None, str]:
    """The recipe of a saved design; None, and why, where the design does not come from it.

    Raises:
        BuildError: training.json is damaged.
    """
    assert design.folder is not None
    recipe = Recipe.read(design.folder)
    why = recipe.missing_link(design) if recipe else None
    return (None, why) if why else (recipe, "")
