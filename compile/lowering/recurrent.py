"""LSTM, GRU and Bidirectional, unrolled over time. Source: nnet_recurrent.h.

Rows of gates: a tensor (G, U) holds gate g of unit u; states are (1, U). The products of the inputs
do not depend on the state, so those of all time steps are one `mul`.

hls4ml keeps the state in static or in automatic variables; both start at zero for every event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samebits import errors

from ..ir import Format, Tensor
from ..ops import Array
from . import tables
from .activation import table_index
from .context import Context, Lowering
from .precision import class_names, format_of, is_uint1
from .products import Walk, latency_walk, resource_walk, strategy_of

__all__ = ["LAYERS", "lower_bidirectional", "lower_recurrent", "lower_simple_rnn"]

_BIT = Format(False, 1, 1)
_GATES = {"LSTM": 4, "GRU": 3}
_FORWARD, _BACKWARD = "forward", "backward"

# nnet_recr_activations.h has no others: divide_bits of the table's index, and its maker
_TABLES: dict[str, tuple[int, Callable[[int, Format], Array]]] = {
    "sigmoid": (4, tables.sigmoid_table),
    "tanh": (3, tables.tanh_table),
}
_ACTIVATIONS = ("relu", *_TABLES)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """One of the two matrix products of a cell: names of its weights, kernel and reuse factor.

    `strided` tells which of the two resource kernels hls4ml's template picks.
    """

    weight: str
    bias: str
    reuse: int
    strided: bool


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction of a recurrent layer."""

    kind: str
    units: int
    inputs: _Kernel
    states: _Kernel
    activation: Callable[[Tensor], Tensor]
    gate_activation: Callable[[Tensor], Tensor]
    accum: Format
    result: Format
    pytorch: bool


def lower_recurrent(context: Context, layer: Any) -> Tensor:
    """LSTM or GRU: the last state (U,), or the states after all time steps (T, U).

    Source: `lstm_stack`, `gru_stack`, for arrays and streams, with initial states or without.
    """
    kind, where = str(layer.class_name), context.where(layer)
    if layer.get_attr("return_state"):
        raise errors.UnsupportedError(
            f"{where}: it returns its states, which hls4ml's kernels never write"
        )
    reuse, recurrent = int(layer.get_attr("reuse_factor")), layer.get_attr("recurrent_reuse_factor")
    units = int(layer.get_output_variable().shape[-1])
    x = _sequence(context, layer)
    cell = _Cell(
        kind=kind,
        units=units,
        inputs=_Kernel("weight", "bias", reuse, reuse <= x.shape[1]),
        # the template picks both kernels by the first reuse factor
        states=_Kernel("recurrent_weight", "recurrent_bias", int(recurrent), reuse <= units),
        activation=_activation(context, layer, "activation"),
        gate_activation=_activation(context, layer, "recurrent_activation"),
        accum=context.attribute_format(layer, "accum_t"),
        result=context.result_format(layer),
        pytorch=bool(layer.get_attr("pytorch", False)),
    )
    if kind == "LSTM":
        # both branches of `if (CONFIG_T::use_static)` are compiled
        _require_types_of_lstm(context, layer)
    if not layer.get_attr("pass_initial_states"):
        states = _run(context, layer, cell, x, _zero_states(context, cell), range(x.shape[0]))
        return _outputs(context, layer, states)
    return _with_initial_states(context, layer, cell, x)


def _with_initial_states(context: Context, layer: Any, cell: _Cell, x: Tensor) -> Tensor:
    """The states come from further inputs, whose arrays the kernel overwrites with the last ones.

    Source: `lstm_stack` with h_T and s_T, `gru_stack` with h_T.
    """
    if context.io_type == "io_stream":
        raise errors.UnsupportedError(
            f"{context.where(layer)}: initial states in io_stream; hls4ml has no kernel for them"
        )
    count = 2 if cell.kind == "LSTM" else 1
    variables = [layer.get_input_variable(name) for name in layer.inputs[1 : 1 + count]]
    if len(variables) != count:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: it has {len(variables)} initial states, {cell.kind} has "
            f"{count}"
        )
    for variable in variables:
        _require_same_type(context, layer, f"input {variable.name}", variable.type)
    for one, other in (("weight", "recurrent_weight"), ("bias", "recurrent_bias")):
        first, second = (layer.weights[name].type.precision for name in (one, other))
        if not _same_type(first, second, context.where(layer)):
            raise errors.UnsupportedError(
                f"{context.where(layer)}: {one} is {first}, {other} is {second}; hls4ml's kernel "
                "with initial states compiles only where they are the same"
            )
    states = [
        context.build.reshape(context.tensor(variable), (1, cell.units)) for variable in variables
    ]
    shared = len({variable.name for variable in variables}) < count
    made = _run(context, layer, cell, x, states, range(x.shape[0]), shared=shared)
    for variable, last in zip(variables, made[-1], strict=True):
        shape = context.tensor(variable).shape
        context.define(variable, context.build.reshape(last, shape))
    return _outputs(context, layer, made)


def lower_bidirectional(context: Context, layer: Any) -> Tensor:
    """Forward and backward states side by side, (Uf + Ub,) or (T, Uf + Ub).

    Source: `bidirectional_stack`.
    """
    build, where = context.build, context.where(layer)
    if context.io_type == "io_stream":
        raise errors.UnsupportedError(f"{where}: io_stream; hls4ml has no kernel for it")
    if layer.get_attr("return_state"):
        raise errors.UnsupportedError(
            f"{where}: it returns its states, which hls4ml's kernels never write"
        )
    x = _sequence(context, layer)
    cells = [_direction(context, layer, x, name) for name in (_FORWARD, _BACKWARD)]
    units = sum(cell.units for cell in cells)
    shape = tuple(int(size) for size in layer.get_output_variable().shape)
    if shape[-1] != units:
        raise errors.UnsupportedError(
            f"{where}: merge mode {layer.get_attr('merge_mode')!r}; hls4ml's kernel writes "
            f"{units} numbers for each time step, the result has {shape[-1]}; supported: 'concat'"
        )
    steps = range(x.shape[0])
    forward, backward = (
        _run(context, layer, cell, x, _zero_states(context, cell), order)
        for cell, order in zip(cells, (steps, steps[::-1]), strict=True)
    )
    every = _every_step(layer)
    halves = (forward, backward[::-1]) if every else (forward[-1:], backward[-1:])
    columns = [build.apply("transpose", _hidden(context, states), perm=(1, 0)) for states in halves]
    return build.reshape(
        build.apply("transpose", build.apply("concat", *columns), perm=(1, 0)), shape
    )


def lower_simple_rnn(context: Context, layer: Any) -> Tensor:
    """Refuses: hls4ml's Vivado and Vitis backends have no template for it.

    Raises:
        UnsupportedError: always.
    """
    raise errors.UnsupportedError(
        f"{context.where(layer)}: hls4ml writes no code for it on Vivado and Vitis, and its result "
        "is uninitialised memory; use LSTM or GRU"
    )


def _direction(context: Context, layer: Any, x: Tensor, name: str) -> _Cell:
    kind, units = str(layer.get_attr(f"{name}_class_name")), int(layer.get_attr(f"{name}_n_states"))
    if kind not in _GATES:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: {name} layer {kind} is not supported; supported: LSTM, GRU"
        )
    if kind == "LSTM" and not layer.get_attr("static"):
        _require_types_of_lstm(context, layer)
    # the template takes the kernel's reuse factor from the layer and picks by the direction's
    picked = int(layer.get_attr(f"{name}_reuse_factor"))
    reuse = int(layer.get_attr("reuse_factor"))
    recurrent = int(layer.get_attr(f"{name}_recurrent_reuse_factor"))
    prefix = f"{name}_recurrent_"
    return _Cell(
        kind=kind,
        units=units,
        inputs=_Kernel(f"{name}_weight", f"{name}_bias", reuse, picked <= x.shape[1]),
        states=_Kernel(f"{prefix}weight", f"{prefix}bias", recurrent, picked <= units),
        activation=_activation(context, layer, f"{name}_activation"),
        gate_activation=_activation(context, layer, f"{name}_recurrent_activation"),
        accum=context.attribute_format(layer, "accum_t"),
        result=context.result_format(layer),
        pytorch=bool(layer.get_attr("pytorch", False)),
    )


def _sequence(context: Context, layer: Any) -> Tensor:
    x = context.input(layer)
    if len(x.shape) != 2:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: input shape {x.shape} is not (time steps, features)"
        )
    return x


def _every_step(layer: Any) -> bool:
    return bool(layer.get_attr("return_sequences"))


def _same_type(one: Any, other: Any, where: str) -> bool:
    """True if hls4ml writes the same C++ type for two precisions."""
    return format_of(one, where) == format_of(other, where) and (
        class_names(one)[0] == class_names(other)[0]
    )


def _require_same_type(context: Context, layer: Any, name: str, named: Any) -> None:
    result = layer.get_output_variable().type.precision
    if not _same_type(named.precision, result, context.where(layer)):
        raise errors.UnsupportedError(
            f"{context.where(layer)}: {name} is {named.precision}, the result is {result}; "
            "hls4ml's kernel compiles only where they are the same"
        )


def _require_types_of_lstm(context: Context, layer: Any) -> None:
    """`lstm` passes arrays of the accumulator and of the state as the result and as the input."""
    _require_same_type(context, layer, "accum_t", layer.get_attr("accum_t"))
    variable = layer.get_input_variable()
    _require_same_type(context, layer, f"input {variable.name}", variable.type)


def _activation(context: Context, layer: Any, attribute: str) -> Callable[[Tensor], Tensor]:
    """The activation that an attribute names, into accum_t; its table stands once in the graph.

    Source: nnet_recr_activations.h; nnet_activation.h, `sigmoid`, `tanh`, `relu`.
    """
    build, name = context.build, str(layer.get_attr(attribute)).lower()
    accum = context.attribute_format(layer, "accum_t")
    if name == "relu":

        def relu(x: Tensor) -> Tensor:
            zero = build.number(0, x, x.format.lossless, "zero")
            return build.cast(build.apply("max", x, zero), accum)

        return relu
    if name not in _TABLES:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: {attribute} {name!r} is not supported; hls4ml's recurrent "
            f"cells have {', '.join(_ACTIVATIONS)}"
        )
    divide_bits, function = _TABLES[name]
    size, fmt = int(layer.get_attr("table_size")), context.attribute_format(layer, "table_t")
    entries = tables.entries(function, size, fmt, layer.get_attr("table_t").precision)
    table = build.integers(entries, fmt, f"{name}_table")

    def from_table(x: Tensor) -> Tensor:
        index = table_index(context, x, size, divide_bits)
        return build.cast(build.apply("lookup", index, table), accum)

    return from_table


def _run(
    context: Context,
    layer: Any,
    cell: _Cell,
    x: Tensor,
    start: Sequence[Tensor],
    steps: Sequence[int],
    *,
    shared: bool = False,
) -> list[tuple[Tensor, ...]]:
    """The states after every step, in the order of the steps.

    `shared`: both states of an LSTM stand in one array, into which the hidden one is written last.
    """
    build, gates = context.build, _GATES[cell.kind]
    of_input = _matrix_vector(context, layer, cell, cell.inputs, x.shape[1])
    of_state = _matrix_vector(context, layer, cell, cell.states, cell.units)
    advance = _lstm if cell.kind == "LSTM" else _gru
    made = [tuple(start)]
    for step in steps:
        given = build.reshape(of_input(_rows(context, x, step)), (gates, cell.units))
        state = build.reshape(of_state(made[-1][0]), (gates, cell.units))
        states = advance(context, cell, given, state, made[-1])
        made.append((states[0], states[0]) if shared else states)
    return made[1:]


def _lstm(
    context: Context, cell: _Cell, given: Tensor, state: Tensor, before: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Hidden and cell state; the cell state is kept in the result's type.

    Source: `lstm`, `lstm_static`.
    """
    build = context.build
    total = build.cast(build.apply("add", given, state), cell.accum)
    gates = cell.gate_activation(_rows(context, total, 0, 1, 3))
    candidate = cell.activation(_rows(context, total, 2))
    enter, forget, leave = (_rows(context, gates, row) for row in range(3))
    new = build.apply("mul", candidate, enter)
    old = build.apply("mul", before[1], forget)
    kept = build.cast(build.apply("add", new, old), cell.result)
    hidden = build.apply("mul", leave, cell.activation(kept))
    return build.cast(hidden, cell.result), kept


def _gru(
    context: Context, cell: _Cell, given: Tensor, state: Tensor, before: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The hidden state; the reset gate acts after the matrix product, whatever the model asked.

    Source: `gru`, `gru_static`.
    """
    build = context.build
    gates = build.apply("add", _rows(context, given, 0, 1), _rows(context, state, 0, 1))
    gates = cell.gate_activation(build.cast(gates, cell.accum))
    update, reset = (_rows(context, gates, row) for row in ((1, 0) if cell.pytorch else (0, 1)))
    recalled = build.apply("mul", reset, _rows(context, state, 2))
    recalled = build.cast(recalled, cell.accum)
    candidate = build.apply("add", _rows(context, given, 2), recalled)
    candidate = cell.activation(build.cast(candidate, cell.accum))
    rest = build.apply("sub", build.number(1, update, _BIT, "one"), update)
    new = build.apply("mul", candidate, rest)
    old = build.apply("mul", before[0], update)
    return (build.cast(build.apply("add", new, old), cell.result),)


def _rows(context: Context, x: Tensor, *rows: int) -> Tensor:
    if rows == tuple(range(x.shape[0])):
        return x
    index = Format.spanning(0, max(rows), 0)
    return context.build.apply("gather", x, context.build.integers(rows, index, "rows"))


def _zero_states(context: Context, cell: _Cell) -> list[Tensor]:
    count = 2 if cell.kind == "LSTM" else 1
    zeros = np.zeros((1, cell.units), dtype=np.int64)
    return [context.build.integers(zeros, cell.result.lossless, "state") for _ in range(count)]


def _hidden(context: Context, states: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """The hidden states one below the other."""
    rows = [state[0] for state in states]
    return rows[0] if len(rows) == 1 else context.build.apply("concat", *rows)


def _outputs(context: Context, layer: Any, states: Sequence[tuple[Tensor, ...]]) -> Tensor:
    shape = tuple(int(size) for size in layer.get_output_variable().shape)
    wanted = states if _every_step(layer) else states[-1:]
    return context.build.reshape(_hidden(context, wanted), shape)


def _matrix_vector(
    context: Context, layer: Any, cell: _Cell, kernel: _Kernel, n_in: int
) -> Callable[[Tensor], Tensor]:
    """A function of vectors of K elements: bias + their products with the weights (K, M), in
    accum_t. Weights and bias stand once in the graph.

    Source: nnet_dense.h, `dense`; nnet_mult.h, `mult`, `weight_ternary`.
    """
    build, where = context.build, context.where(layer)
    n_out = cell.units * _GATES[cell.kind]
    for name, wanted in ((kernel.weight, n_in * n_out), (kernel.bias, n_out)):
        given = int(np.size(layer.weights[name].data))
        if given != wanted:
            raise errors.ModelError(
                f"{where}: {given} numbers in {name} for {n_in} inputs, {n_out} outputs"
            )
    walk = _walk(layer, kernel, n_in, n_out, where)
    order = walk.common_order(cell.accum)
    assert order is not None  # it is one for all outputs where the reuse factor is allowed
    mantissas, fmt = _weights(context, layer, kernel.weight)
    weights = build.integers(mantissas[walk.places], fmt, kernel.weight)
    biases, bias_format = context.weight(layer, kernel.bias)
    bias = build.integers(biases.reshape(n_out), bias_format, kernel.bias)
    start = build.cast(bias, cell.accum)

    def product(vector: Tensor) -> Tensor:
        x = build.reshape(vector, (n_in, 1))
        terms = build.cast(build.apply("mul", x, weights), cell.accum)
        return build.apply("accumulate", terms, start, format=cell.accum, kind="chain", order=order)

    return product


def _weights(context: Context, layer: Any, name: str) -> tuple[Array, Format]:
    """Factors that stand for the weights under hls4ml's rule for products; flat, as in C++.

    Types of weights that quantizers choose do not reach recurrent layers: hls4ml gives them its
    default type, or the one that the user names.

    Raises:
        UnsupportedError: binary products; weights of one bit or of powers of two.
    """
    where, (mantissas, fmt) = context.where(layer), context.weight(layer, name)
    weight_type = layer.weights[name].type.precision
    variables = (layer.get_input_variable(), layer.get_output_variable())
    types = [variable.type.precision for variable in variables]
    counted = is_uint1(weight_type) and any(is_uint1(each) for each in types)
    xnor = [each for each in (weight_type, types[0]) if "XnorPrecisionType" in class_names(each)]
    if counted or xnor:
        raise errors.UnsupportedError(
            f"{where}: binary products ({types[0]} with {name} {weight_type}) are not supported"
        )
    if "IntegerPrecisionType" in class_names(weight_type) and fmt.signed and fmt.width == 2:
        # anything but 0 and -1 counts as +1
        mantissas = np.where(mantissas == 0, 0, np.where(mantissas == -1, -1, 1))
    return mantissas.reshape(-1), fmt


def _walk(layer: Any, kernel: _Kernel, n_in: int, n_out: int, where: str) -> Walk:
    """The way of the dense kernel that hls4ml's template picks.

    Source: recurrent_templates.py; unrolled_codegen.py; nnet_dense_resource.h.
    """
    strategy, reuse = strategy_of(layer, where), kernel.reuse
    if strategy == "latency":
        return latency_walk(n_in, n_out)
    unrolled = strategy == "resource_unrolled"
    if not unrolled and kernel.strided != (reuse <= n_in):
        name = "dense_resource_rf_leq_nin" if kernel.strided else "dense_resource_rf_gt_nin_rem0"
        raise errors.UnsupportedError(
            f"{where}: reuse factor {reuse} for the {n_in} inputs of {kernel.weight}, which hls4ml "
            f"gives to its kernel {name}; that aborts; choose another reuse factor"
        )
    return resource_walk(n_in, n_out, reuse, where, skips=unrolled)


LAYERS: dict[str, Lowering] = {
    "SimpleRNN": lower_simple_rnn,
    "LSTM": lower_recurrent,
    "GRU": lower_recurrent,
    "Bidirectional": lower_bidirectional,
}
