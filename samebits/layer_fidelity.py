"""Where firmware and model part: every layer's values against those of the model it came from.

hls4ml renames and joins operators, so that a layer is found in the model by its values: it is the
tensor with as many numbers per event that comes closest. Same bits are something else: there the
engines of one firmware are compared, here the firmware with a model that may round less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.firmware.results import Facts, NotRun, Text
from samebits.inputs import check_inputs

if TYPE_CHECKING:
    import onnx

    from samebits.design import Design

__all__ = ["LayerFidelity", "LayerFidelityFacts", "layer_fidelity", "without_rounding"]

_MOST_EVENTS, _MOST_NUMBERS = 2000, 1 << 23
_MATCH_EVENTS = 256
_QUANTIZERS = ("Quant", "IntQuant")
_OTHER_QUANTIZERS = ("BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold")
_ROUNDED = ("QuantizeLinear", "DequantizeLinear")

Array = NDArray[np.float64]


class LayerFidelity(Facts):
    """One layer of the firmware against its tensor in the model.

    Attributes:
        tensor: of model.onnx; "" if none comes close, and then nothing else is there.
        different: values that are not equal, of `values`; rms and largest difference in the least
            significant bits of the layer's format.
        event, element: the first value that differs; `firmware` and `model` are the two there.
        snr_db: power of the model's values over that of the difference; None if nothing differs.
        noise_db: the same against model.onnx without the rounding of activations, and `float_db`
            against the trained float network; None where there is no such tensor.
    """

    layer: Text
    format: Text
    tensor: str = ""
    values: int = 0
    different: int = 0
    rms_lsb: float = 0.0
    largest_lsb: float = 0.0
    event: int | None = None
    element: tuple[int, ...] = ()
    firmware: float | None = None
    model: float | None = None
    snr_db: float | None = None
    noise_db: float | None = None
    float_tensor: str = ""
    float_db: float | None = None


class LayerFidelityFacts(Facts):
    """All layers in the order of the data, on the first `events` events of `data`."""

    data: Text
    events: int
    tool: Text
    rows: tuple[LayerFidelity, ...]
    unrounded: str = ""  # why noise_db is not there

    @property
    def first(self) -> LayerFidelity | None:
        """The first layer that differs from the model."""
        return next((row for row in self.rows if row.different), None)


def layer_fidelity(
    design: Design, data: Any, name: str, floating: bytes | None = None
) -> LayerFidelityFacts | NotRun:
    """Every layer of the firmware against model.onnx on the first events, at most 2000.

    Args:
        floating: the trained float network as ONNX.
    """
    if design.model_bytes is None:
        return NotRun(reason="the design has no model.onnx")
    if data is None or not len(data):
        return NotRun(reason="no events: give --data")
    if len(design.graph.inputs) > 1:
        return NotRun(reason="the network has several inputs")
    try:
        return _compared(design, design.model_bytes, data, name, floating)
    except errors.SamebitsError as error:
        return NotRun(reason=str(error))
    except Exception as error:  # the exceptions of ONNX Runtime share no other base
        return NotRun(reason=f"model.onnx cannot be traced: {error}")


def _compared(
    design: Design, model: bytes, data: Any, name: str, floating: bytes | None
) -> LayerFidelityFacts:
    graph = design.graph
    sizes = [
        int(np.prod(graph.tensors[one].shape, dtype=int)) for one in graph.layer_tensors.values()
    ]
    events = max(1, min(_MOST_EVENTS, len(data), _MOST_NUMBERS // (4 * sum(sizes))))
    inputs = check_inputs(graph, data[:events])
    layers = graph.layer_tensors
    found = dict(zip(layers, design.engine.run(inputs, list(layers.values())), strict=True))
    traced, tool = _traced(_parsed(model), inputs)
    unrounded, why = without_rounding(_parsed(model))
    plain = {} if unrounded is None else _traced(unrounded, inputs)[0]
    trained = {} if floating is None else _traced(_parsed(floating), inputs)[0]
    rows, taken = [], set[str]()
    for layer, values in found.items():
        fmt = graph.tensors[layers[layer]].format
        match = _closest(values, traced, taken)
        if match is None:
            rows.append(LayerFidelity(layer=layer, format=str(fmt)))
            continue
        tensor, wanted, order = match
        taken.add(tensor)
        change = (values - wanted).reshape(len(values), -1)
        wrong = np.argwhere(values != wanted)
        exact = order(plain[tensor]) if tensor in plain else None
        other = _closest(values, trained, set())
        first: dict[str, Any] = {}
        if len(wrong):
            place = tuple(int(i) for i in wrong[0])
            first = {
                "event": place[0],
                "element": place[1:],
                "firmware": float(values[place]),
                "model": float(wanted[place]),
            }
        rows.append(
            LayerFidelity(
                layer=layer,
                format=str(fmt),
                tensor=tensor,
                values=values.size,
                different=len(wrong),
                rms_lsb=float(np.sqrt(np.square(change).mean()) / fmt.lsb),
                largest_lsb=float(np.abs(change).max() / fmt.lsb),
                snr_db=_decibels(wanted, values),
                noise_db=None if exact is None else _decibels(exact, values),
                float_tensor="" if other is None else other[0],
                float_db=None if other is None else _decibels(other[1], values),
                **first,
            )
        )
    return LayerFidelityFacts(data=name, events=events, tool=tool, rows=tuple(rows), unrounded=why)


def _parsed(data: bytes) -> onnx.ModelProto:
    import onnx

    return onnx.load_model_from_string(data)


def _traced(model: onnx.ModelProto, inputs: list[NDArray[Any]]) -> tuple[dict[str, Array], str]:
    """Every tensor that depends on the inputs by name, (N, ...) float64, in the model's order."""
    import onnx

    from samebits.compile.frontends.onnx import runnable
    from samebits.sim.onnx_engine import OnnxEngine

    form = runnable(model.SerializeToString())
    present = {output.name for output in form.graph.output}
    names = [name for node in _flowing(form) for name in node.output if name]
    form.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in present)
    engine = OnnxEngine(form, "disabled")
    answers, count = engine.native(inputs), len(inputs[0])
    kept = {}
    for name in names:
        values = np.asarray(answers[name])
        if values.dtype.kind == "f" and values.ndim and len(values) == count:
            kept[name] = values.astype(np.float64)
    return kept, engine.tool


def _flowing(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes that compute something from the inputs, in order."""
    known = {value.name for value in model.graph.input}
    known -= {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if known & set(node.input):
            known |= set(node.output)
            yield node


def without_rounding(model: onnx.ModelProto) -> tuple[onnx.ModelProto | None, str]:
    """The model without the quantizers of activations, those of weights kept; None, and why not.

    An unsigned quantizer becomes a ReLU, which it contains.
    """
    import onnx

    flowing = [node.name or node.output[0] for node in _flowing(model)]
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if (node.name or node.output[0]) not in flowing:
            continue
        if node.op_type in (*_OTHER_QUANTIZERS, *_ROUNDED):
            return None, f"model.onnx rounds with {node.op_type}, which has no form without"
        if node.op_type not in _QUANTIZERS:
            continue
        signed = next((item.i for item in node.attribute if item.name == "signed"), 1)
        del node.input[1:]
        del node.attribute[:]
        node.domain, node.op_type = "", "Identity" if signed else "Relu"
    return plain, ""


def _closest(
    values: Array, candidates: Mapping[str, Array], taken: set[str]
) -> tuple[str, Array, Callable[[Array], Array]] | None:
    """The tensor closest to a layer's values, in the layer's shape, and how it gets that shape.

    A difference as large as the tensor itself is no match. Of equally close ones the first that no
    layer has yet.
    """
    best: tuple[tuple[float, bool], str, Callable[[Array], Array]] | None = None
    few = values[:_MATCH_EVENTS]
    for name, tensor in candidates.items():
        if tensor.size != values.size:
            continue
        for order in _orders(values.shape, tensor.shape):
            wanted = order(tensor[:_MATCH_EVENTS])
            distance = float(np.square(few - wanted).sum())
            if not distance < float(np.square(wanted).sum()) and distance:
                continue
            score = distance, name in taken
            if best is None or score < best[0]:
                best = score, name, order
    if best is None:
        return None
    return best[1], best[2](candidates[best[1]]), best[2]


def _orders(shape: tuple[int, ...], given: tuple[int, ...]) -> Iterator[Callable[[Array], Array]]:
    """Ways to bring (N, ...) of ONNX, the channel first, into hls4ml's shape, the channel last."""

    def as_is(tensor: Array) -> Array:
        return tensor.reshape(len(tensor), *shape[1:])

    def channel_last(tensor: Array) -> Array:
        return np.moveaxis(tensor, 1, -1).reshape(len(tensor), *shape[1:])

    yield as_is
    if len(given) > 2:
        yield channel_last


def _decibels(wanted: Array, values: Array) -> float | None:
    """Power of what is wanted over that of the difference; None if there is none, or no signal."""
    noise, signal = (float(np.square(one).mean()) for one in (values - wanted, wanted))
    return None if not noise or not signal else float(10 * np.log10(signal / noise))
