"""`Operation`: the record that holds everything samebits knows about one operation of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ..ir import Attr, Format, Interval, Tensor

__all__ = ["Array", "Operation", "Site"]

Array: TypeAlias = NDArray[Any]
Attrs: TypeAlias = Mapping[str, Attr]


@dataclass(frozen=True, slots=True)
class Site:
    """One use of an operation: its input tensors, attributes and output tensor."""

    inputs: tuple[Tensor, ...]
    attrs: Attrs
    output: Tensor

    def integer(self, name: str) -> int:
        """An integer attribute."""
        value = self.attrs[name]
        assert isinstance(value, int)
        return value

    def text(self, name: str) -> str:
        """A string attribute."""
        value = self.attrs[name]
        assert isinstance(value, str)
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute that is a tuple of integers."""
        value = self.attrs[name]
        assert isinstance(value, tuple)
        return value

    def format(self, name: str) -> Format:
        """An attribute that is a format."""
        value = self.attrs[name]
        assert isinstance(value, Format)
        return value


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation's rules; `compile/ops/<name>.py` holds them in this order.

    Args:
        name: the word in `Node.op`.
        family: "movement", "arithmetic", "table" or "cast".
        equation: the result, in words a reader can check against the kernel.
        arity: allowed numbers of inputs (min, max).
        attributes: attribute name -> type.
        shape: input tensors, attributes -> output shape without the batch axis.
        format: input tensors, attributes -> output format; loses no information except for casts.
        range: site, input intervals -> output interval; sound: no reachable value lies outside.
        peak: site, input intervals -> bound on the magnitude of all that the kernel computes, in
            any order of evaluation; decides the carrier.
        kernel: site, mantissas with the events as their last axis -> mantissas. All inputs and the
            result have one carrier; constants come with one event, which stands for all. Inputs
            stay as they are.
        into: the same for float carriers, with an array of the result's shape that may take the
            result. It may be one of the inputs, but not for `dot` and `lookup`.
    """

    name: str
    family: str
    equation: str
    arity: tuple[int, int]
    attributes: Mapping[str, type]
    shape: Callable[[Sequence[Tensor], Attrs], tuple[int, ...]]
    format: Callable[[Sequence[Tensor], Attrs], Format]
    range: Callable[[Site, Sequence[Interval]], Interval]
    peak: Callable[[Site, Sequence[Interval]], int]
    kernel: Callable[[Site, Sequence[Array]], Array]
    into: Callable[[Site, Sequence[Array], Array], Array] | None = None
