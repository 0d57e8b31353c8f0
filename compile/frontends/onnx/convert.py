"""QONNX or plain ONNX to hls4ml's `ModelGraph`, through qonnx's clean-up and hls4ml's frontend."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from samebits import errors

from ...target import Target
from ..conversion import (
    BEFORE_DISTRIBUTED,
    DISTRIBUTED,
    Converted,
    need_da4ml,
    quiet,
    set_softmax_formats,
    weights_of,
)
from ..quant import grid_of
from .check import SUPPORTED_OPERATORS, check_operators
from .guard import check_numbers, check_sizes, shape_fault
from .layout import write_layout
from .names import (
    check_precisions,
    node_names,
    printed_names,
    remember_names,
    settings_names,
)
from .nodes import layer_precisions, node_attributes, registered
from .prepare import (
    add_zero_biases,
    check_softmax_axes,
    name_inputs,
    one_event,
    output_order,
    refuse_copies,
    remove_identities,
    separate_readers,
    write_out,
    write_quantizers,
)
from .qdq import to_qonnx
from .quantize import calibration_notes
from .recurrent import set_state_types
from .scales import write_scales
from .sequences import write_sequences
from .sklearn import drop_labels
from .steps import write_steps
from .table_sizes import set_table_sizes

__all__ = ["SUPPORTED_OPERATORS", "Converted", "to_hls4ml"]

_WIDE, _NARROW = "fixed<32,16>", "fixed<16,6>"
SIGNIFICANT_BITS = 20  # of the factors of a batch normalisation


def to_hls4ml(model: onnx.ModelProto, target: Target) -> Converted:
    """The model as a converted hls4ml `ModelGraph`.

    In the `ModelGraph` an input `x` is `in_x`, so that no name meets one of hls4ml's C++;
    `rename_inputs` gives the fixed-point graph the model's own. The input takes the format of the
    `Quant` node on it, so that raw numbers are rounded once, as the model rounds them. Inputs and
    outputs keep the model's order.

    Raises:
        UnsupportedError: operators that samebits or hls4ml does not have, all of them listed.
        ModelError: dynamic shapes; an input scale that is no power of two; hls4ml's own refusal.
        MissingToolError: distributed arithmetic without da4ml.
    """
    if target.strategy == DISTRIBUTED:
        need_da4ml()
    model, refused = to_qonnx(model)
    said = [*calibration_notes(model), *drop_labels(model)]
    _check_shapes(model)
    remember_names(model)
    with quiet():
        model = one_event(model)
        write_steps(model)
    check_operators(model, refused)
    check_numbers(model)
    check_sizes(model)
    said += write_scales(model)
    with quiet():
        try:
            wrapper, own, nodes, notes = _prepared(model)
            with registered(wrapper.model):
                return _convert(wrapper, own, nodes, [*said, *notes], target)
        except errors.SamebitsError:
            raise
        except Exception as error:  # hls4ml and qonnx raise bare Exceptions and KeyErrors
            raise errors.ModelError(
                shape_fault(model)
                or f"hls4ml cannot convert the model: {type(error).__name__}: {error}"
            ) from error


def _prepared(model: onnx.ModelProto) -> tuple[Any, dict[str, str], dict[str, str], list[str]]:
    """A qonnx model that hls4ml reads rightly, own names of inputs, names of nodes, notes.

    Inputs: the model's own by those in the qonnx model; nodes: qonnx's by the model's own.
    """
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]
    from qonnx.util.cleanup import cleanup_model  # type: ignore[import-untyped]

    remove_identities(model)
    refuse_copies(model)
    add_zero_biases(model)
    separate_readers(model)
    if any(node.op_type == "Softmax" for node in model.graph.node):
        check_softmax_axes(ModelWrapper(model).transform(InferShapes()))
    wrapper = cleanup_model(ModelWrapper(model))
    before = list(wrapper.graph.node)
    wrapper = cleanup_model(wrapper.transform(GemmToMatMul()))
    nodes = node_names(wrapper, before)
    weights = {tensor.name for tensor in model.graph.initializer}
    own = name_inputs(wrapper, [v.name for v in model.graph.input if v.name not in weights])
    # the model's own axes until here; from `write_layout` on those of the firmware
    notes = [*write_quantizers(wrapper), *write_sequences(wrapper)]
    notes += [*write_layout(wrapper, own), *write_out(wrapper)]
    return wrapper, own, nodes, notes


def _convert(
    wrapper: Any, own: dict[str, str], nodes: dict[str, str], notes: list[str], target: Target
) -> Converted:
    import hls4ml  # type: ignore[import-untyped]

    quantized = any(node.op_type == "Quant" for node in wrapper.graph.node)
    for node in wrapper.graph.node:
        if node.op_type == "hls4ml.Reshape":
            # hls4ml's repack_stream.py looks for the tensor by the name of the layer
            wrapper.rename_tensor(node.output[0], node.name)
    precision = target.precision
    given = precision if isinstance(precision, Mapping) else {}
    default = precision if isinstance(precision, str) else given.get("default")
    default_given = default is not None or not quantized
    if not quantized and default is None:
        notes.append(
            f"the model has no quantizers: inputs, weights and activations are {_NARROW} and wrap "
            "outside of -32 to 32; --calibrate EVENTS or --precision choose formats"
        )
    default = default or (_WIDE if quantized else _NARROW)
    set_state_types(wrapper.model, given, default)
    config = hls4ml.utils.config_from_onnx_model(
        wrapper,
        granularity="name",
        backend=target.backend,
        default_precision=default,
        default_reuse_factor=target.reuse_factor,
    )
    config["Model"]["Strategy"] = target.strategy
    layers = config["LayerName"]
    for settings in layers.values():
        if target.strategy == DISTRIBUTED:  # hls4ml refuses it on layers that do not multiply
            settings.pop("Strategy", None)
        else:
            settings["Strategy"] = target.strategy
    precisions = _input_precisions(wrapper.model, own)
    for name, text in precisions.items():
        layers[name]["Precision"]["result"] = text
    if not default_given:
        notes += _plain_inputs(wrapper.model, own, {*precisions, *given}, default)
    if not default_given:
        for name, types in _batchnorm_types(wrapper.model).items():
            layers[name]["Precision"].update(types)
    for name, types in layer_precisions(wrapper.model).items():
        layers[name]["Precision"].update(types)
        if "table" in types:  # hls4ml reads it only beside "Precision", not in it
            layers[name]["table_t"] = types["table"]
    known = {**nodes, **{name: key for key, name in own.items()}}
    keys = settings_names(given, layers, known)
    for name, text in given.items():
        if name == "default":
            continue
        if name not in keys:
            graph = _hls4ml_graph(wrapper, config, target)
            raise errors.UsageError(
                f"precision: there is no layer {name!r}; layers: "
                f"{', '.join(printed_names(graph, known))}"
            )
        layers[keys[name]]["Precision"]["result"] = text
    set_table_sizes(wrapper.model, layers, known, target)
    _choose_softmax_formats(wrapper.model, layers)
    kept: dict[str, NDArray[Any]] = {}
    if target.strategy == DISTRIBUTED:
        early = _hls4ml_graph(wrapper, {**config, "Flows": [BEFORE_DISTRIBUTED]}, target)
        kept = weights_of(early)
        _name_tensors_after_layers(wrapper, early)
    graph = _hls4ml_graph(wrapper, config, target)
    if target.strategy != DISTRIBUTED:
        check_precisions(graph, given, keys, known)
    # hls4ml orders outputs by their nodes
    graph.outputs = [graph.outputs[position] for position in output_order(wrapper)]
    return Converted(graph, tuple(notes), tuple(own.values()), kept)


def _hls4ml_graph(wrapper: Any, config: dict[str, Any], target: Target) -> Any:
    import hls4ml

    with tempfile.TemporaryDirectory(prefix="samebits-") as folder:
        return hls4ml.converters.convert_from_onnx_model(
            wrapper,
            hls_config=copy.deepcopy(config),
            output_dir=folder,
            backend=target.backend,
            io_type=target.io_type,
            part=target.part,
            clock_period=target.clock_ns,
        )


def _name_tensors_after_layers(wrapper: Any, graph: Any) -> None:
    """Gives every tensor the name of the hls4ml layer that makes it.

    hls4ml's pass for distributed arithmetic looks for layers by the names of their outputs
    (passes/bit_exact.py, `get_input_layers`); from ONNX it names the two differently.
    """
    for layer in graph.get_layers():
        if len(layer.outputs) == 1 and layer.outputs[0] != layer.name:
            wrapper.rename_tensor(layer.outputs[0], layer.name)


def _check_shapes(model: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        dimensions = value.type.tensor_type.shape.dim
        sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions]
        if len(sizes) < 2:
            raise errors.ModelError(
                f"input {value.name} has shape {sizes}; wanted a batch axis and at least one more"
            )
        if not all(isinstance(size, int) and size > 0 for size in sizes[1:]):
            raise errors.ModelError(
                f"input {value.name} has dynamic shape {sizes}; firmware needs fixed sizes: only "
                "the first (batch) axis may be open. Export the model with static shapes"
            )


def _input_precisions(model: onnx.ModelProto, own: Mapping[str, str]) -> dict[str, str]:
    """hls4ml precision by input name, for inputs that a Quant node reads first."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    precisions: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "Quant" or node.input[0] not in own:
            continue
        operands = [constants[name] for name in node.input[1:4]]
        grid = grid_of(node, *operands)
        if grid is None:
            raise errors.ModelError(
                f"input {own[node.input[0]]}: its quantizer must have one scale, a power of two, "
                f"and zero point 0; got scale {np.unique(operands[0])[:4].tolist()}"
            )
        precisions[node.input[0]] = grid.precision
    return precisions


def _batchnorm_types(model: onnx.ModelProto) -> dict[str, dict[str, str]]:
    """Types of scales and biases by layer, where they are finer than the default's.

    A batch normalisation between two quantizers decides what is rounded where, and its factors are
    often far below 1: `SIGNIFICANT_BITS` of the smallest of them count, in 32 bits at most.
    """
    constants = {
        t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer
    }
    found: dict[str, dict[str, str]] = {}
    for node in model.graph.node:
        if node.op_type != "BatchNormalization":
            continue
        operands = [constants[name] for name in node.input[1:5] if name in constants]
        if len(operands) != 4:
            continue
        scale, shift, mean, variance = operands
        factor = scale / np.sqrt(variance + node_attributes(node).get("epsilon", 1e-5))
        offset = shift - mean * factor
        smallest = np.abs(factor[factor != 0]).min(initial=1.0)
        fraction = max(0, SIGNIFICANT_BITS - int(np.frexp(smallest)[1]))
        found[node.name] = {}
        for key, values in (("scale", factor), ("bias", offset)):
            integer = max(0, int(np.frexp(np.abs(values).max(initial=0.0))[1])) + 1
            bits = min(fraction, 32 - integer)
            if bits > 16:
                found[node.name][key] = f"fixed<{integer + bits},{integer}>"
    return found


def _plain_inputs(
    model: onnx.ModelProto, own: Mapping[str, str], chosen: set[str], default: str
) -> list[str]:
    """Notes on inputs that a quantized model leaves unquantized: all sums grow with them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    if not any(node.op_type == "Quant" and node.input[0] in constants for node in model.graph.node):
        return []  # quantized by samebits alone, before a softmax
    return [
        f"input {name} has no quantizer and takes {default}, which makes all sums wide: quantize "
        f"it in the model, or say --precision {name}=fixed<16,6>"
        for key, name in own.items()
        if key not in chosen and name not in chosen
    ]


def _choose_softmax_formats(model: onnx.ModelProto, layers: dict[str, Any]) -> None:
    """Softmax tables addressed by what they can really meet: see `set_softmax_formats`."""
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output)
    }
    for node in model.graph.node:
        if node.op_type not in ("Softmax", "hls4ml.Softmax") or node.name not in layers:
            continue
        classes = (shapes.get(node.output[0]) or shapes.get(node.input[0]) or [1])[-1]
        set_softmax_formats(layers[node.name], classes)
