"""`OnnxEngine`: runs `firmware.onnx` under ONNX Runtime, at any optimisation level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

if TYPE_CHECKING:
    import onnx

__all__ = ["LEVELS", "OnnxEngine"]

LEVELS = ("disabled", "basic", "extended", "all")
_CHUNK = 4096


class OnnxEngine:
    """An ONNX model in ONNX Runtime, on one CPU thread.

    Args:
        model: a ModelProto, its bytes, or the path of a file.
        level: graph optimisation, one of `LEVELS`.

    Raises:
        MissingToolError: onnxruntime is not installed.
        ToolError: ONNX Runtime refuses the model.
    """

    def __init__(
        self, model: onnx.ModelProto | bytes | str, level: str = "all", threads: int = 1
    ) -> None:
        try:
            import onnxruntime  # type: ignore[import-untyped]
        except ImportError:
            raise errors.MissingToolError(
                "ONNX Runtime is not installed; pip install onnxruntime"
            ) from None
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = {
            "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
            "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
            "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
            "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
        }[level]
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        source = model if isinstance(model, str | bytes) else model.SerializeToString()
        try:
            self.session = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no other base
            raise errors.ToolError(f"ONNX Runtime refuses the model: {error}") from error
        self.tool = f"onnxruntime {onnxruntime.__version__}"
        self.outputs = [value.name for value in self.session.get_outputs()]
        self._inputs = [
            (value.name, np.float64 if value.type == "tensor(double)" else np.float32)
            for value in self.session.get_inputs()
        ]

    def run(
        self, inputs: Sequence[NDArray[Any]], progress: Callable[[int], None] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Every output by name as float64, for inputs of shape (N, *input shape)."""
        events = len(inputs[0])
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, max(events, 1), _CHUNK):
            feed = {
                name: np.ascontiguousarray(x[start : start + _CHUNK], dtype=dtype)
                for (name, dtype), x in zip(self._inputs, inputs, strict=True)
            }
            parts.append(self.session.run(None, feed))
            if progress:
                progress(min(start + _CHUNK, events))
        return {
            name: np.concatenate([part[i] for part in parts]).astype(np.float64)
            for i, name in enumerate(self.outputs)
        }
