"""Quantizers with a format of their own for every element."""

from __future__ import annotations

from .context import Lowering

__all__ = ["LAYERS"]

LAYERS: dict[str, Lowering] = {}
