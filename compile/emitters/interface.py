"""What firmware.onnx and the native emulator take and give: types of inputs, names of outputs."""

from __future__ import annotations

import numpy as np

from ..ir import Carrier, Format, Graph

__all__ = ["input_dtype", "output_names", "real_carrier"]


def real_carrier(fmt: Format) -> Carrier:
    """The type of a format's real numbers: float32 if all are exact in it, else double."""
    exact = fmt.width <= 24 and abs(fmt.fraction) < 100
    return Carrier.FLOAT32 if exact else Carrier.FLOAT64


def input_dtype(fmt: Format) -> type[np.floating]:
    """float32 where it holds every value of the input format, else double."""
    return np.float32 if real_carrier(fmt) is Carrier.FLOAT32 else np.float64


def output_names(graph: Graph) -> list[str]:
    """The outputs' names: the layers that make them, numbered where one makes several."""
    by_tensor = {layer.tensor: layer.name for layer in graph.layers}
    names: list[str] = []
    for tensor in graph.outputs:
        stem = by_tensor.get(tensor, tensor)
        name = stem = f"{stem}_out" if stem in graph.inputs else stem
        count = 1
        while name in names:
            count += 1
            name = f"{stem}_{count}"
        names.append(name)
    return names
