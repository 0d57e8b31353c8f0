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

from . import quant

MAX_CONSTANT_BITS = 24  # a constant that needs more is a float, not a fixed-point number


@dataclass(frozen=True)
class Grid:
    """Fixed-point numbers k * 2^exponent with k in `bits` bits (two's complement if signed)."""

    bits: int
    exponent: int
    signed: bool
    narrow: bool = False

    @property
    def lsb(self) -> float:
        """Distance between neighbours."""
        return float(2.0**self.exponent)


def smallest_grid(values: ArrayLike) -> Grid | None:
    """The narrowest grid that holds all values exactly; None if it needs over 24 bits."""
    array = np.asarray(values, np.float64).ravel()
    if not np.all(np.isfinite(array)):
        return None
    if not np.any(array):
        return Grid(bits=2, exponent=0, signed=True)
    numerators_exponents = (float(v).as_integer_ratio() for v in array if v)
    exponent = min(_trailing_zeros(n) - (d.bit_length() - 1) for n, d in numerators_exponents)
    scaled = array / 2.0**exponent
    signed = bool(scaled.min() < 0)
    top = int(max(scaled.max(), -scaled.min() - 1))
    bits = max(2, max(top, 0).bit_length() + signed)
    return Grid(bits, exponent, signed) if bits <= MAX_CONSTANT_BITS else None


def _trailing_zeros(value: int) -> int:
    return (value & -value).bit_length() - 1


@dataclass
class GraphBuilder:
    """Collects the nodes of one ONNX graph; every tensor name is used once."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
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

    def node(self, operator: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a standard node; its output tensor carries the node's name."""
        node = helper.make_node(
            operator, list(inputs), [name], name=f"{name}_{operator}", **attributes
        )
        self._claim(name)
        self.nodes.append(node)
        return name

    def quant(self, name: str, x: str, grid: Grid, rounding: str = "ROUND") -> str:
        """Add a Quant node on `x` with the values of `grid`; scale and zero point are 0-d."""
        attributes = quant.QuantAttributes(grid.signed, grid.narrow, rounding)
        self.functions.setdefault(attributes.overload, quant.quant_function(attributes))
        inputs = (
            x,
            self.constant(f"{name}_scale", grid.lsb),
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
        metadata: dict[str, Sequence[str]],
    ) -> onnx.ModelProto:
        """The finished, checked model; shapes are without the batch axis, which is symbolic."""
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
        helper.set_model_props(
            model, {f"samebits.{key}": json.dumps(list(value)) for key, value in metadata.items()}
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
