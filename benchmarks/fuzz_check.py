"""One network through samebits and through hls4ml's C simulation, number by number."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.emitters.onnx import input_dtype, to_onnx
from samebits.compile.ir import Graph
from samebits.compile.lowering import lower
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine
from samebits.sim.onnx_engine import OnnxEngine
from samebits.sim.stimuli import adversarial_inputs, as_finite, cover_casts

from .fuzz_csim import RAN, Job, Simulation, Simulator
from .fuzz_network import Network, to_hls4ml

__all__ = [
    *(
        "DIFFERENT",
        "EXACT",
        "FAILED",
        "MEMORY_FLAGS",
        "REFUSED",
        "SKIPPED",
        "UNDEFINED",
        "Checked",
        "Layer",
    ),
    *("Prepared", "check", "compare", "events_for", "prepare"),
]

Array = NDArray[np.float64]
EXACT, DIFFERENT, REFUSED, FAILED = "exact", "DIFFERENT", "refused", "FAILED"
SKIPPED, UNDEFINED = "not converted", "undefined"

_PER_KIND = 8  # adversarial events of each kind
_POOL = 384  # random events from which those that reach ties and overflows are picked
_PICKED = 48
_RANDOM = 24
# The C simulation with memory that was never written set to zero, and to a pattern.
MEMORY_FLAGS = (("-ftrivial-auto-var-init=zero",), ("-ftrivial-auto-var-init=pattern", "-O1"))


@dataclass(frozen=True)
class Layer:
    """Numbers compared of one layer, and how many of them differ."""

    name: str
    kind: str
    numbers: int
    different: int


@dataclass(frozen=True)
class Checked:
    """What became of a network: a status of this module or of the C simulation, and why."""

    seed: int
    status: str
    detail: str = ""
    backend: str = ""
    io_type: str = ""
    kinds: tuple[str, ...] = ()
    layers: tuple[Layer, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Checked:
        layers = tuple(Layer(**layer) for layer in row.pop("layers"))
        return cls(**{**row, "kinds": tuple(row["kinds"])}, layers=layers)

    @property
    def numbers(self) -> int:
        return sum(layer.numbers for layer in self.layers)


@dataclass
class Prepared:
    """A network that samebits could lower, with its events and what both graphs answer."""

    name: str
    network: Network
    model: Any
    graph: Graph
    inputs: list[Array]
    answers: list[tuple[str, dict[str, Array]]] = field(default_factory=list)

    @property
    def job(self) -> Job:
        return Job(self.name, self.model, self.inputs)


def events_for(graph: Graph, seed: int, onnxruntime: bool = False) -> list[Array]:
    """Zeros, extremes, saturation, subnormals, ties, small and random numbers, and those of a pool
    that reach ties and overflows inside the network; as the inputs of firmware.onnx can hold them.
    """
    rng = np.random.default_rng([seed, 0xE5])
    dtypes: list[type[np.floating]] = [np.float64] * len(graph.inputs)
    if onnxruntime:
        dtypes = [input_dtype(tensor.format) for tensor in graph.tensors_of(graph.inputs)]
    kinds = adversarial_inputs(graph, dtypes, seed)
    picked = []
    for arrays in kinds.values():
        chosen = rng.permutation(len(arrays[0]))[:_PER_KIND]
        picked.append([array[chosen] for array in arrays])
    pool = []
    for tensor in graph.tensors_of(graph.inputs):
        fmt, shape = tensor.format, (_POOL, *tensor.shape)
        span = max(abs(fmt.min_mantissa), fmt.max_mantissa) * fmt.lsb
        scale = 2.0 ** -rng.integers(0, 8, (_POOL,) + (1,) * len(tensor.shape))
        values = rng.uniform(-span, span, shape) * scale
        on_grid = np.floor(values / fmt.lsb) * fmt.lsb
        pool.append(np.where(rng.random(shape) < 0.7, on_grid, values))
    covering, _ = cover_casts(graph, NumpyEngine(graph), pool)
    keep = rng.permutation(covering)[:_PICKED]
    picked.append([array[keep] for array in pool])
    picked.append([array[:_RANDOM] for array in pool])
    return [
        as_finite(np.concatenate(arrays), dtype).astype(np.float64)
        for *arrays, dtype in zip(*picked, dtypes, strict=True)
    ]


def _defined(network: Network, model: Any, inputs: Sequence[Array]) -> list[Array]:
    """The inputs, but GarNet's numbers of vertices from 1 on, and all where it does not collapse.

    It divides by that number and reads as many; without collapse it leaves the rest of its result
    to chance.
    """
    found = []
    counts = {
        layer.inputs[1]: (int(layer.get_attr("n_vertices")), layer.get_attr("collapse"))
        for layer in model.get_layers()
        if layer.class_name.startswith("GarNet")
    }
    for node, x in zip(network.inputs, inputs, strict=True):
        if node.name in counts:
            vertices, collapse = counts[node.name]
            fewer = np.abs(np.where(np.abs(x) < 2**20, np.floor(x), 0.0)) % vertices
            x = vertices - (fewer if collapse else 0.0 * fewer)
        found.append(x)
    return found


def prepare(network: Network, name: str, onnxruntime: bool = False) -> Prepared | Checked:
    """The network ready to compare; or why it cannot be: not converted, refused, FAILED.

    `onnxruntime`: the outputs of firmware.onnx too, where there can be one.
    """
    try:
        model = to_hls4ml(network, name)
    except Exception as error:  # hls4ml raises whatever comes
        return _checked(network, SKIPPED, _said(error))
    try:
        lowered = lower(model)
    except (errors.UnsupportedError, errors.ModelError) as error:
        return _checked(network, REFUSED, str(error))
    except Exception as error:  # any other is a fault of samebits
        return _checked(network, FAILED, f"lower: {_said(error)}")
    try:
        simplified = simplify(lowered)
        events = _defined(network, model, events_for(simplified, network.seed, onnxruntime))
        prepared = Prepared(name, network, model, simplified, events)
        for kind, graph in (("lowered", lowered), ("simplified", simplified)):
            names = list(dict.fromkeys([*graph.outputs, *graph.layer_tensors.values()]))
            values = NumpyEngine(graph).run(events, names)
            found = dict(zip(names, values, strict=True))
            answer = {layer: found[name] for layer, name in graph.layer_tensors.items()}
            answer |= {f"output {i}": found[name] for i, name in enumerate(graph.outputs)}
            prepared.answers.append((kind, answer))
        if onnxruntime:
            prepared.answers += _onnx_answers(simplified, events)
    except Exception as error:  # likewise
        return _checked(network, FAILED, f"engine: {_said(error)}")
    return prepared


def _checked(network: Network, status: str, detail: str, layers: Sequence[Layer] = ()) -> Checked:
    return Checked(
        network.seed,
        status,
        detail,
        network.backend,
        network.io_type,
        network.kinds,
        tuple(layers),
    )


def _onnx_answers(graph: Graph, events: list[Array]) -> list[tuple[str, dict[str, Array]]]:
    try:
        model = to_onnx(graph)
    except errors.UnsupportedError:
        return []
    return [
        (
            f"firmware.onnx, optimisations {level}",
            {f"output {i}": y for i, y in enumerate(OnnxEngine(model, level).run(events).values())},
        )
        for level in ("disabled", "all")
    ]


def _said(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
    return f"{type(error).__name__}: {str(error)[:160]} ({where})"


def compare(prepared: Prepared, simulation: Simulation) -> Checked:
    """Every number of every layer and output, by ==."""
    network, model = prepared.network, prepared.model
    classes = {layer.name: layer.class_name for layer in model.get_layers()}
    if simulation.status != RAN:
        return _checked(network, simulation.status, simulation.message)
    expected = dict(simulation.layers)
    expected |= {f"output {i}": y for i, y in enumerate(simulation.outputs)}
    layers, first = [], ""
    for name, values in expected.items():
        wrong = np.zeros(values.shape, dtype=bool)
        compared = False
        for kind, answer in prepared.answers:
            if name not in answer:
                continue
            compared = True
            ours = answer[name].reshape(values.shape)
            different = ours != values
            if different.any() and not first:
                place = tuple(int(i) for i in np.argwhere(different)[0])
                first = (
                    f"{name} ({classes.get(name, 'output')}), {kind}: {int(different.sum())} of "
                    f"{values.size} differ; first event {place[0]}, element {list(place[1:])}: "
                    f"{float(ours[place])!r} instead of {float(values[place])!r}"
                )
            wrong |= different
        if compared:
            kind_name = classes.get(name, "(output)")
            layers.append(Layer(name, kind_name, values.size, int(wrong.sum())))
    status = DIFFERENT if first else EXACT
    if simulation.disturbed and not first:
        first = "tracing changes the C simulation's outputs: no layers compared"
    if not layers:
        status, first = FAILED, "nothing was compared"
    return _checked(network, status, first, layers=tuple(layers))


def check(
    networks: Sequence[Network], simulator: Simulator, onnxruntime: bool = False
) -> list[tuple[Checked, Prepared | None, Simulation | None]]:
    """Networks of one backend, compiled and compared together; with what is needed to shrink."""
    ready = [prepare(network, f"net{i}", onnxruntime) for i, network in enumerate(networks)]
    jobs = [prepared.job for prepared in ready if isinstance(prepared, Prepared)]
    simulations = simulator.run(jobs) if jobs else []
    ran = {job.name: simulation for job, simulation in zip(jobs, simulations, strict=True)}
    results: list[tuple[Checked, Prepared | None, Simulation | None]] = []
    for one in ready:
        if isinstance(one, Checked):
            results.append((one, None, None))
            continue
        simulation = ran[one.name]
        results.append((compare(one, simulation), one, simulation))
    return results


def disagrees_with_itself(prepared: Prepared, simulator: Simulator) -> bool:
    """True if the C simulation's answer depends on memory that it never wrote."""
    runs = [simulator.run([prepared.job], flags)[0] for flags in MEMORY_FLAGS]
    if any(run.status != RAN for run in runs):
        return any(run.status != runs[0].status for run in runs)
    left, right = ({**run.layers, **dict(enumerate(run.outputs))} for run in runs)
    return any(not np.array_equal(left[name], right[name]) for name in left)


def refused_class(detail: str) -> str:
    """The layer class that a refusal names, or "(network)"."""
    unsupported = re.search(r"unsupported layer (\w+)", detail)
    match = unsupported or re.search(r"layer \w+ \((\w+)\)", detail)
    return match[1] if match else "(network)"
