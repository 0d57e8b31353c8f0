"""Operators on sequences, and between two computed tensors, as layers of hls4ml.

1. LSTM, GRU and RNN (`recurrent`).
2. Split, and Gather of constant places, are Slices; elements of an axis in another order or several
   times (Gather, Slice, Tile), or with zeros in between (ConvTranspose), are a product with a
   matrix of 0 and 1.
3. Gather from a constant table is an Embedding.
4. MatMul and Einsum of two computed tensors are hls4ml's Einsum.
5. LayerNormalization over the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from samebits import errors

from ..quant import DOMAIN, QuantAttributes, quant_node
from .nodes import Check, any_use, layer_node, node_attributes
from .recurrent import CELLS, check_recurrent, write_recurrent
from .storage import exact_format
from .writer import Writer, moved, picked

__all__ = ["CHECKS", "write_sequences"]

_MOVING_THE_BATCH = "moves the batch axis"


def write_sequences(wrapper: Any) -> list[str]:
    """Rewrites what hls4ml's frontend does not have, in a cleaned-up qonnx model with its own axes.

    Returns:
        Notes for the user.

    Raises:
        UnsupportedError: every node that hls4ml's layers cannot express, by name and reason.
    """
    if not any(node.op_type in _RULES for node in wrapper.graph.node):
        return []
    writer, refused = Writer(wrapper), []
    for node in writer.old:
        if writer.is_written(node):
            continue
        try:
            _RULES.get(node.op_type, _as_it_is)(writer, node)
        except errors.UnsupportedError as error:
            refused.append(f"{node.op_type} ({node.name}: {error})")
    if refused:
        raise errors.UnsupportedError(f"unsupported operators: {'; '.join(refused)}")
    writer.finish()
    notes = []
    for node in wrapper.graph.node:
        if node.op_type == "Transpose":
            perm = node_attributes(node).get("perm")
            if perm is None or perm[0]:
                how = "without perm" if perm is None else f"perm={list(perm)}"
                refused.append(f"Transpose ({node.name}: {how} {_MOVING_THE_BATCH})")
        if node.op_type == "hls4ml.LayerNormalization":
            notes.append(
                f"layer normalization {node.name}: hls4ml's table of 1 / sqrt ends at a variance "
                "of 1; larger ones count as 1"
            )
    if refused:
        raise errors.UnsupportedError(f"unsupported operators: {'; '.join(refused)}")
    return notes


def _as_it_is(writer: Writer, node: onnx.NodeProto) -> None:
    writer.write(node)


def _parts(writer: Writer, node: onnx.NodeProto) -> None:
    """Split, Gather of constant places, Slice: written again as numbers that move."""
    x = node.input[0]
    if node.op_type == "Gather" and writer.is_constant(x):
        _embedding(writer, node)
        return
    rank = len(writer.shapes[x])
    if node.op_type == "Slice" and rank > 2:
        parts = writer.parts(node, rank)
        if all(part.step in (1, None) for part in parts):
            writer.write(node)
            return
    shape = writer.shapes[x]
    results = writer.results(node, np.arange(np.prod(shape)).reshape(shape))
    if results is None:
        raise errors.UnsupportedError("takes places that are computed")
    for name, places in results.items():
        if name not in writer.readers and name not in writer.outputs:
            continue
        base = f"{node.name}_{name}"
        try:
            moved(writer, x, places, base, name)
        except errors.UnsupportedError:
            source, axis, chosen = _chosen(writer, node, rank)
            y = picked(writer, source, axis, chosen, base)
            writer.reshape(y, writer.shapes[name], f"{base}_shape", name)


def _chosen(writer: Writer, node: onnx.NodeProto, rank: int) -> tuple[str, int, Any]:
    """The axis along which a Gather or Slice takes elements, and which ones.

    Raises:
        UnsupportedError: it is the batch axis, or there are several.
    """
    x = node.input[0]
    if node.op_type == "Gather":
        axis = node_attributes(node).get("axis", 0) % rank
        size = writer.shapes[x][axis]
        chosen = writer.value(node.input[1]).reshape(-1) % size
        axes = [axis]
    else:
        parts = writer.parts(node, rank)
        axes = [axis for axis, part in enumerate(parts) if part != slice(None)]
        chosen = np.arange(writer.shapes[x][axes[0]])[parts[axes[0]]]
    if len(axes) != 1 or axes[0] == 0:
        raise errors.UnsupportedError("takes other numbers than a part of the axes")
    return x, axes[0], chosen


def _embedding(writer: Writer, node: onnx.NodeProto) -> None:
    """Rows of a table; the index gets the integer type that counts the rows."""
    table, (places, y) = writer.value(node.input[0]), (node.input[1], node.output[0])
    axis = node_attributes(node).get("axis", 0)
    if table.ndim != 2 or axis != 0:
        raise errors.UnsupportedError(
            f"takes from a constant of shape {list(table.shape)} along axis {axis}; supported are "
            "rows of a table"
        )
    maker = writer.makers.get(places)
    if maker is not None and maker.op_type == "Cast":
        places = maker.input[0]
    shape = writer.shapes[places]
    if len(shape) != 2:
        raise errors.UnsupportedError(
            f"its places have shape {list(shape[1:])}; hls4ml's Embedding takes one axis"
        )
    rows, columns = table.shape
    bits = max(2, int(rows - 1).bit_length())
    index = writer.fresh(f"{node.name}_index")
    operands = [
        writer.constant(f"{index}_{role}", np.asarray(value, np.float32))
        for role, value in (("scale", 1.0), ("zeropt", 0.0), ("bits", bits))
    ]
    # a Cast drops the fraction, as FLOOR does with what is not negative
    attributes = QuantAttributes(signed=False, narrow=False, rounding="FLOOR")
    scale, zero, width = operands
    quant = quant_node(f"{index}_quant", (places, scale, zero, width), index, attributes)
    quant.ClearField("overload")
    if all(item.domain != DOMAIN for item in writer.wrapper.model.opset_import):
        writer.wrapper.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    writer.write(quant, shape)
    text = exact_format(table)
    layer = layer_node(
        *("Embedding", node.name, [index], y),
        precision={} if text is None else {"embeddings": text, "result": text},
        n_in=shape[1],
        n_out=columns,
        vocab_size=rows,
        embeddings_data=table.astype(np.float32),
    )
    writer.write(layer, (*shape, columns))


def _cast(writer: Writer, node: onnx.NodeProto) -> None:
    """A Cast of places is part of the Embedding that reads them."""
    readers = writer.readers.get(node.output[0], [])
    if any(r.op_type != "Gather" or r.input[1] != node.output[0] for r in readers):
        raise errors.UnsupportedError("makes numbers of another type; supported before a Gather")
    writer.makers[node.output[0]] = node


def _matmul(writer: Writer, node: onnx.NodeProto) -> None:
    """Of two computed tensors an Einsum; of a constant and a tensor with the tensor first."""
    (left, right), y = node.input, node.output[0]
    if writer.is_constant(right):
        writer.write(node)
        return
    if writer.is_constant(left):
        _constant_first(writer, node)
        return
    shapes = [writer.shapes[name] for name in (left, right)]
    rank = len(shapes[0])
    if rank != len(shapes[1]) or rank < 3 or shapes[0][:-2] != shapes[1][:-2]:
        raise errors.UnsupportedError(
            f"multiplies events of shapes {list(shapes[0][1:])} and {list(shapes[1][1:])}; "
            "supported are matrices, and equally many of them"
        )
    common = "efgh"[: rank - 3]
    _einsum_layer(writer, node, f"{common}ab,{common}bc->{common}ac", writer.shapes[y])


def _constant_first(writer: Writer, node: onnx.NodeProto) -> None:
    """C x = (x^T C^T)^T."""
    left, right = node.input
    matrix, shape = writer.value(left), writer.shapes[right]
    if matrix.ndim != 2 or len(shape) != 3:
        raise errors.UnsupportedError(
            f"multiplies a constant of shape {list(matrix.shape)} with events of shape "
            f"{list(shape[1:])}; supported are two matrices"
        )
    perm = [0, 2, 1]
    turned = (1, shape[2], shape[1])
    x = writer.add("Transpose", [right], turned, f"{node.name}_turned", perm=perm)
    weight = writer.weight(f"{node.name}_matrix", matrix.T)
    made = (1, shape[2], matrix.shape[0])
    x = writer.add("MatMul", [x, weight], made, f"{node.name}_product")
    shape = (1, matrix.shape[0], shape[2])
    writer.add("Transpose", [x], shape, f"{node.name}_back", node.output[0], perm=perm)


def _einsum(writer: Writer, node: onnx.NodeProto) -> None:
    """Of two computed tensors, or of one and a matrix over the last axis."""
    equation = node_attributes(node)["equation"].decode().replace(" ", "")
    if len(node.input) != 2 or "->" not in equation or "." in equation:
        raise errors.UnsupportedError(
            f"equation {equation!r}: supported are two operands, with -> and without ..."
        )
    terms, result = equation.split("->")
    left, right = terms.split(",")
    if writer.is_constant(node.input[1]):
        _einsum_dense(writer, node, left, right, result)
        return
    if writer.is_constant(node.input[0]):
        raise errors.UnsupportedError("its first operand is constant; exchange the two")
    batch = left[0]
    if right[0] != batch or result[0] != batch or batch in left[1:] + right[1:] + result[1:]:
        raise errors.UnsupportedError(
            f"equation {equation!r} does not keep the first axis, the events, apart"
        )
    for term in (left, right, result):
        if len(set(term)) != len(term):
            raise errors.UnsupportedError(f"equation {equation!r} takes a diagonal")
    shape = writer.shapes[node.output[0]]
    _einsum_layer(writer, node, f"{left[1:]},{right[1:]}->{result[1:]}", shape)


def _einsum_layer(
    writer: Writer, node: onnx.NodeProto, equation: str, shape: tuple[int, ...]
) -> None:
    shapes = [list(writer.shapes[name][1:]) for name in node.input]
    layer = layer_node(
        *("Einsum", node.name, list(node.input), node.output[0]),
        equation=equation,
        inp0_shape=shapes[0],
        inp1_shape=shapes[1],
        out_shape=list(shape[1:]),
    )
    writer.write(layer, shape)


def _einsum_dense(writer: Writer, node: onnx.NodeProto, left: str, right: str, result: str) -> None:
    """x (..., k) times a constant (k, n), each group of axes flattened: a MatMul."""
    shared = [axis for axis in left if axis in right]
    kept = left[: len(left) - len(shared)]
    new = [axis for axis in right if axis not in shared]
    if left != kept + "".join(shared) or result != kept + "".join(new) or not shared:
        raise errors.UnsupportedError(
            f"equation {left},{right}->{result} with a constant: supported are sums over the last "
            "axes of the tensor, with the constant's axes behind the rest"
        )
    values = writer.value(node.input[1])
    sizes = dict(zip(right, values.shape, strict=True))
    order = [right.index(axis) for axis in (*shared, *new)]
    inner = math.prod(sizes[axis] for axis in shared)
    matrix = values.transpose(order).reshape(inner, -1)
    head = writer.shapes[node.input[0]][: len(kept)]
    x = writer.reshape(node.input[0], (*head, inner), f"{node.name}_rows")
    weight = writer.weight(f"{node.name}_matrix", matrix)
    flat = (*head, matrix.shape[1])
    product = writer.add("MatMul", [x, weight], flat, f"{node.name}_product")
    writer.reshape(product, writer.shapes[node.output[0]], node.name, node.output[0])


def _layer_normalization(writer: Writer, node: onnx.NodeProto) -> None:
    """Over the last axis of (rows, features)."""
    given, x, y = node_attributes(node), node.input[0], node.output[0]
    shape = writer.shapes[x]
    axis = given.get("axis", -1) % len(shape)
    if axis != len(shape) - 1 or len(shape) not in (2, 3):
        raise errors.UnsupportedError(
            f"axis={given.get('axis', -1)} of events of shape {list(shape[1:])}: supported is the "
            "last axis of one or two"
        )
    power = -math.log10(float(given.get("epsilon", 1e-5)))
    if abs(power - round(power)) > 1e-6 or round(power) < 1:
        raise errors.UnsupportedError(
            f"epsilon={given.get('epsilon', 1e-5):g}: hls4ml has 0.1, 0.01, 0.001, ..."
        )
    features = shape[-1]
    names = [*node.input[1:], "", ""][:2]
    scale, bias = (
        np.broadcast_to(writer.value(name), (features,)) if name else np.full(features, default)
        for name, default in zip(names, (1.0, 0.0), strict=True)
    )
    precision = {
        key: text
        for key, values in (("scale", scale), ("bias", bias))
        if (text := exact_format(values)) is not None
    }
    # hls4ml's own type of the table has 3 fraction bits
    largest = math.ceil(math.log2(10 ** (round(power) / 2))) + 1
    precision["table"] = f"ufixed<18,{largest},RND,SAT>"
    layer = layer_node(
        *("LayerNormalization", node.name, [x], y),
        precision=precision,
        n_in=int(np.prod(shape[1:])),
        n_out=int(np.prod(shape[1:])),
        seq_len=shape[1] if len(shape) == 3 else 1,
        axis=2,
        epsilon_power_of_10=round(power),
        gamma_data=np.asarray(scale, np.float32),
        beta_data=np.asarray(bias, np.float32),
    )
    writer.write(layer, shape)


def _tile(writer: Writer, node: onnx.NodeProto) -> None:
    """Axes repeated: elements of an axis several times."""
    (x, repeats), y = node.input, node.output[0]
    counts = [int(count) for count in writer.value(repeats).reshape(-1)]
    if counts[0] != 1:
        raise errors.UnsupportedError("repeats events")
    for axis, count in enumerate(counts):
        if count > 1:
            places = np.tile(np.arange(writer.shapes[x][axis]), count)
            x = picked(writer, x, axis, places, f"{node.name}_{axis}")
    writer.reshape(x, writer.shapes[x], f"{node.name}_same", y)


def _conv_transpose(writer: Writer, node: onnx.NodeProto) -> None:
    """A convolution of x with zeros around and between its numbers, which a matrix of 0 and 1 puts
    there axis by axis, with the window from its end."""
    given, (x, weights) = node_attributes(node), node.input[:2]
    kernel, shape = writer.value(weights), list(writer.shapes[x])
    rank = kernel.ndim - 2
    ones = [1] * rank
    pads, strides = given.get("pads", [0] * 2 * rank), given.get("strides", ones)
    odd = given.get("group", 1) != 1 or list(given.get("dilations", ones)) != ones
    if odd or given.get("auto_pad", b"NOTSET") != b"NOTSET" or rank not in (1, 2):
        raise errors.UnsupportedError("has groups, dilations, auto_pad or three dimensions")
    for place in range(rank):
        axis, size, width = place + 2, shape[place + 2], kernel.shape[place + 2]
        wanted = writer.shapes[node.output[0]][axis] + width - 1
        matrix = np.zeros((size, wanted), np.float32)
        for position in range(size):
            target = position * strides[place] + width - 1 - pads[place]
            if 0 <= target < wanted:
                matrix[position, target] = 1
        x = writer.times(x, axis, matrix, f"{node.name}_spread{place}")
    flipped = np.flip(kernel, tuple(range(2, rank + 2))).swapaxes(0, 1)
    operands = [x, writer.weight(f"{node.name}_window", flipped), *node.input[2:]]
    settings: dict[str, Any] = {
        "kernel_shape": list(kernel.shape[2:]),
        "pads": [0] * 2 * rank,
        "group": 1,
    }
    writer.add(
        *("Conv", operands, writer.shapes[node.output[0]], node.name, node.output[0]),
        strides=ones,
        dilations=ones,
        **settings,
    )


def _constant_rest(node: onnx.NodeProto, constants: set[str]) -> str:
    known = all(name in constants for name in node.input[1:] if name)
    return "" if known else "all inputs but the first must be constant"


def _gather(node: onnx.NodeProto, constants: set[str]) -> str:
    if any(name in constants for name in node.input):
        return ""
    return "takes computed places of a computed tensor; one of the two must be constant"


def _normalization(node: onnx.NodeProto, constants: set[str]) -> str:
    if len([name for name in node.output if name]) > 1:
        return "its mean and deviation are read; supported is its first output"
    return _constant_rest(node, constants)


CHECKS: dict[str, Check] = {
    **dict.fromkeys(CELLS, check_recurrent),
    **dict.fromkeys(("ConvTranspose", "Slice", "Split", "Tile"), _constant_rest),
    **dict.fromkeys(("Cast", "Einsum", "MatMul", "Transpose"), any_use),
    "Gather": _gather,
    "LayerNormalization": _normalization,
}
_RULES: dict[str, Callable[[Writer, onnx.NodeProto], None]] = {
    **dict.fromkeys(CELLS, write_recurrent),
    **dict.fromkeys(("Gather", "Slice", "Split"), _parts),
    "Cast": _cast,
    "Einsum": _einsum,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "ConvTranspose": _conv_transpose,
    "Tile": _tile,
}
