"""Two `firmware.onnx` files: do they give the same bits, and if not, where first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.ir import Format, Graph, Tensor

from .firmware_file import FirmwareFile, LayerTensor, Port
from .onnx_engine import OnnxEngine
from .stimuli import adversarial_inputs, as_finite

__all__ = [
    "Difference",
    "FirmwareDiff",
    "compare_firmware",
    "interface_differences",
    "layer_values",
    "made_events",
]

Array = NDArray[Any]
Pieces = Iterable[tuple[int, list[Array]]]
_RANDOM_EVENTS = 20_000
_PIECE_NUMBERS = 1 << 20
_LAYER_EVENTS = 256  # events that differ, kept to look for the layer


@dataclass(frozen=True, slots=True)
class Difference:
    """One output or layer that differs: where first, and how often.

    `element` is its position in the tensor; `values` and `mantissas` are those of a and b there.
    """

    name: str
    formats: tuple[Format, Format]
    event: int
    element: tuple[int, ...]
    values: tuple[float, float]
    mantissas: tuple[int, int]
    events: int
    numbers: int


@dataclass(slots=True)
class FirmwareDiff:
    """The outcome of `compare_firmware`.

    `interface` lists in words where names, shapes or formats differ; `outputs` the outputs that
    differ; `layer` the first layer that does, if the files share any, and `agreeing` the shared
    layers before it that do not; `example` the inputs of the first event that differs.
    """

    interface: list[str]
    events: int = 0
    numbers: int = 0
    different_events: int = 0
    outputs: list[Difference] = field(default_factory=list)
    layer: Difference | None = None
    shared_layers: list[str] = field(default_factory=list)
    agreeing: list[str] = field(default_factory=list)
    example: list[tuple[Port, Array]] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """True if interfaces and all compared bits are the same."""
        return not self.interface and not self.outputs


def interface_differences(a: FirmwareFile, b: FirmwareFile) -> tuple[list[str], bool]:
    """(what differs between inputs and outputs, in words; if events can be compared at all)."""
    found, comparable = [], True
    for kind, left, right in (("input", a.inputs, b.inputs), ("output", a.outputs, b.outputs)):
        if len(left) != len(right):
            found.append(f"{len(left)} {kind}s against {len(right)}")
            comparable = False
        for one, other in zip(left, right, strict=False):
            if one.shape != other.shape:
                comparable = False
            if (one.name, one.shape, one.format) != (other.name, other.shape, other.format):
                found.append(f"{kind} {one} against {other}")
    return found, comparable


def made_events(a: FirmwareFile, b: FirmwareFile, seed: int) -> Iterator[tuple[int, list[Array]]]:
    """Adversarial and random events for the input formats of both files."""
    start = 0
    for file in (a, b) if [p.format for p in a.inputs] != [p.format for p in b.inputs] else (a,):
        dtypes = [np.float64 if p.dtype == "tensor(double)" else np.float32 for p in file.inputs]
        tensors = {p.name: Tensor(p.name, p.shape, p.format) for p in file.inputs}
        graph = Graph(tuple(tensors), tuple(tensors), (), tensors, {})
        kinds = list(adversarial_inputs(graph, dtypes, seed).values())
        for arrays in [*kinds, *_random_events(file, seed)]:
            pieces = [as_finite(x, dtype) for x, dtype in zip(arrays, dtypes, strict=True)]
            yield start, pieces
            start += len(pieces[0])


def _random_events(file: FirmwareFile, seed: int) -> Iterator[list[Array]]:
    """Uniform on fractions 2**-k of the input formats' ranges."""
    rng = np.random.default_rng([seed, 1])
    size = sum(int(np.prod(port.shape)) for port in file.inputs)
    step = max(1, min(_RANDOM_EVENTS, _PIECE_NUMBERS // max(1, size)))
    for start in range(0, _RANDOM_EVENTS, step):
        count, arrays = min(step, _RANDOM_EVENTS - start), []
        for port in file.inputs:
            fmt = port.format
            scale = 2.0 ** rng.uniform(-fmt.width, 0.5, (count, *(1,) * len(port.shape)))
            low = -1.0 if fmt.signed else 0.0
            span = max(fmt.max_mantissa, -fmt.min_mantissa, 1) * fmt.lsb
            arrays.append(rng.uniform(low, 1.0, (count, *port.shape)) * span * scale)
        yield arrays


def compare_firmware(
    a: FirmwareFile, b: FirmwareFile, pieces: Pieces, progress: Callable[[int], None] | None = None
) -> FirmwareDiff:
    """Both files on the same events, no tolerance.

    Args:
        pieces: (first event, arrays for the inputs of a); they must fit the inputs of b too.
        progress: called with the number of events done.
    """
    interface, comparable = interface_differences(a, b)
    result = FirmwareDiff(interface)
    if not comparable:
        return result
    kept: list[tuple[Array, list[Array]]] = []  # numbers of events that differ, and their inputs
    found: dict[str, Difference] = {}
    for start, arrays in pieces:
        left, right = (file.run(arrays) for file in (a, b))
        different = np.zeros(len(arrays[0]), dtype=bool)
        for one, other in zip(a.outputs, b.outputs, strict=True):
            x, y = left[one.name], right[other.name]
            result.numbers += x.size
            different |= _unequal(x, y)
            formats = one.format, other.format
            found = _add(found, one.name, formats, x, y, start)
        wrong = np.flatnonzero(different)
        result.different_events += len(wrong)
        result.events += len(arrays[0])
        if len(wrong) and sum(len(events) for events, _ in kept) < _LAYER_EVENTS:
            kept.append((start + wrong, [array[wrong] for array in arrays]))
        if progress:
            progress(result.events)
    result.outputs = list(found.values())
    if kept:
        events = np.concatenate([numbers for numbers, _ in kept])[:_LAYER_EVENTS]
        inputs = [
            np.concatenate([arrays[i] for _, arrays in kept])[:_LAYER_EVENTS]
            for i in range(len(a.inputs))
        ]
        result.example = [(port, x[0]) for port, x in zip(a.inputs, inputs, strict=True)]
        _find_layer(result, a, b, events, inputs)
    return result


def _unequal(x: Array, y: Array) -> NDArray[np.bool_]:
    """Which events differ."""
    return np.asarray((x != y).reshape(len(x), -1).any(axis=1))


def _add(
    found: dict[str, Difference],
    name: str,
    formats: tuple[Format, Format],
    x: Array,
    y: Array,
    start: int,
) -> dict[str, Difference]:
    """`found` with what differs between the values x and y of one tensor."""
    wrong = x != y
    if not wrong.any():
        return found
    events, numbers = int(_unequal(x, y).sum()), int(np.count_nonzero(wrong))
    old = found.get(name)
    if old is None:
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        values = float(x[place]), float(y[place])
        mantissas = tuple(
            round(np.ldexp(v, f.fraction)) for v, f in zip(values, formats, strict=True)
        )
        first = start + place[0], place[1:], values, (mantissas[0], mantissas[1])
    else:
        first = old.event, old.element, old.values, old.mantissas
        events, numbers = events + old.events, numbers + old.numbers
    return {**found, name: Difference(name, formats, *first, events, numbers)}


def _find_layer(
    result: FirmwareDiff, a: FirmwareFile, b: FirmwareFile, events: Array, inputs: list[Array]
) -> None:
    """Fills in the first layer that differs on these events."""
    others = {layer.name: layer for layer in b.layers}
    pairs = [
        (layer, others[layer.name])
        for layer in a.layers
        if layer.name in others and others[layer.name].shape == layer.shape
    ]
    if not pairs:
        return
    left = layer_values(a, [pair[0] for pair in pairs], inputs)
    right = layer_values(b, [pair[1] for pair in pairs], inputs)
    result.shared_layers = [one.name for one, _ in pairs]
    for (one, other), x, y in zip(pairs, left, right, strict=True):
        found = _add({}, one.name, (one.format, other.format), x, y, 0)
        if found:
            first = found[one.name]
            result.layer = Difference(
                first.name,
                first.formats,
                int(events[first.event]),
                *(first.element, first.values, first.mantissas, first.events, first.numbers),
            )
            return
        result.agreeing.append(one.name)


def layer_values(
    file: FirmwareFile, layers: list[LayerTensor], inputs: list[Array]
) -> list[NDArray[np.float64]]:
    """Every layer's real values (N, *shape), from the file with their tensors as outputs too.

    Raises:
        ModelError: ONNX Runtime cannot run the file so.
    """
    import onnx

    model = onnx.load(file.path)
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    wanted = {layer.tensor for layer in layers}
    for name in sorted(wanted - known):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    try:
        found = OnnxEngine(model).native(inputs)
    except errors.ToolError as error:
        raise errors.ModelError(f"{file.path}: its layers cannot be run: {error}") from None
    values = []
    for layer in layers:
        mantissas = layer.arranged(found[layer.tensor]).astype(np.float64)
        values.append(np.ldexp(mantissas, -layer.format.fraction))
    return values
