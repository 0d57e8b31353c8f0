"""`checked_firmware`: a `firmware.onnx` as bytes, if it can be one that samebits wrote."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors

if TYPE_CHECKING:
    import onnx

__all__ = ["checked_firmware"]

# samebits writes none of these: they loop, or make much of little.
_REFUSED = frozenset(
    ("ConstantOfShape", "If", "Loop", "OneHot", "Range", "Resize", "Scan", "Tile", "Upsample")
)
_MOST_BYTES = (1 << 31) - 1
_MOST_NUMBERS = 1 << 28  # of one event's largest tensor


def checked_firmware(path: Path) -> bytes:
    """The content of the file, unchecked where the package onnx is missing.

    Raises:
        ModelError: no ONNX file; external data, functions, subgraphs or operators that no
            firmware.onnx has; tensors of more than 2^28 numbers for one event.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise errors.ModelError(f"{path}: is larger than 2 GB, which no ONNX file can be")
    data = path.read_bytes()
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:  # ONNX Runtime alone has the word
        return data
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise errors.ModelError(f"{path}: is no ONNX model that runs") from None
    try:
        reason = _foreign(model)
    except (onnx.shape_inference.InferenceError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"[:300]
    if reason:
        raise errors.ModelError(f"{path}: is not a firmware.onnx of samebits: {reason}")
    return data


def _foreign(model: onnx.ModelProto) -> str:
    """What the model has that no firmware.onnx has; empty if nothing."""
    import onnx

    texts = [text for item in model.metadata_props for text in (item.key, item.value)]
    texts += [value.name for value in (*model.graph.input, *model.graph.output)]
    if any(isinstance(text, bytes) for text in texts):  # so protobuf gives what is no UTF-8
        return "a name in it is not text"
    if model.functions:
        return "it has functions"
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type in _REFUSED:
            return f"it has the operator {node.op_type}"
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                return f"its node {node.name} has a graph of its own"
            tensors += [attribute.t, *attribute.tensors]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        return "it keeps data in another file"
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if math.prod(max(1, abs(size)) for size in sizes) > _MOST_NUMBERS:
            return f"its tensor {value.name} has the shape {sizes}"
    return ""
