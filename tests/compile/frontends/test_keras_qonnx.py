"""Exported Keras models read by qonnx's executor: another reader's numbers are Keras's, too."""

from typing import Any

import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]
from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

from samebits.compile.frontends.keras import export_keras
from samebits.train.tensorflow import load, quiet

from .keras_zoo import BOUNDED, EXACT, RECURRENT, build, events

EVENTS = 20
# hundreds of nodes, which qonnx runs one by one: 9 seconds; qlstm does the same
SLOW = ("qbidirectional",)


@pytest.fixture(scope="module")
def kit() -> Any:
    return load()


def on_both(kit: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What Keras and qonnx make of the same events."""
    shape, make = (EXACT | BOUNDED | RECURRENT)[name]
    model, x = build(kit, shape, make), events(shape, EVENTS)
    with quiet():
        exported = export_keras(model)
        wanted = np.asarray(model(x))
    fixed = onnx.ModelProto()
    fixed.CopyFrom(exported)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = EVENTS
    wrapper = ModelWrapper(fixed).transform(InferShapes())
    return wanted, execute_onnx(wrapper, {"x": x})[exported.graph.output[0].name]


@pytest.mark.parametrize("name", [name for name in EXACT if name not in SLOW])
def test_qonnx_gives_keras_numbers(kit: Any, name: str) -> None:
    wanted, given = on_both(kit, name)
    assert len(np.unique(wanted)) > 1
    assert np.array_equal(given, wanted)


@pytest.mark.parametrize("name", BOUNDED | RECURRENT)
def test_qonnx_is_as_near_as_float32_is(kit: Any, name: str) -> None:
    wanted, given = on_both(kit, name)
    assert len(np.unique(wanted)) > 1
    assert np.abs(given - wanted).max() < 1e-5 * np.abs(wanted).max()
