"""The order of axes: every tensor as the firmware stores it, channels last."""

from __future__ import annotations

from typing import Any

from .nodes import Check

__all__ = ["CHECKS", "write_layout"]

CHECKS: dict[str, Check] = {}


def write_layout(wrapper: Any) -> list[str]:
    """Rewrites a cleaned-up qonnx model so that images have their channels last.

    Returns:
        Notes for the user.
    """
    return []
