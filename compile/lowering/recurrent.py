"""Recurrent layers, unrolled over time."""

from __future__ import annotations

from .context import Lowering

__all__ = ["LAYERS"]

LAYERS: dict[str, Lowering] = {}
