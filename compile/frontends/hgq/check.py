"""Which Keras 3 and HGQ2 models hls4ml's Keras-3 parser reads rightly; the rest refused by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from samebits import errors

__all__ = ["built_model", "check_layers", "data_quantizers", "module_path"]

# hls4ml 1.3.0 knows these by the modules of an older HGQ2
ALIASES = {
    "hgq.layers.attn.mha.QMultiHeadAttention": (
        "hgq.layers.multi_head_attention.QMultiHeadAttention"
    ),
    "hgq.layers.attn.linformer.QLinformerAttention": (
        "hgq.layers.linformer_attention.QLinformerAttention"
    ),
}
# Keras layers for which hls4ml takes its reader of Keras 2; it would take it for HGQ2's QGRU, too
KERAS_2_READERS = frozenset(
    {
        "BatchNormalization",
        "Cropping1D",
        "Cropping2D",
        "Embedding",
        "LayerNormalization",
        "UpSampling1D",
        "UpSampling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
    }
)
# HGQ2 layers that hls4ml writes through da4ml as combinational logic
COMBINATIONAL = frozenset({"QConvT1D", "QDenseT", "QEinsumDenseT", "QMeanPow2", "QSum"})
_OVERFLOW = ("SAT", "SAT_SYM", "WRAP")


def module_path(layer: Any) -> str:
    """The full name of a layer's class."""
    return f"{type(layer).__module__}.{type(layer).__name__}"


def built_model(model: Any) -> Any:
    """The Functional model behind a Sequential or Functional one.

    Raises:
        ModelError: it is not built.
        UnsupportedError: a subclass of Model with code of its own.
    """
    kinds = {base.__name__ for base in type(model).__mro__}
    if not model.built or ("Sequential" in kinds and model._functional is None):
        raise errors.ModelError(
            f"Keras model {model.name!r} is not built: begin it with keras.Input(shape)"
        )
    if "Sequential" in kinds:
        return model._functional
    if "Functional" not in kinds:
        raise errors.UnsupportedError(
            f"Keras model {model.name!r} is a subclass of Model with code of its own; supported: "
            "Sequential and Functional models"
        )
    return model


def check_layers(model: Any, handlers: Mapping[str, Any]) -> list[str]:
    """What hls4ml writes in another way than the layers ask for, as notes.

    Args:
        model: as `built_model` gives it.
        handlers: hls4ml's readers by the full name of the layer class.

    Raises:
        UnsupportedError: layers or quantizers that cannot become firmware, all listed.
        MissingToolError: layers that need da4ml, which is not installed.
    """
    problems: list[str] = []
    combinational: list[str] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_functional"):
            problems.append(f"{layer.name} ({kind}): a model inside the model; call its layers")
        elif kind == "Concatenate" and len(layer.input) > 2:
            problems.append(
                f"{layer.name} (Concatenate): has {len(layer.input)} inputs; hls4ml joins two at a "
                "time, so put several behind one another"
            )
        elif module_path(layer).startswith("hgq.") and kind in COMBINATIONAL:
            combinational.append(f"{layer.name} ({kind})")
        elif not _has_reader(layer, handlers):
            problems.append(f"{layer.name} ({kind}): hls4ml has no reader for it")
        problems += [f"{layer.name} ({kind}): {text}" for text in _quantizer_problems(layer)]
    if problems:
        listing = "\n  ".join(problems)
        count = "1 layer" if len(problems) == 1 else f"{len(problems)} layers"
        known = {name.rpartition(".")[2] for name in handlers} - {"InputLayer"}
        raise errors.UnsupportedError(
            f"Keras model {model.name!r}: {count} cannot become firmware:\n  {listing}\n"
            f"Supported: {', '.join(sorted(known | KERAS_2_READERS | COMBINATIONAL))}."
        )
    if combinational and importlib.util.find_spec("da4ml") is None:
        raise errors.MissingToolError(
            f"Keras model {model.name!r}: hls4ml writes {', '.join(combinational)} through da4ml; "
            'install it: pip install "samebits[hgq,da]"'
        )
    return [f"{name}: written by da4ml as combinational logic" for name in combinational]


def _has_reader(layer: Any, handlers: Mapping[str, Any]) -> bool:
    path = module_path(layer)
    if path in handlers or type(layer).__name__ in handlers:
        return True
    return path.startswith("keras.") and type(layer).__name__ in KERAS_2_READERS


def data_quantizers(layer: Any) -> Iterator[Any]:
    """The HGQ2 quantizers of a layer, its own sublayers' included."""
    for part in layer._flatten_layers():
        if module_path(part) == "hgq.quantizer.quantizer.Quantizer":
            yield part


def _quantizer_problems(layer: Any) -> Iterator[str]:
    for quantizer in data_quantizers(layer):
        inner, config = quantizer.quantizer, quantizer.config
        kind = type(inner).__name__
        if not kind.startswith("FixedPointQuantizer"):
            if kind != "DummyQuantizer" or config.place == "datalane":
                yield f"its quantizer {quantizer.name} is a {kind}; supported: kbi, kif"
        elif inner.overflow_mode not in _OVERFLOW:
            yield (
                f"its quantizer {quantizer.name} has overflow {inner.overflow_mode}; supported: "
                f"{', '.join(_OVERFLOW)}"
            )
        elif quantizer.scaler is not None or quantizer.affine is not None:
            yield f"its quantizer {quantizer.name} has a scaler or affine, which hls4ml ignores"
