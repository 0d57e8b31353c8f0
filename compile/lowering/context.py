"""`Context`: what a lowering rule sees of the hls4ml graph and writes of the fixed-point graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from samebits import errors

from ..builder import GraphBuilder
from ..ir import Format, Tensor
from ..ops import Array
from .precision import format_of, weight_mantissas

__all__ = ["Context", "Lowering"]


_TYPES = ("accum", "table", "exp_table", "inv_table", "inv_inp", "param", "slope", "shift")


class Context:
    """The graph under construction and the hls4ml graph it is read from.

    `weights` are those that distributed arithmetic has removed from it: {"layer/weight": array}.

    Raises:
        UsageError: weights of a layer that is not there.
    """

    def __init__(self, model: Any, weights: Mapping[str, Array] | None = None) -> None:
        self.model = model
        self.weights = dict(weights or {})
        layers = [str(layer.name) for layer in model.get_layers()]
        for key in self.weights:
            if key.rpartition("/")[0] not in layers:
                raise errors.UsageError(
                    f"weights[{key!r}]: there is no such layer; wanted 'layer/weight' or "
                    f"'layer/bias' with one of {', '.join(layers)}"
                )
        self.build = GraphBuilder()
        self.io_type = str(model.config.get_config_value("IOType"))
        self._tensors: dict[str, Tensor] = {}

    @staticmethod
    def where(layer: Any) -> str:
        """The layer as messages name it."""
        return f"layer {layer.name} ({layer.class_name})"

    def define(self, variable: Any, tensor: Tensor) -> None:
        """Says which tensor stands for an hls4ml variable."""
        self._tensors[variable.name] = tensor

    def tensor(self, variable: Any) -> Tensor:
        """The tensor of an hls4ml variable."""
        return self._tensors[variable.name]

    def input(self, layer: Any, position: int = 0) -> Tensor:
        """The tensor a layer reads."""
        return self.tensor(layer.get_input_variable(layer.inputs[position]))

    def attribute_format(self, layer: Any, name: str) -> Format:
        """The format of a layer's type attribute, such as accum_t."""
        named = layer.get_attr(name)
        if named is None:
            raise errors.UnsupportedError(f"{self.where(layer)}: it has no {name}")
        return format_of(named.precision, f"{self.where(layer)}, {name}")

    def result_format(self, layer: Any) -> Format:
        """The format of a layer's output."""
        precision = layer.get_output_variable().type.precision
        return format_of(precision, f"{self.where(layer)}, result")

    def weight(self, layer: Any, name: str) -> tuple[Array, Format]:
        """The mantissas of a layer's weights as the C simulation reads them, and their format."""
        variable = layer.weights[name]
        where = f"{self.where(layer)}, {name}"
        fmt = format_of(variable.type.precision, where)
        return weight_mantissas(variable, fmt, where), fmt

    def constant(self, layer: Any, name: str) -> Tensor:
        """A layer's weights as a constant tensor."""
        mantissas, fmt = self.weight(layer, name)
        return self.build.integers(mantissas, fmt, name)

    def per_channel(self, layer: Any, name: str, like: Tensor) -> Tensor:
        """Weights of one number per element, or per channel of the last axis, shaped to broadcast.

        hls4ml indexes them by element number modulo their count (nnet_batchnorm.h, `norm_index`).
        """
        mantissas, fmt = self.weight(layer, name)
        size = int(np.prod(like.shape))
        flat = mantissas.reshape(-1)
        if not flat.size or size % flat.size:
            raise errors.ModelError(
                f"{self.where(layer)}: {flat.size} numbers in {name} for {size} elements"
            )
        return self.build.integers(np.resize(flat, size).reshape(like.shape), fmt, name)

    def types(self, layer: Any) -> dict[str, Format]:
        """The formats of a layer's weights and of its accumulator and tables, for people to read.

        Types that samebits has no format for (exponents) are left out; lowering has refused those
        that it cannot use.
        """
        named = {name: variable.type for name, variable in layer.weights.items()}
        for name in _TYPES:
            if layer.get_attr(f"{name}_t") is not None:
                named[name] = layer.get_attr(f"{name}_t")
        formats = {}
        for name, kind in named.items():
            with contextlib.suppress(errors.UnsupportedError):
                formats[name] = format_of(kind.precision, name)
        return formats

    def weight_counts(self, layer: Any) -> tuple[int, int]:
        """(non-zero, all) numbers in a layer's weights."""
        data = [np.asarray(variable.data) for variable in layer.weights.values()]
        removed = [name for name in ("weight", "bias") if name not in layer.weights]
        keys = [f"{layer.name}/{name}" for name in removed]
        data += [np.asarray(self.weights[key]) for key in keys if key in self.weights]
        return sum(int(np.count_nonzero(x)) for x in data), sum(int(x.size) for x in data)


Lowering = Callable[[Context, Any], Tensor | tuple[Tensor, ...]]
"""One layer to its tensor, or to one tensor for each of its output variables."""
