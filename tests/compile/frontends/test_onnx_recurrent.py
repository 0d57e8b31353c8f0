"""LSTM, GRU and RNN of ONNX files in firmware: exactly ONNX Runtime's numbers where they can be."""

from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper, numpy_helper

from samebits import Design, errors
from samebits.compile.frontends.onnx import to_hls4ml
from samebits.compile.target import Target

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
STEPS, FEATURES, UNITS = 3, 2, 3
WIDE = Target(precision="fixed<48,32>")  # every number of the cells of relu is whole
AFTER = {"linear_before_reset": 1}


def recurrent(
    kind: str,
    direction: str = "forward",
    every: bool = True,
    last: bool = False,
    whole: bool = True,
    states: bool = False,
    seed: int = 18,
    **attributes: Any,
) -> onnx.ModelProto:
    """A cell between the nodes that put the batch first; weights are whole numbers, or floats."""
    rng = np.random.default_rng(seed)
    sides, gates = 1 + (direction == "bidirectional"), GATES[kind]

    def draw(*shape: int) -> np.ndarray:
        numbers = rng.integers(-1, 2, shape) if whole else rng.normal(0, 0.3, shape)
        return np.asarray(numbers, np.float32)

    if whole and "activations" not in attributes:
        attributes["activations"] = ["Relu"] * FUNCTIONS[kind] * sides
    constants: dict[str, Any] = {
        "W": draw(sides, gates * UNITS, FEATURES),
        "R": draw(sides, gates * UNITS, UNITS),
        "B": draw(sides, 2 * gates * UNITS),
        "every": np.asarray([0, STEPS, sides * UNITS]),
        "ends": np.asarray([0, sides * UNITS]),
    }
    inputs, given = ["time", "W", "R", "B"], [("x", [STEPS, FEATURES])]
    nodes = [helper.make_node("Transpose", ["x"], ["time"], perm=[1, 0, 2])]
    if states:
        given.append(("h", [UNITS]))
        constants["first"] = np.asarray([0])
        nodes.append(helper.make_node("Unsqueeze", ["h", "first"], ["h_side"]))
        inputs += ["", "h_side"]
    outputs = ["Y" if every else "", "Y_h" if last else ""]
    cell = helper.make_node(
        kind, inputs, outputs, name="cell", hidden_size=UNITS, direction=direction, **attributes
    )
    nodes.append(cell)
    results = []
    for wanted, source, perm, name in (
        (every, "Y", [2, 0, 1, 3], "every"),
        (last, "Y_h", [1, 0, 2], "ends"),
    ):
        if wanted:
            nodes.append(helper.make_node("Transpose", [source], [f"{name}_t"], perm=perm))
            nodes.append(helper.make_node("Reshape", [f"{name}_t", name], [f"{name}_y"]))
            results.append((f"{name}_y", [int(n) for n in constants[name][1:]]))
    return model_of(nodes, given, results, constants)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, list[int]]],
    outputs: list[tuple[str, list[int]]],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    def values(pairs: list[tuple[str, list[int]]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
            for name, shape in pairs
        ]

    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "network",
        values(inputs),
        values(outputs),
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, **x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(None, x))


def firmware(model: onnx.ModelProto, target: Target, **x: np.ndarray) -> list[np.ndarray]:
    y = Design.from_onnx(model, target=target).simulate(x)
    return y if isinstance(y, list) else [y]


def events(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, (30, *shape)).astype(np.float32)


def assert_equal(model: onnx.ModelProto, target: Target = WIDE, **x: np.ndarray) -> None:
    wanted = run(model, **x)
    given = firmware(model, target, **x)
    assert len(given) == len(wanted)
    for one, other in zip(given, wanted, strict=True):
        assert len(np.unique(other)) > 3
        assert np.array_equal(one.reshape(other.shape), other)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("kind", "attributes"), [("LSTM", {}), ("GRU", {}), ("GRU", AFTER), ("RNN", {})]
)
@pytest.mark.parametrize(("every", "last"), [(True, False), (False, True), (True, True)])
def test_whole_numbers_are_equal(
    kind: str, attributes: dict[str, Any], direction: str, every: bool, last: bool
) -> None:
    model = recurrent(kind, direction, every, last, **attributes)
    assert_equal(model, x=events(STEPS, FEATURES))


@pytest.mark.parametrize(
    ("kind", "direction", "layer"),
    [
        ("LSTM", "forward", "LSTM"),
        ("LSTM", "reverse", "LSTM"),
        ("LSTM", "bidirectional", "Bidirectional"),
        ("GRU", "forward", "GRU"),
    ],
)
def test_hls4ml_has_layers_for_them(kind: str, direction: str, layer: str) -> None:
    more = AFTER if kind == "GRU" else {}
    graph = to_hls4ml(recurrent(kind, direction, whole=False, **more), Target()).graph
    made = [one for one in graph.get_layers() if one.class_name == layer]
    assert len(made) == 1
    types = {str(made[0].get_attr(name).precision) for name in ("accum_t", "result_t")}
    assert types == {str(made[0].get_input_variable().type.precision)}


def test_hls4ml_is_left_as_it_was() -> None:
    from hls4ml.converters import get_supported_onnx_layers  # type: ignore[import-untyped]

    before = list(get_supported_onnx_layers())
    to_hls4ml(recurrent("LSTM"), Target())
    assert list(get_supported_onnx_layers()) == before


# sigmoid's table has 1024 entries from -8 to 8, tanh's from -4 to 4; both cut off there
BIN = {"Sigmoid": (16 / 1024, 1 / 4, 1 / (1 + np.exp(8))), "Tanh": (8 / 1024, 1, 1 - np.tanh(4))}


def after_table(function: str, error: np.ndarray) -> np.ndarray:
    """The error behind a table: its bins, its slope, what is cut off, its 10 fraction bits."""
    width, slope, cut = BIN[function]
    return slope * (error + width) + cut + 2.0**-10


def lstm_bound(weights: dict[str, np.ndarray], largest: float, lsb: float) -> float:
    """How far the last hidden state can be from that of real numbers, for abs(x) <= largest.

    Each of the products of a gate, its bias and its sum loses a step of the type.
    """
    recurrent = np.abs(weights["R"][0]).reshape(4, UNITS, UNITS)
    lost = (2 * FEATURES + 2 * UNITS + 4) * lsb + largest * FEATURES * lsb + UNITS * lsb
    h = c = np.zeros(UNITS)
    for step in range(STEPS):
        i, o, f, g = (gate @ h + lost for gate in recurrent)
        i, o, f = (after_table("Sigmoid", gate) for gate in (i, o, f))
        g = after_table("Tanh", g)
        # magnitudes: gates and candidate at most 1, the cell state at most the number of steps
        c = i + g + f * step + c + 3 * lsb
        h = o + after_table("Tanh", c) + lsb
    return float(h.max())


def test_tables_stay_within_their_bound() -> None:
    model = recurrent("LSTM", every=False, last=True, whole=False)
    x = events(STEPS, FEATURES) / 2
    (wanted,), (given,) = run(model, x=x), firmware(model, Target(precision="fixed<28,8>"), x=x)
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    difference = np.abs(given.reshape(wanted.shape) - wanted).max()
    assert 0 < difference <= lstm_bound(weights, 0.5, 2.0**-20) < 0.5


@pytest.mark.parametrize("name", ["HardSigmoid", "LeakyRelu", "ThresholdedRelu", "Affine"])
def test_other_functions_are_written_out(name: str) -> None:
    numbers = {
        "HardSigmoid": {"activation_alpha": [0.5], "activation_beta": [0.5]},
        "LeakyRelu": {"activation_alpha": [0.5]},
        "ThresholdedRelu": {"activation_alpha": [1.0]},
        "Affine": {"activation_alpha": [1.0], "activation_beta": [0.0]},
    }[name]
    model = recurrent("RNN", activations=[name], **numbers)
    assert_equal(model, x=events(STEPS, FEATURES))


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_initial_states(kind: str) -> None:
    model = recurrent(kind, every=False, last=True, states=True)
    assert_equal(model, x=events(STEPS, FEATURES), h=events(UNITS, seed=5))


def test_stacked_layers_and_the_last_step() -> None:
    """As PyTorch writes them: the time stays first between two layers, and the last step is cut."""
    rng = np.random.default_rng(4)
    constants = {
        name: rng.integers(-1, 2, shape).astype(np.float32)
        for name, shape in (
            ("W0", (1, 9, 2)),
            ("R0", (1, 9, 3)),
            ("W1", (1, 3, 3)),
            ("R1", (1, 3, 3)),
            ("D", (3, 2)),
        )
    }
    constants |= {"axis": np.asarray([1]), "end": np.asarray(-1)}
    gru = {"hidden_size": 3, "activations": ["Relu"] * 2, "linear_before_reset": 1}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "W0", "R0"], ["Y0"], **gru),
        helper.make_node("Squeeze", ["Y0", "axis"], ["y0"]),
        helper.make_node("RNN", ["y0", "W1", "R1"], ["Y1"], hidden_size=3, activations=["Relu"]),
        helper.make_node("Squeeze", ["Y1", "axis"], ["y1"]),
        helper.make_node("Transpose", ["y1"], ["z"], perm=[1, 0, 2]),
        helper.make_node("Gather", ["z", "end"], ["ends"], axis=1),
        helper.make_node("MatMul", ["ends", "D"], ["y"]),
    ]
    model = model_of(nodes, [("x", [STEPS, 2])], [("y", [2])], constants)
    assert_equal(model, x=events(STEPS, 2))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (recurrent("LSTM", clip=2.0), "LSTM (cell: clip=2 is not supported)"),
        (recurrent("LSTM", activations=["Tanh", "ScaledTanh", "Tanh"], activation_alpha=[1.0],
                   activation_beta=[1.0]), "LSTM (cell: activation ScaledTanh; supported are "),
        (recurrent("LSTM", input_forget=1), "LSTM (cell: input_forget=1 is not supported)"),
    ],
)  # fmt: skip
def test_refusals(model: onnx.ModelProto, reason: str) -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        Design.from_onnx(model)
    assert str(caught.value).startswith(f"unsupported operators: {reason}")


def test_numbers_read_with_the_time_first_are_refused() -> None:
    model = recurrent("LSTM")
    model.graph.node[2].CopyFrom(helper.make_node("Relu", ["Y"], ["relu"], name="first"))
    model.graph.node.insert(
        3, helper.make_node("Transpose", ["relu"], ["every_t"], perm=[2, 0, 1, 3])
    )
    with pytest.raises(errors.UnsupportedError, match="reads it with the time before the batch"):
        Design.from_onnx(model)


def test_larger_tables_come_closer_and_keep_their_bits(rng: np.random.Generator) -> None:
    model = recurrent("GRU", whole=False, linear_before_reset=1)
    x = rng.normal(0, 2, (50, STEPS, FEATURES)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    off = []
    for size in (1024, {"default": 2048, "GRU_0": 8192}):
        design = Design.from_onnx(model, Target(precision="fixed<32,16>", table_size=size))
        lookups = [node for node in design.graph.nodes if node.op == "lookup"]
        tables = {design.graph.tensors[node.inputs[1]].shape for node in lookups}
        assert tables == {(1024,) if size == 1024 else (8192,)}
        assert design.verify(x, against=["onnxruntime"]).passed
        off.append(np.abs(np.asarray(design.simulate(x)) - wanted).mean())
    assert off[1] < off[0] / 4
    with pytest.raises(errors.UsageError) as caught:
        Design.from_onnx(model, Target(table_size={"dense": 2048}))
    assert str(caught.value) == (
        "table_size: no layer 'dense' has a table; layers with tables: GRU_0"
    )
