"""Small converted hls4ml ModelGraphs from layer lists; C simulations and RTL written by hand."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from samebits.firmware.rtl import Rtl


def convert(
    layers: list[dict[str, Any]],
    inputs: list[str],
    outputs: list[str],
    backend: str = "Vitis",
    io_type: str = "io_parallel",
    precision: str = "fixed<16,6>",
    layer_config: dict[str, Any] | None = None,
) -> Any:
    """The converted ModelGraph of a layer list."""
    from hls4ml.model.graph import ModelGraph
    from hls4ml.utils.config import create_config

    config = create_config(
        output_dir="never_written",
        project_name="net",
        backend=backend,
        part="xcvu13p-flga2577-2-e",
        clock_period=4,
        io_type=io_type,
    )
    config["HLSConfig"] = {"Model": {"Precision": precision, "ReuseFactor": 1}}
    config["HLSConfig"]["LayerName"] = layer_config or {}
    with contextlib.redirect_stdout(io.StringIO()):
        return ModelGraph.from_layer_list(config, layers, inputs, outputs)


def classifier(backend: str = "Vitis", io_type: str = "io_parallel") -> Any:
    """4 inputs, Dense 6, ReLU, Dense 3, softmax; weights on a grid of 1/16."""
    rng = np.random.default_rng(20)

    def grid(*shape: int) -> Any:
        return np.round(16 * rng.normal(size=shape)) / 16

    return convert(
        [
            {"name": "x", "class_name": "InputLayer", "input_shape": [4]},
            _dense("fc1", "x", grid(4, 6), grid(6)),
            {"name": "relu1", "class_name": "Activation", "activation": "relu", "n_in": 6},
            _dense("fc2", "relu1", grid(6, 3), grid(3)),
            {"name": "softmax", "class_name": "Softmax", "activation": "softmax", "n_in": 3}
            | {"axis": -1},
        ],
        ["x"],
        ["softmax"],
        backend,
        io_type,
    )


def named(first: str, relu: str, last: str) -> Any:
    """Dense, ReLU and Dense layers of two elements with these names."""
    ones = np.ones((2, 2))
    layers = [
        {"name": "in", "class_name": "InputLayer", "input_shape": [2]},
        _dense(first, "in", ones, ones[0]),
        {"name": relu, "class_name": "Activation", "activation": "relu", "n_in": 2},
        _dense(last, relu, ones, ones[0]),
    ]
    return convert(layers, ["in"], [last])


def sum_and_difference(io_type: str = "io_parallel") -> Any:
    """Inputs a, b (3 each); outputs a - b, a + b in this order; in streams each input is cloned."""
    layers: list[dict[str, Any]] = [
        {"name": name, "class_name": "InputLayer", "input_shape": [3]} for name in ("a", "b")
    ]
    for name, op in (("plus", "add"), ("minus", "subtract")):
        layers.append(
            {"name": name, "class_name": "Merge", "op": op, "inputs": ["a", "b"]}
            | {"outputs": [name]}
        )
    return convert(layers, ["a", "b"], ["minus", "plus"], io_type=io_type)


def image_branches(io_type: str, backend: str = "Vitis", dense: bool = False) -> Any:
    """6 x 6 x 2 pixels, Conv2D, ReLU, the largest and the mean of 2 x 2 pixels, flattened.

    `dense`: and a dense layer after that, without which io_parallel has no reshape.
    """
    rng = np.random.default_rng(21)
    pads = dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0)
    first = {"data_format": "channels_last", **pads}
    conv = {
        **{"name": "conv", "class_name": "Conv2D", "n_chan": 2, "n_filt": 3},
        **{"in_height": 6, "in_width": 6, "out_height": 4, "out_width": 4},
        **{"filt_height": 3, "filt_width": 3, "stride_height": 1, "stride_width": 1},
        **{"weight_data": np.round(8 * rng.normal(0, 0.5, (3, 3, 2, 3))) / 8},
        **{"bias_data": np.array([0.5, -0.25, 0]), "weight_quantizer": None},
        "bias_quantizer": None,
    }
    pool = {
        **{"in_height": 4, "in_width": 4, "out_height": 2, "out_width": 2},
        **{"pool_height": 2, "pool_width": 2, "stride_height": 2, "stride_width": 2},
        **{"n_filt": 3, "count_pad": False},
    }
    layers = [
        {"name": "x", "class_name": "InputLayer", "input_shape": [6, 6, 2]},
        first | conv,
        {"name": "relu", "class_name": "Activation", "activation": "relu", "n_in": 48},
        first | pool | {"name": "most", "class_name": "MaxPooling2D", "inputs": ["relu"]},
        first | pool | {"name": "mean", "class_name": "AveragePooling2D", "inputs": ["relu"]},
        {"name": "both", "class_name": "Concatenate", "op": "concatenate3d", "axis": 3}
        | {"inputs": ["most", "mean"]},
        {"name": "flat", "class_name": "Reshape", "target_shape": [24], "inputs": ["both"]},
    ]
    if dense:
        layers.append(
            _dense("fc", "flat", np.round(8 * rng.normal(0, 0.5, (24, 3))) / 8, np.ones(3))
        )
    return convert(layers, ["x"], ["fc" if dense else "flat"], backend, io_type)


def packets_left_over() -> Any:
    """A convolution of 3 rows with stride 3 that writes a row more than its shape says; ReLU."""
    rng = np.random.default_rng(23)
    pads = dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0)
    conv = {
        **{"name": "conv", "class_name": "Conv2D", "data_format": "channels_last", **pads},
        **{"n_chan": 2, "n_filt": 2, "in_height": 3, "in_width": 3, "out_height": 1},
        **{"out_width": 2, "filt_height": 1, "filt_width": 2, "stride_height": 3},
        **{"stride_width": 1, "weight_data": np.round(8 * rng.normal(0, 0.5, (1, 2, 2, 2))) / 8},
        **{"bias_data": None, "weight_quantizer": None, "bias_quantizer": None},
    }
    layers = [
        {"name": "x", "class_name": "InputLayer", "input_shape": [3, 3, 2]},
        conv,
        {"name": "relu", "class_name": "Activation", "activation": "relu", "n_in": 4},
    ]
    config = {"conv": {"ConvImplementation": "Encoded"}}
    return convert(layers, ["x"], ["relu"], io_type="io_stream", layer_config=config)


def sequence(io_type: str) -> Any:
    """4 time steps of 3 numbers, LSTM with all its states, GRU."""
    rng = np.random.default_rng(22)

    def cell(name: str, kind: str, source: str, sizes: tuple[int, int], **more: Any) -> Any:
        n_in, units = sizes
        gates = {"LSTM": 4, "GRU": 3}[kind] * units

        def weight(*shape: int) -> Any:
            return np.round(8 * rng.normal(0, 0.5, shape)) / 8

        return {
            **{"name": name, "class_name": kind, "inputs": [source], "n_timesteps": 4},
            **{"n_in": n_in, "n_out": units, "direction": "forward", "time_major": False},
            **{"activation": "tanh", "recurrent_activation": "sigmoid", "return_state": False},
            **{"pass_initial_states": False, "data_format": "channels_last"},
            "weight_data": weight(n_in, gates),
            "recurrent_weight_data": weight(units, gates),
            "bias_data": weight(gates),
            "recurrent_bias_data": weight(gates) if kind == "GRU" else None,
            **more,
        }

    gru = {"return_sequences": False, "apply_reset_gate": "after"}
    layers = [
        {"name": "x", "class_name": "InputLayer", "input_shape": [4, 3]},
        cell("lstm", "LSTM", "x", (3, 5), return_sequences=True),
        cell("gru", "GRU", "lstm", (5, 2), **gru),
    ]
    return convert(layers, ["x"], ["gru"], io_type=io_type)


def _dense(name: str, source: str, weight: Any, bias: Any) -> dict[str, Any]:
    n_in, n_out = weight.shape
    shapes = {"n_in": n_in, "n_out": n_out}
    data = {"weight_data": weight, "bias_data": bias}
    return {"name": name, "class_name": "Dense", "inputs": [source], **shapes, **data}


def hand_written(folder: Path, body: str = "y[0] = x[0] + x[1];") -> Path:
    """A project with two inputs elements x and one output y, whose C++ code is `body`."""
    (folder / "firmware").mkdir(parents=True)
    (folder / "firmware" / "defines.h").write_text("// no types\n")
    (folder / "firmware" / "net.cpp").write_text(
        f"#include <cstdlib>\n#include <iostream>\nvoid net(double *x, double *y) {{ {body} }}\n"
    )
    (folder / "net_bridge.cpp").write_text(
        'extern "C" void net_double(double *x, double *y) { net(x, y); }\n'
    )
    facts = {
        "version": 2,
        "project_name": "net",
        "backend": "Vitis",
        "io_type": "io_parallel",
        "part": None,
        "clock_period_ns": None,
        "hls4ml_version": "1.3.0",
        "inputs": [{"name": "x", "shape": [2], "ctype": "double"}],
        "outputs": [{"name": "y", "shape": [1], "ctype": "double"}],
        "layers": [],
        "untraced": [],
    }
    (folder / "samebits.json").write_text(json.dumps(facts))
    return folder


def rtl_record(folder: Path) -> Rtl:
    """What a folder of RTL says of itself; nothing is in the folder."""
    return Rtl(
        folder=folder,
        top="net_top",
        language="verilog",
        part="xcvu13p-flga2577-2-e",
        clock_mhz=400.0,
        latency_cycles=9,
        worst_stage=0.0,
        inputs=(),
        outputs=(),
        tools={"alkaid": "0.8.2"},
        fingerprint="",
    )
