"""Pooling: maximum and average over windows."""

from __future__ import annotations

from .context import Lowering

__all__ = ["LAYERS"]

LAYERS: dict[str, Lowering] = {}
