"""DACombinational: logic that was traced elsewhere."""

from __future__ import annotations

from .context import Lowering

__all__ = ["LAYERS"]

LAYERS: dict[str, Lowering] = {}
