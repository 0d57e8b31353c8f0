"""Layers that only order their elements anew."""

from __future__ import annotations

from typing import Any

from samebits import errors

from ..ir import Tensor
from .context import Context, Lowering

__all__ = ["LAYERS", "lower_reshape"]


def lower_reshape(context: Context, layer: Any) -> Tensor:
    """The same elements in the same order; in io_parallel it is no code at all.

    Source: fpga/passes/inplace_parallel_reshape.py.
    """
    if context.io_type != "io_parallel":
        raise errors.UnsupportedError(
            f"{context.where(layer)}: is supported in io_parallel only; streams are packed anew"
        )
    shape = tuple(int(size) for size in layer.get_output_variable().shape)
    return context.build.reshape(context.input(layer), shape)


LAYERS: dict[str, Lowering] = {
    "Reshape": lower_reshape,
}
