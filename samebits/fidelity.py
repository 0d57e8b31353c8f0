"""How far the firmware's answer is from the model's: measured, never mixed with same bits.

The firmware rounds where the model may not, so the two differ by what its formats cost. A
difference of the order of the outputs themselves means that something was converted wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Format, Overflow

if TYPE_CHECKING:
    from samebits.compile.frontends.hgq import KerasEngine
    from samebits.design import Design

__all__ = ["Fidelity", "OutputFidelity", "measure_fidelity"]

_SPAN = 4.0
_MOST_NUMBERS = 1 << 24  # of the largest tensor, over all events: of large images fewer are run
# beyond these a wrong conversion is likelier than the cost of the formats
LOWEST_EQUAL_DECISIONS = 0.9
LARGEST_RELATIVE_DIFFERENCE = 0.25


@dataclass(frozen=True, slots=True)
class OutputFidelity:
    """One output: the largest differences, absolute and of the model's own span.

    `largest_output` is the largest magnitude of the model's answer, `equal_decisions` the share of
    events in which the same element is the largest, None for one element per event.
    """

    name: str
    largest_difference: float
    largest_output: float
    equal_decisions: float | None


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Firmware against model.onnx. Without `outputs` it was not run, and `reason` says why.

    `data` says which events they are.
    """

    outputs: tuple[OutputFidelity, ...] = ()
    events: int = 0
    tool: str = ""
    reason: str = ""
    data: str = "random events"

    def __str__(self) -> str:
        if not self.outputs:
            return f"not run: {self.reason}"
        parts = []
        for output in self.outputs:
            text = (
                f"largest difference {output.largest_difference:.2g} "
                f"(outputs up to {output.largest_output:.2g})"
            )
            if output.equal_decisions is not None:
                text += f", same decision in {_percent(output.equal_decisions)}"
            parts.append(text if len(self.outputs) == 1 else f"{output.name}: {text}")
        return f"{'; '.join(parts)}; {self.events} {self.data}, {self.tool}"

    @property
    def warning(self) -> str:
        """What is too far from the model to be the cost of rounding; empty if nothing is."""
        far = []
        for output in self.outputs:
            decisions = output.equal_decisions
            if decisions is not None and decisions < LOWEST_EQUAL_DECISIONS:
                far.append(
                    f"{output.name}: same decision in only {_percent(decisions)} of the events "
                    f"(warned below {_percent(LOWEST_EQUAL_DECISIONS)})"
                )
            limit = LARGEST_RELATIVE_DIFFERENCE * output.largest_output
            if not output.largest_difference <= limit:
                far.append(
                    f"{output.name}: differs by up to {output.largest_difference:.2g}, outputs "
                    f"reach {output.largest_output:.2g} (warned beyond "
                    f"{_percent(LARGEST_RELATIVE_DIFFERENCE)} of that)"
                )
        if not far:
            return ""
        return (
            f"the firmware is far from the model: {'; '.join(far)}. Give wider formats "
            "(--precision), or the conversion is wrong"
        )


def _percent(share: float) -> str:
    """Rounded down, so that 100 % means all."""
    return f"{np.floor(share * 1000) / 10:g} %"


def measure_fidelity(
    design: Design, events: int = 2000, seed: int = 0, calibration: Sequence[NDArray[Any]] = ()
) -> Fidelity:
    """The firmware's answers against those of model.onnx under ONNX Runtime.

    A design without that file is compared with the Keras 3 model that it was made from, while that
    is in memory.

    The events are the first of `calibration`, one array per input, rounded to the input formats'
    grids. Without these, or where they are not of the design's shapes, they are random points of
    these grids, which the model's own input quantizer does not change: uniform over the whole
    format where the model gave it, over -4 to 4 otherwise.
    Of networks on large images fewer than `events` are run.
    """
    from samebits.compile.frontends.onnx import runnable
    from samebits.sim.onnx_engine import OnnxEngine

    design = design.network
    if design.model_bytes is None and design.reference is None:
        return Fidelity(reason="the design has no model.onnx")
    rng = np.random.default_rng(seed)
    graph = design.graph
    largest = max(
        math.prod(tensor.shape)
        for name, tensor in graph.tensors.items()
        if name not in graph.constants
    )
    events = max(1, min(events, _MOST_NUMBERS // largest))
    tensors = design.graph.tensors_of(design.graph.inputs)
    given = bool(calibration) and [x.shape[1:] for x in calibration] == [t.shape for t in tensors]
    if given:
        events = min(events, len(calibration[0]))
        inputs = [_rounded(t.format, x[:events]) for t, x in zip(tensors, calibration, strict=True)]
    else:
        inputs = [_on_grid(t.format, (events, *t.shape), rng) for t in tensors]
    try:
        engine: OnnxEngine | KerasEngine
        if design.model_bytes is not None:
            engine = OnnxEngine(runnable(design.model_bytes), "disabled")
        else:
            assert design.reference is not None
            engine = design.reference
        expected = engine.run(inputs)
    except errors.SamebitsError as error:
        return Fidelity(reason=str(error))
    except Exception as error:  # the exceptions of ONNX Runtime and Keras share no other base
        return Fidelity(reason=f"the model cannot be run: {error}")
    found = design.simulate(inputs)
    rows = [
        _compare(name, wanted, got)
        for (name, wanted), got in zip(
            expected.items(), found if isinstance(found, list) else [found], strict=True
        )
    ]
    if given:
        return Fidelity(tuple(rows), events, engine.tool, data="calibration events")
    return Fidelity(tuple(rows), events, engine.tool)


def _rounded(fmt: Format, x: NDArray[Any]) -> NDArray[Any]:
    steps = np.rint(np.asarray(x, np.float64) / fmt.lsb)
    return np.clip(steps, fmt.min_saturated, fmt.max_mantissa) * fmt.lsb


def _on_grid(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    low, high = fmt.min_saturated, fmt.max_mantissa
    if fmt.overflow is Overflow.WRAP:
        span = max(1, int(_SPAN / fmt.lsb))
        low, high = max(low, -span), min(high, span)
    if high - low < 2**53:
        return rng.integers(low, high, shape, endpoint=True) * fmt.lsb
    # too many steps for int64: float64 numbers of this size are whole
    return np.clip(np.rint(rng.uniform(low, high, shape)), low, high) * fmt.lsb


def _compare(name: str, wanted: NDArray[Any], got: NDArray[Any]) -> OutputFidelity:
    rows = wanted.reshape(len(wanted), -1), got.reshape(len(got), -1)
    decisions: float | None = None
    if rows[0].shape[1] > 1:
        decisions = float((rows[0].argmax(axis=1) == rows[1].argmax(axis=1)).mean())
    return OutputFidelity(
        name, float(np.abs(rows[0] - rows[1]).max()), float(np.abs(rows[0]).max()), decisions
    )
