"""What a file may claim: refused before a library believes it.

ONNX's checker, qonnx and ONNX Runtime trust sizes, counts and names: a hundred bytes can ask for a
terabyte, for 2**40 calls of a function, or for a file elsewhere on the disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from samebits import errors

from .dialects import batch_of

__all__ = [
    "check_content",
    "check_model",
    "check_numbers",
    "check_sizes",
    "refuse_outside_data",
    "shape_fault",
]

MOST_NUMBERS = 1 << 22  # of one tensor that depends on the event: 512 x 512 in 16 channels
MOST_NODES = 1 << 17  # function calls written out
MOST_BITS = 64  # of a quantizer
MOST_BYTES = (1 << 31) - 1  # what protobuf can hold
_TYPED: dict[int, str] = {  # the fields that hold a tensor's numbers by their element type
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.COMPLEX64), "float_data"),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.COMPLEX128), "double_data"),
    **dict.fromkeys((TensorProto.UINT32, TensorProto.UINT64), "uint64_data"),
    TensorProto.INT64: "int64_data",
    TensorProto.STRING: "string_data",
}
_BITS = {
    name: bits
    for bits, names in {2: ("INT2", "UINT2"), 4: ("INT4", "UINT4", "FLOAT4E2M1")}.items()
    for name in names
}
_METADATA = {  # JSON that samebits reads back
    **dict.fromkeys(("samebits.calibration", "samebits.caveats", "samebits.deviations"), dict),
    "samebits.features": list,
}

Message = Any  # of protobuf, which has no types


def check_content(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, if its content is what it claims.

    Raises:
        ModelError: one of the following, with the reason.

    1. names that are no text;
    2. tensors whose sizes are not those of their data; sparse tensors;
    3. functions that call themselves, or grow beyond `MOST_NODES` when written out;
    4. declared shapes beyond `MOST_NUMBERS`;
    5. one name for two things;
    6. metadata of samebits that are damaged.
    """
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise errors.ModelError("it has no graph")
    events = batch_of(model)
    for message in _messages(model):
        match message:
            case TensorProto():
                _check_tensor(message)
            case onnx.SparseTensorProto():
                raise errors.ModelError("sparse tensors are not supported; export dense ones")
            case onnx.ValueInfoProto():
                _check_value(message, events)
    _check_calls(model)
    _check_names(model)
    _check_metadata(model)
    return model


def check_model(model: onnx.ModelProto) -> None:
    """Raises ModelError as `check_content` does, and for what ONNX's own checker finds."""
    check_content(model)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise errors.ModelError(str(error).strip().splitlines()[0]) from None
    except (RuntimeError, TypeError, ValueError) as error:
        raise errors.ModelError(f"{type(error).__name__}: {error}") from None


def check_sizes(model: onnx.ModelProto) -> None:
    """Raises ModelError for a tensor that ONNX's shape inference finds too large."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise errors.ModelError(_shape_error(error)) from None
    for value in (*inferred.value_info, *inferred.output):
        _check_value(value)


def shape_fault(model: onnx.ModelProto) -> str:
    """Why the shapes of a model cannot be right, empty if nothing is found.

    Shapes that the file itself gives of inner tensors do not count: they are often outdated.
    """
    fresh = onnx.ModelProto()
    fresh.CopyFrom(model)
    del fresh.graph.value_info[:]
    for value in fresh.graph.output:
        value.type.tensor_type.ClearField("shape")
    bodies = {(function.domain, function.name) for function in model.functions}
    strict = all(  # else it fails on what reads the result of a node that it does not know
        onnx.defs.has(node.op_type, node.domain) or (node.domain, node.op_type) in bodies
        for node in fresh.graph.node
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(fresh, strict_mode=strict, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        return _shape_error(error)
    for given, found in zip(model.graph.output, inferred.graph.output, strict=True):
        declared, computed = _sizes(given), _sizes(found)
        pairs = list(zip(declared, computed, strict=False))[1:]
        if not declared or not computed:
            continue
        if len(declared) != len(computed) or any(a != b and a and b for a, b in pairs):
            return f"output {given.name} is declared as {declared}, but the model gives {computed}"
    return ""


def _shape_error(error: Exception) -> str:
    first = str(error).partition("Inference error(s): ")[2] or str(error)
    return f"the shapes of the model do not fit: {first.strip().splitlines()[0][:300]}"


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    """The shape; 0 where an axis has no number."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def check_numbers(model: onnx.ModelProto) -> None:
    """Raises ModelError for constants that are no numbers, and quantizers that make no sense.

    Infinity may limit a Clip, and nothing else.
    """
    limits = {name for node in model.graph.node if node.op_type == "Clip" for name in node.input}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, values in constants.items():
        if values.dtype.kind != "f":
            continue
        bad = np.isnan(values) if name in limits else ~np.isfinite(values)
        if bad.any():
            readers = (
                f"{n.op_type} ({n.name or n.output[0]})"
                for n in model.graph.node
                if name in n.input
            )
            raise errors.ModelError(
                f"{next(readers, 'the model')}: {int(bad.sum())} of the {values.size} numbers of "
                f"{name} are NaN or infinite, which firmware does not have; train the model again"
            )
    for node in model.graph.node:
        for item in node.attribute:
            if not np.isfinite([item.f, *item.floats]).all():
                raise errors.ModelError(
                    f"{node.op_type} ({node.name or node.output[0]}): {item.name} is NaN or "
                    "infinite, which firmware does not have"
                )
        if node.op_type != "Quant" or len(node.input) != 4:
            continue
        scale, _, bits = (constants.get(name) for name in node.input[1:])
        where = f"Quant {node.name or node.output[0]}"
        if scale is not None and not (scale > 0).all():
            raise errors.ModelError(f"{where}: scale {_few(scale)} must be above zero")
        if bits is not None and not ((bits >= 1) & (bits <= MOST_BITS)).all():
            raise errors.ModelError(f"{where}: bit width {_few(bits)} must be 1 to {MOST_BITS}")


def _few(values: Any) -> list[float]:
    return [float(value) for value in np.unique(values)[:4]]


def _messages(message: Message) -> Iterator[Message]:
    """The message and all that it holds.

    Raises:
        ModelError: a text that is none; protobuf then gives bytes.
    """
    waiting = [message]
    while waiting:
        one = waiting.pop()
        yield one
        for field, value in one.ListFields():
            if field.message_type is None:
                texts = [value] if isinstance(value, str | bytes) else value
                if field.type == field.TYPE_STRING and any(isinstance(x, bytes) for x in texts):
                    raise errors.ModelError("a name in it is not text (UTF-8)")
            elif isinstance(value, field.message_type._concrete_class):
                waiting.append(value)
            else:
                waiting.extend(value)


def _check_tensor(tensor: TensorProto) -> None:
    name, kind = tensor.name or "of a Constant", tensor.data_type
    known = TensorProto.DataType.values()
    if kind == TensorProto.UNDEFINED or kind not in known:
        raise errors.ModelError(f"tensor {name} has element type {kind}, unknown to ONNX")
    if any(size < 0 for size in tensor.dims):
        raise errors.ModelError(f"tensor {name} has the negative shape {list(tensor.dims)}")
    wanted = math.prod(tensor.dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        raise errors.ModelError(f"tensor {name} keeps its data in another file; give the file")
    bits = _BITS.get(TensorProto.DataType.Name(kind))
    if bits is not None:
        wanted = -(-wanted * bits // 8)
    if tensor.HasField("raw_data") and kind != TensorProto.STRING:
        size = 1 if bits else helper.tensor_dtype_to_np_dtype(kind).itemsize
        wanted, held, unit = wanted * size, len(tensor.raw_data), "bytes"
    else:
        pairs = 2 if kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) else 1
        field = _TYPED.get(kind, "int32_data")
        wanted, held, unit = wanted * pairs, len(getattr(tensor, field)), "numbers"
    if held != wanted:
        raise errors.ModelError(
            f"tensor {name} of shape {list(tensor.dims)} needs {wanted} {unit}, the file has {held}"
        )


def _check_value(value: onnx.ValueInfoProto, events: int = 1) -> None:
    kind = value.type.tensor_type.elem_type
    if kind not in TensorProto.DataType.values():
        raise errors.ModelError(f"tensor {value.name} has element type {kind}, unknown to ONNX")
    sizes = _sizes(value)
    if any(size < 0 for size in sizes):
        raise errors.ModelError(f"tensor {value.name} has the negative shape {sizes}")
    counted = sizes[1:] if sizes and sizes[0] == events else sizes
    if math.prod(max(1, size) for size in counted) > MOST_NUMBERS:
        raise errors.ModelError(
            f"tensor {value.name} of shape {sizes} has more than 2^{MOST_NUMBERS.bit_length() - 1} "
            "numbers, more than samebits takes"
        )


def _check_names(model: onnx.ModelProto) -> None:
    """Raises ModelError for a name that stands for two things."""
    for what, values in (
        ("output", model.graph.output),
        ("input", model.graph.input),
        ("initializer", model.graph.initializer),
    ):
        names = [value.name for value in values]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise errors.ModelError(f"{what} {twice!r} stands in it twice")
    keys = [(function.domain, function.name, function.overload) for function in model.functions]
    if len(set(keys)) < len(keys):
        raise errors.ModelError("two functions in it have the same name")


def _check_metadata(model: onnx.ModelProto) -> None:
    for item in model.metadata_props:
        if item.key not in _METADATA:
            continue
        try:
            value = json.loads(item.value)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, _METADATA[item.key]) or (
            isinstance(value, list) and not all(isinstance(name, str) for name in value)
        ):
            raise errors.ModelError(f"its metadata {item.key} are damaged")


def _check_calls(model: onnx.ModelProto) -> None:
    """Raises ModelError for functions that never end, or only after very many nodes."""
    bodies = {(f.domain, f.name, f.overload): f for f in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def count(nodes: Any, path: tuple[tuple[str, str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = node.domain, node.op_type, node.overload
            total += 1
            if key in path:
                raise errors.ModelError(f"function {node.op_type} calls itself")
            if key in bodies:
                if key not in sizes:
                    sizes[key] = count(bodies[key].node, (*path, key))
                total += sizes[key]
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += count(graph.node, path)
            if total > MOST_NODES or len(path) > 100:
                raise errors.ModelError(f"has more than {MOST_NODES} nodes, functions written out")
        return total

    count(model.graph.node, ())


def refuse_outside_data(model: onnx.ModelProto, folder: Path) -> bool:
    """Whether tensors keep their data in files; all must be regular ones below the folder.

    Raises:
        ModelError: a path that leads elsewhere, a file that is missing, or more than 2 GB of data.
    """
    total, found = 0, False
    for tensor in _messages(model):
        if not isinstance(tensor, TensorProto) or tensor.data_location != TensorProto.EXTERNAL:
            continue
        given = {item.key: item.value for item in tensor.external_data}
        location, name, found = given.get("location", ""), tensor.name or "of a Constant", True
        outside = f"tensor {name} keeps its data in {location!r}, outside the model's folder; "
        try:
            target = (folder / location).resolve()
            inside = bool(location) and target.is_relative_to(folder.resolve())
        except (OSError, RuntimeError, ValueError):  # loops, NUL characters, names too long
            inside = False
        if not inside:
            raise errors.ModelError(
                f"{outside}this is refused. Save the model with its data inside or beside it"
            )
        if not target.is_file():
            raise errors.ModelError(f"the data file {location!r} of tensor {name} is missing")
        try:
            offset = int(given.get("offset", 0))
            length = int(given.get("length", 0)) or target.stat().st_size - offset
        except ValueError:
            offset = length = -1
        if min(offset, length) < 0 or offset + length > target.stat().st_size:
            raise errors.ModelError(
                f"tensor {name} is not in its data file {location!r}, which is too short"
            )
        total += length
        if total > MOST_BYTES:
            raise errors.ModelError("has more than 2 GB of data; no firmware holds them")
    return found
