"""Convolution, pooling, padding, cropping, resizing, transposition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .fuzz_draw import Draw, Weights
from .fuzz_kind import DoesNotFit, Kind, Layer, Options, Shape, same_padding
from .fuzz_layers_basic import quantizer

__all__ = ["KINDS"]

_AXES = {1: ("width",), 2: ("height", "width")}
_SIDES = {"height": ("top", "bottom"), "width": ("left", "right")}


def _windows(draw: Draw, sizes: Shape, largest: int) -> dict[str, Any]:
    window = [draw.integer(1, min(largest, size)) for size in sizes]
    return {"window": window, "stride": [draw.choice([1, 1, 2, 3]) for _ in sizes]}


def _sliding(options: Options, sizes: Shape, prefix: str) -> tuple[dict[str, Any], list[int]]:
    """Sizes, strides and padding of a sliding window; the output's sizes."""
    layer: dict[str, Any] = {}
    out = []
    for axis, size, window, stride in zip(
        _AXES[len(sizes)], sizes, options["window"], options["stride"], strict=True
    ):
        n_out, before, after = same_padding(options["padding"], size, stride, window)
        layer |= {f"in_{axis}": size, f"out_{axis}": n_out}
        layer |= {f"{prefix}_{axis}": window, f"stride_{axis}": stride}
        layer |= {
            f"pad_{side}": pad for side, pad in zip(_SIDES[axis], (before, after), strict=True)
        }
        out.append(n_out)
    return layer, out


def _draw_conv(rank: int, kind: str) -> Callable[[Draw, list[Shape]], dict[str, Any]]:
    def draw_conv(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
        sizes, channels = shapes[0][:-1], shapes[0][-1]
        padding = ["valid", "same"] if rank == 2 else ["valid", "same", "causal"]
        options = _windows(draw, sizes, 3) | {"padding": draw.choice(padding)}
        if draw.chance(0.15):  # a pointwise convolution
            options |= {"window": [1] * rank, "stride": [1] * rank, "padding": "valid"}
        multiplier = 2 if draw.chance(0.1) else 1
        filters = channels * multiplier if kind == "Depthwise" else draw.integer(1, 4)
        quantized = draw.choice(["binary2", "ternary", "po2"]) if draw.chance(0.08) else None
        return options | {
            "filters": filters,
            "multiplier": multiplier if kind != "" else 1,
            "depthwise": kind != "",
            "bias": draw.chance(0.7),
            "quantizer": quantized if kind == "" else None,
        }

    return draw_conv


def _build_conv(rank: int, kind: str) -> Callable[[Options, list[Shape], Weights], Layer]:
    def build_conv(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
        sizes, channels = shapes[0][:-1], shapes[0][-1]
        if len(sizes) != rank:
            raise DoesNotFit
        layer, out = _sliding(options, sizes, "filt")
        window, multiplier = tuple(options["window"]), options["multiplier"]
        filters = channels * multiplier if kind == "Depthwise" else options["filters"]
        layer |= {
            "class_name": f"{kind}Conv{rank}D",
            "data_format": "channels_last",
            "n_chan": channels,
            "n_filt": filters,
            "bias_data": weights("bias", (filters,)) if options["bias"] else None,
        }
        if kind:
            layer["depth_multiplier"] = multiplier
            layer["depthwise_data"] = weights(
                "weight" if kind == "Depthwise" else "depthwise", (*window, channels, multiplier)
            )
            layer["depthwise_quantizer"] = layer["pointwise_quantizer"] = None
        else:
            layer["weight_data"] = weights("weight", (*window, channels, filters))
            layer["weight_quantizer"] = quantizer(options["quantizer"])
            layer["bias_quantizer"] = None
        if kind == "Separable":
            one = (1,) * rank
            layer["pointwise_data"] = weights("pointwise", (*one, channels * multiplier, filters))
        return layer, (*out, filters)

    return build_conv


def _conv_config(
    draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]
) -> None:
    if draw.stream and draw.chance(0.35):
        config["ConvImplementation"] = "Encoded"
    if draw.chance(0.25):
        config["ParallelizationFactor"] = draw.choice([2, 3, 4, 6])
    if config["Strategy"] != "Latency" and not draw.stream and draw.chance(0.9):
        # What the kernels assert: larger reuse factors, and resource for depthwise layers, abort.
        if options["depthwise"]:
            config["Strategy"] = "Latency"
        config["ReuseFactor"] = draw.choice([1, 1, 2, 3, 4])


def _pool_config(
    draw: Draw, options: Options, config: dict[str, Any], inputs: Sequence[str]
) -> None:
    if draw.stream and draw.backend == "Vivado" and draw.chance(0.35):
        config["ConvImplementation"] = "Encoded"


def _draw_pooling(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    options = _windows(draw, shapes[0][:-1], 3)
    if draw.chance(0.5):  # Keras's default
        options["stride"] = list(options["window"])
    first = not draw.stream and len(shapes[0]) == 3 and draw.chance(0.08)
    return options | {
        "op": draw.choice(["Max", "Average"]),
        # io_stream asserts that nothing is padded
        "padding": "same" if draw.chance(0.05 if draw.stream else 0.4) else "valid",
        "count_pad": draw.chance(0.3),
        "first": first,
    }


def _build_pooling(rank: int) -> Callable[[Options, list[Shape], Weights], Layer]:
    def build_pooling(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
        (shape,) = shapes
        sizes, channels = (shape[1:], shape[0]) if options["first"] else (shape[:-1], shape[-1])
        if len(sizes) != rank:
            raise DoesNotFit
        layer, out = _sliding(options, sizes, "pool")
        if rank == 1:
            layer |= {"n_in": layer.pop("in_width"), "n_out": layer.pop("out_width")}
        layer |= {
            "class_name": f"{options['op']}Pooling{rank}D",
            "data_format": "channels_first" if options["first"] else "channels_last",
            "n_filt": channels,
            "count_pad": options["count_pad"],
        }
        return layer, (channels, *out) if options["first"] else (*out, channels)

    return build_pooling


def _draw_global(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"op": draw.choice(["Max", "Average"])}


def _build_global(rank: int) -> Callable[[Options, list[Shape], Weights], Layer]:
    def build_global(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
        sizes, channels = shapes[0][:-1], shapes[0][-1]
        if len(sizes) != rank:
            raise DoesNotFit
        names = ("n_in",) if rank == 1 else ("in_height", "in_width")
        layer = {
            "class_name": f"Global{options['op']}Pooling{rank}D",
            "data_format": "channels_last",
            "n_filt": channels,
            "keepdims": False,
            **dict(zip(names, sizes, strict=True)),
        }
        return layer, (channels,)

    return build_global


def _draw_sides(rank: int) -> Callable[[Draw, list[Shape]], dict[str, Any]]:
    def draw_sides(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
        return {"sides": [[draw.integer(0, 2), draw.integer(0, 2)] for _ in range(rank)]}

    return draw_sides


def _build_sides(rank: int, crop: bool) -> Callable[[Options, list[Shape], Weights], Layer]:
    def build_sides(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
        sizes, channels = shapes[0][:-1], shapes[0][-1]
        if len(sizes) != rank:
            raise DoesNotFit
        layer: dict[str, Any] = {
            "class_name": f"{'Cropping' if crop else 'ZeroPadding'}{rank}D",
            "data_format": "channels_last",
            "n_chan": channels,
        }
        out = []
        for axis, size, pads in zip(_AXES[rank], sizes, options["sides"], strict=True):
            n_out = size - sum(pads) if crop else size + sum(pads)
            if n_out < 1:
                raise DoesNotFit
            what = "crop" if crop else "pad"
            layer |= {f"{what}_{s}": pad for s, pad in zip(_SIDES[axis], pads, strict=True)}
            layer |= {f"in_{axis}": size, f"out_{axis}": n_out}
            out.append(n_out)
        return layer, (*out, channels)

    return build_sides


def _draw_upsampling(rank: int) -> Callable[[Draw, list[Shape]], dict[str, Any]]:
    def draw_upsampling(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
        return {"factors": [draw.integer(1, 3) for _ in range(rank)]}

    return draw_upsampling


def _build_upsampling(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    sizes, channels = shapes[0][:-1], shapes[0][-1]
    factors = options["factors"]
    rank = len(factors)
    if len(sizes) != rank:
        raise DoesNotFit
    layer: dict[str, Any] = {
        "class_name": f"UpSampling{rank}D",
        "data_format": "channels_last",
        "algorithm": "nearest",
        "n_chan": channels,
        "in_height": 1,
        "out_height": 1,
    }
    out = []
    for axis, size, factor in zip(_AXES[rank], sizes, factors, strict=True):
        layer |= {f"in_{axis}": size, f"out_{axis}": size * factor, f"{axis}_factor": factor}
        out.append(size * factor)
    return layer, (*out, channels)


def _draw_transpose(draw: Draw, shapes: list[Shape]) -> dict[str, Any]:
    return {"perm": [int(i) for i in draw.rng.permutation(len(shapes[0]))]}


def _build_transpose(options: Options, shapes: list[Shape], weights: Weights) -> Layer:
    (shape,) = shapes
    perm = options["perm"]
    if len(perm) != len(shape):
        raise DoesNotFit
    return {"class_name": "Transpose", "perm": list(perm)}, tuple(shape[i] for i in perm)


_CONV = {"result": "value", "weight": "weight", "bias": "weight", "accum": "accum"}
_SEPARABLE = {
    **{"result": "value", "depthwise": "weight", "pointwise": "weight", "bias": "weight"},
    **{"depthwise_accum": "accum", "pointwise_accum": "accum", "depthwise_result": "value"},
    **{"dw_output": "value"},
}
_POOL = {"result": "value", "accum": "accum"}


def _conv_kind(rank: int, kind: str, weight: float) -> Kind:
    return Kind(
        _draw_conv(rank, kind),
        _build_conv(rank, kind),
        ranks=(rank + 1,),
        weight=weight,
        precisions=_SEPARABLE if kind == "Separable" else _CONV,
        strategies=True,
        configure=_conv_config,
    )


KINDS: dict[str, Kind] = {
    "Conv1D": _conv_kind(1, "", 2),
    "Conv2D": _conv_kind(2, "", 2),
    "DepthwiseConv1D": _conv_kind(1, "Depthwise", 0.7),
    "DepthwiseConv2D": _conv_kind(2, "Depthwise", 0.8),
    "SeparableConv1D": _conv_kind(1, "Separable", 0.7),
    "SeparableConv2D": _conv_kind(2, "Separable", 0.7),
    **{
        f"Pooling{rank}D": Kind(
            _draw_pooling,
            _build_pooling(rank),
            ranks=(rank + 1,),
            precisions=_POOL,
            configure=_pool_config,
        )
        for rank in (1, 2)
    },
    **{
        f"GlobalPooling{rank}D": Kind(
            _draw_global, _build_global(rank), ranks=(rank + 1,), weight=0.8, precisions=_POOL
        )
        for rank in (1, 2)
    },
    **{
        f"ZeroPadding{rank}D": Kind(
            _draw_sides(rank), _build_sides(rank, crop=False), ranks=(rank + 1,), weight=0.5
        )
        for rank in (1, 2)
    },
    **{
        f"Cropping{rank}D": Kind(
            _draw_sides(rank), _build_sides(rank, crop=True), ranks=(rank + 1,), weight=0.5
        )
        for rank in (1, 2)
    },
    **{
        f"UpSampling{rank}D": Kind(
            _draw_upsampling(rank), _build_upsampling, ranks=(rank + 1,), weight=0.5
        )
        for rank in (1, 2)
    },
    "Transpose": Kind(_draw_transpose, _build_transpose, ranks=(2, 3), weight=0.7),
}
