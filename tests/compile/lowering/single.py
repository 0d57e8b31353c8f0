"""Networks of one layer, converted by hls4ml; what its kernel computes and what samebits does."""

import contextlib
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from hls4ml.model.graph import ModelGraph
from hls4ml.model.types import ExponentPrecisionType, IntegerPrecisionType, XnorPrecisionType
from hls4ml.utils.config import create_config

from samebits.compile.ir import Format
from samebits.compile.lowering import lower
from samebits.compile.lowering.precision import format_of
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine

from ...oracle import cast, lsb
from . import kernels

EVENTS = 4
TYPES = {"weight": "fixed<6,2>", "bias": "fixed<6,2>", "result": "fixed<12,5,RND,SAT>"}
SATURATED = "fixed<7,3,RND_CONV,SAT>"


class Powers:
    """A quantizer to powers of two, as hls4ml's converters give it to a layer."""

    def __init__(self, bits: int) -> None:
        self.bits, self.hls_type = bits, ExponentPrecisionType(width=bits, signed=True)

    def __call__(self, data: Any) -> Any:
        limit = 2 ** (self.bits - 1)
        exponents = np.clip(np.rint(np.log2(np.abs(data))), -limit, limit - 1)
        return np.where(data < 0, -1.0, 1.0) * 2.0**exponents


@dataclass
class Single:
    """One layer of a network: hls4ml's attributes of it, and how it is configured."""

    attributes: dict[str, Any]
    shape: tuple[int, ...]
    backend: str = "Vitis"
    io_type: str = "io_parallel"
    strategy: str = "Latency"
    reuse: int = 1
    accum: str = SATURATED
    data: Any = "fixed<6,3>"
    options: dict[str, Any] = field(default_factory=dict)
    tweak: Callable[[Any], None] = lambda layer: None

    def model(self) -> Any:
        """The converted graph; `tweak` changes its layer as no configuration would."""
        config = create_config(
            output_dir="never_written",
            project_name="net",
            backend=self.backend,
            part="xcvu13p-flga2577-2-e",
            clock_period=5,
            io_type=self.io_type,
        )
        layer = {"Precision": TYPES | {"accum": self.accum}} | self.options
        layer |= {"Strategy": self.strategy, "ReuseFactor": self.reuse}
        config["HLSConfig"] = {
            "Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1},
            "LayerName": {"x": {"Precision": {"result": self.data}}, "layer": layer},
        }
        layers = [
            {"name": "x", "class_name": "InputLayer", "input_shape": list(self.shape)},
            {"name": "layer", "inputs": ["x"]} | self.attributes,
        ]
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hls4ml sets the strategy of pointwise layers twice
            model = ModelGraph.from_layer_list(config, layers, ["x"], ["layer"])
        self.tweak(self.layer(model))
        return model

    @staticmethod
    def layer(model: Any) -> Any:
        return next(layer for layer in model.get_layers() if layer.name == "layer")

    def check(self, rng: np.random.Generator) -> None:
        """Every output of the lowered and of the simplified graph is the kernel's."""
        model = self.model()
        layer = self.layer(model)
        graph = lower(model)
        fmt = graph.tensors[graph.inputs[0]].format
        mantissas = rng.integers(
            fmt.min_mantissa, fmt.max_mantissa, (EVENTS, *self.shape), endpoint=True
        )
        wanted = [_kernel(self, layer, event, fmt) for event in mantissas]
        values = mantissas * float(lsb(fmt))
        for each in (graph, simplify(graph)):
            (got,) = NumpyEngine(each).run([values], each.outputs)
            assert got.reshape(EVENTS, -1).tolist() == wanted


def _kernel(single: Single, layer: Any, mantissas: Any, fmt: Format) -> list[float]:
    accum_format = format_of(layer.get_attr("accum_t").precision, "accum")
    variable = layer.weights["weight"]
    biases = [Fraction(float(b)) for b in np.asarray(layer.weights["bias"].data).flat]
    data_type, weight_type = layer.get_input_variable().type.precision, variable.type.precision

    def accum(x: Fraction) -> Fraction:
        return cast(x, accum_format) * lsb(accum_format)

    product = _product(data_type, weight_type, fmt)
    weights = [Fraction(float(w)) for w in np.asarray(variable.data).flat]
    depthwise = "Depthwise" in layer.class_name
    kernel = kernels.depthwise_latency if depthwise else kernels.dense_latency
    more: dict[str, Any] = {}
    if layer.get_attr("strategy") != "latency":
        kernel = kernels.depthwise_resource if depthwise else kernels.dense_resource
        more = {"reuse": int(layer.get_attr("reuse_factor"))}
        dispatched = single.backend == "Vitis" and layer.class_name == "Dense"
        if layer.get_attr("strategy") == "resource_unrolled" and not (
            dispatched and single.io_type == "io_stream"
        ):
            more["unrolled"] = True
    elements = (mantissas.astype(object) * lsb(fmt)).tolist()
    windows = [elements] if layer.class_name == "Dense" else _windows(single, layer, elements)
    result = format_of(layer.get_output_variable().type.precision, "result")
    out = []
    for window in windows[: int(np.prod(layer.get_output_variable().shape)) // len(biases)]:
        for total in kernel(window, weights, biases, accum, product, **more):
            if str(data_type) == str(weight_type) == "uint<1>":
                # the size that hls4ml wrote for this kernel, which is not always that of the window
                (n_in, *_) = re.findall(r"n_in = (\d+);", layer.get_attr("config_cpp"))
                total = _counted(total, int(n_in))
            out.append(float(cast(total, result) * lsb(result)))
    return out


def _counted(total: Fraction, n_in: int) -> Fraction:
    """nnet_mult.h, `cast`."""
    width = 1
    while (1 << width) < n_in:
        width += 1
    fmt = format_of(IntegerPrecisionType(width + 2), "count")
    return cast(total * 2 - n_in, fmt) * lsb(fmt)


def _product(data_type: Any, weight_type: Any, data: Format) -> kernels.Product:
    """nnet_mult.h; weights are what the weight's variable holds."""
    xnor_data = isinstance(data_type, XnorPrecisionType)
    xnor_weight = isinstance(weight_type, XnorPrecisionType)
    if isinstance(weight_type, ExponentPrecisionType):
        width = weight_type.width + data.width
        wide = Format(True, 2 * width, width)

        def power(a: Fraction, w: Fraction) -> Fraction:
            y = cast(cast(a, wide) * lsb(wide) * abs(w), wide) * lsb(wide)
            return y if w > 0 else cast(-y, wide) * lsb(wide)

        return power
    if xnor_data and xnor_weight:
        return lambda a, w: Fraction(a == w)
    if xnor_weight:
        return lambda a, w: -a if w == 0 else a
    if xnor_data:
        return lambda a, w: -w if a == 0 else w
    if isinstance(weight_type, IntegerPrecisionType) and weight_type.width == 2:
        return lambda a, w: Fraction(0) if w == 0 else -a if w == -1 else a
    return lambda a, w: a * w


def _windows(single: Single, layer: Any, elements: Any) -> list[kernels.Window]:
    flat = "1D" in layer.class_name

    def pair(name: str, default: int = 1) -> tuple[int, int]:
        vertical = default if flat else int(layer.get_attr(f"{name}_height"))
        return vertical, int(layer.get_attr(f"{name}_width"))

    image = [elements] if flat else elements
    filt, stride = pair("filt"), pair("stride")
    names = ("left", "right") if flat else ("top", "bottom", "left", "right")
    pads = [int(single.attributes.get(f"pad_{name}", 0)) for name in names]
    top, bottom, left, right = [0, 0, *pads] if flat else pads
    if single.io_type == "io_parallel":
        return kernels.im2col(image, filt, stride, (top, bottom, left, right))
    # hls4ml puts a layer in front that pads
    zero = [Fraction(0)] * len(image[0][0])
    wide = [[zero] * left + list(line) + [zero] * right for line in image]
    empty = [zero] * len(wide[0])
    image = [empty] * top + wide + [empty] * bottom
    if "Pointwise" in layer.class_name:
        return kernels.pointwise_stream(image, stride)
    if layer.get_attr("implementation") == "encoded":
        words = [int(word) for word in layer.get_attr("instructions").split(",")]
        return kernels.encoded(image, filt, stride, words, pair("min"))
    return kernels.line_buffer(image, filt, stride)


def dense(rng: np.random.Generator, n_in: int, n_out: int, **more: Any) -> dict[str, Any]:
    """The attributes of a Dense layer."""
    shapes = {"class_name": "Dense", "n_in": n_in, "n_out": n_out}
    return shapes | {"weight_data": grid(rng, n_in, n_out), "bias_data": grid(rng, n_out)} | more


def conv(
    rng: np.random.Generator,
    kind: str,
    shape: tuple[int, ...],
    filters: int,
    filt: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    pads: tuple[int, ...] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The attributes of a convolution; pads: (top, bottom, left, right) or (left, right)."""
    directions = ("width",) if kind.endswith("1D") else ("height", "width")
    sides = ("left", "right") if kind.endswith("1D") else ("top", "bottom", "left", "right")
    stride, pads = stride or (1,) * len(filt), pads or (0,) * len(sides)
    *size, n_chan = shape
    out: dict[str, Any] = {"class_name": kind, "n_chan": n_chan, "n_filt": filters}
    out |= {"data_format": "channels_last", "bias_data": grid(rng, filters)}
    for axis, name in enumerate(directions):
        padded = size[axis] + pads[2 * axis] + pads[2 * axis + 1]
        out[f"in_{name}"], out[f"filt_{name}"] = size[axis], filt[axis]
        out[f"stride_{name}"] = stride[axis]
        out[f"out_{name}"] = (padded - filt[axis]) // stride[axis] + 1
    out |= {f"pad_{side}": pad for side, pad in zip(sides, pads, strict=True)}
    if kind.startswith("Depthwise"):
        out |= {"depthwise_data": grid(rng, *filt, n_chan, 1), "depth_multiplier": 1}
    else:
        out["weight_data"] = grid(rng, *filt, n_chan, filters)
    return out | more


def grid(rng: np.random.Generator, *shape: int) -> Any:
    """Weights that fixed<6,2> holds, some of them zero."""
    return rng.integers(-32, 32, shape) * rng.integers(0, 3, shape).clip(0, 1) / 16
