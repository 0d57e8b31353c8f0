"""The networks whose speed `benchmarks/engines.py` measures, as converted hls4ml graphs.

Weights are random: speed does not depend on them. Shapes and formats are those of published trigger
networks, named at each function.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["NETWORKS", "Network", "float_network"]

Layer = dict[str, Any]
EIGHT_BITS = {"weight": "fixed<8,2>", "bias": "fixed<8,2>", "accum": "fixed<28,12>"}
RELU8 = {"result": "ufixed<8,3,RND_CONV,SAT>"}


@dataclass(frozen=True)
class Network:
    """A network, events at a time that suit the engines, and how many times as fast as the C
    simulation the NumPy engine must be (`wanted`)."""

    make: Callable[[], Any]
    events: int
    csim_events: int
    wanted: float
    about: str


def _rng() -> np.random.Generator:
    return np.random.default_rng(1)


def _convert(
    layers: Sequence[Layer],
    precisions: Mapping[str, Mapping[str, str]],
    default: str = "fixed<16,6>",
    outputs: Sequence[str] | None = None,
) -> Any:
    from hls4ml.model.graph import ModelGraph

    model = {"Precision": default, "ReuseFactor": 1, "Strategy": "Latency"}
    config = {
        "OutputDir": tempfile.mkdtemp(prefix="benchmark_"),
        "ProjectName": "myproject",
        "Backend": "Vitis",
        "Part": "xcvu13p-flga2577-2-e",
        "ClockPeriod": 5,
        "ClockUncertainty": "12.5%",
        "IOType": "io_parallel",
        "HLSConfig": {
            "Model": model,
            "LayerName": {name: {"Precision": dict(p)} for name, p in precisions.items()},
        },
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return ModelGraph.from_layer_list(config, list(layers), outputs=outputs)


def _input(*shape: int) -> Layer:
    return {"class_name": "Input", "name": "x", "input_shape": list(shape)}


def _activation(name: str, function: str, **more: Any) -> Layer:
    if function == "softmax":
        return {"class_name": "Softmax", "name": name, "activation": "softmax", "axis": -1, **more}
    return {"class_name": "Activation", "name": name, "activation": function, **more}


def _dense(name: str, n_in: int, n_out: int, **more: Any) -> Layer:
    rng = _rng()
    return {
        "class_name": "Dense",
        "name": name,
        "n_in": n_in,
        "n_out": n_out,
        "weight_data": rng.normal(size=(n_in, n_out)) / np.sqrt(n_in),
        "bias_data": rng.normal(size=n_out) / 10,
        **more,
    }


def _mlp(sizes: Sequence[int]) -> list[Layer]:
    layers = [_input(sizes[0])]
    for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers.append(_dense(f"dense{number}", n_in, n_out))
        last = number == len(sizes) - 2
        layers.append(_activation(f"act{number}", "softmax" if last else "relu"))
    return layers


def jet_tagger() -> Any:
    """16-64-32-32-5 with 6-bit weights and activations (Coelho et al., arXiv:2006.10159)."""
    six = {"weight": "fixed<6,1>", "bias": "fixed<6,1>", "accum": "fixed<24,9>"}
    relu6 = {"result": "ufixed<6,2,RND_CONV,SAT>"}
    precisions = {"x": {"result": "fixed<16,6>"}}
    for number in range(4):
        precisions[f"dense{number}"] = {**six, "result": "fixed<24,9>"}
        if number < 3:
            precisions[f"act{number}"] = relu6
    return _convert(_mlp([16, 64, 32, 32, 5]), precisions)


def default_precision() -> Any:
    """The same network with hls4ml's default ap_fixed<16,6> everywhere: products are truncated."""
    return _convert(_mlp([16, 64, 32, 32, 5]), {})


def _conv2d(name: str, size: int, channels: int, filters: int) -> Layer:
    rng = _rng()
    return {
        "class_name": "Conv2D",
        "name": name,
        "data_format": "channels_last",
        "in_height": size,
        "in_width": size,
        "n_chan": channels,
        "filt_height": 3,
        "filt_width": 3,
        "n_filt": filters,
        "stride_height": 1,
        "stride_width": 1,
        "padding": "valid",
        "pad_top": 0,
        "pad_bottom": 0,
        "pad_left": 0,
        "pad_right": 0,
        "out_height": size - 2,
        "out_width": size - 2,
        "dilation_height": 1,
        "dilation_width": 1,
        "weight_data": rng.normal(size=(3, 3, channels, filters)) / np.sqrt(9 * channels),
        "bias_data": rng.normal(size=filters) / 10,
    }


def _max_pool(name: str, size: int, channels: int) -> Layer:
    return {
        "class_name": "MaxPooling2D",
        "name": name,
        "data_format": "channels_last",
        "in_height": size,
        "in_width": size,
        "n_filt": channels,
        "pool_height": 2,
        "pool_width": 2,
        "stride_height": 2,
        "stride_width": 2,
        "padding": "valid",
        "pad_top": 0,
        "pad_bottom": 0,
        "pad_left": 0,
        "pad_right": 0,
        "out_height": size // 2,
        "out_width": size // 2,
        "count_pad": False,
    }


def svhn_cnn() -> Any:
    """8-bit convolutional network for 32x32x3 images (Aarrestad et al., arXiv:2101.05108)."""
    layers, precisions, size, channels = [_input(32, 32, 3)], {}, 32, 3
    precisions["x"] = {"result": "ufixed<8,0>"}
    for number, filters in enumerate((16, 16, 24)):
        layers += [
            _conv2d(f"conv{number}", size, channels, filters),
            _activation(f"conv_act{number}", "relu"),
            _max_pool(f"pool{number}", size - 2, filters),
        ]
        precisions[f"conv{number}"] = {**EIGHT_BITS, "result": "fixed<28,12>"}
        precisions[f"conv_act{number}"] = RELU8
        precisions[f"pool{number}"] = RELU8
        size, channels = (size - 2) // 2, filters
    flat = size * size * channels
    layers.append({"class_name": "Reshape", "name": "flatten", "target_shape": [flat]})
    for number, (n_in, n_out) in enumerate(((flat, 42), (42, 64), (64, 10))):
        layers.append(_dense(f"dense{number}", n_in, n_out))
        precisions[f"dense{number}"] = {**EIGHT_BITS, "result": "fixed<28,12>"}
        last = number == 2
        layers.append(_activation(f"act{number}", "softmax" if last else "relu"))
        if not last:
            precisions[f"act{number}"] = RELU8
    return _convert(layers, precisions)


def lstm() -> Any:
    """LSTM over 20 steps of 6 features with 20 units (Khoda et al., arXiv:2207.00559)."""
    rng, steps, features, units = _rng(), 20, 6, 20
    layer = {
        "class_name": "LSTM",
        "name": "lstm",
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "n_timesteps": steps,
        "n_in": features,
        "n_out": units,
        "return_sequences": False,
        "return_state": False,
        "time_major": False,
        "pytorch": False,
        "weight_data": rng.normal(size=(features, 4 * units)) / 3,
        "recurrent_weight_data": rng.normal(size=(units, 4 * units)) / 5,
        "bias_data": rng.normal(size=4 * units) / 10,
        "recurrent_bias_data": np.zeros(4 * units),
        "direction": "forward",
    }
    dense = _dense("dense", units, 5)
    return _convert([_input(steps, features), layer, dense, _activation("act", "softmax")], {})


def _pointwise(name: str, count: int, n_in: int, n_out: int) -> Layer:
    rng = _rng()
    return {
        "class_name": "Conv1D",
        "name": name,
        "data_format": "channels_last",
        "in_width": count,
        "n_chan": n_in,
        "filt_width": 1,
        "n_filt": n_out,
        "stride_width": 1,
        "padding": "valid",
        "pad_left": 0,
        "pad_right": 0,
        "out_width": count,
        "dilation_width": 1,
        "weight_data": rng.normal(size=(1, n_in, n_out)) / np.sqrt(n_in),
        "bias_data": rng.normal(size=n_out) / 10,
    }


def deep_set() -> Any:
    """8-bit deep set on 32 constituents of 3 features (Odagiu et al., arXiv:2402.01876)."""
    count, precisions = 32, {"x": {"result": "fixed<16,6>"}}
    layers, channels = [_input(count, 3)], 3
    for number in range(3):
        layers += [
            _pointwise(f"phi{number}", count, channels, 32),
            _activation(f"p{number}", "relu"),
        ]
        precisions[f"phi{number}"] = {**EIGHT_BITS, "result": "fixed<28,12>"}
        precisions[f"p{number}"] = RELU8
        channels = 32
    layers.append(
        {
            "class_name": "GlobalAveragePooling1D",
            "name": "mean",
            "data_format": "channels_last",
            "n_in": count,
            "n_filt": 32,
            "keepdims": False,
        }
    )
    precisions["mean"] = {"accum": "ufixed<16,8>", "result": "ufixed<8,3,RND_CONV,SAT>"}
    for number, (n_in, n_out) in enumerate(((32, 32), (32, 5))):
        layers.append(_dense(f"rho{number}", n_in, n_out))
        precisions[f"rho{number}"] = {**EIGHT_BITS, "result": "fixed<28,12>"}
        layers.append(_activation(f"r{number}", "softmax" if number else "relu"))
        if not number:
            precisions[f"r{number}"] = RELU8
    return _convert(layers, precisions)


def attention() -> Any:
    """Two heads of self-attention over 16 constituents of 16 features, 8 bits."""
    count, width, heads, depth = 16, 16, 2, 8
    rng = _rng()
    precisions: dict[str, dict[str, str]] = {"x": {"result": "fixed<8,3,RND,SAT>"}}

    def projection(
        name: str, source: str, equation: str, shapes: Sequence[tuple[int, ...]]
    ) -> Layer:
        precisions[name] = {**EIGHT_BITS, "result": "fixed<8,3,RND,SAT>"}
        given, kernel, out = shapes
        return {
            "class_name": "EinsumDense",
            "name": name,
            "inputs": [source],
            "equation": equation,
            "inp_shape": given,
            "out_shape": out,
            "weight_data": rng.normal(size=kernel) / 4,
            "bias_data": np.zeros(out),
        }

    layers = [_input(count, width)]
    for name in ("query", "key", "value"):
        shapes = (count, width), (width, heads, depth), (count, heads, depth)
        layers.append(projection(name, "x", "td,dhk->thk", shapes))
    precisions["scores"] = {"accum": "fixed<24,12>", "result": "fixed<8,4,RND,SAT>"}
    layers.append(
        {
            "class_name": "Einsum",
            "name": "scores",
            "inputs": ["query", "key"],
            "equation": "thk,shk->hts",
            "inp0_shape": (count, heads, depth),
            "inp1_shape": (count, heads, depth),
            "out_shape": (heads, count, count),
        }
    )
    sizes = {"n_in": heads * count * count, "n_outer": heads * count, "n_inner": 1}
    layers.append(_activation("weights", "softmax", inputs=["scores"], **sizes))
    precisions["weights"] = {"result": "ufixed<8,1,RND,SAT>"}
    precisions["mixed"] = {"accum": "fixed<24,12>", "result": "fixed<8,3,RND,SAT>"}
    layers.append(
        {
            "class_name": "Einsum",
            "name": "mixed",
            "inputs": ["weights", "value"],
            "equation": "hts,shk->thk",
            "inp0_shape": (heads, count, count),
            "inp1_shape": (count, heads, depth),
            "out_shape": (count, heads, depth),
        }
    )
    shapes = (count, heads, depth), (heads, depth, width), (count, width)
    layers.append(projection("out", "mixed", "thk,hkd->td", shapes))
    return _convert(layers, precisions)


NETWORKS = {
    "jet tagger, 6 bits": Network(jet_tagger, 100_000, 20_000, 150, "16-64-32-32-5"),
    "the same, ap_fixed<16,6>": Network(default_precision, 100_000, 20_000, 20, "16-64-32-32-5"),
    "SVHN CNN, 8 bits": Network(svhn_cnn, 1_000, 100, 30, "3 conv, 3 dense, 32x32x3"),
    "LSTM": Network(lstm, 20_000, 5_000, 30, "20 x 6 -> 20"),
    "deep set, 8 bits": Network(deep_set, 20_000, 2_000, 30, "32 x 3"),
    "attention, 8 bits": Network(attention, 10_000, 2_000, 30, "2 heads, 16 x 16"),
}


def float_network(sizes: Sequence[int]) -> bytes:
    """A float32 ONNX network of dense layers with random weights: Gemm, Relu, Softmax."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, initializers, value = [], [], "x"
    for number, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        if number:
            nodes.append(helper.make_node("Relu", [value], [f"r{number}"]))
            value = f"r{number}"
        for name, shape in ((f"w{number}", (n_in, n_out)), (f"b{number}", (n_out,))):
            values = rng.normal(size=shape).astype(np.float32)
            initializers.append(numpy_helper.from_array(values, name))
        nodes.append(helper.make_node("Gemm", [value, f"w{number}", f"b{number}"], [f"g{number}"]))
        value = f"g{number}"
    nodes.append(helper.make_node("Softmax", [value], ["y"]))
    graph = helper.make_graph(
        nodes,
        "float32",
        [helper.make_tensor_value_info("x", 1, ["N", sizes[0]])],
        [helper.make_tensor_value_info("y", 1, ["N", sizes[-1]])],
        initializers,
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    ).SerializeToString()
    onnx.checker.check_model(made)
    return made
