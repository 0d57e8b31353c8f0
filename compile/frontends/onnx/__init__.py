"""ONNX files read, prepared and converted by hls4ml."""

from __future__ import annotations

from .convert import Converted, to_hls4ml
from .file import read_onnx, runnable

__all__ = ["Converted", "read_onnx", "runnable", "to_hls4ml"]
