"""Exported Keras models in hls4ml: the firmware's bits are Keras's numbers."""

import contextlib
import io
import tempfile
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
from qonnx.transformation.channels_last import (  # type: ignore[import-untyped]
    ConvertToChannelsLastAndClean,
)
from qonnx.util.cleanup import cleanup_model  # type: ignore[import-untyped]

from samebits import Design
from samebits.compile.frontends.keras import export_keras
from samebits.train.tensorflow import load, quiet

from .keras_zoo import EXACT, INPUT, KERNEL, build, randomize

# layers that hls4ml's own ONNX frontend reads
READ = [
    *("conv1d_same", "conv1d_causal", "conv1d_groups", "conv2d_relu", "conv2d_auto_po2"),
    *("conv2d_po2", "depthwise", "depthwise_two", "separable2d", "folded", "folded_depthwise"),
    *("dense_rows", "max2d", "concatenate", "residual", "average", "maximum", "subtract"),
    *("multiply", "ternary"),
]
# what samebits' frontend lets through to hls4ml as well
COMPILED = [
    *("relu_six", "relu_slope", "relu_sigmoid", "binary", "binary_01", "one_bit", "bits_alpha"),
    *("adaptive", "leaky", "thresholded", "flatten"),
]


@pytest.fixture(scope="module")
def kit() -> Any:
    return load()


def converted(model: onnx.ModelProto) -> Any:
    """The hls4ml ModelGraph, by the way that hls4ml's and qonnx's documentation show."""
    import hls4ml  # type: ignore[import-untyped]

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory() as folder,
    ):
        warnings.simplefilter("ignore")
        wrapper = cleanup_model(ModelWrapper(fixed)).transform(ConvertToChannelsLastAndClean())
        wrapper = cleanup_model(wrapper)
        config = hls4ml.utils.config_from_onnx_model(
            wrapper, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
        )
        return hls4ml.converters.convert_from_onnx_model(
            wrapper, hls_config=config, output_dir=folder, backend="Vitis", io_type="io_parallel"
        )


def on_the_grid(shape: tuple[int, ...], count: int = 40, seed: int = 4) -> np.ndarray:
    """Events that the input's quantizer leaves as they are."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-128, 128, (count, *shape)) / 16).astype(np.float32)


@pytest.mark.parametrize("name", READ)
def test_the_simulator_gives_keras_numbers(kit: Any, name: str) -> None:
    shape, make = EXACT[name]
    model, x = build(kit, shape, make), on_the_grid(shape)
    with quiet():
        design = Design.from_hls4ml(converted(export_keras(model)))
        wanted = np.asarray(model.predict(x, verbose=0), np.float64)
    assert len(np.unique(wanted)) > 1
    assert np.array_equal(np.asarray(design.simulate(x)).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("name", COMPILED)
def test_a_design_from_keras_gives_keras_numbers(kit: Any, name: str) -> None:
    shape, make = EXACT[name]
    model, x = build(kit, shape, make), on_the_grid(shape)
    with quiet():
        design = Design.from_keras(model)
        wanted = np.asarray(model.predict(x, verbose=0), np.float64)
    assert len(np.unique(wanted)) > 1
    assert np.array_equal(np.asarray(design.simulate(x)).reshape(wanted.shape), wanted)


def residual_network(kit: Any) -> Any:
    """Two convolutions around a sum, pooling, a normalization and a Dense layer: 6 x 6 x 2 -> 3."""
    layers, qkeras = kit.keras.layers, kit.qkeras
    with quiet():
        x = kit.keras.Input((6, 6, 2), name="x")
        y = kit.qkeras.QActivation(INPUT, name="rounded")(x)
        side = qkeras.QConv2DBatchnorm(
            4, 1, kernel_quantizer=KERNEL["kernel_quantizer"], bias_quantizer=INPUT, name="side"
        )(y)
        y = qkeras.QConv2D(
            4, 3, padding="same", activation="quantized_relu(6,3)", name="conv", **KERNEL
        )(y)
        y = qkeras.QActivation("quantized_relu(6,3)", name="sum")(layers.Add(name="add")([y, side]))
        y = layers.MaxPooling2D(2, name="pool")(y)
        y = layers.Flatten(name="flat")(y)
        return kit.keras.Model(x, qkeras.QDense(3, name="dense", **KERNEL)(y), name="residual")


def test_the_c_simulation_gives_keras_numbers(kit: Any) -> None:
    model, x = residual_network(kit), on_the_grid((6, 6, 2))
    randomize(model, 8)
    with quiet():
        design = Design.from_hls4ml(converted(export_keras(model)))
        wanted = np.asarray(model.predict(x, verbose=0), np.float64)
    assert np.array_equal(np.asarray(design.simulate(x)).reshape(wanted.shape), wanted)
    assert design.verify(x, against=("csim",)).passed
