"""Keras layers that only move numbers, as ONNX; all of them are exact."""

from typing import Any

from samebits import errors

from .call import Call, Export

__all__ = ["LAYERS"]


def _flatten(call: Call) -> str:
    call.channels_last()
    if len(call.shapes[0]) == 1:
        return call.x
    return call.graph.node("Flatten", call.name, [call.x], axis=1)


def _reshape(call: Call) -> str:
    if call.shape == call.shapes[0]:
        return call.x
    shape = call.graph.integers(f"{call.name}_shape", [0, *call.shape])
    return call.graph.node("Reshape", call.name, [call.x, shape])


def _permute(call: Call) -> str:
    axes = [0, *(int(axis) for axis in call.layer.dims)]
    return call.graph.node("Transpose", call.name, [call.x], perm=axes)


def _zero_padding(call: Call) -> str:
    call.channels_last()
    front, back = _sides(call.layer.padding, len(call.shape) - 1)
    pads = call.graph.integers(f"{call.name}_pads", [0, *front, 0, 0, *back, 0])
    return call.graph.node("Pad", call.name, [call.x, pads])


def _cropping(call: Call) -> str:
    call.channels_last()
    graph, name = call.graph, call.name
    front, back = _sides(call.layer.cropping, len(call.shape) - 1)
    ends = [size - cut for size, cut in zip(call.shapes[0], back, strict=False)]
    operands = [
        graph.integers(f"{name}_starts", front),
        graph.integers(f"{name}_ends", ends),
        graph.integers(f"{name}_axes", list(range(1, len(front) + 1))),
    ]
    return graph.node("Slice", name, [call.x, *operands])


def _sides(value: Any, count: int) -> tuple[list[int], list[int]]:
    """What is added or cut in front and behind, per axis of the space."""
    pairs = [value] if count == 1 and not isinstance(value[0], list | tuple) else value
    return [int(pair[0]) for pair in pairs], [int(pair[1]) for pair in pairs]


def _up_sampling(call: Call) -> str:
    """Every element `size` times along every axis of the space."""
    call.channels_last()
    layer = call.layer
    if getattr(layer, "interpolation", "nearest") != "nearest":
        raise errors.UnsupportedError(
            f"interpolation={layer.interpolation!r}: supported is 'nearest'"
        )
    size = layer.size if isinstance(layer.size, list | tuple) else [layer.size]
    scales = call.graph.constant(f"{call.name}_scales", [1.0, *map(float, size), 1.0])
    return call.graph.node(
        "Resize",
        call.name,
        [call.x, "", scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _repeat_vector(call: Call) -> str:
    graph, name, count = call.graph, call.name, int(call.layer.n)
    shape = graph.integers(f"{name}_shape", [0, 1, call.shape[-1]])
    row = graph.node("Reshape", f"{name}_row", [call.x, shape])
    return graph.node("Tile", name, [row, graph.integers(f"{name}_repeats", [1, count, 1])])


LAYERS: dict[str, Export] = {
    "Cropping1D": _cropping,
    "Cropping2D": _cropping,
    "Flatten": _flatten,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Reshape": _reshape,
    "UpSampling1D": _up_sampling,
    "UpSampling2D": _up_sampling,
    "ZeroPadding1D": _zero_padding,
    "ZeroPadding2D": _zero_padding,
}
