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


def _dot(call: Call) -> str:
    """The scalar product of two vectors per event: shape (1,)."""
    layer = call.layer
    axes = layer.axes if isinstance(layer.axes, list | tuple) else [layer.axes] * 2
    if (
        layer.normalize
        or any(len(s) != 1 for s in call.shapes)
        or any(a not in (1, -1) for a in axes)
    ):
        raise errors.UnsupportedError(
            f"axes={layer.axes}, normalize={layer.normalize} of shapes "
            f"{', '.join(map(str, call.shapes))}: supported are two vectors, axes=1 or -1, not "
            "normalized"
        )
    graph, name = call.graph, call.name
    product = graph.node("Mul", f"{name}_products", list(call.inputs))
    return graph.node("ReduceSum", name, [product, graph.integers(f"{name}_axes", [1])], keepdims=1)


LAYERS: dict[str, Export] = {
    "Add": _merge("Add"),
    "Average": _average,
    "Concatenate": _concatenate,
    "Dot": _dot,
    "Maximum": _merge("Max"),
    "Minimum": _merge("Min"),
    "Multiply": _merge("Mul"),
    "Subtract": _merge("Sub"),
}
