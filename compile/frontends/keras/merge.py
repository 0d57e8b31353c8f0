"""Keras layers of several inputs as ONNX."""

import functools
from collections.abc import Callable

import numpy as np

from samebits import errors

from .call import Call, Export

__all__ = ["LAYERS"]


def _chain(call: Call, operator: str, last: str) -> str:
    """x0 op x1 op x2 ..., as Keras does: from the left, two at a time."""
    ranks = {len(shape) for shape in call.shapes}
    if len(ranks) > 1:
        raise errors.UnsupportedError(
            f"inputs of shapes {', '.join(map(str, call.shapes))}: supported is one rank; put a "
            "Reshape before the smaller one"
        )
    x = call.inputs[0]
    for index, other in enumerate(call.inputs[1:], 1):
        end = index == len(call.inputs) - 1
        x = call.graph.node(operator, last if end else f"{call.name}_{index}", [x, other])
    return x


def _merge(operator: str) -> Callable[[Call], str]:
    return lambda call: _chain(call, operator, call.name)


def _average(call: Call) -> str:
    """(x0 + x1 + ...) / count; a product where the count is a power of two, which is the same."""
    graph, name, count = call.graph, call.name, len(call.inputs)
    total = _chain(call, "Add", f"{name}_sum")
    if count & (count - 1):
        number = graph.constant(f"{name}_count", np.asarray(count, np.float32))
        return graph.node("Div", name, [total, number])
    part = graph.short_constant(f"{name}_part", np.asarray(1 / count, np.float32))
    return graph.node("Mul", name, [total, part])


def _concatenate(call: Call) -> str:
    axis = int(call.layer.axis) % (len(call.shape) + 1)
    if axis == 0:
        raise errors.UnsupportedError("axis=0 joins events; supported are the other axes")

    def join(x: str, other: tuple[int, str]) -> str:
        index, y = other
        end = index == len(call.inputs) - 1
        name = call.name if end else f"{call.name}_{index}"
        return call.graph.node("Concat", name, [x, y], axis=axis)

    # two at a time: hls4ml's Concatenate has two inputs
    return functools.reduce(join, enumerate(call.inputs[1:], 1), call.inputs[0])


LAYERS: dict[str, Export] = {
    "Add": _merge("Add"),
    "Average": _average,
    "Concatenate": _concatenate,
    "Maximum": _merge("Max"),
    "Minimum": _merge("Min"),
    "Multiply": _merge("Mul"),
    "Subtract": _merge("Sub"),
}
