"""Small ONNX models, written node by node."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samebits import Design, Target, errors
from samebits.compile.frontends.quant import (
    DOMAIN,
    IR_VERSION,
    QuantAttributes,
    quant_function,
    quant_node,
)

OPSET = 17


class ModelWriter:
    """Collects nodes, weights, inputs and outputs; `model()` gives the ONNX model.

    `bodies` false: Quant nodes without a function body, as Brevitas and qonnx write them.
    """

    def __init__(self, seed: int = 1, bodies: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.bodies = bodies
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.functions: dict[str, Any] = {}

    def input(self, name: str = "x", size: Any = 4, batch: Any = "N") -> str:
        shape = [batch, *size] if isinstance(size, tuple) else [batch, size]
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, name: str, size: Any) -> None:
        shape = ["N", *size] if isinstance(size, tuple) else ["N", size]
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def weight(self, values: Any, name: str | None = None) -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def node(self, op: str, *inputs: str, **attrs: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_out"], name=name, **attrs))
        return f"{name}_out"

    def quant(self, x: str, bits: int, integer: int, signed: bool = True, **attrs: Any) -> str:
        """x rounded to `bits` bits, `integer` of them left of the binary point.

        `scale` instead of `integer`: any numbers, one or one per channel; `zero` shifts them.
        """
        attributes = QuantAttributes(signed, attrs.get("narrow", False), attrs.get("mode", "ROUND"))
        name = f"quant{len(self.nodes)}"
        scale = attrs.get("scale", 2.0 ** (integer - bits))
        operands = [self.weight(np.array(value)) for value in (scale, attrs.get("zero", 0.0), bits)]
        node = quant_node(name, (x, *operands), f"{name}_out", attributes)
        if self.bodies:
            self.functions[attributes.overload] = quant_function(attributes)
        else:
            node.ClearField("overload")
        self.nodes.append(node)
        return f"{name}_out"

    def grid(self, *shape: int, step: float = 1 / 16, scale: float = 0.5) -> Any:
        return np.round(self.rng.normal(0, scale, shape) / step) * step

    def gemm(self, x: str, n_in: int, n_out: int, bits: int | None = None) -> str:
        """A dense layer; with `bits`, weights and bias pass a Quant node first."""
        weights, bias = self.weight(self.grid(n_in, n_out)), self.weight(self.grid(n_out))
        if bits is not None:
            weights, bias = self.quant(weights, bits, 2), self.quant(bias, bits, 2)
        return self.node("Gemm", x, weights, bias)

    def model(self) -> onnx.ModelProto:
        opsets = [helper.make_opsetid("", OPSET)]
        if any(node.domain for node in self.nodes):
            opsets.append(helper.make_opsetid(DOMAIN, 1))
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.weights)
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            functions=list(self.functions.values()),
        )

    def save(self, path: Path) -> Path:
        path.write_bytes(self.model().SerializeToString())
        return path


def float_mlp(op: str = "Relu", seed: int = 1, **attrs: Any) -> ModelWriter:
    """4 inputs, Gemm 6, an activation, Gemm 3: plain ONNX without quantizers."""
    write = ModelWriter(seed)
    x = write.gemm(write.input(), 4, 6)
    write.output(write.gemm(write.node(op, x, **attrs), 6, 3), 3)
    return write


def quantized_mlp(seed: int = 1, softmax: bool = True, bodies: bool = True) -> ModelWriter:
    """4 inputs of 8 bits, Gemm 6, Relu, Gemm 3, softmax; 6-bit weights and activations."""
    write = ModelWriter(seed, bodies)
    x = write.quant(write.input(), 8, 4)
    x = write.quant(write.node("Relu", write.gemm(x, 4, 6, bits=6)), 6, 2, signed=False)
    x = write.gemm(x, 6, 3, bits=6)
    write.output(write.node("Softmax", x, axis=-1) if softmax else x, 3)
    return write


def refusal(model: onnx.ModelProto, **target: Any) -> str:
    """The message with which a model is refused; `target` as of `Target`."""
    with pytest.raises(errors.SamebitsError) as caught:
        Design.from_onnx(model, Target(**target))
    return str(caught.value)
