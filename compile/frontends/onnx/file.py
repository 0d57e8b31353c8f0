"""ONNX files read with suspicion: what is wrong is said before anything is converted."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from samebits import errors

from .dialects import QUANTIZERS, declare_domains, give_bodies, set_batch, write_channels_last
from .guard import MOST_BYTES, check_model, refuse_outside_data
from .opset import upgraded
from .qdq import to_qonnx
from .sklearn import drop_labels

__all__ = ["read_onnx", "runnable"]

OLDEST_RUN = 7  # what ONNX Runtime runs


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
    data = _content(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise errors.ModelError(f"{path}: is not an ONNX file, or is truncated") from None
    if any(item.key == "samebits.fingerprint" for item in model.metadata_props):
        raise errors.ModelError(
            f"{path}: is the firmware of a compiled design already; compile the model.onnx that it "
            "was made from. To run it: samebits emulate"
        )
    if not model.HasField("graph") or not model.graph.node or not model.opset_import:
        raise errors.ModelError(f"{path}: is not an ONNX file, or is truncated: it has no graph")
    folder = path.parent.resolve()
    try:
        if refuse_outside_data(model, folder):
            onnx.load_external_data_for_model(model, str(folder))
    except errors.ModelError as error:
        raise errors.ModelError(f"{path}: {error}") from None
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise errors.ModelError(f"{path}: external data cannot be read: {error}") from None
    declare_domains(model)
    try:
        check_model(model)
    except errors.ModelError as error:
        raise errors.ModelError(f"{path}: is not valid ONNX: {error}") from None
    return model


def _content(path: Path) -> bytes:
    try:
        if not path.exists():
            raise errors.ModelError(f"{path}: no such file")
        if not path.is_file():
            raise errors.ModelError(f"{path}: is no file, wanted ONNX")
        if path.stat().st_size > MOST_BYTES:
            raise errors.ModelError(f"{path}: is larger than 2 GB, which no ONNX file can be")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise errors.ModelError(f"{path}: cannot be read: {reason}") from None
    if not data:
        raise errors.ModelError(f"{path}: the file is empty")
    return data


def runnable(data: bytes) -> onnx.ModelProto:
    """The model in a form that a stock ONNX Runtime runs on any number of events.

    Quantizers of QONNX without a body of their own get one, channels-last operators become ONNX's,
    the batch axis is open, and outputs that are labels are gone. ONNX Runtime runs opset 7 and
    later, so files of older ones are converted.

    Raises:
        UnsupportedError: a quantizer with attributes that have no body.
    """
    model = onnx.ModelProto()
    model.ParseFromString(data)
    drop_labels(model)
    declare_domains(model)
    write_channels_last(model)
    main = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if main < OLDEST_RUN or any(node.op_type in QUANTIZERS for node in model.graph.node):
        model = upgraded(model)  # the bodies are of opset 13 or later
    try:
        give_bodies(model)
    except errors.UnsupportedError:  # other rounding modes, of constants
        model, _ = to_qonnx(model)
        give_bodies(model)
    set_batch(model, "N")
    return model
