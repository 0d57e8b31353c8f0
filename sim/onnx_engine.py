"""`OnnxEngine`: runs `firmware.onnx` under ONNX Runtime, at any optimisation level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Format

if TYPE_CHECKING:
    import onnx

__all__ = ["LEVELS", "OnnxEngine"]

LEVELS = ("disabled", "basic", "extended", "all")
_CHUNK_EVENTS = 4096
_CHUNK_ELEMENTS = 1 << 23  # of the largest tensor


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
        metadata = self.session.get_modelmeta().custom_metadata_map
        written = metadata.get("samebits.chunk_events", "")
        if written.isdecimal():
            self.chunk_events = max(1, int(written))
        else:
            elements = _CHUNK_ELEMENTS // _largest_tensor(model)
            self.chunk_events = max(1, min(_CHUNK_EVENTS, elements))
        self._fractions: dict[str, int] = {}  # of outputs that are mantissas
        if metadata.get("samebits.outputs") == "mantissas":
            for name in self.outputs:
                text = metadata.get(f"samebits.output.{name}")
                if text is not None:
                    self._fractions[name] = Format.parse(text).fraction

    def run(
        self, inputs: Sequence[NDArray[Any]], progress: Callable[[int], None] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Every output's real numbers by name, for inputs of shape (N, *input shape)."""
        found = {
            name: values.astype(np.float64)
            for name, values in self.native(inputs, progress).items()
        }
        for name, fraction in self._fractions.items():
            found[name] = np.ldexp(found[name], -fraction)
        return found

    def native(
        self, inputs: Sequence[NDArray[Any]], progress: Callable[[int], None] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Every output by name as the model gives it, for inputs of shape (N, *input shape).

        Raises:
            ToolError: ONNX Runtime fails on the model.
        """
        events, chunk = len(inputs[0]), self.chunk_events
        parts: list[list[NDArray[Any]]] = []
        for start in range(0, max(events, 1), chunk):
            feed = {
                name: np.ascontiguousarray(x[start : start + chunk], dtype=dtype)
                for (name, dtype), x in zip(self._inputs, inputs, strict=True)
            }
            try:
                parts.append(self.session.run(None, feed))
            except Exception as error:  # ONNX Runtime's exceptions share no other base
                reason = str(error).strip().splitlines()[0][:300]
                raise errors.ToolError(f"ONNX Runtime fails on the model: {reason}") from error
            if progress:
                progress(min(start + chunk, events))
        return {
            name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(self.outputs)
        }


def _largest_tensor(model: onnx.ModelProto | bytes | str) -> int:
    """How many numbers of one event the model's largest tensor holds."""
    import onnx

    if isinstance(model, str | bytes):
        model = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = (value.type.tensor_type.shape.dim for value in inferred.graph.value_info)
    # the number of events has a name instead of a value
    return max((math.prod(max(1, dim.dim_value) for dim in shape) for shape in shapes), default=1)
