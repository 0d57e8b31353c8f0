"""Recurrent cells number by number, transcribed from nnet_recurrent.h, and their layers."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from samebits.compile.ir import Format
from samebits.compile.lowering import tables

from . import kernels
from .converted import Layer, caster, grid, precision, weights

GATES = {"LSTM": 4, "GRU": 3}
State = list[Fraction]
_LIMITS = {"sigmoid": (16, tables.sigmoid_table), "tanh": (8, tables.tanh_table)}


def recurrent(
    rng: np.random.Generator,
    kind: str,
    shape: tuple[int, int],
    units: int,
    inputs: Sequence[str] = ("x",),
    **more: Any,
) -> Layer:
    """An LSTM or GRU called `layer` on (time steps, features)."""
    steps, features = shape
    given = {"name": "layer", "class_name": kind, "inputs": list(inputs)}
    given |= {"n_timesteps": steps, "n_in": features, "n_out": units, "direction": "forward"}
    given |= {"return_sequences": False, "return_state": False, "time_major": False}
    given |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
    given |= data(rng, kind, features, units) | more
    if len(inputs) > 1:
        given |= {"pytorch": True, "pass_initial_states": True}
    if given.get("pytorch") and kind == "LSTM":
        given["recurrent_bias_data"] = grid(rng, 4 * units)
    return given


def bidirectional(
    rng: np.random.Generator,
    kinds: tuple[str, str],
    shape: tuple[int, int],
    units: tuple[int, int],
    **more: Any,
) -> Layer:
    """A Bidirectional layer called `layer` on the input x (time steps, features)."""
    steps, features = shape
    given = {"name": "layer", "class_name": "Bidirectional", "inputs": ["x"]}
    given |= {"n_timesteps": steps, "n_in": features, "n_out": sum(units)}
    given |= {"return_sequences": False, "return_state": False, "time_major": False}
    given |= {"merge_mode": "concat", "direction": "bidirectional"}
    for name, kind, size in zip(("forward", "backward"), kinds, units, strict=True):
        part = {"name": name, "class_name": kind, "n_states": size}
        part |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
        part |= data(rng, kind, features, size)
        given |= {f"{name}_{key}": value for key, value in part.items()}
    return given | more


def data(rng: np.random.Generator, kind: str, features: int, units: int) -> Layer:
    """The weights of a cell."""
    count = GATES[kind] * units
    made = {"weight_data": grid(rng, features, count), "bias_data": grid(rng, count)}
    made["recurrent_weight_data"] = grid(rng, units, count)
    if kind == "GRU":
        made["recurrent_bias_data"] = grid(rng, count)
    return made


def _mult(a: Fraction, w: Fraction) -> Fraction:
    return a * w


def _ternary(a: Fraction, w: Fraction) -> Fraction:
    return Fraction(0) if w == 0 else -a if w == -1 else a


class Cell:
    """The kernels of one direction of a converted layer; `prefix` names the direction."""

    def __init__(self, layer: Any, kind: str, prefix: str = "") -> None:
        self.layer, self.kind, self.prefix = layer, kind, prefix
        self.accum = caster(precision(layer, "accum"))
        self.result = caster(precision(layer, "result"))
        self.units = len(weights(layer, f"{prefix}bias")) // GATES[kind]

    def dense(self, name: str, x: State) -> State:
        bias = weights(self.layer, f"{self.prefix}{name.replace('weight', 'bias')}")
        operands = (x, weights(self.layer, f"{self.prefix}{name}"), bias, self.accum)
        two_bits = str(self.layer.weights[f"{self.prefix}{name}"].type.precision) == "int<2>"
        product = _ternary if two_bits else _mult
        if self.layer.get_attr("strategy") == "latency":
            return kernels.dense_latency(*operands, product)
        recurrent = "recurrent_" if "recurrent" in name else ""
        direction = self.prefix if recurrent else ""
        reuse = int(self.layer.get_attr(f"{direction}{recurrent}reuse_factor"))
        return kernels.dense_resource(*operands, product, reuse)

    def activate(self, attribute: str, x: State) -> State:
        name = self.layer.get_attr(f"{self.prefix}{attribute}")
        if name == "relu":
            return [self.accum(value) if value > 0 else Fraction(0) for value in x]
        divisor, table = _LIMITS[name]
        size = int(self.layer.get_attr("table_size"))
        fmt: Format = precision(self.layer, "table")
        entries = [int(entry) * Fraction(2) ** -fmt.fraction for entry in table(size, fmt)]
        places = [int(value * size / divisor) + size // 2 for value in x]
        return [self.accum(entries[min(max(place, 0), size - 1)]) for place in places]

    def lstm(self, x: State, h: State, s: State) -> None:
        """One step; h and s are overwritten."""
        n = self.units
        given, state = self.dense("weight", x), self.dense("recurrent_weight", h)
        total = [self.accum(a + b) for a, b in zip(given, state, strict=True)]
        ifo = self.activate("recurrent_activation", total[: 2 * n] + total[3 * n :])
        c = self.activate("activation", total[2 * n : 3 * n])
        for k in range(n):
            s[k] = self.result(c[k] * ifo[k] + s[k] * ifo[k + n])
        act = self.activate("activation", s)
        for k in range(n):
            h[k] = self.result(ifo[k + 2 * n] * act[k])

    def gru(self, x: State, h: State) -> None:
        """One step; h is overwritten."""
        n, pytorch = self.units, self.layer.get_attr("pytorch", False)
        given, state = self.dense("weight", x), self.dense("recurrent_weight", h)
        total = [self.accum(a + b) for a, b in zip(given[: 2 * n], state[: 2 * n], strict=True)]
        zr = self.activate("recurrent_activation", total)
        z, r = (zr[n:], zr[:n]) if pytorch else (zr[:n], zr[n:])
        recalled = [self.accum(r[k] * state[2 * n + k]) for k in range(n)]
        total = [self.accum(given[2 * n + k] + recalled[k]) for k in range(n)]
        candidate = self.activate("activation", total)
        for k in range(n):
            h[k] = self.result(candidate[k] * (1 - z[k]) + h[k] * z[k])

    def stack(self, x: Sequence[State], *states: State) -> list[State]:
        """h after every step; the states are overwritten, those not given start at zero."""
        count = 2 if self.kind == "LSTM" else 1
        own = states or tuple([Fraction(0)] * self.units for _ in range(count))
        step: Callable[..., None] = self.lstm if self.kind == "LSTM" else self.gru
        rows = []
        for values in x:
            step(values, *own)
            rows.append(list(own[0]))
        return rows
