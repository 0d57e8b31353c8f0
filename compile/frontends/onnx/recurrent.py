"""ONNX's LSTM, GRU and RNN as hls4ml's layers, or step by step where hls4ml has no such cell.

hls4ml's kernels take relu, sigmoid and tanh, states that start at zero, GRUs that reset behind the
matrix product, and of an LSTM one type for input, accumulator and state. Any other cell becomes
products, sums and activations.

ONNX has the time before the batch: what stands around a node to exchange the two (Transpose,
Squeeze, Reshape, the last time step) is followed number by number and written again.

Source: ONNX operators LSTM, GRU, RNN; hls4ml converters/keras/recurrent.py, nnet_recurrent.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from samebits import errors

from .nodes import layer_node, node_attributes, set_layer_precision
from .storage import exact_format
from .writer import MOVES, Writer, moved

__all__ = ["CELLS", "check_recurrent", "set_state_types", "write_recurrent"]

Array = NDArray[Any]
CELLS = {"LSTM": 4, "GRU": 3, "RNN": 1}  # gates
_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_TO_KERAS = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}  # iofc to ifco
_IN_KERNELS = ("Relu", "Sigmoid", "Tanh")
_TABLE_TYPE = "fixed<18,2>"  # values from -1 to 1: hls4ml's own fixed<18,8> is coarser
# with the attributes that a node of the function's own takes, and ONNX's defaults for a cell
_KNOWN: dict[str, dict[str, float]] = {
    "Affine": {"alpha": 1.0, "beta": 0.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "Relu": {},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 1.0},
}


@dataclass(frozen=True)
class _Function:
    name: str
    attributes: dict[str, float]


@dataclass(frozen=True)
class _Side:
    """One direction, gates in Keras's order: kernel (C, G U), recurrent (U, G U), biases (G U,)."""

    kernel: Array
    recurrent: Array
    bias: Array
    recurrent_bias: Array
    functions: tuple[_Function, ...]
    backward: bool


@dataclass(frozen=True)
class _Layer:
    node: onnx.NodeProto
    kind: str
    units: int
    steps: int
    sides: tuple[_Side, ...]
    after: bool  # a GRU's reset acts on the product
    x: str
    states: tuple[tuple[str, ...], ...]  # per direction; "" is zero
    wanted: tuple[bool, bool]  # every state, the last ones


def check_recurrent(node: onnx.NodeProto, constants: set[str]) -> str:
    """Why a node cannot become firmware, or ""."""
    given, names = node_attributes(node), [*node.input, *[""] * 8]
    if any(name not in constants for name in names[1:4] if name):
        return "weights and biases must be constant"
    if names[4]:
        return "sequence_lens: firmware has sequences of one length"
    if node.op_type == "LSTM" and names[7]:
        return "peepholes (P) are not supported"
    for name in ("clip", "input_forget", "layout"):
        if given.get(name, 0):
            return f"{name}={given[name]:g} is not supported"
    if len(node.output) > 2 and node.output[2]:
        return "its cell state Y_c is read; supported are Y and Y_h"
    for one in given.get("activations", []):
        if one.decode() not in _KNOWN:
            return f"activation {one.decode()}; supported are {', '.join(_KNOWN)}"
    return ""


def set_state_types(model: onnx.ModelProto, precisions: Mapping[str, str], default: str) -> None:
    """Gives every recurrent layer one type: of its input, its accumulator and its states.

    hls4ml's LSTM compiles only so.

    Args:
        precisions: that the user gives, by layer.
    """
    layers = {f"hls4ml.{kind}" for kind in (*CELLS, "Bidirectional")}
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in layers:
            text = precisions.get(node.name, default)
            set_layer_precision(node, result=text, accum=text)
            set_layer_precision(makers[node.input[0]], result=text)


def write_recurrent(writer: Writer, node: onnx.NodeProto) -> None:
    """Writes a recurrent node and what is moved behind it, up to what reads the numbers.

    Raises:
        UnsupportedError: someone reads the time before the batch, or numbers in another order.
    """
    layer = _layer(writer, node)
    every, last = layer.wanted
    y, made = node.name or node.output[0], {}
    steps, units, sides = layer.steps, layer.units, len(layer.sides)
    if _has_kernel(layer):
        name = _kernel(writer, layer, y)
        if every:
            made["every"] = name
            made["last"] = name  # one of its rows, if it is asked for
        else:
            made["last"] = name
    else:
        rows = [_steps(writer, layer, index, y) for index in range(sides)]
        made = _joined(writer, layer, rows, y)
    position: Array = np.arange(steps * sides * units).reshape(steps, sides, 1, units)
    ends: list[tuple[str, Array]] = []
    if every:
        _follow(writer, node.output[0], position, ends)
        _write_ends(writer, ends, made["every"], y)
    if last:
        ends = []
        position = np.arange(sides * units).reshape(sides, 1, units)
        if made["last"] == made.get("every") and not layer.sides[0].backward:
            position = position + (steps - 1) * units
        _follow(writer, node.output[1], position, ends)
        _write_ends(writer, ends, made["last"], f"{y}_last")


def _write_ends(writer: Writer, ends: Sequence[tuple[str, Array]], source: str, base: str) -> None:
    for tensor, places in ends:
        others = [
            reader
            for reader in writer.readers.get(tensor, [])
            if reader.op_type not in CELLS and writer.results(reader, places) is None
        ]
        if places.shape[0] != 1 and (others or tensor in writer.outputs):
            reader = f"{others[0].op_type} ({others[0].name})" if others else "an output"
            raise errors.UnsupportedError(f"{reader} reads it with the time before the batch")
        moved(writer, source, places, f"{base}_{tensor}", tensor)


def _follow(writer: Writer, tensor: str, places: Array, ends: list[tuple[str, Array]]) -> None:
    """Adds to `ends` the tensors that are read for their numbers."""
    readers = writer.readers.get(tensor, [])
    results = [writer.results(reader, places) for reader in readers]
    if tensor in writer.outputs or any(made is None for made in results):
        ends.append((tensor, places))
    for made in results:
        for name, array in (made or {}).items():
            _follow(writer, name, array, ends)


def _layer(writer: Writer, node: onnx.NodeProto) -> _Layer:
    kind, given = node.op_type, node_attributes(node)
    names, gates = [*node.input, *[""] * 8], CELLS[kind]
    kernel, recurrent = (writer.value(name) for name in names[1:3])
    sides, units = kernel.shape[0], recurrent.shape[-1]
    bias = writer.value(names[3]) if names[3] else np.zeros((sides, 2 * gates * units))
    direction = given.get("direction", b"forward").decode()
    functions = list(_functions(kind, given, sides))

    def ordered(values: Array) -> Array:
        """(..., G U) from (G U, ...)."""
        parts = np.split(values, gates)
        return np.concatenate([parts[gate] for gate in _TO_KERAS[kind]]).T.astype(np.float32)

    half = gates * units
    made = tuple(
        _Side(
            ordered(kernel[side]),
            ordered(recurrent[side]),
            ordered(bias[side][:half]),
            ordered(bias[side][half:]),
            functions[side],
            direction == "reverse" or side == 1,
        )
        for side in range(sides)
    )
    x = _batch_first(writer, names[0], 3, f"{node.name}_sequence")
    states = [[""] * (1 + (kind == "LSTM")) for _ in range(sides)]
    for index, name in enumerate(names[5 : 7 if kind == "LSTM" else 6]):
        if not name or (writer.is_constant(name) and not writer.value(name).any()):
            continue
        for side in range(sides):
            states[side][index] = _state(writer, name, side, f"{node.name}_state{index}_{side}")
    every = bool(node.output[0]) and _is_read(writer, node.output[0])
    last = len(node.output) > 1 and bool(node.output[1]) and _is_read(writer, node.output[1])
    return _Layer(
        *(node, kind, units, writer.shapes[names[0]][0], made),
        *(bool(given.get("linear_before_reset", 0)), x, tuple(map(tuple, states)), (every, last)),
    )


def _is_read(writer: Writer, name: str) -> bool:
    return name in writer.outputs or bool(writer.readers.get(name))


def _functions(kind: str, given: dict[str, Any], sides: int) -> Iterator[tuple[_Function, ...]]:
    count = len(_FUNCTIONS[kind])
    names = [name.decode() for name in given.get("activations", [])] or [*_FUNCTIONS[kind]] * sides
    numbers = {key: iter(given.get(f"activation_{key}", [])) for key in ("alpha", "beta")}
    made = [
        _Function(
            name, {key: float(next(numbers[key], value)) for key, value in _KNOWN[name].items()}
        )
        for name in names
    ]
    for side in range(sides):
        yield tuple(made[side * count : (side + 1) * count])


def _batch_first(writer: Writer, name: str, rank: int, base: str) -> str:
    """A tensor of this rank with the batch first, from one with the time first.

    Raises:
        UnsupportedError: it is computed with the time before the batch.
    """
    chain: list[onnx.NodeProto] = []
    source, steps = name, writer.shapes[name][0]
    while writer.shapes[source][0] != 1 or (steps != 1 and len(writer.shapes[source]) != rank):
        maker = writer.makers.get(source)
        if maker is None or maker.op_type not in MOVES:
            raise errors.UnsupportedError(
                f"{source} has the time before the batch; supported is a Transpose of it that "
                "stands next to the node"
            )
        chain.insert(0, maker)
        source = maker.input[0]
    shape = writer.shapes[source]
    places = np.arange(np.prod(shape)).reshape(shape)
    target = source
    for node in chain:
        results = writer.results(node, places)
        assert results is not None
        target = node.output[0] if len(results) == 1 else target
        places = results[target] if target in results else results[name]
    steps, _, features = writer.shapes[name]
    return moved(writer, source, places.reshape(1, steps, features), base)


def _state(writer: Writer, name: str, side: int, base: str) -> str:
    """An initial state (1, U) of one direction."""
    if writer.is_constant(name):
        return writer.weight(base, writer.value(name)[side])
    if writer.shapes[name][0] != 1:
        raise errors.UnsupportedError("initial states of both directions are computed together")
    units = writer.shapes[name][-1]
    return writer.reshape(name, (1, units), base)


def _has_kernel(layer: _Layer) -> bool:
    if layer.kind == "RNN" or (layer.kind == "GRU" and not layer.after):
        return False
    if any(name for names in layer.states for name in names):
        return False
    for side in layer.sides:
        names = [function.name for function in side.functions]
        # an LSTM has one function for its candidate and its output
        if len(set(names[1:])) > 1 or any(name not in _IN_KERNELS for name in names):
            return False
    return not (len(layer.sides) == 2 and all(layer.wanted))


def _kernel(writer: Writer, layer: _Layer, name: str) -> str:
    """hls4ml's layer: every state (1, T, D U), or the last ones (1, D U)."""
    every, sides = layer.wanted[0], layer.sides
    features = writer.shapes[layer.x][-1]
    width = len(sides) * layer.units
    x, backward = layer.x, len(sides) == 1 and sides[0].backward
    rows = np.arange(layer.steps * features).reshape(1, layer.steps, features)
    if backward:
        x = moved(writer, x, rows[:, ::-1], f"{name}_reversed")
    cast = writer.fresh(f"{name}_input")
    writer.write(
        layer_node("Activation", cast, [x], cast, activation="linear", quantizer="result"),
        writer.shapes[x],
    )
    settings: dict[str, Any] = {
        "n_timesteps": layer.steps,
        "n_in": features,
        "n_out": width,
        "return_sequences": every,
        "return_state": False,
        "time_major": False,
        "direction": "forward" if len(sides) == 1 else "bidirectional",
    }
    precision = {"table": _TABLE_TYPE}
    for prefix, side in zip(("forward_", "backward_"), sides, strict=False):
        prefix = prefix if len(sides) == 2 else ""
        mine, types = _settings(layer, side)
        settings |= {f"{prefix}{key}": value for key, value in mine.items()}
        precision |= {f"{prefix}{key}": text for key, text in types.items()}
    if any(side.recurrent_bias.any() for side in sides) and layer.kind == "LSTM":
        settings["pytorch"] = True  # it only says that there are two biases
    class_name = layer.kind
    if len(sides) == 2:
        class_name = "Bidirectional"
        settings["merge_mode"] = "concat"
    shape = (1, layer.steps, width) if every else (1, width)
    result = writer.fresh(name if name not in writer.shapes else f"{name}_states")
    writer.write(
        layer_node(class_name, result, [cast], result, precision=precision, **settings), shape
    )
    if every and backward:
        rows = np.arange(layer.steps * width).reshape(shape)
        result = moved(writer, result, rows[:, ::-1], f"{name}_in_order")
    return result


def _settings(layer: _Layer, side: _Side) -> tuple[dict[str, Any], dict[str, str]]:
    """hls4ml's attributes and types of one direction."""
    functions = [function.name.lower() for function in side.functions]
    weights = {
        "weight": side.kernel,
        "recurrent_weight": side.recurrent,
        "bias": side.bias,
        "recurrent_bias": side.recurrent_bias,
    }
    if layer.kind == "LSTM" and not side.recurrent_bias.any():
        weights["recurrent_bias"] = np.zeros_like(side.bias)
    texts = {key: exact_format(values) for key, values in weights.items()}
    settings: dict[str, Any] = {f"{key}_data": values for key, values in weights.items()}
    settings |= {"recurrent_activation": functions[0], "activation": functions[1]}
    if layer.kind == "GRU":
        settings["apply_reset_gate"] = "after"
    if len(layer.sides) == 2:
        settings |= {"class_name": layer.kind, "n_states": layer.units}
    return settings, {key: text for key, text in texts.items() if text is not None}


def _joined(
    writer: Writer, layer: _Layer, rows: Sequence[Sequence[str]], name: str
) -> dict[str, str]:
    """Every state (1, T, D U) and the last ones (1, D U) from single ones, in order of time."""
    every, last = layer.wanted
    width, made = len(rows) * layer.units, {}
    if last:
        ends = [
            states[0 if side.backward else -1]
            for states, side in zip(rows, layer.sides, strict=True)
        ]
        made["last"] = (
            ends[0]
            if len(ends) == 1
            else writer.add("Concat", ends, (1, width), f"{name}_ends", axis=1)
        )
    if every:
        states = [state for step in zip(*rows, strict=True) for state in step]
        flat = (1, layer.steps * width)
        joined = (
            writer.add("Concat", states, flat, f"{name}_rows", axis=1)
            if len(states) > 1
            else states[0]
        )
        made["every"] = writer.reshape(joined, (1, layer.steps, width), f"{name}_every")
    return made


def _steps(writer: Writer, layer: _Layer, index: int, name: str) -> list[str]:
    """The hidden states of one direction written out, in order of time."""
    side, states = layer.sides[index], list(layer.states[index])
    features = writer.shapes[layer.x][-1]
    base = name if len(layer.sides) == 1 else f"{name}_{('forward', 'backward')[index]}"
    order = range(layer.steps)[:: -1 if side.backward else 1]
    rows: dict[int, str] = {}
    for step in order:
        cell = _Cell(writer, layer, side, f"{base}_{step}")
        places = np.arange(features).reshape(1, features) + step * features
        row = moved(writer, layer.x, places, f"{cell.base}_x")
        states = {"LSTM": cell.lstm, "GRU": cell.gru, "RNN": cell.simple}[layer.kind](row, states)
        rows[step] = states[0]
    return [rows[step] for step in range(layer.steps)]


@dataclass(frozen=True)
class _Cell:
    """Writes one step of a cell; a state "" is zero."""

    writer: Writer
    layer: _Layer
    side: _Side
    base: str

    def _two(self, operator: str, one: str, other: str, role: str) -> str:
        shape = (1, self.layer.units)
        return self.writer.add(operator, [one, other], shape, f"{self.base}_{role}")

    def _plus(self, one: str, other: str, role: str) -> str:
        return self._two("Add", one, other, role) if one and other else one or other

    def _product(self, x: str, matrix: Array, bias: Array, gate: int, role: str) -> str:
        """x times a gate's columns, plus its biases; "" if both are nothing."""
        columns = slice(gate * self.layer.units, (gate + 1) * self.layer.units)
        y = ""
        if x:
            weight = self.writer.weight(f"{self.base}_{role}_weight", matrix[:, columns])
            y = self._two("MatMul", x, weight, f"{role}_product")
        if not bias[columns].any():
            return y
        constant = self.writer.weight(f"{self.base}_{role}_bias", bias[columns])
        if not y:  # a constant alone: the reader adds it
            return constant
        return self._two("Add", y, constant, f"{role}_sum")

    def _gate(self, x: str, h: str, gate: int, function: _Function, role: str) -> str:
        side = self.side
        bias = side.bias + side.recurrent_bias
        given = self._product(x, side.kernel, bias, gate, f"{role}x")
        state = self._product(h, side.recurrent, 0 * bias, gate, f"{role}h")
        return self._activated(function, self._plus(given, state, f"{role}_total"), role)

    def _activated(self, function: _Function, x: str, role: str) -> str:
        if function.name == "Affine":
            if function.attributes != _KNOWN["Affine"]:
                raise errors.UnsupportedError("activation Affine with alpha or beta")
            return x
        shape, attributes = (1, self.layer.units), dict[str, Any](function.attributes)
        return self.writer.add(function.name, [x], shape, f"{self.base}_{role}", **attributes)

    def simple(self, x: str, states: Sequence[str]) -> list[str]:
        """h' = f(x W + h R + b)."""
        return [self._gate(x, states[0], 0, self.side.functions[0], "h")]

    def lstm(self, x: str, states: Sequence[str]) -> list[str]:
        """c' = f c + i g, h' = o a(c'); the gates are ifco."""
        (h, c), (gate, inner, outer) = states, self.side.functions
        new = self._two(
            "Mul", self._gate(x, h, 0, gate, "i"), self._gate(x, h, 2, inner, "g"), "new"
        )
        if c:
            old = self._two("Mul", self._gate(x, h, 1, gate, "f"), c, "old")
            new = self._two("Add", old, new, "c")
        leave = self._gate(x, h, 3, gate, "o")
        return [self._two("Mul", leave, self._activated(outer, new, "a"), "h"), new]

    def gru(self, x: str, states: Sequence[str]) -> list[str]:
        """h' = z h + (1 - z) g; the gates are zrh."""
        (h,), side, (gate, inner) = states, self.side, self.side.functions
        update = self._gate(x, h, 0, gate, "z")
        zero = 0 * side.bias
        if self.layer.after:
            given = self._product(x, side.kernel, side.bias, 2, "gx")
            recalled = self._product(h, side.recurrent, side.recurrent_bias, 2, "gh")
            if recalled:
                reset = self._gate(x, h, 1, gate, "r")
                recalled = self._two("Mul", reset, recalled, "recalled")
        else:
            given = self._product(x, side.kernel, side.bias + side.recurrent_bias, 2, "gx")
            if h:
                h_reset = self._two("Mul", self._gate(x, h, 1, gate, "r"), h, "reset")
                recalled = self._product(h_reset, side.recurrent, zero, 2, "gh")
            else:
                recalled = ""
        candidate = self._activated(inner, self._plus(given, recalled, "g_total"), "g")
        one = self.writer.weight(f"{self.base}_one", np.ones(self.layer.units))
        new = self._two("Mul", self._two("Sub", one, update, "rest"), candidate, "new")
        return [self._plus(self._two("Mul", update, h, "old") if h else "", new, "h")]
