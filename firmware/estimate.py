"""Latency and resources of a graph as fully unrolled, pipelined logic, estimated by alkaid.

Nothing here is measured or synthesised: alkaid's cost model counts LUTs and delays operation by
operation. It is the estimate of logic that takes a new event in every clock cycle; a design that
hls4ml compiles with DSPs, or with a reuse factor above one, differs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from samebits import errors
from samebits.compile.emitters.alkaid import alkaid_version, deep_recursion, trace
from samebits.compile.emitters.alkaid_size import MAX_OPERATIONS
from samebits.compile.ir import Graph, Node
from samebits.compile.passes import propagate_ranges

from .parts import CLOSURE_LIMITS, Part, part_of
from .results import BUNCH_CROSSING_NS, Kind, Quantity

__all__ = [
    "DELAY_UNIT_NS",
    "Estimate",
    "LayerEstimate",
    "Progress",
    "as_rtl",
    "estimate",
    "logic_of",
    "longest_delay",
]

DELAY_UNIT_NS = 1.0
CALIBRATION = (
    "alkaid's delay unit taken as 1 ns: alkaid's own convention on xcvu13p-flga2577-2-e (its "
    "command line pairs --latency-cutoff 5 with --clock-period 5 ns, its RTLModel prints delays "
    "as ns); da4ml's FAQ calls it an abstract unit, about one adder; not checked by synthesis"
)

Progress = Callable[[str, int, int], None]  # what is done, steps done, all steps


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """One layer's logic by itself.

    Layers share logic and are pipelined together: their sums need not be the totals.
    """

    name: str
    kind: str
    lut: Quantity
    delay: Quantity


@dataclass(frozen=True, slots=True)
class Estimate:
    """What alkaid expects of the whole graph on a part at a clock.

    Attributes:
        latency_cycles: from the input register to the output register; one cycle per stage.
        used: by resource (LUT, FF, DSP, BRAM36); FF are the bits of all pipeline registers.
        share: fraction of the part's total, by resource.
        over_limit: resources whose share is above `parts.CLOSURE_LIMITS`.
        stage_budget: delay that a stage may have: the clock period in alkaid's units.
        worst_stage: longest delay between two registers as they stand, before a synthesiser moves
            them (retiming).
        longest_operation: delay of the slowest single operation, which no pipeline can split.
        delay_unit: nanoseconds per delay unit, kind "assumed"; `calibration` says why.
        notes: what a reader must know to use the numbers.
        seconds: CPU time that the estimate took.
    """

    tool: str
    part: Part
    clock_mhz: float
    latency_cycles: Quantity
    latency_ns: Quantity
    bunch_crossings: Quantity
    initiation_interval: Quantity
    used: dict[str, Quantity]
    share: dict[str, float]
    over_limit: tuple[str, ...]
    stage_budget: Quantity
    worst_stage: Quantity
    longest_operation: Quantity
    delay_unit: Quantity
    calibration: str
    layers: tuple[LayerEstimate, ...]
    notes: tuple[str, ...]
    seconds: float


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
    part: str | Part,
    clock_mhz: float,
    *,
    logic: Any = None,
    max_operations: int = MAX_OPERATIONS,
    per_layer: bool = True,
    progress: Progress | None = None,
) -> Estimate:
    """Latency and resources of the graph, unrolled and pipelined for the clock.

    Args:
        graph: best simplified (`compile.passes.simplify`).
        part: a full part name, or a `Part`.
        clock_mhz: the clock that the pipeline is cut for.
        logic: `logic_of(graph)`, where it is there already.
        max_operations: larger graphs are refused, as `alkaid_size` counts them.
        per_layer: estimate every layer by itself as well.
        progress: called with what is being done, the steps done and their number.

    Raises:
        UsageError: an unknown part, or a clock that is not positive.
        MissingToolError: alkaid is not installed.
        UnsupportedError: too large a graph for unrolled logic, or numbers that alkaid cannot hold.
    """
    if not (math.isfinite(clock_mhz) and clock_mhz > 0):
        raise errors.UsageError(f"the clock must be above 0 MHz, got {clock_mhz}")
    device = part if isinstance(part, Part) else part_of(part)
    tool = f"alkaid {alkaid_version()}"
    started = time.process_time()

    def tell(what: str) -> Callable[[int, int], None] | None:
        return (lambda done, total: progress(what, done, total)) if progress else None

    if logic is None:
        logic = logic_of(graph, max_operations=max_operations, progress=tell("tracing"))
    layers = _layers(graph, tool, max_operations, tell("layers")) if per_layer else ()

    def quantity(value: float, unit: str, kind: Kind = "estimated") -> Quantity:
        return Quantity(value=value, unit=unit, kind=kind, tool=tool)

    budget = 1000.0 / clock_mhz / DELAY_UNIT_NS
    stages, register_bits = _pipeline(logic, budget)
    cycles = len(stages)
    latency_ns = cycles * 1000.0 / clock_mhz
    used = {"LUT": math.ceil(sum(stage.cost for stage in stages)), "FF": register_bits}
    used |= {"DSP": 0, "BRAM36": 0}
    share = {name: used[name] / total for name, total in device.totals.items()}
    slowest = _longest_operation(logic)
    return Estimate(
        tool=tool,
        part=device,
        clock_mhz=float(clock_mhz),
        latency_cycles=quantity(cycles, "cycles"),
        latency_ns=quantity(latency_ns, "ns"),
        bunch_crossings=quantity(latency_ns / BUNCH_CROSSING_NS, "BX"),
        initiation_interval=quantity(1, "cycles"),
        used={name: quantity(value, _UNITS[name]) for name, value in used.items()},
        share=share,
        over_limit=tuple(name for name, limit in CLOSURE_LIMITS.items() if share[name] > limit),
        stage_budget=quantity(budget, "delay units", "assumed"),
        worst_stage=quantity(longest_delay(stages), "delay units"),
        longest_operation=quantity(slowest, "delay units"),
        delay_unit=Quantity(
            value=DELAY_UNIT_NS, unit="ns per delay unit", kind="assumed", tool=tool
        ),
        calibration=CALIBRATION,
        layers=layers,
        notes=_notes(logic, device, clock_mhz, budget, slowest),
        seconds=time.process_time() - started,
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
    graph: Graph, tool: str, limit: int, progress: Callable[[int, int], None] | None
) -> tuple[LayerEstimate, ...]:
    """Every layer's logic by itself, its inputs bounded as they are in the whole graph."""
    ranges = propagate_ranges(graph)
    found = []
    borders = set(graph.inputs)
    for done, layer in enumerate(graph.layers, start=1):
        lut, delay = 0, 0.0
        if layer.tensor not in borders:
            alone = _between(graph, borders, layer.tensor)
            bounds = {name: ranges[name] for name in alone.inputs}
            logic = as_rtl(trace(alone, inputs=bounds, max_operations=limit).logic())
            lut, delay = math.ceil(logic.cost), _delay(logic)
        borders.add(layer.tensor)
        found.append(
            LayerEstimate(
                layer.name,
                layer.kind,
                Quantity(value=lut, unit="LUT", kind="estimated", tool=tool),
                Quantity(value=delay, unit="delay units", kind="estimated", tool=tool),
            )
        )
        if progress:
            progress(done, len(graph.layers))
    return tuple(found)


def _between(graph: Graph, borders: Collection[str], tensor: str) -> Graph:
    """The part of the graph that makes a tensor from the nearest border tensors."""
    nodes: list[Node] = []
    needed = {tensor}
    for node in reversed(graph.nodes):
        if node.output in needed and node.output not in borders:
            nodes.append(node)
            needed.update(node.inputs)
    inputs = tuple(name for name in graph.tensors if name in needed and name in borders)
    return replace(
        graph, inputs=inputs, outputs=(tensor,), nodes=tuple(reversed(nodes)), layers=()
    ).pruned()


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
