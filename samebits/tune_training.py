"""Quantization-aware training of a network in tuned formats, from the weights that it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from samebits import errors
from samebits.compile.ir import Format
from samebits.described import description_of, samples_of
from samebits.recipe import FLOAT_MODEL, QAT_MODEL, Recipe
from samebits.sweep_network import Network

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from samebits.train.data import Dataset, Split

__all__ = ["Trainer", "trainer_of"]

Trainer = Callable[[Mapping[str, Format]], "onnx.ModelProto"]

_TEXT = re.compile(r"(quantized_relu|quantized_bits)\(([^)]*)\)")


def trainer_of(network: Network) -> Trainer:
    """What trains the network of a build directory in other formats and exports it.

    The quantized Keras network of the directory is built again with the formats and trained on the
    training part of its data as it was the first time, from the weights that it has.

    Raises:
        UsageError: a network that was not trained by `samebits train` or `samebits demo`.
    """
    recipe = network.recipe
    if recipe is None:
        raise errors.UsageError(
            f"--train: {network.source} holds no training of this design that could be repeated"
            + (f": {network.no_recipe}" if network.no_recipe else "")
            + "; give a folder that samebits demo or samebits train made, or tune without --train"
        )

    def train(formats: Mapping[str, Format]) -> onnx.ModelProto:
        from samebits.compile.frontends.keras import export_keras
        from samebits.train import store

        split = recipe.labelled()
        model = _requantized(store.load_model(network.source / QAT_MODEL), formats)
        _fit(model, split, recipe, network.source)
        exported = export_keras(model, split.train.feature_names, split.train.class_names)
        _check(exported, formats)
        return exported

    return train


def _fit(model: Any, split: Split[Dataset], recipe: Recipe, folder: Path) -> None:
    """Trains the quantized network as training.json says that it was trained."""
    from samebits.train import fit, store
    from samebits.train.config import training_config

    if recipe.config:
        config = training_config(**recipe.config)
        fit.fit(model, split.train, split.validation, config, pruning=config.pruning)
        return
    description = description_of(recipe)
    teacher = store.load_model(folder / FLOAT_MODEL) if description.quantized.distil else None
    description.train_again(model, *samples_of(split, description), teacher)


def _requantized(model: Any, formats: Mapping[str, Format]) -> Any:
    """The Keras network with other quantizers and the same weights.

    Names are those of the export: `dense_1_kernel` of a layer's weights, `relu_1` of a QActivation.
    """
    from samebits.train.store import custom_objects
    from samebits.train.tensorflow import load, quiet

    kit = load()
    with quiet():
        config = model.get_config()
    for layer in config["layers"]:
        name, options = layer["config"]["name"], layer["config"]
        for key, quantizer in list(options.items()):
            fmt = formats.get(f"{name}_{key.removesuffix('_quantizer')}")
            if fmt is not None and key.endswith("_quantizer") and quantizer is not None:
                given = quantizer["config"] if isinstance(quantizer, dict) else {}
                if "bits" not in given:
                    raise errors.UnsupportedError(
                        f"--train: {name}: cannot change the quantizer {key}: {quantizer}"
                    )
                given |= {"bits": fmt.width, "integer": fmt.integer - fmt.signed}
        if layer["class_name"] == "QActivation" and name in formats:
            options["activation"] = _activation(name, options["activation"], formats[name])
    with quiet():
        new = kit.keras.Model.from_config(config, custom_objects=custom_objects())
        new.set_weights(model.get_weights())
    return new


def _activation(name: str, text: Any, fmt: Format) -> str:
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise errors.UnsupportedError(f"--train: {name}: cannot change the quantizer {text}")
    if found[1] == "quantized_relu":
        return f"quantized_relu({fmt.width},{fmt.integer})"
    whole = fmt.integer - fmt.signed
    return f"quantized_bits({fmt.width},{whole},0,{int(fmt.signed)},alpha=1)"


def _check(exported: onnx.ModelProto, formats: Mapping[str, Format]) -> None:
    """Raises UnsupportedError unless the exported network has the formats."""
    from samebits.compile.frontends.onnx.formats import quantizers

    made = {one.name: one.grid for one in quantizers(exported)}
    for name, fmt in formats.items():
        grid = made.get(name)
        if grid is None or (grid.width, grid.integer) != (fmt.width, fmt.integer):
            raise errors.UnsupportedError(
                f"--train: {name}: wanted {fmt}, the trained network has "
                f"{'no such quantizer' if grid is None else grid.precision}"
            )
