"""Layers for events of several rows (n, features), such as the constituents of a jet.

`Dense` on rows has the same weights for every row: `Dense` layers and a `SetPool` behind them are a
deep set. Rows that pad an event with zeros are known by their first number, the one that is above
zero for every real row (of a constituent: its pT), as the firmware sees it behind its rounding.

Source of the deep set: arXiv:1703.06114, arXiv:1810.05165; of attention: arXiv:1706.03762.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from .layers import Activation, Dropout, Layer, either

__all__ = ["Cell", "Pooling", "Recurrent", "SelfAttention", "SetPool"]

Pooling = Literal["sum", "mean", "max"]
Cell = Literal["simple", "lstm", "gru"]


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
