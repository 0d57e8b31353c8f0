"""One description of a network, built in float or quantized by a table of formats.

    Network((8, 8, 1), (Conv(8, 3), "relu", MaxPool(2), Flatten(), Dense(10), "softmax"))

`points` names every number that a quantized network rounds; `build` makes the Keras network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np

from samebits import errors

from .scaling import InputFormat, InputScaling
from .tensorflow import load, quiet

__all__ = [
    "Activation",
    "Add",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "Layer",
    "MaxPool",
    "Network",
    "Standardise",
    "build",
    "points",
]

Function = Literal["relu", "leaky_relu", "elu", "sigmoid", "tanh", "softmax", "linear"]
Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]
TABLES = ("sigmoid", "tanh", "softmax")  # functions that hls4ml takes from a table of 1024 entries


@dataclass(frozen=True)
class Standardise:
    """z = x * scale + shift per channel, chosen from the training part and not trained."""

    name: str = ""


@dataclass(frozen=True)
class Dense:
    """Every input times a weight, plus a bias."""

    units: int
    name: str = ""


@dataclass(frozen=True)
class Conv:
    """A convolution over one axis (steps, channels) or two (rows, columns, channels)."""

    filters: int
    window: int
    stride: int = 1
    padding: Literal["valid", "same"] = "valid"
    name: str = ""


@dataclass(frozen=True)
class MaxPool:
    """The largest number of each window, channel by channel; windows do not overlap."""

    window: int
    name: str = ""


@dataclass(frozen=True)
class AveragePool:
    """The mean of each window, channel by channel; windows do not overlap."""

    window: int
    name: str = ""


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation right behind a dense layer or convolution; quantized, it is folded."""

    name: str = ""


@dataclass(frozen=True)
class Activation:
    """A function of every number (softmax: of all of them); `slope` is that of leaky_relu."""

    function: Function
    slope: float = 0.125
    name: str = ""


@dataclass(frozen=True)
class Flatten:
    """All numbers on one axis."""

    name: str = ""


@dataclass(frozen=True)
class Dropout:
    """Sets a share of the numbers to zero, in training only."""

    share: float
    name: str = ""


@dataclass(frozen=True)
class Add:
    """The numbers so far plus the output of the layer called `source`: a residual block."""

    source: str
    name: str = ""


Layer = (
    Standardise
    | Dense
    | Conv
    | MaxPool
    | AveragePool
    | BatchNorm
    | Activation
    | Flatten
    | Dropout
    | Add
)
KINDS: dict[type, str] = {
    Standardise: "scaling",
    Dense: "dense",
    Conv: "conv",
    MaxPool: "max_pool",
    AveragePool: "average_pool",
    BatchNorm: "batch_norm",
    Flatten: "flatten",
    Dropout: "dropout",
    Add: "add",
}


@dataclass(frozen=True)
class Network:
    """Layers one behind the other; a text stands for the activation of that name.

    `inputs` is the shape of one event. `l1`, `l2` are penalties on all kernels, `initializer` the
    distribution that their weights start from.

    >>> Network((2,), (Dense(4), "tanh", Dense(1), "sigmoid")).names
    ('dense_1', 'tanh_1', 'dense_2', 'sigmoid_1')

    Raises:
        UsageError: lists every layer that makes no sense.
    """

    inputs: tuple[int, ...]
    layers: tuple[Layer | Function, ...]
    l1: float = 0.0
    l2: float = 0.0
    initializer: Initializer = "glorot_uniform"
    names: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        layers = tuple(
            Activation(layer) if isinstance(layer, str) else layer for layer in self.layers
        )
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "names", tuple(_names(layers)))
        wrong = list(_complaints(self))
        if wrong:
            raise errors.UsageError("network:\n  " + "\n  ".join(wrong))

    def __iter__(self) -> Iterator[tuple[str, Layer]]:
        """Names and layers in order."""
        for name, layer in zip(self.names, self.layers, strict=True):
            assert not isinstance(layer, str)
            yield name, layer

    @property
    def standardised(self) -> bool:
        """Whether the first layer standardises the inputs."""
        return isinstance(self.layers[0], Standardise)


def _names(layers: tuple[Layer, ...]) -> Iterator[str]:
    """Given names, or the kind (of an activation: the function) and a number from 1."""
    counts: Counter[str] = Counter()
    for layer in layers:
        kind = layer.function if isinstance(layer, Activation) else KINDS[type(layer)]
        counts[kind] += 1
        yield layer.name or ("scaling" if kind == "scaling" else f"{kind}_{counts[kind]}")


def _complaints(network: Network) -> Iterator[str]:
    if not network.layers:
        yield "has no layers; at least one is needed"
    if not network.inputs or min(network.inputs) < 1 or len(network.inputs) > 3:
        yield f"inputs: got {network.inputs}; wanted one to three positive sizes of an event"
    if network.initializer not in get_args(Initializer):
        yield f"initializer: got {network.initializer!r}; wanted {_either(Initializer)}"
    if min(network.l1, network.l2) < 0:
        yield f"penalties: got l1={network.l1:g}, l2={network.l2:g}; wanted 0 or more"
    for name in sorted({n for n in network.names if network.names.count(n) > 1}):
        yield f"two layers are called {name!r}; give each its own name"
    before: Layer | None = None
    for number, (name, layer) in enumerate(network):
        for part in fields(layer):
            value = getattr(layer, part.name)
            if isinstance(value, int) and value < 1:
                yield f"{name}: {part.name} is {value}; wanted 1 or more"
        if isinstance(layer, Activation) and layer.function not in get_args(Function):
            yield f"{name}: there is no function {layer.function!r}; wanted {_either(Function)}"
        softmax = isinstance(layer, Activation) and layer.function == "softmax"
        if softmax and number != len(network.layers) - 1:
            yield f"{name}: softmax must be the last layer"
        if isinstance(layer, BatchNorm) and not isinstance(before, Dense | Conv):
            yield f"{name}: must stand right behind a Dense or Conv layer, where it can be folded"
        if isinstance(layer, Standardise) and number:
            yield f"{name}: standardises the inputs and must be the first layer"
        if isinstance(layer, Dropout) and not 0 < layer.share < 1:
            yield f"{name}: share is {layer.share:g}; wanted more than 0, less than 1"
        if isinstance(layer, Add) and layer.source not in network.names[:number]:
            known = ", ".join(network.names[:number])
            yield f"{name}: no layer {layer.source!r} stands before it; there are {known}"
        before = layer


def _either(names: Any) -> str:
    return ", ".join(get_args(names))


def points(network: Network) -> tuple[str, ...]:
    """What a quantized network rounds, in order: the keys of its table of formats.

    `input`; of a layer `d` the weights `d.kernel`, `d.bias`, the output `d`, and `d.input` in front
    of a table: a table of 1024 entries then has one for every value of 10 bits.

    >>> points(Network((2,), (Dense(4), "relu", Dense(2), "softmax")))[:4]
    ('input', 'dense_1.kernel', 'dense_1.bias', 'relu_1')
    """
    found = ["input"]
    layers = dict(network)
    sources = {layer.source for layer in layers.values() if isinstance(layer, Add)}
    following = [*network.layers[1:], None]
    for (name, layer), behind in zip(network, following, strict=True):
        if isinstance(layer, Dense | Conv):
            found += [f"{name}.kernel", f"{name}.bias"]
            if name in sources or not isinstance(behind, Activation | BatchNorm):
                found.append(name)
        elif isinstance(layer, Activation) and layer.function in TABLES:
            found.append(f"{name}.input")
            if behind is not None:
                found.append(name)
        elif isinstance(layer, Activation | AveragePool | Add | Standardise):
            found.append(name)
    return tuple(found)


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

    `scaling` holds the numbers of `Standardise`. `softmax_input` changes no value, it only widens
    the type by one bit: hls4ml's stable softmax holds (maximum - x) in a type of one integer bit
    less than its input's and would wrap it.

    Source of the last: hls4ml 1.3, backends/vivado/passes/core_templates.py, SoftmaxConfigTemplate.

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
    made: dict[str, Any] = {}
    x = _rounded(features, formats, "input", "input_format")
    for layer_name, layer in network:
        try:
            x = _layer(x, layer_name, layer, network, formats, made)
        except ValueError as error:
            raise errors.UsageError(
                f"network: layer {layer_name!r} cannot take what comes before it, of shape "
                f"{tuple(x.shape[1:])}: {str(error).splitlines()[0]}"
            ) from error
        made[layer_name] = x
    kind = "float" if formats is None else "quantized"
    model = kit.keras.Model(features, x, name=name or f"{kind}_network")
    if scaling is not None:
        zeros = np.zeros_like(scaling.scale)
        model.get_layer("scaling").set_weights([scaling.scale, scaling.shift, zeros, zeros + 1])
    return model


def _layer(
    x: Any,
    name: str,
    layer: Layer,
    network: Network,
    formats: Mapping[str, InputFormat] | None,
    made: Mapping[str, Any],
) -> Any:
    """One layer behind the tensor x, with its roundings."""
    keras = load().keras
    axes = len(x.shape) - 2
    if isinstance(layer, Conv | MaxPool | AveragePool) and axes not in (1, 2):
        raise ValueError("it needs (steps, channels) or (rows, columns, channels)")
    if isinstance(layer, Standardise):
        # epsilon 0: computes exactly x * scale + shift
        x = keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name=name)(x)
        return _rounded(x, formats, name, "scaled")
    if isinstance(layer, Dense | Conv):
        x = _weighted(layer, name, axes, network, formats)(x)
        return _rounded(x, formats, name, f"{name}_rounded")
    if isinstance(layer, MaxPool):
        return getattr(keras.layers, f"MaxPooling{axes}D")(layer.window, name=name)(x)
    if isinstance(layer, AveragePool):
        x = getattr(keras.layers, f"AveragePooling{axes}D")(layer.window, name=name)(x)
        return _rounded(x, formats, name, f"{name}_rounded")
    if isinstance(layer, Activation):
        return _activation(x, name, layer, formats)
    if isinstance(layer, Add):
        x = keras.layers.Add(name=name)([x, made[layer.source]])
        return _rounded(x, formats, name, f"{name}_rounded")
    if isinstance(layer, Dropout):
        return keras.layers.Dropout(layer.share, name=name)(x)
    kind = keras.layers.Flatten if isinstance(layer, Flatten) else keras.layers.BatchNormalization
    return kind(name=name)(x)


def _weighted(
    layer: Dense | Conv,
    name: str,
    axes: int,
    network: Network,
    formats: Mapping[str, InputFormat] | None,
) -> Any:
    kit = load()
    options: dict[str, Any] = {"name": name, "kernel_initializer": network.initializer}
    if network.l1 or network.l2:
        options["kernel_regularizer"] = kit.keras.regularizers.L1L2(network.l1, network.l2)
    if formats is not None:
        for part in ("kernel", "bias"):
            options[f"{part}_quantizer"] = _quantizer(formats[f"{name}.{part}"])
    package, prefix = (kit.keras.layers, "") if formats is None else (kit.qkeras, "Q")
    if isinstance(layer, Dense):
        return getattr(package, f"{prefix}Dense")(layer.units, **options)
    options |= {"strides": layer.stride, "padding": layer.padding}
    return getattr(package, f"{prefix}Conv{axes}D")(layer.filters, layer.window, **options)


def _activation(
    x: Any, name: str, layer: Activation, formats: Mapping[str, InputFormat] | None
) -> Any:
    kit = load()
    layers, function = kit.keras.layers, layer.function
    if formats is not None and function == "relu":
        found = formats[name]
        if not found.signed:  # one layer that rounds and clips at zero
            text = f"quantized_relu({found.width},{found.integer})"
            return kit.qkeras.QActivation(text, name=name)(x)
    if function == "softmax":
        x = _rounded(x, formats, f"{name}.input", "logits")
        if formats is not None:
            found = formats[f"{name}.input"]
            wider = InputFormat(found.width + 1, found.integer + 1, found.signed)
            x = kit.qkeras.QActivation(_quantizer(wider), name="softmax_input")(x)
    else:
        x = _rounded(x, formats, f"{name}.input", f"{name}_input")
    if function == "leaky_relu":
        x = layers.LeakyReLU(layer.slope, name=name)(x)
    elif function != "linear" or formats is None:
        x = layers.Activation(function, name=name)(x)
    return _rounded(x, formats, name, f"{name}_rounded")


def _rounded(x: Any, formats: Mapping[str, InputFormat] | None, point: str, layer_name: str) -> Any:
    """x rounded by a layer of that name if the table has a format for the point."""
    if formats is None or point not in formats:
        return x
    return load().qkeras.QActivation(_quantizer(formats[point]), name=layer_name)(x)


def _quantizer(form: InputFormat) -> str:
    """As text: .keras files cannot hold the objects in QActivation."""
    signed = int(form.signed)
    return f"quantized_bits({form.width},{form.integer - signed},0,{signed},alpha=1)"


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
