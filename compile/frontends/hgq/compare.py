"""An exported Keras 3 model against Keras: the outputs, value by value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from ..keras.check import ExportCheck, TensorCheck
from .check import built_model
from .run import KerasEngine

__all__ = ["check_keras_3_export"]

_BATCH = 4096


def check_keras_3_export(model: Any, onnx_model: onnx.ModelProto, x: Any) -> ExportCheck:
    """How many output values of Keras and of ONNX Runtime differ; nothing is proved of them.

    Args:
        x: events (N, ...) as an array, for several inputs a list of them or a dict by name.
    """
    import onnxruntime  # type: ignore[import-untyped]

    names = [value.name for value in onnx_model.graph.input]
    given = [x[name] for name in names] if isinstance(x, Mapping) else x
    arrays = list(given) if isinstance(given, list | tuple) else [given]
    events = [np.asarray(array, np.float32) for array in arrays]
    expected = KerasEngine(built_model(model)).run(events)
    session = onnxruntime.InferenceSession(
        onnx_model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = dict(zip(names, events, strict=True))
    parts = [
        session.run(None, {name: a[start : start + _BATCH] for name, a in feed.items()})
        for start in range(0, len(events[0]), _BATCH)
    ]
    found = [np.concatenate(column) for column in zip(*parts, strict=True)]
    checks = tuple(
        TensorCheck(
            value.name,
            False,
            "compared",
            int(wanted.size),
            int(np.count_nonzero(wanted != got.reshape(wanted.shape))),
            float(np.abs(wanted.astype(np.float64) - got.reshape(wanted.shape)).max(initial=0.0)),
        )
        for value, wanted, got in zip(
            onnx_model.graph.output, expected.values(), found, strict=True
        )
    )
    return ExportCheck(len(events[0]), checks, checks)
