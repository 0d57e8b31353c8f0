"""The multilayer perceptron of `samebits train` and `samebits demo`, quantized and float.

Both take raw features and put out class probabilities. `build` makes them, as all networks here.
"""

from collections.abc import Sequence
from typing import Any

from .build import build
from .layers import Activation, Dense, Function, Layer, Standardise
from .network import Initializer, Network, points
from .scaling import SCALED_INTEGER_BITS, InputFormat, InputScaling

__all__ = ["SCALED_EXTRA_BITS", "build_float_mlp", "build_mlp", "copy_weights"]

SCALED_EXTRA_BITS = 2  # the standardised features keep that many bits more than activations
RELU_INTEGER_BITS = 1  # activations reach 2: on jets a little better than 4, and 8 is worse
LOGIT_BITS = 10  # -16 to 16 in steps of 1/32: a 1024-entry softmax table resolves every step
LOGIT_INTEGER_BITS = 4


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
    the scores.
    """
    network = _mlp(len(scaling.scale), hidden, class_count, "he_normal")
    formats = {
        "input": input_format,
        "scaling": InputFormat(activation_bits + SCALED_EXTRA_BITS, SCALED_INTEGER_BITS, True),
        "softmax.input": InputFormat(LOGIT_BITS, LOGIT_INTEGER_BITS + 1, True),
    }
    for point in points(network):
        if point.startswith("dense"):
            formats[point] = InputFormat(weight_bits, 1, True)
        elif point.startswith("relu"):
            formats[point] = InputFormat(activation_bits, RELU_INTEGER_BITS, False)
    return build(network, formats, scaling=scaling, seed=seed, name="quantized_mlp")


def build_float_mlp(
    scaling: InputScaling, class_count: int, *, hidden: Sequence[int] = (64, 32, 32), seed: int = 0
) -> Any:
    """The float32 network of the same shape: raw features (N, F) -> probabilities (N, C)."""
    network = _mlp(len(scaling.scale), hidden, class_count, "glorot_uniform")
    return build(network, scaling=scaling, seed=seed, name="float_mlp")


def _mlp(
    features: int, hidden: Sequence[int], class_count: int, initializer: Initializer
) -> Network:
    layers: list[Layer | Function] = [Standardise()]
    for number, units in enumerate(hidden, start=1):
        layers += [Dense(units, name=f"dense_{number}"), "relu"]
    layers += [Dense(class_count, name="dense_out"), Activation("softmax", name="softmax")]
    return Network((features,), tuple(layers), initializer=initializer)


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
