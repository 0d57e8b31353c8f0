"""Exported Keras models in hls4ml: the firmware's bits are Keras's numbers."""

from typing import Any

import numpy as np
import pytest

from samebits import Design, Target, errors
from samebits.sim.onnx_engine import OnnxEngine
from samebits.train.tensorflow import load, quiet

from .keras_zoo import BOUNDED, EXACT, GATED_CELL, INPUT, KERNEL, RECURRENT, build, randomize

# written out step by step, they take up to 16 seconds each; qlstm and the trained QGRU do the same
SLOW = ("qbidirectional", "qgru", "qgru_after", "qlstm_fused")
FIRMWARE = [name for name in sorted(EXACT) if name not in SLOW]
# in io_stream too
STREAMED = ["conv2d_relu", "separable1d", "up2d", "average1d", "residual", "flatten"]
# what rounds in float32, or goes through tables: equal up to the fraction bits of hls4ml's types
ROUNDED = {
    **dict.fromkeys(("float_conv2d", "float_depthwise1d", "float_depthwise2d"), 2**-9),
    **dict.fromkeys(("batchnorm", "batchnorm_image", "qbatchnorm", "conv2d_auto"), 2**-9),
    **dict.fromkeys(("global_average1d", "qglobal_average2d", "hard_sigmoid"), 2**-13),
    "dense_ulaw": 2**-8,
    "hswish": 2**-3,  # less than two steps: x / 6 on a tie is one
    **dict.fromkeys(("average2d_same", "average_three"), 2**-12),
    **dict.fromkeys(("float_conv1d", "lstm", "gru", "rnn", "rnn_cell"), 2**-5),
    **dict.fromkeys(("float_transposed1d", "float_separable2d", "einsum_dense"), 2**-10),
    **dict.fromkeys(("dense_alpha", "dense_binary", "dense_ternary"), 2**-15),
    **dict.fromkeys(("elu", "selu", "softsign", "softplus", "sigmoid"), 2**-9),
    **dict.fromkeys(("softmax", "softmax_rows", "layer_normalization", "then_quantized"), 2**-4),
    **dict.fromkeys((name for name in RECURRENT if name.startswith("bidirectional")), 2**-5),
    "attention": 2**-5,  # of scores within the softmax's 16
}


# sums of unbounded functions, too wide for the int64 of firmware.onnx
TOO_WIDE = ["multi_head", "lstm_no_bias", "gru_before", "lstm_states", "qlstm_weights", "qgru_auto"]


@pytest.fixture(scope="module")
def kit() -> Any:
    return load()


def on_the_grid(shape: tuple[int, ...], count: int = 40, seed: int = 4) -> np.ndarray:
    """Events that the input's quantizer leaves as they are."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-128, 128, (count, *shape)) / 16).astype(np.float32)


def compare(kit: Any, name: str, io_type: str) -> float:
    """The largest difference between a design from Keras and Keras."""
    shape, make = (EXACT | BOUNDED | RECURRENT)[name]
    x = on_the_grid(shape)
    if name == "attention":
        x = np.clip(x, -1, 1)
    return difference(build(kit, shape, make), x, Target(io_type=io_type))


def difference(model: Any, x: np.ndarray, target: Target) -> float:
    """The simulator's from Keras; firmware.onnx gives the simulator's numbers."""
    with quiet():
        design = Design.from_keras(model, target)
        wanted = np.asarray(model(x), np.float64)
    assert len(np.unique(wanted)) > 1
    given = np.asarray(design.simulate(x))
    firmware = design.firmware_onnx()
    for level in ("disabled", "all"):
        (found,) = OnnxEngine(firmware, level).run([x]).values()
        assert np.array_equal(found, given), level
    return float(np.abs(given.reshape(wanted.shape) - wanted).max())


@pytest.mark.parametrize("name", FIRMWARE)
def test_a_design_from_keras_gives_keras_numbers(kit: Any, name: str) -> None:
    assert compare(kit, name, "io_parallel") == 0


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_from_keras_gives_keras_numbers(kit: Any, name: str) -> None:
    assert compare(kit, name, "io_stream") == 0


@pytest.mark.parametrize("name", sorted(ROUNDED))
def test_what_rounds_is_near_keras(kit: Any, name: str) -> None:
    assert compare(kit, name, "io_parallel") < ROUNDED[name]


@pytest.mark.parametrize("name", TOO_WIDE)
def test_what_firmware_onnx_cannot_hold_is_refused(kit: Any, name: str) -> None:
    shape, make = (BOUNDED | RECURRENT)[name]
    with quiet():
        design = Design.from_keras(build(kit, shape, make), Target())
    assert np.isfinite(design.simulate(on_the_grid(shape))).all()
    with pytest.raises(errors.UnsupportedError, match="needs integers beyond 63 bits"):
        design.firmware_onnx()


def test_every_model_is_tried() -> None:
    tried = {*FIRMWARE, *SLOW, *ROUNDED, *TOO_WIDE, "ulaw"}
    assert tried == {*EXACT, *BOUNDED, *RECURRENT}


def test_mu_law_is_refused_by_name(kit: Any) -> None:
    model = build(kit, *BOUNDED["ulaw"])
    with (
        quiet(),
        pytest.raises(errors.UnsupportedError, match=r"^unsupported operators: Gather \("),
    ):
        Design.from_keras(model)


def dense_network(kit: Any) -> Any:
    """Three Dense layers with scales that are powers of two, one per output: 8 -> 3."""
    kernel = {"kernel_quantizer": "quantized_bits(4,0,1,alpha='auto_po2')"}
    bias = {"bias_quantizer": KERNEL["bias_quantizer"]}
    relu, dense = "quantized_relu(6,3)", kit.qkeras.QDense
    return [
        kit.qkeras.QActivation(INPUT, input_shape=(8,), name="rounded"),
        dense(12, activation=relu, name="wide", **kernel, **bias),
        dense(8, activation=relu, name="narrow", **kernel, **bias),
        dense(3, name="scores", **kernel, **bias),
    ]


def image_network(kit: Any) -> Any:
    """Convolutions with folded normalization: 6 x 6 x 2 -> 3."""
    folded = {
        "kernel_quantizer": KERNEL["kernel_quantizer"],
        "bias_quantizer": INPUT,
        "ema_freeze_delay": 4,
    }
    relu, qkeras = "quantized_relu(6,3)", kit.qkeras
    return [
        qkeras.QActivation(INPUT, input_shape=(6, 6, 2), name="rounded"),
        qkeras.QConv2DBatchnorm(4, 3, padding="same", activation=relu, name="first", **folded),
        kit.keras.layers.MaxPooling2D(2, name="pool"),
        qkeras.QConv2DBatchnorm(4, 2, activation=relu, name="second", **folded),
        kit.keras.layers.Flatten(name="flat"),
        qkeras.QDense(3, name="scores", **KERNEL),
    ]


def sequence_network(kit: Any) -> Any:
    """A recurrent layer with quantized states: 3 x 3 -> 3."""
    return [
        kit.qkeras.QActivation(INPUT, input_shape=(3, 3), name="rounded"),
        kit.qkeras.QGRU(3, name="memory", **GATED_CELL),
        kit.qkeras.QDense(3, name="scores", **KERNEL),
    ]


@pytest.mark.parametrize("make", [dense_network, image_network, sequence_network])
def test_trained_networks_give_keras_numbers(kit: Any, make: Any) -> None:
    """Keras, model.onnx, hls4ml, the graph and firmware.onnx after training."""
    kit.keras.utils.set_random_seed(7)
    with quiet():
        model = kit.keras.Sequential(make(kit))
        randomize(model, 5)
        model.compile(
            kit.keras.optimizers.Adam(0.02),
            kit.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        x = on_the_grid(model.input_shape[1:], 512)
        labels = np.digitize(x.reshape(len(x), -1)[:, :3].sum(1), (-4, 4))
        untrained = [np.array(one) for one in model.get_weights()]
        losses = model.fit(x, labels, 64, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    after = zip(untrained, model.get_weights(), strict=True)
    assert sum(not np.array_equal(old, new) for old, new in after) >= len(untrained) - 4
    assert difference(model, x[:60], Target()) == 0


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
