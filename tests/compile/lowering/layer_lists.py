"""hls4ml graphs from lists of layers, and what samebits makes of them."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from samebits.compile.ir import Format, Overflow, Rounding
from samebits.compile.lowering import lower
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine

from ... import oracle

Layers = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A C++ number type: its format, and whether it is an ap_int."""

    format: Format
    integer: bool = False

    def __str__(self) -> str:
        """The type as hls4ml's configuration writes it."""
        fmt, unsigned = self.format, "" if self.format.signed else "u"
        if self.integer:
            return f"{unsigned}int<{fmt.width}>"
        modes = f"{fmt.rounding.value},{fmt.overflow.value}"
        return f"{unsigned}fixed<{fmt.width},{fmt.integer},{modes}>"

    def cast(self, x: Fraction) -> Fraction:
        return oracle.cast(x, self.format) * oracle.lsb(self.format)


def fixed(width: int, integer: int, signed: bool = True, modes: str = "TRN,WRAP") -> Kind:
    rounding, overflow = modes.split(",")
    return Kind(Format(signed, width, integer, Rounding[rounding], Overflow[overflow]))


def integer(width: int, signed: bool = True) -> Kind:
    return Kind(Format(signed, width, width, Rounding.TRN_ZERO), True)


def draw_kind(rng: np.random.Generator, integers: float = 0.15) -> Kind:
    if rng.random() < integers:
        return integer(int(rng.integers(3, 12)), bool(rng.random() < 0.6))
    width = int(rng.integers(3, 14))
    modes = ("TRN", "WRAP")
    if rng.random() < 0.7:
        modes = (str(rng.choice([*Rounding.__members__])), str(rng.choice([*Overflow.__members__])))
    signed = bool(rng.random() < 0.7)
    return fixed(width, int(rng.integers(1, width + 1)), signed, ",".join(modes))


def convert(
    inputs: Sequence[tuple[Sequence[int], Kind]],
    layers: Layers,
    outputs: Sequence[str],
    precisions: dict[str, dict[str, Kind]],
    io_type: str = "io_parallel",
    backend: str = "Vitis",
    **settings: Any,
) -> Any:
    """hls4ml's ModelGraph. Inputs are called x0, x1, ...; `settings` hold for every layer."""
    from hls4ml.model.graph import ModelGraph

    listed: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "name": f"x{k}", "input_shape": list(shape), "inputs": []}
        for k, (shape, _) in enumerate(inputs)
    ]
    named = {f"x{k}": {"result": kind} for k, (_, kind) in enumerate(inputs)} | precisions
    config = {
        "OutputDir": "unused",
        "ProjectName": "network",
        "Backend": backend,
        "Part": "part",
        "ClockPeriod": 5,
        "ClockUncertainty": "12.5%",
        "IOType": io_type,
        "HLSConfig": {
            "Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1},
            "LayerName": {
                name: {"Precision": {key: str(kind) for key, kind in kinds.items()}} | settings
                for name, kinds in named.items()
            },
        },
    }
    names = [layer["name"] for layer in listed]
    with contextlib.redirect_stdout(io.StringIO()):
        return ModelGraph.from_layer_list(config, [*listed, *layers], names, list(outputs))


def events(
    rng: np.random.Generator, kind: Kind, shape: Sequence[int], count: int = 12
) -> np.ndarray[Any, Any]:
    """Random values of a type, many of them small or extreme."""
    low, high = oracle.bounds(kind.format)
    low = oracle.overflow(low, kind.format)  # SAT_SYM has no smallest number
    size = (count, *shape)
    mantissas = rng.integers(low, high, size=size, endpoint=True)
    small = rng.integers(max(low, -9), min(high, 9), size=size, endpoint=True)
    choice = rng.random(size)
    mantissas = np.where(choice < 0.4, small, mantissas)
    mantissas = np.where(choice > 0.9, low, np.where(choice > 0.8, high, mantissas))
    return mantissas * 2.0**-kind.format.fraction


def simulate(model: Any, inputs: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """The outputs of the lowered graph, which the simplified one must equal."""
    graph = lower(model)
    results = []
    for each in (graph, simplify(graph)):
        names = list(dict.fromkeys(each.outputs))
        values = dict(zip(names, NumpyEngine(each).run(list(inputs), names), strict=True))
        results.append([values[name] for name in each.outputs])
    for lowered, simplified in zip(*results, strict=True):
        assert np.array_equal(lowered, simplified)
    return results[0]


def exactly(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same numbers as exact fractions."""
    exact = np.empty(values.shape, dtype=object)
    for position in np.ndindex(values.shape):
        exact[position] = Fraction(float(values[position]))
    return exact
