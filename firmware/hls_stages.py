"""What hls4ml's layers cost where each is a process of its own: streams, Resource, convolutions.

hls4ml writes `#pragma HLS DATAFLOW` for io_stream, for the Resource strategy and for convolutions.
A layer is then a loop over the positions of its image, a design the chain of them. What follows
from the generated code has no coefficient: the product of a position takes the reuse factor and a
few cycles more; a multiplier is a DSP; weights of the Resource strategy stand in block RAM as wide
as they are read at once; every channel of a stream is a FIFO. The rest is fitted on the published
reports in `hls_calibration_stages.csv` by `benchmarks/hls_stages.py` and read from
`hls_stages.json`.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hls_model import (
    DSP_DATA_BITS,
    Coefficients,
    HlsLayer,
    closest_reuse,
    delay_ns,
    dsps,
    lut_terms,
    multipliers,
)

__all__ = [
    "FITTED",
    "NARROW",
    "StageCoefficients",
    "StageCost",
    "Where",
    "chain",
    "cost",
    "logic_kind",
    "logic_terms",
    "overhead_terms",
    "power_terms",
    "read_stages",
    "stage_coefficients",
    "step_reuse",
    "unrolled_terms",
]

FITTED = ("activation", "merge", "move", "normalize", "pool", "pool, unrolled", "softmax", "table")
"""Kinds whose LUT and FF are a constant and a number per bit, see `logic_terms`."""

NARROW = 6
"""Weights of as many bits or less are multiplied in LUTs by Vitis HLS."""

_ROM_BITS = 1024  # less is kept in LUTs
_FIFO_BITS = 512  # less is kept in shift registers
_BRAM_WORD, _BRAM_DEPTH = 36, 512  # a block of 18 kb as a ROM (UG573)
_FIFO_WORD, _FIFO_DEPTH = 18, 1024


@dataclass(frozen=True, slots=True)
class Where:
    """What a stage is built for: streams or wires, the usable ns of a period, strategy, reuse.

    `vitis`: by Vitis HLS, and not by Vivado HLS.
    """

    stream: bool
    usable_ns: float
    strategy: str
    reuse: int
    vitis: bool = True


@dataclass(frozen=True, slots=True)
class StageCoefficients:
    """Fitted by `benchmarks/hls_stages.py`.

    `overhead` are cycles of a position in the Resource strategy beyond the reuse factor, by
    `overhead_terms`; `step` those of a step of a recurrent layer; `fill` cycles of a chain per
    handover from stage to stage and per cycle of its dense layers. `power` are LUT and FF of a
    product in the Resource strategy by `power_terms`, `unrolled` those in the Latency strategy,
    `logic` those of the other kinds, `fifo` of a FIFO's bit, all as (LUT, FF).
    """

    overhead: tuple[float, ...]
    step: float
    fill: tuple[float, float]
    power: tuple[tuple[float, ...], tuple[float, ...]]
    unrolled: tuple[tuple[float, ...], tuple[float, ...]]
    logic: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    fifo: tuple[float, float]


@dataclass(frozen=True, slots=True)
class StageCost:
    """What the report of a layer's own module would say."""

    cycles: float
    interval: float
    lut: float
    ff: float
    dsp: float
    bram18: int


def taken(layer: HlsLayer, where: Where) -> int:
    """The reuse factor that hls4ml takes for a product."""
    if where.strategy == "Resource" and not layer.elementwise:
        return closest_reuse(layer.n_in, layer.n_out, where.reuse)
    return where.reuse


def step_reuse(layer: HlsLayer, where: Where) -> int:
    """Cycles of the slower one of a recurrent layer's two products, which run side by side."""
    return max(taken(_inner(layer, n, layer.n_out), where) for n in (layer.n_in, layer.states))


def overhead_terms(layer: HlsLayer, where: Where) -> NDArray[np.float64]:
    """What the cycles of a position beyond the reuse factor are proportional to.

    One, reading and writing a stream, data too wide for a DSP's narrow side, and the registers that
    a fast clock asks for.
    """
    wide = min(layer.in_bits, layer.accum_bits) > 18
    return np.array([1.0, float(where.stream), float(wide), 1 / where.usable_ns])


def power_terms(layer: HlsLayer, reuse: int) -> NDArray[np.float64]:
    """Logarithms: LUT and FF of a product with reused multipliers are a power law of these."""
    at_once = layer.n_in * layer.n_out / reuse
    return np.array([1.0, math.log(at_once), math.log(layer.n_in * max(layer.in_bits, 1))])


def logic_kind(layer: HlsLayer, stream: bool) -> str:
    """Under which name of `FITTED` the logic of a layer is found."""
    if layer.kind == "product":
        return "normalize"
    return "pool, unrolled" if layer.kind == "pool" and not stream else layer.kind


def logic_terms(layer: HlsLayer, stream: bool) -> NDArray[np.float64]:
    """What LUT and FF of the kinds in `FITTED` are proportional to: 1 and bits.

    The bits are those of one position of a stream, and of all values where there is none; of an
    unrolled pool those of all its windows.
    """
    values = layer.channels if stream else layer.n_out
    if layer.kind == "pool" and not stream:
        values = layer.outputs * layer.n_in
    return np.array([1.0, float(values * max(layer.in_bits, layer.out_bits))])


def unrolled_terms(
    layer: HlsLayer, lut: float, usable_ns: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(LUT, FF) terms of a Latency product: its logic, and the window that slides over an image."""
    window = float(layer.n_in * layer.in_bits) if layer.inputs > 1 else 0.0
    return np.array([lut, window]), np.array([lut / usable_ns, window])


def _depth(layer: HlsLayer, where: Where, delay: Sequence[float]) -> float:
    """Cycles through the logic of one position in the Latency strategy.

    Where the reuse factor leaves fewer multipliers than multiplications they take turns.
    """
    through = delay_ns(layer, delay)
    if layer.kind == "product" and layer.weights is None:
        through = delay[0] + delay[1] * math.log2(layer.n_in + 1)
    logic = 2.0 + math.ceil(through / where.usable_ns)
    if layer.weights is None or layer.in_bits < DSP_DATA_BITS:
        return logic
    return logic + math.ceil(layer.weights.multiplied / max(multipliers(layer, where.reuse), 1)) - 1


def product_cycles(
    layer: HlsLayer, where: Where, found: StageCoefficients, delay: Sequence[float]
) -> float:
    """Cycles of a dense layer or a convolution."""
    reuse = taken(layer, where)
    if where.strategy == "Resource":
        terms = overhead_terms(layer, where)
        extra = max(1.0, float(np.dot(terms, found.overhead)))
        if where.stream and layer.outputs > 1:
            return layer.inputs * (reuse + extra) + 1
        if where.stream:  # a dense layer first collects what comes
            return reuse + extra + (layer.inputs if layer.inputs > 1 else 0)
        if layer.outputs > layer.copies and reuse == 1:  # then hls4ml's loop is a pipeline
            return layer.outputs / layer.copies + 3
        if layer.outputs > layer.copies:
            return layer.outputs / layer.copies * (reuse + extra)
        return reuse + extra
    depth = _depth(layer, where, delay)
    if where.stream and layer.outputs > 1:
        # Vitis HLS does not overlap the positions of a window over several channels
        alone = layer.n_in > layer.channels and "depthwise" not in layer.what.lower()
        each = depth if where.vitis and alone else min(reuse, depth)
        return layer.inputs * each + depth
    if where.stream:
        return (layer.inputs if layer.inputs > 1 else 0) + min(max(reuse, 1), depth) + 1
    if layer.outputs > layer.copies:
        return layer.outputs / layer.copies * reuse + depth - 2
    return depth - 2


def cost(
    layer: HlsLayer, where: Where, found: StageCoefficients, pipelined: Coefficients
) -> StageCost:
    """Cycles and resources of one layer; of kind "wiring" nothing."""
    if layer.kind == "wiring":
        return StageCost(0, 1, 0, 0, 0, 0)
    if layer.kind == "recurrent":
        return _recurrent(layer, where, found, pipelined)
    if layer.kind == "product" and not layer.elementwise:
        return _product(layer, where, found, pipelined)
    if layer.kind == "move" and not where.stream:
        return StageCost(0, 1, 0, 0, 0, 0)
    kind = logic_kind(layer, where.stream)
    terms = logic_terms(layer, where.stream)
    lut, ff = (float(np.dot(terms, each)) for each in found.logic[kind])
    cycles = _loop_cycles(layer, where, pipelined.delay)
    interval = cycles if where.stream else 1
    dsp = dsps(layer, where.reuse) if kind in ("normalize", "softmax") else 0
    if layer.kind == "product" and where.stream:
        dsp = -(-dsp // max(layer.inputs, 1))
    if kind == "merge" and layer.what == "multiply" and layer.in_bits >= DSP_DATA_BITS:
        dsp = layer.channels if where.stream else layer.n_out
    bram = 0
    if kind == "table":  # a table has two reading ports
        bram = -(-(layer.channels if where.stream else layer.n_out) // 2)
    elif kind == "softmax":
        bram = 2 * (-(-layer.n_out // 2) + 1) if where.reuse == 1 or not where.stream else 2
    return StageCost(cycles, interval, lut, ff, dsp, bram)


def _loop_cycles(layer: HlsLayer, where: Where, delay: Sequence[float]) -> float:
    """Cycles of a layer that passes every position once."""
    if layer.kind == "softmax":
        return math.ceil(delay_ns(layer, delay) / where.usable_ns) * max(layer.inputs, 1)
    if layer.kind == "product":
        depth = _depth(layer, where, delay)
        return layer.inputs * min(where.reuse, depth) + 2 if where.stream else depth - 2
    if not where.stream:
        return 1.0 if layer.kind == "table" else 0.0
    many = max(layer.inputs, layer.outputs)
    return many + 3 if many > 1 else 2


def _product(
    layer: HlsLayer, where: Where, found: StageCoefficients, pipelined: Coefficients
) -> StageCost:
    cycles = product_cycles(layer, where, found, pipelined.delay)
    reuse = taken(layer, where)
    loops = where.stream or layer.outputs > layer.copies
    if where.strategy == "Resource":
        lut, ff = (math.exp(float(np.dot(power_terms(layer, reuse), p))) for p in found.power)
        at_once = layer.n_in * layer.n_out / reuse
        interval = cycles if loops else reuse
        dsp = at_once * _dsp_of(layer, where.vitis)
        if reuse == 1 and layer.weights is not None:  # used once, a weight is a constant
            dsp = dsps(layer)
        return StageCost(cycles, interval, lut, ff, dsp, _rom(layer, at_once, reuse))
    logic = float(np.dot(lut_terms(layer), pipelined.lut))
    terms = unrolled_terms(layer, logic, where.usable_ns)
    lut, ff = (
        float(np.dot(t, c)) * layer.copies for t, c in zip(terms, found.unrolled, strict=True)
    )
    interval = cycles if loops else reuse
    return StageCost(cycles, interval, lut, ff, dsps(layer, reuse) * layer.copies, 0)


def _dsp_of(layer: HlsLayer, vitis: bool) -> int:
    """DSPs of one multiplier that is reused: none for a product of few bits.

    With weights of 6 bits seven reports of Vitis HLS have none and one has some.
    """
    if layer.in_bits * layer.weight_bits < 36 or (vitis and layer.weight_bits <= NARROW):
        return 0
    wide, narrow = sorted((layer.in_bits, layer.weight_bits), reverse=True)
    return math.ceil(wide / 27) * math.ceil(narrow / 18)


def _rom(layer: HlsLayer, at_once: float, reuse: int) -> int:
    """Blocks of 18 kb for weights that are read `at_once` in every cycle."""
    word = at_once * layer.weight_bits
    if reuse == 1 or word * reuse <= _ROM_BITS:
        return 0
    return math.ceil(word / _BRAM_WORD * max(1.0, reuse / _BRAM_DEPTH))


def _recurrent(
    layer: HlsLayer, where: Where, found: StageCoefficients, pipelined: Coefficients
) -> StageCost:
    """A loop over the steps, in each the products with the input and with the state at once.

    Every state value has its activations, which are tables in block RAM.
    """
    gates = layer.n_out // max(layer.states, 1)
    wires = replace(where, stream=False)
    products = (
        _inner(layer, layer.n_in, layer.n_out),
        _inner(layer, layer.states, layer.n_out),
    )
    costs = [_product(product, wires, found, pipelined) for product in products]
    each = float(step_reuse(layer, where))
    if where.strategy != "Resource":
        each = max(c.cycles for c in costs)
    cycles = layer.steps * (each + found.step) + 1
    tables = [layer.states * (gates - 1), layer.states * (2 if gates == 4 else 1)]
    shape = {"name": layer.name, "what": layer.what, "in_bits": layer.in_bits}
    activations = [
        HlsLayer(kind="table", n_in=n, n_out=n, out_bits=layer.out_bits, **shape)  # type: ignore[arg-type]
        for n in tables
        if n
    ]
    extra = [cost(table, wires, found, pipelined) for table in activations]
    state = 2 * layer.states * layer.in_bits
    scaled = layer.states * (3 if layer.in_bits >= 6 else 1) if gates > 1 else 0
    return StageCost(
        cycles,
        cycles,
        layer.copies * (sum(c.lut for c in (*costs, *extra)) + state),
        layer.copies * (sum(c.ff for c in (*costs, *extra)) + state),
        layer.copies * (sum(c.dsp for c in costs) + scaled),
        layer.copies * sum(c.bram18 for c in (*costs, *extra)),
    )


def _inner(layer: HlsLayer, n_in: int, n_out: int) -> HlsLayer:
    return HlsLayer(
        name=layer.name,
        kind="product",
        what=layer.what,
        n_in=n_in,
        n_out=n_out,
        in_bits=layer.in_bits,
        out_bits=layer.out_bits,
        accum_bits=layer.accum_bits,
        weight_bits=layer.weight_bits,
        weights=layer.weights,
    )


def chain(
    layers: Sequence[HlsLayer], costs: Sequence[StageCost], where: Where, found: StageCoefficients
) -> StageCost:
    """The whole design: streams run side by side and share FIFOs, the others one after another."""
    real = [(layer, each) for layer, each in zip(layers, costs, strict=True) if each.lut]
    total = [sum(getattr(each, name) for _, each in real) for name in ("lut", "ff", "dsp")]
    bram = sum(each.bram18 for _, each in real)
    cycles = [each.cycles for _, each in real] or [0.0]
    if not where.stream:
        intervals = [each.interval for _, each in real]
        return StageCost(
            sum(cycles) + max(len(real) - 1, 0),
            max(intervals, default=1),
            total[0],
            total[1],
            total[2],
            bram,
        )
    edges = [layer for layer, _ in real[1:]]
    bits = sum(layer.channels * layer.in_bits for layer in edges)
    waits = sum(
        each.cycles for layer, each in real if layer.kind == "product" and layer.outputs == 1
    )
    longest = max(cycles)
    return StageCost(
        longest + found.fill[0] * (len(real) - 1) + found.fill[1] * min(waits, longest),
        longest + 1,
        total[0] + found.fifo[0] * bits,
        total[1] + found.fifo[1] * bits,
        total[2],
        bram + sum(map(_fifo, edges)),
    )


def _fifo(layer: HlsLayer) -> int:
    """Blocks of 18 kb for the FIFOs that feed a stage, one for each channel, an image deep."""
    if layer.inputs * layer.in_bits <= _FIFO_BITS or layer.inputs <= 16:
        return 0
    blocks = math.ceil(layer.in_bits / _FIFO_WORD) * math.ceil(layer.inputs / _FIFO_DEPTH)
    return layer.channels * blocks


@functools.cache
def read_stages() -> dict[str, Any]:
    """The content of hls_stages.json: coefficients, errors, fitted ranges, sources."""
    file = importlib.resources.files(__package__).joinpath("hls_stages.json")
    model: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return model


def stage_coefficients(found: dict[str, Any] | None = None) -> StageCoefficients:
    """The fitted coefficients."""
    found = read_stages()["coefficients"] if found is None else found
    pair = {name: tuple(map(tuple, found[name])) for name in ("power", "unrolled")}
    # mypy cannot know the lengths of the file's lists
    return StageCoefficients(
        overhead=tuple(found["overhead"]),
        step=found["step"],
        fill=tuple(found["fill"]),
        power=pair["power"],  # type: ignore[arg-type]
        unrolled=pair["unrolled"],  # type: ignore[arg-type]
        logic={k: tuple(map(tuple, v)) for k, v in found["logic"].items()},  # type: ignore[misc]
        fifo=tuple(found["fifo"]),
    )
