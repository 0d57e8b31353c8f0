"""The stage that trains any network of the bench as a TOML file describes it.

It writes model.keras, float.keras, model.onnx and training.json: formats, curves, verdicts, scores
on the validation part, and simple fits if they are wanted. The test part is left alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samebits import errors, storage
from samebits.design import Design
from samebits.recipe import (
    FLOAT_MODEL,
    JETS,
    KERAS_SHA256,
    QAT_MODEL,
    RECIPE,
    Recipe,
    load_events,
    refuse_to_replace,
    save_networks,
)
from samebits.references import float_onnx
from samebits.stages import Bar, check_folder, no_bar
from samebits.training_section import bench_section

if TYPE_CHECKING:
    from samebits.report.facts import DataFacts, TrainingFacts
    from samebits.train.anomaly import AnomalyTrigger
    from samebits.train.bench import Trained
    from samebits.train.data import Columns, Features, Split
    from samebits.train.description import Description
    from samebits.train.passes import Pass, Samples

_log = logging.getLogger("samebits")

__all__ = ["FitFacts", "description_of", "samples_of", "train_described"]


@dataclass(frozen=True)
class FitFacts:
    """What a training made: the report's section, and the score of the firmware on the validation
    part, or None and a `note` why there is none."""

    training: TrainingFacts
    firmware: float | None
    note: str


def train_described(
    folder: Path,
    source: Path,
    *,
    data: str | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: bool = False,
    force: bool = False,
    command: str | tuple[str, ...] = "",
    bar: Bar = no_bar,
) -> FitFacts:
    """Trains the network that a TOML file describes, in float and quantized.

    Args:
        data: instead of the file's: "jets", or a path.
        changes: options in place of the file's, by section.
        baselines: fit simple models beside networks of one answer.
        force: replace networks that were trained on other data.

    Raises:
        UsageError: what is wrong with the file; or the folder holds networks of other data.
        DataError: events that are not those of the network.
        MissingToolError: the extra `train` is not installed.
    """
    from samebits import record
    from samebits.compile.frontends.keras import export_keras
    from samebits.train.anomaly import AnomalyTrigger
    from samebits.train.baselines import fit_baselines
    from samebits.train.data import classes_of
    from samebits.train.description import describe, read_description

    check_folder(folder)
    description = read_description(source, changes)
    options, described = description.fit, describe(description.network.network())
    name = data or _beside(source, description.data.file)
    columns = _columns(description)
    events = load_events(name, columns)
    if not force:
        refuse_to_replace(folder, events.sha256)
    _check_shape(events, description.network.inputs)
    if columns.class_names and columns.class_names != classes_of(events):
        _log.warning(
            "%s: names its classes itself: %s; data.class_names (%s) are not used",
            events.source,
            ", ".join(classes_of(events)),
            ", ".join(columns.class_names),
        )
    split = events.split(options.seed, stratified=True)
    made = _trained(description, split, bar)
    fitted = made.autoencoder if isinstance(made, AnomalyTrigger) else made
    digests = save_networks(folder, {FLOAT_MODEL: made.float_model, QAT_MODEL: made.model})
    float_onnx(folder, digests[FLOAT_MODEL], made.float_model)
    exported = export_keras(made.model, events.feature_names, classes_of(events))
    exported.metadata_props.add(key=KERAS_SHA256, value=digests[QAT_MODEL])
    with storage.replace_file(folder / storage.MODEL) as temporary:
        temporary.write_bytes(exported.SerializeToString())
    simple = None
    if isinstance(made, AnomalyTrigger):
        validation, firmware, note = made.validation, None, "its answer is the anomaly score"
    else:
        train, validation = samples_of(split, description)
        firmware, note = _firmware(folder, made, validation)
        if baselines and (validation.targets.ndim == 1 or validation.targets.shape[1] == 1):
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
    sections = {"data": _data_facts(events, split), "training": training}
    kept: dict[str, Any] = {key: part.model_dump(mode="json") for key, part in sections.items()}
    kept["description"] = description.model_dump(mode="json") | {"network": described}
    kept["firmware"] = {"score": facts.firmware, "note": facts.note}
    Recipe(
        name if name == JETS else os.path.abspath(name),
        events.sha256,
        options.seed,
        digests,
        sections=kept,
        stratified=True,
        columns=asdict(columns),
    ).write(folder)
    record.record(folder, command, **sections)
    return facts


def _beside(source: Path, name: str) -> str:
    """A file named in a description, from its folder."""
    if not name:
        raise errors.UsageError(f"{source}: data.file is missing; name a file, or give --data FILE")
    return name if name == JETS else str(source.parent / name)


def _columns(description: Description) -> Columns:
    """What the columns of the events are; raises UsageError where they do not suit the loss."""
    from samebits.train.data import Columns

    given, loss = description.data, description.fit.loss
    targets = given.targets
    if description.anomaly is not None:
        targets = ()
    elif loss == "categorical_crossentropy" and targets:
        raise errors.UsageError(
            f"data.targets: are numbers, but fit.loss is {loss!r}; write another loss into [fit], "
            "or for classes data.label"
        )
    elif loss in ("mean_squared_error", "kl_divergence") and not targets:
        raise errors.UsageError(
            "data.targets is missing: name the columns that the network is to answer"
        )
    return Columns(
        *(given.features, given.label, targets, given.tree, description.anomaly is None),
        given.class_names,
    )


def _check_shape(events: Features, shape: tuple[int, ...]) -> None:
    names = events.feature_names
    if int(np.prod(shape)) != len(names):
        raise errors.DataError(
            f"{events.source}: has {len(names)} features ({', '.join(names[:8])}"
            f"{', ...' if len(names) > 8 else ''}); the network takes {shape}: choose columns "
            "in data.features"
        )


def description_of(recipe: Recipe) -> Description:
    """The description of the network that was trained.

    Raises:
        BuildError: training.json holds none, or a damaged one.
    """
    from samebits.train.description import Description

    try:
        return Description.model_validate(recipe.sections["description"])
    except (KeyError, ValueError) as error:
        raise errors.BuildError(
            f"{RECIPE}: holds no description of the network ({error}); train again"
        ) from None


def samples_of(split: Split[Any], description: Description) -> tuple[Samples, Samples]:
    """Training and validation part, events in the shape that the network takes.

    Of events without label or targets the inputs are the targets.
    """
    from samebits.train.data import Dataset, Regression
    from samebits.train.optimize import Samples

    def samples(part: Features) -> Samples:
        inputs = part.features.reshape(len(part), *description.network.inputs)
        if isinstance(part, Dataset):
            return Samples(inputs, part.labels, classes=part.class_names)
        return Samples(inputs, part.targets if isinstance(part, Regression) else inputs)

    return samples(split.train), samples(split.validation)


def _trained(
    description: Description, split: Split[Features], bar: Bar
) -> Trained | AnomalyTrigger:
    fine = description.fine_options()
    first = description.fit.epochs
    total = first + (fine.epochs if fine else -(-first // 2))
    train, validation = samples_of(split, description)
    with bar("float, then quantized", total) as advance:

        def on_pass(stage: str, entry: Pass) -> None:
            advance(entry.number + (first if stage == "quantized" else 0))

        if description.anomaly is not None:
            return description.train_trigger(train.inputs, validation.inputs, on_pass=on_pass)
        return description.train(train, validation, on_pass=on_pass)


def _firmware(folder: Path, trained: Trained, validation: Samples) -> tuple[float | None, str]:
    """The score of the firmware; None, and why, where hls4ml has no layers for the network."""
    from samebits.train.optimize import score

    try:
        answers = np.asarray(Design.from_onnx(folder / storage.MODEL).simulate(validation.inputs))
    except errors.UnsupportedError as error:
        return None, str(error)
    return score(answers, validation.targets, trained.options.loss), ""


def _data_facts(events: Features, split: Split[Features]) -> DataFacts:
    from samebits.report.facts import DataFacts
    from samebits.train.data import classes_of

    return DataFacts(
        name=Path(events.source).name,
        source=events.source,
        sha256=events.sha256,
        events=dict(zip(("train", "validation", "test"), map(len, split.parts), strict=True)),
        class_names=classes_of(events),
        feature_names=events.feature_names,
    )
