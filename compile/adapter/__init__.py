"""The input adapter: raw detector integers to the network's input, in integers only."""

from __future__ import annotations

from .description import Adapter, DetectorObject, RawField, read_adapter
from .front import LAYER_KIND, add_adapter, plan_for
from .plan import Plan, make_plan

__all__ = [
    "LAYER_KIND",
    "Adapter",
    "DetectorObject",
    "Plan",
    "RawField",
    "add_adapter",
    "make_plan",
    "plan_for",
    "read_adapter",
]
