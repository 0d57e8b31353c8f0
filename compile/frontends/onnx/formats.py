"""The quantizers of a model one by one: their formats read, and other ones given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from samebits import errors

from ..quant import QuantGrid, grid_of
from .constants import Names, add_constant, constants_of, drop_unused, fold_constants
from .file import runnable
from .qdq import to_qonnx
from .rewidth import between_products

__all__ = ["Quantizer", "quantizers", "with_formats"]


@dataclass(frozen=True)
class Quantizer:
    """A quantizer of weights, or of what one layer hands to the next.

    `name` is the tensor that it makes; `grid` is None where `why` says what it is instead of one
    fixed-point type.
    """

    name: str
    weights: bool
    grid: QuantGrid | None
    why: str = ""


def quantizers(model: onnx.ModelProto) -> tuple[Quantizer, ...]:
    """The quantizers whose formats may change, in order.

    Those that `rewidth` changes, and those of scaled inputs: the formats of the model's own inputs
    and of its final scores stay.

    Raises:
        UnsupportedError: what compiling refuses, too.
    """
    fresh = _plain(model)
    constants = constants_of(fresh)
    found = []
    for node in between_products(fresh.graph, scaled=True):
        operands = [constants.get(name) for name in node.input[1:4]]
        scale, zero, bits = operands
        grid = None
        why = "its scale, zero point or width is computed while the network runs"
        if scale is not None and zero is not None and bits is not None:
            grid = grid_of(node, scale, zero, bits)
            why = "" if grid else "its scales are not one power of two, or its zero point is not 0"
        found.append(Quantizer(node.output[0], node.input[0] in constants, grid, why))
    return tuple(found)


def with_formats(model: onnx.ModelProto, formats: Mapping[str, tuple[int, int]]) -> onnx.ModelProto:
    """The model with other (width, integer bits) for quantizers, by name; ONNX Runtime runs it.

    Weights are rounded again from the numbers that their old quantizer makes of them: the same
    weights as before go into every new format. Nothing is trained.

    Raises:
        UnsupportedError: no such quantizer, or it has not one fixed-point type.
    """
    fresh = _plain(model)
    constants, names = constants_of(fresh), Names(fresh)
    nodes = {node.output[0]: node for node in between_products(fresh.graph, scaled=True)}
    for name, (width, integer) in formats.items():
        node = nodes.get(name)
        operands = [] if node is None else [constants.get(one) for one in node.input[1:4]]
        scale, zero, bits = operands if len(operands) == 3 else (None, None, None)
        grid = None
        if node is not None and scale is not None and zero is not None and bits is not None:
            grid = grid_of(node, scale, zero, bits)
        if node is None or grid is None or scale is None:
            raise errors.UnsupportedError(
                f"{name}: is no quantizer with one fixed-point type between the network's layers; "
                f"those are {', '.join(nodes)}"
            )
        if (grid.width, grid.integer) == (width, integer):
            continue
        values = constants.get(node.input[0])
        replaced: list[tuple[int, Any]] = [
            (1, np.full_like(scale, 2.0 ** (integer - width))),
            (3, np.float32(width)),
        ]
        if values is not None:
            replaced.append((0, quantized(values, grid)))
        for position, new in replaced:
            fresh_name = names.fresh(f"{node.input[position]}_{width}_{integer}")
            add_constant(fresh, fresh_name, new)
            node.input[position] = fresh_name
    drop_unused(fresh)
    return runnable(fresh.SerializeToString())


def quantized(values: NDArray[Any], grid: QuantGrid) -> NDArray[np.float32]:
    """What a Quant node makes of constants.

    Source: qonnx 1.0, custom_op/general/intquant.py, `int_quant`: clipped, then rounded.
    """
    attributes = grid.attributes
    levels = 2.0 ** (grid.width - attributes.signed)
    low = -levels + attributes.narrow if attributes.signed else 0.0
    step = np.exp2(np.float64(grid.integer - grid.width))
    clipped = np.clip(np.asarray(values, np.float64) / step, low, levels - 1)
    whole = np.rint(clipped) if attributes.rounding == "ROUND" else np.floor(clipped)
    return np.asarray(whole * step, dtype=np.float32)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    fresh, _ = to_qonnx(model)  # what it refuses, compiling refuses too
    fold_constants(fresh)
    return fresh
