"""`Kind`: how the fuzzer draws a layer and writes it as hls4ml's frontends do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .fuzz_draw import Draw, Weights

__all__ = ["Configure", "DoesNotFit", "Kind", "Layer", "Options", "Shape", "same_padding"]

Shape = tuple[int, ...]
Options = Mapping[str, Any]
Layer = tuple[dict[str, Any], Shape]
"""The layer's dictionary for `ModelGraph.from_layer_list`, and the shape of its output."""


Configure = Callable[[Draw, Options, dict[str, Any], Sequence[str]], None]
"""Completes a layer's hls4ml configuration; the last are its inputs' precisions, as configured."""


class DoesNotFit(Exception):
    """The layer cannot stand on tensors of these shapes; another one is drawn."""


def _no_followers(draw: Draw) -> Sequence[tuple[str, Options]]:
    return ()


def _same_shape(left: Shape, right: Shape, draw: Draw) -> bool:
    return left == right


@dataclass(frozen=True)
class Kind:
    """A layer class with its options.

    `draw` chooses the options for given input shapes, `build` writes the layer with them; both
    raise DoesNotFit. `ranks`: of its input, empty for any. `precisions` and `types`: the places
    of formats, those in the configuration's Precision and those that are attributes.
    """

    draw: Callable[[Draw, list[Shape]], dict[str, Any]]
    build: Callable[[Options, list[Shape], Weights], Layer]
    ranks: tuple[int, ...] = ()
    arity: int = 1
    weight: float = 1.0
    precisions: Mapping[str, str] = field(default_factory=lambda: {"result": "value"})
    types: Mapping[str, str] = field(default_factory=dict)
    strategies: bool = False
    compresses: bool = False
    streams: bool = True
    backends: tuple[str, ...] = ()
    pairs: Callable[[Shape, Shape, Draw], bool] = _same_shape
    source: Callable[[Draw], tuple[Shape, str]] | None = None
    configure: Configure | None = None
    followers: Callable[[Draw], Sequence[tuple[str, Options]]] = _no_followers


def same_padding(kind: str, size: int, stride: int, window: int) -> tuple[int, int, int]:
    """(output size, padding before, padding after), as hls4ml's Keras converter computes them.

    Raises DoesNotFit if no window fits.
    """
    if kind == "valid":
        before = after = 0
        n_out = -(-(size - window + 1) // stride)
    else:
        n_out = -(-size // stride)
        total = max(window - (stride if size % stride == 0 else size % stride), 0)
        before = total if kind == "causal" else total // 2
        after = total - before
    if n_out < 1:
        raise DoesNotFit
    return n_out, before, after
