"""ONNX models as users have them: every promised operator converts, all others are named."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from samebits import Design, Target, errors
from samebits.compile.frontends.onnx import layout, sequences
from samebits.compile.frontends.onnx.check import SUPPORTED_OPERATORS
from samebits.fidelity import measure_fidelity

from ...models import ModelWriter, float_mlp, quantized_mlp, refusal

PER_FEATURE = [0.5, 1.0, 2.0, 0.25, -1.0, 0.75]


def with_constant(op: str, value: Any, first: bool = False) -> ModelWriter:
    """An element-wise operator with a constant between two dense layers."""
    write = ModelWriter()
    x, c = write.gemm(write.input(), 4, 6), write.weight(value)
    y = write.node(op, *((c, x) if first else (x, c)))
    write.output(write.gemm(y, 6, 3), 3)
    return write


def after_input(op: str, *constants: Any, **attrs: Any) -> ModelWriter:
    write = ModelWriter()
    x = write.node(op, write.input(), *(write.weight(c) for c in constants), **attrs)
    write.output(write.gemm(x, 4, 3), 3)
    return write


def batchnorm(**attrs: Any) -> ModelWriter:
    write = ModelWriter()
    x = write.gemm(write.input(), 4, 6)
    rows = write.rng.uniform(0.5, 1.5, (4, 6))
    x = write.node("BatchNormalization", x, *(write.weight(row) for row in rows), **attrs)
    write.output(write.gemm(x, 6, 3), 3)
    return write


def dense(op: str = "MatMul", bias: Any = None, **attrs: Any) -> ModelWriter:
    write = ModelWriter()
    shape = (3, 4) if attrs.get("transB") else (4, 3)
    x = write.input()
    if op == "Gemm":
        x = write.node("Gemm", x, write.weight(write.grid(*shape)), write.weight(bias), **attrs)
    else:
        x = write.node("MatMul", x, write.weight(write.grid(*shape)))
        x = write.node("Add", x, write.weight(bias)) if bias is not None else x
    write.output(x, 3)
    return write


def reshaped(op: str) -> ModelWriter:
    write = ModelWriter()
    x = write.input(size=(2, 2))
    if op == "Reshape":
        write.weights.append(numpy_helper.from_array(np.array([-1, 4]), "shape"))
        x = write.node("Reshape", x, "shape")
    else:
        x = write.node("Flatten", x)
    write.output(write.gemm(x, 4, 3), 3)
    return write


def constant_node() -> ModelWriter:
    write = ModelWriter()
    value = numpy_helper.from_array(write.grid(4, 3).astype(np.float32))
    write.output(write.node("MatMul", write.input(), write.node("Constant", value=value)), 3)
    return write


def last(op: str) -> ModelWriter:
    write = ModelWriter()
    write.output(write.node(op, write.gemm(write.input(), 4, 3)), 3)
    return write


CONVERTED: dict[str, Callable[[], ModelWriter]] = {
    **{
        op: (lambda op=op: float_mlp(op))  # type: ignore[misc]
        for op in ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign")
    },
    "ThresholdedRelu": lambda: float_mlp("ThresholdedRelu"),  # ONNX: alpha = 1, hls4ml: 0.01
    "ThresholdedRelu, 0.5": lambda: float_mlp("ThresholdedRelu", alpha=0.5),
    "Elu, 0.5": lambda: float_mlp("Elu", alpha=0.5),
    "LeakyRelu, 0.25": lambda: float_mlp("LeakyRelu", alpha=0.25),
    "Softmax inside": lambda: float_mlp("Softmax", axis=-1),
    "Softmax last": lambda: last("Softmax"),
    "Softmax, axis 1": lambda: float_mlp("Softmax", axis=1),
    "Identity": lambda: float_mlp("Identity"),
    "Identity last": lambda: last("Identity"),
    "Dropout": lambda: float_mlp("Dropout"),
    "Relu on the input": lambda: after_input("Relu"),
    "Constant": constant_node,
    "BatchNormalization": batchnorm,
    "MatMul": dense,
    "MatMul and Add": lambda: dense(bias=[0.5, -1.0, 0.25]),
    "MatMul and Add of a row": lambda: dense(bias=[[0.5, -1.0, 0.25]]),
    "Gemm": lambda: dense("Gemm", [0.5, -1.0, 0.25]),
    "Gemm, transB": lambda: dense("Gemm", [0.5, -1.0, 0.25], transB=1),
    "Gemm, alpha": lambda: dense("Gemm", [0.5, -1.0, 0.25], alpha=0.5),
    "Flatten": lambda: reshaped("Flatten"),
    "Reshape": lambda: reshaped("Reshape"),
    "Quant": quantized_mlp,
    "Quant without a body": lambda: quantized_mlp(bodies=False),
    **{
        f"{op}, {name}": (lambda op=op, value=value: with_constant(op, value))  # type: ignore[misc]
        for op in ("Add", "Sub", "Mul", "Div")
        for name, value in (
            ("per feature", PER_FEATURE),
            ("row", [PER_FEATURE]),
            ("scalar", np.array(0.5)),
            ("one number", [2.0]),
        )
    },
    "Sub, constant first": lambda: with_constant("Sub", PER_FEATURE, first=True),
    "Mul, constant first": lambda: with_constant("Mul", np.array(0.5), first=True),
    "Add on the input": lambda: after_input("Add", [0.5, 1, 2, 0.25]),
    "Mul on the input": lambda: after_input("Mul", [0.5, 1, 2, 0.25]),
}


@pytest.mark.parametrize("name", sorted(CONVERTED))
def test_converted_models_answer_as_onnx_runtime_does(name: str) -> None:
    design = Design.from_onnx(CONVERTED[name]().model())
    fidelity = measure_fidelity(design)
    assert fidelity.reason == ""
    (output,) = fidelity.outputs
    # formats of 10 fraction bits and tables of 1024 entries; a wrong conversion is off by far more
    assert output.largest_difference < 0.03
    assert output.largest_output > 0.5


def test_every_supported_operator_is_tested() -> None:
    used = {node.op_type for make in CONVERTED.values() for node in make().nodes}
    elsewhere = {*layout.CHECKS, *sequences.CHECKS}  # test_onnx_images.py, test_onnx_sequences.py
    assert used | elsewhere == set(SUPPORTED_OPERATORS)


def test_all_unsupported_operators_are_listed_with_their_nodes() -> None:
    write = ModelWriter()
    x = write.node("HardSwish", write.gemm(write.input(), 4, 4))
    y = write.node("Abs", x)
    z = write.node("Div", x, y)
    z = write.node("FloatQuant", z, domain="qonnx.custom_op.general")
    write.output(write.node("Foo", z, domain="my.domain"), 4)
    write.nodes[-1].name = ""
    assert refusal(write.model()) == (
        "unsupported operators: HardSwish (hardswish1), Abs (abs2), Div (div3: divides by "
        "a computed tensor), FloatQuant (floatquant4: rounds to "
        "floating point, which is no ap_fixed type), Foo (foo5_out); supported: "
        f"{', '.join(SUPPORTED_OPERATORS)}"
    )


def computed_weights() -> ModelWriter:
    write = ModelWriter()
    x = write.input()
    write.output(write.node("MatMul", x, write.node("Relu", x)), 4)
    return write


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (with_constant("Div", PER_FEATURE, first=True),
         "Div (div1: divides a constant by a computed tensor)"),
        (dense("Gemm", [1, 2, 3], beta=0.5), "Gemm (gemm0: beta=0.5, only 1 is supported)"),
        (dense("Gemm", [1, 2, 3], transA=1), "Gemm (gemm0: transA=1, only 0 is supported)"),
        (float_mlp("Selu", alpha=1.0),
         "Selu (selu1: alpha=1, only the standard value is supported)"),
        (batchnorm(training_mode=1), "BatchNormalization (batchnormalization1: is in training "
         "mode)"),
        (float_mlp("Flatten", axis=0), "Flatten (flatten1: axis=0, only 1 is supported)"),
    ],
)  # fmt: skip
def test_unsupported_uses_say_why(write: ModelWriter, reason: str) -> None:
    assert refusal(write.model()).startswith(f"unsupported operators: {reason}; supported: Add, ")


def test_a_product_of_two_vectors_is_refused() -> None:
    assert refusal(computed_weights().model()) == (
        "unsupported operators: MatMul (MatMul_0: multiplies events of shapes [4] and [4]; "
        "supported are matrices, and equally many of them)"
    )


@pytest.mark.parametrize(
    ("size", "batch", "message"),
    [
        (("features",), "N", "input x has dynamic shape ['N', 'features']; firmware needs fixed "
         "sizes: only the first (batch) axis may be open. Export the model with static shapes"),
        ((), "N", "input x has shape ['N']; wanted a batch axis and at least one more"),
        ((0,), 1, "input x has dynamic shape [1, 0]; firmware needs fixed sizes: only the first "
         "(batch) axis may be open. Export the model with static shapes"),
    ],
)  # fmt: skip
def test_dynamic_shapes_are_refused(size: Any, batch: Any, message: str) -> None:
    write = ModelWriter()
    write.output(write.node("Relu", write.input(size=size, batch=batch)), size)
    assert refusal(write.model()) == message


def test_a_fixed_batch_axis_is_fine() -> None:
    write = ModelWriter()
    write.output(write.gemm(write.input(batch=1), 4, 3), 3)
    assert Design.from_onnx(write.model()).simulate(np.zeros((5, 4))).shape == (5, 3)


def test_constants_that_do_not_fit_are_refused() -> None:
    write = ModelWriter()
    write.output(write.node("Mul", write.input(size=1), write.weight([1.0, 2.0])), 2)
    assert refusal(write.model()) == (
        "Mul Mul_0: a constant of shape [2] does not fit events of shape [1]"
    )


def test_inputs_keep_their_names_and_order() -> None:
    write = ModelWriter()
    names = ["b", "a.1", "int", "9", "Relu_0"]
    tensors = [write.input(name, size) for size, name in enumerate(names, start=2)]
    for size, x in enumerate(tensors, start=2):
        write.output(write.gemm(write.node("Relu", x), size, 1), 1)
    design = Design.from_onnx(write.model())
    assert design.graph.inputs == ("b", "a.1", "int", "9", "Relu_0_in")  # there is a layer Relu_0
    assert [t.shape[0] for t in design.graph.tensors_of(design.graph.inputs)] == [2, 3, 4, 5, 6]


# what hls4ml's C++ uses itself: weights, types, layers, the project, keywords, macros
TAKEN = (
    *("b26", "w199", "s2", "t2", "config2", "layer2_out", "input_t", "result_t", "model_default_t"),
    *("myproject", "nnet", "std", "class", "and", "NULL", "EOF", "M_PI", "INT_MAX", "__FILE__"),
    *("in_x", "x", "x_t", "x[0]", "µ β", "Cast.1", "layer:Relu_0", "Dense_MatMul_0"),
)


def test_inputs_may_have_any_name() -> None:
    write = ModelWriter()
    for name in TAKEN:
        write.output(write.gemm(write.input(name, 2), 2, 1), 1)
    design = Design.from_onnx(write.model(), Target(precision={"NULL": "fixed<9,5>"}))
    assert design.graph.inputs[:-3] == TAKEN[:-3]
    assert design.graph.inputs[-3:] == ("Cast.1_in", "layer:Relu_0_in", "Dense_MatMul_0_in")
    assert str(design.graph.tensors["NULL"].format) == "ap_fixed<9,5,TRN,WRAP>"
    assert [value.name for value in design.firmware_onnx().graph.input] == [*design.graph.inputs]
    found = design.verify({name: np.ones((2, 2)) for name in design.graph.inputs})
    assert {engine.status for engine in found.engines} == {"equal"}
    assert max(output.largest_difference for output in measure_fidelity(design).outputs) < 0.5


@pytest.mark.parametrize("sizes", [(2, 3, 5), (5, 3, 2), (3, 5, 2)])
def test_outputs_keep_the_models_order(sizes: tuple[int, ...]) -> None:
    write = ModelWriter()
    x = write.node("Relu", write.gemm(write.input(), 4, 6))
    made = {size: write.gemm(x, 6, size) for size in (2, 3, 5)}
    for size in sizes:
        write.output(made[size], size)
    design = Design.from_onnx(write.model())
    answer = design.simulate(np.ones((1, 4)))
    assert [values.shape[1] for values in answer] == list(sizes)
    assert measure_fidelity(design).outputs[2].largest_difference < 0.01


def test_precisions_can_be_given() -> None:
    model = float_mlp("Tanh").model()

    def formats(precision: Any) -> dict[str, str]:
        tensors = Design.from_onnx(model, Target(precision=precision)).graph
        return {k: str(tensors.tensors[t].format) for k, t in tensors.layer_tensors.items()}

    narrow = formats("fixed<8,3,RND,SAT>")
    assert narrow["Tanh_0"] == "ap_fixed<8,3,RND,SAT>"
    mixed = formats({"default": "fixed<8,3>", "Tanh_0": "fixed<5,1,RND_CONV,SAT>"})
    assert mixed["Tanh_0"] == "ap_fixed<5,1,RND_CONV,SAT>"
    with pytest.raises(errors.UsageError) as caught:
        formats({"tanh": "fixed<8,3>"})
    assert re.fullmatch(
        r"precision: there is no layer 'tanh'; layers: x, .*Tanh_0.*", str(caught.value)
    )


def test_precisions_by_printed_and_by_node_names() -> None:
    """A Dense is printed as `Dense_MatMul_0` and was the node `gemm2`; the names are qonnx's."""
    model = float_mlp("Tanh").model()
    printed = [layer.name for layer in Design.from_onnx(model).graph.layers]
    assert printed == ["Dense_MatMul_0", "Tanh_0", "Dense_MatMul_1"]
    nodes = [node.name for node in model.graph.node]
    assert nodes == ["gemm0", "tanh1", "gemm2"]
    for name, layer in (*zip(printed, printed, strict=True), *zip(nodes, printed, strict=True)):
        graph = Design.from_onnx(model, Target(precision={name: "fixed<9,4,RND,SAT>"})).graph
        formats = {k: str(graph.tensors[t].format) for k, t in graph.layer_tensors.items()}
        assert formats[layer] == "ap_fixed<9,4,RND,SAT>"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Quant_0", "precision: 'Quant_0' is no layer of the firmware: it became part of another "
         "one; layers: x, Dense_MatMul_0, Relu_0, Dense_MatMul_1"),
        ("Softmax_0_widened_act", "precision: 'Softmax_0_widened_act' keeps "
         "fixed<11,6,RND_CONV,SAT>: a quantizer of the model behind it says so, or it only hands "
         "on the layer before it"),
        ("relu", "precision: there is no layer 'relu'; layers: x, Dense_MatMul_0, Relu_0, "
         "Dense_MatMul_1"),
    ],
)  # fmt: skip
def test_a_precision_without_effect_is_refused(name: str, message: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        Design.from_onnx(
            quantized_mlp(softmax="Soft" in name).model(), Target(precision={name: "fixed<30,15>"})
        )
    assert str(caught.value) == message


@pytest.mark.parametrize("op", ["Identity", "Dropout"])
def test_identities_at_the_end_are_taken_out(op: str) -> None:
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    write.output(write.node(op, write.node(op, write.node("Tanh", write.node(op, x)))), 4)
    write.output(write.node(op, write.node("Relu", x)), 4)
    design = Design.from_onnx(write.model())
    assert [layer.kind for layer in design.graph.layers] == ["Activation", "Activation"]
    found = measure_fidelity(design)
    assert [output.name for output in found.outputs] == [f"{op.lower()}4_out", f"{op.lower()}6_out"]
    assert max(output.largest_difference for output in found.outputs) < 0.03


def test_networks_that_compute_nothing_are_refused() -> None:
    write = ModelWriter()
    write.output(write.node("Identity", write.node("Dropout", write.input())), 4)
    assert refusal(write.model()) == "output identity1_out is the input x itself"
    write = ModelWriter()
    x = write.node("Relu", write.input())
    write.output(write.node("Identity", x), 4)
    write.output(x, 4)
    assert refusal(write.model()) == (
        "outputs relu0_out and identity1_out are the same; give the network one of them"
    )


def only(op: str, first: bool = False) -> ModelWriter:
    """A shape operator on the input, or on an output."""
    write = ModelWriter()
    x = write.input(size=(2, 2))
    if first:
        x = write.node("Relu", x)
        write.output(x, (2, 2))
    elif op == "Quant":
        write.output(write.quant(x, 8, 4), (2, 2))
        return write
    shape = write.weights.append(numpy_helper.from_array(np.array([-1, 4]), "shape")) or "shape"
    write.output(write.node(op, x, *([shape] if op == "Reshape" else [])), 4)
    return write


@pytest.mark.parametrize("op", ["Flatten", "Reshape", "Quant"])
def test_networks_that_only_copy_are_refused(op: str) -> None:
    name = f"{op.lower()}0_out"
    assert refusal(only(op).model()) == (
        f"output {name} only rounds or reshapes the input x; there is nothing to compute"
    )
    if op != "Quant":
        assert refusal(only(op, first=True).model()) == (
            f"output {op.lower()}1_out only reshapes the output relu0_out; give the network one of "
            "them"
        )


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("attrs", [{}, {"alpha": 0.5}, {"transB": 1}])
def test_gemm_without_a_bias(empty: bool, attrs: dict[str, Any]) -> None:
    write = dense("Gemm", [0.0], **attrs)
    del write.nodes[-1].input[2]
    write.weights.pop()
    if empty:
        write.nodes[-1].input.append("")
    (output,) = measure_fidelity(Design.from_onnx(write.model())).outputs
    assert output.largest_difference == 0.0
    assert output.largest_output > 1


def test_a_model_that_is_only_a_proto_works_with_any_opset() -> None:
    model = quantized_mlp(bodies=False).model()
    for item in model.opset_import:
        if item.domain == "":
            item.version = 13
    model.ir_version = 8
    onnx.checker.check_model(model)
    (output,) = measure_fidelity(Design.from_onnx(model)).outputs
    assert output.largest_difference < 0.02
