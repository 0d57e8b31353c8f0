"""The nodes of a graph made ready to run with NumPy, and chains of them joined to one step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Carrier, Format, Graph, Node
from samebits.compile.ops import Site, operation, site_of
from samebits.compile.ops.arith import as_carrier, overflow, overflow_peak, round_float

__all__ = ["Step", "join_scaled", "step_of", "with_ones"]

Array = NDArray[Any]
_MAX_EXPONENT = 60  # far from the ends of a float32's exponents


@dataclass(frozen=True, slots=True)
class Step:
    """One node ready to run: its inputs in its carrier.

    `run` takes their mantissas, and an array of the result's shape that it may use for the result:
    memory of its own, or one of the operands in `overwritable`. Where `uses_memory` is False it
    takes none. The operand `takes_ones` may have a row of ones behind it.
    """

    op: str
    site: Site
    carrier: Carrier
    dtype: np.dtype[Any]
    operands: tuple[tuple[str, Array | None], ...]  # tensor name, and its mantissas if constant
    run: Callable[[Sequence[Array], Array | None], Array]
    uses_memory: bool
    overwritable: tuple[int, ...]
    takes_ones: int | None = None

    @property
    def output(self) -> str:
        return self.site.output.name


def step_of(graph: Graph, node: Node, carrier: Carrier, held: Callable[[str], str]) -> Step:
    """A node as a step; `held`: the name under which a tensor's mantissas are held."""
    site, rules = site_of(graph, node), operation(node.op)
    operands = tuple(
        (name, as_carrier(graph.constants[name], carrier)[..., None])
        if name in graph.constants
        else (held(name), None)
        for name in node.inputs
    )
    dtype = np.dtype(carrier.dtype)
    kernel, into = rules.kernel, rules.into if dtype.kind == "f" else None

    def run(arrays: Sequence[Array], out: Array | None) -> Array:
        return kernel(site, arrays) if into is None or out is None else into(site, arrays, out)

    overwritable = tuple(
        position
        for position, (tensor, (_, constant)) in enumerate(zip(site.inputs, operands, strict=True))
        if constant is None and tensor.shape == site.output.shape
    )
    if into is None or node.op in ("dot", "lookup"):
        overwritable = ()
    return Step(node.op, site, carrier, dtype, operands, run, into is not None, overwritable)


def join_scaled(steps: Sequence[Step], wanted: Set[str]) -> list[Step]:
    """The steps, those that multiply by constants, add constants and cast joined to one.

    The cast's power of two is put into the constants, which is exact: floats keep their digits. So
    the joined step multiplies, adds and rounds, and passes over the result twice less.

    Args:
        wanted: tensors that must be there.
    """
    by_name = {step.output: step for step in steps}
    users = Counter(name for step in steps for name, _ in step.operands)
    joined: dict[str, Step] = {}
    inside: set[str] = set()
    for step in steps:
        if step.op != "cast" or step.dtype.kind != "f":
            continue
        chain = _chain(step, by_name, lambda name: users[name] == 1 and name not in wanted)
        if chain and (one := _joined(step, chain)):
            joined[step.output] = one
            inside.update(member.output for member in chain)
    return [joined.get(step.output, step) for step in steps if step.output not in inside]


def _chain(
    cast: Step, by_name: dict[str, Step], is_inner: Callable[[str], bool]
) -> list[Step] | None:
    """The additions before a cast, last first, and then the product; None if there is no such."""
    chain: list[Step] = []
    name = cast.operands[0][0]
    while is_inner(name) and (step := by_name.get(name)) is not None:
        constants = [constant is not None for _, constant in step.operands]
        if (
            step.carrier is not cast.carrier
            or constants.count(True) != 1
            or step.op not in ("add", "mul", "dot")
            or step.site.output.shape != cast.site.output.shape
        ):
            return None
        chain.append(step)
        if step.op != "add":
            return chain
        name = step.operands[constants.index(False)][0]
    return None


def _joined(cast: Step, chain: Sequence[Step]) -> Step | None:
    source, target = cast.site.inputs[0].format, cast.site.output.format
    rounds, bounded = source.fraction > target.fraction, bool(cast.site.integer("bounded"))
    exponent = target.fraction - source.fraction
    terms: list[Array] = []
    *additions, product = chain
    for step in additions:
        place = 0 if step.operands[0][1] is not None else 1
        constant, fraction = step.operands[place][1], step.site.output.format.fraction
        assert constant is not None
        own = exponent + fraction - step.site.inputs[place].format.fraction
        exponent += fraction - step.site.inputs[1 - place].format.fraction
        if max(abs(own), abs(exponent)) > _MAX_EXPONENT:
            return None
        terms.append(np.ldexp(constant, own))
    if abs(exponent) > _MAX_EXPONENT:
        return None
    operands = tuple(
        (name, None if constant is None else np.ldexp(constant, exponent))
        for name, constant in product.operands
    )
    carrier = cast.carrier
    peak, grid = _sums(product, operands, terms)
    if carrier is Carrier.FLOAT64 and _fits_float32(product, peak, grid, target, bounded):
        carrier = Carrier.FLOAT32
        operands = tuple((n, None if c is None else c.astype(np.float32)) for n, c in operands)
        terms = [term.astype(np.float32) for term in terms]

    place = 0 if operands[0][1] is None else 1
    exact = (peak <= grid * 2.0 ** np.finfo(carrier.dtype).nmant).all()
    biased = _biased(product, operands, terms) if exact else None

    def run(arrays: Sequence[Array], out: Array | None) -> Array:
        if biased is not None and len(arrays[place]) == biased.shape[1]:
            result = np.matmul(biased, arrays[place], out=out)
        else:
            result = product.run(arrays, out)
            for term in terms:
                result += term
        if rounds:
            round_float(result, target.rounding)
        return result if bounded else overflow(result, target, in_place=True)

    return Step(
        "joined",
        Site(product.site.inputs, {}, cast.site.output),
        carrier,
        np.dtype(carrier.dtype),
        operands,
        run,
        True,
        product.overwritable,
        None if biased is None else place,
    )


def _biased(
    product: Step, operands: Sequence[tuple[str, Array | None]], terms: Sequence[Array]
) -> Array | None:
    """The matrix of a product with x and a row of ones: the weights, and behind them the terms.

    The terms are then among the products that are added, in whatever order. None where there are no
    terms, or not one matrix for all.
    """
    place = 0 if operands[0][1] is None else 1
    weight, result = operands[1 - place][1], product.site.output.shape
    count, *others = product.site.inputs[place].shape
    if product.op != "dot" or not terms or weight is None or len(result) != 1 or set(others) > {1}:
        return None
    matrix = weight.reshape(count, -1).T
    if len(matrix) != result[0]:
        return None
    term = np.broadcast_to(sum(terms), (*result, 1))
    return np.ascontiguousarray(np.concatenate([matrix, term], axis=1))


def with_ones(x: Array) -> Array:
    """x (K, ..., N) as a matrix (K + 1, N) with ones as its last row, where there is place; or x.

    The place is behind x in its block of memory, which x must begin: see `_Pool.take`.
    """
    block, events = x.base, x.shape[-1]
    size = x.nbytes + events * x.itemsize
    if not isinstance(block, np.ndarray) or block.dtype != np.uint8 or block.nbytes < size:
        return x
    extended = block[:size].view(x.dtype).reshape(-1, events)
    extended[-1] = 1
    return extended


def _fits_float32(product: Step, peak: Array, grid: Array, target: Format, bounded: bool) -> bool:
    """True if a joined step is exact in float32, though its mantissas alone are too large for it.

    `peak` and `grid` as `_sums` gives them: a float32 holds 2^24 times the power of two.
    """
    place = 0 if product.operands[0][1] is None else 1
    given = product.site.inputs[place].format
    limits = overflow_peak(int(peak.max(initial=0)), target) if not bounded else 0
    exact = Carrier.FLOAT32.holds
    return exact(_largest(given)) and exact(limits) and bool((peak <= grid * 2.0**24).all())


def _sums(
    product: Step, operands: Sequence[tuple[str, Array | None]], terms: Sequence[Array]
) -> tuple[Array, Array]:
    """For each element of a joined step: a bound on all sums, in any order, and their grid.

    The grid is a power of two of which all that is computed is a multiple; it depends on the
    element's constants.
    """
    place = 0 if operands[0][1] is not None else 1
    weight = operands[place][1]
    assert weight is not None
    grid = _grid(weight)
    peak = _largest(product.site.inputs[1 - place].format) * np.abs(weight.astype(np.float64))
    if product.op == "dot":
        grid, peak = grid.min(axis=0), peak.sum(axis=0)
    for term in terms:
        grid, peak = np.minimum(grid, _grid(term)), peak + np.abs(term)
    return peak + 1, np.minimum(grid, 0.5)  # rounding adds a half


def _largest(fmt: Format) -> int:
    return max(-fmt.min_mantissa, fmt.max_mantissa)


def _grid(values: Array) -> Array:
    """The largest power of two of which each number is a multiple; infinity for zero."""
    mantissas, exponents = np.frexp(values)
    digits = np.ldexp(mantissas, 53).astype(np.int64)  # odd times a power of two
    lowest = (digits & -digits).astype(np.float64)
    return np.where(values == 0, np.inf, np.ldexp(lowest, exponents - 53))
