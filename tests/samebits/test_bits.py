"""Bits in use and output noise of a design, and why they were not measured."""

import numpy as np

from samebits import Design, Target
from samebits.bits import BitFacts, measure_bits
from samebits.firmware.results import NotRun

from ..models import float_mlp, quantized_mlp


def events_of(design: Design, rng: np.random.Generator) -> np.ndarray:
    (shape,) = (t.shape for t in design.graph.tensors_of(design.graph.inputs))
    return rng.integers(-16, 16, (300, *shape)) / 8


def test_an_exact_network_has_no_noise(rng: np.random.Generator) -> None:
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    found = measure_bits(design, events_of(design, rng), "test")
    assert isinstance(found, BitFacts)
    assert not isinstance(found.noise, NotRun)
    assert [row.layer for row in found.layers[1:]] == [layer.name for layer in design.graph.layers]
    assert found.events == 300
    assert found.noise[0].rms_difference == 0
    assert found.noise[0].rms_output > 0
    assert BitFacts.model_validate_json(found.model_dump_json()) == found


def test_narrow_formats_wrap_and_are_noisy(rng: np.random.Generator) -> None:
    wraps, noises = [], []
    for precision in ("fixed<24,8>", "fixed<10,2>"):
        design = Design.from_onnx(float_mlp("Relu").model(), Target(precision=precision))
        found = measure_bits(design, 2 * events_of(design, rng), "test")
        assert isinstance(found, BitFacts)
        assert not isinstance(found.noise, NotRun)
        wraps.append(sum(row.wrapped for row in found.layers))
        noises.append(found.noise[0].rms_difference)
    assert wraps[0] == 0 < wraps[1]
    assert noises[0] < noises[1]


def test_what_was_not_measured_says_why(rng: np.random.Generator) -> None:
    design = Design.from_onnx(quantized_mlp(softmax=False).model())
    absent = measure_bits(design, None, "test")
    assert absent == NotRun(reason="no events: give --data")
    events = events_of(design, rng)
    design._model = None
    found = measure_bits(design, events, "test")
    assert isinstance(found, BitFacts)
    assert found.noise == NotRun(reason="the design has no model.onnx")
