"""Attention, embeddings, splits, layer normalization and activations of ONNX files in firmware."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.onnx import to_hls4ml
from samebits.compile.target import Target
from samebits.fidelity import measure_fidelity

from ...models import ModelWriter
from .test_onnx_recurrent import WIDE, assert_equal, events, firmware, model_of, run

node = helper.make_node
ROWS = (4, 3)
FINE = Target(precision="fixed<28,8>")


def whole(*shape: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def at(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


Case = tuple[list[onnx.NodeProto], dict[str, tuple[int, ...]], dict[str, list[int]], dict[str, Any]]
RELU = node("Relu", ["part"], ["y"])
# nodes, inputs, outputs, constants
EXACT: dict[str, Case] = {
    "matmul": (
        [node("MatMul", ["x", "z"], ["y"])],
        {"x": ROWS, "z": (3, 5)},
        {"y": [4, 5]},
        {},
    ),
    "matmul_transposed": (
        [
            node("Transpose", ["z"], ["turned"], perm=[0, 2, 1]),
            node("MatMul", ["x", "turned"], ["y"]),
        ],
        {"x": ROWS, "z": (5, 3)},
        {"y": [4, 5]},
        {},
    ),
    "constant_first": (
        [node("MatMul", ["C", "x"], ["y"])],
        {"x": ROWS},
        {"y": [5, 3]},
        {"C": whole(5, 4)},
    ),
    "einsum": (
        [node("Einsum", ["x", "z"], ["y"], equation="bij,bkj->bki")],
        {"x": ROWS, "z": (5, 3)},
        {"y": [5, 4]},
        {},
    ),
    "einsum_constant": (
        [node("Einsum", ["x", "K"], ["y"], equation="bij,jkl->bikl")],
        {"x": ROWS},
        {"y": [4, 2, 2]},
        {"K": whole(3, 2, 2)},
    ),
    "split": (
        [
            node("Split", ["x", "sizes"], ["a", "b"], axis=2),
            node("Relu", ["a"], ["y"]),
            node("Relu", ["b"], ["z"]),
        ],
        {"x": ROWS},
        {"y": [4, 1], "z": [4, 2]},
        {"sizes": at(1, 2)},
    ),
    "split_vector": (
        [
            node("Split", ["x", "sizes"], ["a", "b"], axis=1),
            node("Relu", ["a"], ["y"]),
            node("Relu", ["b"], ["z"]),
        ],
        {"x": (7,)},
        {"y": [3], "z": [4]},
        {"sizes": at(3, 4)},
    ),
    "backwards": (
        [node("Slice", ["x", "from", "to", "axis", "step"], ["part"]), RELU],
        {"x": ROWS},
        {"y": [4, 3]},
        {"from": at(-1), "to": at(-100), "axis": at(1), "step": at(-1)},
    ),
    "every_second": (
        [node("Slice", ["x", "from", "to", "axis", "step"], ["part"]), RELU],
        {"x": ROWS},
        {"y": [2, 3]},
        {"from": at(1), "to": at(100), "axis": at(1), "step": at(2)},
    ),
    "tile": (
        [node("Tile", ["x", "counts"], ["part"]), RELU],
        {"x": (1, 3)},
        {"y": [4, 3]},
        {"counts": at(1, 4, 1)},
    ),
    "gather_rows": (
        [node("Gather", ["x", "places"], ["part"], axis=1), RELU],
        {"x": ROWS},
        {"y": [3, 3]},
        {"places": at(2, 0, -1)},
    ),
    "gather_feature": (
        [node("Gather", ["x", "place"], ["part"], axis=2), RELU],
        {"x": ROWS},
        {"y": [4]},
        {"place": np.asarray(1)},
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_equal_to_onnx_runtime(name: str) -> None:
    nodes, inputs, outputs, constants = EXACT[name]
    given = [(key, list(shape)) for key, shape in inputs.items()]
    model = model_of(nodes, given, list(outputs.items()), constants)
    x = {key: 2 * events(*shape, seed=i) + 1 for i, (key, shape) in enumerate(inputs.items())}
    wanted, made = run(model, **x), firmware(model, WIDE, **x)
    assert len(made) == len(wanted)
    for one, other in zip(made, wanted, strict=True):
        assert len(np.unique(other)) > 1
        assert np.array_equal(one.reshape(other.shape), other)


def test_gather_from_a_table_is_an_embedding() -> None:
    nodes = [node("Cast", ["x"], ["index"], to=7), node("Gather", ["table", "index"], ["y"])]
    table = whole(9, 2) / 4
    model = model_of(nodes, [("x", [4])], [("y", [4, 2])], {"table": table})
    x = np.random.default_rng(0).integers(0, 9, (20, 4)).astype(np.float32)
    assert_equal(model, Target(), x=x)
    graph = to_hls4ml(model, Target()).graph
    (layer,) = (one for one in graph.get_layers() if one.class_name == "Embedding")
    assert str(graph.get_input_variables()[0].type.precision) == "ufixed<4,4,TRN,SAT,0>"
    assert layer.get_attr("vocab_size") == 9


def attention() -> onnx.ModelProto:
    nodes = [
        *(node("MatMul", ["x", letter.upper()], [letter]) for letter in "qkv"),
        node("Transpose", ["k"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["q", "turned"], ["products"]),
        node("Mul", ["products", "half"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["y"]),
    ]
    constants = {letter: whole(3, 2, seed=i) / 4 for i, letter in enumerate("QKV")}
    constants["half"] = np.asarray(0.5, np.float32)
    return model_of(nodes, [("x", list(ROWS))], [("y", [4, 2])], constants)


def test_attention() -> None:
    """Off by the softmax only: steps of 2^-15 of its result and of 2^-11 of its tables' inputs."""
    model, x = attention(), events(*ROWS)
    (wanted,), (made,) = run(model, x=x), firmware(model, FINE, x=x)
    assert np.abs(wanted).max() > 0.5
    assert 0 < np.abs(made.reshape(wanted.shape) - wanted).max() < 4 * 2.0**-9


def test_layer_normalization() -> None:
    """1 / sqrt comes from 1024 bins of the variance up to 1."""
    nodes = [node("LayerNormalization", ["x", "scale", "shift"], ["y"], epsilon=1e-3)]
    constants = {"scale": np.asarray([0.5, 1, 2], np.float32), "shift": whole(3) / 2}
    model = model_of(nodes, [("x", list(ROWS))], [("y", list(ROWS))], constants)
    rng = np.random.default_rng(2)
    x = (rng.choice([-0.75, 0.5, 0.75], (30, 4, 1)) * np.asarray([1, 0, -1])).astype(np.float32)
    x += rng.uniform(-0.1, 0.1, (30, *ROWS)).astype(np.float32)
    variance = x.var(axis=-1, keepdims=True)
    assert variance.max() < 1
    (wanted,), (made,) = run(model, x=x), firmware(model, FINE, x=x)
    bin_ = (np.abs(x - x.mean(axis=-1, keepdims=True)) * 2 / 1024 / variance**1.5).max()
    difference = np.abs(made.reshape(wanted.shape) - wanted).max()
    assert difference <= 2 * bin_ + 2.0**-8
    assert difference < 0.05
    (note,) = to_hls4ml(model, FINE).notes
    assert "ends at a variance of 1" in note


@pytest.mark.parametrize(
    ("name", "attributes", "bound"),
    [
        ("Elu", {"alpha": 0.5}, 8 / 1024),
        ("HardSigmoid", {}, 2.0**-14),
        ("LeakyRelu", {"alpha": 0.25}, 0),
        ("Selu", {}, 1.76 * 8 / 1024),
        ("Softplus", {}, 16 / 1024),
        ("Softsign", {}, 16 / 1024),
        ("ThresholdedRelu", {"alpha": 0.5}, 0),
    ],
)
def test_activations(name: str, attributes: dict[str, Any], bound: float) -> None:
    """Tables have 1024 entries over 8 or 16: a bin more of the input, whose slope is at most 1."""
    model = model_of([node(name, ["x"], ["y"], **attributes)], [("x", [5])], [("y", [5])], {})
    x = events(5) * np.float32(1.25)
    (wanted,), (made,) = run(model, x=x), firmware(model, FINE, x=x)
    assert np.abs(made - wanted).max() <= bound


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "reason"),
    [
        ([node("MatMul", ["x", "z"], ["y"])], {"x": (2, 4, 3), "z": (1, 3, 5)}, {"y": [2, 4, 5]},
         "MatMul (MatMul_0: multiplies events of shapes [2, 4, 3] and [1, 3, 5]; supported are "
         "matrices, and equally many of them)"),
        ([node("Einsum", ["x", "z"], ["y"], equation="bij,bij->ij")], {"x": ROWS, "z": ROWS},
         {"y": [3]}, "Einsum (Einsum_0: equation 'bij,bij->ij' does not keep the first axis, the "
         "events, apart)"),
        ([node("LayerNormalization", ["x", "g"], ["y"], epsilon=2e-3)], {"x": ROWS},
         {"y": [4, 3]}, "LayerNormalization (LayerNormalization_0: epsilon=0.002: hls4ml has 0.1, "
         "0.01, 0.001, ...)"),
        ([node("GatherND", ["x", "i"], ["y"])], {"x": ROWS}, {"y": [3]}, "GatherND ("),
    ],
)  # fmt: skip
def test_refusals(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, list[int]],
    reason: str,
) -> None:
    constants = {"g": np.ones(3, np.float32), "i": at(0, 1).reshape(1, 2)}
    given = [(key, list(shape)) for key, shape in inputs.items()]
    if nodes[0].op_type in ("Einsum", "GatherND"):  # the batch axis is gone
        model = unchecked(nodes, given, outputs, constants)
    else:
        model = model_of(nodes, given, list(outputs.items()), constants)
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(model)
    assert str(caught.value).startswith(f"unsupported operators: {reason}")


def unchecked(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, list[int]]],
    outputs: dict[str, list[int]],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    model = model_of([node("Relu", ["x"], ["y"])], inputs, [("y", list(ROWS))], {})
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for one in nodes for name in one.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name)
        for name, array in constants.items()
        if name in used
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def counted_as_events(steps: int = 3, leak: bool = False) -> ModelWriter:
    """A convolution over images of several times, as `x.view(batch * steps, ...)` writes it."""
    write = ModelWriter(8)

    def reshaped(x: str, *shape: int) -> str:
        write.weights.append(numpy_helper.from_array(np.array(shape), f"shape{len(write.weights)}"))
        return write.node("Reshape", x, write.weights[-1].name)

    x = write.quant(write.input(size=(steps, 2, 5, 5)), 6, 3)
    x = reshaped(x, -1, 2, 5, 5)
    weights = write.quant(write.weight(write.grid(3, 2, 3, 3)), 6, 2)
    x = write.quant(write.node("Relu", write.node("Conv", x, weights)), 6, 3, signed=False)
    if leak:
        write.output(x, (3, 3, 3))
    x = write.node("Flatten", write.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1]))
    x = write.node("Flatten", reshaped(x, -1, steps, 12))
    write.output(write.gemm(x, steps * 12, 3, bits=6), 3)
    return write


def test_steps_that_the_model_counts_as_events() -> None:
    design = Design.from_onnx(counted_as_events().model())
    fidelity = measure_fidelity(design)
    assert fidelity.reason == ""
    assert fidelity.outputs[0].largest_difference == 0
    kinds = [layer.kind for layer in design.graph.layers]
    assert kinds.count("Conv2D") == 3


def test_steps_as_events_that_leave_the_model_are_refused() -> None:
    with pytest.raises(errors.ModelError, match=r"^the shape of tensor"):
        Design.from_onnx(counted_as_events(leak=True).model())


def test_every_transpose_of_the_events_is_listed() -> None:
    """keras2onnx put a batch normalization of features between two such transpositions."""
    write = ModelWriter(9)
    x = write.node("Transpose", write.gemm(write.input(batch=1), 4, 6))
    x = write.node("Transpose", write.node("Relu", x))
    x = write.node("Transpose", x, perm=[1, 0])
    write.output(write.node("ReduceMean", write.node("Transpose", x), axes=[1]), 1)
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(write.model())
    assert str(caught.value).count("moves the batch axis") == 4
