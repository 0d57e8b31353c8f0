"""The Keras network of a description: one function for each kind of layer, found in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samebits import errors

from .build_categories import BUILDERS as CATEGORY_BUILDERS
from .build_sets import BUILDERS as SET_BUILDERS
from .functions import square_root
from .layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Concatenate,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    L2Pool,
    Layer,
    Maxout,
    MaxPool,
    Merge,
    Multiply,
    Noise,
    Penalty,
    Square,
    Standardise,
    Subtract,
    Sum,
)
from .network import Network, points
from .scaling import InputFormat, InputScaling
from .tensorflow import load, quiet

__all__ = ["Making", "build", "take_weights"]


@dataclass
class Making:
    """A network while it is built: its table of formats, and the outputs of the layers made."""

    network: Network
    formats: Mapping[str, InputFormat] | None
    made: dict[str, Any] = field(default_factory=dict)
    inputs: Any = None  # behind their rounding

    def rounded(self, x: Any, point: str, layer_name: str) -> Any:
        """x rounded by a layer of that name if the table has a format for the point."""
        if self.formats is None or point not in self.formats:
            return x
        return self.cast(x, self.formats[point], layer_name)

    def cast(self, x: Any, form: InputFormat, layer_name: str) -> Any:
        """x rounded to a format by a layer of that name."""
        return load().qkeras.QActivation(quantizer(form), name=layer_name)(x)

    def weights(self, name: str, *parts: str) -> dict[str, Any]:
        """Keras options of a layer with kernels: its name, initializer, penalty and quantizers."""
        network = self.network
        options: dict[str, Any] = {"name": name, "kernel_initializer": network.initializer}
        if network.l1 or network.l2:
            options["kernel_regularizer"] = load().keras.regularizers.L1L2(network.l1, network.l2)
        if self.formats is not None:
            for part in parts:
                options[f"{part}_quantizer"] = quantizer(self.formats[f"{name}.{part}"])
        return options

    def softmax(self, x: Any, name: str, before: str, wider: str) -> Any:
        """Along the last axis; `before` and `wider` are the names of the layers in front of it.

        The second changes no value, it only widens the type by one bit: hls4ml's stable softmax
        holds (maximum - x) in a type of one integer bit less than its input's and would wrap it.
        Source: hls4ml 1.3, backends/vivado/passes/core_templates.py, SoftmaxConfigTemplate.
        """
        kit = load()
        x = self.rounded(x, f"{name}.input", before)
        if self.formats is not None:
            found = self.formats[f"{name}.input"]
            wide = InputFormat(found.width + 1, found.integer + 1, found.signed)
            x = kit.qkeras.QActivation(quantizer(wide), name=wider)(x)
        return kit.keras.layers.Activation("softmax", name=name)(x)

    def layer(self, kind: str) -> Any:
        """Keras's layer of that name, or QKeras's where the network is quantized."""
        kit = load()
        if self.formats is None:
            return getattr(kit.keras.layers, kind)
        return getattr(kit.qkeras, f"Q{kind}")


@quiet()
def build(
    network: Network,
    formats: Mapping[str, InputFormat] | None = None,
    *,
    scaling: InputScaling | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Any:
    """The Keras network: float without `formats`, else of QKeras layers that round at `points`.

    `scaling` holds the numbers of `Standardise`.

    Raises:
        UsageError: a format is missing, or is none of the network's; a batch normalisation that is
            not folded; shapes that do not fit.
    """
    kit = load()
    if formats is not None:
        _check_formats(network, formats)
    if network.standardised != (scaling is not None):
        raise errors.UsageError("network: Standardise and a scaling go together; give both or none")
    kit.keras.utils.set_random_seed(seed)
    features = kit.keras.Input(network.inputs, name="features")
    making = Making(network, formats)
    x = making.inputs = making.made["input"] = making.rounded(features, "input", "input_format")
    for layer_name, layer in network:
        try:
            x = BUILDERS[type(layer)](x, layer_name, layer, making)
        except ValueError as error:
            raise errors.UsageError(
                f"network: layer {layer_name!r} cannot take what comes before it, of shape "
                f"{tuple(x.shape[1:])}: {str(error).splitlines()[0]}"
            ) from error
        making.made[layer_name] = x
    kind = "float" if formats is None else "quantized"
    model = kit.keras.Model(features, x, name=name or f"{kind}_network")
    if scaling is not None:
        zeros = np.zeros_like(scaling.scale)
        model.get_layer("scaling").set_weights([scaling.scale, scaling.shift, zeros, zeros + 1])
    return model


def take_weights(target: Any, source: Any) -> None:
    """Give every layer of the Keras model `target` the weights of the namesake in `source`."""
    known = {layer.name for layer in source.layers}
    for layer in target.layers:
        if layer.weights and layer.name in known:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def quantizer(form: InputFormat) -> str:
    """As text: .keras files cannot hold the objects in QActivation."""
    signed = int(form.signed)
    return f"quantized_bits({form.width},{form.integer - signed},0,{signed},alpha=1)"


def window_axes(x: Any) -> int:
    """The number of axes that windows move over, 1 or 2.

    Raises:
        ValueError: of another shape.
    """
    axes = len(x.shape) - 2
    if axes not in (1, 2):
        raise ValueError("it needs (steps, channels) or (rows, columns, channels)")
    return axes


def _standardise(x: Any, name: str, layer: Standardise, making: Making) -> Any:
    # epsilon 0: computes exactly x * scale + shift
    x = load().keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name=name)(x)
    return making.rounded(x, name, "scaled")


def _dense(x: Any, name: str, layer: Dense, making: Making) -> Any:
    options = making.weights(name, "kernel", "bias")
    x = making.layer("Dense")(layer.units, **options)(x)
    return making.rounded(x, name, f"{name}_rounded")


def _conv(x: Any, name: str, layer: Conv, making: Making) -> Any:
    options = making.weights(name, "kernel", "bias")
    options |= {"strides": layer.stride, "padding": layer.padding}
    kind = making.layer(f"Conv{window_axes(x)}D")
    return making.rounded(kind(layer.filters, layer.window, **options)(x), name, f"{name}_rounded")


def _pool(x: Any, name: str, layer: MaxPool | AveragePool, making: Making) -> Any:
    kind = "Max" if isinstance(layer, MaxPool) else "Average"
    keras_layer = getattr(load().keras.layers, f"{kind}Pooling{window_axes(x)}D")
    return making.rounded(keras_layer(layer.window, name=name)(x), name, f"{name}_rounded")


def _l2_pool(x: Any, name: str, layer: L2Pool, making: Making) -> Any:
    keras = load().keras
    squares, mean = f"{name}.squares", f"{name}.mean"
    x = keras.layers.Multiply(name=squares)([x, x])
    x = making.rounded(x, squares, f"{squares}.rounded")
    x = getattr(keras.layers, f"AveragePooling{window_axes(x)}D")(layer.window, name=mean)(x)
    x = making.rounded(x, mean, f"{mean}.rounded")
    x = keras.layers.Activation(square_root, name=name)(x)
    return making.rounded(x, name, f"{name}_rounded")


def _global_pool(
    x: Any, name: str, layer: GlobalMaxPool | GlobalAveragePool, making: Making
) -> Any:
    kind = "Max" if isinstance(layer, GlobalMaxPool) else "Average"
    keras_layer = getattr(load().keras.layers, f"Global{kind}Pooling{window_axes(x)}D")
    return making.rounded(keras_layer(name=name)(x), name, f"{name}_rounded")


def _maxout(x: Any, name: str, layer: Maxout, making: Making) -> Any:
    if len(x.shape) != 2:
        raise ValueError("it takes one axis; put Flatten before it")
    keras = load().keras
    options = making.weights(name, "kernel", "bias") | {"name": f"{name}{layer.held_by}"}
    x = making.layer("Dense")(layer.pieces * layer.units, **options)(x)
    x = keras.layers.Reshape((layer.pieces, layer.units), name=f"{name}_rows")(x)
    x = keras.layers.GlobalMaxPooling1D(name=name)(x)
    return making.rounded(x, name, f"{name}_rounded")


def _batch_norm(x: Any, name: str, layer: BatchNorm, making: Making) -> Any:
    return load().keras.layers.BatchNormalization(name=name)(x)


def _activation(x: Any, name: str, layer: Activation, making: Making) -> Any:
    """The function with its roundings."""
    kit = load()
    layers, function, formats = kit.keras.layers, layer.function, making.formats
    if formats is not None and function == "relu":
        found = formats[name]
        if not found.signed:  # one layer that rounds and clips at zero
            text = f"quantized_relu({found.width},{found.integer})"
            return kit.qkeras.QActivation(text, name=name)(x)
    if function == "softmax":
        x = making.softmax(x, name, "logits", "softmax_input")
        return making.rounded(x, name, f"{name}_rounded")
    x = making.rounded(x, f"{name}.input", f"{name}_input")
    if function == "leaky_relu":
        x = layers.LeakyReLU(layer.slope, name=name)(x)
    elif function != "linear" or formats is None:
        x = layers.Activation(function, name=name)(x)
    return making.rounded(x, name, f"{name}_rounded")


def _flatten(x: Any, name: str, layer: Flatten, making: Making) -> Any:
    return load().keras.layers.Flatten(name=name)(x)


def _dropout(x: Any, name: str, layer: Dropout, making: Making) -> Any:
    return load().keras.layers.Dropout(layer.share, name=name)(x)


def _noise(x: Any, name: str, layer: Noise, making: Making) -> Any:
    return load().keras.layers.GaussianNoise(layer.spread, name=name)(x)


def _penalty(x: Any, name: str, layer: Penalty, making: Making) -> Any:
    return load().keras.layers.ActivityRegularization(l2=layer.l2, name=name)(x)


def _merge(x: Any, name: str, layer: Merge, making: Making) -> Any:
    other = making.made[layer.source]
    if not isinstance(layer, Concatenate) and x.shape[1:] != other.shape[1:]:
        raise ValueError(f"{layer.source!r} has another one, {tuple(other.shape[1:])}")
    kind = getattr(load().keras.layers, type(layer).__name__)  # the same names as Keras's
    x = kind(name=name)([x, other])
    return making.rounded(x, name, f"{name}_rounded")


def _square(x: Any, name: str, layer: Square, making: Making) -> Any:
    x = load().keras.layers.Multiply(name=name)([x, x])
    return making.rounded(x, name, f"{name}_rounded")


def _sum(x: Any, name: str, layer: Sum, making: Making) -> Any:
    """A dense layer of one constant row: sums of weights 1 are adders only."""
    if len(x.shape) != 2:
        raise ValueError("it sums over one axis; put Flatten before it")
    wanted, given = int(x.shape[-1]), np.atleast_1d(np.asarray(layer.weights, np.float32))
    if len(given) not in (1, wanted):
        raise ValueError(f"it has {len(given)} weights for {wanted} numbers")
    constant = load().keras.initializers.Constant(np.broadcast_to(given, wanted).tolist())
    options = making.weights(name, "kernel") | {"kernel_initializer": constant}
    options |= {"kernel_regularizer": None, "use_bias": False, "trainable": False}
    x = making.layer("Dense")(1, **options)(x)
    return making.rounded(x, name, f"{name}_rounded")


# Of each kind: (tensor before it, name, layer, making) -> tensor behind it and its roundings.
BUILDERS: dict[type[Layer], Callable[[Any, str, Any, Making], Any]] = {
    Standardise: _standardise,
    Dense: _dense,
    Conv: _conv,
    MaxPool: _pool,
    AveragePool: _pool,
    L2Pool: _l2_pool,
    GlobalMaxPool: _global_pool,
    GlobalAveragePool: _global_pool,
    Maxout: _maxout,
    BatchNorm: _batch_norm,
    Activation: _activation,
    Flatten: _flatten,
    Dropout: _dropout,
    Noise: _noise,
    Penalty: _penalty,
    Add: _merge,
    Subtract: _merge,
    Multiply: _merge,
    Concatenate: _merge,
    Square: _square,
    Sum: _sum,
    **CATEGORY_BUILDERS,
    **SET_BUILDERS,
}


def _check_formats(network: Network, formats: Mapping[str, InputFormat]) -> None:
    for name, layer in network:
        if isinstance(layer, BatchNorm):
            raise errors.UsageError(
                f"network: {name!r} cannot be quantized; fold it with fold_batch_norm first"
            )
    wanted = points(network)
    missing = [point for point in wanted if point not in formats]
    unknown = [point for point in formats if point not in wanted]
    if missing or unknown:
        raise errors.UsageError(
            f"formats: missing {', '.join(missing) or 'none'}; unknown "
            f"{', '.join(unknown) or 'none'}; wanted {', '.join(wanted)}"
        )
