"""How far Keras and ONNX Runtime can be apart on an exported graph.

Both compute in float32. A result is the same on both, whatever the order of summation, if every
product and every partial sum is a multiple of 2^e below 2^(24+e): then nothing is ever rounded. The
proof walks the ONNX graph with the step (exponent e) and the largest magnitude of every channel.

Where an operation may round, the difference is bounded instead: n roundings on either side, each of
at most 2^-24 of the sum of magnitudes, and what the operands' differences become. Two things are
assumed: convolutions are computed directly (no Winograd or Fourier transforms), and exp, tanh and
their like are off by at most `FUNCTION_ERROR` of their value. Overflow and subnormal numbers are
outside.

Source of the summation bound: N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
equation 3.5.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .. import quant
from .quantizers import HARD_TANH
from .rules import (
    FINEST,
    FLOAT32_BITS,
    FUNCTION_ERROR,
    RULES,
    Node,
    Proof,
    relative_error,
    rounded,
    unknown,
)
from .sequence_rules import SEQUENCE_RULES
from .steps import LOGARITHM

__all__ = ["Proof", "prove"]

_RULES = {**RULES, **SEQUENCE_RULES}

_SIGN = Proof(True, "sign of a sum", np.zeros(1, np.int64), np.ones(1), np.zeros(1))


def prove(
    onnx_model: onnx.ModelProto,
    largest_input: float,
    caveats: Mapping[str, str] | None = None,
    deviations: Mapping[str, float] | None = None,
) -> dict[str, Proof]:
    """What is provable of every tensor for inputs of at most `largest_input` in magnitude.

    Args:
        caveats: tensors that Keras computes with other roundings, and why.
        deviations: constants of Keras that are this far from the file's.
    """
    caveats, deviations = caveats or {}, deviations or {}
    shapes = _shapes(onnx_model)
    constants = {item.name: numpy_helper.to_array(item) for item in onnx_model.graph.initializer}
    known = {name: Proof.of(value) for name, value in constants.items()}
    for graph_input in onnx_model.graph.input:
        ones = (1,) * len(shapes[graph_input.name])
        known[graph_input.name] = Proof(
            True,
            "raw input",
            np.full(ones, FINEST, np.int64),
            np.full(ones, largest_input),
            np.zeros(ones),
        )
    sums: dict[str, list[Proof]] = {}
    for proto in onnx_model.graph.node:
        operands = [known[name] for name in proto.input if name]
        name = proto.output[-1]  # of a recurrent operator the one that is read
        node = Node(
            proto.op_type,
            {item.name: helper.get_attribute_value(item) for item in proto.attribute},
            [constants.get(one) for one in proto.input],
            [shapes.get(one, ()) for one in proto.input],
            shapes.get(name, ()),
            list(proto.input),
        )
        if proto.op_type == quant.OPERATOR:
            attributes = quant.attributes_of(proto)
            added = sums.get(proto.input[0], [])
            if _asks_for_sign(attributes, node) and added and all(p.exact for p in added):
                operands[0] = _SIGN  # of a rounded sum: that of the exact one
            proof = _quant(attributes, node, operands)
        else:
            proof = _RULES.get(proto.op_type, unknown)(node, operands)
        if name in deviations and proof.exact:
            proof = proof.lost(
                f"constant {name} differs from Keras's in the last place", deviations[name]
            )
        if name in caveats:
            if caveats[name] == LOGARITHM:
                proof = _next_to_a_tie(proof, *sums[proto.input[0]])
            else:
                proof = _other_roundings(caveats[name], proof, operands[0])
        if proto.op_type == "Add":
            sums[name] = operands
        elif proto.op_type == "Relu" or (proto.op_type == "Mul" and operands[1].is_constant):
            sums[name] = sums.get(proto.input[0], [])  # it has the sum's sign, or the other
        known[name] = proof
    return known


def _asks_for_sign(attributes: quant.QuantAttributes, node: Node) -> bool:
    bits, scale = node.constants[3], node.constants[1]
    return attributes.narrow and attributes.rounding == "FLOOR" and bits == 2 and scale == 1


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Without the batch axis, which is the symbolic one, or else the first."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    shapes = {}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        sizes = list(value.type.tensor_type.shape.dim)
        symbols = [size.dim_param for size in sizes]
        if sizes:
            sizes.pop(symbols.index(batch) if batch and batch in symbols else 0)
        shapes[value.name] = tuple(size.dim_value for size in sizes)
    return shapes


def _other_roundings(caveat: str, proof: Proof, source: Proof) -> Proof:
    if caveat == HARD_TANH:
        if source.exponent.min() >= 1 - FLOAT32_BITS or not proof.exact:
            return proof
        # a value near a tie may fall to the other side of it
        return proof.lost(
            f"{HARD_TANH}, which rounds inputs finer than 2^-23", np.exp2(proof.exponent)
        )
    if proof.exact or proof.largest_error == 0:
        # a few more roundings of numbers not above twice these
        return proof.lost(caveat, 8 * relative_error(1) * (proof.bound + source.bound.max()))
    return proof.lost(caveat, 4 * proof.error)


def _next_to_a_tie(proof: Proof, x: Proof, tie: Proof) -> Proof:
    """A step of a rounded logarithm: proved if no x is as near as the logarithm may be wrong.

    x is a multiple of its step, so that its two neighbours of the tie say how near it comes.
    """
    start, step = tie.bound, np.exp2(x.exponent.astype(np.float64))
    wrong = start * FUNCTION_ERROR * (2 + 2 * np.abs(np.log(start)))
    below = np.floor(start / step) * step
    near = np.minimum(start - below, below + step - start) <= wrong
    far = x.bound >= start * 2.0**FLOAT32_BITS  # x + (q - x) is not q
    if proof.exact and np.any(near | far):
        return proof.lost(LOGARITHM, np.ones(1))
    return proof


def _quant(attributes: quant.QuantAttributes, node: Node, operands: list[Proof]) -> Proof:
    x = operands[0]
    scale, zeropt, bits = (np.asarray(value) for value in node.constants[1:])
    if node.constants[0] is not None and not np.any(zeropt):
        return x  # a constant on the grid is unchanged
    if np.any(np.frexp(scale)[0] != 0.5) or np.any(zeropt):
        return unknown(node, [x.lost("Quant with a scale that is no power of two")])
    step = scale.astype(np.float64)
    reach = 2.0 ** (float(bits) - attributes.signed) * step
    bound = np.minimum(reach, x.bound + step)
    exponent = np.broadcast_to(np.log2(step), bound.shape).astype(np.int64)
    if x.exact and bool(np.all(x.bound < 2.0**FLOAT32_BITS * step)):
        return rounded("Quant", [], exponent, bound, 0, 0)
    reason = x.reason if not x.exact else f"values from 2^{FLOAT32_BITS} steps of a quantizer up"
    # rounding moves two numbers apart to the next whole number of steps at most
    error = np.minimum(np.ceil(x.error / step) * step + (x.exact * step), 2 * reach)
    return Proof(False, reason, np.full(1, FINEST), bound, error)
