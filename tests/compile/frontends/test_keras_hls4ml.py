"""Exported Keras models in hls4ml: the firmware's bits are Keras's numbers."""

from typing import Any

import numpy as np
import pytest

from samebits import Design, Target
from samebits.train.tensorflow import load, quiet

from .keras_zoo import BOUNDED, EXACT, INPUT, KERNEL, build, randomize

# written out step by step, they take long: test_onnx_recurrent.py has hls4ml's layers
RECURRENT = ("qbidirectional", "qgru", "qlstm", "qrnn", "time_")
# in io_stream too
STREAMED = ["conv2d_relu", "separable1d", "up2d", "average1d", "residual", "flatten"]
# what rounds in float32, or goes through tables: equal up to the fraction bits of hls4ml's types
ROUNDED = {
    **dict.fromkeys(("float_conv2d", "float_depthwise1d", "float_depthwise2d"), 2**-9),
    **dict.fromkeys(("batchnorm", "batchnorm_image", "qbatchnorm", "conv2d_auto"), 2**-9),
    **dict.fromkeys(("global_average1d", "qglobal_average2d", "hard_sigmoid"), 2**-13),
    **dict.fromkeys(("average2d_same", "average_three"), 2**-12),
}


@pytest.fixture(scope="module")
def kit() -> Any:
    return load()


def on_the_grid(shape: tuple[int, ...], count: int = 40, seed: int = 4) -> np.ndarray:
    """Events that the input's quantizer leaves as they are."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-128, 128, (count, *shape)) / 16).astype(np.float32)


def compare(kit: Any, name: str, io_type: str) -> float:
    """The largest difference between a design from Keras and Keras."""
    shape, make = {**EXACT, **BOUNDED}[name]
    model, x = build(kit, shape, make), on_the_grid(shape)
    with quiet():
        design = Design.from_keras(model, Target(io_type=io_type))
        wanted = np.asarray(model(x), np.float64)
    assert len(np.unique(wanted)) > 1
    return float(np.abs(np.asarray(design.simulate(x)).reshape(wanted.shape) - wanted).max())


@pytest.mark.parametrize("name", [n for n in sorted(EXACT) if not n.startswith(RECURRENT)])
def test_a_design_from_keras_gives_keras_numbers(kit: Any, name: str) -> None:
    assert compare(kit, name, "io_parallel") == 0


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_from_keras_gives_keras_numbers(kit: Any, name: str) -> None:
    assert compare(kit, name, "io_stream") == 0


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_what_rounds_is_near_keras(kit: Any, name: str) -> None:
    assert compare(kit, name, "io_parallel") < ROUNDED[name]


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
        design = Design.from_keras(model)
        wanted = np.asarray(model(x), np.float64)
    assert np.array_equal(np.asarray(design.simulate(x)).reshape(wanted.shape), wanted)
    assert design.verify(x, against=("csim",)).passed
