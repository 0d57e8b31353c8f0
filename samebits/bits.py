"""How the events of a report use the firmware's bits, and what rounding costs at the output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from samebits import errors
from samebits.firmware.results import Facts, NotRun, Text
from samebits.inputs import check_inputs
from samebits.layer_fidelity import LayerFidelityFacts, layer_fidelity
from samebits.sim.bit_usage import BitUsage, measure_bit_usage

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["BitFacts", "OutputNoise", "measure_bits"]

_MOST_EVENTS = 20_000


class OutputNoise(Facts):
    """Root mean square of firmware minus model.onnx at one output, and of the model's answer."""

    name: Text
    rms_difference: float
    rms_output: float


class BitFacts(Facts):
    """Bit usage of every input and layer on `events` events, named by `data`.

    `model` holds every layer against its tensor of model.onnx.
    """

    data: Text
    events: int
    layers: tuple[BitUsage, ...]
    noise: tuple[OutputNoise, ...] | NotRun
    model: LayerFidelityFacts | NotRun = NotRun(reason="not compared layer by layer")


def measure_bits(design: Design, data: Any, name: str) -> BitFacts | NotRun:
    """Bit usage on the first events of `data`, at most 20,000; "not run" without events."""
    if data is None or not len(data):
        return NotRun(reason="no events: give --data")
    design = design.network
    if len(design.graph.inputs) > 1:
        return NotRun(reason="the network has several inputs")
    inputs = check_inputs(design.graph, data[:_MOST_EVENTS])
    return BitFacts(
        data=name,
        events=len(inputs[0]),
        layers=tuple(measure_bit_usage(design.graph, design.engine, inputs)),
        noise=_noise(design, inputs),
        model=layer_fidelity(design, inputs[0], name, _float_network(design)),
    )


def _float_network(design: Design) -> bytes | None:
    from samebits.references import references

    return next((one.model for one in references(design) if one.name == "float"), None)


def _noise(design: Design, inputs: Any) -> tuple[OutputNoise, ...] | NotRun:
    from samebits.compile.frontends.onnx import runnable
    from samebits.sim.onnx_engine import OnnxEngine

    if design.model_bytes is None:
        return NotRun(reason="the design has no model.onnx")
    try:
        wanted = OnnxEngine(runnable(design.model_bytes), "disabled").run(inputs)
    except errors.SamebitsError as error:
        return NotRun(reason=str(error))
    except Exception as error:  # the exceptions of ONNX Runtime share no other base
        return NotRun(reason=f"model.onnx cannot be run: {error}")
    found = design.simulate(inputs)
    rows = []
    for (name, expected), got in zip(
        wanted.items(), found if isinstance(found, list) else [found], strict=True
    ):
        values = np.asarray(expected, dtype=np.float64).reshape(len(got), -1)
        change = got.reshape(len(got), -1) - values
        if not np.isfinite(change).all():
            return NotRun(reason=f"{name}: the model's answer is not finite")
        rms = [float(np.sqrt(np.square(part).mean())) for part in (change, values)]
        rows.append(OutputNoise(name=name, rms_difference=rms[0], rms_output=rms[1]))
    return tuple(rows)
