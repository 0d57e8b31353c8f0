"""How many entries hls4ml's tables of functions have.

A table of sigmoid, tanh or softmax has 1024 entries unless more are asked for; its index is cut
off, so that the answer is that of the entry below. Source: hls4ml 1.3, nnet_activation.h, and
`table_size` in backends/vivado/vivado_backend.py and backends/fpga/fpga_backend.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from samebits import errors

from ...target import TABLE_SIZE, Target
from .names import settings_names

__all__ = ["set_table_sizes"]

_FUNCTIONS = ("Elu", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh")
_CELLS = ("hls4ml.Bidirectional", "hls4ml.GRU", "hls4ml.LSTM")


def set_table_sizes(
    model: onnx.ModelProto, layers: dict[str, Any], own: Mapping[str, str], target: Target
) -> None:
    """Writes the target's table sizes into hls4ml's settings of the layers that have tables.

    Args:
        layers: hls4ml's settings by layer; own: hls4ml's keys by the model's own names.

    Raises:
        UsageError: a size for a layer without a table.
    """
    sizes = target.table_sizes
    tabled = [node.name for node in model.graph.node if node.op_type in (*_FUNCTIONS, *_CELLS)]
    keys = settings_names(sizes, {name: None for name in tabled}, own)
    for name in sizes:
        if name != "default" and name not in keys:
            raise errors.UsageError(
                f"table_size: no layer {name!r} has a table; layers with tables: "
                f"{', '.join(tabled) or 'none'}"
            )
    given = {keys[name]: size for name, size in sizes.items() if name != "default"}
    for name in tabled:
        size = given.get(name, sizes.get("default", TABLE_SIZE))
        if size != TABLE_SIZE and name in layers:
            layers[name]["TableSize"] = size
