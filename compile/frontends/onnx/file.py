"""ONNX files read with suspicion: what is wrong is said before anything is converted."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto

from samebits import errors

from ..quant import DOMAIN, IR_VERSION, OPERATOR, attributes_of, quant_function
from .sklearn import drop_labels

__all__ = ["read_onnx", "runnable"]


def read_onnx(path: str | Path) -> onnx.ModelProto:
    """The model in a file, its external data included.

    Raises:
        ModelError: missing, empty, truncated or not ONNX; external data that is missing or stands
            outside the model's folder.
    """
    path = Path(path)
    if path.suffix in (".keras", ".h5"):
        raise errors.ModelError(
            f"{path}: is a Keras model, wanted ONNX; make it with `samebits export {path}`"
        )
    if path.is_dir():
        raise errors.ModelError(f"{path}: is a folder; give the .onnx file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise errors.ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise errors.ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise errors.ModelError(f"{path}: the file is empty")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise errors.ModelError(f"{path}: is not an ONNX file, or is truncated") from None
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise errors.ModelError(f"{path}: is not an ONNX file, or is truncated: it has no graph")
    _load_external_data(model, path)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise errors.ModelError(f"{path}: is not valid ONNX: {reason}") from None
    return model


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    external = [
        tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL
    ]
    for tensor in external:
        location = next((item.value for item in tensor.external_data if item.key == "location"), "")
        target = (folder / location).resolve()
        if not location or not target.is_relative_to(folder):
            raise errors.ModelError(
                f"{path}: tensor {tensor.name} keeps its data in {location!r}, outside the model's "
                "folder; this is refused. Save the model with its data inside or beside it"
            )
        if not target.is_file():
            raise errors.ModelError(
                f"{path}: the data file {location!r} of tensor {tensor.name} is missing"
            )
    if external:
        try:
            onnx.load_external_data_for_model(model, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise errors.ModelError(f"{path}: external data cannot be read: {error}") from None


def runnable(data: bytes) -> onnx.ModelProto:
    """The model in a form that a stock ONNX Runtime runs on any number of events.

    `Quant` nodes without a body of their own get one, the batch axis becomes open, and outputs that
    are labels are gone.

    Raises:
        UnsupportedError: a Quant node with attributes that have no body.
    """
    model = onnx.ModelProto()
    model.ParseFromString(data)
    drop_labels(model)
    bodies = {(function.domain, function.name, function.overload) for function in model.functions}
    added: dict[str, onnx.FunctionProto] = {}
    for node in model.graph.node:
        if node.op_type != OPERATOR or (node.domain, node.op_type, node.overload) in bodies:
            continue
        attributes = attributes_of(node)
        node.domain, node.overload = DOMAIN, attributes.overload
        if (DOMAIN, OPERATOR, attributes.overload) not in bodies:
            added[attributes.overload] = quant_function(attributes)
    if added:
        model.functions.extend(added.values())
        model.ir_version = max(model.ir_version, IR_VERSION)
        if all(item.domain != DOMAIN for item in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in constants and value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = "N"
    return model
