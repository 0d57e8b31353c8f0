"""The models that stand beside the firmware: the float network, the quantized one, model.onnx.

Networks that were trained in the design's folder run as ONNX, without TensorFlow: model.onnx is the
quantized one, and float.keras is written as float.onnx when it is first needed. Where a network has
no ONNX form it runs in Keras.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors, storage

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["FIRMWARE", "FLOAT_ONNX", "Reference", "float_onnx", "references", "scores_of"]

FIRMWARE, FLOAT_ONNX = "firmware", "float.onnx"
_log = logging.getLogger("samebits")


@dataclass(frozen=True)
class Reference:
    """A model that the firmware stands for.

    Attributes:
        name: "float", "qat" or "model.onnx".
        run: (N, elements) float64 answers to events, as `Design.simulate` takes them.
        model: the ONNX file that answers; None where Keras does.
    """

    name: str
    run: Callable[[Any], NDArray[Any]]
    model: bytes | None


def references(design: Design) -> tuple[Reference, ...]:
    """The models of a design with one output, the float network first; none for a bare graph.

    Raises:
        BuildError: a damaged training.json or model.onnx.
    """
    from samebits.recipe import FLOAT_MODEL, QAT_MODEL

    if len(design.graph.outputs) > 1:
        return ()
    models = _trained(design)
    if models is None or design.folder is None:
        model = design.model_bytes
        return () if model is None else (_of_onnx("model.onnx", model, design),)
    files = {
        "float": (FLOAT_MODEL, float_onnx(design.folder, models.get(FLOAT_MODEL, ""))),
        "qat": (QAT_MODEL, design.model_bytes),
    }
    return tuple(
        _of_keras(name, design.folder / file) if model is None else _of_onnx(name, model, design)
        for name, (file, model) in files.items()
    )


def _trained(design: Design) -> Mapping[str, str] | None:
    """Hashes of the networks trained in the design's folder; None if it does not come from them."""
    from samebits.recipe import recipe_of

    if design.folder is None:
        return None
    recipe, _ = recipe_of(design)
    return None if recipe is None else recipe.models


def scores_of(design: Design, events: Any) -> dict[str, NDArray[Any]]:
    """By model (N, elements), the firmware's last; a model that cannot be run is left out.

    Of a design with an input adapter the events are raw; the other models get what they stand for
    in double precision, so that the adapter's rounding counts as the firmware's.
    """
    found, physical = {}, events
    if design.adapter is not None:
        from samebits.adapter import physical_columns

        physical = physical_columns(design, events)
    for one in references(design.network):
        try:
            found[one.name] = one.run(physical)
        except (errors.ToolError, errors.UnsupportedError, errors.MissingToolError) as error:
            _log.warning("%s is left out: %s", one.name, error)
    answer = np.asarray(design.simulate(events))
    found[FIRMWARE] = answer.reshape(len(answer), -1)
    return found


def float_onnx(folder: Path, digest: str, model: Any = None) -> bytes | None:
    """float.keras of a folder as ONNX, written beside it; None if it has no such form.

    Args:
        digest: of float.keras; a file that was written from another one is written again.
        model: the network, where it is in memory.
    """
    import onnx

    from samebits.recipe import FLOAT_MODEL, KERAS_SHA256

    path = folder / FLOAT_ONNX
    try:
        written = path.read_bytes()
        found = onnx.load_model_from_string(written)
        if {item.key: item.value for item in found.metadata_props}.get(KERAS_SHA256) == digest:
            return written
    except Exception:  # missing, or protobuf's errors of a damaged file: it is written again
        pass
    from samebits.compile.frontends.hgq import is_keras_3
    from samebits.compile.frontends.keras import export_keras
    from samebits.train.store import load_model

    try:
        model = load_model(folder / FLOAT_MODEL) if model is None else model
        if is_keras_3(model):
            return None
        exported = export_keras(model)
    except (errors.UnsupportedError, errors.ModelError, errors.MissingToolError):
        return None  # what runs it in Keras says why
    exported.metadata_props.add(key=KERAS_SHA256, value=digest)
    data: bytes = exported.SerializeToString()
    try:
        with storage.replace_file(path) as temporary:
            temporary.write_bytes(data)
    except errors.BuildError:  # a folder that cannot be written: next time again
        pass
    return data


def _of_onnx(name: str, model: bytes, design: Design) -> Reference:
    from samebits.inputs import check_inputs

    def run(events: Any) -> NDArray[Any]:
        from samebits.compile.frontends.onnx import runnable
        from samebits.sim.onnx_engine import OnnxEngine

        engine = OnnxEngine(runnable(model), "disabled")
        answer = next(iter(engine.run(check_inputs(design.graph, events)).values()))
        return np.asarray(answer).reshape(len(answer), -1)

    return Reference(name, run, model)


def _of_keras(name: str, path: Path) -> Reference:
    def run(events: Any) -> NDArray[Any]:
        from samebits.train.fit import predict
        from samebits.train.store import load_model

        answer = np.asarray(predict(load_model(path), np.asarray(events)))
        return answer.reshape(len(answer), -1)

    return Reference(name, run, None)
