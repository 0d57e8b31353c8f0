"""accumulate: a sum whose accumulator is cast after every addition, in a stated order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samebits import errors

from ..ir import Format, Interval, Tensor
from .arith import overflow, overflow_peak
from .base import Array, Attrs, Operation, Site

__all__ = ["OPERATION", "TREE", "partial_sums", "tree_split"]

TREE = "tree"


def tree_split(count: int) -> int:
    """How many of `count` terms the left branch of the balanced adder tree takes.

    Source: hls4ml nnet_common.h, `reduce`: the largest power of two below `count`.

    >>> [tree_split(n) for n in (2, 3, 4, 5, 8, 9)]
    [1, 2, 2, 4, 4, 8]
    """
    return 1 << ((count - 1).bit_length() - 1)


def _shape(inputs: Sequence[Tensor], attrs: Attrs) -> tuple[int, ...]:
    return inputs[0].shape[1:]


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

        return [*sums, branch(0, len(terms.low))]
    order = list(site.integers("order"))
    low, high = np.cumsum(terms.low[order], axis=0), np.cumsum(terms.high[order], axis=0)
    if len(intervals) == 2:
        low, high = low + intervals[1].low, high + intervals[1].high
    return [Interval(low, high)]


def _range(site: Site, intervals: Sequence[Interval]) -> Interval:
    target = site.output.format
    sums = partial_sums(site, intervals)
    if all(part.within(target.min_mantissa, target.max_mantissa) for part in sums):
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
                return terms[:, low]
            middle = low + tree_split(high - low)
            return overflow(branch(low, middle) + branch(middle, high), target)

        return branch(0, terms.shape[1])
    order = site.integers("order")
    if len(arrays) == 2:
        total, rest = arrays[1], order
    else:
        total, rest = terms[:, order[0]], order[1:]
    for position in rest:
        total = overflow(total + terms[:, position], target)
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
