"""Dense layers, activations, normalisation, merging, quantizers: layers for tensors of any rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .fuzz_draw import OVERFLOWS, ROUNDINGS, Draw, Weights, parse_format
from .fuzz_kind import DoesNotFit, Kind, Layer, Options, Shape

__all__ = ["KINDS", "quantizer"]

_ACTIVATIONS = (
    *("relu", "relu", "sigmoid", "tanh", "softplus", "softsign", "elu", "selu"),
    *("relu1", "relu6", "binary_tanh", "ternary_tanh", "linear"),
)
_MERGES = ("add", "subtract", "multiply", "average", "maximum", "minimum")
_QUANTIZERS = ("binary1", "binary2", "ternary", "po2")


def quantizer(name: str | None) -> Any:
    """hls4ml's weight quantizer of a name; None for None."""
    from hls4ml.model.quantizers import (  # type: ignore[import-untyped]
        BinaryQuantizer,
        Quantizer,
        TernaryQuantizer,
    )
    from hls4ml.model.types import ExponentPrecisionType  # type: ignore[import-untyped]

    class PowerOfTwo(Quantizer):  # type: ignore[misc]
        """What QKerasPO2Quantizer does, without QKeras."""

        def __call__(self, data: Any) -> Any:
            exponent = np.rint(np.log2(np.maximum(np.abs(data), 1e-6)))
            return np.where(data < 0, -1.0, 1.0) * 2.0 ** np.clip(exponent, -6, 3)

    if name == "po2":
        return PowerOfTwo(5, ExponentPrecisionType(width=5, signed=True))
    if name == "ternary":
        return TernaryQuantizer()
    return None if name is None else BinaryQuantizer(bits=int(name[-1]))


def _draw_input(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    raise DoesNotFit


def _build_input(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    shape = list(options["shape"])
    return {"class_name": "InputLayer", "input_shape": shape}, tuple(shape)


def _draw_dense(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "n_out": draw.integer(1, 7),
        "bias": draw.chance(0.8),
        "quantizer": draw.choice(_QUANTIZERS) if draw.chance(0.15) else None,
    }


def _build_dense(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    n_in, n_out = shape[-1], options["n_out"]
    made = quantizer(options["quantizer"])
    layer = {
        "class_name": "Dense",
        "data_format": "channels_last",
        "n_in": n_in,
        "n_out": n_out,
        "weight_data": weights("weight", (n_in, n_out)),
        "bias_data": weights("bias", (n_out,)) if options["bias"] else None,
        "weight_quantizer": made,
        "bias_quantizer": quantizer("ternary") if options["quantizer"] == "ternary" else None,
    }
    return layer, (*shape[:-1], n_out)


def _draw_activation(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"activation": draw.choice(_ACTIVATIONS)}


def _build_activation(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    name = options["activation"]
    layer = {"class_name": "Activation", "activation": name, "n_in": math.prod(shape)}
    if name == "elu":
        layer |= {"class_name": "ELU", "activ_param": 1.0}
    if name == "ternary_tanh" and options.get("class"):
        layer |= {"class_name": "TernaryTanh", "threshold": options.get("threshold", 0.5)}
    if options.get("xnor"):
        from hls4ml.model.types import XnorPrecisionType

        layer["quantizer_precision"] = XnorPrecisionType()
    return layer, shape


def _table(draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]) -> None:
    if draw.chance(0.5):
        config["TableSize"] = draw.choice([64, 256, 512, 1024, 2048, 100])


def _draw_ternary(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "activation": "ternary_tanh",
        "class": True,
        "threshold": draw.choice([0.33, 0.5, 1.2]),
    }


def _draw_hard(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "activation": draw.choice(["hard_sigmoid", "hard_tanh"]),
        "slope": draw.choice([0.2, 0.5, 0.166]),
        "shift": 0.5,
        "formats": draw.chance(0.4),
    }


def _build_hard(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    from hls4ml.model.types import FixedPrecisionType

    layer = {
        "class_name": "HardActivation",
        "activation": options["activation"],
        "n_in": math.prod(shapes[0]),
        "slope": options["slope"],
        "shift": options["shift"],
    }
    if options["formats"]:  # as QKeras models have them
        layer["slope_prec"] = FixedPrecisionType(width=2, integer=0, signed=False)
        layer["shift_prec"] = FixedPrecisionType(width=2, integer=0, signed=False)
    return layer, shapes[0]


def _draw_parametrized(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "class": draw.choice(["LeakyReLU", "ThresholdedReLU", "ELU"]),
        "parameter": draw.number(),
    }


def _build_parametrized(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    layer = {
        "class_name": options["class"],
        "activation": options["class"],
        "n_in": math.prod(shapes[0]),
        "activ_param": options["parameter"],
    }
    return layer, shapes[0]


def _draw_nothing(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {}


def _build_prelu(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    layer = {
        "class_name": "PReLU",
        "activation": "prelu",
        "n_in": math.prod(shapes[0]),
        "param_data": weights("param", shapes[0]),
    }
    return layer, shapes[0]


def _draw_softmax(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    rank = len(shapes[0])
    inner = draw.integer(0, rank - 1) if draw.chance(0.4) and not draw.stream else rank - 1
    return {"axis": inner}


def _build_softmax(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    axis = options["axis"]
    if axis >= len(shape):
        raise DoesNotFit
    layer = {
        "class_name": "Softmax",
        "activation": "softmax",
        "n_in": math.prod(shape),
        "axis": -1 if axis == len(shape) - 1 else axis + 1,
        "n_outer": math.prod(shape[:axis]),
        "n_inner": math.prod(shape[axis + 1 :]),
    }
    return layer, shape


def _softmax_config(
    draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]
) -> None:
    if draw.chance(0.75):
        config["Implementation"] = draw.choice(["stable", "latency", "legacy", "argmax"])
    if draw.chance(0.5):
        config["TableSize"] = draw.choice([64, 256, 1024, 100])
    if draw.chance(0.3):
        config["exp_table_size"] = draw.choice([16, 64, 256])
        config["inv_table_size"] = draw.choice([16, 64, 256])
    if draw.chance(0.15):
        config["inp_norm_t"] = "u" + draw.format("value").lstrip("u")


def _draw_batchnorm(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"class": draw.choice(["BatchNormalization", "BatchNormalization", "ApplyAlpha"])}


def _build_batchnorm(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    count = shape[-1]
    scale = weights("scale", (count,))
    if options.get("nonzero"):
        scale = np.where(scale == 0, 1.0, scale)
    layer = {
        "class_name": options["class"],
        "n_in": math.prod(shape),
        "n_filt": -1 if len(shape) == 1 else count,
        "use_gamma": True,
        "use_beta": True,
        "epsilon": 1e-3,
        "scale_data": scale,
        "bias_data": weights("bias", (count,)),
    }
    return layer, shape


def _binary_tanh(draw: Draw) -> Sequence[tuple[str, Options]]:
    """Batch normalisation and a binary or ternary tanh, which hls4ml merges."""
    tanh = draw.choice(["binary_tanh", "ternary_tanh", "ternary"])
    activation: Options = {"activation": tanh}
    if tanh == "ternary":
        activation = {"activation": "ternary_tanh", "class": True, "threshold": 0.5}
    followers: list[tuple[str, Options]] = [("Activation", activation)]
    if draw.chance(0.5):
        weights = draw.choice(["binary1", "binary2", "ternary"])
        followers.append(("Dense", {"n_out": 3, "bias": False, "quantizer": weights}))
    return followers


def _draw_reshape(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    size = math.prod(shapes[0])
    if draw.chance(0.5):
        return {"shape": [size]}
    divisors = [d for d in range(2, size) if size % d == 0]
    if not divisors:
        raise DoesNotFit
    first = draw.choice(divisors)
    rest = [d for d in range(1, first + 1) if first % d == 0]
    second = draw.choice(rest)
    shape = [size // first, first] if draw.chance(0.5) else [size // first, first // second, second]
    return {"shape": shape}


def _build_reshape(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    shape = [int(size) for size in options["shape"]]
    if math.prod(shape) != math.prod(shapes[0]):
        if len(shape) != 1:
            raise DoesNotFit
        shape = [math.prod(shapes[0])]
    return {"class_name": "Reshape", "target_shape": shape}, tuple(shape)


def _merge_pairs(left: Shape, right: Shape, draw: Draw) -> bool:
    """Equal shapes; in io_parallel also a shorter one that repeats (`index % n_elem`)."""
    if left == right:
        return True
    longer = math.prod(left) >= math.prod(right)
    repeats = longer and len(right) <= len(left) and left[len(left) - len(right) :] == right
    return repeats and not draw.stream and draw.chance(0.2)


def _draw_merge(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"op": draw.choice(_MERGES)}


def _build_merge(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    left, right = shapes
    shape = right if math.prod(right) > math.prod(left) else left
    return {"class_name": "Merge", "op": options["op"]}, shape


def _concatenate_pairs(left: Shape, right: Shape, draw: Draw) -> bool:
    return len(left) == len(right) and sum(a != b for a, b in zip(left, right, strict=True)) <= 1


def _draw_concatenate(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    left, right = shapes
    different = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
    axis = different[0] if different else draw.integer(0, len(left) - 1)
    return {"axis": axis, "negative": draw.chance(0.3)}


def _build_concatenate(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    left, right = shapes
    axis = options["axis"]
    if axis >= len(left) or len(left) != len(right):
        raise DoesNotFit
    if any(a != b for i, (a, b) in enumerate(zip(left, right, strict=True)) if i != axis):
        raise DoesNotFit
    shape = list(left)
    shape[axis] += right[axis]
    layer = {
        "class_name": "Concatenate",
        "op": f"concatenate{len(left)}d",
        "axis": axis - len(left) if options["negative"] else axis + 1,
    }
    return layer, tuple(shape)


def _dot_pairs(left: Shape, right: Shape, draw: Draw) -> bool:
    return len(left) == 1 and left == right


def _build_dot(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    return {"class_name": "Dot", "op": "dot1d", "axes": 1}, (1,)


def _draw_quantizer(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {
        "rounding": draw.choice(ROUNDINGS),
        "overflow": draw.choice(OVERFLOWS),
        "per_element": draw.chance(0.7),
        "unsigned": draw.chance(0.3),
    }


def _build_quantizer(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    """HGQ's quantizer: keep_negative, bits (0 is a pruned element) and integer bits per element."""
    (shape,) = shapes
    rng = weights.rng("mask")
    size = (1, *shape) if options["per_element"] else (1,)
    signed = rng.integers(0, 2, size) if options["unsigned"] else np.ones(size, dtype=np.int64)
    bits = rng.integers(0 if options["per_element"] else 2, 10, size)
    integers = np.where(bits > 0, rng.integers(-1, 6, size), 0)
    layer = {
        "class_name": "FixedPointQuantizer",
        "mask_kbi": tuple(a.astype(np.int16) for a in (signed, bits, integers)),
        "RND": options["rounding"],
        "SAT": options["overflow"],
        "fusible": None,
        "overrides": {},
    }
    return layer, shape


def _draw_unary_lut(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"table": draw.format("table")}


def _build_unary_lut(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    """A table with one entry for every value of its input, which must be narrow."""
    from hls4ml.model.types import FixedPrecisionType

    signed, width, integer = parse_format(options["table"])
    layer = {
        "class_name": "UnaryLUT",
        "activation": "unary_lut",
        "table_t": FixedPrecisionType(width, integer, signed),
        "table_data": weights("table", (2 ** options.get("bits", 6),)),
    }
    return layer, shapes[0]


def _lut_source(draw: Draw) -> tuple[Shape, str]:
    signed = draw.choice(["", "u"])
    return (draw.integer(1, 10),), f"{signed}fixed<6,{draw.integer(0, 6)},RND,SAT,0>"


_TABLES = {"table_t": "table"}
_DENSE = {"result": "value", "weight": "weight", "bias": "weight", "accum": "accum"}

KINDS: dict[str, Kind] = {
    "Input": Kind(_draw_input, _build_input, weight=0),
    "Dense": Kind(
        _draw_dense,
        _build_dense,
        weight=3,
        precisions=_DENSE,
        strategies=True,
        compresses=True,
    ),
    "Activation": Kind(
        _draw_activation, _build_activation, weight=3, types=_TABLES, configure=_table
    ),
    "TernaryTanh": Kind(_draw_ternary, _build_activation, weight=0.4),
    "HardActivation": Kind(_draw_hard, _build_hard),
    "ParametrizedActivation": Kind(
        _draw_parametrized,
        _build_parametrized,
        precisions={"result": "value", "param": "weight"},
        types=_TABLES,
        configure=_table,
    ),
    "PReLU": Kind(
        _draw_nothing,
        _build_prelu,
        weight=0.7,
        precisions={"result": "value", "param": "weight"},
    ),
    "Softmax": Kind(
        _draw_softmax,
        _build_softmax,
        weight=1.5,
        types={
            "exp_table_t": "table",
            "inv_table_t": "table",
            "inv_inp_t": "table",
            "accum_t": "accum",
            "table_t": "table",
        },
        configure=_softmax_config,
    ),
    "BatchNormalization": Kind(
        _draw_batchnorm,
        _build_batchnorm,
        precisions={"result": "value", "scale": "weight", "bias": "weight"},
    ),
    "BinaryTanh": Kind(
        lambda draw, shapes: {"class": "BatchNormalization", "nonzero": True},
        _build_batchnorm,
        weight=0.7,
        precisions={"result": "value", "scale": "weight", "bias": "weight"},
        followers=_binary_tanh,
    ),
    "Reshape": Kind(_draw_reshape, _build_reshape, weight=0.8),
    "Merge": Kind(_draw_merge, _build_merge, arity=2, weight=1.5, pairs=_merge_pairs),
    "Concatenate": Kind(_draw_concatenate, _build_concatenate, arity=2, pairs=_concatenate_pairs),
    "Dot": Kind(
        _draw_nothing,
        _build_dot,
        arity=2,
        ranks=(1,),
        weight=0.7,
        streams=False,
        pairs=_dot_pairs,
        precisions={"result": "value", "accum": "accum"},
    ),
    "FixedPointQuantizer": Kind(_draw_quantizer, _build_quantizer, weight=0.4, streams=False),
    "UnaryLUT": Kind(_draw_unary_lut, _build_unary_lut, weight=0.4, source=_lut_source),
}
