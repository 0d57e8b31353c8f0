"""`KINDS`: every layer the fuzzer draws."""

from __future__ import annotations

from . import fuzz_layers_basic, fuzz_layers_sequence, fuzz_layers_spatial
from .fuzz_kind import DoesNotFit, Kind, Shape

__all__ = ["KINDS", "DoesNotFit", "Kind", "Shape"]

KINDS: dict[str, Kind] = {
    **fuzz_layers_basic.KINDS,
    **fuzz_layers_spatial.KINDS,
    **fuzz_layers_sequence.KINDS,
}
