"""ONNX files read, prepared and converted by hls4ml."""

from __future__ import annotations

from .convert import Converted, to_hls4ml
from .file import read_onnx, runnable
from .guard import check_content

__all__ = ["Converted", "check_content", "read_onnx", "runnable", "to_hls4ml"]
