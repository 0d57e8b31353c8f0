"""What a sweep works on: one network at any width, and labelled events for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors
from samebits.compile.target import Target
from samebits.design import Design
from samebits.recipe import FLOAT_MODEL, JETS, KERAS_SHA256, Recipe, recipe_of
from samebits.sweep import Events

if TYPE_CHECKING:
    import onnx

    from samebits.train.data import Dataset

__all__ = ["Network", "labelled_events", "network_of", "of_dataset"]

AtWidth = Callable[[int | None, Target], Design]

ROUNDED_AGAIN = (
    "quantizers rounded again to the width, their ranges kept, after the training: nothing was "
    "trained for it"
)
TRAINED = "a network trained at each width from float.keras, as `samebits train` does"
CALIBRATED = "the float model quantized to the width with data, nothing trained for it"


@dataclass(frozen=True)
class Network:
    """A network at any width; `design` is the one on disk, if `source` is a build directory.

    `at_width` compiles it for a target; `target` is the design's own, or the default.
    """

    source: Path
    target: Target
    sha256: str
    at_width: AtWidth
    shapes: dict[str, tuple[int, ...]]
    widths_by: str
    design: Design | None = None
    recipe: Recipe | None = None
    no_recipe: str = ""


def network_of(source: Path, calibrate: Path | None = None, *, train: bool = False) -> Network:
    """The network in a build directory or an ONNX file.

    Args:
        calibrate: events that a float ONNX model is quantized with, at every width.
        train: the build directory's training is done again at every width.

    Raises:
        BuildError, ModelError, DataError: what cannot be read.
        UsageError: `calibrate` with a build directory, `train` with what was not trained here.
        UnsupportedError: a build directory without model.onnx.
    """
    if source.suffix == ".onnx" and not source.is_dir():
        if train:
            raise errors.UsageError("--train is for build directories that samebits train made")
        return _of_file(source, calibrate)
    if calibrate is not None:
        raise errors.UsageError(
            "--calibrate is for float ONNX models: give the .onnx file, not a build directory"
        )
    design = Design.load(source)
    recipe, why = recipe_of(design)

    def at_width(width: int | None, target: Target) -> Design:
        if width is None and target.strategy == design.target.strategy:
            return design
        if design.model_bytes is None:
            raise errors.UnsupportedError(
                f"{source}: holds no model.onnx that could be compiled again; sweep clocks and "
                "reuse factors without --width and --strategy, or compile a model trained at each "
                "width"
            )
        import onnx as library

        model = library.load_model_from_string(design.model_bytes)
        return _rounded(model, width, target, source.name)

    make: AtWidth = at_width
    if train:
        if recipe is None or not recipe.config:
            raise errors.UsageError(
                f"--train: {source} holds no training of this design"
                + (f": {why}" if why else "; give a folder that samebits train made")
            )
        make = _trainer(source, recipe, at_width)
    graph = design.graph
    return Network(
        source=source,
        target=design.target,
        sha256=f"{design.fingerprint}{' trained' if train else ''}",
        at_width=make,
        shapes={name: graph.tensors[name].shape for name in graph.inputs},
        widths_by=TRAINED if train else ROUNDED_AGAIN,
        design=design,
        recipe=recipe,
        no_recipe=why,
    )


def _of_file(source: Path, calibrate: Path | None) -> Network:
    from samebits.calibration import input_shapes
    from samebits.compile.frontends.onnx import read_onnx

    model = read_onnx(source)
    shapes = input_shapes(model)
    digest = hashlib.sha256(model.SerializeToString())
    if calibrate is None:
        return Network(
            source=source,
            target=Target(),
            sha256=digest.hexdigest(),
            at_width=lambda width, target: _rounded(model, width, target, source.name),
            shapes=shapes,
            widths_by=ROUNDED_AGAIN,
        )
    from samebits.calibration import BITS, read_events
    from samebits.calibration import calibrate as quantize

    events, _, _ = read_events(calibrate, shapes)
    digest.update(calibrate.read_bytes())

    def at_width(width: int | None, target: Target) -> Design:
        made = quantize(model, events, bits=width or BITS).model
        made.graph.name = source.name
        return Design.from_onnx(made, target)

    return Network(source, Target(), digest.hexdigest(), at_width, shapes, CALIBRATED)


def _trainer(folder: Path, recipe: Recipe, as_it_is: AtWidth) -> AtWidth:
    """Networks trained at a width as the one in the folder was; the test part is not touched."""

    def at_width(width: int | None, target: Target) -> Design:
        if width is None:
            return as_it_is(width, target)
        from samebits.compile.frontends.keras import export_keras
        from samebits.train import fit, store
        from samebits.train.config import training_config

        options = {**recipe.config, "weight_bits": width, "activation_bits": width}
        config = training_config(**options)
        split = recipe.labelled()
        prepared = fit.prepare(split.train, config)
        start = store.load_model(folder / FLOAT_MODEL)
        model, _ = fit.fit_quantized(split.train, split.validation, prepared, config, start=start)
        exported = export_keras(model, split.train.feature_names, split.train.class_names)
        exported.graph.name = f"{width}-bits"
        return Design.from_onnx(exported, target)

    return at_width


def _rounded(model: onnx.ModelProto, width: int | None, target: Target, name: str) -> Design:
    from samebits.compile.frontends.onnx.rewidth import rewidth

    if width is not None:
        model, _ = rewidth(model, width)
        for entry in list(model.metadata_props):
            if entry.key == KERAS_SHA256:  # it is no export of that network any more
                model.metadata_props.remove(entry)
    return Design.from_onnx(model, target)


def labelled_events(network: Network, data: str | None) -> Events:
    """The events that a network is judged on: never those that it was trained on, if known.

    Args:
        data: "jets", or a file; None: the test part of what the network was trained on.

    Raises:
        DataError: a file that cannot be used, or has no labels.
        UsageError: no data given, and none known.
    """
    from samebits import test_part

    recipe = network.recipe
    if data is None and recipe is None:
        raise errors.UsageError(
            "labelled events are needed for the accuracy: give --data"
            + (f" ({network.no_recipe})" if network.no_recipe else "")
        )
    if data in (None, JETS) or [len(shape) for shape in network.shapes.values()] == [1]:
        from samebits.train.data import Dataset

        names = network.design.feature_names if network.design is not None else ()
        found, split = test_part.labelled_events(data, recipe, names)
        if not isinstance(found, Dataset):
            raise errors.UsageError(
                f"{data or network.source}: the events have no class labels, by which networks are "
                "judged here; samebits report shows the errors of a regression"
            )
        return of_dataset(found, split == test_part.TEST)
    from samebits.calibration import read_events

    x, labels, classes = read_events(Path(data), network.shapes)
    if labels is None:
        raise errors.DataError(f"{data}: has no array label, which the accuracy needs")
    names = classes or tuple(str(i) for i in range(int(labels.max(initial=0)) + 1))
    return Events(x, labels, names, Path(data).name)


def of_dataset(dataset: Dataset, test_part: bool = False, about: str = "") -> Events:
    """Labelled events with the words for them."""
    about = "test part of the training data" if test_part else about or Path(dataset.source).name
    return Events(
        dataset.features,
        dataset.labels,
        dataset.class_names,
        f"{len(dataset)} events, {about}",
        test_part,
    )
