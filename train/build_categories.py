"""How Keras builds the layers that take categories: `Embedding` and `OneHot`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .layers import Categories, Embedding, Layer, OneHot
from .scaling import InputFormat
from .tensorflow import load

if TYPE_CHECKING:
    from .build import Making

__all__ = ["BUILDERS"]

ONE_BIT = InputFormat(1, 1, False)


def _embedding(x: Any, name: str, layer: Embedding, making: Making) -> Any:
    tables = [
        load().keras.layers.Embedding(1 << _bits(count), layer.size, name=f"{name}_{number}")
        for number, count in enumerate(layer.categories, start=1)
    ]
    return _in_place(x, name, layer, making, tables, None)


def _one_hot(x: Any, name: str, layer: OneHot, making: Making) -> Any:
    """Tables of zeros and ones; beyond the last category only zeros."""
    keras = load().keras
    tables = []
    for number, count in enumerate(layer.categories, start=1):
        rows = np.eye(1 << _bits(count), count).tolist()
        tables.append(
            keras.layers.Embedding(
                *(1 << _bits(count), count),
                embeddings_initializer=keras.initializers.Constant(rows),
                trainable=False,
                name=f"{name}_{number}",
            )
        )
    return _in_place(x, name, layer, making, tables, ONE_BIT)


def _bits(categories: int) -> int:
    """Of a number below `categories`: a table of 2^bits rows has one for whatever they say."""
    return (categories - 1).bit_length()


def _in_place(
    x: Any,
    name: str,
    layer: Categories,
    making: Making,
    tables: list[Any],
    form: InputFormat | None,
) -> Any:
    """x without its last columns, then the rows of the tables that these name in the inputs."""
    keras, inputs = load().keras, making.made["input"]
    count, columns = int(inputs.shape[-1]), len(layer.categories)
    if len(x.shape) != 2 or count < columns:
        raise ValueError(f"it needs events (columns,) with at least {columns}")
    if making.formats is not None:
        given, highest = making.formats["input"], max(layer.categories) - 1
        if given.lsb > 1 or given.high < highest:
            raise ValueError(f"{given} of the input does not hold the numbers 0 to {highest}")
    rows = []
    for number, (categories, table) in enumerate(zip(layer.categories, tables, strict=True), 1):
        left = count - columns + number - 1
        label = f"{name}_{number}"
        index = _cut(inputs, left, count - left - 1, f"{label}_column")
        if making.formats is not None:
            bits = _bits(categories)
            index = making.cast(index, InputFormat(bits, bits, False), f"{label}_number")
        rows.append(keras.layers.Flatten(name=f"{label}_row")(table(index)))
    if columns > 1:
        made = keras.layers.Concatenate(name=name)(rows)
    else:
        made = keras.layers.Reshape((int(rows[0].shape[-1]),), name=name)(rows[0])
    if making.formats is not None:
        form = form or making.formats[name]
        made = making.cast(made, form, f"{name}_rounded")
    if count == columns:
        return made
    joined = keras.layers.Concatenate(name=f"{name}_joined")(
        [_cut(x, 0, columns, f"{name}_others"), made]
    )
    if making.formats is None:
        return joined
    assert form is not None
    before = making.formats["scaling" if "scaling" in making.formats else "input"]
    return making.cast(joined, _both(before, form), f"{name}_joined_rounded")


def _cut(x: Any, left: int, right: int, name: str) -> Any:
    """x without that many numbers on both sides."""
    layers = load().keras.layers
    x = layers.Reshape((int(x.shape[-1]), 1), name=f"{name}_rows")(x)
    x = layers.Cropping1D((left, right), name=f"{name}_cut")(x)
    return layers.Flatten(name=name)(x)


def _both(first: InputFormat, second: InputFormat) -> InputFormat:
    """The format that holds all numbers of both."""
    signed = first.signed or second.signed
    integer = max(form.integer + (signed and not form.signed) for form in (first, second))
    fraction = max(form.width - form.integer for form in (first, second))
    return InputFormat(integer + fraction, integer, signed)


BUILDERS: dict[type[Layer], Callable[[Any, str, Any, Making], Any]] = {
    Embedding: _embedding,
    OneHot: _one_hot,
}
