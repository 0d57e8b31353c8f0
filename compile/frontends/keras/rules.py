"""What every ONNX operator does to the knowledge of a tensor; see `proof`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "FINEST",
    "FLOAT32_BITS",
    "FUNCTION_ERROR",
    "RULES",
    "Node",
    "Proof",
    "Rule",
    "products",
    "relative_error",
    "rounded",
    "unknown",
]

FLOAT32_BITS = 24
FUNCTION_ERROR = 2.0**-20  # 16 units in the last place
NOTHING = 1000  # the exponent of zeros, which are multiples of any step
FINEST = -149  # of float32
_CONSTANT = "constant"

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Proof:
    """What is known of a tensor, per event: arrays that broadcast with its shape without batch.

    Args:
        reason: why the two sides are equal, or why that is not proved.
        exponent: of the step of every element, where the sides are equal.
        bound: largest magnitude on either side.
        error: largest difference of the two sides; 0 where they are equal.
    """

    exact: bool
    reason: str
    exponent: Steps
    bound: Array
    error: Array

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> "Proof":
        """A constant: every element's own step and magnitude."""
        array = values.astype(np.float64)
        mantissa, exponent = np.frexp(array)
        integer = np.rint(np.ldexp(mantissa, FLOAT32_BITS)).astype(np.int64)
        trailing = np.log2(np.maximum(integer & -integer, 1)).astype(np.int64)
        steps = np.where(array == 0, np.int64(NOTHING), exponent - FLOAT32_BITS + trailing)
        return cls(True, _CONSTANT, steps.astype(np.int64), np.abs(array), np.zeros(1))

    def lost(self, reason: str, error: Any = None) -> "Proof":
        """The same values, not known to be equal."""
        old = self.error if error is None else np.asarray(error, np.float64)
        return replace(self, exact=False, reason=reason, error=old)

    def moved(self, move: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> "Proof":
        """The same elements elsewhere."""
        arrays = np.broadcast_arrays(self.exponent, self.bound, self.error)
        exponent, bound, error = (move(array) for array in arrays)
        return replace(self, exponent=exponent, bound=bound, error=error)

    @property
    def is_constant(self) -> bool:
        """True for a constant, quantized or not."""
        return self.exact and self.reason == _CONSTANT

    @property
    def largest_error(self) -> float:
        """Over all elements."""
        return float(self.error.max(initial=0.0))


@dataclass(frozen=True)
class Node:
    operator: str
    attributes: Mapping[str, Any]
    constants: Sequence[npt.NDArray[Any] | None]  # of the operands
    shapes: Sequence[tuple[int, ...]]  # of the operands, without batch
    shape: tuple[int, ...]  # of the result, without batch
    inputs: Sequence[str] = ()  # names, "" where one is left out


Rule = Callable[[Node, list[Proof]], Proof]


def relative_error(roundings: int) -> float:
    """The relative error of so many roundings in a row."""
    part = roundings * 2.0**-FLOAT32_BITS
    return part / (1 - part) if part < 1 else np.inf


def rounded(
    operator: str,
    operands: list[Proof],
    exponent: Any,
    bound: Any,
    spread: Any,
    roundings: int,
) -> Proof:
    """Exact if all operands are and every element stays below 2^24 of its steps.

    Args:
        bound: the sum of the magnitudes of all terms.
        spread: what the operands' differences become.
        roundings: on either side.
    """
    bound, exponent = np.asarray(bound, np.float64), np.asarray(exponent, np.int64)
    stop = next((one for one in operands if not one.exact), None)
    if stop is None:
        with np.errstate(over="ignore"):
            steps = bound / np.exp2(exponent.astype(np.float64))
        bits = int(np.ceil(np.log2(max(1.0, float(steps.max()) + 1))))
        if bits <= FLOAT32_BITS:
            reason = f"{operator} needs {bits} of float32's {FLOAT32_BITS} bits"
            return Proof(True, reason, exponent, bound, np.zeros(1))
        raw = any(one.exponent.min() <= FINEST for one in operands)
        needs = "of raw numbers rounds" if raw else f"needs {bits} bits, float32 has {FLOAT32_BITS}"
        reason = f"{operator} {needs}"
    else:
        reason = stop.reason
    unit = relative_error(roundings)
    error = np.asarray(spread) + 2 * unit * bound
    return Proof(False, reason, np.full(1, FINEST), bound * (1 + unit), error)


def unknown(node: Node, operands: list[Proof]) -> Proof:
    infinite = np.full(1, np.inf)
    reason = next((p.reason for p in operands if not p.exact), f"{node.operator} rounds in float32")
    return Proof(False, reason, np.full(1, FINEST), infinite, infinite)


def _one(node: Node, operands: list[Proof]) -> Proof:
    """Some of the values, or zero, at the same place."""
    return operands[0]


def _kept(node: Node, operands: list[Proof]) -> Proof:
    """Some of the values or zero, at other places of the axes whose size changes."""
    x, shape = operands[0], node.shapes[0]
    if len(shape) != len(node.shape):
        return _flat(node, operands)
    changed = [i - len(shape) for i in range(len(shape)) if shape[i] != node.shape[i]]
    sizes = np.broadcast_shapes(x.exponent.shape, x.bound.shape, x.error.shape)
    known = all(-axis > len(sizes) or sizes[axis] == 1 for axis in changed)
    return x if known else _flat(node, operands)


def _flat(node: Node, operands: list[Proof]) -> Proof:
    """Flatten, Reshape: elements go anywhere."""
    x, ones = operands[0], (1,) * len(node.shape)
    return replace(
        x,
        exponent=np.full(ones, x.exponent.min()),
        bound=np.full(ones, x.bound.max()),
        error=np.full(ones, x.error.max()),
    )


def _transpose(node: Node, operands: list[Proof]) -> Proof:
    perm = node.attributes["perm"]
    if perm[0]:  # the batch goes elsewhere, between the time and the features; nothing else moves
        return operands[0]
    axes = [axis - 1 for axis in perm[1:]]
    rank = len(axes)

    def move(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(axes)

    return operands[0].moved(move)


def _concat(node: Node, operands: list[Proof]) -> Proof:
    axis, rank = node.attributes["axis"] - 1, len(node.shape)

    def wide(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        return np.broadcast_to(array, [shape[i] if i == axis else 1 for i in range(rank)])

    def narrow(array: npt.NDArray[Any], largest: bool) -> npt.NDArray[Any]:
        """One number along every axis but the joined one."""
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        others = tuple(i for i in range(rank) if i != axis)
        return np.asarray((array.max if largest else array.min)(axis=others, keepdims=True))

    parts = [
        [wide(narrow(getattr(p, role), role != "exponent"), shape) for role in _ROLES]
        for p, shape in zip(operands, node.shapes, strict=True)
    ]
    exponent, bound, error = (np.concatenate(part, axis) for part in zip(*parts, strict=True))
    stop = next((p for p in operands if not p.exact), None)
    return Proof(stop is None, (stop or operands[0]).reason, exponent, bound, error)


_ROLES = ("exponent", "bound", "error")


def _add(node: Node, operands: list[Proof]) -> Proof:
    left, right = operands
    return rounded(
        node.operator,
        operands,
        np.minimum(left.exponent, right.exponent),
        left.bound + right.bound,
        left.error + right.error,
        1,
    )


def _extreme(node: Node, operands: list[Proof]) -> Proof:
    """Max, Min: one of the operands; they never round."""
    left, right = operands
    stop = next((p for p in operands if not p.exact), None)
    return Proof(
        stop is None,
        (stop or left).reason,
        np.minimum(left.exponent, right.exponent),
        np.maximum(left.bound, right.bound),
        np.maximum(left.error, right.error),
    )


def _mul(node: Node, operands: list[Proof]) -> Proof:
    left, right = operands
    spread = left.error * right.bound + right.error * left.bound
    bound = left.bound * right.bound
    return rounded(node.operator, operands, left.exponent + right.exponent, bound, spread, 1)


def _div(node: Node, operands: list[Proof]) -> Proof:
    """By a constant; exact by a power of two."""
    x, by = operands
    divisor = node.constants[1]
    if divisor is None:
        return unknown(node, operands)
    quotient = 1 / np.abs(divisor.astype(np.float64))
    if np.any(np.frexp(divisor)[0] != 0.5):
        x = x.lost(x.reason if not x.exact else "Div rounds in float32")
    return rounded("Div", [x], x.exponent - by.exponent, x.bound * quotient, x.error * quotient, 1)


def _matmul(node: Node, operands: list[Proof]) -> Proof:
    """Sum over C_in: the finest step of all products, and the sum of their magnitudes."""
    x, weight = operands
    count = node.shapes[0][-1]
    if weight.bound.shape != (count, node.shape[-1]):
        return products(node, operands, count)
    exponent, bound, error = (_channels(a, count) for a in (x.exponent, x.bound, x.error))
    slack = np.broadcast_to(weight.error, weight.bound.shape)
    return rounded(
        "MatMul",
        operands,
        (exponent[..., :, None] + weight.exponent).min(axis=-2),
        bound @ weight.bound,
        error @ weight.bound + bound @ slack,
        count + 1,
    )


def products(node: Node, operands: list[Proof], count: int) -> Proof:
    """Sums of so many products of two tensors, whichever elements they are."""
    one, other = operands
    bound = count * float(one.bound.max() * other.bound.max())
    spread = count * (
        float(one.error.max() * other.bound.max()) + float(other.error.max() * one.bound.max())
    )
    exponent = int(one.exponent.min() + other.exponent.min())
    ones = (1,) * len(node.shape)
    exponents, bounds, spreads = (np.full(ones, value) for value in (exponent, bound, spread))
    return rounded(node.operator, operands, exponents, bounds, spreads, count + 1)


def _channels(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    return np.broadcast_to(array, (*array.shape[:-1], count))


def _conv(node: Node, operands: list[Proof]) -> Proof:
    """x (C_in, *space), W (C_out, C_in / groups, *window), b (C_out,): per channel."""
    x, weight = operands[:2]
    groups, (outputs, inputs) = node.attributes["group"], weight.bound.shape[:2]
    window = tuple(range(2, weight.bound.ndim))
    rank = len(window)

    def per_channel(array: npt.NDArray[Any], largest: bool) -> npt.NDArray[Any]:
        """(C_out, C_in / groups): what every output channel reads."""
        array = array.reshape((1,) * (rank + 1 - array.ndim) + array.shape)
        space = tuple(range(1, rank + 1))
        each = (array.max if largest else array.min)(axis=space)
        each = np.broadcast_to(each, groups * inputs).reshape(groups, inputs)
        return np.repeat(each, outputs // groups, axis=0)

    magnitude, slack = weight.bound.sum(axis=window), weight.error
    slack = np.broadcast_to(slack, weight.bound.shape).sum(axis=window)
    steps = weight.exponent.min(axis=window)
    bound, error = per_channel(x.bound, True), per_channel(x.error, True)
    exponent = (per_channel(x.exponent, False) + steps).min(axis=1)
    total = (bound * magnitude).sum(axis=1)
    spread = (error * magnitude + bound * slack).sum(axis=1)
    if len(operands) > 2:
        bias = operands[2]
        exponent = np.minimum(exponent, bias.exponent)
        total, spread = total + bias.bound, spread + bias.error
    column = (-1,) + (1,) * rank
    terms = int(np.prod(weight.bound.shape[1:])) + 2
    return rounded(
        "Conv",
        operands,
        exponent.reshape(column),
        total.reshape(column),
        spread.reshape(column),
        terms,
    )


def _conv_transpose(node: Node, operands: list[Proof]) -> Proof:
    """W (C_in, C_out, *window): at most what a convolution with the whole window adds up."""
    x, weight, *rest = operands
    turned = weight.moved(lambda values: values.swapaxes(0, 1))
    plain = replace(node, operator="Conv", attributes={"group": 1})
    return _conv(plain, [x, turned, *rest])


def _average_pool(node: Node, operands: list[Proof]) -> Proof:
    """The sum over the window, exact, then a quotient: exact by a power of two."""
    x = operands[0]
    attributes = node.attributes
    whole = node.operator == "GlobalAveragePool"
    window = node.shapes[0][1:] if whole else attributes["kernel_shape"]
    count = int(np.prod(window))
    padded = any(attributes.get("pads", ()))
    power = not padded and not count & (count - 1)
    total = rounded(node.operator, operands, x.exponent, x.bound * count, x.error * count, count)
    if not total.exact:
        return replace(total, bound=x.bound, error=total.error / (1 if padded else count))
    if power:
        return replace(total, bound=x.bound, exponent=x.exponent - (count.bit_length() - 1))
    reason = (
        f"{node.operator} divides by the number of elements, which differs at the border"
        if padded
        else f"{node.operator} divides by {count}"
    )
    return replace(
        total,
        exact=False,
        reason=reason,
        bound=x.bound,
        exponent=np.full(1, FINEST),
        error=4 * relative_error(2) * x.bound,
    )


def _sum(node: Node, operands: list[Proof]) -> Proof:
    """ReduceSum over the only axis."""
    x, count = operands[0], node.shapes[0][-1]
    exponent, bound, error = (_channels(a, count) for a in (x.exponent, x.bound, x.error))
    return rounded(
        node.operator,
        operands[:1],
        exponent.min(axis=-1, keepdims=True),
        bound.sum(axis=-1, keepdims=True),
        error.sum(axis=-1, keepdims=True),
        count,
    )


def _sloped(node: Node, operands: list[Proof]) -> Proof:
    """LeakyRelu, PRelu: x, or x times a slope."""
    x = operands[0]
    slope = (
        operands[1]
        if len(operands) > 1
        else Proof.of(np.asarray([node.attributes.get("alpha", 0.01)], np.float32))
    )
    below = _mul(node, [x, slope])
    if not below.exact:
        top = np.maximum(x.bound, below.bound)
        return replace(below, bound=top, error=np.maximum(x.error, below.error))
    return replace(
        below,
        exponent=np.minimum(x.exponent, below.exponent),
        bound=np.maximum(x.bound, below.bound),
    )


def _hard_sigmoid(node: Node, operands: list[Proof]) -> Proof:
    """clip(alpha x + beta, 0, 1), which never rounds if the sum does not."""
    x = operands[0]
    slope, shift = (
        Proof.of(np.asarray([node.attributes.get(name, default)], np.float32))
        for name, default in (("alpha", 0.2), ("beta", 0.5))
    )
    total = _add(node, [_mul(node, [x, slope]), shift])
    if total.exact:
        steps = np.minimum(total.exponent, 0)
        return replace(total, exponent=steps, bound=np.minimum(total.bound, 1))
    return _function(float(slope.bound.max()), _ones)(node, operands)


def _function(slope: float, top: Callable[[Node, Array], Array]) -> Rule:
    """A function with this largest derivative and these largest magnitudes."""

    def rule(node: Node, operands: list[Proof]) -> Proof:
        x = operands[0]
        bound = top(node, x.bound)
        reason = x.reason if not x.exact else f"{node.operator} rounds in float32"
        error = np.minimum(slope * x.error + 2 * FUNCTION_ERROR * bound, 2 * bound)
        return Proof(False, reason, np.full(1, FINEST), bound, error)

    return rule


def _softmax(node: Node, operands: list[Proof]) -> Proof:
    """exp(x_i - max) / sum: differences of e multiply every quotient by exp(2 e) at most."""
    axis = int(node.attributes.get("axis", -1))
    x, count = operands[0], node.shape[axis - 1 if axis > 0 else axis]
    reason = x.reason if not x.exact else "Softmax rounds in float32"
    # the difference to the maximum is rounded too
    inside = x.error.max() + relative_error(1) * 2 * x.bound.max()
    with np.errstate(over="ignore"):
        error = np.expm1(2 * inside) + 4 * FUNCTION_ERROR + 2 * relative_error(count + 1)
    ones = (1,) * len(node.shape)
    return Proof(
        False, reason, np.full(1, FINEST), np.ones(ones), np.full(ones, min(float(error), 1.0))
    )


def _gather(node: Node, operands: list[Proof]) -> Proof:
    """An embedding: any row of the table; equal because the same row is read."""
    table, index = operands
    exponent, bound = table.exponent.min(axis=0), table.bound.max(axis=0)
    rows = replace(table, exponent=np.atleast_1d(exponent), bound=np.atleast_1d(bound))
    return rows if index.exact else rows.lost(index.reason, 2 * rows.bound)


def _thresholded(node: Node, operands: list[Proof]) -> Proof:
    """x or 0: a difference at the threshold is the whole value."""
    x = operands[0]
    return x if x.exact else x.lost(x.reason, x.bound)


def _ones(node: Node, bound: Array) -> Array:
    return np.ones_like(bound)


RULES: dict[str, Rule] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Cast": _one,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Elu": _function(1.0, lambda node, b: np.maximum(b, node.attributes["alpha"])),
    "Flatten": _flat,
    "Gather": _gather,
    "GlobalAveragePool": _average_pool,
    "GlobalMaxPool": _kept,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _sloped,
    "MatMul": _matmul,
    "Max": _extreme,
    "MaxPool": _kept,
    "Min": _extreme,
    "Mul": _mul,
    "PRelu": _sloped,
    "Pad": _kept,
    "ReduceSum": _sum,
    "Relu": _one,
    "Reshape": _flat,
    "Resize": _kept,
    "Selu": _function(1.76, lambda node, b: np.maximum(1.06 * b, 1.76)),
    "Sigmoid": _function(0.25, _ones),
    "Softmax": _softmax,
    "Softplus": _function(1.0, lambda node, b: b + 1),
    "Softsign": _function(1.0, _ones),
    "Sqrt": _function(2.0**60, lambda node, b: np.sqrt(b)),  # at 0 no slope is the largest
    "Sub": _add,
    "Tanh": _function(1.0, _ones),
    "ThresholdedRelu": _thresholded,
    "Tile": _kept,
    "Transpose": _transpose,
    "Unsqueeze": _flat,
}
