"""Ternary tanh in io_stream: hls4ml's kernel takes as many thresholds as a packet holds."""

import contextlib
import io
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.graph import ModelGraph
from hls4ml.utils.config import create_config

from samebits import errors
from samebits.compile.lowering import lower
from samebits.sim.numpy_engine import NumpyEngine


def network(shape: list[int], io_type: str) -> Any:
    """A ternary tanh, which hls4ml gives thresholds of +-1/2, on an input of a shape."""
    config = create_config(output_dir="never_written", backend="Vitis", io_type=io_type)
    config["HLSConfig"] = {"Model": {"Precision": "fixed<8,4>", "ReuseFactor": 1}}
    layers = [
        {"name": "x", "class_name": "InputLayer", "input_shape": shape},
        {
            "name": "layer",
            "class_name": "TernaryTanh",
            "inputs": ["x"],
            "activation": "ternary_tanh",
            "n_in": int(np.prod(shape)),
            "threshold": 0.33,
        },
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        return ModelGraph.from_layer_list(config, layers, ["x"], ["layer"])


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
def test_one_packet_is_exact(io_type: str) -> None:
    model = network([6], io_type)
    graph = lower(model)
    (layer,) = [x for x in model.get_layers() if x.class_name != "Input"]
    high, low = (float(layer.weights[f"threshold_{side}"].data.flat[0]) for side in ("hi", "lo"))
    steps = [high, high + 1 / 16, high - 1 / 16, low, low + 1 / 16, low - 1 / 16]
    (got,) = NumpyEngine(graph).run([np.array([steps])], graph.outputs)
    wanted = [(Fraction(x) > Fraction(high)) - (Fraction(x) <= Fraction(low)) for x in steps]
    assert got.tolist() == [wanted]
    assert sorted(set(wanted)) == [-1, 0, 1]


def test_several_packets_do_not_compile_in_io_stream() -> None:
    lower(network([3, 2], "io_parallel"))
    with pytest.raises(errors.UnsupportedError) as raised:
        lower(network([3, 2], "io_stream"))
    assert "6 thresholds for packets of 2; hls4ml's kernel for io_stream compiles only" in str(
        raised.value
    )


def test_thresholds_of_another_type_do_not_compile() -> None:
    model = network([6], "io_parallel")
    (layer,) = [x for x in model.get_layers() if x.class_name != "Input"]
    precision = model.config.backend.convert_precision_string("fixed<9,4>")
    model.get_input_variables()[0].type.precision = precision
    with pytest.raises(errors.UnsupportedError) as raised:
        lower(model)
    assert str(raised.value) == (
        f"layer {layer.name} (BatchNormalizationQuantizedTanh): threshold_hi is "
        "fixed<8,4,TRN,WRAP,0>, the input is fixed<9,4,TRN,WRAP,0>; hls4ml's kernel compiles only "
        "where they are the same; give the layer in front that precision"
    )
