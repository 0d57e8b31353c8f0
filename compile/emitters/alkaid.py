"""The fixed-point graph as alkaid combinational logic: adders, multiplexers and look-up tables.

alkaid (LGPL, extra `rtl`) traces NumPy-like arithmetic on symbolic fixed-point numbers. It serves
latency and resource estimates and RTL; its interpreter computes the very bits of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import prod
from sys import getrecursionlimit, setrecursionlimit
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from ..ir import Format, Graph, Interval, Rounding, Tensor
from ..ops import Site, site_of
from ..ops.accumulate import TREE, tree_split
from ..ops.dot import Axes
from ..passes import propagate_ranges
from . import alkaid_arith as exact
from .alkaid_arith import Element
from .alkaid_size import MAX_OPERATIONS, check_size

__all__ = ["EMITTERS", "AlkaidTrace", "alkaid_version", "deep_recursion", "to_alkaid", "trace"]

Elements = NDArray[np.object_]

# Depth first: at most two adders more on the longest path than the least possible, the setting of
# the published trigger designs made with alkaid's predecessor. Source: alkaid docs, "CMVM".
SOLVER_OPTIONS: Mapping[str, Any] = {"hard_dc": 2}
_HARDWARE = (1, 1, -1)  # alkaid's own default: adder size, carry size, no cutoff while tracing
_BLOCK_WEIGHTS = 4096  # the solver's time grows with the power 2.4 of their number
_INTERPRETER_BITS = 63
_DEPTH = 100_000


def alkaid_version() -> str:
    """alkaid's version, for example "0.8.2".

    Raises:
        MissingToolError: alkaid is not installed.
    """
    try:
        import alkaid  # type: ignore[import-untyped]
    except ImportError:
        raise errors.MissingToolError(
            "alkaid is not installed; it estimates latency and resources; "
            'install it with: pip install "samebits[rtl]"'
        ) from None
    return str(alkaid.__version__)


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Lets alkaid walk long chains of operations, which it does by recursion."""
    before = getrecursionlimit()
    setrecursionlimit(max(before, _DEPTH))
    try:
        yield
    finally:
        setrecursionlimit(before)


@dataclass(frozen=True, slots=True)
class _Emit:
    """One node to write: its site and its inputs' elements."""

    site: Site
    inputs: Sequence[Elements]
    solver: Mapping[str, Any]

    def broadcast(self, shape: tuple[int, ...]) -> Iterator[tuple[Element, ...]]:
        """The inputs' elements in step, in C order of a shape."""
        return zip(*(np.broadcast_to(x, shape).flat for x in self.inputs), strict=True)

    def filled(self, elements: Iterator[Element]) -> Elements:
        """An array of the output's shape."""
        return _array(list(elements), self.site.output.shape)


def _array(elements: Sequence[Element], shape: tuple[int, ...]) -> Elements:
    out = np.empty(len(elements), dtype=object)
    for position, element in enumerate(elements):
        out[position] = element
    return out.reshape(shape)


def _each(function: Callable[..., Element]) -> Callable[[_Emit], Elements]:
    def emit(e: _Emit) -> Elements:
        return e.filled(function(*elements) for elements in e.broadcast(e.site.output.shape))

    return emit


def _reshape(e: _Emit) -> Elements:
    return e.inputs[0].reshape(e.site.output.shape)


def _transpose(e: _Emit) -> Elements:
    return e.inputs[0].transpose(e.site.integers("perm"))


def _shift(e: _Emit) -> Elements:
    factor = exact.power_of_two(e.site.integer("bits"))
    return e.filled(exact.times(x, factor) for x in e.inputs[0].flat)


def _minimum(a: Element, b: Element) -> Element:
    return -exact.maximum(-a, -b)


def _compare(e: _Emit) -> Elements:
    return _each(_RELATIONS[e.site.text("relation")])(e)


def _greater(a: Element, b: Element) -> Element:
    return exact.is_negative(exact.minus(b, a))


def _greater_equal(a: Element, b: Element) -> Element:
    return exact.bit_not(exact.is_negative(exact.minus(a, b)))


def _equal(a: Element, b: Element) -> Element:
    return exact.bit_not(exact.any_bit(exact.minus(a, b)))


_RELATIONS = {"gt": _greater, "ge": _greater_equal, "eq": _equal}


def _select(condition: Element, a: Element, b: Element) -> Element:
    return exact.choose(exact.any_bit(condition), a, b)


def _over_first_axis(x: Elements, function: Callable[[list[Element]], Element]) -> Elements:
    columns = x.reshape(len(x), -1).T
    return _array([function(list(column)) for column in columns], x.shape[1:])


def _total(elements: Sequence[Element]) -> Element:
    """The sum, variables in a tree by arrival time."""
    from alkaid.trace import FVArray  # type: ignore[import-untyped]

    known = sum((x for x in elements if isinstance(x, Fraction)), Fraction(0))
    variables = [x for x in elements if not isinstance(x, Fraction)]
    if not variables:
        return known
    total = variables[0] if len(variables) == 1 else np.sum(FVArray(_array(variables, (-1,))))
    return exact.plus(exact.settle(total), known)


def _tree(elements: list[Any], combine: Callable[[Any, Any], Any]) -> Any:
    while len(elements) > 1:
        pairs = zip(elements[::2], elements[1::2], strict=False)
        odd = elements[-1:] if len(elements) % 2 else []
        elements = [combine(a, b) for a, b in pairs] + odd
    return elements[0]


def _reduce_max(e: _Emit) -> Elements:
    return _over_first_axis(e.inputs[0], lambda column: _tree(column, exact.maximum))


def _argmax(e: _Emit) -> Elements:
    def later_only_if_larger(a: Any, b: Any) -> Any:
        first = _greater_equal(a[0], b[0])
        return exact.choose(first, a[0], b[0]), exact.choose(first, a[1], b[1])

    def position(column: list[Element]) -> Element:
        return _tree([(x, Fraction(i)) for i, x in enumerate(column)], later_only_if_larger)[1]

    return _over_first_axis(e.inputs[0], position)


def _gather(e: _Emit) -> Elements:
    return e.inputs[0][e.inputs[1].astype(np.intp)]


def _concat(e: _Emit) -> Elements:
    return np.concatenate(e.inputs)


def _divide(e: _Emit) -> Elements:
    fraction = e.site.output.format.fraction
    return e.filled(exact.divide(x, by, fraction) for x, by in e.broadcast(e.site.output.shape))


def _products(e: _Emit) -> Elements:
    """The products of all elements, shapes broadcast; constants that multiply one in one solution.

    alkaid's solver for a single constant takes up to seconds for 16 bits, the one for matrices
    milliseconds, and it shares adders.
    """
    left, right = e.inputs
    if not _is_known(right):
        left, right = right, left
    shape = np.broadcast_shapes(left.shape, right.shape)
    if not _is_known(right):
        return _array([exact.times(a, b) for a, b in e.broadcast(shape)], shape)
    left, right = left[None], np.broadcast_to(right, shape)[None]  # never of rank 0
    out = np.empty(right.shape, dtype=object)
    for place in np.ndindex(left.shape):
        part = tuple(
            slice(None) if size == 1 else at for size, at in zip(left.shape, place, strict=True)
        )
        weights = right[part]
        products = _weighted_sums(_array([left[place]], (1,)), weights.reshape(1, -1), e.solver)
        out[part] = products.reshape(weights.shape)
    return out.reshape(shape)


def _is_known(elements: Elements) -> bool:
    return all(isinstance(x, Fraction) for x in elements.flat)


def _dot(e: _Emit) -> Elements:
    left, right = e.inputs
    if not _is_known(right):
        left, right = right, left
    if not _is_known(right):
        return _over_first_axis(_products(e), _total)
    # one matrix product for every position on the axes that the constant does not have alone
    axes = Axes.of(left.shape, right.shape)
    outer, inner = [*axes.both, *axes.left], tuple(right.shape[axis] for axis in axes.right)
    out = np.empty((*(left.shape[axis] for axis in outer), prod(inner)), dtype=object)
    vectors = left.transpose(*outer, 0, *axes.right)
    matrices = right.transpose(*axes.both, *axes.left, 0, *axes.right)
    for place in np.ndindex(out.shape[:-1]):
        weights = matrices[place[: len(axes.both)]].reshape(len(right), -1)
        out[place] = _weighted_sums(vectors[place].reshape(-1), weights, e.solver)
    return out.reshape(out.shape[:-1] + inner).transpose(np.argsort([*outer, *axes.right]))


def _weighted_sums(vector: Elements, matrix: Elements, solver: Mapping[str, Any]) -> Elements:
    """vector @ matrix, of which the matrix is known."""
    known = np.array([isinstance(x, Fraction) for x in vector])
    offsets = [
        sum((x * w for x, w in zip(vector[known], column, strict=True)), Fraction(0))
        for column in matrix[known].T
    ]
    sums: list[list[Element]] = [[offset] for offset in offsets]
    variables, rest = vector[~known], matrix[~known]
    while len(variables) and rest.any():
        pieces = np.vectorize(_first_piece, otypes=[object])(rest)
        products = _constant_product(variables, pieces, solver)
        for terms, product in zip(sums, products, strict=True):
            terms.append(product)
        rest = rest - pieces
    return _array([_total(terms) for terms in sums], (len(sums),))


def _truncated_dot(e: _Emit) -> Elements:
    products, fraction = _products(e), e.site.output.format.fraction
    terms = [exact.round_to(x, fraction, Rounding.TRN) for x in products.flat]
    return _over_first_axis(_array(terms, products.shape), _total)


def _first_piece(weight: Fraction) -> Fraction:
    return next(iter(exact.exact_pieces(weight, exact.FACTOR_BITS)), Fraction(0))


def _constant_product(
    vector: Elements, matrix: Elements, solver: Mapping[str, Any]
) -> list[Element]:
    """vector @ matrix as a shared graph of adders."""
    from alkaid.trace import FVArray

    options = dict(solver)
    if any(sum(x.kif) == 1 and x.low < 0 for x in vector):
        options["binary_lut"] = False  # alkaid packs single bits as 0 and +1
    symbols = FVArray(vector, options)
    weights, columns = matrix.astype(np.float64), max(1, _BLOCK_WEIGHTS // len(vector))
    product: list[Element] = []
    for start in range(0, weights.shape[1], columns):
        block = np.asarray(symbols @ weights[:, start : start + columns])
        product.extend(exact.settle(x) for x in block)
    return product


def _lookup(e: _Emit) -> Elements:
    index, table = e.site.inputs
    if not all(isinstance(entry, Fraction) for entry in e.inputs[1].flat):
        raise errors.UnsupportedError(f"alkaid: lookup: table {table.name} is not a constant")
    scale = exact.power_of_two(table.format.fraction)
    columns = [[int(x * scale) for x in c] for c in e.inputs[1].reshape(len(e.inputs[1]), -1).T]
    return e.filled(
        exact.look_up(x, index.format.fraction, column, table.format.fraction)
        for x in e.inputs[0].flat
        for column in columns
    )


def _cast(e: _Emit) -> Elements:
    target = e.site.output.format
    if e.site.integer("bounded"):
        return e.filled(
            exact.round_to(x, target.fraction, target.rounding) for x in e.inputs[0].flat
        )
    return e.filled(_cast_one(x, target) for x in e.inputs[0].flat)


def _cast_one(x: Element, target: Format) -> Element:
    return exact.bound(exact.round_to(x, target.fraction, target.rounding), target)


def _accumulate(e: _Emit) -> Elements:
    target = e.site.output.format
    terms = e.inputs[0].reshape(len(e.inputs[0]), -1)

    def add(a: Element, b: Element) -> Element:
        return exact.bound(exact.plus(a, b), target)

    def branch(column: Sequence[Element]) -> Element:
        if len(column) == 1:
            return column[0]
        middle = tree_split(len(column))
        return add(branch(column[:middle]), branch(column[middle:]))

    if e.site.text("kind") == TREE:
        return e.filled(branch(list(column)) for column in terms.T)
    ordered = [list(column[list(e.site.integers("order"))]) for column in terms.T]
    if len(e.inputs) == 2:
        ordered = [[s, *column] for s, column in zip(e.inputs[1].flat, ordered, strict=True)]
    return e.filled(reduce(add, column) for column in ordered)


EMITTERS: dict[str, Callable[[_Emit], Elements]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "gather": _gather,
    "concat": _concat,
    "add": _each(exact.plus),
    "sub": _each(exact.minus),
    "mul": _products,
    "dot": _dot,
    "truncated_dot": _truncated_dot,
    "divide": _divide,
    "sum": lambda e: _over_first_axis(e.inputs[0], _total),
    "max": _each(exact.maximum),
    "min": _each(_minimum),
    "reduce_max": _reduce_max,
    "argmax": _argmax,
    "compare": _compare,
    "select": _each(_select),
    "shift": _shift,
    "lookup": _lookup,
    "cast": _cast,
    "accumulate": _accumulate,
}


@dataclass(frozen=True, eq=False)
class AlkaidTrace:
    """The graph's tensors as arrays of known numbers and alkaid variables."""

    graph: Graph
    elements: Mapping[str, Elements]

    def logic(self) -> Any:
        """The `CombLogic` from all inputs' elements to all outputs' elements.

        Raises:
            UnsupportedError: numbers wider than alkaid holds exactly.
        """
        from alkaid.trace import trace as alkaid_trace
        from alkaid.trace.passes import optimize  # type: ignore[import-untyped]

        for name in self.graph.outputs:
            for x in self.elements[name].flat:
                if isinstance(x, Fraction) and exact.significant_bits(x) > exact.SIGNIFICANT_BITS:
                    raise _too_wide(name, f"constant {x}")
        sources, results = self._ports(self.graph.inputs), self._ports(self.graph.outputs)
        with deep_recursion():
            # without alkaid's second tracing, which would add up constants that stand apart here
            logic = optimize(
                alkaid_trace(sources, results, optimize=False), keep_dead_inputs=True, retrace=False
            )
        _refuse_inexact(logic)
        return logic

    def _ports(self, names: Sequence[str]) -> list[Any]:
        from alkaid.trace import FVariable, HWConfig

        hardware = HWConfig(*_HARDWARE)
        return [
            FVariable.from_const(float(x), hardware) if isinstance(x, Fraction) else x
            for name in names
            for x in self.elements[name].flat
        ]


def trace(
    graph: Graph,
    *,
    inputs: Mapping[str, Interval] | None = None,
    solver: Mapping[str, Any] = SOLVER_OPTIONS,
    max_operations: int = MAX_OPERATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> AlkaidTrace:
    """The graph traced through alkaid.

    Args:
        graph: best simplified.
        inputs: bounds of the inputs, where they are narrower than the format.
        solver: alkaid's options for constant matrices.
        max_operations: larger graphs are refused, as `alkaid_size` counts them.
        progress: called with the number of nodes done and their total.

    Raises:
        MissingToolError: alkaid is not installed.
        UnsupportedError: an operation without an emitter, or too large a graph.
    """
    alkaid_version()
    missing = sorted({node.op for node in graph.nodes} - EMITTERS.keys())
    if missing:
        raise errors.UnsupportedError(
            f"alkaid: no emitter for {', '.join(missing)}; supported: {', '.join(EMITTERS)}"
        )
    check_size(graph, max_operations)
    ranges = propagate_ranges(graph, inputs)
    elements = {x.name: _input(x, ranges[x.name]) for x in graph.tensors_of(graph.inputs)}
    for name, mantissas in graph.constants.items():
        lsb = exact.power_of_two(-graph.tensors[name].format.fraction)
        elements[name] = _array([int(m) * lsb for m in mantissas.flat], mantissas.shape)
    for done, node in enumerate(graph.nodes, start=1):
        site = site_of(graph, node)
        made = EMITTERS[node.op](_Emit(site, [elements[name] for name in node.inputs], solver))
        shape, fraction = site.output.shape, site.output.format.fraction
        bounds = ranges[node.output]
        low, high = (np.broadcast_to(end, shape).flat for end in (bounds.low, bounds.high))
        bounded = zip(made.flat, low, high, strict=True)
        tight = [exact.tighten(x, int(first), int(last), fraction) for x, first, last in bounded]
        elements[node.output] = _array(tight, shape)
        if progress:
            progress(done, len(graph.nodes))
    return AlkaidTrace(graph, elements)


def _input(tensor: Tensor, interval: Interval) -> Elements:
    # alkaid cuts what it is given to the port's width, so the port has the input's own format
    from alkaid.trace import FVariable, HWConfig

    fraction, hardware = tensor.format.fraction, HWConfig(*_HARDWARE)
    ports: list[Element] = []
    for low, high in zip(interval.low.flat, interval.high.flat, strict=True):
        fmt = Format.spanning(int(low), int(high), fraction)  # NumPy integers at rank 0
        ends = (fmt.min_mantissa * fmt.lsb, fmt.max_mantissa * fmt.lsb)
        ports.append(FVariable(*ends, fmt.lsb, hwconf=hardware) if fmt.width else Fraction(0))
    return _array(ports, tensor.shape)


def to_alkaid(
    graph: Graph,
    solver: Mapping[str, Any] = SOLVER_OPTIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """alkaid's `CombLogic` of the graph: all inputs' elements to all outputs' elements.

    Its ports carry real numbers; `predict` runs it bit by bit. Arguments and errors as `trace`.
    """
    return trace(graph, solver=solver, progress=progress).logic()


def _too_wide(where: str, what: str) -> errors.UnsupportedError:
    return errors.UnsupportedError(
        f"alkaid: {where}: {what} is wider than alkaid holds exactly; use narrower formats"
    )


def _refuse_inexact(logic: Any) -> None:
    """Checks what alkaid's float32 bounds could get wrong: every operation's grid and width."""
    for position, op in enumerate(logic.ops):
        low, high, step = (Fraction(number) for number in op.qint)
        signed, integer, fraction = op.qint.kif
        lsb, top = exact.power_of_two(-fraction), exact.power_of_two(integer)
        where = f"operation {position} (opcode {op.opcode}), {op.qint}"
        if low == high == 0:
            continue
        if low % step or high % step or lsb > step or low < -top * signed or high > top - lsb:
            raise _too_wide(where, "its range")
        if signed + integer + fraction > _INTERPRETER_BITS:
            raise _too_wide(where, f"{signed + integer + fraction} bits")
        if op.opcode in (0, 1):
            first, second = (logic.ops[source].qint.step for source in op.addr)
            if step > min(Fraction(first), Fraction(second) * exact.power_of_two(op.data[0])):
                raise _too_wide(where, "its grid")
