"""Functions that jump between a few values, as sums of steps that one Quant node each can make."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graph import GraphBuilder
from .grid import Grid

__all__ = ["LOGARITHM", "Step", "add_steps", "find_steps", "negative", "sign"]

LOGARITHM = "TensorFlow's logarithm may round to the other side of a tie"
_LARGEST = 0x7F7FFFFF  # the bits of float32's largest finite number

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """A function rises by `height` at `start`, which belongs to the upper side."""

    start: np.float32
    height: np.float32


def negative(graph: GraphBuilder, x: str, name: str) -> str:
    """-1 where x < 0, else 0: the floor of min(x, 0), clipped to 2 bits.

    One signed bit would be -1 and 0 in ONNX Runtime and hls4ml, but -1 and 1 in qonnx.
    """
    minus = (_number(graph, f"{name}_{role}", -1) for role in ("minus", "again"))
    y = graph.node("Mul", f"{name}_flipped", [x, next(minus)])
    y = graph.node("Mul", f"{name}_below", [graph.node("Relu", f"{name}_depth", [y]), next(minus)])
    return graph.quant(name, y, Grid(2, 0, signed=True, narrow=True), "FLOOR")


def sign(graph: GraphBuilder, x: str, name: str) -> str:
    """-1 where x < 0, else 1."""
    y = negative(graph, x, f"{name}_negative")
    y = graph.node("Mul", f"{name}_twice", [y, _number(graph, f"{name}_two", 2)])
    return graph.node("Add", name, [y, _number(graph, f"{name}_one", 1)])


def find_steps(function: Callable[[Floats], Any]) -> tuple[np.float32, list[Step]]:
    """Where a rising function of float32 numbers jumps, and its largest value.

    It must have few values, all of them taken within a fifth above some power of two, at 0, or
    below 0 at the same magnitudes. The starts are found by bisection over the bits of float32.
    """
    below = [
        Step(np.nextafter(-one.start, np.float32(np.inf)), one.height)
        for one in _rising(lambda x: -_values(function, -x))
        if one.start > np.finfo(np.float32).tiny
    ]
    above = _rising(lambda x: _values(function, x))
    zero, tiny = np.float32(0), np.finfo(np.float32).tiny
    jump = _values(function, np.asarray([zero, -tiny]))
    middle = [Step(zero, jump[0] - jump[1])] if jump[0] != jump[1] else []
    largest = _values(function, np.asarray([_LARGEST], np.uint32).view(np.float32))[0]
    return largest, [*reversed(below), *middle, *above]


def _rising(function: Callable[[Floats], Floats]) -> list[Step]:
    """The steps above zero of a function that rises with the magnitude."""
    powers = np.exp2(np.arange(-126, 128, dtype=np.float32))
    samples = np.concatenate([[0], powers, powers * np.float32(1.2)]).astype(np.float32)
    values = np.unique(function(samples))
    low = np.zeros(len(values) - 1, np.int64)  # below the step
    high = np.full(len(values) - 1, _LARGEST, np.int64)  # on it
    while np.any(high - low > 1):
        middle = (low + high) // 2
        reached = function(middle.astype(np.uint32).view(np.float32)) >= values[1:]
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    starts = high.astype(np.uint32).view(np.float32)
    return [Step(*pair) for pair in zip(starts, np.diff(values), strict=True)]


def _values(function: Callable[[Floats], Any], x: Floats) -> Floats:
    return np.asarray(function(x), np.float32)


def add_steps(
    graph: GraphBuilder, x: str, name: str, largest: np.float32, steps: list[Step], caveat: str
) -> str:
    """The function with these steps: its largest value, less every step that x has not reached.

    `caveat` is noted at every step but that at zero, which is the sign of x.
    """
    sums = [f"{name}_sum_{index}" for index in range(len(steps) - 1)] + [name]
    y = _number(graph, f"{name}_largest", largest)
    for index, (step, total) in enumerate(zip(steps, sums, strict=True)):
        role, source = f"{name}_step_{index}", x
        if step.start:
            start = _number(graph, f"{role}_start", -step.start)
            source = graph.node("Add", f"{role}_room", [x, start])
            graph.caveats[f"{role}_missed"] = caveat
        missed = negative(graph, source, f"{role}_missed")
        height = _number(graph, f"{role}_height", step.height)
        missed = graph.node("Mul", f"{role}_lost", [missed, height])
        y = graph.node("Add", total, [missed, y])
    return y


def _number(graph: GraphBuilder, name: str, value: float | np.float32) -> str:
    return graph.short_constant(name, np.asarray(value, np.float32))
