"""A quantized model with other widths: Quant nodes of as many bits as wanted, their ranges kept."""

from __future__ import annotations

import numpy as np
import onnx

from samebits import errors

from .constants import Names, add_constant, constants_of, drop_unused, fold_constants
from .file import runnable
from .qdq import to_qonnx
from .writer import MOVES

__all__ = ["between_products", "rewidth"]

_PRODUCTS = ("Conv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN")


def rewidth(model: onnx.ModelProto, bits: int) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model with `bits` bits for weights, biases and what layers hand to each other.

    A quantizer keeps its range (the integer bits) and its rounding; its step becomes finer or
    coarser. Kept as they are: quantizers of what comes before the first product (the input's
    format, its scaling) and of what goes to no further product (the final scores). Nothing is
    trained again.

    Returns:
        The model, which ONNX Runtime runs, and the names of the quantizers with other widths.

    Raises:
        UnsupportedError: a zero point that is not 0, which ties the step to the range; no quantizer
            to change.
    """
    fresh, _ = to_qonnx(model)  # what it refuses, compiling refuses too
    fold_constants(fresh)
    graph, constants = fresh.graph, constants_of(fresh)
    chosen = between_products(graph)
    if not chosen:
        raise errors.UnsupportedError(
            "width: the model has no quantizer of weights or of what one layer hands to the next; "
            "a float model is quantized with data: --calibrate"
        )
    shifted = [n.name or n.output[0] for n in chosen if np.any(constants.get(n.input[2], 1))]
    if shifted:
        raise errors.UnsupportedError(
            "width: quantizers with a zero point other than 0 cannot be rounded to another width: "
            f"{', '.join(shifted[:5])}{', ...' if len(shifted) > 5 else ''}; export the model with "
            "symmetric quantizers"
        )
    names, changed = Names(fresh), []
    for node in chosen:
        scale, width = constants[node.input[1]], constants[node.input[3]]
        if np.all(width == bits):
            continue
        # exact: a power of two times a float32
        step = scale * np.exp2(width - np.float32(bits))
        for position, values in ((1, step), (3, bits)):
            name = names.fresh(f"{node.input[position]}_{bits}")
            add_constant(fresh, name, values)
            node.input[position] = name
        changed.append(node.name or node.output[0])
    drop_unused(fresh)
    return runnable(fresh.SerializeToString()), tuple(changed)


def between_products(graph: onnx.GraphProto, *, scaled: bool = False) -> list[onnx.NodeProto]:
    """The quantizers of constants from the first product on, and of data between two products.

    `scaled`: also those of computed data before the first product, such as scaled inputs.
    """
    constants = {tensor.name for tensor in graph.initializer}
    fixed, after = set(constants), set[str]()
    for node in graph.node:
        given = [name for name in node.input if name]
        if all(name in fixed for name in given):
            fixed.update(node.output)
        elif node.op_type in _PRODUCTS or after.intersection(given):
            after.update(node.output)
    computed = set(after)
    if scaled:
        raw = {value.name for value in graph.input} - constants  # the input, moved and quantized
        for node in graph.node:
            moving = {name for name in node.input if name} - fixed
            if moving and moving <= raw and node.op_type in (*MOVES, "Quant"):
                raw.update(node.output)
            elif moving:
                computed.update(node.output)
    before: set[str] = set()  # what a product is computed from
    joined: set[str] = set()  # what is joined with the result of a product, or enters one
    for node in reversed(graph.node):
        product = node.op_type in _PRODUCTS
        if product or before.intersection(node.output):
            before.update(node.input)
        if product or after.intersection(node.output) or joined.intersection(node.output):
            joined.update(name for name in node.input if name in fixed)
    return [
        node
        for node in graph.node
        if node.op_type == "Quant"
        and (
            node.output[0] in joined
            if node.output[0] in fixed
            else node.output[0] in computed and node.output[0] in before
        )
    ]
