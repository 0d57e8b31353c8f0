"""Networks made of hls4ml's layer descriptions, and their comparison with a transcribed kernel."""

import contextlib
import copy
import io
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hls4ml.model.graph import ModelGraph
from hls4ml.utils.config import create_config

from samebits import errors
from samebits.compile.ir import Format
from samebits.compile.lowering import lower
from samebits.compile.lowering.precision import format_of
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine

from ...oracle import cast, lsb

Layer = dict[str, Any]
Cast = Callable[[Fraction], Fraction]
Kernel = Callable[..., Sequence[Any]]


def given(name: str, *shape: int) -> Layer:
    """An input of the network."""
    return {"name": name, "class_name": "InputLayer", "input_shape": list(shape)}


def convert(
    layers: Sequence[Layer],
    outputs: Sequence[str],
    config: dict[str, dict[str, Any]] | None = None,
    backend: str = "Vitis",
    io_type: str = "io_parallel",
) -> Any:
    """The converted graph; `config` holds hls4ml's configuration of each layer by name."""
    project = create_config(
        output_dir="never_written",
        project_name="net",
        backend=backend,
        part="xcvu13p-flga2577-2-e",
        clock_period=5,
        io_type=io_type,
    )
    model = {"Precision": {"default": "fixed<12,5>"}, "ReuseFactor": 1, "Strategy": "Latency"}
    project["HLSConfig"] = {"Model": model, "LayerName": config or {}}
    inputs = [layer["name"] for layer in layers if layer["class_name"] == "InputLayer"]
    with contextlib.redirect_stdout(io.StringIO()):
        return ModelGraph.from_layer_list(project, copy.deepcopy(layers), inputs, list(outputs))


def layer_of(model: Any, name: str) -> Any:
    """A layer of the converted graph."""
    return next(layer for layer in model.get_layers() if layer.name == name)


def precision(layer: Any, name: str) -> Format:
    """The format of a layer's type."""
    if name == "result":
        return format_of(layer.get_output_variable().type.precision, name)
    return format_of(layer.get_attr(f"{name}_t").precision, name)


def caster(fmt: Format) -> Cast:
    """The C++ assignment to a type, on exact values."""
    return lambda x: cast(Fraction(x), fmt) * lsb(fmt)


def numbers(values: Any) -> Any:
    """An array of exact values, nested lists of fractions."""
    if isinstance(values, list | np.ndarray):
        return [numbers(value) for value in values]
    return Fraction(float(values))


def flat(values: Any) -> list[float]:
    """Nested lists as one list of floats."""
    if isinstance(values, list | tuple):
        return [number for value in values for number in flat(value)]
    return [float(values)]


def weights(layer: Any, name: str) -> list[Fraction]:
    """A layer's weights as the flat C++ array; they must lie on their type's grid."""
    return [Fraction(float(value)) for value in np.asarray(layer.weights[name].data).flat]


def grid(rng: np.random.Generator, *shape: int) -> Any:
    """Weights that fixed<6,2> holds."""
    return rng.integers(-32, 32, shape) / 16


def check(model: Any, kernel: Kernel, rng: np.random.Generator, events: int = 3) -> None:
    """Lowered and simplified graph give, for random inputs, what `kernel` makes of one event's.

    The inputs reach over their formats, extremes included.
    """
    graph = lower(model)
    arrays = []
    for name in graph.inputs:
        tensor = graph.tensors[name]
        low, high = tensor.format.min_mantissa, tensor.format.max_mantissa
        mantissas = rng.integers(low, high, (events, *tensor.shape), endpoint=True)
        mantissas[0].flat[:2] = low, high
        arrays.append(mantissas * float(lsb(tensor.format)))
    compare(model, kernel, arrays)


def compare(model: Any, kernel: Kernel, arrays: Sequence[Any]) -> None:
    """The same for inputs that lie on their formats' grids."""
    graph = lower(model)
    wanted = [flat(kernel(*(numbers(x[event]) for x in arrays))) for event in range(len(arrays[0]))]
    for each in (graph, simplify(graph)):
        outputs = NumpyEngine(each).run(list(arrays), each.outputs)
        got = np.concatenate([y.reshape(len(y), -1) for y in outputs], axis=1)
        assert got.tolist() == wanted


def refusal(
    model: Any,
    error: type[errors.SamebitsError] = errors.UnsupportedError,
    weights: Mapping[str, Any] | None = None,
) -> str:
    """The message with which a graph is refused."""
    with pytest.raises(errors.SamebitsError) as caught:
        lower(model, weights)
    assert type(caught.value) is error
    return str(caught.value)
