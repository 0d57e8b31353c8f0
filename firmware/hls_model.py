"""What hls4ml's layers cost after C synthesis: the physical model and its fitted coefficients.

The forms are physical, few and the same for every layer; `benchmarks/hls_estimate.py` fits the
coefficients in `hls_model.json` on the published reports in `hls_calibration.csv`.

A weight is a constant in hls4ml's Latency strategy, so that its digits decide what HLS makes of it:
in canonical signed-digit form one digit is a shift, two digits one adder, three and more a
multiplication, once for every different weight of an input. The multiplication is a DSP where the
data has 11 bits or more, and LUTs below. In the Resource strategy a multiplier is reused.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES",
    "DSP_DATA_BITS",
    "FAST_MHZ",
    "SLOW",
    "Coefficients",
    "HlsLayer",
    "Weights",
    "brams",
    "closest_reuse",
    "coefficients",
    "cycles_latency",
    "cycles_resource",
    "cycles_shared",
    "delay_ns",
    "dsps",
    "ff_terms",
    "lut_terms",
    "multipliers",
    "read_model",
    "resource_dsps",
    "turns",
    "usable_ns",
    "weights_of",
]

Kind = Literal[
    "product",
    "activation",
    "softmax",
    "wiring",
    "table",
    "pool",
    "merge",
    "move",
    "normalize",
    "recurrent",
    "unknown",
]

DSP_DATA_BITS = 11
"""Data of this width and more is multiplied in a DSP.

Read from the instances `mul_<data bits>_<weight bits>` of the Vitis HLS reports in
`hls_calibration.csv`: 7 to 10 bits are LUTs, 11 to 16 bits are DSPs.
"""

CLASSES = 5
"""Classes of every fitted report with a softmax."""

SLOW = "7 series"
"""The family that has delays of its own."""

FAST_MHZ = 220.0
"""Reports of faster clocks are counted apart, because the model is worse there."""

# Share of the clock period that HLS fills: its default clock uncertainty is 27 % in Vitis HLS and
# 12.5 % in Vivado HLS (UG1399 and UG902; rows "Uncertainty" of the reports).
_USABLE = {"Vitis": 0.73, "Vivado": 0.875}


@dataclass(frozen=True, slots=True)
class Weights:
    """What of a layer's weights decides its logic; see the module's text.

    Args:
        nonzero: weights that are not zero.
        terms: the largest number of non-zero weights of one output.
        two_digit: different weights per input with two signed digits, over all inputs.
        multiplied: different weights per input with three signed digits or more.
    """

    nonzero: int
    terms: int
    two_digit: int
    multiplied: int


@dataclass(frozen=True, slots=True)
class HlsLayer:
    """One layer as hls4ml hands it to the HLS compiler.

    Args:
        kind: "product" (dense or convolution; batch normalisation is a product with one term),
            "activation" (ReLU, linear or only a cast), "table" (tanh and the like), "softmax",
            "pool", "merge" (adds and multiplies values with values), "move" (reorders them),
            "recurrent", "wiring" (no logic), or "unknown".
        what: for people: hls4ml's class, or why a layer is unknown.
        n_in, n_out: values in and out; of a convolution or a pool those of one position.
        in_bits, out_bits, accum_bits, weight_bits: widths; 0 where there is none.
        rounds: the result rounds or saturates.
        stable: a softmax that first subtracts the largest value.
        weights: of a product.
        inputs, outputs: positions of the image, or of the series, that are read and made.
        channels: values of one position that is read.
        copies: positions that are made at once (hls4ml's parallelization factor).
        accum_rounds: the accumulator rounds or saturates after every addition.
        steps, states: of a recurrent layer.
    """

    name: str
    kind: Kind
    what: str
    n_in: int
    n_out: int
    in_bits: int
    out_bits: int
    accum_bits: int = 0
    weight_bits: int = 0
    rounds: bool = False
    stable: bool = True
    weights: Weights | None = None
    inputs: int = 1
    outputs: int = 1
    channels: int = 0
    copies: int = 1
    accum_rounds: bool = False
    steps: int = 0
    states: int = 0

    @property
    def elementwise(self) -> bool:
        """A product of every value with a weight of its own, as in batch normalisation."""
        return self.weights is not None and self.weights.terms <= 1 and self.n_in == self.n_out


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Fitted by `benchmarks/hls_estimate.py`; LUT and FF per unit of the terms, delays in ns.

    `slow_delay` and `slow_ff` are for the 7 series: a factor on every delay, and FF.

    `delay` is for: a product, each doubling of its terms, a multiplication in a DSP, an activation,
    an activation that rounds or saturates, a stable softmax, another softmax, and what cannot be
    used of every clock period that a layer is cut into.
    """

    lut: tuple[float, ...]
    ff: tuple[float, ...]
    delay: tuple[float, ...]
    resource_cycles: float
    slow_delay: float = 1.0
    slow_ff: tuple[float, ...] = ()

    def of(self, family: str) -> Coefficients:
        """These coefficients with the delays and FF of a family."""
        if family != SLOW:
            return self
        delay = tuple(self.slow_delay * each for each in self.delay[:-1])
        return replace(self, ff=self.slow_ff, delay=(*delay, self.delay[-1]))


def weights_of(mantissas: NDArray[Any]) -> Weights:
    """The facts of integer weights of shape (inputs, outputs).

    >>> weights_of(np.array([[1, 3, 11], [0, 3, -8]]))
    Weights(nonzero=5, terms=2, two_digit=2, multiplied=1)
    """
    values = np.asarray(mantissas, np.int64)
    # digits in canonical signed-digit form: the bits in which x and 3x differ
    digits = np.bitwise_count(np.abs(values) ^ (3 * np.abs(values)))
    ordered = np.sort(values, axis=1)
    counts = np.bitwise_count(np.abs(ordered) ^ (3 * np.abs(ordered)))
    first = np.ones(ordered.shape, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return Weights(
        nonzero=int(np.count_nonzero(digits)),
        terms=int(np.count_nonzero(values, axis=0).max(initial=0)),
        two_digit=int(np.count_nonzero(first & (counts == 2))),
        multiplied=int(np.count_nonzero(first & (counts > 2))),
    )


def usable_ns(clock_ns: float, backend: str) -> float:
    """What is left of a clock period after the uncertainty that HLS keeps free."""
    return clock_ns * _USABLE[backend]


def multipliers(layer: HlsLayer, reuse: int = 1) -> int:
    """How many multipliers hls4ml leaves to a layer in the Latency strategy.

    `multiplier_limit` of the generated parameters.h (hls4ml 1.3.0): every product that is not with
    a zero, over the reuse factor.
    """
    if layer.weights is None:
        return 0
    products = layer.n_in if layer.elementwise else layer.n_in * layer.n_out
    return -(-products // reuse) - (products - layer.weights.nonzero) // reuse


def dsps(layer: HlsLayer, reuse: int = 1) -> int:
    """Multipliers in DSPs of a layer in the Latency strategy; a softmax scales every output."""
    if layer.kind == "softmax":
        return layer.n_out
    if layer.weights is None or layer.in_bits < DSP_DATA_BITS:
        return 0
    # a DSP48E2 multiplies 27 by 18 bits (UG579)
    wide, narrow = sorted((layer.in_bits, layer.weight_bits), reverse=True)
    needed = min(layer.weights.multiplied, multipliers(layer, reuse))
    return needed * math.ceil(wide / 27) * math.ceil(narrow / 18)


def resource_dsps(layer: HlsLayer, reuse: int, backend: str) -> int | None:
    """Multipliers in DSPs of a layer in the Resource strategy; None where no report says so.

    The weights are no constants: all share the multipliers. The reports of Vitis HLS have DSPs for
    weights of 8 bits and more, and LUTs for 6 bits and less.
    """
    if layer.kind != "product" or layer.elementwise:
        return dsps(layer)
    if layer.weight_bits >= 8 and (layer.in_bits >= DSP_DATA_BITS or not layer.in_bits):
        return layer.n_in * layer.n_out // reuse
    return 0 if layer.weight_bits <= 6 and backend == "Vitis" else None


def brams(layers: Sequence[HlsLayer], backend: str) -> float | None:
    """Blocks of 36 kb for a softmax's tables; constant weights need none.

    A table has two reading ports, so that two classes share one of the exponential, and there is
    one of the reciprocal. None where no report has as many classes.
    """
    tables = [layer for layer in layers if layer.kind == "softmax"]
    if any(layer.n_out != CLASSES for layer in tables):
        return None
    each = 1.0 if backend == "Vitis" else 0.5
    return sum((-(-layer.n_out // 2) + 1) * each for layer in tables)


def lut_terms(layer: HlsLayer) -> NDArray[np.float64]:
    """What the LUTs of a layer are proportional to, in the order of `Coefficients.lut`."""
    terms = np.zeros(6)
    if layer.kind == "product" and layer.weights is not None:
        in_luts = layer.weights.multiplied if layer.in_bits < DSP_DATA_BITS else 0
        terms[0] = layer.weights.nonzero * layer.accum_bits
        terms[1] = layer.weights.two_digit * layer.in_bits
        terms[2] = in_luts * layer.in_bits**2
        terms[3] = layer.n_out * layer.accum_bits if layer.rounds else 0
    elif layer.kind == "activation":
        terms[3 if layer.rounds else 4] = layer.n_out * layer.in_bits
    elif layer.kind == "softmax":
        terms[5] = layer.n_out if layer.stable else 0
    return terms


def ff_terms(
    layers: Sequence[HlsLayer], lut: float, usable: float, family: str = ""
) -> NDArray[np.float64]:
    """What the flip-flops of a design are proportional to, in the order of `Coefficients.ff`.

    The inputs are registered; the rest is cut into stages as deep as the clock allows. On the 7
    series every operation is a stage at the clocks of the reports.
    """
    usable = 1.0 if family == SLOW else usable
    first = next((layer for layer in layers if layer.kind != "wiring"), None)
    inputs = first.n_in * first.in_bits if first is not None else 0
    multiplied = sum(dsps(layer) * layer.accum_bits for layer in layers if layer.kind == "product")
    return np.array([inputs, lut / usable**2, multiplied / usable**2])


def delay_ns(layer: HlsLayer, delay: Sequence[float]) -> float:
    """Nanoseconds through a layer as logic without registers."""
    if layer.kind == "product" and layer.weights is not None:
        multiplies = layer.weights.multiplied > 0 and layer.in_bits >= DSP_DATA_BITS
        cast = delay[4] - delay[3] if layer.rounds else 0.0
        depth = math.log2(layer.weights.terms + 1)
        return delay[0] + delay[1] * depth + delay[2] * multiplies + cast
    if layer.kind == "activation":
        return delay[4 if layer.rounds else 3]
    if layer.kind == "softmax":
        return delay[5 if layer.stable else 6]
    return 0.0


def cycles_latency(layers: Sequence[HlsLayer], usable: float, delay: Sequence[float]) -> int:
    """Cycles from input to output of a pipeline with reuse factor 1.

    HLS packs functions one after the other into clock periods: a layer that still fits into the
    period goes there, another one begins a new period, and one longer than a period has periods of
    its own.
    """
    stages, left = 1, usable
    for layer in layers:
        need = delay_ns(layer, delay)
        if need <= left:
            left -= need
            continue
        periods = 1 if need <= usable else math.ceil(need / max(usable - delay[7], 0.1))
        stages += periods if left < usable else periods - 1
        left = usable - need if periods == 1 else 0.0
    return stages - 1


def turns(layer: HlsLayer, reuse: int) -> int:
    """How many times the busiest multiplier of a layer is used in the Latency strategy."""
    if layer.weights is None:
        return 1
    return -(-layer.weights.multiplied // max(multipliers(layer, reuse), 1)) or 1


def cycles_shared(
    layers: Sequence[HlsLayer], reuse: Sequence[int], usable: float, delay: Sequence[float]
) -> tuple[int, int]:
    """(cycles, interval) where the reuse factor leaves too few multipliers: they take turns.

    `reuse` has one factor for each layer.
    """
    waits = [turns(layer, factor) for layer, factor in zip(layers, reuse, strict=True)]
    cycles = cycles_latency(layers, usable, delay) + sum(wait - 1 for wait in waits)
    own = [
        min(factor, wait + math.ceil(delay_ns(layer, delay) / usable))
        for layer, factor, wait in zip(layers, reuse, waits, strict=True)
    ]
    return cycles, max(own)


def cycles_resource(
    layers: Sequence[HlsLayer], reuse: Sequence[int], usable: float, coefficients: Coefficients
) -> int:
    """Cycles from input to output of Resource layers, one after the other.

    `reuse` are the dense layers' reuse factors as hls4ml takes them (`closest_reuse`).
    """
    rest = [layer for layer in layers if layer.kind == "softmax" or layer.elementwise]
    own = sum(factor + coefficients.resource_cycles for factor in reuse)
    return round(own) + cycles_latency(rest, usable, coefficients.delay)


@functools.lru_cache(maxsize=1024)
def closest_reuse(n_in: int, n_out: int, wanted: int) -> int:
    """The reuse factor that hls4ml takes for a dense layer in the Resource strategy.

    hls4ml allows a divisor of n_in n_out that is a multiple of n_in, or is below n_in while the
    multipliers share out evenly over the outputs, and takes the closest one, the smaller of two
    (hls4ml 1.3.0, FPGABackend.set_closest_reuse_factor).

    >>> closest_reuse(80, 24, 1024), closest_reuse(24, 120, 1024), closest_reuse(16, 64, 4)
    (960, 960, 4)
    """
    products = n_in * n_out
    allowed = [
        factor
        for factor in _divisors(products)
        if (factor % n_in == 0 if factor >= n_in else math.ceil(products / factor) % n_out == 0)
    ]
    return min(allowed, key=lambda factor: (abs(factor - wanted), factor))


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})


@functools.cache
def read_model() -> dict[str, Any]:
    """The content of hls_model.json: coefficients, errors, fitted ranges, sources."""
    file = importlib.resources.files(__package__).joinpath("hls_model.json")
    model: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return model


def coefficients() -> Coefficients:
    """The fitted coefficients."""
    found = read_model()["coefficients"]
    return Coefficients(
        lut=tuple(found["lut"]),
        ff=tuple(found["ff"]),
        delay=tuple(found["delay_ns"]),
        resource_cycles=found["resource_cycles"],
        slow_delay=found["slow_delay"],
        slow_ff=tuple(found["slow_ff"]),
    )
