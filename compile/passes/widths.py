"""Widths: the narrowest format that leaves every bit as it is, for each cast and accumulator.

Integer bits go where no value that arrives needs them, fraction bits where all low bits are zero;
sign and modes stay. Where the overflow mode may act its integer bits are part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..ir import Format, Graph, Interval, Node, Overflow
from ..ops import operation, site_of
from ..ops.cast import rounded_interval
from .overflow import OverflowSite

__all__ = ["narrowed", "narrowest_formats"]

_SUMS = ("dot", "truncated_dot", "sum")


def narrowed(fmt: Format, low: int, high: int, zero_bits: int) -> Format:
    """The narrowest format of this sign and these modes for the mantissas low .. high.

    Args:
        zero_bits: low bits that are zero in all of them.

    >>> str(narrowed(Format(True, 16, 6), -1000, 1000, 3))
    'ap_fixed<8,1,TRN,WRAP>'
    """
    least = min(fmt.width, 1 + fmt.signed)
    zero_bits = min(zero_bits, fmt.width - least)
    low, high = low >> zero_bits, -(-high >> zero_bits)
    for width in range(least, fmt.width - zero_bits):
        shorter = replace(fmt, width=width, integer=width - fmt.fraction + zero_bits)
        if shorter.min_saturated <= low and high <= shorter.max_mantissa:
            return shorter
    return replace(fmt, width=fmt.width - zero_bits)


def narrowest_formats(
    graph: Graph,
    sites: Sequence[OverflowSite],
    ranges: Mapping[str, Interval],
    zeros: Mapping[str, int],
) -> dict[str, Format]:
    """By the name of the tensor that a site makes.

    Args:
        zeros: zero bits of every tensor, see `zero_bits.py`.
    """
    made_by = {node.output: node for node in graph.nodes}
    formats = {}
    for site in sites:
        name, fmt = site.node.output, site.target
        if site.above or site.below:
            bits = min(zeros[name], fmt.width) if fmt.overflow is Overflow.WRAP else 0
            formats[name] = narrowed(fmt, fmt.min_mantissa, fmt.max_mantissa, bits)
            continue
        arriving = site.arriving
        if site.node.op == "cast" and fmt.overflow is not Overflow.WRAP:
            arriving = _with_partial_sums(graph, made_by, site, ranges)
        formats[name] = narrowed(fmt, arriving.minimum, arriving.maximum, zeros[name])
    return formats


def _with_partial_sums(
    graph: Graph, made_by: Mapping[str, Node], site: OverflowSite, ranges: Mapping[str, Interval]
) -> Interval:
    """Bounds of what arrives, and if it is a sum of all its partial sums in any order.

    A saturating accumulator that became one sum and one cast must not be given less: terms that
    may be left out count as zero.
    """
    total = made_by.get(site.node.inputs[0])
    starts: tuple[str, ...] = ()
    if total is not None and total.op == "add":
        starts, total = total.inputs[1:], made_by.get(total.inputs[0])
    if total is None or total.op not in _SUMS:
        return site.arriving
    relaxed = [
        ranges[name] if name in graph.constants else _with_zero(ranges[name])
        for name in total.inputs
    ]
    sums = operation(total.op).range(site_of(graph, total), relaxed)
    sums = rounded_interval(sums, graph.tensors[total.output].format, site.target)
    for name in starts:
        start = rounded_interval(ranges[name], graph.tensors[name].format, site.target)
        sums = Interval(sums.low + start.low, sums.high + start.high)
    low = np.minimum(sums.low, site.arriving.low)
    return Interval(low, np.maximum(sums.high, site.arriving.high))


def _with_zero(interval: Interval) -> Interval:
    return Interval(np.minimum(interval.low, 0), np.maximum(interval.high, 0))
