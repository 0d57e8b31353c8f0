"""Networks to train: the quantized multilayer perceptron and the float one of the same shape.

Both take raw features and put out class probabilities.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .scaling import SCALED_INTEGER_BITS, InputFormat, InputScaling
from .tensorflow import load, quiet

__all__ = ["SCALED_EXTRA_BITS", "build_float_mlp", "build_mlp", "copy_weights"]

SCALED_EXTRA_BITS = 2  # the standardised features keep that many bits more than activations
RELU_INTEGER_BITS = 1  # activations reach 2: on jets a little better than 4, and 8 is worse
LOGIT_BITS = 10  # -16 to 16 in steps of 1/32: a 1024-entry softmax table resolves every step
LOGIT_INTEGER_BITS = 4


@quiet()
def build_mlp(
    input_format: InputFormat,
    scaling: InputScaling,
    class_count: int,
    *,
    hidden: Sequence[int] = (64, 32, 32),
    weight_bits: int = 6,
    activation_bits: int = 6,
    seed: int = 0,
) -> Any:
    """A QKeras network: raw features (N, F) -> probabilities (N, class_count).

    Layers: `input_format` rounds the raw features as the firmware's input does; `scaling` is z = x
    * scale + shift, not trained; `scaled` rounds z; then dense layers with ReLU; `logits` rounds
    the scores. `softmax_input` changes no value, it only widens the type by one bit: hls4ml's
    stable softmax holds (maximum - x) in a type of one integer bit less than its input's and would
    wrap it.

    Source of the last: hls4ml 1.3, backends/vivado/passes/core_templates.py, SoftmaxConfigTemplate.
    """
    kit = load()
    layers, qkeras = kit.keras.layers, kit.qkeras
    kit.keras.utils.set_random_seed(seed)

    # Quantizers as text: .keras files cannot hold the objects in QActivation.
    def bits(width: int, integer: int, signed: bool = True) -> str:
        return f"quantized_bits({width},{integer - signed},0,{int(signed)},alpha=1)"

    def dense(units: int, name: str) -> Any:
        return qkeras.QDense(
            units,
            kernel_quantizer=bits(weight_bits, 1),
            bias_quantizer=bits(weight_bits, 1),
            name=name,
        )

    features = kit.keras.Input((len(scaling.scale),), name="features")
    x = qkeras.QActivation(
        bits(input_format.width, input_format.integer, input_format.signed), name="input_format"
    )(features)
    x = _fixed_scaling(kit.keras)(x)
    x = qkeras.QActivation(
        bits(activation_bits + SCALED_EXTRA_BITS, SCALED_INTEGER_BITS), name="scaled"
    )(x)
    for number, units in enumerate(hidden, start=1):
        x = dense(units, f"dense_{number}")(x)
        relu = f"quantized_relu({activation_bits},{RELU_INTEGER_BITS})"
        x = qkeras.QActivation(relu, name=f"relu_{number}")(x)
    x = dense(class_count, "dense_out")(x)
    x = qkeras.QActivation(bits(LOGIT_BITS, LOGIT_INTEGER_BITS + 1), name="logits")(x)
    x = qkeras.QActivation(bits(LOGIT_BITS + 1, LOGIT_INTEGER_BITS + 2), name="softmax_input")(x)
    x = layers.Activation("softmax", name="softmax")(x)
    model = kit.keras.Model(features, x, name="quantized_mlp")
    _set_scaling(model, scaling)
    return model


@quiet()
def build_float_mlp(
    scaling: InputScaling, class_count: int, *, hidden: Sequence[int] = (64, 32, 32), seed: int = 0
) -> Any:
    """The float32 network of the same shape: raw features (N, F) -> probabilities (N, C)."""
    kit = load()
    layers = kit.keras.layers
    kit.keras.utils.set_random_seed(seed)
    features = kit.keras.Input((len(scaling.scale),), name="features")
    x = _fixed_scaling(kit.keras)(features)
    for number, units in enumerate(hidden, start=1):
        x = layers.Dense(units, activation="relu", name=f"dense_{number}")(x)
    x = layers.Dense(class_count, activation="softmax", name="dense_out")(x)
    model = kit.keras.Model(features, x, name="float_mlp")
    _set_scaling(model, scaling)
    return model


def copy_weights(
    source: Any, target: Any, source_scaling: InputScaling, target_scaling: InputScaling
) -> None:
    """Give `target` the dense weights of `source`; the first layer is adapted to the other scaling.

    With x = (z' - shift') / scale' the first layer's W z + b becomes (r W) z' + b + (shift - r
    shift') W, r = scale / scale' per feature, so that both networks are the same function before
    quantization.
    """
    ratio = source_scaling.scale / target_scaling.scale
    offset = source_scaling.shift - ratio * target_scaling.shift
    first = True
    for layer in source.layers:
        if not layer.name.startswith("dense_"):
            continue
        kernel, bias = layer.get_weights()
        if first:
            kernel, bias = ratio[:, None] * kernel, bias + offset @ kernel
            first = False
        target.get_layer(layer.name).set_weights([kernel, bias])


def _fixed_scaling(keras: Any) -> Any:
    """A stock BatchNormalization that computes exactly x * scale + shift and is never trained."""
    return keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name="scaling")


def _set_scaling(model: Any, scaling: InputScaling) -> None:
    zeros = np.zeros_like(scaling.scale)
    model.get_layer("scaling").set_weights([scaling.scale, scaling.shift, zeros, zeros + 1])
