"""Which way to move the inputs so that one number inside the network grows.

The derivative of every operation, backwards through the graph: exact for sums and products, the
chosen operand's for maxima and selections, the slope of the table for lookups. Rounding and
wrapping are taken as the identity. It guides a search whose finds are simulated, so it need not be
right everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_letters

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Format, Graph, Node, Overflow
from samebits.compile.ops.boundary import to_values

__all__ = ["RULES", "directions", "values_needed"]

Values = NDArray[np.float64]
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


Parts = Sequence[tuple[str, Values]]
Rule = Callable[[Graph, Node, Mapping[str, Values], Values], Parts]


def _fold(slope: Values, shape: tuple[int, ...]) -> Values:
    """The slope of an operand that was broadcast."""
    axes = tuple(axis for axis, size in enumerate(shape, 1) if size == 1 and slope.shape[axis] != 1)
    return np.asarray(slope.sum(axis=axes, keepdims=True)) if axes else slope


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    return graph.tensors[name].shape


def _reshape(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    (x,) = node.inputs
    return [(x, slope.reshape(len(slope), *_shape(graph, x)))]


def _transpose(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    perm = node.attrs["perm"]
    assert isinstance(perm, tuple)
    back = np.argsort(np.asarray(perm, dtype=int))
    return [(node.inputs[0], slope.transpose(0, *(int(axis) + 1 for axis in back)))]


def _gather(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    x, index = node.inputs
    shape = _shape(graph, x)
    places = graph.constants[index].astype(np.intp).ravel()
    rows = slope.reshape(len(slope), places.size, *shape[1:]).swapaxes(0, 1)
    out = np.zeros((shape[0], len(slope), *shape[1:]))
    np.add.at(out, places, rows)
    return [(x, out.swapaxes(0, 1))]


def _concat(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    ends = np.cumsum([_shape(graph, name)[0] for name in node.inputs])[:-1]
    return list(zip(node.inputs, np.split(slope, ends, axis=1), strict=True))


def _signed(sign: float) -> Rule:
    def rule(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
        left, right = node.inputs
        return [
            (left, _fold(slope, _shape(graph, left))),
            (right, sign * _fold(slope, _shape(graph, right))),
        ]

    return rule


def _mul(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    left, right = node.inputs
    return [
        (left, _fold(slope * known[right], _shape(graph, left))),
        (right, _fold(slope * known[left], _shape(graph, right))),
    ]


def _dot(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    left, right = node.inputs
    return [
        (name, _dot_part(slope, known[other], _shape(graph, name)))
        for name, other in ((left, right), (right, left))
        if name not in graph.constants
    ]


def _dot_part(slope: Values, other: Values, shape: tuple[int, ...]) -> Values:
    """The sum of slope (N, *E) times other (N, K, *E) over what `shape` (K, *E) lacks."""
    letters = ascii_letters[: len(shape) + 1]

    def used(array: Values, names: str) -> tuple[Values, str]:
        axes = tuple(axis for axis, size in enumerate(array.shape) if size == 1)
        return array.squeeze(axes), "".join(n for i, n in enumerate(names) if i not in axes)

    (a, a_names), (b, b_names) = used(slope, letters[0] + letters[2:]), used(other, letters)
    out = "".join(
        name
        for name, size in zip(letters, (len(slope), *shape), strict=True)
        if size != 1 and name in a_names + b_names
    )
    product = np.einsum(f"{a_names},{b_names}->{out}", a, b, optimize=True)
    full = [
        size if name in out else 1 for name, size in zip(letters, (len(slope), *shape), strict=True)
    ]
    return np.broadcast_to(product.reshape(full), (len(slope), *shape))


def _sum(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    x, *start = node.inputs
    parts = [(x, np.broadcast_to(slope[:, None], (len(slope), *_shape(graph, x))))]
    return [*parts, *((name, slope) for name in start)]


def _extremum(sign: int) -> Rule:
    def rule(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
        left, right = node.inputs
        won = sign * known[left] >= sign * known[right]
        return [
            (left, _fold(np.where(won, slope, _LEAK * slope), _shape(graph, left))),
            (right, _fold(np.where(won, _LEAK * slope, slope), _shape(graph, right))),
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
        (yes, _fold(np.where(chosen, slope, _LEAK * slope), _shape(graph, yes))),
        (no, _fold(np.where(chosen, _LEAK * slope, slope), _shape(graph, no))),
    ]


def _shift(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    bits = node.attrs["bits"]
    assert isinstance(bits, int)
    return [(node.inputs[0], slope * 2.0**bits)]


def _divide(graph: Graph, node: Node, known: Mapping[str, Values], slope: Values) -> Parts:
    x, by = node.inputs
    return [(x, _fold(slope / known[by], _shape(graph, x)))]


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
RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "gather": _gather,
    "concat": _concat,
    "add": _signed(1.0),
    "sub": _signed(-1.0),
    "mul": _mul,
    "dot": _dot,
    "truncated_dot": _dot,
    "sum": _sum,
    "accumulate": _sum,
    "max": _extremum(1),
    "min": _extremum(-1),
    "reduce_max": _reduce_max,
    "select": _select,
    "shift": _shift,
    "divide": _divide,
    "lookup": _lookup,
    "cast": _cast,
}
# argmax and compare are steps: they have no slope
