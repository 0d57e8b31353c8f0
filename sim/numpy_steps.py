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

__all__ = ["Step", "join_scaled", "step_of"]

Array = NDArray[Any]
_MAX_EXPONENT = 60  # far from the ends of a float32's exponents


@dataclass(frozen=True, slots=True)
class Step:
    """One node ready to run: its inputs in its carrier.

    `run` takes their mantissas, and an array of the result's shape that it may use for the result:
    memory of its own, or one of the operands in `overwritable`. Where `uses_memory` is False it
    takes none.
    """

    op: str
    site: Site
    carrier: Carrier
    dtype: np.dtype[Any]
    operands: tuple[tuple[str, Array | None], ...]  # tensor name, and its mantissas if constant
    run: Callable[[Sequence[Array], Array | None], Array]
    uses_memory: bool
    overwritable: tuple[int, ...]

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
    if carrier is Carrier.FLOAT64 and _fits_float32(product, operands, terms, target, bounded):
        carrier = Carrier.FLOAT32
        operands = tuple((n, None if c is None else c.astype(np.float32)) for n, c in operands)
        terms = [term.astype(np.float32) for term in terms]

    def run(arrays: Sequence[Array], out: Array | None) -> Array:
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
    )


def _fits_float32(
    product: Step,
    operands: Sequence[tuple[str, Array | None]],
    terms: Sequence[Array],
    target: Format,
    bounded: bool,
) -> bool:
    """True if a joined step is exact in float32, though its mantissas alone are too large for it.

    All that is computed for an element is a multiple of one power of two, which depends on its
    constants; a float32 holds 2^24 times that.
    """
    place = 0 if operands[0][1] is not None else 1
    weight = operands[place][1]
    assert weight is not None
    given = product.site.inputs[1 - place].format
    largest = max(-given.min_mantissa, given.max_mantissa)
    grid, peak = _grid(weight), largest * np.abs(weight)
    if product.op == "dot":
        grid, peak = grid.min(axis=0), peak.sum(axis=0)
    for term in terms:
        grid, peak = np.minimum(grid, _grid(term)), peak + np.abs(term)
    grid, peak = np.minimum(grid, 0.5), peak + 1  # rounding adds a half
    limits = overflow_peak(int(peak.max(initial=0)), target) if not bounded else 0
    exact = Carrier.FLOAT32.holds
    return exact(largest) and exact(limits) and bool((peak <= grid * 2.0**24).all())


def _grid(values: Array) -> Array:
    """The largest power of two of which each number is a multiple; infinity for zero."""
    mantissas, exponents = np.frexp(values)
    digits = np.ldexp(mantissas, 53).astype(np.int64)  # odd times a power of two
    lowest = (digits & -digits).astype(np.float64)
    return np.where(values == 0, np.inf, np.ldexp(lowest, exponents - 53))
