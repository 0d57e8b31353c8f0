"""Operators on sequences, and between two computed tensors, as layers of hls4ml."""

from __future__ import annotations

from typing import Any

from .nodes import Check

__all__ = ["CHECKS", "write_sequences"]

CHECKS: dict[str, Check] = {}


def write_sequences(wrapper: Any) -> list[str]:
    """Rewrites what hls4ml's frontend does not have, in a cleaned-up qonnx model with its own axes.

    Returns:
        Notes for the user.
    """
    return []
