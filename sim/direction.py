"""Which way to move the inputs so that one number inside the network grows.

The derivative of every operation, backwards through the graph: exact for sums and products, the
chosen operand's for maxima and selections, the slope of the table for lookups. Rounding and
wrapping are taken as the identity. It guides a search whose finds are simulated, so it need not be
right everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Format, Graph, Node, Overflow
from samebits.compile.ops.boundary import to_values
from samebits.compile.passes.adjoint import ADJOINTS, Rule, Values, fold

__all__ = ["RULES", "directions", "values_needed"]

_LEAK = 2.0**-10  # of a slope where a maximum or a saturating type hides it: better than none
_SPAN = 8  # table entries on either side whose difference is the slope


def values_needed(graph: Graph) -> tuple[str, ...]:
    """The tensors whose values `directions` must be given."""
    names = {name for node in graph.nodes if node.op in _LOOK_AT for name in node.inputs}
    return tuple(name for name in graph.tensors if name in names and name not in graph.constants)


def directions(
    graph: Graph, values: Mapping[str, Values], wanted: Mapping[str, Values]
) -> list[Values]:
    """The derivative of the wanted sum by every input, for every event.

    Args:
        values: real values (N, *shape) of the tensors that `values_needed` names.
        wanted: by tensor name the weight (N, *shape) of every element in the sum.

    Returns:
        One array (N, *shape) for each input of the graph.
    """
    events = len(next(iter(wanted.values())))
    known = {
        name: to_values(data, graph.tensors[name].format)[None]
        for name, data in graph.constants.items()
    } | dict(values)
    slopes: dict[str, Values] = dict(wanted)
    for node in reversed(graph.nodes):
        slope, rule = slopes.pop(node.output, None), RULES.get(node.op)
        if slope is None or rule is None:
            continue
        for name, part in rule(graph, node, known, slope):
            if name not in graph.constants:
                slopes[name] = slopes[name] + part if name in slopes else part
    return [
        slopes.get(name, np.zeros((events, *graph.tensors[name].shape))) for name in graph.inputs
    ]


Parts = list[tuple[str, Values]]


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    return graph.tensors[name].shape


def _extremum(sign: int) -> Rule:
    def rule(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
        left, right = node.inputs
        won = sign * known[left] >= sign * known[right]
        return [
            (left, fold(np.where(won, slope, _LEAK * slope), _shape(graph, left))),
            (right, fold(np.where(won, _LEAK * slope, slope), _shape(graph, right))),
        ]

    return rule


def _reduce_max(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    (x,) = node.inputs
    won = known[x] == known[x].max(axis=1, keepdims=True)
    return [(x, np.where(won, slope[:, None], _LEAK * slope[:, None]))]


def _select(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    condition, yes, no = node.inputs
    chosen = known[condition] != 0
    return [
        (yes, fold(np.where(chosen, slope, _LEAK * slope), _shape(graph, yes))),
        (no, fold(np.where(chosen, _LEAK * slope, slope), _shape(graph, no))),
    ]


def _lookup(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    index, table = node.inputs
    if table not in graph.constants:
        return []
    entries, fmt = known[table][0], graph.tensors[index].format
    places = np.rint(np.ldexp(known[index], fmt.fraction)).astype(np.intp)
    above = np.minimum(places + _SPAN, len(entries) - 1)
    below = np.maximum(places - _SPAN, 0)
    steps = np.maximum(above - below, 1).reshape(*places.shape, *(1,) * (entries.ndim - 1))
    rise = slope * (entries[above] - entries[below]) / steps
    inner = tuple(range(places.ndim, rise.ndim))
    return [(index, np.ldexp(rise.sum(axis=inner), fmt.fraction))]


def _cast(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    (x,) = node.inputs
    target = graph.tensors[node.output].format
    if node.attrs["bounded"] or target.overflow is Overflow.WRAP:
        return [(x, slope)]
    return [(x, np.where(_inside(known[x], target), slope, _LEAK * slope))]


def _inside(values: Values, fmt: Format) -> NDArray[np.bool_]:
    scaled = np.ldexp(values, fmt.fraction)
    return np.asarray((scaled >= fmt.min_saturated) & (scaled <= fmt.max_mantissa))


_LOOK_AT = (
    *("mul", "dot", "truncated_dot", "max", "min", "reduce_max", "select"),
    *("divide", "lookup", "cast"),
)
RULES: dict[str, Rule] = ADJOINTS | {
    "max": _extremum(1),
    "min": _extremum(-1),
    "reduce_max": _reduce_max,
    "select": _select,
    "lookup": _lookup,
    "cast": _cast,
}
# argmax and compare are steps: they have no slope
