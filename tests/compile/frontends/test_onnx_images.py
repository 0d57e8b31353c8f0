"""Images and several tensors in ONNX: the firmware's numbers are ONNX Runtime's, channels first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from samebits import Design, Target
from samebits.compile.frontends.onnx import layout, runnable
from samebits.sim.onnx_engine import OnnxEngine

from ...models import ModelWriter, refusal

IMAGE, SIGNAL, VECTOR = (3, 6, 5), (3, 8), (6,)
Make = Callable[[ModelWriter, str], str]


def integers(write: ModelWriter, *values: int) -> str:
    name = f"w{len(write.weights)}"
    write.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return name


def conv(write: ModelWriter, x: str, *shape: int, bias: bool = True, **attrs: Any) -> str:
    """A convolution with quantized weights of shape (C_out, C_in / group, *window)."""
    operands = [write.quant(write.weight(write.grid(*shape)), 5, 1)]
    if bias:
        operands.append(write.quant(write.weight(write.grid(shape[0])), 6, 2))
    return write.node("Conv", x, *operands, **attrs)


def dense(write: ModelWriter, x: str, n_in: int, n_out: int) -> str:
    return write.gemm(x, n_in, n_out, bits=6)


def with_constant(op: str, shape: tuple[int, ...], first: bool = False) -> Make:
    def make(write: ModelWriter, x: str) -> str:
        values = write.rng.choice([0.25, -0.5, 1.0, 2.0, 4.0], shape)
        operands = (write.weight(values), x) if first else (x, write.weight(values))
        return write.node(op, *operands)

    return make


def node(op: str, *constants: Any, **attrs: Any) -> Make:
    return lambda w, x: w.node(op, x, *(w.weight(np.array(c)) for c in constants), **attrs)


def moved(op: str, *numbers: tuple[int, ...] | None, **attrs: Any) -> Make:
    return lambda w, x: w.node(
        op, x, *("" if n is None else integers(w, *n) for n in numbers), **attrs
    )


def joined(op: str, **attrs: Any) -> Make:
    """With a quantized convolution of the same tensor."""
    return lambda w, x: w.node(
        op, w.quant(conv(w, x, 3, 3, 3, 3, pads=[1] * 4), 8, 5, signed=False), x, **attrs
    )


def padded_pool(op: str, signed: bool, **attrs: Any) -> Make:
    return lambda w, x: w.node(op, w.quant(x, 7, 4, signed), **attrs)


def batchnorm(write: ModelWriter, x: str) -> str:
    rows = [[0.5, 2, -1], [0.25, 1, 0], [1, 0.5, -2], [1, 4, 0.25]]
    return write.node("BatchNormalization", x, *map(write.weight, rows), epsilon=0.0)


def flattened(write: ModelWriter, x: str) -> str:
    """PyTorch: the Dense layer's rows count channels first, the firmware's image has them last."""
    y = write.quant(write.node("Relu", conv(write, x, 4, 3, 3, 3)), 6, 3, signed=False)
    y = write.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    return dense(write, write.node("Flatten", y), 8, 3)


def flattened_and_relu(write: ModelWriter, x: str) -> str:
    y = write.node("Relu", write.node("Flatten", conv(write, x, 2, 3, 3, 3)))
    return dense(write, y, 24, 3)


def flattened_output(write: ModelWriter, x: str) -> str:
    return write.node("Flatten", conv(write, x, 4, 3, 3, 3))


def flattened_and_scaled(write: ModelWriter, x: str) -> str:
    y = write.node("Flatten", conv(write, x, 2, 3, 3, 3))
    y = write.node("Mul", y, write.weight(write.rng.choice([0.5, 1, 2], 24)))
    return dense(write, y, 24, 3)


def squeezed(write: ModelWriter, x: str) -> str:
    y = write.node("GlobalAveragePool", conv(write, x, 4, 3, 3, 2))
    y = write.node("Squeeze", y, integers(write, 2, 3))
    return dense(write, write.quant(y, 8, 4), 4, 3)


def unsqueezed(write: ModelWriter, x: str) -> str:
    y = write.node("Unsqueeze", x, integers(write, 1))
    return conv(write, y, 2, 1, 3)


def squeeze_and_reshape(write: ModelWriter, x: str) -> str:
    y = write.node("GlobalMaxPool", x)
    return dense(write, write.node("Reshape", y, integers(write, -1, 3)), 3, 2)


def rows_to_image(write: ModelWriter, x: str) -> str:
    return conv(write, write.node("Reshape", x, integers(write, -1, 2, 3, 1)), 2, 2, 2, 1)


def rows(write: ModelWriter, x: str) -> str:
    """A Dense layer on every row of (8, 3), as PyTorch writes it: MatMul and Add."""
    y = write.node("Transpose", x, perm=[0, 2, 1])
    y = write.node("MatMul", y, write.quant(write.weight(write.grid(3, 4)), 5, 1))
    return write.node("Add", y, write.weight([0.5, -0.25, 1, 2]))


def per_channel_scales(write: ModelWriter, x: str) -> str:
    scale = np.array([0.125, 0.25, 0.0625, 0.5]).reshape(4, 1, 1, 1)
    weights = write.quant(write.weight(write.grid(4, 3, 2, 2)), 4, 0, scale=scale)
    return write.node("Conv", x, weights)


def scaled_activations(write: ModelWriter, x: str) -> str:
    scale = np.array([0.125, 0.25, 0.5]).reshape(1, 3, 1, 1)
    return conv(write, write.quant(x, 6, 0, scale=scale), 2, 3, 2, 2)


def zero_points(write: ModelWriter, x: str) -> str:
    y = write.quant(conv(write, x, 3, 3, 2, 2), 6, 4, signed=False, zero=np.array(12.0))
    return conv(write, y, 2, 3, 2, 2)


def residual(write: ModelWriter, x: str) -> str:
    y = write.quant(write.node("Relu", conv(write, x, 3, 3, 3, 3, pads=[1] * 4)), 6, 3, False)
    y = write.node("Add", conv(write, y, 3, 3, 3, 3, pads=[1] * 4), x)
    return write.node("GlobalAveragePool", write.node("Relu", y))


def channels_last(write: ModelWriter, x: str) -> str:
    """As Keras exporters write: images have their channels last but around convolutions."""
    y = write.node("Transpose", x, perm=[0, 3, 1, 2])
    y = write.node("Transpose", conv(write, y, 2, 5, 2, 2), perm=[0, 2, 3, 1])
    return write.node("Flatten", write.node("Relu", y))


def shared_weights(write: ModelWriter, x: str) -> str:
    weights = write.quant(write.weight(write.grid(3, 3, 1, 1)), 5, 1)
    return write.node("Conv", write.node("Relu", write.node("Conv", x, weights)), weights)


def resized(scales: tuple[float, ...], **attrs: Any) -> Make:
    return lambda w, x: w.node("Resize", x, "", w.weight(scales), mode="nearest", **attrs)


HALF = {"kernel_shape": [2, 2], "strides": [2, 2]}
ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
# name: input shape, what is done to the quantized input, True if io_stream can do it
EXACT: dict[str, tuple[tuple[int, ...], Make, bool]] = {
    "Conv": (IMAGE, lambda w, x: conv(w, x, 4, 3, 3, 2), True),
    "Conv, no bias": (IMAGE, lambda w, x: conv(w, x, 4, 3, 3, 2, bias=False), True),
    "Conv, pads": (IMAGE, lambda w, x: conv(w, x, 2, 3, 3, 3, pads=[1, 0, 2, 1]), True),
    "Conv, strides": (IMAGE, lambda w, x: conv(w, x, 2, 3, 2, 2, strides=[2, 2]), True),
    "Conv, same": (IMAGE, lambda w, x: conv(w, x, 2, 3, 2, 3, auto_pad="SAME_UPPER"), True),
    "Conv, same lower": (IMAGE, lambda w, x: conv(w, x, 2, 3, 2, 3, auto_pad="SAME_LOWER"), True),
    "Conv, dilations": (IMAGE, lambda w, x: conv(w, x, 2, 3, 2, 2, dilations=[2, 1]), True),
    "Conv, groups": (IMAGE, lambda w, x: conv(w, x, 6, 1, 2, 2, group=3), True),
    "Conv, depthwise": (IMAGE, lambda w, x: conv(w, x, 3, 1, 3, 2, group=3), True),
    "Conv, 1D": (SIGNAL, lambda w, x: conv(w, x, 4, 3, 3, pads=[1, 1]), True),
    "Conv, depthwise, 1D": (SIGNAL, lambda w, x: conv(w, x, 3, 1, 3, group=3), True),
    "Conv, scales per channel": (IMAGE, per_channel_scales, True),
    "Conv, shared weights": (IMAGE, shared_weights, True),
    "Conv, channels last": (IMAGE, channels_last, True),
    "Quant, scales per channel": (IMAGE, scaled_activations, True),
    "Quant, zero point": (IMAGE, zero_points, True),
    "MaxPool": (IMAGE, node("MaxPool", **HALF), True),
    "MaxPool, overlapping": (IMAGE, node("MaxPool", kernel_shape=[2, 3]), False),
    "MaxPool, pads": (
        IMAGE,
        padded_pool("MaxPool", True, kernel_shape=[3, 3], pads=[1, 0, 1, 1]),
        False,
    ),
    "MaxPool, pads, unsigned": (
        IMAGE,
        padded_pool("MaxPool", False, pads=[1, 1, 1, 0], **HALF),
        True,
    ),
    "MaxPool, same": (IMAGE, padded_pool("MaxPool", True, auto_pad="SAME_UPPER", **HALF), False),
    "MaxPool, ceil": (IMAGE, node("MaxPool", ceil_mode=1, **HALF), False),
    "MaxPool, 1D": (SIGNAL, node("MaxPool", kernel_shape=[2], strides=[2]), True),
    "AveragePool": (IMAGE, node("AveragePool", **HALF), True),
    "AveragePool, 1D": (SIGNAL, node("AveragePool", kernel_shape=[4], strides=[4]), True),
    "AveragePool, pads": (IMAGE, node("AveragePool", pads=[0, 1, 0, 0], **HALF), False),
    "AveragePool, pads counted": (
        IMAGE,
        node("AveragePool", pads=[0, 0, 0, 1], count_include_pad=1, **HALF),
        True,
    ),
    "GlobalAveragePool": ((3, 4, 8), node("GlobalAveragePool"), True),
    "GlobalAveragePool, 1D": (SIGNAL, node("GlobalAveragePool"), True),
    "GlobalMaxPool": (IMAGE, node("GlobalMaxPool"), True),
    "GlobalMaxPool, 1D": (SIGNAL, node("GlobalMaxPool"), True),
    "ReduceMean": ((3, 4, 8), moved("ReduceMean", (2, 3), keepdims=0), True),
    "ReduceMean of rows": ((8, 3), moved("ReduceMean", (1,)), True),
    "ReduceMean of a vector": ((8,), moved("ReduceMean", (1,)), True),
    "ReduceMax": (IMAGE, moved("ReduceMax", (-2, -1)), True),
    "ReduceMax of channels": (SIGNAL, moved("ReduceMax", (1,)), True),
    "ReduceSum": (VECTOR, moved("ReduceSum", (1,)), True),
    "Pad": (IMAGE, moved("Pad", (0, 0, 1, 0, 0, 0, 2, 3)), True),
    "Pad, axes": (IMAGE, moved("Pad", (1, 2), None, (-1,)), True),
    "Pad, 1D": (SIGNAL, moved("Pad", (0, 0, 1, 0, 0, 2)), True),
    "Pad, channels": (IMAGE, moved("Pad", (0, 1, 0, 0, 0, 0, 0, 0)), True),
    "Slice": (IMAGE, moved("Slice", (1, 0), (-1, 4), (2, 3)), True),
    "Slice, channels": (IMAGE, moved("Slice", (1,), (3,), (1,)), True),
    "Resize": (IMAGE, resized((1, 1, 2, 3), **ASYMMETRIC), True),
    "Resize, half pixel": (IMAGE, resized((1, 1, 3, 2)), True),
    "Resize, 1D": (SIGNAL, resized((1, 1, 2), **ASYMMETRIC), True),
    "Tile": ((3, 1, 5), moved("Tile", (1, 1, 4, 1)), True),
    "BatchNormalization": (IMAGE, batchnorm, True),
    "BatchNormalization behind Conv": (
        IMAGE,
        lambda w, x: batchnorm(w, w.node("Relu", conv(w, x, 3, 3, 2, 2))),
        True,
    ),
    "Transpose": (IMAGE, node("Transpose", perm=[0, 2, 3, 1]), True),
    "Transpose, 1D": (SIGNAL, node("Transpose", perm=[0, 2, 1]), True),
    "Concat, channels": (IMAGE, joined("Concat", axis=1), True),
    "Concat, rows": (IMAGE, joined("Concat", axis=-2), False),
    "Concat, three": (VECTOR, lambda w, x: w.node("Concat", x, w.node("Relu", x), x, axis=1), True),
    **{op: (IMAGE, joined(op), True) for op in ("Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum")},
    "Sum, three": (VECTOR, lambda w, x: w.node("Sum", x, w.node("Relu", x), x), True),
    "Mean, four": (
        VECTOR,
        lambda w, x: w.node("Mean", x, w.node("Relu", x), x, dense(w, x, 6, 6)),
        True,
    ),
    "Add a constant per channel": (IMAGE, with_constant("Add", (3, 1, 1)), True),
    "Add a constant per element": (IMAGE, with_constant("Add", IMAGE), True),
    "Mul by a constant per channel": (IMAGE, with_constant("Mul", (1, 3, 1, 1)), True),
    "Mul by a number": (IMAGE, with_constant("Mul", ()), True),
    "Div by a constant per column": (IMAGE, with_constant("Div", (5,)), True),
    "Sub from a constant": (IMAGE, with_constant("Sub", (3, 1, 1), first=True), True),
    "Max of a constant": (IMAGE, with_constant("Max", ()), True),
    "Min of a constant": (VECTOR, with_constant("Min", (6,)), True),
    "Clip": (IMAGE, node("Clip", 0.0, 6.0), True),
    "Clip, below zero": (VECTOR, node("Clip", -1.0, 2.5), True),
    "Clip, above": (VECTOR, lambda w, x: w.node("Clip", x, "", w.weight(2.5)), True),
    "PRelu": (IMAGE, lambda w, x: w.node("PRelu", x, w.weight([[[0.25]], [[-0.5]], [[2]]])), True),
    "HardSigmoid": (IMAGE, node("HardSigmoid", alpha=0.25, beta=0.5), True),
    "Flatten": (IMAGE, flattened, True),
    "Flatten as the output": (IMAGE, flattened_output, True),
    "Flatten and Relu": (IMAGE, flattened_and_relu, False),
    "Flatten and Mul": (IMAGE, flattened_and_scaled, False),
    "Squeeze": ((3, 5, 6), squeezed, True),
    "Unsqueeze": (VECTOR, unsqueezed, True),
    "Reshape of one pixel": (IMAGE, squeeze_and_reshape, True),
    "Reshape to an image": (VECTOR, rows_to_image, True),
    "MatMul of rows": (SIGNAL, rows, True),
    "squeeze and excitation": (
        IMAGE,
        lambda w, x: w.node(
            "Mul", x, w.quant(conv(w, w.node("GlobalMaxPool", x), 3, 3, 1, 1), 8, 4)
        ),
        True,
    ),
    "spatial attention": (
        IMAGE,
        lambda w, x: w.node("Mul", w.quant(conv(w, x, 1, 3, 1, 1), 8, 4), x),
        True,
    ),
    "residual": ((3, 4, 8), residual, True),
}


def network(shape: tuple[int, ...], make: Make, rank: int = 0) -> Any:
    """A model of a quantized input; its result's shape is ONNX Runtime's, or of open sizes."""
    write = ModelWriter(5, bodies=False)
    x = write.quant(write.input(size=shape), 8, 4)
    write.output(make(write, x), tuple("abc")[:rank])
    model = write.model()
    model.opset_import[0].version = 18  # the first with axes of Pad
    if not rank:
        output = model.graph.output[0].type.tensor_type
        output.ClearField("shape")
        zeros = np.zeros((1, *shape), np.float32)
        (found,) = OnnxEngine(runnable(model.SerializeToString())).run([zeros]).values()
        for size in found.shape:
            output.shape.dim.add().dim_value = size
        output.shape.dim[0].dim_param = "N"
    return model


def events(shape: tuple[int, ...], count: int = 50) -> Any:
    """Raw numbers and numbers on the input's grid, some of them beyond its range."""
    rng = np.random.default_rng(6)
    values = rng.normal(0, 4, (count, *shape))
    values[::2] = np.rint(values[::2] * 16) / 16
    return values.astype(np.float32)


UNSUPPORTED: dict[str, tuple[tuple[int, ...], Make, str]] = {
    "broadcast": (
        (5, 6, 5),
        lambda w, x: w.node(
            "Mul", x, w.node("Squeeze", w.node("GlobalMaxPool", x), integers(w, 2, 3))
        ),
        "Mul (Mul_0: joins tensors of shapes (5, 6, 5), (5,); supported are equal ones, and axes "
        "of one element; put a Reshape before it)",
    ),
    "batch": (
        IMAGE,
        lambda w, x: w.node(
            "Transpose", w.node("Transpose", x, perm=[1, 0, 2, 3]), perm=[1, 0, 2, 3]
        ),
        "Transpose (Transpose_0: perm=[1, 0, 2, 3] moves the batch axis)",
    ),
    "pad value": (
        IMAGE,
        lambda w, x: w.node("Pad", x, integers(w, 0, 0, 1, 0, 0, 0, 0, 0), w.weight(np.array(1.0))),
        "Pad (Pad_0: pads with 1, only 0 is supported)",
    ),
    "pad mode": (
        IMAGE, moved("Pad", (0, 0, 1, 0, 0, 0, 0, 0), mode="edge"),
        "Pad (Pad_0: mode=edge, only constant is supported)",
    ),
    "pad everywhere": (
        SIGNAL, moved("Pad", (0, 1, 1, 0, 0, 0)),
        "Pad (Pad_0: changes axes [1, 2] of events of shape (3, 8); supported are one or two axes "
        "besides the channels)",
    ),
    "resize": (
        SIGNAL, resized((1, 1, 1.5), **ASYMMETRIC),
        "Resize (Resize_0: 8 to 12 elements does not repeat every element as often",
    ),
    "linear": (
        SIGNAL, lambda w, x: w.node("Resize", x, "", w.weight([1.0, 1, 2]), mode="linear"),
        "Resize (Resize_0: mode=linear, only nearest is supported)",
    ),
    "pool dilations": (
        IMAGE, node("MaxPool", kernel_shape=[2, 2], dilations=[2, 1]),
        "MaxPool (maxpool1: dilations=[2, 1], only 1 is supported)",
    ),
    "3D": (
        (2, 3, 3, 3),
        lambda w, x: w.node("Squeeze", conv(w, x, 1, 2, 2, 2, 2), integers(w, 1)),
        "Conv (Conv_0: events of shape (2, 3, 3, 3); supported are one and two axes besides the "
        "channels)",
    ),
    "constant per element": (
        IMAGE, lambda w, x: w.node("Add", conv(w, x, 3, 3, 1, 1), w.weight(w.grid(*IMAGE))),
        "Add (Add_0: has a constant per element behind a convolution; put a Quant node between "
        "them, or give one number per channel)",
    ),
    "computed kernel": (
        (1, 6, 5), lambda w, x: w.node("Conv", x, w.node("Relu", x)),
        "Conv (conv2: weights and bias must be constant)",
    ),
}  # fmt: skip


def check(model: Any, x: Any, **target: Any) -> Design:
    design = Design.from_onnx(model, Target(**target))
    (wanted,) = OnnxEngine(runnable(model.SerializeToString()), "disabled").run([x]).values()
    assert len(np.unique(wanted)) > 1
    assert np.array_equal(design.simulate(x).reshape(wanted.shape), wanted)
    return design


@pytest.mark.parametrize("name", sorted(EXACT))
def test_the_firmware_gives_onnx_runtimes_numbers(name: str) -> None:
    shape, make, _ = EXACT[name]
    check(network(shape, make), events(shape))


@pytest.mark.parametrize("name", sorted(name for name, case in EXACT.items() if case[2]))
def test_streams_give_onnx_runtimes_numbers(name: str) -> None:
    shape, make, _ = EXACT[name]
    check(network(shape, make), events(shape), io_type="io_stream")


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_what_hls4ml_cannot_build_is_refused(name: str) -> None:
    shape, make, reason = UNSUPPORTED[name]
    assert refusal(network(shape, make, min(3, len(shape)))).startswith(
        f"unsupported operators: {reason}"
    )


def test_all_refused_nodes_are_listed() -> None:
    def make(write: ModelWriter, x: str) -> str:
        y = write.node("Resize", x, "", write.weight([1.0, 1, 2, 2]), mode="linear")
        return moved("Pad", (0, 0, 1, 0, 0, 0, 0, 0), mode="edge")(write, y)

    assert refusal(network(IMAGE, make, 3)) == (
        "unsupported operators: Resize (Resize_0: mode=linear, only nearest is supported); Pad "
        "(Pad_0: mode=edge, only constant is supported)"
    )


def test_constants_that_do_not_fit_an_image_are_refused() -> None:
    model = network((3, 1, 5), lambda w, x: w.node("Mul", x, w.weight(w.grid(6, 1))), 3)
    assert refusal(model) == (
        "Mul Mul_0: a constant of shape [6, 1] does not fit events of shape [3, 1, 5]"
    )


def test_events_and_outputs_have_the_models_axes() -> None:
    shape, make, _ = EXACT["Conv"]
    design = check(network(shape, make), events(shape))
    assert design.graph.tensors["x"].shape == IMAGE
    assert design.simulate(events(shape)).shape[1:] == (4, 4, 4)
    assert design.facts["notes"] == [
        "input x of shape (3, 6, 5) does not have its channels last: the firmware transposes it "
        "first"
    ]


def test_an_image_of_one_channel_needs_no_transpose() -> None:
    design = check(network((1, 6, 5), lambda w, x: conv(w, x, 4, 1, 3, 2)), events((1, 6, 5)))
    assert design.graph.tensors["x"].shape == (1, 6, 5)
    assert design.facts["notes"] == []


def test_a_transpose_of_one_row_is_not_lost() -> None:
    """hls4ml takes out every Transpose of an input whose first axis has one element."""
    make = node("Transpose", perm=[0, 1, 3, 2])
    check(network((1, 6, 5), make), events((1, 6, 5)))


def test_dense_rows_take_the_order_of_the_firmware() -> None:
    design = check(network(IMAGE, flattened), events(IMAGE))
    kinds = [layer.name.split("_")[0] for layer in design.graph.layers]
    assert "global" not in kinds  # no Transpose but the input's
    assert sum("transposed" in layer.name for layer in design.graph.layers) == 1


def test_hls4ml_of_others_stays_as_it_was() -> None:
    from hls4ml.converters import get_supported_onnx_layers  # type: ignore[import-untyped]

    before = get_supported_onnx_layers()
    shape, make, _ = EXACT["GlobalMaxPool"]
    check(network(shape, make), events(shape))
    assert get_supported_onnx_layers() == before


def test_every_operator_of_the_layout_is_tested() -> None:
    used = {
        node.op_type
        for shape, make, _ in EXACT.values()
        for node in network(shape, make).graph.node
    }
    assert {*layout.CHECKS} - used == {"Upsample", "Sqrt"}  # test_onnx_roots.py


EXPORTS = Path(__file__).parent / "exports" / "images"
WIDE = "fixed<60,20>"  # unquantized networks: no number of these files needs more


@pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
@pytest.mark.parametrize("path", sorted(EXPORTS.glob("*.onnx")), ids=lambda path: path.stem)
def test_files_of_pytorch_and_brevitas(path: Path, io_type: str) -> None:
    model = onnx.load(path)
    target = {"io_type": io_type, "precision": WIDE}
    if path.stem == "torch_pads" and io_type == "io_stream":
        assert "strides are not its pool in io_stream" in refusal(model, **target)
        return
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    x = np.random.default_rng(1).integers(-64, 64, (50, *shape)) / 16
    check(model, x.astype(np.float32), **target)
