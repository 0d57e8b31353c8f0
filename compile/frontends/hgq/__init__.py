"""Keras 3 models, HGQ2's among them, converted by hls4ml's own Keras-3 parser."""

from .check import built_model
from .convert import is_keras_3, keras_3_to_hls4ml
from .run import KerasEngine

__all__ = ["KerasEngine", "built_model", "is_keras_3", "keras_3_to_hls4ml"]
