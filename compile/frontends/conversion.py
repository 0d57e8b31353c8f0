"""What the routes into hls4ml share: their result, quiet, and the weights that da4ml takes away."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

__all__ = [
    "BEFORE_DISTRIBUTED",
    "DISTRIBUTED",
    "Converted",
    "need_da4ml",
    "quiet",
    "set_softmax_formats",
    "weights_of",
]

DISTRIBUTED = "distributed_arithmetic"
BEFORE_DISTRIBUTED = "vivado:quantization"  # the flow before da4ml takes the weights


@dataclass(frozen=True, slots=True)
class Converted:
    """A model in hls4ml.

    Args:
        graph: the converted `ModelGraph`.
        notes: what was decided for the user.
        inputs: the model's own names for its inputs.
        weights: {"layer/weight": array} that distributed arithmetic has removed from the graph.
    """

    graph: Any
    notes: tuple[str, ...]
    inputs: tuple[str, ...]
    weights: Mapping[str, NDArray[Any]]


def need_da4ml() -> None:
    """Raises MissingToolError if da4ml is not installed."""
    if importlib.util.find_spec("da4ml") is None:
        raise errors.MissingToolError(
            f'strategy {DISTRIBUTED} needs da4ml; install it: pip install "samebits[da]"'
        )


def weights_of(graph: Any) -> dict[str, NDArray[Any]]:
    """A copy of the weights of the layers that distributed arithmetic will make."""
    return {
        f"{layer.name}/{name}": np.array(variable.data)
        for layer in graph.get_layers()
        if layer.get_attr("strategy") == DISTRIBUTED
        for name, variable in layer.weights.items()
    }


def set_softmax_formats(settings: dict[str, Any], classes: int) -> None:
    """Softmax tables addressed by what they can really meet, in hls4ml's settings of one layer.

    hls4ml's default 18 bits with 8 integer bits give the sum of exponentials, which lies between 1
    and the number of classes, only a handful of table entries. Here its integer part just holds the
    number of classes, and tables of values up to 1 have one integer bit.
    """
    bits = max(1, classes).bit_length()
    # hls4ml reads these three only beside "Precision", not in it
    settings["exp_table_t"] = settings["inv_table_t"] = "ufixed<18,1,RND,SAT>"
    settings["inv_inp_t"] = f"ufixed<18,{bits},RND,SAT>"
    settings["Precision"]["accum"] = f"ufixed<{17 + bits},{bits},RND,SAT>"
    if settings["Precision"].get("result", "auto") == "auto":
        settings["Precision"]["result"] = "ufixed<16,1,RND,SAT>"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """hls4ml and qonnx print and warn while they work; errors still come through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
