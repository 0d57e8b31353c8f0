"""Recurrent layers of Keras and QKeras as ONNX.

1. A cell of plain functions is ONNX's LSTM, GRU or RNN. It has the time first, so that it stands
   between two transpositions.
2. A cell with a quantizer inside, on its states or as activation, is written out step by step in
   MatMul, Add, Mul and Quant, in the order in which QKeras computes.

ONNX's gates are `iofc` (Keras: `ifco`) and `zrh` (as Keras).

Source: qkeras/qrecurrent.py; tf_keras/src/layers/rnn; ONNX operators LSTM, GRU, RNN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors

from .call import Call, Export
from .grid import Weight
from .layers import activation, is_linear
from .quantizers import is_quantizer, quantized_weight

__all__ = ["LAYERS", "bidirectional", "recurrent"]

# functions of Keras and QKeras: ONNX's name, alpha, beta
_PLAIN: dict[tuple[str, str], tuple[str, float | None, float | None]] = {
    ("keras", "elu"): ("Elu", 1.0, None),
    ("keras", "hard_sigmoid"): ("HardSigmoid", 0.2, 0.5),
    ("keras", "linear"): ("Affine", 1.0, 0.0),
    ("keras", "relu"): ("Relu", None, None),
    ("keras", "sigmoid"): ("Sigmoid", None, None),
    ("keras", "softplus"): ("Softplus", None, None),
    ("keras", "softsign"): ("Softsign", None, None),
    ("keras", "tanh"): ("Tanh", None, None),
    ("qkeras", "hard_sigmoid"): ("HardSigmoid", 0.5, 0.5),
    ("qkeras", "smooth_sigmoid"): ("HardSigmoid", 0.1875, 0.5),
}
_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
_OPERATORS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}
_TO_ONNX = {"LSTM": (0, 3, 1, 2), "GRU": (0, 1, 2), "SimpleRNN": (0,)}  # the order of the gates


@dataclass(frozen=True)
class Cell:
    """One direction: kernel (C, G U), recurrent kernel (U, G U), biases (G U,), as quantized."""

    kind: str
    units: int
    kernel: Weight
    recurrent: Weight
    bias: Weight | None
    recurrent_bias: Weight | None
    activation: Any
    gate_activation: Any
    state_quantizer: Any
    reset_after: bool
    fused: bool  # the recurrent product is added before the bias

    @property
    def states(self) -> int:
        """How many states it has."""
        return 2 if self.kind == "LSTM" else 1

    @property
    def plain(self) -> bool:
        """True if ONNX's operator computes it."""
        functions = (self.activation, self.gate_activation)[: 1 + (self.kind != "SimpleRNN")]
        return self.state_quantizer is None and all(_plain(one) is not None for one in functions)


def _plain(function: Any) -> tuple[str, float | None, float | None] | None:
    if function is None:
        return _PLAIN["keras", "linear"]
    if is_quantizer(function):
        return None
    home = str(getattr(function, "__module__", "")).split(".")[0].removeprefix("tf_")
    return _PLAIN.get((home, getattr(function, "__name__", "")))


def cell_of(layer: Any) -> Cell:
    """The cell of a recurrent layer.

    Raises:
        UnsupportedError: no such cell, or an option that firmware does not have.
    """
    for option in ("stateful", "time_major"):
        if getattr(layer, option, False):
            raise errors.UnsupportedError(f"{option}=True: supported is False")
    cell: Any = getattr(layer, "cell", None)
    kind = type(cell).__name__.removeprefix("Q").removesuffix("Cell")
    if kind not in _GATES:
        raise errors.UnsupportedError(
            f"cell {type(cell).__name__}: supported are SimpleRNNCell, LSTMCell, GRUCell and "
            "QKeras's"
        )
    quantizer = {
        role: getattr(cell, f"{role}_quantizer_internal", None)
        for role in ("kernel", "recurrent", "bias", "state")
    }
    if type(cell).__name__ == "QGRUCell" and quantizer["recurrent"] is None:
        raise errors.UnsupportedError(
            "without recurrent_quantizer QKeras multiplies the state with the input's kernel; "
            "give it a quantizer"
        )
    bias = quantized_weight(quantizer["bias"], cell.bias) if cell.use_bias else None
    after = kind == "GRU" and bool(cell.reset_after)
    recurrent_bias = bias.map(lambda both: both[1]) if bias is not None and after else None
    if recurrent_bias is not None and bias is not None:
        bias = bias.map(lambda both: both[0])
    return Cell(
        kind,
        int(cell.units),
        quantized_weight(quantizer["kernel"], cell.kernel),
        quantized_weight(quantizer["recurrent"], cell.recurrent_kernel),
        bias,
        recurrent_bias,
        cell.activation,
        getattr(cell, "recurrent_activation", None),
        quantizer["state"],
        after,
        getattr(cell, "implementation", 2) != 1 and kind == "LSTM",
    )


def recurrent(call: Call) -> str:
    """The states after all steps (T, U), or the last one (U,)."""
    layer = call.layer
    if layer.return_state:
        raise errors.UnsupportedError("return_state=True: supported is False")
    cell = cell_of(layer)
    x, *states = call.inputs
    if len(states) not in (0, cell.states):
        raise errors.UnsupportedError(
            f"{len(states)} inputs beside the sequence: supported are its {cell.states} initial "
            "states"
        )
    if layer.go_backwards:
        x = _reversed(call, x, f"{call.name}_reversed")
    return _run(call, [cell], x, states, bool(layer.return_sequences), call.name)


def bidirectional(call: Call) -> str:
    """What a layer makes of the sequence and another one of the reversed sequence, merged."""
    layer, name, graph = call.layer, call.name, call.graph
    forward, backward = layer.forward_layer, layer.backward_layer
    if layer.return_state or len(call.inputs) != 1:
        raise errors.UnsupportedError("states in or out of it: supported are the sequences only")
    if layer.merge_mode is None:
        raise errors.UnsupportedError("merge_mode=None: supported are concat, sum, mul and ave")
    cells = [cell_of(forward), cell_of(backward)]
    every = bool(forward.return_sequences)
    one = forward.go_backwards, backward.go_backwards
    if layer.merge_mode == "concat" and one == (False, True) and _together(*cells):
        return _run(call, cells, call.x, [], every, name)
    ends = []
    for side, cell, part in zip(("forward", "backward"), cells, (forward, backward), strict=True):
        x, end = call.x, f"{name}_{side}"
        if part.go_backwards:
            x = _reversed(call, x, f"{end}_input")
        y = _run(call, [cell], x, [], every, end)
        if every and side == "backward":
            y = _reversed(call, y, f"{end}_reversed")
        ends.append(y)
    if layer.merge_mode == "concat":
        return graph.node("Concat", name, ends, axis=-1)
    if layer.merge_mode == "mul":
        return graph.node("Mul", name, ends)
    if layer.merge_mode == "sum":
        return graph.node("Add", name, ends)
    total = graph.node("Add", f"{name}_sum", ends)
    half = graph.short_constant(f"{name}_half", np.asarray(0.5, np.float32))
    return graph.node("Mul", name, [total, half])


def _together(one: Cell, other: Cell) -> bool:
    """True for two cells that fit into one node."""
    same = ("kind", "units", "reset_after")
    grids = all(
        getattr(one, role).grid == getattr(other, role).grid for role in ("kernel", "recurrent")
    )
    biases = [cell.bias.grid for cell in (one, other) if cell.bias is not None]
    return (
        one.plain
        and other.plain
        and all(getattr(one, name) == getattr(other, name) for name in same)
        and grids
        and len(biases) != 1
        and len(set(biases)) <= 1
    )


def _reversed(call: Call, x: str, name: str) -> str:
    """The last time step first."""
    graph = call.graph
    numbers = {"starts": -1, "ends": -(2**31), "axes": 1, "steps": -1}
    operands = [graph.integers(f"{name}_{role}", [value]) for role, value in numbers.items()]
    return graph.node("Slice", name, [x, *operands])


def _run(
    call: Call, cells: Sequence[Cell], x: str, states: Sequence[str], every: bool, name: str
) -> str:
    if all(cell.plain for cell in cells):
        return _operator(call, cells, x, states, every, name)
    return _written_out(call, cells[0], x, states, every, name)


def _operator(
    call: Call, cells: Sequence[Cell], x: str, states: Sequence[str], every: bool, name: str
) -> str:
    """One node for one direction or both; ONNX has the time before the batch."""
    graph, first = call.graph, cells[0]
    units, gates = first.units, _GATES[first.kind]

    def for_onnx(values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, G U, ...) from (..., G U)."""
        parts = np.split(values.T, gates)
        return np.concatenate([parts[gate] for gate in _TO_ONNX[first.kind]])[None]

    weights = {
        "kernel": [cell.kernel.map(for_onnx) for cell in cells],
        "recurrent": [cell.recurrent.map(for_onnx) for cell in cells],
    }
    operands = [graph.node("Transpose", f"{name}_steps", [x], perm=[1, 0, 2])]
    operands += [graph.weight(f"{name}_{k}", _joined(v, 0)) for k, v in weights.items()]
    if first.bias is not None:
        both = []
        for cell in cells:
            assert cell.bias is not None
            other = cell.recurrent_bias or cell.bias.map(np.zeros_like)
            both.append(_joined([cell.bias.map(for_onnx), other.map(for_onnx)], 1))
        operands.append(graph.weight(f"{name}_bias", _joined(both, 0)))
    axis = [graph.integers(f"{name}_direction", [0])] if states else []
    for index, state in enumerate(states):
        operands += [""] * (5 - len(operands))
        operands.append(graph.node("Unsqueeze", f"{name}_state{index}", [state, *axis]))
    functions = []
    for cell in cells:
        one, gate = _plain(cell.activation), _plain(cell.gate_activation)
        functions += {"LSTM": [gate, one, one], "GRU": [gate, one], "SimpleRNN": [one]}[cell.kind]
    known = [function for function in functions if function is not None]
    attributes: dict[str, Any] = {
        "hidden_size": units,
        "direction": "bidirectional" if len(cells) == 2 else "forward",
        "activations": [operator for operator, _, _ in known],
    }
    for place, role in ((1, "activation_alpha"), (2, "activation_beta")):
        numbers = [function[place] for function in known if function[place] is not None]
        if numbers:
            attributes[role] = numbers
    if first.kind == "GRU":
        attributes["linear_before_reset"] = int(first.reset_after)
    y = graph.node(
        _OPERATORS[first.kind],
        f"{name}_every" if every else f"{name}_last",
        operands,
        skipped=0 if every else 1,
        **attributes,
    )
    width = len(cells) * units
    shape = [0, call.shapes[0][0], width] if every else [0, width]
    order = [2, 0, 1, 3] if every else [1, 0, 2]
    y = graph.node("Transpose", f"{name}_directions", [y], perm=order)
    return graph.node("Reshape", name, [y, graph.integers(f"{name}_shape", shape)])


def _joined(weights: Sequence[Weight], axis: int) -> Weight:
    """Weights of one grid as one; a step of zeros, which are padding, counts as 1."""
    if len(weights) == 1:
        return weights[0]
    value = np.concatenate([one.value for one in weights], axis)
    scale = None
    if weights[0].scale is not None:
        scales = [np.broadcast_to(_scale(one), one.value.shape) for one in weights]
        scale = np.concatenate(scales, axis)
        scale = np.where(scale == 0, np.float32(1), scale)
    return replace(
        weights[0], value=value, scale=scale, deviation=max(one.deviation for one in weights)
    )


def _scale(weight: Weight) -> NDArray[np.float32]:
    assert weight.grid is not None
    return np.asarray(weight.grid.lsb, np.float32) if weight.scale is None else weight.scale


def _written_out(
    call: Call, cell: Cell, x: str, states: Sequence[str], every: bool, name: str
) -> str:
    graph, (steps, features) = call.graph, call.shapes[0]
    unrolled = _Unrolled(call, cell, name)
    before = list(states) or [""] * cell.states
    rows = []
    for step in range(steps):
        at = f"{name}_{step}"
        place = [graph.integers(f"{at}_{k}", [v]) for k, v in (("from", step), ("to", step + 1))]
        axes = graph.integers(f"{at}_axes", [1])
        row = graph.node("Slice", f"{at}_row", [x, *place, axes])
        shape = graph.integers(f"{at}_row_shape", [0, features])
        row = graph.node("Reshape", f"{at}_x", [row, shape])
        last = step == steps - 1 and not every
        before = unrolled.step(row, before, at, name if last else f"{at}_h")
        rows.append(before[0])
    if not every:
        return rows[-1]
    joined = rows[0]
    for step, row in enumerate(rows[1:], 1):  # two at a time, as hls4ml joins them
        joined = graph.node("Concat", f"{name}_{step}_joined", [joined, row], axis=1)
    shape = graph.integers(f"{name}_shape", [0, steps, cell.units])
    return graph.node("Reshape", name, [joined, shape])


class _Unrolled:
    """Writes single steps of a cell, in QKeras's order of operations; "" is a state of zeros."""

    def __init__(self, call: Call, cell: Cell, name: str) -> None:
        self.graph, self.cell, self.name = call.graph, cell, name
        self.constants: dict[str, str] = {}
        self.start: NDArray[np.float32] | None = None
        self.zero = self._quantized_zero()

    def step(self, x: str, before: Sequence[str], at: str, name: str) -> list[str]:
        """The states behind a step; the hidden one, the first, is called `name`."""
        quantizer, states = self.cell.state_quantizer, list(before)
        for index, state in enumerate(states):
            if not state:
                states[index] = self.zero
            elif quantizer is not None:
                states[index] = activation(self.graph, quantizer, state, f"{at}_state{index}")
        rule = {"LSTM": self._lstm, "GRU": self._gru, "SimpleRNN": self._simple}[self.cell.kind]
        return rule(x, states, at, name)

    def _quantized_zero(self) -> str:
        """The state before the first step: "" if it is zero, else a constant."""
        if self.cell.state_quantizer is None:
            return ""
        value = np.asarray(self.cell.state_quantizer(np.zeros((1, self.cell.units), np.float32)))
        if not value.any():
            return ""
        self.start = value.astype(np.float32)
        return self.graph.short_constant(f"{self.name}_start", self.start.reshape(-1))

    def _constant(self, role: str, weight: Weight, gate: int) -> str:
        """The columns of a gate; every constant is made once."""
        name = f"{self.name}_{role}{gate}"
        if name not in self.constants:
            columns = slice(gate * self.cell.units, (gate + 1) * self.cell.units)
            part = weight.map(lambda values: values[..., columns])
            self.constants[name] = self.graph.weight(name, part)
        return self.constants[name]

    def _of_input(self, x: str, gate: int, at: str, *, bias: bool = True) -> str:
        cell, graph = self.cell, self.graph
        y = graph.node("MatMul", f"{at}_xk", [x, self._constant("kernel", cell.kernel, gate)])
        return self._plus_bias(y, cell.bias, "bias", gate, f"{at}_xb") if bias else y

    def _plus_bias(self, y: str, bias: Weight | None, role: str, gate: int, name: str) -> str:
        if bias is None:
            return y
        return self.graph.node("Add", name, [y, self._constant(role, bias, gate)])

    def _of_state(self, h: str, gate: int, at: str) -> str:
        """Its product and recurrent bias; "" where both are missing."""
        cell, y = self.cell, ""
        if h and h == self.zero:  # a product of constants
            weight = cell.recurrent.map(lambda v: v[:, gate * cell.units : (gate + 1) * cell.units])
            assert self.start is not None
            product = self.start.astype(np.float64) @ weight.value
            y = self.graph.short_constant(f"{at}_hr", product.reshape(-1).astype(np.float32))
        elif h:
            kernel = self._constant("recurrent", cell.recurrent, gate)
            y = self.graph.node("MatMul", f"{at}_hr", [h, kernel])
        if cell.recurrent_bias is None:
            return y
        if not y:
            return self._constant("recurrent_bias", cell.recurrent_bias, gate)
        return self._plus_bias(y, cell.recurrent_bias, "recurrent_bias", gate, f"{at}_hb")

    def _sum(self, one: str, other: str, name: str) -> str:
        return self.graph.node("Add", name, [one, other]) if other else one

    def _gate(self, x: str, h: str, gate: int, at: str) -> str:
        """x K + b + h R of a gate, before its activation."""
        at = f"{at}_{gate}"
        y = self._of_input(x, gate, at, bias=not self.cell.fused)
        y = self._sum(y, self._of_state(h, gate, at), f"{at}_sum")
        return self._plus_bias(y, self.cell.bias, "bias", gate, f"{at}_b") if self.cell.fused else y

    def _activated(self, function: Any, x: str, name: str) -> str:
        return x if is_linear(function) else activation(self.graph, function, x, name)

    def _simple(self, x: str, states: Sequence[str], at: str, name: str) -> list[str]:
        """a(x K + b + h R)."""
        y = self._gate(x, states[0], 0, at)
        return [self._activated(self.cell.activation, y, name)]

    def _lstm(self, x: str, states: Sequence[str], at: str, name: str) -> list[str]:
        """c' = f c + i a(...), h' = o a(c')."""
        graph, (h, c), function = self.graph, states, self.cell.activation
        gate = self.cell.gate_activation
        enter = self._activated(gate, self._gate(x, h, 0, at), f"{at}_i")
        candidate = self._activated(function, self._gate(x, h, 2, at), f"{at}_g")
        leave = self._activated(gate, self._gate(x, h, 3, at), f"{at}_o")
        new = graph.node("Mul", f"{at}_new", [enter, candidate])
        if c:
            forget = self._activated(gate, self._gate(x, h, 1, at), f"{at}_f")
            new = graph.node("Add", f"{at}_c", [graph.node("Mul", f"{at}_old", [forget, c]), new])
        return [
            graph.node("Mul", name, [leave, self._activated(function, new, f"{at}_a")]),
            new,
        ]

    def _gru(self, x: str, states: Sequence[str], at: str, name: str) -> list[str]:
        """h' = z h + (1 - z) a(...); the reset gate acts on h, or on its product."""
        graph, h, cell = self.graph, states[0], self.cell
        update = self._activated(cell.gate_activation, self._gate(x, h, 0, at), f"{at}_z")
        recalled = self._of_state(h, 2, f"{at}_2") if cell.reset_after else h
        if recalled:
            reset = self._activated(cell.gate_activation, self._gate(x, h, 1, at), f"{at}_r")
            recalled = graph.node("Mul", f"{at}_recalled", [reset, recalled])
            if not cell.reset_after:
                recalled = self._of_state(recalled, 2, f"{at}_2")
        total = self._sum(self._of_input(x, 2, f"{at}_2"), recalled, f"{at}_total")
        candidate = self._activated(cell.activation, total, f"{at}_g")
        if "one" not in self.constants:
            one = np.ones((1,), np.float32)
            self.constants["one"] = graph.short_constant(f"{self.name}_one", one)
        rest = graph.node("Sub", f"{at}_rest", [self.constants["one"], update])
        new = graph.node("Mul", f"{at}_new" if h else name, [rest, candidate])
        if not h:
            return [new]
        old = graph.node("Mul", f"{at}_old", [update, h])
        return [graph.node("Add", name, [old, new])]


_rnn: Callable[[Call], str] = recurrent
LAYERS: dict[str, Export] = {
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN", "QGRU", "QLSTM", "QSimpleRNN"), _rnn),
    **dict.fromkeys(("Bidirectional", "QBidirectional"), bidirectional),
}
