"""Keras 3 models, HGQ2's among them: to hls4ml by its own parser, and to QONNX."""

from .check import built_model
from .compare import check_keras_3_export
from .convert import is_keras_3, keras_3_to_hls4ml
from .export import export_keras_3
from .run import KerasEngine

__all__ = [
    "KerasEngine",
    "built_model",
    "check_keras_3_export",
    "export_keras_3",
    "is_keras_3",
    "keras_3_to_hls4ml",
]
