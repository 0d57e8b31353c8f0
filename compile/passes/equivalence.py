"""Equivalence: a proof that two lowered graphs compute the same numbers, whatever the inputs are.

The graphs come from one network under different types. Their tensors are compared by name, from the
inputs on; each pair is proved equal, or equal modulo a power of two (so far as a wrapping type has
dropped high bits that a later wrap drops anyway), or it is not proved and the reason is kept:

1. exact operations of equal operands give equal results, sums and movements of operands equal
   modulo 2**k results equal modulo 2**k;
2. a cast of equal values rounds equally if the grids and modes are equal, or if no bit is dropped
   on either grid; then it overflows equally if the types are equal, or if the proven range of what
   arrives fits in both; two wrapping types leave values equal modulo the smaller of their moduli;
3. what is equal modulo 2**k is equal again behind a wrapping cast of at most k integer bits whose
   types are equal, or whose types both hold the proven range;
4. an accumulator is a cast after every addition; if it wraps only its total counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..ir import Format, Graph, Interval, Node, Overflow, Rounding
from ..ops import operation, site_of
from ..ops.accumulate import partial_sums
from ..ops.cast import rounded_interval
from .ranges import refine_ranges
from .zero_bits import propagate_zero_bits

__all__ = ["Bounds", "Difference", "differences"]

_ALL = 1 << 30  # equal modulo 2**_ALL: equal
_LINEAR = ("reshape", "transpose", "gather", "concat", "add", "sub", "sum")
_BY_VALUE = (
    *_LINEAR,
    *("mul", "dot", "shift", "max", "min", "reduce_max", "argmax", "compare", "select"),
)
_BY_MANTISSA = ("lookup", "divide")  # of the first operand: the other one is a table, or whole
# their roundings do not move when a multiple of the rounded grid is added
_SHIFT_INVARIANT = (Rounding.TRN, Rounding.RND, Rounding.RND_MIN_INF)


@dataclass(frozen=True, slots=True)
class Difference:
    """A tensor where the proof ends, why, and its format in the second graph."""

    tensor: str
    reason: str
    format: Format


def differences(old: Graph, new: Graph, bounds: Bounds | None = None) -> list[Difference]:
    """Where the proof that both graphs compute the same fails first; empty if they do.

    Compared are all outputs, which must have the same types too, and every layer that both have.

    Args:
        bounds: of the old graph, if they are at hand.
    """
    return _Proof(old, new, bounds or Bounds(old)).run()


class Bounds(Mapping[str, Interval]):
    """Bounds of the tensors of a lowered graph, computed when asked for.

    A tensor that the simplified graph has too is the same function there, with narrower bounds.
    """

    def __init__(self, graph: Graph, simplified: Graph | None = None) -> None:
        self._graph = graph
        self._made_by = {node.output: node for node in graph.nodes}
        self._known = refine_ranges(simplified or graph)

    def __getitem__(self, name: str) -> Interval:
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def _compute(self, name: str) -> Interval:
        if name in self._graph.constants:
            return Interval.of_constant(self._graph.constants[name])
        node = self._made_by[name]
        intervals = [self[source] for source in node.inputs]
        return operation(node.op).range(site_of(self._graph, node), intervals)

    def __iter__(self) -> Iterator[str]:
        return iter(self._graph.tensors)

    def __len__(self) -> int:
        return len(self._graph.tensors)


class _Proof:
    def __init__(self, old: Graph, new: Graph, bounds: Bounds) -> None:
        self._old, self._new, self._ranges = old, new, bounds
        self._zeros = propagate_zero_bits(old, bounds)
        # name -> the pair is equal modulo 2**k; absent where nothing is known
        self._equal: dict[str, int] = {}
        self._reasons: dict[str, str] = {}

    def run(self) -> list[Difference]:
        for name in self._new.inputs:
            if name in self._old.tensors and self._same_tensor(name):
                self._equal[name] = _ALL
        for name in self._new.constants:
            self._compare_constant(name)
        nodes = {node.output: node for node in self._old.nodes}
        for node in self._new.nodes:
            partner = nodes.get(node.output)
            modulus = None
            if partner is None or partner.op != node.op or partner.inputs != node.inputs:
                self._reasons[node.output] = "the graph has another shape here"
            elif all(name in self._equal for name in node.inputs):
                modulus = self._step(partner, node)
            if modulus is not None:
                self._equal[node.output] = modulus
        return self._failures()

    def _failures(self) -> list[Difference]:
        new_layers = self._new.layer_tensors
        pairs = [*zip(self._old.outputs, self._new.outputs, strict=True)]
        pairs += [
            (tensor, new_layers[name])
            for name, tensor in self._old.layer_tensors.items()
            if name in new_layers
        ]
        typed = {
            b
            for a, b in zip(self._old.outputs, self._new.outputs, strict=True)
            if not self._old.tensors[a].format.same_grid(self._new.tensors[b].format)
        }
        if not typed and all(a == b and self._equal.get(a) == _ALL for a, b in pairs):
            return []
        for a, b in pairs:
            if a != b:
                self._reasons.setdefault(b, f"it stands where {a} stood")
            elif self._equal.get(b, _ALL) != _ALL:
                self._reasons.setdefault(b, f"equal modulo 2**{self._equal[b]} only")
            elif b in typed:
                self._reasons.setdefault(b, "an output of the network would have another type")
        return [
            Difference(name, reason, self._new.tensors[name].format)
            for name, reason in self._reasons.items()
        ]

    def _same_tensor(self, name: str) -> bool:
        return self._old.tensors[name] == self._new.tensors[name]

    def _compare_constant(self, name: str) -> None:
        if name not in self._old.constants:
            self._reasons[name] = "the constant is not in both graphs"
            return
        a, b = self._old.constants[name], self._new.constants[name]
        lift = self._new.tensors[name].format.fraction - self._old.tensors[name].format.fraction
        a = a.astype(object) << max(lift, 0)
        b = b.astype(object) << max(-lift, 0)
        if a.shape == b.shape and np.array_equal(a, b):
            self._equal[name] = _ALL
        else:
            self._reasons[name] = "the numbers themselves are other ones in this type"

    def _fail(self, node: Node, reason: str) -> None:
        self._reasons[node.output] = reason

    def _step(self, old: Node, new: Node) -> int | None:
        """The modulus of a node whose inputs are equal modulo something."""
        modulus = min(self._equal[name] for name in old.inputs)
        if old.op == "cast":
            return self._cast(old, new, modulus)
        if old.op == "accumulate":
            return self._accumulate(old, new, modulus)
        if old.attrs != new.attrs:
            self._fail(new, "the operation has other attributes")
            return None
        if modulus != _ALL:
            if old.op in _LINEAR:
                return modulus
            if old.op == "shift":
                bits = old.attrs["bits"]
                assert isinstance(bits, int)
                return modulus + bits
            self._fail(new, f"{old.op} needs the high bits that a wrap has dropped")
            return None
        if old.op in _BY_VALUE:
            return _ALL
        # the others work on mantissas, not on values
        names = old.inputs[:1] if old.op in _BY_MANTISSA else (*old.inputs, old.output)
        formats = [(self._old.tensors[x].format, self._new.tensors[x].format) for x in names]
        same_bits = all(a.fraction == b.fraction for a, b in formats)
        if same_bits if old.op in _BY_MANTISSA else all(a == b for a, b in formats):
            return _ALL
        self._fail(new, f"{old.op} depends on the type itself")
        return None

    def _cast(self, old: Node, new: Node, modulus: int) -> int | None:
        source = self._old.tensors[old.inputs[0]].format
        a, b = self._old.tensors[old.output].format, self._new.tensors[new.output].format
        finest = source.fraction - self._zeros[old.inputs[0]]
        exact = finest <= min(a.fraction, b.fraction)
        if not exact and (a.fraction, a.rounding) != (b.fraction, b.rounding):
            self._fail(new, "the type rounds at another bit")
            return None
        if modulus != _ALL and not (exact and -b.fraction <= modulus):
            even = a.rounding is Rounding.RND_CONV and -a.fraction < modulus
            if -a.fraction > modulus or not (even or a.rounding in _SHIFT_INVARIANT):
                self._fail(new, "the rounding depends on high bits that a wrap has dropped")
                return None
        arriving = rounded_interval(self._ranges[old.inputs[0]], source, a)
        return self._overflow(new, [arriving], a, b, modulus)

    def _accumulate(self, old: Node, new: Node, modulus: int) -> int | None:
        a, b = self._old.tensors[old.output].format, self._new.tensors[new.output].format
        if [old.attrs[key] for key in ("kind", "order")] != [
            new.attrs[key] for key in ("kind", "order")
        ]:
            self._fail(new, "the accumulator adds in another order")
            return None
        if a.same_grid(b) and a.overflow is b.overflow and modulus == _ALL:
            return _ALL
        site, intervals = site_of(self._old, old), [self._ranges[x] for x in old.inputs]
        if a.overflow is b.overflow is Overflow.WRAP:
            # the old result is its total modulo 2**integer
            modulus = min(modulus, a.integer)
            return self._overflow(new, [self._ranges[old.output]], a, b, modulus)
        return self._overflow(new, partial_sums(site, intervals), a, b, modulus)

    def _overflow(
        self,
        new: Node,
        arriving: list[Interval],
        a: Format,
        b: Format,
        modulus: int,
    ) -> int | None:
        """The modulus behind the overflow modes of rounded values equal modulo `modulus`."""
        fits = all(_holds(fmt, part, a.fraction) for fmt in (a, b) for part in arriving)
        wraps = a.overflow is b.overflow is Overflow.WRAP
        if modulus == _ALL and (fits or (a.same_grid(b) and a.overflow is b.overflow)):
            return _ALL
        same_span = (a.signed, a.integer) == (b.signed, b.integer)
        if wraps and modulus >= b.integer and (fits or same_span):
            return _ALL
        if wraps:
            return min(modulus, a.integer, b.integer)
        self._fail(new, "a value or partial sum may leave the type")
        return None


def _holds(fmt: Format, interval: Interval, fraction: int) -> bool:
    """True if the format's range holds all mantissas with this many fraction bits."""
    lift = fmt.fraction - fraction
    low, high = interval.minimum, interval.maximum
    if lift >= 0:
        return fmt.min_saturated <= low << lift and high << lift <= fmt.max_mantissa
    # a coarser grid: the caller has shown that the values lie on it
    return fmt.min_saturated <= low >> -lift and -(-high >> -lift) <= fmt.max_mantissa
