"""Keras 3 models to hls4ml's `ModelGraph`, through hls4ml's Keras-3 parser.

Where a model has HGQ2's quantizers hls4ml propagates their formats, element by element, so that the
firmware computes exactly what Keras does ("bit exact"). A model without any takes the target's
precision, as a float network from ONNX does.
"""

from __future__ import annotations

import copy
import re
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from samebits import errors

from ...target import TABLE_SIZE, Target
from ..conversion import (
    BEFORE_DISTRIBUTED,
    DISTRIBUTED,
    Converted,
    need_da4ml,
    quiet,
    set_softmax_formats,
    weights_of,
)
from .check import ALIASES, built_model, check_layers, data_quantizers
from .corrections import corrected_hls4ml

__all__ = ["is_keras_3", "keras_3_to_hls4ml"]

_WIDE, _NARROW = "fixed<32,16>", "fixed<16,6>"
_SOFTMAX_INPUT = "fixed<10,5,RND,SAT>"  # the 1024 entries of hls4ml's table: -16 to 16


def is_keras_3(model: Any) -> bool:
    """Whether a model object is one of Keras 3."""
    bases = {base.__module__.split(".")[0] for base in type(model).__mro__}
    return "keras" in bases and "tf_keras" not in bases


def keras_3_to_hls4ml(model: Any, target: Target) -> Converted:
    """The model as a converted hls4ml `ModelGraph`.

    Args:
        model: a built Sequential or Functional model of Keras 3 and HGQ2 layers.

    Raises:
        UnsupportedError: layers or quantizers that cannot become firmware, all listed.
        ModelError: the model is not built, has open sizes, or hls4ml refuses it.
        MissingToolError: distributed arithmetic, or a layer that needs it, without da4ml.
        UsageError: a precision for a layer that does not exist.
    """
    if target.strategy == DISTRIBUTED:
        need_da4ml()
    functional = built_model(model)
    _check_shapes(functional)
    with quiet():
        from hls4ml.converters.keras_v3 import layer_handlers  # type: ignore[import-untyped]

        for name, older in ALIASES.items():
            if older in layer_handlers:
                layer_handlers.setdefault(name, layer_handlers[older])
    notes = check_layers(functional, layer_handlers)
    quantized = any(True for layer in functional.layers for _ in data_quantizers(layer))
    if not quantized:
        notes.append(f"the model has no quantizers: {_default(target)} where nothing else is given")
    with quiet():
        try:
            return _convert(functional, target, quantized, notes)
        except errors.SamebitsError:
            raise
        except Exception as error:  # hls4ml raises bare Exceptions, AssertionErrors, KeyErrors
            raise errors.ModelError(
                f"hls4ml cannot convert Keras model {model.name!r}: "
                f"{type(error).__name__}: {error}{_advice(error)}"
            ) from error


def _advice(error: Exception) -> str:
    """What to do about hls4ml's error, where that is known."""
    text, trace = str(error), traceback.format_tb(error.__traceback__)
    if "unexpected input layer chain" in text:
        return (
            ". Every input must meet a quantizer first: a layer with enable_iq=True, or "
            "hgq.quantizer.Quantizer"
        )
    if "produce_kif" in text:
        return (
            ". hls4ml cannot tell the formats behind this layer, which it must in a model with "
            "HGQ2's quantizers"
        )
    if any("da4ml" in line for line in trace):
        return ". Quantizers in layers that da4ml writes as logic must round by RND or TRN"
    return ""


def _convert(model: Any, target: Target, quantized: bool, notes: list[str]) -> Converted:
    if target.table_size != TABLE_SIZE:
        raise errors.UsageError(
            "table_size: is chosen by hls4ml's Keras 3 frontend for this network; leave it out"
        )
    config = _config(model, target, quantized)
    kept: dict[str, NDArray[Any]] = {}
    if target.strategy == DISTRIBUTED:
        kept = weights_of(_hls4ml_graph(model, {**config, "Flows": [BEFORE_DISTRIBUTED]}, target))
    graph = _hls4ml_graph(model, config, target)
    names = [layer.name for layer in graph.get_layers()]
    known = {*names, *(layer.name for layer in model.layers), "default"}
    given = target.precision if isinstance(target.precision, Mapping) else {}
    for name in given:
        if name not in known:
            raise errors.UsageError(
                f"precision: there is no layer {name!r}; layers: {', '.join(names)}"
            )
    return Converted(graph, tuple(notes), tuple(tensor.name for tensor in model.inputs), kept)


def _default(target: Target) -> str:
    """The precision of a model without quantizers."""
    precision = target.precision
    default = precision.get("default") if isinstance(precision, Mapping) else precision
    return default or _NARROW


def _config(model: Any, target: Target, quantized: bool) -> dict[str, Any]:
    """hls4ml's configuration; formats that are given take the place of the propagated ones."""
    import hls4ml  # type: ignore[import-untyped]

    given = target.precision if isinstance(target.precision, Mapping) else {}
    if quantized:
        # what the propagation does not reach: tables of the activations, for one
        config: dict[str, Any] = {"Model": {"Precision": _WIDE}, "LayerName": {}}
        for name, text in given.items():
            if name != "default":
                config["LayerName"][name] = {"Precision": {"result": text}}
    else:
        config = hls4ml.utils.config_from_keras_model(
            model, granularity="name", backend=target.backend, default_precision=_default(target)
        )
        for name, settings in config["LayerName"].items():
            if target.strategy != DISTRIBUTED:
                settings["Strategy"] = target.strategy
            settings["ReuseFactor"] = target.reuse_factor
            if name in given:
                settings["Precision"]["result"] = given[name]
    for name, source, classes in _softmaxes(model):
        settings = config["LayerName"].setdefault(name, {"Precision": {}})
        set_softmax_formats(settings, classes)
        if source in config["LayerName"] and source not in given:
            config["LayerName"][source]["Precision"]["result"] = _SOFTMAX_INPUT
    config["Model"] |= {"Strategy": target.strategy, "ReuseFactor": target.reuse_factor}
    return config


def _softmaxes(model: Any) -> Iterator[tuple[str, str, int]]:
    """Of every softmax that is not HGQ2's: its name and its source's in hls4ml, the classes."""
    import keras  # type: ignore[import-untyped]

    softmax, linear = keras.activations.softmax, keras.activations.linear
    for layer in model.layers:
        kind, activation = type(layer).__name__, getattr(layer, "activation", None)
        if activation is softmax and kind != "Activation":
            yield f"{layer.name}_softmax", layer.name, int(layer.output.shape[-1])
        elif kind == "Softmax" or activation is softmax:
            source = layer.input._keras_history.operation
            before = getattr(source, "activation", None)
            own = isinstance(source, keras.layers.Activation)
            name = source.name
            if not own and before is not None and before is not linear:
                name += f"_{before.__name__}"
            yield layer.name, name, int(layer.output.shape[getattr(layer, "axis", -1)])


def _hls4ml_graph(model: Any, config: dict[str, Any], target: Target) -> Any:
    import hls4ml

    with (
        tempfile.TemporaryDirectory(prefix="samebits-") as folder,
        corrected_hls4ml(),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        graph = hls4ml.converters.convert_from_keras_model(
            model,
            hls_config=copy.deepcopy(config),
            output_dir=folder,
            backend=target.backend,
            io_type=target.io_type,
            part=target.part,
            clock_period=target.clock_ns,
        )
    for warning in caught:
        if found := re.search(
            r"result_t for (\S+) propagated multiple times", str(warning.message)
        ):
            raise errors.UnsupportedError(
                f"{found[1]}: two quantizers follow it directly, and hls4ml would keep only the "
                "last; take one of them away"
            )
    return graph


def _check_shapes(model: Any) -> None:
    for tensor in model.inputs:
        if len(tensor.shape) < 2 or any(size is None for size in tensor.shape[1:]):
            raise errors.ModelError(
                f"input {tensor.name} has shape {tuple(tensor.shape)}; firmware needs fixed sizes "
                "of one axis or more behind the batch axis"
            )
