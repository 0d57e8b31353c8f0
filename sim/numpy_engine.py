"""`NumpyEngine`: runs the fixed-point graph with NumPy, mantissas in the fastest exact carrier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Carrier, Graph
from samebits.compile.ops import Operation, Site, operation, site_of
from samebits.compile.ops.arith import as_carrier
from samebits.compile.ops.boundary import input_mantissas, to_values
from samebits.compile.passes import choose_carriers

__all__ = ["NumpyEngine"]

Array = NDArray[Any]
_CHUNK_ELEMENTS = 1 << 19  # elements of a typical tensor in one chunk: about the size of a cache
# operations whose result never shares memory with anything else
_PRIVATE = ("add", "sub", "mul", "dot", "truncated_dot", "sum", "max", "min", "cast", "lookup")
_LARGEST_ELEMENTS = 1 << 23  # elements of the largest tensor in one chunk: bounds the memory


@dataclass(frozen=True, slots=True)
class _Step:
    """One node ready to run: its inputs in its carrier."""

    rules: Operation
    site: Site
    carrier: Carrier
    dtype: np.dtype[Any]
    operands: tuple[tuple[str, Array | None], ...]  # tensor name, and its mantissas if constant


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a step does to memory: the operand it overwrites, and tensors not needed after it."""

    overwrites: int | None
    dead: tuple[str, ...]


class NumpyEngine:
    """The fixed-point graph as a NumPy program.

    The carrier of every operation is chosen once, from the proven range of all that its kernel
    computes; there is no other choice at run time.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._steps: list[_Step] = []
        self._carriers = choose_carriers(graph)
        self._same: dict[str, str] = {}  # tensors that are another one under a new name
        for node in graph.nodes:
            site, rules = site_of(graph, node), operation(node.op)
            carrier = self._carriers[node.output]
            first = self._held(node.inputs[0])
            if _is_identity(site, node.op) and self._carriers.get(first) is carrier:
                self._same[node.output] = first
                continue
            operands = tuple(
                (name, as_carrier(graph.constants[name], carrier)[..., None])
                if name in graph.constants
                else (self._held(name), None)
                for name in node.inputs
            )
            dtype = np.dtype(carrier.dtype)
            self._steps.append(_Step(rules, site, carrier, dtype, operands))
        self._chunk = _chunk_events([math.prod(step.site.output.shape) for step in self._steps])

    def _held(self, name: str) -> str:
        """The name under which a tensor's mantissas are held."""
        return self._same.get(name, name)

    @property
    def chunk_events(self) -> int:
        """How many events run at once."""
        return self._chunk

    @property
    def carriers(self) -> Mapping[str, Carrier]:
        """The carrier of every tensor that is not a constant."""
        return self._carriers

    def run(
        self,
        inputs: Sequence[Array],
        names: Sequence[str],
        progress: Callable[[int], None] | None = None,
        workers: int = 1,
    ) -> list[NDArray[np.float64]]:
        """The named tensors' real values for real inputs of shape (N, *input shape).

        Args:
            inputs: finite float32 or float64 arrays in the order of the graph's inputs.
            names: tensors to return.
            progress: called with the number of events done after each chunk.
            workers: threads that share the events; the answer does not depend on it.
        """
        events = len(inputs[0])
        tensors = self.graph.tensors
        out = [np.empty((events, *tensors[name].shape), dtype=np.float64) for name in names]
        plan = self._plan({self._held(name) for name in names})

        chunk = self._chunk if workers == 1 else _shared_chunk(self._chunk, events, workers)

        def run_chunk(start: int) -> int:
            stop = min(start + chunk, events)
            live = self._run_chunk([x[start:stop] for x in inputs], plan)
            for array, name in zip(out, names, strict=True):
                constant = self.graph.constants.get(name)
                mantissas = live[self._held(name)] if constant is None else constant[..., None]
                events_last = np.moveaxis(array[start:stop], 0, -1)
                to_values(mantissas, tensors[name].format, out=events_last)
            return stop

        starts = range(0, events, chunk)
        with ThreadPoolExecutor(max(1, workers)) as pool:
            for stop in pool.map(run_chunk, starts) if workers > 1 else map(run_chunk, starts):
                if progress:
                    progress(stop)
        return out

    def _plan(self, wanted: Set[str]) -> list[_Memory]:
        """For every step, what it may overwrite and what nothing needs after it."""
        users = Counter(name for step in self._steps for name, _ in step.operands)
        last: dict[str, int] = {}
        for position, step in enumerate(self._steps):
            last.update((name, position) for name, _ in step.operands)
            last.setdefault(step.site.output.name, position)
        dead: list[list[str]] = [[] for _ in self._steps]
        for name, position in last.items():
            if name not in wanted and name not in self.graph.constants:
                dead[position].append(name)
        varies = set(self.graph.inputs)  # tensors that depend on the event
        private: dict[str, Carrier] = {}  # those of them whose memory is no other's
        plan = []
        for step, done in zip(self._steps, dead, strict=True):
            overwrites = next(
                (
                    position
                    for position, (name, _) in enumerate(step.operands)
                    if step.rules.in_place
                    and step.dtype.kind == "f"
                    and private.get(name) is step.carrier
                    and users[name] == 1
                    and name not in wanted
                    and step.site.inputs[position].shape == step.site.output.shape
                ),
                None,
            )
            plan.append(_Memory(overwrites, tuple(done)))
            if any(name in varies for name, _ in step.operands):
                varies.add(step.site.output.name)
                if step.rules.name in _PRIVATE:
                    private[step.site.output.name] = step.carrier
        return plan

    def _run_chunk(self, inputs: Sequence[Array], plan: Sequence[_Memory]) -> dict[str, Array]:
        live: dict[str, Array] = {}
        for name, values in zip(self.graph.inputs, inputs, strict=True):
            events_last = np.ascontiguousarray(np.moveaxis(values, 0, -1))
            live[name] = input_mantissas(
                events_last, self.graph.tensors[name].format, self._carriers[name]
            )
        for step, memory in zip(self._steps, plan, strict=True):
            arrays = []
            for name, constant in step.operands:
                array = live[name] if constant is None else constant
                if array.dtype != step.dtype:
                    array = as_carrier(array, step.carrier)
                arrays.append(array)
            if memory.overwrites is not None and step.rules.in_place:
                result = step.rules.in_place(step.site, arrays, arrays[memory.overwrites])
            else:
                result = step.rules.kernel(step.site, arrays)
            live[step.site.output.name] = result
            for name in memory.dead:
                del live[name]
        return live


def _is_identity(site: Site, op: str) -> bool:
    """True if the operation leaves every mantissa where and as it is."""
    if op == "cast":
        same = site.inputs[0].format.fraction == site.output.format.fraction
        return same and bool(site.integer("bounded"))
    return op == "shift"


def _chunk_events(sizes: Sequence[int]) -> int:
    """How many events run at once, for tensors of so many elements.

    Few enough for the tensors to stay in the cache, many enough for the work to outweigh the calls:
    the typical tensor is the one in which the typical element is.
    """
    if not sizes:
        return _CHUNK_ELEMENTS
    typical = sum(size * size for size in sizes) // max(1, sum(sizes))
    return max(1, min(_CHUNK_ELEMENTS // max(1, typical), _LARGEST_ELEMENTS // max(1, *sizes)))


def _shared_chunk(chunk: int, events: int, workers: int) -> int:
    """Events in a chunk where threads share them: the same work for all, and some more at once,
    since a thread that comes back from a kernel may wait for the interpreter's lock."""
    rounds = max(1, round(events / (1.4 * chunk * workers)))
    return max(1, -(-events // (rounds * workers)))
