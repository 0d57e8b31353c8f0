"""Latency and resources of a graph as fully unrolled, pipelined logic, estimated by alkaid.

Nothing here is measured or synthesised: alkaid's cost model counts LUTs and delays operation by
operation. It is the estimate of logic that takes a new event in every clock cycle; a design that
hls4ml compiles with DSPs, or with a reuse factor above one, differs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from samebits import errors
from samebits.compile.emitters.alkaid import AlkaidTrace, alkaid_version, deep_recursion, trace
from samebits.compile.emitters.alkaid_size import MAX_OPERATIONS
from samebits.compile.ir import Graph

from .parts import Part, part_of
from .results import (
    Facts,
    Kind,
    LayerLatency,
    Measured,
    NotRun,
    Quantity,
    Text,
    layer_latency,
)

__all__ = [
    "CALIBRATION",
    "DELAY_UNIT_NS",
    "LAYERS_NOTE",
    "Estimate",
    "as_rtl",
    "estimate",
    "fmax_mhz",
    "logic_of",
    "longest_delay",
]

DELAY_UNIT_NS = 1.0
CALIBRATION = (
    "alkaid's delay unit taken as 1 ns: alkaid's own convention on xcvu13p-flga2577-2-e (its "
    "command line pairs --latency-cutoff 5 with --clock-period 5 ns, its RTLModel prints delays "
    "as ns); da4ml's FAQ calls it an abstract unit, about one adder; not checked by synthesis"
)

LAYERS_NOTE = (
    "a layer's share is the time by which it makes the latest signal later, by alkaid's delays as "
    "traced, in proportion: the pipeline is cut where arrival times are equally far apart, so that "
    "the shares add up to all its cycles"
)


class Estimate(Facts):
    """What alkaid expects of the whole graph on a part at a clock.

    Attributes:
        latency_cycles: from the input register to the output register; one cycle per stage.
        used: by resource (LUT, FF, DSP, BRAM36); FF are the bits of all pipeline registers.
        stage_budget: delay that a stage may have: the clock period in alkaid's units.
        worst_stage: longest delay between two registers as they stand, before a synthesiser moves
            them (retiming); `fmax_mhz` is the clock that it allows.
        longest_operation: delay of the slowest single operation, which no pipeline can split.
        calibration: why a unit of delay is taken as `DELAY_UNIT_NS`.
        layers: shares of the latency, as `LAYERS_NOTE` says.
        notes: what a reader must know to use the numbers.
    """

    tool: Text
    clock_mhz: float
    latency_cycles: Quantity
    initiation_interval: Quantity
    used: dict[str, Quantity]
    stage_budget: Quantity
    worst_stage: Quantity
    fmax_mhz: Measured
    longest_operation: Quantity
    calibration: Text
    layers: tuple[LayerLatency, ...]
    notes: tuple[str, ...]


def logic_of(
    graph: Graph,
    *,
    max_operations: int = MAX_OPERATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """alkaid's logic of the whole graph, before it is cut into stages: the same for every clock.

    Raises: as `estimate`.
    """
    return as_rtl(trace(graph, max_operations=max_operations, progress=progress).logic())


def estimate(
    graph: Graph,
    part: str,
    clock_mhz: float,
    *,
    logic: Any = None,
    max_operations: int = MAX_OPERATIONS,
    per_layer: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate:
    """Latency and resources of the graph, unrolled and pipelined for the clock.

    Args:
        graph: best simplified (`compile.passes.simplify`).
        part: its full name.
        clock_mhz: the clock that the pipeline is cut for.
        logic: `logic_of(graph)`, where it is there already.
        max_operations: larger graphs are refused, as `alkaid_size` counts them.
        per_layer: tell the layers' shares of the latency as well.
        progress: called with the number of nodes traced and their total.

    Raises:
        UsageError: an unknown part, or a clock that is not positive.
        MissingToolError: alkaid is not installed.
        UnsupportedError: too large a graph for unrolled logic, or numbers that alkaid cannot hold.
    """
    if not (math.isfinite(clock_mhz) and clock_mhz > 0):
        raise errors.UsageError(f"the clock must be above 0 MHz, got {clock_mhz}")
    device = part_of(part)
    tool = f"alkaid {alkaid_version()}"

    traced = None
    if logic is None or per_layer:
        traced = trace(graph, max_operations=max_operations, progress=progress)
    if logic is None:
        assert traced is not None
        logic = as_rtl(traced.logic())

    def quantity(value: float, unit: str, kind: Kind = "estimated") -> Quantity:
        return Quantity(value=value, unit=unit, kind=kind, tool=tool)

    budget = 1000.0 / clock_mhz / DELAY_UNIT_NS
    stages, register_bits = _pipeline(logic, budget)
    cycles = len(stages)
    used = {"LUT": math.ceil(sum(stage.cost for stage in stages)), "FF": register_bits}
    used |= {"DSP": 0, "BRAM36": 0}
    slowest, worst = _longest_operation(logic), longest_delay(stages)
    return Estimate(
        tool=tool,
        clock_mhz=float(clock_mhz),
        latency_cycles=quantity(cycles, "cycles"),
        initiation_interval=quantity(1, "cycles"),
        used={name: quantity(value, _UNITS[name]) for name, value in used.items()},
        stage_budget=quantity(budget, "delay units", "assumed"),
        worst_stage=quantity(worst, "delay units"),
        fmax_mhz=fmax_mhz(worst, tool),
        longest_operation=quantity(slowest, "delay units"),
        calibration=CALIBRATION,
        layers=_layers(traced, cycles, clock_mhz, tool) if traced and per_layer else (),
        notes=_notes(logic, device, clock_mhz, budget, slowest),
    )


_UNITS = {"LUT": "LUT", "FF": "bits", "DSP": "DSP", "BRAM36": "BRAM36"}


def as_rtl(logic: Any) -> Any:
    """The logic as alkaid writes it out: pairs of adders with one use joined to ternary adders."""
    from alkaid.trace.passes import dead_code_elimin, fuse_ternary_adders  # type: ignore[import-untyped]
    from alkaid.trace.passes.surrogate import add_surrogate  # type: ignore[import-untyped]

    with deep_recursion():
        joined = dead_code_elimin(fuse_ternary_adders(logic), keep_dead_inputs=True)
    return add_surrogate(joined, _skip_op8_cost=True)


def _pipeline(logic: Any, budget: float) -> tuple[list[Any], int]:
    """The stages, and the bits of all registers, those at inputs and outputs included."""
    from alkaid.trace.pipeline import to_pipeline  # type: ignore[import-untyped]

    if not logic.ops:
        return [logic], 0
    machine = to_pipeline(logic, latency_cutoff=budget, verbose=False)
    bits = sum(signal.width for signal in machine.signals.values() if signal.reg)
    return list(machine.logic.values()) or [logic], bits


def fmax_mhz(worst_stage: float, tool: str) -> Measured:
    """The fastest clock with a longest delay of so many units between two registers."""
    if not worst_stage:
        return NotRun(reason="there is no logic between the registers")
    value = 1000.0 / (worst_stage * DELAY_UNIT_NS)
    return Quantity(value=value, unit="MHz", kind="estimated", tool=f"{tool}'s delay model")


def longest_delay(stages: Iterable[Any]) -> float:
    """The longest delay between two registers of a pipeline's stages, in alkaid's units."""
    return max((_delay(stage) for stage in stages), default=0.0)


def _delay(stage: Any) -> float:
    from alkaid.trace.passes.surrogate import add_surrogate

    alone = add_surrogate(stage, _skip_op8_cost=True)
    return max((float(op.latency) for op in alone.ops), default=0.0)


def _longest_operation(logic: Any) -> float:
    arrival = [op.latency for op in logic.ops]
    own = (op.latency - max((arrival[i] for i in op.addr), default=0.0) for op in logic.ops)
    return max((float(delay) for delay in own), default=0.0)


def _layers(
    traced: AlkaidTrace, cycles: int, clock_mhz: float, tool: str
) -> tuple[LayerLatency, ...]:
    """Each layer's share of the cycles: by how much it moves the latest arrival."""
    graph = traced.graph
    names = {layer.tensor: layer.name for layer in graph.layers}
    ends = (*names, *(name for name in dict.fromkeys(graph.outputs) if name not in names))
    arrivals = []
    for name in ends:
        elements: list[Any] = list(traced.elements[name].flat)
        late = (float(x.latency) for x in elements if not isinstance(x, Fraction))
        arrivals.append(max(late, default=0.0))
    latest = [0.0, *itertools.accumulate(arrivals, max)]
    return tuple(
        layer_latency(
            names.get(tensor, "output"),
            cycles * (end - start) / (latest[-1] or 1.0),
            clock_mhz,
            "estimated",
            tool,
        )
        for tensor, (start, end) in zip(ends, itertools.pairwise(latest), strict=True)
    )


def _notes(
    logic: Any, part: Part, clock_mhz: float, budget: float, slowest: float
) -> tuple[str, ...]:
    notes = ["alkaid relies on the synthesiser's retiming to even out the stages"]
    if part.family != "UltraScale+":
        notes.append(
            f"the delay unit is assumed for UltraScale+; {part.device} ({part.family}) is slower"
        )
    products = sum(op.opcode == _MULTIPLY for op in logic.ops)
    if products:
        notes.append(
            f"{products} products of two variables are counted as LUTs; a synthesiser may use a "
            "DSP for each"
        )
    if slowest > budget:
        notes.append(
            f"one operation alone needs {slowest:.1f} delay units, a stage at {clock_mhz:g} MHz "
            f"has {budget:.1f}: this clock needs registers inside that operation"
        )
    return tuple(notes)


_MULTIPLY = 7  # opcode of `buf[a] * buf[b]`; source: alkaid docs, "ALIR"
