"""Bit operations: against sums written out over every single multiplication."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from samebits import Design
from samebits.bit_operations import bit_operations, effective_bits, products, total
from samebits.compile.ir import Format, Graph, Layer, Node, Tensor
from samebits.sections import layer_facts

from ..models import quantized_mlp


def digits(value: int) -> int:
    """From the highest to the lowest 1, read off the binary digits."""
    return len(bin(abs(value))[2:].strip("0"))


def test_bits_of_constants() -> None:
    values = [*range(-70, 70), 1 << 40, -(3 << 30), (1 << 53) - 1]
    assert effective_bits(np.array(values)).tolist() == [digits(v) for v in values]
    large = [1 << 200, 5 << 90, -(1 << 62) - 1]
    assert effective_bits(np.array(large, dtype=object)).tolist() == [1, 3, 63]
    edge = [-(1 << 63), (1 << 63) - 1, 0]
    assert effective_bits(np.array(edge)).tolist() == [1, 63, 0]


def product_graph(op: str, left: tuple[int, ...], right: tuple[int, ...], constant: Any) -> Graph:
    shape = np.broadcast_shapes(left, right)
    out = shape if op == "mul" else shape[1:]
    tensors = {
        "x": Tensor("x", left, Format(True, 7, 3)),
        "w": Tensor("w", right, Format(False, 5, 0)),
        "d/y": Tensor("d/y", out, Format(True, 12, 3)),
    }
    inputs = ("x",) if constant is not None else ("x", "w")
    constants = {} if constant is None else {"w": constant}
    layers = (Layer("d", "Dense", "d/y"),)
    return Graph(inputs, ("d/y",), (Node(op, ("x", "w"), "d/y"),), tensors, constants, layers)


@pytest.mark.parametrize(
    ("op", "left", "right"),
    [("dot", (9, 10, 1), (9, 1, 4)), ("dot", (3, 1), (3, 2)), ("mul", (4, 5), (1, 5))],
)
@pytest.mark.parametrize("fixed", [True, False])
def test_against_every_multiplication(
    op: str, left: tuple[int, ...], right: tuple[int, ...], fixed: bool, rng: np.random.Generator
) -> None:
    weights = rng.integers(-6, 7, right)
    (found,) = bit_operations(product_graph(op, left, right, weights if fixed else None))
    shape = np.broadcast_shapes(left, right)
    wide = np.broadcast_to(weights, shape)
    places = list(itertools.product(*map(range, shape)))
    own = [digits(int(wide[place])) if fixed else 5 for place in places]
    assert (found.layer, found.kind) == ("d", "Dense")
    assert found.multiplications == len(places)
    assert found.nonzero == sum(bits > 0 for bits in own)
    assert found.ebops == sum(7 * bits for bits in own)
    added = math.log2(shape[0]) if op == "dot" else 0
    assert found.bops == pytest.approx(len(places) * (7 * 5 + 7 + 5 + added))


def test_layers_of_a_network() -> None:
    design = Design.from_onnx(quantized_mlp().model())
    found = bit_operations(design.graph)
    dense = [one for one in found if one.kind == "Dense"]
    assert [one.multiplications for one in dense] == [4 * 6, 6 * 3]
    weights = [
        design.graph.constants[product.operands[1]]
        for product in products(design.graph)
        if product.node.op == "dot"
    ]
    widths = [8, 6]
    assert [one.ebops for one in dense] == [
        width * sum(digits(int(v)) for v in w.flat)
        for width, w in zip(widths, weights, strict=True)
    ]
    assert total(found).ebops == sum(one.ebops for one in found)
    facts = {row.name: row for row in layer_facts(design.graph)}
    assert [facts[one.layer].ebops for one in found] == [one.ebops for one in found]
    assert all(facts[name].ebops is None for name in facts if "Relu" in name)
