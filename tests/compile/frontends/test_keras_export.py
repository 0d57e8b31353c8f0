"""Keras and QKeras layers as QONNX: equal to Keras in ONNX Runtime and qonnx, read by hls4ml."""

import json
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]
from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

from samebits import errors
from samebits.compile.frontends import quant
from samebits.compile.frontends.keras import check_export, export_keras
from samebits.compile.frontends.keras.grid import Grid, smallest_grid
from samebits.train.models import build_mlp
from samebits.train.scaling import InputFormat, InputScaling
from samebits.train.tensorflow import load, quiet

QUANTIZERS = [
    "quantized_bits(6,0,0,alpha=1)",
    "quantized_bits(6,2,1,alpha=1)",
    "quantized_bits(5,1,0,0,alpha=1)",
    "quantized_bits(2,0,0,alpha=1)",
    "quantized_bits(22,10,0,alpha=1)",
    "quantized_relu(6,2)",
    "quantized_relu(1,1)",
    "quantized_relu(6,2,negative_slope=0.25)",
    "quantized_relu(4,0,negative_slope=0.5)",
    "quantized_tanh(5)",
    "quantized_tanh(5,symmetric=1)",
    "quantized_sigmoid(5)",
    "quantized_sigmoid(5,symmetric=1)",
]


@pytest.fixture(scope="module")
def kit() -> Any:
    return load()


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (result,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(result)


def run_in_qonnx(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = len(x)
    wrapper = ModelWrapper(fixed).transform(InferShapes())
    result = execute_onnx(wrapper, {fixed.graph.input[0].name: x})
    return np.asarray(result[fixed.graph.output[0].name])


def predict(model: Any, x: np.ndarray) -> np.ndarray:
    with quiet():
        return np.asarray(model.predict(x, verbose=0))


def on_ties(step: float, seed: int) -> np.ndarray:
    """Values on, half-way between and just beside the grid, beyond both ends, and zeros (N, 4)."""
    rng = np.random.default_rng(seed)
    grid = rng.integers(-300, 300, (500, 4)) * step / 2
    beside = np.nextafter(grid.astype(np.float32), np.float32(rng.choice([-9, 9])))
    wide = rng.uniform(-3000, 3000, (100, 4)) * step
    extremes = np.array([[0.0, -0.0, 1e-40, -1e-40], [5e3, -5e3, 1e-20, -1e-20]])
    return np.concatenate([grid, beside, wide, extremes]).astype(np.float32)


@pytest.mark.parametrize("text", QUANTIZERS)
def test_activation_quantizers_are_equal_everywhere(kit: Any, text: str) -> None:
    with quiet():
        x = kit.keras.Input((4,), name="x")
        model = kit.keras.Model(x, kit.qkeras.QActivation(text, name="q")(x))
    exported = export_keras(model)
    bits = int(text.split("(")[1].split(",")[0].rstrip(")"))
    values = np.concatenate([on_ties(2.0**-power, seed=bits) for power in (bits - 1, bits, 2, 11)])
    if "tanh" in text:  # QKeras computes with x/2 + 1/2 in float32, which drops finer bits of x
        values = np.rint(values * 2**20) / np.float32(2**20)
    wanted = predict(model, values)
    assert len(np.unique(wanted)) >= min(2 ** (bits - ("slope" in text)), 100) - 1
    assert np.array_equal(run(exported, values), wanted)
    assert np.array_equal(run_in_qonnx(exported, values), wanted)


POWERS = [
    "quantized_po2(3)",
    "quantized_po2(4,2)",
    "quantized_relu_po2(4)",
    "quantized_relu_po2(4,1)",
    "quantized_relu_po2(3,4,0.25)",
]


def around_ties(tie: float) -> np.ndarray:
    """Numbers (N, 4) on, just below and just above the ties of rounded logarithms, and others."""
    powers = np.exp2(np.arange(-14.0, 10)) * tie
    near = np.concatenate([powers.astype(np.float32), np.float32([0, 1e-8, 1e-7, 1e-6])])
    near = np.concatenate([near, np.nextafter(near, np.float32(0)), near * np.float32(1.00001)])
    other = np.random.default_rng(6).normal(0, 3, 4000)
    return np.concatenate([near, -near, other, -near]).astype(np.float32)[:-4].reshape(-1, 4)


@pytest.mark.parametrize("text", POWERS)
def test_powers_of_two_are_equal_but_next_to_ties(kit: Any, text: str) -> None:
    """TensorFlow's logarithm of the same number differs from place to place in an array."""
    with quiet():
        x = kit.keras.Input((4,), name="x")
        inside = kit.qkeras.QActivation("quantized_bits(12,5,0,alpha=1)", name="rounded")(x)
        coarse = kit.keras.Model(x, kit.qkeras.QActivation(text, name="q")(inside))
        raw = kit.keras.Model(x, kit.qkeras.QActivation(text, name="q")(x))
    values = around_ties(2**0.5)
    (output,) = check_export(coarse, export_keras(coarse), values).outputs
    assert output.provable, output.reason
    exported = export_keras(raw)
    (output,) = check_export(raw, exported, values).outputs
    assert not output.provable
    assert output.different < 8
    given, wanted = run(exported, values), predict(raw, values)
    apart = np.abs(values[given != wanted])
    power = np.exp2(np.round(np.log2(apart) * 2) / 2)
    assert np.all(np.abs(apart / power - 1) < 1e-5)
    assert len(np.unique(wanted)) > 4


def test_a_floored_logarithm_is_not_proved_on_the_grid(kit: Any) -> None:
    """Its jumps are powers of two, where log(x) / log(2) may be on either side."""
    with quiet():
        quantizer = kit.qkeras.quantized_po2(4, log2_rounding="floor")
        x = kit.keras.Input((4,), name="x")
        inside = kit.qkeras.QActivation("quantized_bits(12,5,0,alpha=1)", name="rounded")(x)
        model = kit.keras.Model(x, kit.qkeras.QActivation(quantizer, name="q")(inside))
    (output,) = check_export(model, export_keras(model), around_ties(1)).outputs
    assert not output.provable
    assert "logarithm" in output.reason


@pytest.mark.parametrize("text", ["quantized_ulaw(6,1)", "quantized_ulaw(4,0,1,50.0)"])
def test_mu_law_is_qkeras_table(kit: Any, text: str) -> None:
    with quiet():
        x = kit.keras.Input((4,), name="x")
        model = kit.keras.Model(x, kit.qkeras.QActivation(text, name="q")(x))
    values = np.concatenate([on_ties(2.0**-power, seed=5) for power in (3, 5, 11)])
    values = np.rint(values * 2**20) / np.float32(2**20)
    exported, wanted = export_keras(model), predict(model, values)
    assert len(np.unique(np.rint(wanted * 2**20))) > 2 ** (int(text[15]) - 1) - 2
    assert np.abs(run(exported, values) - wanted).max() < 2**-21  # places differ in the last bits
    assert np.array_equal(run(exported, values), run_in_qonnx(exported, values))


WEIGHTS = [
    "quantized_bits(6,0,0,alpha=1)",
    "quantized_bits(4,1,1,alpha=0.5)",
    "quantized_bits(4,0,1)",  # alpha=None: a power of two per output
    "quantized_bits(1,0,alpha=1)",
    "quantized_bits(3,0,0,0,alpha=1)",
    np.array([[0.5, 0.25, 2.0]], np.float32),  # of quantized_bits
    "binary(alpha=1)",
    "binary(alpha='auto_po2')",
    "binary(use_01=True)",
    "ternary()",
    "ternary(alpha='auto_po2')",
    "quantized_po2(4)",
    "quantized_po2(4,2)",
    "quantized_relu_po2(4)",
    "quantized_relu(4,1)",
    "quantized_tanh(4)",
    "quantized_sigmoid(4)",
]


@pytest.mark.parametrize("quantizer", WEIGHTS)
def test_weight_quantizers(kit: Any, quantizer: Any) -> None:
    if not isinstance(quantizer, str):
        quantizer = kit.qkeras.quantized_bits(4, 0, 1, alpha=quantizer)
    with quiet():
        x = kit.keras.Input((5,), name="x")
        layer = kit.qkeras.QDense(
            3, kernel_quantizer=quantizer, bias_quantizer="quantized_bits(4,0,1)", name="d"
        )
        model = kit.keras.Model(x, layer(x))
    rng = np.random.default_rng(4)
    layer.set_weights([rng.normal(size=(5, 3)) * [0.1, 0.8, 3.0], rng.normal(size=3)])
    values = rng.integers(-128, 128, (200, 5)).astype(np.float32) / 16
    exported = export_keras(model)
    assert np.array_equal(run(exported, values), predict(model, values))
    assert np.array_equal(run_in_qonnx(exported, values), predict(model, values))


@pytest.mark.parametrize(
    "alpha", ["auto", 0.3, np.array([[0.3, 0.7, 1.1]], np.float32)], ids=["auto", "one", "several"]
)
def test_scales_that_are_no_powers_of_two(kit: Any, alpha: Any) -> None:
    """They stand in the Quant node, one per output, and the weights are whole multiples of them."""
    quantizer = kit.qkeras.quantized_bits(4, 0, 1, alpha=alpha)
    with quiet():
        x = kit.keras.Input((5,), name="x")
        layer = kit.qkeras.QDense(3, kernel_quantizer=quantizer, use_bias=False, name="d")
        model = kit.keras.Model(x, layer(x))
    layer.set_weights([np.random.default_rng(4).normal(size=(5, 3)) * [0.1, 0.8, 3.0]])
    exported = export_keras(model)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in exported.graph.initializer}
    scale, weights = constants["d_kernel_scale"], constants["d_kernel_value"]
    assert scale.shape == (() if isinstance(alpha, float) else (1, 3))
    assert np.abs(weights / scale - np.rint(weights / scale)).max() < 1e-6
    assert np.abs(weights - np.asarray(quantizer(layer.kernel))).max() < 1e-6
    assert np.rint(np.abs(weights / scale)).max() == 7
    values = np.random.default_rng(5).normal(size=(50, 5)).astype(np.float32)
    (output,) = check_export(model, exported, values).outputs
    assert not output.provable
    assert output.largest_difference <= output.bound < 1e-4
    assert np.array_equal(run(exported, values), run_in_qonnx(exported, values))


def test_one_bit_with_automatic_scale_is_refused(kit: Any) -> None:
    with quiet():
        x = kit.keras.Input((5,), name="x")
        layer = kit.qkeras.QDense(3, kernel_quantizer="quantized_bits(1,0)", name="d")
        model = kit.keras.Model(x, layer(x))
    with pytest.raises(
        errors.UnsupportedError, match=r"d \(QDense\): .*divides by 0 levels; use al"
    ):
        export_keras(model)


def test_plain_keras_layers(kit: Any) -> None:
    """Float layers: the same operations, so only the order of float32 sums may differ."""
    layers = kit.keras.layers
    with quiet():
        model = kit.keras.Sequential(
            [
                layers.Dense(6, activation="relu", input_shape=(2, 2), name="a"),
                layers.Flatten(name="f"),
                layers.BatchNormalization(name="bn"),
                layers.Dropout(0.5, name="drop"),
                layers.Dense(5, use_bias=False, name="b"),
                layers.LeakyReLU(alpha=0.125, name="leaky"),
                layers.Dense(4, activation="tanh", name="c"),
                layers.ReLU(negative_slope=0.5, name="r"),
                layers.Dense(3, activation="sigmoid", name="d"),
                layers.Activation("linear", name="nothing"),
                layers.Softmax(name="s"),
            ]
        )
    rng = np.random.default_rng(5)
    gamma, beta, mean = rng.normal(size=(3, 12))
    model.get_layer("bn").set_weights([gamma, beta, mean, rng.uniform(0.5, 2, 12)])
    values = rng.normal(size=(300, 2, 2)).astype(np.float32)
    check = check_export(model, export_keras(model), values)
    assert [tensor.name for tensor in check.tensors] == [
        *("a", "f", "bn", "b", "leaky", "c", "r", "d", "s")
    ]
    assert not any(tensor.provable for tensor in check.tensors)
    assert max(tensor.largest_difference for tensor in check.tensors) < 1e-5


def test_all_unsupported_layers_are_listed_at_once(kit: Any) -> None:
    keras, qkeras = kit.keras, kit.qkeras
    with quiet():
        model = keras.Sequential(
            [
                keras.layers.LocallyConnected1D(2, 3, input_shape=(8, 1), name="local"),
                keras.layers.Flatten(name="flat"),
                keras.layers.Dense(4, activation="gelu", name="wide"),
                keras.layers.ReLU(threshold=1, negative_slope=0.5, name="bent"),
                qkeras.QDense(2, kernel_quantizer="stochastic_ternary()", name="chance"),
                keras.layers.Lambda(abs, name="code"),
                qkeras.QActivation("quantized_po2(6)", name="powers"),
                qkeras.QActivation("quantized_po2(3,quadratic_approximation=1)", name="squares"),
                qkeras.QActivation("bernoulli()", name="dice"),
                qkeras.QActivation("quantized_bits(4,0,1,alpha='auto')", name="auto"),
                qkeras.QActivation("ternary(alpha=0.3)", name="third"),
            ],
            name="zoo",
        )
    with pytest.raises(errors.UnsupportedError) as caught:
        export_keras(model)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Keras model 'zoo': 10 layers cannot be exported:"
    assert lines[1] == "  local (LocallyConnected1D): no such layer here"
    assert lines[2].startswith("  wide (Dense): activation 'gelu' is not supported; supported: elu")
    assert lines[3:11] == [
        "  bent (ReLU): negative_slope=0.5 with threshold=1: supported is one of the two",
        "  chance (QDense): weight quantizer stochastic_ternary rounds at random in training; use "
        "ternary",
        "  code (Lambda): runs Python code; use layers",
        "  powers (QActivation): quantized_po2(6) on an activation: its steps from 1.52588e-05 to "
        "32768 are no fixed-point numbers of 24 bits; use fewer bits",
        "  squares (QActivation): quantized_po2(3,quadratic_approximation=1) on an activation: "
        "QKeras's values rise and fall near 0, where its exponent is not doubled; use "
        "quadratic_approximation=False",
        "  dice (QActivation): quantizer bernoulli draws its values at random",
        "  auto (QActivation): quantized_bits(4,0,1,alpha='auto') on an activation: its scale "
        "would depend on the batch or differ by channel; use alpha=1",
        "  third (QActivation): ternary(alpha=0.3) on an activation: alpha must be a power of two; "
        "with others QKeras's x + (alpha q - x) rounds by the size of x",
    ]
    assert lines[11].startswith("Supported layers: Activation, ActivityRegularization, ")


def test_nan_weights_are_refused(kit: Any) -> None:
    with quiet():
        model = kit.keras.Sequential([kit.keras.layers.Dense(2, input_shape=(2,), name="d")])
    kernel = np.array([[1, np.nan], [0, 2]], np.float32)
    model.get_layer("d").set_weights([kernel, np.zeros(2)])
    with pytest.raises(errors.ModelError) as caught:
        export_keras(model)
    assert str(caught.value) == (
        "constant 'd_kernel': 1 of 4 values are NaN or infinite; train the model again"
    )


def demo_network() -> Any:
    rng = np.random.default_rng(6)
    scale = 2.0 ** rng.integers(-6, 6, 8)
    scaling = InputScaling(
        "po2", scale.astype(np.float32), (rng.integers(-90, 90, 8) / 32).astype(np.float32)
    )
    model = build_mlp(InputFormat(22, 11, True), scaling, 3, hidden=(7, 6), seed=7)
    for layer in model.layers:
        if layer.name.startswith("dense_"):
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.uniform(-1, 1, kernel.shape), rng.uniform(-1, 1, bias.shape)])
    return model


def demo_input() -> np.ndarray:
    return np.concatenate([on_ties(2.0**-11, 8), on_ties(0.5, 9), on_ties(2.0, 10)] * 2, axis=0)


def test_the_demo_network_is_provably_equal_up_to_the_softmax() -> None:
    model = demo_network()
    exported = export_keras(model, list("abcdefgh"), ["g", "q", "w"])
    values = np.tile(demo_input(), (1, 2))
    check = check_export(model, exported, values)
    assert check.events == len(values)
    assert [t.name for t in check.tensors if not t.provable] == ["softmax"]
    assert [t.name for t in check.tensors][-2:] == ["softmax_input", "softmax"]
    assert all(t.different == 0 for t in check.tensors if t.provable)
    assert check.outputs == check.tensors[-1:]
    assert check.outputs[0].reason == "Softmax rounds in float32"
    assert check.outputs[0].largest_difference < 1e-6
    assert np.array_equal(
        run(exported, values).argmax(axis=1), run_in_qonnx(exported, values).argmax(axis=1)
    )
    metadata = {item.key: json.loads(item.value) for item in exported.metadata_props}
    assert metadata == {"samebits.features": list("abcdefgh"), "samebits.classes": ["g", "q", "w"]}
    assert exported.ir_version == 10
    assert {(item.domain, item.version) for item in exported.opset_import} == {
        ("", 17),
        ("qonnx.custom_op.general", 1),
    }


def test_wide_sums_are_not_claimed(kit: Any) -> None:
    with quiet():
        x = kit.keras.Input((16,), name="x")
        y = kit.qkeras.QActivation("quantized_bits(16,3,0,alpha=1)", name="in")(x)
        quantizer = "quantized_bits(12,0,0,alpha=1)"
        y = kit.qkeras.QDense(4, kernel_quantizer=quantizer, use_bias=False, name="d")(y)
        model = kit.keras.Model(x, y)
    values = np.random.default_rng(11).normal(size=(50, 16)).astype(np.float32)
    check = check_export(model, export_keras(model), values)
    assert [t.name for t in check.tensors if t.provable][-1] == "in"
    assert "MatMul needs" in check.outputs[0].reason


def test_tanh_of_raw_features_is_not_claimed(kit: Any) -> None:
    with quiet():
        x = kit.keras.Input((2,), name="x")
        y = kit.qkeras.QActivation("quantized_tanh(5)", name="raw")(x)
        y = kit.qkeras.QDense(2, kernel_quantizer="quantized_bits(4,0,0,alpha=1)", name="d")(y)
        model = kit.keras.Model(x, kit.qkeras.QActivation("quantized_tanh(5)", name="t")(y))
        exported = export_keras(model)
    values = np.random.default_rng(12).normal(size=(50, 2)).astype(np.float32)
    check = check_export(model, exported, values)
    assert not check.outputs[0].provable
    assert check.outputs[0].reason == (
        "QKeras computes with x/2 + 1/2, which rounds inputs finer than 2^-23"
    )


def test_a_wrong_export_is_caught() -> None:
    model = demo_network()
    exported = export_keras(model)
    bias = next(item for item in exported.graph.initializer if item.name == "dense_2_bias_value")
    values = np.frombuffer(bias.raw_data, np.float32).copy()
    values[0] += np.float32(-1 / 32 if values[0] > 0 else 1 / 32)
    bias.raw_data = values.tobytes()
    with pytest.raises(
        errors.MismatchError, match=r"tensor 'dense_2': Keras and ONNX Runtime diff"
    ):
        check_export(model, exported, np.tile(demo_input(), (1, 2)))


def test_hls4ml_reads_the_types_from_the_quant_nodes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = convert(export_keras(demo_network()))
    types = [str(node.get_output_variable().type.precision) for node in graph.get_layers()]
    classes = [node.class_name for node in graph.get_layers()]
    assert classes == [
        "Input",
        "Activation",
        "ApplyAlpha",
        *["Dense", "Activation"] * 2,
        "Dense",
        "Activation",
        "Softmax",
    ]
    assert types[1:3] == ["fixed<22,11,RND_CONV,SAT,0>", "fixed<8,3,RND_CONV,SAT,0>"]
    assert types[4] == types[6] == "ufixed<6,1,RND_CONV,SAT,0>"
    assert types[7:9] == ["fixed<10,5,RND_CONV,SAT,0>", "fixed<11,6,RND_CONV,SAT,0>"]
    for node in (node for node in graph.get_layers() if node.class_name == "Dense"):
        assert str(node.weights["weight"].type.precision) == "fixed<6,1,RND_CONV,SAT,0>"
        assert str(node.weights["bias"].type.precision) == "fixed<6,1,RND_CONV,SAT,0>"


def convert(model: onnx.ModelProto) -> Any:
    import hls4ml  # type: ignore[import-untyped]
    from qonnx.util.cleanup import cleanup_model  # type: ignore[import-untyped]

    wrapper = cleanup_model(ModelWrapper(model))
    config = hls4ml.utils.config_from_onnx_model(
        wrapper, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
    )
    return hls4ml.converters.convert_from_onnx_model(
        wrapper, hls_config=config, output_dir="unused", backend="Vitis", io_type="io_parallel"
    )


@pytest.mark.parametrize("rounding", ["ROUND", "FLOOR"])
@pytest.mark.parametrize(("signed", "narrow"), [(True, False), (True, True), (False, False)])
def test_function_bodies_equal_qonnx(signed: bool, narrow: bool, rounding: str) -> None:
    attributes = quant.QuantAttributes(signed, narrow, rounding)
    for bits, scale in ((2, 1.0), (8, 0.125), (16, 2.0**-10), (24, 2.0**-3)):
        names = ("x", "scale", "zeropt", "bits")
        node = quant.quant_node("q", names, "y", attributes)
        shape: list[str | int | None] = ["batch", 4]
        constants = [
            onnx.numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in zip(names[1:], (scale, 0.0, bits), strict=True)
        ]
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", 1, shape)],
            [helper.make_tensor_value_info("y", 1, shape)],
            constants,
        )
        model = helper.make_model(
            graph,
            functions=[quant.quant_function(attributes)],
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(quant.DOMAIN, 1)],
            ir_version=quant.IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        assert quant.attributes_of(node) == attributes
        x = on_ties(scale, bits)
        assert np.array_equal(run(model, x), run_in_qonnx(model, x))


@pytest.mark.parametrize(("narrow", "rounding"), [(True, "ROUND"), (False, "HALF_UP")])
def test_quant_nodes_that_hls4ml_cannot_read(narrow: bool, rounding: str) -> None:
    with pytest.raises(errors.UnsupportedError):
        quant.QuantAttributes(signed=False, narrow=narrow, rounding=rounding)


def test_smallest_grid() -> None:
    assert smallest_grid([0.5, 3.0]) == Grid(bits=3, exponent=-1, signed=False)
    assert smallest_grid([-0.5, 1.5]) == Grid(bits=3, exponent=-1, signed=True)
    assert smallest_grid([-2.0, 1.0]) == Grid(bits=2, exponent=0, signed=True)
    assert smallest_grid([64.0, 0.015625]) == Grid(bits=13, exponent=-6, signed=False)
    assert smallest_grid([0.0]) == Grid(bits=2, exponent=0, signed=True)
    assert smallest_grid(np.array([0.1, 100.0], np.float32)) is None


def test_anything_but_keras_2_is_refused_by_name() -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        export_keras(object())
    assert str(caught.value) == (
        "the model is of type object; supported: Keras 2 models (package tf_keras) of Keras and "
        "QKeras layers. Build it with tf_keras, or export it to ONNX yourself"
    )
