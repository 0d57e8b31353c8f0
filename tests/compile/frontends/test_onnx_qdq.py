"""QDQ, QCDQ and the dialects of QONNX: the converted model has the bits of the file."""

import copy
import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.onnx import runnable
from samebits.compile.frontends.onnx.qdq import to_qonnx
from samebits.sim.onnx_engine import OnnxEngine

INT4, UINT4 = TensorProto.INT4, TensorProto.UINT4
INT8, UINT8 = TensorProto.INT8, TensorProto.UINT8
INT16, UINT16, INT32 = TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32
KINDS = [INT4, UINT4, INT8, UINT8, INT16, UINT16]


class QdqWriter:
    """A QDQ model, node by node."""

    def __init__(self, size: Any = 4, seed: int = 0, opset: int = 21) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        shape = ["N", *size] if isinstance(size, tuple) else ["N", size]
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)

    def constant(self, values: Any, kind: int = TensorProto.FLOAT) -> str:
        name = f"c{len(self.tensors)}"
        array = np.asarray(values).astype(helper.tensor_dtype_to_np_dtype(kind))
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str, **attrs: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}_out"], name=name, **attrs))
        return f"{name}_out"

    def pair(
        self, x: str, scale: Any, zero: Any = 0, kind: int = INT8, clip: Any = None, **attrs: Any
    ) -> str:
        """QuantizeLinear, a Clip of integers if there is one, DequantizeLinear."""
        operands = self.constant(scale), self.constant(zero, kind)
        q = self.node("QuantizeLinear", x, *operands, **attrs)
        if clip is not None:
            q = self.node("Clip", q, *(self.constant(limit, kind) for limit in clip))
        return self.node("DequantizeLinear", q, *operands, **attrs)

    def integers(self, values: Any, scale: Any, kind: int = INT8, **attrs: Any) -> str:
        """DequantizeLinear of an integer constant."""
        zero = attrs.pop("zero", np.zeros(np.shape(scale)))
        operands = self.constant(scale), self.constant(zero, kind)
        return self.node("DequantizeLinear", self.constant(values, kind), *operands, **attrs)

    def model(self, y: str) -> onnx.ModelProto:
        rank = len(self.input.type.tensor_type.shape.dim)
        output = helper.make_tensor_value_info(y, TensorProto.FLOAT, [None] * rank)
        graph = helper.make_graph(self.nodes, "net", [self.input], [output], self.tensors)
        domains = sorted({node.domain for node in self.nodes} - {""})
        opsets = [
            helper.make_opsetid("", self.opset),
            *(helper.make_opsetid(d, 1) for d in domains),
        ]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(model: onnx.ModelProto, x: Any) -> Any:
    engine = OnnxEngine(runnable(model.SerializeToString()), "disabled")
    return next(iter(engine.run([np.asarray(x, np.float32)]).values()))


def converted(model: onnx.ModelProto) -> onnx.ModelProto:
    before = copy.deepcopy(model)
    fresh, refused = to_qonnx(model)
    assert model == before
    assert refused == {}
    return fresh


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def events(model: QdqWriter, scale: float, steps: int, size: int = 4) -> Any:
    """Random numbers, ties of the scale's steps and their neighbours, extremes."""
    low, high = -1.3 * steps, 1.3 * steps
    ties = (np.rint(model.rng.uniform(low, high, (1000, size))) + 0.5) * np.float32(scale)
    ties = ties.astype(np.float32)
    return np.concatenate(
        [
            (model.rng.uniform(low, high, (1000, size)) * scale).astype(np.float32),
            ties,
            np.nextafter(ties, np.float32(np.inf)),
            np.nextafter(ties, np.float32(-np.inf)),
            np.resize(np.float32([0, -0.0, 1e30, -1e30, 1e-40, -1e-40]), (3, size)),
        ]
    )


@pytest.mark.parametrize("scale", [0.25, 0.037])
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_converted_bit_for_bit(kind: int, scale: float) -> None:
    bits = {INT4: 4, UINT4: 4, INT8: 8, UINT8: 8, INT16: 16, UINT16: 16}[kind]
    low = -(2 ** (bits - 1)) if kind in (INT4, INT8, INT16) else 0
    for zero in (low, 0, low + 2 ** (bits - 1), low + 3, low + 2**bits - 4, low + 2**bits - 1):
        write = QdqWriter()
        model = write.model(write.pair("x", scale, zero, kind))
        x = events(write, scale, 2**bits)
        fresh = converted(model)
        assert {"QuantizeLinear", "DequantizeLinear"}.isdisjoint(operators(fresh))
        assert np.array_equal(run(model, x), run(fresh, x)), zero
        if zero in (low, low + 2 ** (bits - 1)):
            assert operators(fresh) == ["Quant"]


@pytest.mark.parametrize(
    ("clip", "zero", "quant"),
    [
        ((-127, 127), 0, (8, 1, 1)),
        ((-8, 7), 0, (4, 1, 0)),
        ((0, 15), 0, (4, 0, 0)),
        ((-7, 7), 0, (4, 1, 1)),
        ((-12, 3), 0, (4, 0, 0)),  # limited by a second Quant
        ((-7, 7), 5, (4, 1, 1)),
    ],
)
def test_clipped_pairs_are_converted_bit_for_bit(
    clip: tuple[int, int], zero: int, quant: tuple[int, ...]
) -> None:
    for scale in (0.125, 0.3):
        write = QdqWriter()
        model = write.model(write.pair("x", scale, zero, clip=clip))
        fresh = converted(model)
        x = events(write, scale, 32)
        assert np.array_equal(run(model, x), run(fresh, x))
        constants = {t.name: numpy_helper.to_array(t) for t in fresh.graph.initializer}
        last = [
            node
            for node in fresh.graph.node
            if node.op_type == "Quant" and node.input[0] not in constants
        ][-1]
        found = {item.name: item.i for item in last.attribute}
        assert (int(constants[last.input[3]]), found["signed"], found["narrow"]) == quant


def test_pairs_with_a_scale_per_channel() -> None:
    for size, axis in ((4, 1), ((3, 5), 1), ((3, 5), -1), ((3, 5), 2)):
        channels = size if isinstance(size, int) else size[axis - 1 if axis > 0 else axis]
        write = QdqWriter(size)
        scale = write.rng.uniform(0.01, 0.1, channels)
        model = write.model(write.pair("x", scale, np.zeros(channels), axis=axis))
        shape = (500, size) if isinstance(size, int) else (500, *size)
        x = write.rng.normal(0, 5, shape)
        assert np.array_equal(run(model, x), run(converted(model), x))


@pytest.mark.parametrize("kind", [INT4, UINT4, INT8, UINT8, INT32])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_integer_constants(kind: int, axis: int | None) -> None:
    write = QdqWriter()
    low, high = {INT4: (-8, 8), UINT4: (0, 16), INT8: (-128, 128), UINT8: (0, 256),
                 INT32: (-(2**20), 2**20)}[kind]  # fmt: skip
    values = write.rng.integers(low, high, (4, 3))
    channels = () if axis is None else ((4, 3)[axis],)
    zero = write.rng.integers(0, 8, channels) if kind != INT32 else np.zeros(channels)
    w = write.integers(values, write.rng.uniform(0.01, 0.1, channels), kind, zero=zero,
                       **({} if axis is None else {"axis": axis}))  # fmt: skip
    model = write.model(write.node("MatMul", "x", w))
    fresh = converted(model)
    assert operators(fresh) == ["Quant", "MatMul"]
    x = write.rng.normal(0, 5, (100, 4))
    assert np.array_equal(run(model, x), run(fresh, x))


def test_channels_of_scale_0_are_0() -> None:
    write = QdqWriter()
    w = write.integers(write.rng.integers(-9, 9, (4, 3)), [0.25, 0.0, 0.125], axis=1)
    model = write.model(write.node("MatMul", write.pair("x", 0.25), w))
    x = np.rint(write.rng.normal(0, 5, (100, 4))) / 4
    wanted = run(model, x)
    assert np.array_equal(wanted, run(converted(model), x))
    assert np.array_equal(wanted, Design.from_onnx(model).simulate(x))


def test_integers_beyond_float32_stay_numbers() -> None:
    write = QdqWriter()
    model = write.model(write.node("Add", "x", write.integers([2**30 + 1, 5, -7, 0], 0.1, INT32)))
    assert operators(converted(model)) == ["Add"]
    x = write.rng.normal(0, 5, (100, 4))
    assert np.array_equal(run(model, x), run(converted(model), x))


def dense(write: QdqWriter, x: str, n_in: int, n_out: int, step: float, **attrs: Any) -> str:
    """Integer weights behind a Transpose, as PyTorch's exporter writes them, and an int32 bias."""
    weights = write.rng.integers(-20, 20, (n_out, n_in))
    w = write.node("Transpose", write.integers(weights, attrs.get("scale", 1 / 16)), perm=[1, 0])
    bias = write.integers(write.rng.integers(-500, 500, n_out), step / 16, INT32)
    return write.node("Add", write.node("MatMul", x, w), bias)


def network(**attrs: Any) -> QdqWriter:
    """Two dense layers of powers of two: exact in float32."""
    write = QdqWriter()
    x = write.pair("x", 1 / 8)
    x = write.node("Relu", dense(write, x, 4, 6, 1 / 8, **attrs))
    x = write.pair(x, 1 / 4, -128)
    write.last = dense(write, x, 6, 3, 1 / 4, **attrs)  # type: ignore[attr-defined]
    return write


def test_a_network_has_one_answer_everywhere() -> None:
    write = network()
    model = write.model(write.last)  # type: ignore[attr-defined]
    x = np.rint(write.rng.normal(0, 40, (2000, 4))) / 8
    wanted = run(model, x)
    assert np.array_equal(wanted, run(converted(model), x))
    assert np.array_equal(wanted, Design.from_onnx(model).simulate(x))


def test_outputs_may_be_listed_among_the_inner_tensors() -> None:
    write = network()
    model = write.model(write.last)  # type: ignore[attr-defined]
    model.graph.value_info.append(model.graph.output[0])
    x = np.rint(write.rng.normal(0, 40, (100, 4))) / 8
    assert np.array_equal(run(model, x), Design.from_onnx(model).simulate(x))


@pytest.mark.parametrize("zero", [-128, 0, 3, -90])
def test_zero_points_have_one_answer_everywhere(zero: int) -> None:
    write = QdqWriter()
    x = dense(write, write.pair("x", 1 / 8), 4, 6, 1 / 8)
    model = write.model(dense(write, write.pair(x, 1 / 4, zero), 6, 3, 1 / 4))
    x = np.rint(write.rng.normal(0, 40, (2000, 4))) / 8
    wanted = run(model, x)
    assert np.array_equal(wanted, run(converted(model), x))
    assert np.array_equal(wanted, Design.from_onnx(model).simulate(x))


def test_convolutions_keep_their_bits() -> None:
    write = QdqWriter((2, 6, 6))
    weights = write.rng.integers(-20, 20, (3, 2, 3, 3))
    w = write.integers(weights, write.rng.uniform(0.01, 0.1, 3), axis=0)
    bias = write.integers(write.rng.integers(-500, 500, 3), 0.001, INT32)
    x = write.node("Conv", write.pair("x", 0.07, 3), w, bias, pads=[1, 1, 1, 1])
    model = write.model(write.pair(write.node("MaxPool", x, kernel_shape=[2, 2]), 0.11, -128))
    x = write.rng.normal(0, 5, (50, 2, 6, 6))
    assert np.array_equal(run(model, x), run(converted(model), x))


def quantizer(op: str, x: str, write: QdqWriter, *operands: Any, **attrs: Any) -> str:
    return write.node(op, x, *map(write.constant, operands), **attrs)


@pytest.mark.parametrize("domain", ["onnx.brevitas", "qonnx.custom_op.general"])
def test_two_values(domain: str) -> None:
    for operands, op in (((0.5,), "BipolarQuant"), ((0.5, 0.0, 1.0), "Quant")):
        write = QdqWriter()
        signs = quantizer(op, write.constant(write.rng.normal(0, 1, (4, 3))), write, *operands,
                          domain=domain)  # fmt: skip
        x = write.node("MatMul", write.pair("x", 1 / 8), signs)
        y = quantizer(op, x, write, *operands, domain=domain)
        model = write.model(write.node("MatMul", y, write.constant([[1.0], [2.0], [4.0]])))
        values = np.rint(write.rng.normal(0, 40, (500, 4))) / 8
        weights = numpy_helper.to_array(write.tensors[0])
        rounded = np.clip(values, -16, 127 / 8) @ np.where(weights >= 0, 0.5, -0.5)
        wanted = np.where(rounded >= 0, 0.5, -0.5) @ [[1.0], [2.0], [4.0]]
        assert np.array_equal(run(converted(model), values), wanted)
        assert np.array_equal(Design.from_onnx(model).simulate(values), wanted)


@pytest.mark.parametrize(
    ("attrs", "mode"),
    [
        ({"rounding_mode": "round"}, np.rint),
        ({"rounding_mode": "half_even", "signed": 0}, np.rint),
        ({"rounding_mode": "Floor"}, np.floor),
        ({"rounding_mode": "DOWN", "signed": 0}, np.floor),
        ({"signed": 0, "narrow": 1}, np.rint),
    ],
)
def test_dialects_of_quant(attrs: dict[str, Any], mode: Any) -> None:
    for op, domain in (("IntQuant", "qonnx.custom_op.general"), ("Quant", "onnx.brevitas"),
                       ("Quant", "finn.custom_op.general")):  # fmt: skip
        write = QdqWriter()
        model = write.model(quantizer(op, "x", write, 0.25, 0.0, 4.0, domain=domain, **attrs))
        low, high = (-8, 7) if attrs.get("signed", 1) else (0, 15 - attrs.get("narrow", 0))
        x = np.float32(write.rng.normal(0, 2, (500, 4)))
        assert np.array_equal(run(converted(model), x), mode(np.clip(x * 4, low, high)) / 4)


@pytest.mark.parametrize("mode", ["CEIL", "DOWN"])
def test_constants_may_be_rounded_in_any_way(mode: str) -> None:
    write = QdqWriter()
    weights = write.rng.normal(0, 1, (4, 3)).astype(np.float32)
    w = quantizer("IntQuant", write.constant(weights), write, 0.25, 0.0, 4.0,
                  domain="qonnx.custom_op.general", rounding_mode=mode)  # fmt: skip
    model = write.model(write.node("MatMul", "x", w))
    rounded = {"CEIL": np.ceil, "DOWN": np.trunc}[mode](np.clip(weights * 4, -8, 7)) / 4
    assert np.array_equal(run(converted(model), np.eye(4)), rounded)


def test_scales_may_be_computed_from_constants() -> None:
    write = QdqWriter()
    scale = write.node("Div", write.constant(2.0), write.node("Exp", write.constant(0.0)))
    bits = write.node("Constant", value_float=6.0)
    w = write.node("Quant", write.constant(write.rng.normal(0, 20, (3, 4))), scale,
                   write.constant(0.0), bits, domain="onnx.brevitas")  # fmt: skip
    model = write.model(write.node("MatMul", "x", write.node("Transpose", w, perm=[1, 0])))
    fresh = converted(model)
    assert operators(fresh) == ["Quant", "MatMul"]
    assert np.array_equal(run(fresh, np.eye(4)) % 2, np.zeros((4, 3)))


def test_names_that_are_taken_stay_as_they_are() -> None:
    """Scales and helpers get names of their own, whatever the file has called its tensors."""
    write = QdqWriter()
    taken = ["y_scale", "y_zeropt", "y_bits", "y_values", "pair_wide", "pair_up", "pair_limited"]
    x = "x"
    for position, name in enumerate(taken):
        write.tensors.append(numpy_helper.from_array(np.float32(position + 1), name))
        x = write.node("Add", x, name)
    operands = write.constant(0.25), write.constant(3, INT8)
    write.nodes.append(helper.make_node("QuantizeLinear", [x, *operands], ["q"], name="pair"))
    write.nodes.append(helper.make_node("DequantizeLinear", ["q", *operands], ["y"]))
    model = write.model("y")
    values = write.rng.normal(0, 20, (500, 4))
    assert np.array_equal(run(model, values), run(converted(model), values))


def test_thousands_of_quantizers_are_read_at_once() -> None:
    write = QdqWriter()
    x = "x"
    for _ in range(2000):
        x = write.pair(x, 0.25)
    model = write.model(x)
    start = time.process_time()
    assert operators(converted(model)) == ["Quant"] * 2000
    assert time.process_time() - start < 5


def refusal(write: QdqWriter, y: str) -> str:
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(write.model(y))
    return str(caught.value).split("; supported: ")[0]


def test_what_cannot_be_said_exactly_is_refused_by_name() -> None:
    write = QdqWriter()
    x = write.pair("x", [0.5, 0.25, 1.0, 0.5], [0, 1, 2, 3])
    y = write.pair(x, 0.5, clip=(-3, 9))
    q = write.node("QuantizeLinear", y, write.constant(0.5), write.constant(0, INT8))
    z = write.node("DequantizeLinear", q, write.constant(0.25), write.constant(0, INT8))
    z = write.pair(z, -1.0)
    z = write.node("Trunc", z, domain="qonnx.custom_op.general")
    assert refusal(write, z) == (
        "unsupported operators: DequantizeLinear (dequantizelinear1: has zero points that differ "
        "from channel to channel), DequantizeLinear (dequantizelinear4: its 13 steps from -3 to 9 "
        "are no type: wanted 2^n, or 2^n - 1), DequantizeLinear (dequantizelinear6: its scale "
        "differs from that of the QuantizeLinear before it), DequantizeLinear "
        "(dequantizelinear8: its scale [-1.0] must be above 0), Trunc (trunc9: drops bits of a "
        "number whose type the model does not say; use Quant with FLOOR)"
    )


def test_integers_at_the_border_are_refused() -> None:
    write = QdqWriter()
    write.input.type.tensor_type.elem_type = INT8
    y = write.node("DequantizeLinear", "x", write.constant(0.5))
    assert refusal(write, y) == (
        "unsupported operators: DequantizeLinear (dequantizelinear0: its integers are an input of "
        "the model; wanted a QuantizeLinear before it)"
    )
