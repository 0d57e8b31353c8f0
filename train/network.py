"""One description of a network, built in float or quantized by a table of formats.

    Network((8, 8, 1), (Conv(8, 3), "relu", MaxPool(2), Flatten(), Dense(10), "softmax"))

The layers are in `layers.py`. `points` names every number that a quantized network rounds;
`build` (`build.py`) makes the Keras network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from samebits import errors

from .layers import Activation, Function, Layer, Standardise, either

__all__ = ["Initializer", "Network", "points"]

Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"]


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
        kind = layer.function if isinstance(layer, Activation) else layer.kind
        counts[kind] += 1
        yield layer.name or (kind if layer.once else f"{kind}_{counts[kind]}")


def _complaints(network: Network) -> Iterator[str]:
    if not network.layers:
        yield "has no layers; at least one is needed"
    if not network.inputs or min(network.inputs) < 1 or len(network.inputs) > 3:
        yield f"inputs: got {network.inputs}; wanted one to three positive sizes of an event"
    if network.initializer not in get_args(Initializer):
        yield f"initializer: got {network.initializer!r}; wanted {either(Initializer)}"
    if min(network.l1, network.l2) < 0:
        yield f"penalties: got l1={network.l1:g}, l2={network.l2:g}; wanted 0 or more"
    if "input" in network.names:
        yield "a layer is called 'input', which names the inputs; give it another name"
    for name in sorted({n for n in network.names if network.names.count(n) > 1}):
        yield f"two layers are called {name!r}; give each its own name"
    before: Layer | None = None
    for number, (name, layer) in enumerate(network):
        softmax = isinstance(layer, Activation) and layer.function == "softmax"
        if softmax and number != len(network.layers) - 1:
            yield f"{name}: softmax must be the last layer"
        for complaint in layer.complaints(before, ("input", *network.names[:number])):
            yield f"{name}: {complaint}"
        before = layer


def points(network: Network) -> tuple[str, ...]:
    """What a quantized network rounds, in order: the keys of its table of formats.

    `input`; of a layer `d` the weights `d.kernel`, `d.bias`, the output `d`, and `d.input` in front
    of a table: a table of 1024 entries then has one for every value of 10 bits.

    >>> points(Network((2,), (Dense(4), "relu", Dense(2), "softmax")))[:4]
    ('input', 'dense_1.kernel', 'dense_1.bias', 'relu_1')
    """
    found = ["input"]
    layers = dict(network)
    sources = {source for layer in layers.values() for source in layer.sources}
    following = [*list(layers.values())[1:], None]
    for (name, layer), behind in zip(network, following, strict=True):
        parts = layer.points(behind, name in sources)
        found += [f"{name}.{part}" if part else name for part in parts]
    return tuple(found)
