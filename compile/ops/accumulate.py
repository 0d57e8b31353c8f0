"""accumulate: a sum whose accumulator is cast after every addition, in a stated order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import overflow, overflow_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["CHAIN", "OPERATION", "TREE", "partial_sums", "tree_split"]

CHAIN, TREE = "chain", "tree"


def tree_split(count: int) -> int:
    """How many of `count` terms the left branch of the balanced adder tree takes.

    Source: hls4ml nnet_common.h, `reduce`: the largest power of two below `count`.

    >>> [tree_split(n) for n in (2, 3, 4, 5, 8, 9)]
    [1, 2, 2, 4, 4, 8]
    """
    return 1 << ((count - 1).bit_length() - 1)


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    terms, kind, order = inputs[0], attrs["kind"], attrs["order"]
    if not terms.shape or not terms.shape[0]:
        raise errors.FormatError(f"accumulate: {terms.name} {terms.shape} has no terms to add")
    count, shape = terms.shape[0], terms.shape[1:]
    assert isinstance(order, tuple)
    if kind == TREE and (order or len(inputs) == 2):
        raise errors.FormatError("accumulate: a tree has its own order and no start")
    if kind == CHAIN and sorted(order) != list(range(count)):
        raise errors.FormatError(f"accumulate: {order} does not order {count} terms")
    if kind not in (CHAIN, TREE):
        raise errors.FormatError(f"accumulate: kind {kind!r} is not one of {CHAIN!r}, {TREE!r}")
    if len(inputs) == 2 and inputs[1].shape != shape:
        raise errors.FormatError(
            f"accumulate: start {inputs[1].name} {inputs[1].shape} is not of shape {shape}"
        )
    return shape


def _format(inputs: Sequence[Tensor], attrs: Attrs) -> Format:
    target = attrs["format"]
    assert isinstance(target, Format)
    for tensor in inputs:
        if not tensor.format.same_grid(target):
            raise errors.FormatError(
                f"accumulate: {tensor.name} is {tensor.format}, the accumulator is {target}; "
                "cast the terms first"
            )
    return target


def partial_sums(site: Site, intervals: Sequence[Interval]) -> list[Interval]:
    """Bounds of every partial sum, none of them wrapped or saturated."""
    terms = intervals[0]
    if site.text("kind") == TREE:
        sums: list[Interval] = []

        def branch(low: int, high: int) -> Interval:
            if high - low == 1:
                return Interval(terms.low[low], terms.high[low])
            middle = low + tree_split(high - low)
            left, right = branch(low, middle), branch(middle, high)
            sums.append(Interval(left.low + right.low, left.high + right.high))
            return sums[-1]

        total = branch(0, len(terms.low))
        return sums or [total]
    order = list(site.integers("order"))
    low, high = np.cumsum(terms.low[order], axis=0), np.cumsum(terms.high[order], axis=0)
    if len(intervals) == 2:
        low, high = low + intervals[1].low, high + intervals[1].high
    return [Interval(low, high)]


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    target = site.output.format
    sums = partial_sums(site, intervals)
    if all(part.within(target.min_saturated, target.max_mantissa) for part in sums):
        last = sums[-1]
        if site.text("kind") == TREE:
            return last
        return Interval(last.low[-1], last.high[-1])
    return Interval.of_format(target, site.output.shape)


def _peak(site: Site, intervals: Sequence[Interval]) -> int:
    # Every partial sum adds two numbers of the accumulator's format, then casts them.
    target = site.output.format
    return overflow_peak(2 * max(-target.min_mantissa, target.max_mantissa), target)


def _kernel(site: Site, arrays: Sequence[Array]) -> Array:
    target = site.output.format
    terms = arrays[0]
    if site.text("kind") == TREE:

        def branch(low: int, high: int) -> Array:
            if high - low == 1:
                return np.asarray(terms[low])
            middle = low + tree_split(high - low)
            return overflow(branch(low, middle) + branch(middle, high), target)

        return branch(0, terms.shape[0])
    order = site.integers("order")
    if len(arrays) == 2:
        total, rest = arrays[1], order
    else:
        total, rest = terms[order[0]], order[1:]
    for position in rest:
        total = overflow(total + terms[position], target)
    return total


OPERATION = Operation(
    name="accumulate",
    family="cast",
    equation="kind 'chain': s = start; s = cast(s + x[i]) for i in order; "
    "kind 'tree': s(i..j) = cast(s(left) + s(right)), left = the largest power of two below j - i; "
    "x is summed over its first axis",
    arity=(1, 2),
    attributes={"format": Format, "kind": str, "order": tuple},
    shape=_shape,
    format=_format,
    range=_range,
    peak=_peak,
    kernel=_kernel,
)
