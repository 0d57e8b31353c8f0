"""The layers of a network's description: one short class for each kind.

A class holds what a user writes, `kind` (the name of the layer, with a number, if it is given
none), `points` (what it rounds, quantized) and `complaints` (what makes no sense). How Keras builds
a kind stands in `build.py`, in a function of its own and a line of the table there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

__all__ = [
    "Activation",
    "Add",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "Function",
    "Layer",
    "MaxPool",
    "Standardise",
    "Weighted",
    "either",
]

Function = Literal["relu", "leaky_relu", "elu", "sigmoid", "tanh", "softmax", "linear"]
TABLES = ("sigmoid", "tanh", "softmax")  # functions that hls4ml takes from a table of 1024 entries


@dataclass(frozen=True)
class Layer:
    """What every kind has; `kind` alone is the name of a layer that can stand only once."""

    kind: ClassVar[str] = ""
    once: ClassVar[bool] = False
    name: str = field(default="", kw_only=True)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of earlier layers whose outputs it takes beside that of the layer before it."""
        return ()

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        """What is rounded: parts such as "kernel", and "" for the output.

        `behind` is the next layer, `used` whether a later layer takes the output as a source.
        """
        return ()

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        """What makes no sense behind the layer `before` and the layers named `earlier`."""
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, int) and value < 1:
                yield f"{part.name} is {value}; wanted 1 or more"
        for source in self.sources:
            if source not in earlier:
                known = ", ".join(earlier)
                yield f"no layer {source!r} stands before it; there are {known}"


class Weighted(Layer):
    """A layer with kernel and bias, into which a batch normalisation can be folded."""

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        """Kernel, bias, and the output unless the next layer rounds it."""
        rounded = used or not isinstance(behind, Activation | BatchNorm)
        return ("kernel", "bias", "") if rounded else ("kernel", "bias")


@dataclass(frozen=True)
class Standardise(Layer):
    """z = x * scale + shift per channel, chosen from the training part and not trained."""

    kind = "scaling"
    once = True

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("",)

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if before is not None:
            yield "standardises the inputs and must be the first layer"


@dataclass(frozen=True)
class Dense(Weighted):
    """Every input times a weight, plus a bias."""

    kind = "dense"
    units: int


@dataclass(frozen=True)
class Conv(Weighted):
    """A convolution over one axis (steps, channels) or two (rows, columns, channels)."""

    kind = "conv"
    filters: int
    window: int
    stride: int = 1
    padding: Literal["valid", "same"] = "valid"


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest number of each window, channel by channel; windows do not overlap."""

    kind = "max_pool"
    window: int


@dataclass(frozen=True)
class AveragePool(Layer):
    """The mean of each window, channel by channel; windows do not overlap."""

    kind = "average_pool"
    window: int

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("",)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation right behind a dense layer or convolution; quantized, it is folded."""

    kind = "batch_norm"

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if not isinstance(before, Dense | Conv):
            yield "must stand right behind a Dense or Conv layer, where it can be folded"


@dataclass(frozen=True)
class Activation(Layer):
    """A function of every number (softmax: of all of them); `slope` is that of leaky_relu."""

    function: Function
    slope: float = 0.125

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        if self.function not in TABLES:
            return ("",)
        return ("input",) if behind is None else ("input", "")

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if self.function not in get_args(Function):
            yield f"there is no function {self.function!r}; wanted {either(Function)}"


@dataclass(frozen=True)
class Flatten(Layer):
    """All numbers on one axis."""

    kind = "flatten"


@dataclass(frozen=True)
class Dropout(Layer):
    """Sets a share of the numbers to zero, in training only."""

    kind = "dropout"
    share: float

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if not 0 < self.share < 1:
            yield f"share is {self.share:g}; wanted more than 0, less than 1"


@dataclass(frozen=True)
class Add(Layer):
    """The numbers so far plus the output of the layer called `source`: a residual block."""

    kind = "add"
    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("",)


def either(names: Any) -> str:
    """The choices of a Literal as a list for messages."""
    return ", ".join(get_args(names))
