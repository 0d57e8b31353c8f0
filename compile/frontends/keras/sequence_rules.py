"""What ONNX's operators on sequences do to the knowledge of a tensor; see `proof`.

Every step of a recurrent operator is bounded like the operators it is made of, with as many
roundings as any order of the sum can have, and one number per gate and unit for all time steps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .rules import (
    FINEST,
    FLOAT32_BITS,
    FUNCTION_ERROR,
    RULES,
    Node,
    Proof,
    Rule,
    products,
    relative_error,
    rounded,
    unknown,
)

__all__ = ["SEQUENCE_RULES"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
_ALPHA = ("Affine", "Elu", "HardSigmoid")
_BETA = ("Affine", "HardSigmoid")
_ZERO = Proof.of(np.zeros(1, np.float32))

Function = Callable[[Proof], Proof]


@dataclass(frozen=True)
class _Side:
    """One direction: weights (G, U, C), recurrent weights (G, U, U), biases (G, U) of both."""

    operator: str
    x: Proof  # (C,)
    weight: Proof
    recurrent: Proof
    bias: Proof
    recurrent_bias: Proof
    functions: list[Function]
    after: bool

    def gate(self, index: int, h: Proof, reset: Proof | None = None) -> Proof:
        """x W + b + h R + r; with `reset`, h or h R + r times that."""
        given = _products(self.x, _part(self.weight, index))
        if reset is not None and not self.after:
            h = self.product(reset, h)
        state = _products(h, _part(self.recurrent, index))
        biases = [_part(one, index) for one in (self.bias, self.recurrent_bias)]
        if reset is not None and self.after:
            recalled = self.sum([state, *_terms(biases[1])])
            return self.sum([given, *_terms(biases[0]), *_terms(self.product(reset, recalled))])
        return self.sum([given, state, *_terms(*biases)])

    def sum(self, terms: list[_Terms]) -> Proof:
        """All products and numbers added, in any order."""
        operands = [proof for term in terms for proof in term.operands]
        return rounded(
            self.operator,
            operands,
            functools.reduce(np.minimum, (t.exponent for t in terms)),
            sum(t.bound for t in terms),
            sum(t.spread for t in terms),
            sum(t.count for t in terms) + 1,
        )

    def product(self, one: Proof, other: Proof) -> Proof:
        """Element by element."""
        return RULES["Mul"](_node("Mul"), [one, other])


@dataclass(frozen=True)
class _Terms:
    """Numbers that are added up: their finest step, and the sum of their magnitudes."""

    operands: list[Proof]
    exponent: npt.NDArray[np.int64]
    bound: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    count: int


def _terms(*proofs: Proof) -> list[_Terms]:
    return [_Terms([p], p.exponent, p.bound, p.error, 1) for p in proofs]


def _products(x: Proof, weight: Proof) -> _Terms:
    """x (C,) times W (U, C), summed over C."""
    shape = weight.bound.shape
    exponent = np.broadcast_to(weight.exponent + x.exponent, shape).min(axis=-1)
    bound = np.broadcast_to(weight.bound * x.bound, shape).sum(axis=-1)
    spread = weight.bound * x.error + weight.error * x.bound
    return _Terms(
        [x, weight], exponent, bound, np.broadcast_to(spread, shape).sum(axis=-1), 2 * shape[-1]
    )


def _node(operator: str, **attributes: Any) -> Node:
    return Node(operator, attributes, [], [], (1,))


def _part(proof: Proof, index: int) -> Proof:
    """One gate's weights or biases."""
    error = proof.error if proof.error.ndim < 2 else proof.error[index]
    return replace(proof, exponent=proof.exponent[index], bound=proof.bound[index], error=error)


def _functions(node: Node, directions: int) -> Iterator[list[Function]]:
    names = [name.decode() for name in node.attributes["activations"]]
    alphas = iter(node.attributes.get("activation_alpha", ()))
    betas = iter(node.attributes.get("activation_beta", ()))
    count = _FUNCTIONS[node.operator]
    for side in range(directions):
        functions = []
        for name in names[side * count : (side + 1) * count]:
            given = {}
            if name in _ALPHA:
                given["alpha"] = next(alphas)
            if name in _BETA:
                given["beta"] = next(betas)
            functions.append(_function(name, given))
        yield functions


def _function(name: str, attributes: dict[str, float]) -> Function:
    if name == "Affine":  # the exporter writes x itself only
        return lambda x: x
    node = _node(name, **attributes)
    return lambda x: RULES[name](node, [x])


def _lstm(side: _Side, h: Proof, c: Proof) -> tuple[Proof, Proof]:
    enter, leave, forget, candidate = (side.gate(index, h) for index in range(4))  # iofc
    gate, inner, outer = side.functions
    new = side.product(gate(enter), inner(candidate))
    old = side.product(gate(forget), c)
    kept = side.sum(_terms(new, old))
    return side.product(gate(leave), outer(kept)), kept


def _gru(side: _Side, h: Proof, c: Proof) -> tuple[Proof, Proof]:
    gate, inner = side.functions
    update, reset = (gate(side.gate(index, h)) for index in range(2))  # zrh
    candidate = inner(side.gate(2, h, reset))
    rest = side.sum(_terms(Proof.of(np.ones(1, np.float32)), update))
    if np.all(update.bound <= 1):  # a gate between 0 and 1
        rest = replace(rest, bound=np.minimum(rest.bound, 1))
    return side.sum(_terms(side.product(rest, candidate), side.product(update, h))), c


def _simple(side: _Side, h: Proof, c: Proof) -> tuple[Proof, Proof]:
    return side.functions[0](side.gate(0, h)), c


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _simple}


def _recurrent(node: Node, operands: list[Proof]) -> Proof:
    """The largest difference and magnitude, and the finest step, over steps, units, directions."""
    given = iter(operands)
    proofs = {i: next(given) for i, name in enumerate(node.inputs) if name}
    steps, units = node.shapes[0][0], int(node.attributes["hidden_size"])
    gates, x = _GATES[node.operator], _over_time(proofs[0], node.shapes[0])
    sides = proofs[1].bound.shape[0]
    states = [p for i, p in proofs.items() if i >= 5]
    made: list[Proof] = []
    for side, functions in enumerate(_functions(node, sides)):
        weight, recurrent = (_cut(proofs[i], side, (gates, units, -1)) for i in (1, 2))
        biases = [_zeros(gates, units)] * 2
        if 3 in proofs:
            both = _cut(proofs[3], side, (2, gates, units))
            biases = [_part(both, 0), _part(both, 1)]
        after = bool(node.attributes.get("linear_before_reset", 0))
        one = _Side(node.operator, x, weight, recurrent, biases[0], biases[1], functions, after)
        h, c = [_over_time(p, (1, units)) for p in states] + [_ZERO] * (2 - len(states))
        for _ in range(steps):
            h, c = _STEPS[node.operator](one, h, c)
            made.append(h)
    stop = next((p for p in made if not p.exact), None)
    return Proof(
        stop is None,
        (stop or made[-1]).reason,
        np.full(1, min(int(p.exponent.min()) for p in made)),
        np.full(1, max(float(p.bound.max()) for p in made)),
        np.full(1, max(p.largest_error for p in made)),
    )


def _zeros(gates: int, units: int) -> Proof:
    return Proof.of(np.zeros((gates, units), np.float32))


def _over_time(proof: Proof, shape: tuple[int, ...]) -> Proof:
    """One number per feature."""
    arrays = (proof.exponent, proof.bound, proof.error)
    exponent, bound, error = (np.broadcast_to(one, shape) for one in arrays)
    return replace(
        proof, exponent=exponent.min(axis=0), bound=bound.max(axis=0), error=error.max(axis=0)
    )


def _cut(proof: Proof, side: int, shape: tuple[int, ...]) -> Proof:
    """One direction's weights (G, U, C)."""
    error = np.broadcast_to(proof.error, proof.bound.shape)
    return replace(
        proof,
        exponent=np.broadcast_to(proof.exponent, proof.bound.shape)[side].reshape(shape),
        bound=proof.bound[side].reshape(shape),
        error=error[side].reshape(shape),
    )


def _slice(node: Node, operands: list[Proof]) -> Proof:
    """Part of an axis, or the axis reversed."""
    x, shape = operands[0], node.shapes[0]
    starts, ends, axes = (np.asarray(one) for one in node.constants[1:4])
    steps = np.ones_like(starts) if len(node.constants) < 5 else np.asarray(node.constants[4])
    parts = [slice(None)] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        last = None if end < -shape[axis - 1] else int(end)
        parts[axis - 1] = slice(int(start), last, int(step))

    def move(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.broadcast_to(array, shape)[tuple(parts)]

    return x.moved(move)


def _einsum(node: Node, operands: list[Proof]) -> Proof:
    """With a constant: sums over the letters that the result does not have."""
    terms, result = node.attributes["equation"].decode().split("->")
    kernel = node.constants[1]
    if kernel is None:
        return unknown(node, operands)
    sizes = zip(terms.split(",")[1], kernel.shape, strict=True)
    return products(node, operands, math.prod(size for one, size in sizes if one not in result))


def _layer_normalization(node: Node, operands: list[Proof]) -> Proof:
    """scale d / sqrt(v + epsilon) + shift, d = x - mean, v the mean of d^2 or of x^2 - mean^2.

    The normalized row has a norm of sqrt(n) at most, and as a function of x the slope
    1 / sqrt(epsilon). A mean is a sum of n terms. Roundings of v count against epsilon: where
    they reach half of it, nothing is proved.
    """
    x, scale, shift = operands
    count, epsilon = node.shape[-1], float(node.attributes["epsilon"])
    top, unit = float(x.bound.max()), 2.0**-FLOAT32_BITS
    mean = relative_error(count + 1) * top
    difference = mean + 2 * unit * top
    squares = 4 * top * difference + relative_error(count + 2) * 4 * top**2
    squares += relative_error(count + 4) * top**2 + 2 * top * mean
    if squares >= epsilon / 2:
        return unknown(node, operands)
    root, row = math.sqrt(epsilon - squares), math.sqrt(count)
    one_side = difference / root + row * (squares / root**2 + 4 * FUNCTION_ERROR)
    error = min(2 * one_side + row * float(x.error.max()) / math.sqrt(epsilon), 2 * row)
    bound = scale.bound * row + shift.bound
    reason = x.reason if not x.exact else "LayerNormalization rounds in float32"
    return Proof(
        *(False, reason, np.full(1, FINEST), bound),
        scale.bound * error + 2 * relative_error(3) * bound,
    )


SEQUENCE_RULES: dict[str, Rule] = {
    **dict.fromkeys(_GATES, _recurrent),
    "Einsum": _einsum,
    "LayerNormalization": _layer_normalization,
    "Slice": _slice,
}
