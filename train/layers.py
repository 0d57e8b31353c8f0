"""The layers of a network's description: one short class for each kind.

A class holds what a user writes, `kind` (the name of the layer, with a number, if it is given
none), `points` (what it rounds, quantized) and `complaints` (what makes no sense). How Keras builds
a kind stands in `build.py`, in a function of its own and a line of the table there.

Events may be rows (n, features), such as the constituents of a jet. `Dense` on rows has the same
weights for every row: `Dense` layers and a `SetPool` behind them are a deep set. Rows that pad an
event with zeros are known by their first number, the one that is above zero for every real row (of
a constituent: its pT), as the firmware sees it behind its rounding.

Source of the deep set: arXiv:1703.06114, arXiv:1810.05165; of attention: arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

Function = Literal["relu", "leaky_relu", "elu", "sigmoid", "tanh", "softmax", "linear"]
Pooling = Literal["sum", "mean", "max"]
Cell = Literal["simple", "lstm", "gru"]
TABLES = ("sigmoid", "tanh", "softmax")  # functions that hls4ml takes from a table of 1024 entries


@dataclass(frozen=True)
class Layer:
    """What every kind has; `kind` alone is the name of a layer that can stand only once."""

    kind: ClassVar[str] = ""
    once: ClassVar[bool] = False
    more_bits: ClassVar[int] = 0  # of its output's format, beyond those of activations
    covering: ClassVar[bool] = False  # all numbers seen, rather than the least mean squared error
    headroom: ClassVar[int] = 0  # integer bits above those of the numbers seen
    held_by: ClassVar[str] = ""  # the Keras layer with the weights is the name and this
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
            if type(value) is int and value < 1:
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
class L2Pool(Layer):
    """The root of the mean square of each window, channel by channel; windows do not overlap.

    The root is a table with an entry for every number of `.mean`: of at most 12 bits.
    """

    kind = "l2_pool"
    window: int

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("squares", "mean", "")


@dataclass(frozen=True)
class GlobalMaxPool(Layer):
    """The largest number of every channel."""

    kind = "global_max_pool"


@dataclass(frozen=True)
class GlobalAveragePool(Layer):
    """The mean of every channel."""

    kind = "global_average_pool"

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("",)


@dataclass(frozen=True)
class Maxout(Layer):
    """A dense layer of units * pieces numbers, and the largest of the pieces of every unit.

    Source: arXiv:1302.4389.
    """

    kind = "maxout"
    held_by = "_pieces"
    units: int
    pieces: int = 2

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("kernel", "bias", "")


@dataclass(frozen=True)
class Categories(Layer):
    """Of an event (F,) the last columns are numbers of categories, from 0.

    `categories` says how many there are in each of these columns, as they stand in the inputs. The
    other numbers stay, and behind them stand those that the layer puts in place of the categories.
    A number that is no category counts as the last one that the bits can say.
    """

    categories: tuple[int, ...]

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        yield from super().complaints(before, earlier)
        if before is not None and not isinstance(before, Standardise):
            yield "takes columns of the inputs: it must be the first layer, or behind Standardise"
        if not self.categories or min(self.categories) < 2:
            yield f"categories are {self.categories}; wanted 2 or more for each of the last columns"


@dataclass(frozen=True)
class Embedding(Categories):
    """In place of every category `size` numbers, which are trained."""

    kind = "embedding"
    size: int = 4

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("",)


class OneHot(Categories):
    """In place of every category zeros and a one, at its place."""

    kind = "one_hot"


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
class Noise(Layer):
    """Adds normally distributed numbers of this spread, in training only."""

    kind = "noise"
    spread: float

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if self.spread <= 0:
            yield f"spread is {self.spread:g}; wanted more than 0"


@dataclass(frozen=True)
class Penalty(Layer):
    """Adds l2 * (sum of the squared numbers) to the loss, averaged over the events.

    Behind the latent numbers, with `Noise(1.0)` behind it, half the weight of the Kullback-Leibler
    divergence of a variational autoencoder whose latent spread is 1.
    """

    kind = "penalty"
    l2: float

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if self.l2 <= 0:
            yield f"l2 is {self.l2:g}; wanted more than 0"


@dataclass(frozen=True)
class Merge(Layer):
    """The numbers so far and the output of the layer `source` (or "input"), element by element."""

    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("",)


class Add(Merge):
    """The numbers so far plus the output of the layer called `source`: a residual block."""

    kind = "add"


class Subtract(Merge):
    """The numbers so far minus the output of the layer called `source`."""

    kind = "subtract"


class Multiply(Merge):
    """The numbers so far times the output of the layer called `source`."""

    kind = "multiply"


class Concatenate(Merge):
    """The numbers so far, and behind them those of the layer called `source`, on the last axis."""

    kind = "concatenate"


@dataclass(frozen=True)
class Square(Layer):
    """Every number times itself; in front of a sum it is not rounded."""

    kind = "square"

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return () if isinstance(behind, Sum) and not used else ("",)


@dataclass(frozen=True)
class Sum(Layer):
    """One number: the sum of all, each times its weight, which is not trained.

    `weights` is one number for all or one for each.
    """

    kind = "sum"
    more_bits = 10  # a score is cut where the rate wants it
    covering = True
    headroom = 2  # for events unlike those seen
    weights: float | tuple[float, ...] = 1.0

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("kernel", "")


@dataclass(frozen=True)
class SetPool(Layer):
    """Sum, mean or maximum over the rows of an event, feature by feature: (n, f) to (f,).

    `padded`: rows of zeros count for nothing. The mean divides by the n rows of every event, also
    by those that pad; the maximum is taken of features that are not negative.
    """

    kind = "set_pool"
    how: Pooling
    padded: bool = True

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return () if self.how == "max" else ("",)

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        if self.how not in get_args(Pooling):
            yield f"there is no pooling {self.how!r}; wanted {either(Pooling)}"
        positive = isinstance(before, Activation) and before.function in ("relu", "sigmoid")
        if self.how == "max" and self.padded and not (positive or isinstance(before, Dropout)):
            yield (
                "the maximum over padded rows needs features that are not negative: put relu or "
                "sigmoid before it, or give padded=False"
            )


@dataclass(frozen=True)
class SelfAttention(Layer):
    """Every row asks all rows: softmax(q k^T) v for each head, put together by a dense layer.

    (n, f) to (n, f), `size` numbers in each query, key and value. The usual division of the scores
    by sqrt(size) is left to the weights. `padded`: nobody looks at rows of zeros.
    """

    kind = "attention"
    heads: int
    size: int
    padded: bool = True

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        found = []
        for head in range(1, self.heads + 1):
            for role in ("query", "key", "value"):
                found += [f"{role}_{head}{part}" for part in (".kernel", ".bias", "")]
            found += [f"shares_{head}.input", f"shares_{head}", f"mix_{head}"]
        return (*found, "kernel", "bias", "")


@dataclass(frozen=True)
class Recurrent(Layer):
    """A cell that reads the rows in order: its last state (units,), or all of them (n, units).

    LSTM and GRU (reset after the product) are hls4ml's layers, with tanh and sigmoid from its
    tables; the simple cell, tanh, is written out step by step. `backwards`: the last row first, so
    that rows of zeros at the end are read before the real ones. They are steps as all others.
    """

    kind = "recurrent"
    cell: Cell
    units: int
    sequence: bool = False
    backwards: bool = False

    def points(self, behind: Layer | None, used: bool) -> tuple[str, ...]:
        return ("kernel", "recurrent", "bias", "")

    def complaints(self, before: Layer | None, earlier: tuple[str, ...]) -> Iterator[str]:
        yield from super().complaints(before, earlier)
        if self.cell not in get_args(Cell):
            yield f"there is no cell {self.cell!r}; wanted {either(Cell)}"


def either(names: Any) -> str:
    """The choices of a Literal as a list for messages."""
    return ", ".join(get_args(names))
