"""The stage that trains any network of the bench as a TOML file describes it.

It writes model.keras, float.keras, model.onnx and training.json: formats, curves, verdicts, scores
on the validation part, and simple fits if they are wanted. The test part is left alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors, storage
from samebits.design import Design
from samebits.recipe import (
    FLOAT_MODEL,
    JETS,
    KERAS_SHA256,
    QAT_MODEL,
    RECIPE,
    Recipe,
    network_sha256,
)
from samebits.references import float_onnx
from samebits.stages import Bar, check_folder, no_bar
from samebits.training_section import bench_section

if TYPE_CHECKING:
    from samebits.report.facts import TrainingFacts
    from samebits.train.anomaly import AnomalyTrigger
    from samebits.train.bench import Trained
    from samebits.train.data import Dataset, Features
    from samebits.train.description import Description
    from samebits.train.passes import Pass, Samples

__all__ = ["FitFacts", "train_described"]

FRACTIONS = (0.6, 0.2, 0.2)  # of the events: training, validation, test


@dataclass(frozen=True)
class FitFacts:
    """What a training made: the report's section, and the score of the firmware on the validation
    part, or None and a `note` why there is none."""

    training: TrainingFacts
    firmware: float | None
    note: str


@dataclass(frozen=True)
class _Events:
    """Events as the network takes them; `dataset` if they have labels."""

    table: Dataset | Features
    inputs: NDArray[np.float32]
    targets: NDArray[Any] | None
    dataset: Dataset | None
    again: str  # under which name `load_data` finds the same events again, or ""

    @property
    def classes(self) -> tuple[str, ...]:
        return () if self.dataset is None else self.dataset.class_names


def train_described(
    folder: Path,
    source: Path,
    *,
    data: str | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: bool = False,
    command: str | tuple[str, ...] = "",
    bar: Bar = no_bar,
) -> FitFacts:
    """Trains the network that a TOML file describes, in float and quantized.

    Args:
        data: instead of the file's: "jets", or a path.
        changes: options in place of the file's, by section.
        baselines: fit simple models beside networks of one answer.

    Raises:
        UsageError: what is wrong with the file.
        DataError: events that are not those of the network.
        MissingToolError: the extra `train` is not installed.
    """
    from samebits.train import store
    from samebits.train.anomaly import AnomalyTrigger
    from samebits.train.baselines import fit_baselines
    from samebits.train.description import describe, read_description
    from samebits.train.optimize import Samples
    from samebits.train.splits import parts

    check_folder(folder)
    description = read_description(source, changes)
    options, described = description.fit, describe(description.network.network())
    events = _events(data or _beside(source, description.data.file), description)
    strata = np.zeros(len(events.table), np.int64)
    if events.dataset is not None:
        strata = events.dataset.labels
    cut = parts(strata, options.seed, FRACTIONS, events.table.source)
    made = _trained(description, events, cut, bar)
    fitted = made.autoencoder if isinstance(made, AnomalyTrigger) else made
    folder.mkdir(parents=True, exist_ok=True)
    store.save_model(made.float_model, folder / FLOAT_MODEL)
    store.save_model(made.model, folder / QAT_MODEL)
    digests = {name: network_sha256(folder / name) or "" for name in (QAT_MODEL, FLOAT_MODEL)}
    float_onnx(folder, digests[FLOAT_MODEL], made.float_model)
    _export(folder, made.model, events, digests[QAT_MODEL])
    simple = None
    if isinstance(made, AnomalyTrigger):
        validation, firmware, note = made.validation, None, "its answer is the anomaly score"
    else:
        assert events.targets is not None
        train, validation = (Samples(events.inputs[p], events.targets[p]) for p in cut[:2])
        firmware, note = _firmware(folder, made, validation)
        if baselines and (events.dataset is not None or events.targets.shape[1] == 1):
            with bar("simple fits", 1) as advance:
                simple = fit_baselines(train, validation, options.loss, seed=options.seed)
                advance(1)
    words = [one if isinstance(one, str) else next(iter(one)) for one in described["layers"]]
    training = bench_section(
        fitted,
        validation,
        network=", ".join(words),
        bits=description.quantized.weight_bits,
        baselines=simple,
    )
    formats = {point: str(form) for point, form in made.formats.items()}
    training = training.model_copy(update={"formats": formats})
    facts = FitFacts(training, firmware, note)
    content = description.model_dump(mode="json") | {"network": described}
    _record(folder, content, events, cut, digests, facts, command)
    return facts


def _beside(source: Path, name: str) -> str:
    """A file named in a description, from its folder."""
    if not name:
        raise errors.UsageError(f"{source}: data.file is missing; name a file, or give --data FILE")
    return name if name == JETS else str(source.parent / name)


def _events(name: str, description: Description) -> _Events:
    from samebits.train.data import in_order, load, load_column, load_features, load_jets

    given, loss = description.data, description.fit.loss
    options: dict[str, Any] = {"features": given.features, "label": given.label, "tree": given.tree}
    dataset: Dataset | None = None
    table: Dataset | Features
    targets: NDArray[Any] | None = None
    if description.anomaly is None and loss != "mean_squared_error":
        if given.targets:
            raise errors.UsageError(
                f"data.targets: are the numbers of a regression, but fit.loss is {loss!r}; write "
                'loss = "mean_squared_error" into [fit], or for classes data.label'
            )
        if name == JETS:
            dataset = load_jets()
            if given.features is not None:
                dataset = in_order(dataset, given.features)
        else:
            dataset = load(name, **options)
        table, targets = dataset, dataset.labels
    elif name == JETS:
        jets = load_jets()
        if description.anomaly is None:
            raise errors.UsageError("data: the jets have classes, no numbers to fit")
        table = jets
    else:
        wanted = given.targets if description.anomaly is None else ()
        if description.anomaly is None and not wanted:
            raise errors.UsageError(
                "data.targets is missing: name the columns that the network is to answer"
            )
        options["label"] = wanted[0] if wanted else given.label
        table = load_features(name, **options)
        if wanted:
            kept = [i for i, column in enumerate(table.feature_names) if column not in wanted]
            columns = [load_column(name, target, tree=given.tree) for target in wanted]
            targets = np.stack(columns, axis=1).astype(np.float32)
            table = _columns(table, kept)
    shape, found = description.network.inputs, table.features
    if int(np.prod(shape)) != found.shape[1]:
        raise errors.DataError(
            f"{table.source}: has {found.shape[1]} features ({', '.join(table.feature_names[:8])}"
            f"{', ...' if found.shape[1] > 8 else ''}); the network takes {shape}: choose columns "
            "in data.features"
        )
    plain = given.features is None and given.label == "label" and given.tree is None
    again = name if name == JETS else os.path.abspath(name)
    return _Events(
        table,
        found.reshape(len(found), *shape),
        targets,
        dataset,
        again if dataset is not None and plain else "",
    )


def _columns(table: Features, kept: list[int]) -> Features:
    """The events with these columns alone."""
    names = tuple(table.feature_names[i] for i in kept)
    return replace(table, features=table.features[:, kept], feature_names=names)


def _trained(
    description: Description, events: _Events, cut: tuple[Any, ...], bar: Bar
) -> Trained | AnomalyTrigger:
    from samebits.train.optimize import Samples

    fine = description.fine_options()
    first = description.fit.epochs
    total = first + (fine.epochs if fine else -(-first // 2))
    with bar("float, then quantized", total) as advance:

        def on_pass(stage: str, entry: Pass) -> None:
            advance(entry.number + (first if stage == "quantized" else 0))

        if description.anomaly is not None:
            train, held = (events.inputs[part] for part in cut[:2])
            return description.train_trigger(train, held, on_pass=on_pass)
        assert events.targets is not None  # of every network that is no autoencoder
        first_part, second = (Samples(events.inputs[p], events.targets[p]) for p in cut[:2])
        return description.train(first_part, second, on_pass=on_pass)


def _export(folder: Path, model: Any, events: _Events, digest: str) -> None:
    from samebits.compile.frontends.keras import export_keras

    exported = export_keras(model, events.table.feature_names, events.classes)
    exported.metadata_props.add(key=KERAS_SHA256, value=digest)
    with storage.replace_file(folder / storage.MODEL) as temporary:
        temporary.write_bytes(exported.SerializeToString())


def _firmware(folder: Path, trained: Trained, validation: Samples) -> tuple[float | None, str]:
    """The score of the firmware; None, and why, where hls4ml has no layers for the network."""
    from samebits.train.optimize import score

    try:
        answers = np.asarray(Design.from_onnx(folder / storage.MODEL).simulate(validation.inputs))
    except errors.UnsupportedError as error:
        return None, str(error)
    return score(answers, validation.targets, trained.options.loss), ""


def _record(
    folder: Path,
    description: Mapping[str, Any],
    events: _Events,
    cut: Sequence[Any],
    digests: Mapping[str, str],
    facts: FitFacts,
    command: str | tuple[str, ...],
) -> None:
    """Writes training.json and report.json."""
    from samebits import record
    from samebits.report.facts import DataFacts

    table, seed = events.table, description["fit"]["seed"]
    data = DataFacts(
        name=Path(table.source).name,
        source=table.source,
        sha256=table.sha256,
        events=dict(zip(("train", "validation", "test"), map(len, cut), strict=True)),
        class_names=events.classes,
        feature_names=table.feature_names,
    )
    sections = {"data": data, "training": facts.training}
    kept: dict[str, Any] = {name: part.model_dump(mode="json") for name, part in sections.items()}
    kept["description"] = dict(description)
    kept["firmware"] = {"score": facts.firmware, "note": facts.note}
    if events.again:
        recipe = Recipe(events.again, table.sha256, seed, digests, sections=kept, stratified=True)
        recipe.write(folder)
    else:
        content = {"data": None, "models": dict(digests), "sections": kept}
        with storage.replace_file(folder / RECIPE) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    record.record(folder, command, **sections)
