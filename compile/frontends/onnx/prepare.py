"""What hls4ml's ONNX frontend reads wrongly or not at all: refused by name, or written out."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from samebits import errors

from ..quant import (
    DOMAIN,
    QuantAttributes,
    QuantGrid,
    grid_of,
    power_of_two,
    quant_node,
)
from .constants import fold_constants
from .dialects import set_batch
from .nodes import FLAT, layer_node, node_attributes
from .storage import quantized_values

__all__ = [
    "add_zero_biases",
    "check_softmax_axes",
    "name_inputs",
    "one_event",
    "output_order",
    "refuse_copies",
    "remove_identities",
    "separate_readers",
    "write_out",
    "write_quantizers",
]

# ONNX's default of `alpha`; hls4ml takes 0.01 (converters/onnx/core.py, parse_activation_layer)
_ALPHAS = {"Elu": 1.0, "LeakyRelu": 0.01, "ThresholdedRelu": 1.0}
SOFTMAX_BITS, SOFTMAX_INTEGER = 10, 5  # -16 to 16 in steps of 1/32


def one_event(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model for one event, with the sizes that it asks for as constants.

    PyTorch writes `x.view(x.size(0), -1)` as Shape, Gather, Concat and Reshape.
    """
    static = onnx.ModelProto()
    static.CopyFrom(model)
    set_batch(static, 1)
    asking = [node for node in static.graph.node if node.op_type in ("Shape", "Size")]
    if not asking:
        return static
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    wrapper = ModelWrapper(static).transform(InferShapes())
    for node in asking:
        shape = wrapper.get_tensor_shape(node.input[0])
        if shape is None or not all(shape):
            continue  # refused by name
        given = node_attributes(node)
        sizes = np.array(shape[given.get("start", 0) : given.get("end", len(shape))], np.int64)
        values = sizes if node.op_type == "Shape" else np.asarray(np.prod(sizes))
        static.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        static.graph.node.remove(node)
    fold_constants(static)
    return static


def remove_identities(model: onnx.ModelProto) -> None:
    """Takes out Identity and Dropout, on which hls4ml fails at the end of a network.

    Raises:
        UnsupportedError: an output that is an input.
    """
    graph = model.graph
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output}
    for node in [n for n in graph.node if n.op_type in ("Identity", "Dropout")]:
        source, target = node.input[0], node.output[0]
        if target in outputs and source not in made:
            raise errors.UnsupportedError(f"output {target} is the input {source} itself")
        if target in outputs and source in outputs:
            raise errors.UnsupportedError(
                f"outputs {source} and {target} are the same; give the network one of them"
            )
        graph.node.remove(node)
        # an output keeps its name, any other tensor that of its source
        old, new = (source, target) if target in outputs else (target, source)
        for other in graph.node:
            other.input[:] = [new if name == old else name for name in other.input]
            other.output[:] = [new if name == old else name for name in other.output]


def separate_readers(model: onnx.ModelProto) -> None:
    """Puts an Identity before every further place of a node that reads a tensor several times.

    qonnx renames only the first place (core/modelwrapper.py, `rename_tensor`).
    """
    graph = model.graph
    for node in list(graph.node):
        for position, name in enumerate(node.input):
            if name and name in node.input[:position]:
                copy = f"{node.output[0]}_{position}_of_{name}"
                node.input[position] = copy
                identity = helper.make_node("Identity", [name], [copy], name=copy)
                graph.node.insert(list(graph.node).index(node), identity)


def refuse_copies(model: onnx.ModelProto) -> None:
    """Raises UnsupportedError for an output that only reshapes an input or another output.

    hls4ml gives both the same C++ variable, and its C simulation does not compile. A quantizer on
    an input is the input's own format and computes nothing either.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    outputs = [value.name for value in model.graph.output]
    for output in outputs:
        source = output
        while source in makers and makers[source].op_type in ("Flatten", "Reshape"):
            source = makers[source].input[0]
            if source in outputs:
                raise errors.UnsupportedError(
                    f"output {output} only reshapes the output {source}; give the network one of "
                    "them"
                )
        if source in makers and makers[source].op_type == "Quant":
            source = makers[source].input[0]
        if source not in makers:
            raise errors.UnsupportedError(
                f"output {output} only rounds or reshapes the input {source}; there is nothing to "
                "compute"
            )


def check_softmax_axes(wrapper: Any) -> None:
    """Raises UnsupportedError naming every softmax of an old opset not along the last axis.

    Until opset 12 a softmax runs over `axis` and all behind it, and the default is 1.
    """
    wrong = []
    for node in wrapper.graph.node:
        if node.op_type != "Softmax" or node.doc_string != FLAT:
            continue
        axis = node_attributes(node).get("axis", 1)
        shape = wrapper.get_tensor_shape(node.input[0]) or wrapper.get_tensor_shape(node.output[0])
        if axis == -1 or (shape is not None and axis == len(shape) - 1):
            continue
        of = "unknown shape" if shape is None else f"{len(shape)} axes, the batch axis included"
        wrong.append(f"Softmax ({node.name or node.output[0]}: axis={axis} of {of})")
    if wrong:
        raise errors.UnsupportedError(
            f"unsupported operators: {', '.join(wrong)}; until opset 12 they run over all axes "
            "behind, too; supported is the last axis"
        )


def add_zero_biases(model: onnx.ModelProto) -> None:
    """Gives every Gemm without a bias one of zeros, without which qonnx fails."""
    for node in model.graph.node:
        if node.op_type == "Gemm" and (len(node.input) < 3 or not node.input[2]):
            name = f"{node.output[0]}_no_bias"
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), name))
            node.input[:] = [*node.input[:2], name]


def write_quantizers(wrapper: Any) -> list[str]:
    """Quant nodes in forms that hls4ml reads, in a cleaned-up qonnx model with its own axes.

    1. constants with a scale per channel or a zero point (`_one_grid`);
    2. activations with a zero point (`_shift_by_zero_point`), which hls4ml ignores.

    Returns:
        Notes for the user: none.

    Raises:
        UnsupportedError: bit widths that are no whole number, or several for one tensor.
    """
    for node in list(wrapper.graph.node):
        if node.op_type == "Quant":
            bits = wrapper.get_initializer(node.input[3])
            fixed = wrapper.get_initializer(node.input[0]) is not None
            if (bits != np.rint(bits)).any():
                raise errors.UnsupportedError(
                    f"Quant {node.name}: bit width {np.unique(bits)[:4].tolist()} must be a whole "
                    "number"
                )
            if np.unique(bits).size == 1:
                wrapper.set_initializer(node.input[3], bits.reshape(-1)[0])
            elif not fixed:
                raise errors.UnsupportedError(
                    f"Quant {node.name}: bit width {np.unique(bits)[:4].tolist()} must be one "
                    "whole number: hls4ml gives all elements of an ONNX tensor one type. A model "
                    "of HGQ2 keeps its formats if the .keras file is compiled"
                )
            if fixed:
                _one_grid(wrapper, node)
            else:
                _shift_by_zero_point(wrapper, node)
    return []


def write_out(wrapper: Any) -> list[str]:
    """Makes explicit, in a model with the firmware's axes, what hls4ml would guess wrongly.

    1. `alpha` of activations that leave it to ONNX's default;
    2. a product with one and the same number (`_scale_as_batchnorm`);
    3. the format of what enters a softmax (`_quantize_softmax_inputs`);
    4. a softmax of rows, where hls4ml's frontend normalizes over all of them (`_softmax_of_rows`).

    Returns:
        Notes for the user on values that this rounds.
    """
    for node in wrapper.graph.node:
        if node.op_type in _ALPHAS and "alpha" not in node_attributes(node):
            node.attribute.append(helper.make_attribute("alpha", _ALPHAS[node.op_type]))
        if node.op_type in ("Div", "Mul"):
            _scale_as_batchnorm(wrapper, node)
    notes = _quantize_softmax_inputs(wrapper)
    _softmax_of_rows(wrapper)
    return notes


def _softmax_of_rows(wrapper: Any) -> None:
    for node in [n for n in wrapper.graph.node if n.op_type == "Softmax"]:
        shape = wrapper.get_tensor_shape(node.output[0])
        if len(shape) > 2:
            rows = int(np.prod(shape[:-1]))
            sizes: dict[str, Any] = {"n_in": rows * int(shape[-1]), "n_outer": rows, "axis": -1}
            layer = layer_node(
                *("Softmax", node.name, list(node.input), node.output[0]),
                activation="softmax",
                **sizes,
            )
            node.CopyFrom(layer)


def _one_grid(wrapper: Any, node: onnx.NodeProto) -> None:
    """Quantized constants with scales, widths or a zero point of their own, on one grid.

    Scales that are powers of two share the finest one, and a Quant node says so; without such a
    grid the constants stay as they are and take the default precision. hls4ml fails on several
    scales and ignores the zero point.
    """
    x, scale, zero, bits = (wrapper.get_initializer(name) for name in node.input)
    if scale.size == 1 and bits.size == 1 and not zero.any():
        return
    values = quantized_values(node, x, scale, zero, bits)
    if (np.frexp(scale)[0] == 0.5).all() and (zero == np.rint(zero)).all():
        step = float(scale.min())
        width = int(np.abs(values / step).max(initial=1)).bit_length() + 1
        quantized = QuantAttributes(signed=True, narrow=False, rounding="ROUND")
        wrapper.set_initializer(node.input[0], values)
        for name, value in zip(node.input[1:], (step, 0.0, width), strict=True):
            wrapper.set_initializer(name, np.array(value, dtype=np.float32))
        fresh = quant_node(node.name, tuple(node.input), node.output[0], quantized)
        fresh.ClearField("overload")
        node.CopyFrom(fresh)
        return
    constant = f"{node.name}_values"
    wrapper.set_initializer(constant, values)
    wrapper.set_tensor_shape(constant, values.shape)
    for consumer in wrapper.find_consumers(node.output[0]):
        for position, name in enumerate(consumer.input):
            if name == node.output[0]:
                consumer.input[position] = constant
    for name in node.input:
        wrapper.del_initializer(name)  # hls4ml fails on constants without a reader
    wrapper.graph.node.remove(node)


def _shift_by_zero_point(wrapper: Any, node: onnx.NodeProto) -> None:
    """A quantized activation with a zero point as Add, Quant with zero point 0, Sub.

    round(clip(x / s + z)) - z is that of (x + z s) / s: exact for a scale that is a power of two
    and a whole z. hls4ml ignores z where all scales are the same power of two and handles others.
    On an input it stays and is refused.

    Raises:
        UnsupportedError: a zero point that is no whole number.
    """
    scale, zero = (wrapper.get_initializer(name) for name in node.input[1:3])
    exponent = power_of_two(scale)
    inputs = [value.name for value in wrapper.graph.input]
    if not zero.any() or exponent is None or node.input[0] in inputs:
        return
    if (zero != np.rint(zero)).any():
        raise errors.UnsupportedError(
            f"Quant {node.name}: zero point {np.unique(zero)[:4].tolist()} of an activation must "
            "be a whole number"
        )
    graph, shape = wrapper.graph, wrapper.get_tensor_shape(node.output[0])
    source, target = node.input[0], node.output[0]
    shifted, quantized = f"{node.name}_shifted", f"{node.name}_centred"
    for name in (shifted, quantized):
        wrapper.set_tensor_shape(name, shape)
    offsets = np.atleast_1d((zero * scale).astype(np.float32))
    width = int(np.abs(zero).max()).bit_length() + 1
    position = list(graph.node).index(node)
    for op, x, y in (("Sub", quantized, target), ("Add", source, shifted)):
        name = f"{node.name}_{op.lower()}"
        constant = f"{name}_values"
        wrapper.set_initializer(constant, offsets.copy())
        wrapper.set_tensor_shape(constant, offsets.shape)
        joining = helper.make_node(op, [x, constant], [y], name=name)
        graph.node.insert(position + (op == "Sub"), joining)
        joining = graph.node[position + (op == "Sub")]  # what was inserted is a copy
        # a format of their own, or the default precision may not hold them
        _insert_quant(wrapper, joining, f"{name}_grid", width, width + exponent, 1)
    node.input[0], node.output[0] = shifted, quantized
    wrapper.set_initializer(node.input[2], np.zeros_like(zero))


def _scale_as_batchnorm(wrapper: Any, node: onnx.NodeProto) -> None:
    """The same product as a BatchNormalization, which hls4ml folds into the layer before it.

    hls4ml fails on a uniform scale that it tries to move behind the next layer (move_scales.py,
    ScaleDownMatMul: it passes a NamedType as a precision).
    """
    constant = [wrapper.get_initializer(name) is not None for name in node.input]
    if not any(constant):
        return
    position = constant.index(True)
    values, x = wrapper.get_initializer(node.input[position]), node.input[1 - position]
    if values.ndim != 1 or (values != values[0]).any() or not values[0]:
        return
    scale = values if node.op_type == "Mul" else (1 / values.astype(np.float64)).astype(np.float32)
    wrapper.del_initializer(node.input[position])  # hls4ml fails on a constant without a reader
    operands = {"scale": scale, "bias": 0 * scale, "mean": 0 * scale, "variance": 0 * scale + 1}
    for name, numbers in operands.items():
        wrapper.set_initializer(f"{node.name}_{name}", numbers)
        wrapper.set_tensor_shape(f"{node.name}_{name}", numbers.shape)
    del node.input[:]
    node.input.extend([x, *(f"{node.name}_{name}" for name in operands)])
    node.op_type = "BatchNormalization"
    node.attribute.append(helper.make_attribute("epsilon", 0.0))


def _quantize_softmax_inputs(wrapper: Any) -> list[str]:
    """Softmax inputs in types that hls4ml's stable softmax can address and cannot overflow.

    Its table has 1024 entries for (maximum - x), in a type of one integer bit less than x's
    (core_templates.py, SoftmaxConfigTemplate). So the type of x must be narrow, or most of the
    table stands for values that never come, and hold twice the range of the values, or the
    difference wraps. Values without a quantizer are rounded to `SOFTMAX_BITS`; the type is one bit
    wider than the values in it, unless the model itself has a second, wider Quant.
    """
    notes = []
    for node in [n for n in wrapper.graph.node if n.op_type == "Softmax"]:
        grid = _quant_grid(wrapper, _producer(wrapper, node.input[0]))
        if grid is None:
            signed = QuantAttributes(signed=True, narrow=False, rounding="ROUND")
            grid = QuantGrid(signed, SOFTMAX_BITS, SOFTMAX_INTEGER)
            _insert_quant(wrapper, node, f"{node.name}_rounded", SOFTMAX_BITS, SOFTMAX_INTEGER)
            notes.append(
                f"the input of softmax {node.name} has no quantizer: rounded to "
                f"ap_fixed<{SOFTMAX_BITS},{SOFTMAX_INTEGER},RND_CONV,SAT>"
            )
        wide = grid.width + 1, grid.integer + 1
        producer = _producer(wrapper, node.input[0])
        before = producer and _quant_grid(wrapper, _producer(wrapper, producer.input[0]))
        widened = before and (before.width + 1, before.integer + 1) == (grid.width, grid.integer)
        if grid.attributes.signed and not widened:
            _insert_quant(wrapper, node, f"{node.name}_widened", *wide)
    return notes


def _producer(wrapper: Any, tensor: str) -> onnx.NodeProto | None:
    """The node that makes the numbers of a tensor, which others may only have moved."""
    node = wrapper.find_producer(tensor)
    while node is not None and node.op_type in ("Transpose", "hls4ml.Reshape"):
        node = wrapper.find_producer(node.input[0])
    return node  # type: ignore[no-any-return]


def _quant_grid(wrapper: Any, node: onnx.NodeProto | None) -> QuantGrid | None:
    if node is None or node.op_type != "Quant":
        return None
    return grid_of(node, *(wrapper.get_initializer(name) for name in node.input[1:4]))


def _insert_quant(
    wrapper: Any, node: onnx.NodeProto, name: str, bits: int, integer: int, operand: int = 0
) -> None:
    source, shape = node.input[operand], wrapper.get_tensor_shape(node.input[operand])
    operands = [f"{name}_{part}" for part in ("scale", "zeropt", "bits")]
    for part, value in zip(operands, (2.0 ** (integer - bits), 0.0, bits), strict=True):
        wrapper.set_initializer(part, np.array(value, dtype=np.float32))
    attributes = QuantAttributes(signed=True, narrow=False, rounding="ROUND")
    quant = quant_node(name, (source, *operands), f"{name}_out", attributes)
    quant.ClearField("overload")
    if all(item.domain != DOMAIN for item in wrapper.model.opset_import):
        wrapper.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    wrapper.graph.node.insert(list(wrapper.graph.node).index(node), quant)
    wrapper.set_tensor_shape(f"{name}_out", shape)
    node.input[operand] = f"{name}_out"


def name_inputs(wrapper: Any, names: list[str]) -> dict[str, str]:
    """Gives the inputs of a cleaned-up model names that are safe in hls4ml's C++.

    hls4ml writes an input's name as a C++ variable, beside its own `w2`, `layer2_out`, `input_t`,
    `myproject` and the macros of the headers. Nothing of these begins with `in_`.

    Args:
        names: the names the model gave its inputs, in order.

    Returns:
        The model's name by safe name, in order.
    """
    own: dict[str, str] = {}
    for value, wanted in zip(list(wrapper.graph.input), names, strict=True):
        name = "in_" + re.sub(r"\W", "_", wanted, flags=re.ASCII)
        while name in own:
            name += "_"
        own[name] = wanted
        wrapper.rename_tensor(value.name, name)
    return own


def output_order(wrapper: Any) -> list[int]:
    """For every output of the model, its position among hls4ml's, which follow the nodes."""
    outputs = [value.name for value in wrapper.graph.output]
    found = [node.output[0] for node in wrapper.graph.node if node.output[0] in outputs]
    return [found.index(name) for name in outputs]
