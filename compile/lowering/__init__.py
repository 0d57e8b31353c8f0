"""From a converted hls4ml `ModelGraph` to the fixed-point graph: every layer class in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samebits import errors

from ..ir import Format, Graph, Rounding, Tensor
from ..ops import Array
from . import (
    activation,
    combinational,
    conv,
    dense,
    distributed,
    einsum,
    garnet,
    merge,
    movement,
    normalization,
    pooling,
    quantizer,
    recurrent,
    softmax,
    time_distributed,
)
from .context import Context, Lowering
from .precision import INT32, class_names, format_of, is_integer

__all__ = ["BACKENDS", "IO_TYPES", "LAYERS", "kind_of", "lower", "rule_of"]

BACKENDS = ("Vivado", "Vitis")
IO_TYPES = ("io_parallel", "io_stream")
_BACKEND_PREFIXES = ("VivadoAccelerator", "Vivado", "Vitis", "Quartus", "Catapult", "OneAPI")

_MODULES = (
    *(dense, conv, einsum, combinational),
    *(activation, softmax, quantizer, normalization),
    *(pooling, merge, movement),
    *(recurrent, time_distributed, garnet),
)
LAYERS: dict[str, Lowering] = {
    kind: lowering for module in _MODULES for kind, lowering in module.LAYERS.items()
}


def kind_of(layer: Any) -> str:
    """The name of a layer's class in hls4ml, without the backend in front."""
    name = class_names(layer)[0]
    for prefix in _BACKEND_PREFIXES:
        if name.startswith(prefix) and name != prefix:
            return name.removeprefix(prefix)
    return name


def rule_of(layer: Any) -> Lowering | None:
    """How to lower a layer; None if samebits cannot."""
    if str(layer.get_attr("strategy")).lower() == distributed.STRATEGY:
        return distributed.LAYERS.get(kind_of(layer), LAYERS.get(kind_of(layer)))
    return LAYERS.get(kind_of(layer))


def lower(model: Any, weights: Mapping[str, Array] | None = None) -> Graph:
    """The fixed-point graph of a converted hls4ml model, exactly as its C simulation computes.

    Args:
        model: an hls4ml 1.3 `ModelGraph` after conversion, or a `MultiModelGraph`.
        weights: {"layer/weight": array, "layer/bias": array} for layers from which distributed
            arithmetic has removed them.

    Raises:
        UnsupportedError: another backend or io_type, or layers that samebits does not have; the
            message lists all of them.
        ModelError: weights that are not numbers, or not those of the model.
        UsageError: weights of a layer that is not there, or of another shape.
    """
    backend = str(model.config.backend.name)  # not the configuration's text, which may be absent
    if backend not in BACKENDS:
        raise errors.UnsupportedError(
            f"unsupported backend {backend}; supported: {', '.join(BACKENDS)}"
        )
    context = Context(model, weights)
    if context.io_type not in IO_TYPES:
        raise errors.UnsupportedError(
            f"unsupported io_type {context.io_type}; supported: {', '.join(IO_TYPES)}"
        )
    layers = list(model.get_layers())
    unknown = [layer for layer in layers if kind_of(layer) != "Input" and rule_of(layer) is None]
    if unknown:
        named = ", ".join(f"{kind_of(layer)} ({layer.name})" for layer in unknown)
        raise errors.UnsupportedError(
            f"unsupported layer {named}; supported: Input, {', '.join(LAYERS)}"
        )
    for variable in model.get_input_variables():
        fmt = format_of(variable.type.precision, f"input {variable.name}")
        shape = tuple(int(size) for size in variable.shape)
        context.define(variable, _input(context, variable, shape, fmt))
    parts = list(getattr(model, "graphs", (model,)))  # of a MultiModelGraph
    for number, part in enumerate(parts):
        if number:
            _join(context, parts[number - 1], part)
        for layer in part.get_layers():
            _lower_layer(context, layer)
    _refuse_inputs_as_outputs(model)
    outputs = tuple(context.tensor(variable).name for variable in model.get_output_variables())
    graph = context.build.graph(outputs)
    _refuse_aborting_casts(graph)
    return graph


def _join(context: Context, before: Any, after: Any) -> None:
    """What one part of a MultiModelGraph gives is what the next one reads.

    Source: writer/vivado_writer.py, `write_bridge_multigraph`.
    """
    given, read = before.get_output_variables(), after.get_input_variables()
    for source, target in zip(given, read, strict=True):
        context.build.scope = str(target.name)
        fmt = format_of(target.type.precision, f"input {target.name}")
        shape = tuple(int(size) for size in target.shape)
        tensor = context.build.reshape(context.tensor(source), shape)
        context.define(target, context.build.cast(tensor, fmt))


def _lower_layer(context: Context, layer: Any) -> None:
    rule = rule_of(layer)
    if rule is None:  # an input
        return
    context.build.scope = str(layer.name)
    made = rule(context, layer)
    tensors = made if isinstance(made, tuple) else (made,)
    for name, tensor in zip(layer.outputs, tensors, strict=True):
        variable = layer.get_output_variable(name)
        _refuse_undefined_integers(context, layer, variable, tensor)
        context.define(variable, tensor)
    context.build.layer(
        str(layer.name),
        kind_of(layer),
        tensors[0],
        context.weight_counts(layer),
        context.types(layer),
    )


def _input(context: Context, variable: Any, shape: tuple[int, ...], fmt: Format) -> Tensor:
    """What the bridge feeds: in the graph this type means an ap_int, which converts otherwise."""
    if fmt.like_ap_int and not is_integer(variable.type.precision):
        raise errors.UnsupportedError(
            f"input {variable.name}: {fmt} is not supported as the type of an input; use an int of "
            "that width, or another rounding or overflow mode"
        )
    return context.build.input(variable.name, shape, fmt)


def _refuse_inputs_as_outputs(model: Any) -> None:
    """The top function then has two arguments of one name.

    hls4ml drops a reshape at the end, and a quantizer that it has fused into the input.
    """
    inputs = {variable.name for variable in model.get_input_variables()}
    same = [v.name for v in model.get_output_variables() if v.name in inputs]
    if same:
        raise errors.UnsupportedError(
            f"output {', '.join(same)} is an input of the network; hls4ml's C++ does not compile; "
            "leave that output out"
        )


def _refuse_undefined_integers(context: Context, layer: Any, variable: Any, tensor: Tensor) -> None:
    """An ap_int made from an ap_fixed without integer bits may be uninitialised memory.

    With no integer bit a negative number gives -1; with less than none no bit is written.

    Source: ap_fixed_base.h, `to_ap_int_base`; seen by running it.
    """
    if "IntegerPrecisionType" not in class_names(variable.type.precision):
        return
    source = context.build.cast_source(tensor)
    if source is not None and source.integer < source.signed and source.fraction > 0:
        raise errors.UnsupportedError(
            f"{context.where(layer)}: its result is an ap_int made from {source}, which has no "
            "integer bits; hls4ml's C simulation is undefined there; use an ap_fixed result"
        )


def _refuse_aborting_casts(graph: Graph) -> None:
    """A rounding that drops more bits than the source has makes the C simulation abort.

    Source: ap_private.h, `get_bit` asserts; reached from `ap_fixed_base::operator=`.
    """
    for node in graph.nodes:
        if node.op != "cast":
            continue
        source, target = graph.tensors[node.inputs[0]].format, graph.tensors[node.output].format
        rounds = target.rounding is not Rounding.TRN and not (
            target.rounding is Rounding.TRN_ZERO and not source.signed
        )
        # a conversion to a C++ int has no such assertion
        if rounds and target != INT32 and source.fraction - target.fraction > source.width:
            raise errors.UnsupportedError(
                f"{node.output}: casting {source} to {target} drops more bits than there are; "
                "hls4ml's C simulation aborts there; use a result with more fraction bits"
            )
