"""Scales that are no powers of two: exact in the firmware, and the model's but next to ties."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from samebits import Design
from samebits.compile.frontends.onnx import read_onnx
from samebits.sim.onnx_engine import OnnxEngine

from ...models import ModelWriter, float_mlp
from .test_onnx_qdq import INT32, QdqWriter, run

FOLDER = Path(__file__).parent / "exports"


def dense(
    write: QdqWriter, x: str, n_in: int, n_out: int, step: float, channels: bool = False
) -> str:
    """QuantizeLinear's int8 weights with any scales and an int32 bias in the sum's steps."""
    scale = write.rng.uniform(0.004, 0.02, n_out if channels else ())
    values = write.rng.integers(-127, 128, (n_in, n_out))
    w = write.integers(values, scale, **({"axis": 1} if channels else {}))
    bias = write.integers(write.rng.integers(-3000, 3000, n_out), scale * step, INT32,
                          **({"axis": 0} if channels else {}))  # fmt: skip
    return write.node("Add", write.node("MatMul", x, w), bias)


def mlp(channels: bool = False, zero: int = -128) -> onnx.ModelProto:
    write = QdqWriter()
    x = dense(write, write.pair("x", 0.031), 4, 8, 0.031, channels)
    x = write.pair(write.node("Relu", x), 0.047, zero)
    x = write.pair(write.node("LeakyRelu", dense(write, x, 8, 8, 0.047), alpha=0.25), 0.083)
    return write.model(dense(write, x, 8, 3, 0.083, channels))


def residual() -> onnx.ModelProto:
    write = QdqWriter()
    x = write.pair("x", 0.031)
    y = write.node("Add", x, dense(write, x, 4, 4, 0.031, True))
    return write.model(dense(write, write.pair(write.node("Relu", y), 0.05, -128), 4, 3, 0.05))


def image() -> onnx.ModelProto:
    write = QdqWriter((2, 6, 6))
    weights = write.rng.integers(-127, 128, (3, 2, 3, 3))
    scale = write.rng.uniform(0.004, 0.01, 3)
    w = write.integers(weights, scale, axis=0)
    bias = write.integers(write.rng.integers(-3000, 3000, 3), scale * 0.031, INT32, axis=0)
    x = write.node("Conv", write.pair("x", 0.031), w, bias, pads=[1, 1, 1, 1])
    x = write.node("MaxPool", write.node("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    x = write.node("Flatten", write.pair(x, 0.027, -128))
    model = write.model(dense(write, x, 27, 3, 0.027, True))
    del model.graph.output[0].type.tensor_type.shape.dim[2:]
    return model


def static() -> onnx.ModelProto:
    """What ONNX Runtime's own quantizer makes of a float model."""
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        CalibrationDataReader,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(5)
            self.events = iter(rng.normal(0, 1, (50, 1, 4)).astype(np.float32))

        def get_next(self) -> dict[str, Any] | None:
            event = next(self.events, None)
            return None if event is None else {"x": event}

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            source = float_mlp().save(Path(name) / "float.onnx")
            with redirect_stdout(io.StringIO()):
                quantize_static(
                    source, Path(name) / "qdq.onnx", Reader(), per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(Path(name) / "qdq.onnx")


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "dense": mlp,
    "dense, per channel": lambda: mlp(channels=True),
    "dense, zero point": lambda: mlp(zero=-90),
    "residual": residual,
    "image": image,
    "quantize_static": static,
    "brevitas, QONNX": lambda: read_onnx(FOLDER / "brevitas_channels_qonnx.onnx"),
    "brevitas, QCDQ": lambda: read_onnx(FOLDER / "brevitas_channels_qcdq.onnx"),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_firmware_is_the_model_but_next_to_ties(name: str) -> None:
    model = MODELS[name]()
    design = Design.from_onnx(model)
    (x,) = design.graph.inputs
    tensor = design.graph.tensors[x]
    events = np.random.default_rng(1).normal(0, 1, (4000, *tensor.shape))
    events = np.rint(events / tensor.format.lsb) * tensor.format.lsb
    found, wanted = design.simulate(events), run(model, events)
    difference = np.abs(found - wanted).reshape(len(events), -1).max(axis=1)
    assert np.percentile(difference, 97) < 2e-5 * np.abs(wanted).max()
    assert difference.max() < 0.05 * np.abs(wanted).max()  # a step of an activation
    (firmware,) = OnnxEngine(design.firmware_onnx(), "all").run([events]).values()
    assert np.array_equal(firmware, found)
    assert any("no powers of two" in note for note in design.facts["notes"])


def test_the_input_is_rounded_finely_and_said_so() -> None:
    design = Design.from_onnx(mlp())
    assert str(design.graph.tensors["x"].format) == "ap_fixed<19,3,RND_CONV,SAT>"
    assert design.facts["notes"][0] == (
        "input x: rounded to ap_fixed<19,3,RND_CONV,SAT> before the model's own quantizer, whose "
        "step 0.031 is no power of two"
    )


def test_a_softmax_gets_the_range_of_its_steps() -> None:
    write = QdqWriter()
    x = write.pair(dense(write, write.pair("x", 0.031), 4, 3, 0.031), 0.0041)
    model = write.model(write.node("Softmax", x, axis=-1))
    design = Design.from_onnx(model)
    assert design.facts["notes"][1].endswith(": rounded to ap_fixed<10,1,RND_CONV,SAT>")
    events = np.random.default_rng(1).normal(0, 0.2, (1000, 4))
    events = np.rint(events / design.graph.tensors["x"].format.lsb)
    events *= design.graph.tensors["x"].format.lsb
    assert np.abs(design.simulate(events) - run(model, events)).max() < 2e-3


def test_models_of_powers_of_two_stay_as_they_are() -> None:
    write = ModelWriter()
    x = write.quant(write.input(), 8, 4)
    write.output(write.gemm(x, 4, 3, bits=6), 3)
    assert Design.from_onnx(write.model()).facts["notes"] == []
