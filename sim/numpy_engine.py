"""`NumpyEngine`: runs the fixed-point graph with NumPy, mantissas in the fastest exact carrier."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Carrier, Graph
from samebits.compile.ops import Site, site_of
from samebits.compile.ops.arith import as_carrier
from samebits.compile.ops.boundary import input_mantissas, to_values
from samebits.compile.passes import choose_carriers

from .numpy_steps import Step, join_scaled, step_of, with_ones

__all__ = ["NumpyEngine"]

Array = NDArray[Any]
_CHUNK_ELEMENTS = 1 << 19  # elements of a typical tensor in one chunk: about the size of a cache
# operations whose result never shares memory with anything else
_PRIVATE = {
    *("add", "sub", "mul", "dot", "truncated_dot", "sum", "max", "min", "cast", "lookup"),
    "joined",
}
_LEAST_POOLED = 1 << 16  # bytes
_MOST_KEPT = 1 << 26
# to a block that only the local variable and getrefcount's argument name: Python 3.11 to 3.13
_REFERENCES_HERE = 2
_LARGEST_ELEMENTS = 1 << 23  # elements of the largest tensor in one chunk: bounds the memory


@dataclass(frozen=True, slots=True)
class _Planned:
    """A step, and what it does to memory."""

    step: Step
    overwrites: int | None  # the operand that makes place for the result
    takes_memory: bool  # the result gets memory from the pool
    ones: int | None  # the operand that gets a row of ones behind it
    dead: tuple[str, ...]  # tensors that nothing needs any more


class _Pool:
    """Memory that nothing needs any more, to be used again.

    Large arrays from the system cost a page fault for every 4 KB, which takes longer than filling
    them.
    """

    def __init__(self) -> None:
        self._free: list[Array] = []

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """An array with any contents; None where it is so small that it had better be made anew.

        It begins its block of memory, and behind it is place for the events once more
        (`numpy_steps.with_ones`).
        """
        size = math.prod(shape) * dtype.itemsize
        if size < _LEAST_POOLED:
            return None
        needed = size + shape[-1] * dtype.itemsize
        fitting = [k for k, block in enumerate(self._free) if block.nbytes >= needed]
        if fitting:
            block = self._free.pop(min(fitting, key=lambda k: self._free[k].nbytes))
        else:
            block = np.empty(needed, dtype=np.uint8)
        return block[:size].view(dtype).reshape(shape)

    def give_back(self, live: dict[str, Array], name: str) -> None:
        """Removes a tensor and keeps its memory, unless another tensor is a view of it."""
        array = live.pop(name)
        block = array.base
        del array
        if (
            isinstance(block, np.ndarray)
            and block.dtype == np.uint8
            and sys.getrefcount(block) == _REFERENCES_HERE
        ):
            self._free.append(block)

    def shrink(self) -> None:
        """Gives the system what is more than may be kept between runs."""
        while sum(block.nbytes for block in self._free) > _MOST_KEPT:
            del self._free[0]


class NumpyEngine:
    """The fixed-point graph as a NumPy program.

    The carrier of every operation is chosen once, from the proven range of all that its kernel
    computes; there is no other choice at run time.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._steps: list[Step] = []
        self._plans: dict[frozenset[str], list[_Planned]] = {}
        self._pools: list[_Pool] = []  # of the threads that do not run now
        self._carriers = choose_carriers(graph)
        self._same: dict[str, str] = {}  # tensors that are another one under a new name
        for node in graph.nodes:
            carrier = self._carriers[node.output]
            first = self._held(node.inputs[0])
            if _is_identity(site_of(graph, node), node.op) and self._carriers.get(first) is carrier:
                self._same[node.output] = first
            else:
                self._steps.append(step_of(graph, node, carrier, self._held))
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
        wanted = frozenset(self._held(name) for name in names)
        plan = self._plans.get(wanted) or self._plans.setdefault(wanted, self._plan(wanted))
        chunk = self._chunk if workers == 1 else _shared_chunk(self._chunk, events, workers)

        def run_chunk(start: int) -> int:
            stop = min(start + chunk, events)
            try:
                pool = self._pools.pop()
            except IndexError:
                pool = _Pool()
            live = self._run_chunk([x[start:stop] for x in inputs], plan, pool)
            self._read(live, names, [array[start:stop] for array in out])
            for name in list(live):
                pool.give_back(live, name)
            pool.shrink()
            self._pools.append(pool)
            return stop

        starts = range(0, events, chunk)
        with ThreadPoolExecutor(max(1, workers)) as threads:
            for stop in threads.map(run_chunk, starts) if workers > 1 else map(run_chunk, starts):
                if progress:
                    progress(stop)
        return out

    def _read(
        self, live: Mapping[str, Array], names: Sequence[str], out: Sequence[NDArray[np.float64]]
    ) -> None:
        """Puts the values of named tensors into arrays with the events as their first axis."""
        for array, name in zip(out, names, strict=True):
            constant = self.graph.constants.get(name)
            mantissas = live[self._held(name)] if constant is None else constant[..., None]
            to_values(mantissas, self.graph.tensors[name].format, out=np.moveaxis(array, 0, -1))

    def _plan(self, wanted: Set[str]) -> list[_Planned]:
        """The steps that make the wanted tensors, and what each may overwrite and drop."""
        steps = join_scaled(self._steps, wanted)
        users = Counter(name for step in steps for name, _ in step.operands)
        last: dict[str, int] = {}
        for position, step in enumerate(steps):
            last.update((name, position) for name, _ in step.operands)
            last.setdefault(step.output, position)
        dead: list[list[str]] = [[] for _ in steps]
        for name, position in last.items():
            if name not in wanted and name not in self.graph.constants:
                dead[position].append(name)
        varies = set(self.graph.inputs)  # tensors that depend on the event
        private: dict[str, Carrier] = {}  # those of them whose memory is no other's
        whole: set[str] = set()  # tensors that are all that is in their memory
        plan = []
        for step, done in zip(steps, dead, strict=True):
            overwrites = next(
                (
                    position
                    for position in step.overwritable
                    if private.get(name := step.operands[position][0]) is step.carrier
                    and users[name] == 1
                    and name not in wanted
                ),
                None,
            )
            is_varying = any(name in varies for name, _ in step.operands)
            takes_memory = step.uses_memory and is_varying and overwrites is None
            ones = step.takes_ones
            if ones is not None and step.operands[ones][0] not in whole:
                ones = None
            plan.append(_Planned(step, overwrites, takes_memory, ones, tuple(done)))
            if takes_memory or (step.op == "reshape" and step.operands[0][0] in whole):
                whole.add(step.output)
            if is_varying:
                varies.add(step.output)
                if step.op in _PRIVATE:
                    private[step.output] = step.carrier
        return plan

    def _run_chunk(
        self, inputs: Sequence[Array], plan: Sequence[_Planned], pool: _Pool
    ) -> dict[str, Array]:
        live: dict[str, Array] = {}
        events = len(inputs[0])
        for name, values in zip(self.graph.inputs, inputs, strict=True):
            live[name] = input_mantissas(
                np.moveaxis(values, 0, -1), self.graph.tensors[name].format, self._carriers[name]
            )
        for planned in plan:
            step, dtype = planned.step, planned.step.dtype
            arrays = [live[name] if held is None else held for name, held in step.operands]
            arrays = [x if x.dtype is dtype else as_carrier(x, step.carrier) for x in arrays]
            if planned.ones is not None:
                arrays[planned.ones] = with_ones(arrays[planned.ones])
            out = None
            if planned.overwrites is not None:
                out = arrays[planned.overwrites]
            elif planned.takes_memory:
                out = pool.take((*step.site.output.shape, events), step.dtype)
            live[step.output] = step.run(arrays, out)
            del arrays, out
            for name in planned.dead:
                pool.give_back(live, name)
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
