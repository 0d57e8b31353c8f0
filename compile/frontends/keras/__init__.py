"""Keras 2 and QKeras models written as QONNX."""

from __future__ import annotations

from .check import check_export, random_events
from .export import export_keras

__all__ = ["check_export", "export_keras", "random_events"]
