"""The ONNX graph that the Keras exporter fills: nodes, constants and Quant function bodies."""

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from samebits import errors

from .. import quant
from .grid import Grid, Weight, smallest_grid


@dataclass
class GraphBuilder:
    """Collects the nodes of one ONNX graph; every tensor name is used once."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    caveats: dict[str, str] = field(default_factory=dict)  # tensors that Keras rounds elsewhere
    deviations: dict[str, float] = field(default_factory=dict)  # constants Keras has not exactly
    _names: set[str] = field(default_factory=set)

    def _claim(self, name: str) -> str:
        if name in self._names:
            raise errors.ModelError(
                f"two tensors of the exported graph would be called {name!r}; rename the Keras "
                "layer of that name, or the one whose name it begins with"
            )
        self._names.add(name)
        return name

    def input(self, name: str) -> str:
        """Take a graph input's name."""
        return self._claim(name)

    def constant(self, name: str, value: ArrayLike) -> str:
        """Add a float32 initializer."""
        array = np.asarray(value, np.float32)
        if not np.all(np.isfinite(array)):
            raise errors.ModelError(
                f"constant {name!r}: {np.count_nonzero(~np.isfinite(array))} of {array.size} "
                "values are NaN or infinite; train the model again"
            )
        self.initializers[self._claim(name)] = numpy_helper.from_array(array, name)
        return name

    def integers(self, name: str, value: Sequence[int]) -> str:
        """Add an int64 initializer of one axis, such as a shape."""
        array = np.asarray(value, np.int64)
        self.initializers[self._claim(name)] = numpy_helper.from_array(array, name)
        return name

    def node(
        self,
        operator: str,
        name: str,
        inputs: Sequence[str],
        *,
        skipped: int = 0,
        **attributes: Any,
    ) -> str:
        """Add a standard node; its output tensor carries the node's name.

        `skipped` outputs before it are not used; qonnx wants names for them all the same.
        """
        outputs = [*(self._claim(f"{name}_unused{index}") for index in range(skipped)), name]
        node = helper.make_node(
            operator, list(inputs), outputs, name=f"{name}_{operator}", **attributes
        )
        self._claim(name)
        self.nodes.append(node)
        return name

    def quant(
        self,
        name: str,
        x: str,
        grid: Grid,
        rounding: str = "ROUND",
        scale: NDArray[np.float32] | None = None,
    ) -> str:
        """Add a Quant node on `x` with the values of `grid`; scale and zero point are 0-d.

        With `scale`, an array that broadcasts with x, this is its scale instead of the grid's step.
        """
        attributes = quant.QuantAttributes(grid.signed, grid.narrow, rounding)
        self.functions.setdefault(attributes.overload, quant.quant_function(attributes))
        inputs = (
            x,
            self.constant(f"{name}_scale", grid.lsb if scale is None else scale),
            self.constant(f"{name}_zeropt", 0.0),
            self.constant(f"{name}_bitwidth", float(grid.bits)),
        )
        self.nodes.append(quant.quant_node(f"{name}_Quant", inputs, self._claim(name), attributes))
        return name

    def quantized_constant(self, name: str, value: NDArray[np.float32], grid: Grid) -> str:
        """Add a constant that stands on `grid`, behind a Quant node that says so.

        Raises:
            ModelError: a value is not on the grid, so the Quant node would change it.
        """
        steps = np.asarray(value, np.float64) / grid.lsb
        low = -(2 ** (grid.bits - 1)) + grid.narrow if grid.signed else 0
        high = 2 ** (grid.bits - grid.signed) - 1
        wrong = (steps != np.rint(steps)) | (steps < low) | (steps > high)
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise errors.ModelError(
                f"constant {name!r}: {np.count_nonzero(wrong)} of {wrong.size} values are not "
                f"multiples of {grid.lsb:g} in {grid.bits} bits (first: {value[index]!r} at "
                f"{index}); "
                "the weight quantizer and its scale do not agree"
            )
        return self.quant(name, self.constant(f"{name}_value", value), grid)

    def weight(self, name: str, weight: Weight) -> str:
        """Add a weight as its quantizer left it, behind a Quant node where it has a grid."""
        if weight.deviation:
            self.deviations[name] = weight.deviation
        if weight.grid is None:
            return self.constant(name, weight.value)
        if weight.scale is None:
            return self.quantized_constant(name, weight.value, weight.grid)
        return self.quant(
            name, self.constant(f"{name}_value", weight.value), weight.grid, scale=weight.scale
        )

    def short_constant(self, name: str, value: NDArray[np.float32]) -> str:
        """Add a constant; it is quantized on its smallest grid where that takes at most 24 bits."""
        grid = smallest_grid(value)
        if grid is None:
            return self.constant(name, value)
        return self.quantized_constant(name, value, grid)

    def model(
        self,
        name: str,
        inputs: Sequence[tuple[str, tuple[int, ...]]],
        outputs: Sequence[tuple[str, tuple[int, ...]]],
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The finished, checked model; shapes are without the batch axis, which is symbolic.

        Beside `metadata`, `samebits.caveats` and `samebits.deviations` say where Keras computes
        otherwise; `keras_check` reads them.
        """
        graph = helper.make_graph(
            self.nodes,
            name,
            [_value(tensor, shape) for tensor, shape in inputs],
            [_value(tensor, shape) for tensor, shape in outputs],
            list(self.initializers.values()),
        )
        model = helper.make_model(
            graph,
            functions=list(self.functions.values()),
            opset_imports=[
                helper.make_opsetid("", quant.OPSET),
                helper.make_opsetid(quant.DOMAIN, 1),
            ],
            ir_version=quant.IR_VERSION,
            producer_name="samebits",
            producer_version=importlib.metadata.version("samebits"),
        )
        notes = {"caveats": self.caveats, "deviations": self.deviations}
        metadata = metadata | {key: json.dumps(note) for key, note in notes.items() if note}
        helper.set_model_props(model, {f"samebits.{key}": text for key, text in metadata.items()})
        onnx.checker.check_model(model, full_check=True)
        return model


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
