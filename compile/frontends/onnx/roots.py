"""Square roots: a table with an entry for every number that may come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from samebits import errors

from .nodes import Check, any_use, layer_node
from .storage import Layout, Rule, exact_type, precision_of, quantized_values

__all__ = ["CHECKS", "RULES"]

MOST_BITS = 12  # of the numbers that a table has an entry for
ENTRY_BITS = 18  # where no quantizer follows


def _sqrt(layout: Layout, node: onnx.NodeProto) -> None:
    """hls4ml's UnaryLUT, whose index is the bits of the unsigned number.

    The entries are what the quantizer behind it makes of the root in float32, so that nothing is
    rounded twice; without one they have 18 bits.
    """
    x, y = node.input[0], node.output[0]
    have, grid = layout.stored[x], layout.grid(x)
    if grid is None or grid.attributes.signed or grid.width > MOST_BITS:
        raise errors.UnsupportedError(
            "becomes a table with an entry for every number: put an unsigned Quant node of at most "
            f"{MOST_BITS} bits right before it"
        )
    numbers = np.ldexp(np.arange(1 << grid.width), grid.integer - grid.width)
    readers = layout.readers.get(y, [])
    behind = readers[0] if len(readers) == 1 else None
    if behind is not None and behind.op_type == "Quant" and layout.grid(behind.output[0]):
        operands = [layout.value(name) for name in behind.input[1:4]]
        roots = quantized_values(behind, np.sqrt(numbers.astype(np.float32)), *operands)
    else:
        fraction = ENTRY_BITS - -(-grid.integer // 2)
        steps = np.rint(np.ldexp(np.sqrt(numbers), fraction))
        roots = np.ldexp(np.minimum(steps, 2.0**ENTRY_BITS - 1), -fraction).astype(np.float32)
    entry = precision_of(exact_type(roots) or [1, 1, 0])
    layer = layer_node(
        *("UnaryLUT", node.name, [have.name], y),
        precision={"table": entry, "result": entry},
        activation="unary_lut",
        table_of=[grid.width, grid.integer, 0],
        table_data=roots,
    )
    layout.emit(layer, y, replace(have, name=y))


CHECKS: dict[str, Check] = {"Sqrt": any_use}
RULES: dict[str, Rule] = {"Sqrt": _sqrt}
