"""What range analysis proves about a design, in a form for people."""

from __future__ import annotations

from dataclasses import dataclass

from samebits.compile.ir import Format, Graph
from samebits.compile.passes import propagate_ranges

__all__ = ["TensorRange", "tensor_ranges"]


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The proven range of one tensor.

    `low` and `high` are real values that no input whatever can exceed; `spare_bits` is how many
    bits narrower the format could be; `can_overflow` is False where the cast that makes the
    tensor is proven never to wrap or saturate.
    """

    format: Format
    low: float
    high: float
    spare_bits: int
    can_overflow: bool

    @property
    def verdict(self) -> str:
        """The proof in words."""
        return "may overflow" if self.can_overflow else "cannot overflow"


def tensor_ranges(graph: Graph) -> dict[str, TensorRange]:
    """The ranges of inputs, of what every layer makes (by layer name) and of every cast."""
    intervals = propagate_ranges(graph)
    overflowing = {
        node.output
        for node in graph.nodes
        if (node.op == "cast" and not node.attrs["bounded"]) or node.op == "accumulate"
    }
    names = {name: name for name in graph.inputs}
    names |= {node.output: node.output for node in graph.nodes if node.op in ("cast", "accumulate")}
    names |= {layer.tensor: layer.name for layer in graph.layers}
    result = {}
    for tensor, name in names.items():
        fmt, interval = graph.tensors[tensor].format, intervals[tensor]
        needed = Format.spanning(interval.minimum, interval.maximum, fmt.fraction)
        result[name] = TensorRange(
            fmt,
            interval.minimum * fmt.lsb,
            interval.maximum * fmt.lsb,
            max(0, fmt.width - needed.width - (fmt.signed and not needed.signed)),
            tensor in overflowing,
        )
    return result
