"""Einsum, EinsumDense, MatMul and Dot."""

from __future__ import annotations

from .context import Lowering

__all__ = ["LAYERS"]

LAYERS: dict[str, Lowering] = {}
