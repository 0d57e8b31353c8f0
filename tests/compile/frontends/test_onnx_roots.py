"""Square roots as tables."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.quant import QuantAttributes, quant_function

QONNX = "qonnx.custom_op.general"


def root(bits: int, signed: bool, behind: bool) -> onnx.ModelProto:
    """x, rounded to steps of 1/8, its root, and that rounded to steps of 1/4."""
    constants, functions = [], {}

    def quant(x: str, y: str, step: float, width: int, signed: bool) -> onnx.NodeProto:
        names = [f"{y}_scale", f"{y}_zero", f"{y}_bits"]
        for name, value in zip(names, (step, 0.0, width), strict=True):
            constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        attributes = QuantAttributes(signed, False, "ROUND")
        functions[attributes.overload] = quant_function(attributes)
        return helper.make_node(
            *("Quant", [x, *names], [y]),
            domain=QONNX,
            overload=attributes.overload,
            signed=int(signed),
            narrow=0,
            rounding_mode="ROUND",
        )

    nodes = [quant("x", "rounded", 0.125, bits, signed)]
    nodes.append(helper.make_node("Sqrt", ["rounded"], ["root" if behind else "y"]))
    if behind:
        nodes.append(quant("root", "y", 0.25, 5, False))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 40]) for n in "xy")
    graph = helper.make_graph(nodes, "root", [x], [y], constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(
        graph, opset_imports=imports, functions=list(functions.values()), ir_version=10
    )


EVERY = np.arange(320, dtype=np.float64).reshape(-1, 40) / 8  # 40 and above saturate in 8 bits


def test_roots_are_rounded_once() -> None:
    design = Design.from_onnx(root(8, False, True))
    assert "UnaryLUT" in [layer.kind for layer in design.graph.layers]
    x = np.minimum(EVERY, 255 / 8)
    expected = np.minimum(np.rint(np.sqrt(x.astype(np.float32)) * 4), 31) / 4
    assert np.array_equal(design.simulate(EVERY), expected)
    assert design.verify(EVERY, against=["onnxruntime"], adversarial=False).mismatching_bits == 0


def test_roots_without_a_quantizer_have_18_bits() -> None:
    design = Design.from_onnx(root(8, False, False))
    exact = np.sqrt(np.minimum(EVERY, 255 / 8))
    assert np.abs(np.asarray(design.simulate(EVERY)) - exact).max() <= 2.0**-16
    found = design.graph.tensors[design.graph.outputs[0]].format
    assert (found.signed, found.width, found.integer) == (False, 18, 3)


@pytest.mark.parametrize(("bits", "signed"), [(8, True), (13, False)])
def test_roots_need_a_small_table(bits: int, signed: bool) -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(root(bits, signed, True))
    assert str(caught.value) == (
        "unsupported operators: Sqrt (Sqrt_0: becomes a table with an entry for every number: put "
        "an unsigned Quant node of at most 12 bits right before it)"
    )
