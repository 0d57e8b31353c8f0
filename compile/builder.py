"""`GraphBuilder`: writes a fixed-point graph operation by operation and checks every rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from samebits import errors

from .ir import Attr, Format, Graph, Layer, Node, Tensor
from .ops import infer

__all__ = ["GraphBuilder"]


class GraphBuilder:
    """Collects tensors and nodes; `graph()` freezes them.

    >>> from samebits.compile.ir import Format
    >>> build = GraphBuilder()
    >>> x = build.input("x", (2,), Format(True, 8, 4))
    >>> y = build.apply("add", x, build.integers([16, 32], Format(False, 6, 2)))
    >>> str(y.format)
    'ap_fixed<9,5,TRN,WRAP>'
    """

    def __init__(self) -> None:
        self._inputs: list[str] = []
        self._nodes: list[Node] = []
        self._tensors: dict[str, Tensor] = {}
        self._constants: dict[str, Any] = {}
        self._layers: list[Layer] = []
        self._counts: dict[str, int] = {}  # how often a name was wanted
        self.scope = ""

    def _name(self, stem: str) -> str:
        stem = f"{self.scope}/{stem}" if self.scope else stem
        name, count = stem, self._counts.get(stem, 1)
        while name in self._tensors:
            count += 1
            name = f"{stem}_{count}"
        self._counts[stem] = count
        return name

    def input(self, name: str, shape: tuple[int, ...], fmt: Format) -> Tensor:
        """A tensor that the user feeds."""
        tensor = Tensor(name, shape, fmt)
        self._tensors[name] = tensor
        self._inputs.append(name)
        return tensor

    def integers(self, mantissas: Any, fmt: Format, name: str = "constant") -> Tensor:
        """A constant tensor from its mantissas.

        Raises:
            FormatError: a mantissa that the format cannot hold.
        """
        if isinstance(mantissas, np.ndarray) and mantissas.dtype.kind in "iu":
            exact = mantissas
        else:
            exact = np.asarray(mantissas, dtype=object)  # NumPy would make float64 of [2**63, -1]
            odd = [value for value in exact.flat if not isinstance(value, int | np.integer)]
            if odd:
                raise errors.FormatError(f"constant {name}: mantissa {odd[0]!r} is not an integer")
        smallest, largest = int(exact.min(initial=0)), int(exact.max(initial=0))
        if exact.size and not (fmt.min_mantissa <= smallest and largest <= fmt.max_mantissa):
            raise errors.FormatError(
                f"constant {name}: mantissas {exact.min()} .. {exact.max()} do not fit {fmt}"
            )
        fits = smallest >= -(1 << 63) and largest < 1 << 63
        exact = exact.astype(np.int64 if fits else object)
        tensor = Tensor(self._name(name), exact.shape, fmt)
        self._tensors[tensor.name] = tensor
        self._constants[tensor.name] = exact
        return tensor

    def number(self, mantissa: int, like: Tensor, fmt: Format, name: str = "constant") -> Tensor:
        """One number as a constant that broadcasts against `like`."""
        return self.integers(np.full((1,) * len(like.shape), mantissa, dtype=object), fmt, name)

    def apply(self, op: str, *inputs: Tensor, name: str | None = None, **attrs: Attr) -> Tensor:
        """The output of an operation on these tensors.

        Raises:
            FormatError: wrong number of inputs, attributes, shapes or formats.
        """
        shape, fmt = infer(op, inputs, attrs)
        tensor = Tensor(self._name(name or op), shape, fmt)
        self._tensors[tensor.name] = tensor
        self._nodes.append(Node(op, tuple(x.name for x in inputs), tensor.name, attrs))
        return tensor

    def cast(self, x: Tensor, fmt: Format, name: str | None = None) -> Tensor:
        """x cast to a format."""
        return self.apply("cast", x, name=name, format=fmt, bounded=0)

    def cast_source(self, x: Tensor) -> Format | None:
        """The format that x was cast from; None if x was not made by a cast."""
        node = next((node for node in reversed(self._nodes) if node.output == x.name), None)
        if node is None or node.op != "cast":
            return None
        return self._tensors[node.inputs[0]].format

    def reshape(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """x under another shape; itself if it has it already."""
        return x if x.shape == shape else self.apply("reshape", x, shape=shape)

    def layer(
        self,
        name: str,
        kind: str,
        tensor: Tensor,
        weights: tuple[int, int] = (0, 0),
        types: Mapping[str, Format] | None = None,
    ) -> None:
        """Remembers which tensor an hls4ml layer made."""
        self._layers.append(Layer(name, kind, tensor.name, weights, dict(types or {})))

    def graph(self, outputs: tuple[str, ...]) -> Graph:
        """The finished graph."""
        return Graph(
            inputs=tuple(self._inputs),
            outputs=outputs,
            nodes=tuple(self._nodes),
            tensors=dict(self._tensors),
            constants=dict(self._constants),
            layers=tuple(self._layers),
        )
