"""TimeDistributed: the layers between its two markers, once for every time step.

hls4ml expands it into a marker that reads a time step, the wrapped layers, and a marker `_end` that
writes it, and prints a loop around them. Source: expand_time_distributed.py,
recurrent_templates.py, nnet_time_distributed.h.
"""

from __future__ import annotations

from typing import Any

from samebits import errors

from ..ir import Format, Tensor
from .context import Context, Lowering
from .precision import format_of

__all__ = ["LAYERS", "lower_time_distributed"]

_RANKS = (2, 3, 4)


def lower_time_distributed(context: Context, layer: Any) -> Tensor:
    """The first marker: the last time step, so that the wrapped layers' traces are those of the
    last pass through hls4ml's loop. The second: the results of all time steps, (T, ...)."""
    if context.io_type == "io_stream":
        raise errors.UnsupportedError(
            f"{context.where(layer)}: io_stream; hls4ml has no kernel for it"
        )
    partner = layer.get_attr("wrapped_layer")
    _require_same_type(context, layer)
    if partner.name == f"{layer.name}_end":
        x = context.input(layer)
        if len(x.shape) not in _RANKS:
            raise errors.UnsupportedError(
                f"{context.where(layer)}: input shape {x.shape}; hls4ml reads time steps from "
                "tensors of 2 to 4 axes"
            )
        _refuse_other_readers(context, layer)
        return _step(context, x, x.shape[0] - 1)
    _require_types_of_one_name(context, partner, layer)
    return _all_steps(context, partner, layer)


def _all_steps(context: Context, start: Any, end: Any) -> Tensor:
    from . import rule_of  # the package imports this module

    build, x = context.build, context.input(start)
    layers = list(start.model.get_layers())
    names = [layer.name for layer in layers]
    wrapped = layers[names.index(start.name) + 1 : names.index(end.name)]
    last = context.input(end)
    variables = [v for layer in (start, *wrapped) for v in layer.get_variables()]
    finished = [(variable, context.tensor(variable)) for variable in variables]
    rows = []
    for step in range(x.shape[0] - 1):
        context.define(start.get_output_variable(), _step(context, x, step))
        for layer in wrapped:
            rule = rule_of(layer)
            assert rule is not None  # `lower` has looked at all layers
            build.scope = str(layer.name)
            tensors = rule(context, layer)
            tensors = tensors if isinstance(tensors, tuple) else (tensors,)
            for name, tensor in zip(layer.outputs, tensors, strict=True):
                context.define(layer.get_output_variable(name), tensor)
        rows.append(context.input(end))
    for variable, tensor in finished:  # whoever reads them behind the loop reads the last step's
        context.define(variable, tensor)
    build.scope = str(end.name)
    rows = [build.reshape(row, (1, *row.shape)) for row in (*rows, last)]
    shape = tuple(int(size) for size in end.get_output_variable().shape)
    return build.reshape(build.apply("concat", *rows), shape)


def _step(context: Context, x: Tensor, step: int) -> Tensor:
    build = context.build
    index = build.integers([step], Format.spanning(0, step, 0), "step")
    return build.reshape(build.apply("gather", x, index), x.shape[1:])


def _require_same_type(context: Context, layer: Any) -> None:
    """Both arrays of a marker's copy have one type."""
    where = context.where(layer)
    given = layer.get_input_variable().type.precision
    result = layer.get_output_variable().type.precision
    if format_of(given, where) != format_of(result, where):
        raise errors.UnsupportedError(
            f"{where}: its input is {given}, its result {result}; hls4ml's kernel compiles only "
            "where they are the same"
        )


def _refuse_other_readers(context: Context, start: Any) -> None:
    """hls4ml joins only the first layer behind to the end of the loop (`insert_node`)."""
    readers = [x for x in start.model.get_layers() if start.outputs[0] in x.inputs]
    if len(readers) > 1:
        raise errors.UnsupportedError(
            f"{context.where(start)}: several layers read its result, and hls4ml gives "
            f"{', '.join(x.name for x in readers[1:])} one time step instead; its C simulation is "
            "undefined there; read it once"
        )


def _require_types_of_one_name(context: Context, start: Any, end: Any) -> None:
    """Both markers of the network's last layer have a type of the name `result_t`.

    Source: hls4ml model/graph.py, `make_node`; the writer keeps the first type of a name.
    """
    where = context.where(end)
    first, second = start.get_output_variable().type, end.get_output_variable().type
    if first.name == second.name and format_of(first.precision, where) != format_of(
        second.precision, where
    ):
        raise errors.UnsupportedError(
            f"{where}: hls4ml calls its type {second.precision} {second.name}, and that of "
            f"{start.name}, {first.precision}, too; its C++ does not compile; give both the same "
            "precision, or add a layer behind"
        )


LAYERS: dict[str, Lowering] = {"TimeDistributed": lower_time_distributed}
