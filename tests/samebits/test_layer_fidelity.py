"""Layers against the tensors of model.onnx: what is equal, where it first is not, how noisy."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from samebits import Design, Target
from samebits.firmware.results import NotRun
from samebits.layer_fidelity import LayerFidelityFacts, layer_fidelity, without_rounding

from ..models import ModelWriter, float_mlp, quantized_mlp


def events_of(design: Design, rng: np.random.Generator, count: int = 300) -> np.ndarray:
    (shape,) = (t.shape for t in design.graph.tensors_of(design.graph.inputs))
    return rng.integers(-16, 16, (count, *shape)) / 8


def test_an_exact_network_equals_the_model_in_every_layer(rng: np.random.Generator) -> None:
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    found = layer_fidelity(design, events_of(design, rng), "test")
    assert isinstance(found, LayerFidelityFacts)
    assert [row.layer for row in found.rows] == [layer.name for layer in design.graph.layers]
    assert found.first is None
    assert {row.different for row in found.rows} == {0}
    assert all(row.tensor and row.snr_db is None for row in found.rows)
    assert len({row.tensor for row in found.rows}) == len(found.rows)
    assert any(row.noise_db is not None for row in found.rows)
    assert LayerFidelityFacts.model_validate_json(found.model_dump_json()) == found


def test_the_first_difference_is_where_it_is(rng: np.random.Generator) -> None:
    design = Design.from_onnx(quantized_mlp(softmax=True).model())
    events = events_of(design, rng)
    found = layer_fidelity(design, events, "test")
    assert isinstance(found, LayerFidelityFacts)
    first = found.first
    assert first is not None
    place = [row.layer for row in found.rows].index(first.layer)
    assert place > 0
    assert all(row.tensor and not row.different for row in found.rows[:place])
    assert found.rows[-1].different  # the softmax's tables
    assert first.event is not None
    assert first.firmware == design.trace(events)[first.layer][(first.event, *first.element)]
    assert first.model is not None
    assert first.firmware != first.model
    lsb = design.graph.tensors[design.graph.layer_tensors[first.layer]].format.lsb
    assert first.largest_lsb >= abs(first.firmware - first.model) / lsb
    assert first.snr_db is not None
    assert first.snr_db > 20


def test_more_bits_less_noise(rng: np.random.Generator) -> None:
    noise = []
    for precision in ("fixed<24,8>", "fixed<12,6>"):
        design = Design.from_onnx(float_mlp("Relu").model(), Target(precision=precision))
        found = layer_fidelity(design, rng.normal(0, 1, (300, 4)), "test")
        assert isinstance(found, LayerFidelityFacts)
        assert found.first is not None
        assert found.first.layer == design.graph.layers[0].name
        assert found.rows[-1].snr_db == found.rows[-1].noise_db  # nothing is quantized there
        noise.append(found.rows[-1].snr_db or 0.0)
    assert noise[0] > noise[1] + 30


def test_rounding_is_taken_from_activations_alone() -> None:
    model = quantized_mlp(softmax=False).model()
    plain, why = without_rounding(model)
    assert why == ""
    assert plain is not None
    left = [node for node in plain.graph.node if node.op_type == "Quant"]
    constants = {tensor.name for tensor in model.graph.initializer}
    assert left
    assert all(node.input[0] in constants for node in left)
    assert {node.op_type for node in plain.graph.node} & {"Identity", "Relu"}


def test_other_roundings_are_named(rng: np.random.Generator) -> None:
    node = helper.make_node("Trunc", ["x", "s", "z", "b", "o"], ["y"], domain="qonnx.custom_op")
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph(
        [node], "g", [value], [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    )
    plain, why = without_rounding(helper.make_model(graph))
    assert (plain, why) == (None, "model.onnx rounds with Trunc, which has no form without")


def test_a_float_network_beside_it(rng: np.random.Generator) -> None:
    twin = float_mlp("Relu").model()
    design = Design.from_onnx(twin, Target(precision="fixed<16,6>"))
    model = onnx.ModelProto()
    model.CopyFrom(twin)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor) * np.float32(1.01)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    events = rng.normal(0, 1, (300, 4))
    found = layer_fidelity(design, events, "test", model.SerializeToString())
    assert isinstance(found, LayerFidelityFacts)
    for row in found.rows:
        assert row.float_tensor == row.tensor
        assert row.float_db is not None
        assert row.snr_db is not None
        assert 30 < row.float_db < row.snr_db


def test_channels_first_and_last_are_the_same_layer(rng: np.random.Generator) -> None:
    write = ModelWriter()
    kernel = write.weight(rng.integers(-4, 5, (3, 2, 2, 2)) / 4)
    write.output(write.node("Conv", write.input(size=(2, 4, 4)), kernel), (3, 3, 3))
    design = Design.from_onnx(write.model(), Target(precision="fixed<24,12>"))
    shape = design.graph.tensors[design.graph.inputs[0]].shape
    found = layer_fidelity(design, rng.integers(-8, 8, (50, *shape)) / 4.0, "test")
    assert isinstance(found, LayerFidelityFacts)
    assert {row.different for row in found.rows if row.tensor} == {0}


def test_what_cannot_be_compared_says_why(rng: np.random.Generator) -> None:
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    events = events_of(design, rng)
    design._model = None
    absent = NotRun(reason="the design has no model.onnx")
    assert layer_fidelity(design, events, "test") == absent
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    assert layer_fidelity(design, None, "test") == NotRun(reason="no events: give --data")


@pytest.mark.parametrize("count", [1, 5])
def test_few_events(rng: np.random.Generator, count: int) -> None:
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    found = layer_fidelity(design, events_of(design, rng, count), "test")
    assert isinstance(found, LayerFidelityFacts)
    assert found.events == count
