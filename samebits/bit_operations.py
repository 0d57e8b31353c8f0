"""Bit operations of a fixed-point graph: how many bits of multipliers a network needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits.compile.ir import Graph, Node

__all__ = [
    "LayerOperations",
    "Product",
    "bit_operations",
    "ebops_of_model",
    "effective_bits",
    "product_of",
    "products",
    "total",
]

_PRODUCTS = ("dot", "truncated_dot", "mul")


@dataclass(frozen=True, slots=True)
class LayerOperations:
    """The products of one layer.

    Args:
        multiplications: all of one event; `nonzero` those whose constant is not 0.
        bops: sum over the products of m n (b_a b_w + b_a + b_w + log2 n), for m sums of n products
            of b_a-bit with b_w-bit numbers: a multiplier of b_a b_w bits, and an addition as wide
            as the sum. Source: Baskin et al., UNIQ, arXiv:1804.10969, section 4.2.
        ebops: sum of b_i b_j over the multiplications; of a constant only the bits from its highest
            to its lowest 1 count, so that 0 costs nothing. Source: Sun et al., HGQ,
            arXiv:2405.00645, equation 5.
    """

    layer: str
    kind: str
    multiplications: int
    nonzero: int
    bops: float
    ebops: int


@dataclass(frozen=True, slots=True)
class Product:
    """One operation that multiplies.

    Args:
        shape: of all multiplications of an event, as the operands broadcast.
        length: how many products each sum has.
        operands: the two tensors.
    """

    node: Node
    shape: tuple[int, ...]
    length: int
    operands: tuple[str, str]

    @property
    def multiplications(self) -> int:
        """All of one event."""
        return math.prod(self.shape)

    def bops(self, widths: Sequence[int]) -> float:
        """Bit operations for operands of these widths; see `LayerOperations`."""
        a, w = widths
        return self.multiplications * (a * w + a + w + math.log2(self.length))

    def ebops(self, bits: Sequence[int | NDArray[Any]]) -> int:
        """Effective bit operations: of each operand the bits of all elements, or of each one."""
        whole = math.prod(b for b in bits if isinstance(b, int))
        arrays = [np.broadcast_to(b, self.shape) for b in bits if not isinstance(b, int)]
        if not arrays:
            return whole * self.multiplications
        return whole * int(math.prod(arrays[1:], start=arrays[0].astype(np.int64)).sum())


def bit_operations(graph: Graph) -> tuple[LayerOperations, ...]:
    """The products of every layer that has some.

    A product with a constant counts its bits as they are, one of two tensors (attention) their
    formats. Additions of biases, comparisons and lookups do not count.

    >>> from samebits.compile.ir import Format, Layer, Tensor
    >>> six = Format(True, 6, 1)
    >>> names = {"x": (3,), "w": (3, 2), "y": (2,), "column": (3, 1)}
    >>> graph = Graph(
    ...     ("x",), ("y",),
    ...     (Node("reshape", ("x",), "column", {"shape": (3, 1)}),
    ...      Node("dot", ("column", "w"), "y")),
    ...     {name: Tensor(name, shape, six) for name, shape in names.items()},
    ...     {"w": np.array([[1, 8], [0, 5], [-3, 0]])},
    ...     (Layer("dense", "Dense", "y"),),
    ... )
    >>> found, = bit_operations(graph)  # bits of the weights: 1, 1, 0, 3, 2, 0
    >>> found.multiplications, found.nonzero, found.ebops, round(found.bops)
    (6, 4, 42, 298)
    """
    by_layer: dict[str, list[Product]] = {}
    for product in products(graph):
        by_layer.setdefault(_owner(graph, product.node.output), []).append(product)
    rows = []
    kinds = {layer.name: layer.kind for layer in graph.layers}
    for layer, found in by_layer.items():
        bits = [[_bits(graph, name) for name in one.operands] for one in found]
        rows.append(
            LayerOperations(
                layer=layer,
                kind=kinds.get(layer, ""),
                multiplications=sum(one.multiplications for one in found),
                nonzero=sum(_nonzero(one, b) for one, b in zip(found, bits, strict=True)),
                bops=sum(
                    one.bops([graph.tensors[name].format.width for name in one.operands])
                    for one in found
                ),
                ebops=sum(one.ebops(b) for one, b in zip(found, bits, strict=True)),
            )
        )
    return tuple(rows)


def total(layers: Sequence[LayerOperations]) -> LayerOperations:
    """The sums over the layers."""
    return LayerOperations(
        "all layers",
        "",
        sum(one.multiplications for one in layers),
        sum(one.nonzero for one in layers),
        sum(one.bops for one in layers),
        sum(one.ebops for one in layers),
    )


def ebops_of_model(model: Any) -> int:
    """Effective bit operations of a quantized Keras network, compiled: a cost for searches.

    Raises:
        UnsupportedError: a network that cannot be compiled.
    """
    from samebits.design import Design

    return total(bit_operations(Design.from_keras(model).graph)).ebops


def products(graph: Graph) -> tuple[Product, ...]:
    """The operations that multiply with something that depends on the event, in order."""
    fixed = set(graph.constants)
    found = []
    for node in graph.nodes:
        if all(name in fixed for name in node.inputs):
            fixed.add(node.output)
        elif node.op in _PRODUCTS:
            found.append(product_of(graph, node))
    return tuple(found)


def product_of(graph: Graph, node: Node) -> Product:
    """A node that multiplies, as a product."""
    left, right = node.inputs
    shapes = [graph.tensors[name].shape for name in (left, right)]
    shape = np.broadcast_shapes(*shapes)
    return Product(node, shape, 1 if node.op == "mul" else shape[0], (left, right))


def effective_bits(mantissas: NDArray[Any]) -> NDArray[np.int64]:
    """Of each integer the bits from its highest to its lowest 1, without the sign; 0 of 0.

    >>> effective_bits(np.array([0, 1, -8, 12, 40])).tolist()
    [0, 1, 1, 2, 3]
    """
    if mantissas.dtype == object or np.abs(mantissas).max(initial=0) >= 1 << 53:
        found = [_length(abs(int(value))) for value in mantissas.flat]
        return np.array(found, dtype=np.int64).reshape(mantissas.shape)
    size = np.abs(mantissas.astype(np.int64))
    odd = size // np.maximum(size & -size, 1)
    return np.frexp(odd.astype(np.float64))[1].astype(np.int64)


def _length(value: int) -> int:
    return (value // (value & -value)).bit_length() if value else 0


def _bits(graph: Graph, name: str) -> int | NDArray[np.int64]:
    if name in graph.constants:
        return effective_bits(graph.constants[name])
    return graph.tensors[name].format.width


def _nonzero(product: Product, bits: Sequence[int | NDArray[np.int64]]) -> int:
    full = np.ones(product.shape, bool)
    for one in bits:
        full &= np.asarray(one) > 0
    return int(full.sum())


def _owner(graph: Graph, tensor: str) -> str:
    """The layer that a tensor was made in."""
    owners = [layer.name for layer in graph.layers if tensor.startswith(f"{layer.name}/")]
    return max(owners, key=len, default=tensor.partition("/")[0])
