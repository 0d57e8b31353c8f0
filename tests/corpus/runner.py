"""Recorded hls4ml networks through the lowering and the engines, bit for bit.

    python tests/corpus/runner.py FOLDER [--onnxruntime]

FOLDER holds case folders: graph.fml (hls4ml's own serialisation of the converted graph), inputs.npz
(x0, x1, ... in the order of the model's inputs), outputs.npz (y0, y1, ...: what the C simulation
gave), meta.json, and for some trace.npz (every traced layer's output) and da_weights.npz (the
weights that distributed arithmetic has removed from the graph). A case is "exact",
"unsupported" with the reason, or wrong, and then the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
import types
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from samebits import errors
from samebits.compile.ir import Graph
from samebits.compile.lowering import lower
from samebits.compile.passes import simplify
from samebits.sim.numpy_engine import NumpyEngine

_MOST_PRODUCTS = 1 << 20
EXACT, UNSUPPORTED, MISMATCH, FAILED = "exact", "unsupported", "MISMATCH", "FAILED"
Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Result:
    """What became of one case; `compared` counts the numbers that were compared."""

    case: str
    status: str
    detail: str = ""
    layers: tuple[str, ...] = ()
    backend: str = ""
    compared: int = 0

    @property
    def good(self) -> bool:
        return self.status in (EXACT, UNSUPPORTED)


@contextlib.contextmanager
def _mended_hls4ml() -> Iterator[None]:
    """hls4ml 1.3.0 cannot read back all that it writes; mended while a graph is read.

    1. XnorPrecisionType saves arguments that its constructor does not take.
    2. QKerasQuantizer asks qkeras for the Python quantizer, which nothing needs after conversion.
    3. Quartus's variables are saved as "inputs.x" and get that prefix a second time.
    """
    from hls4ml.model.types import XnorPrecisionType
    from hls4ml.utils import serialization

    read_type = serialization._deserialize_type

    def without_prefix(name: str, state: dict[str, Any]) -> Any:
        variable = state.get("name")
        if isinstance(variable, str) and variable.startswith(("inputs.", "outputs.")):
            state = {**state, "name": variable.split(".", 1)[1]}
        return read_type(name, state)

    quantizers = types.ModuleType("qkeras.quantizers")
    quantizers.get_quantizer = lambda config: types.SimpleNamespace(  # type: ignore[attr-defined]
        **(config or {}).get("config", {})
    )
    package = types.ModuleType("qkeras")
    package.quantizers = quantizers  # type: ignore[attr-defined]
    modules = {"qkeras": package, "qkeras.quantizers": quantizers}
    xnor = classmethod(lambda cls, state: cls())
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(XnorPrecisionType, "deserialize", xnor),
        mock.patch.object(serialization, "_deserialize_type", without_prefix),
    ):
        yield


def load_graph(case: Path) -> Any:
    """The case's hls4ml ModelGraph, read by hls4ml's own deserialiser, without a word."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        tempfile.TemporaryDirectory(prefix="case_") as folder,
    ):
        warnings.simplefilter("ignore")
        from hls4ml.utils.serialization import deserialize_model

        with _mended_hls4ml():
            return deserialize_model(str(case / "graph.fml"), output_dir=folder)


def load_arrays(path: Path, stem: str) -> list[np.ndarray[Any, Any]]:
    """The arrays stem0, stem1, ... of a file."""
    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"{stem}{number}"] for number in range(len(archive.files))]


def load_weights(case: Path) -> dict[str, np.ndarray[Any, Any]] | None:
    """The weights that are not in the case's graph, {"layer/weight": array}."""
    path = case / "da_weights.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if not name.endswith("_precision")}


def run_case(case: Path, onnxruntime: bool = False) -> Result:
    """One case, on the graph as lowered and as simplified, at outputs and traced layers.

    A graph that writes out too many products for the memory is run as simplified only.
    """
    meta = json.loads((case / "meta.json").read_text())
    about = {"layers": tuple(meta["layer_classes"]), "backend": meta["backend"]}
    try:
        lowered = lower(load_graph(case), load_weights(case))
    except errors.UnsupportedError as error:
        return Result(case.name, UNSUPPORTED, str(error), **about)
    except Exception as error:  # whatever else goes wrong is that case's result
        return Result(case.name, FAILED, f"{type(error).__name__}: {error}", **about)
    inputs = load_arrays(case / "inputs.npz", "x")
    inputs = [
        x.reshape(len(x), *lowered.tensors[name].shape)
        for x, name in zip(inputs, lowered.inputs, strict=True)
    ]
    compared, note = 0, ""
    kinds = [("lowered", lowered), ("simplified", simplify(lowered))]
    largest = max(math.prod(tensor.shape) for tensor in lowered.tensors.values())
    if largest > _MOST_PRODUCTS:
        kinds, note = kinds[1:], f"not run unsimplified: a tensor of {largest} elements"
    for kind, graph in kinds:
        expected = _recorded(case, graph)
        names = list(dict.fromkeys(name for _, name, _ in expected))
        engine = NumpyEngine(graph).run(inputs, names)
        got = dict(zip(names, engine, strict=True))
        for what, name, array in expected:
            difference = _difference(got[name], array, meta["output_exact"])
            if difference:
                return Result(case.name, MISMATCH, f"{kind}, {what}: {difference}", **about)
            compared += array.size
    if onnxruntime:
        try:
            difference, count = _onnx_difference(kinds[-1][1], inputs)
        except errors.UnsupportedError as error:
            note = f"no firmware.onnx: {error}"
        else:
            if difference:
                return Result(case.name, MISMATCH, f"onnxruntime {difference}", **about)
            compared += count
    return Result(case.name, EXACT, note, compared=compared, **about)


def _recorded(case: Path, graph: Graph) -> list[tuple[str, str, np.ndarray[Any, Any]]]:
    """What was recorded: (what, tensor name, values)."""
    outputs = load_arrays(case / "outputs.npz", "y")
    recorded = [
        (f"output {number}", name, y)
        for number, (name, y) in enumerate(zip(graph.outputs, outputs, strict=True))
    ]
    if (case / "trace.npz").exists():
        with np.load(case / "trace.npz", allow_pickle=False) as trace:
            recorded += [
                (f"layer {layer}", graph.layer_tensors[layer], trace[layer])
                for layer in trace.files
            ]
    return recorded


def _difference(ours: Any, recorded: Any, exact: bool) -> str:
    """The first difference in words; empty if there is none."""
    events = min(len(ours), len(recorded))  # a trace may hold another number of events
    ours, recorded = ours[:events].reshape(events, -1), recorded[:events].reshape(events, -1)
    if ours.shape != recorded.shape:
        return f"shapes {ours.shape} and {recorded.shape}"
    if not exact:  # the recording went through float32
        ours = ours.astype(np.float32).astype(np.float64)
    wrong = np.argwhere(ours != recorded)
    if not len(wrong):
        return ""
    event, element = wrong[0]
    return (
        f"{len(wrong)} of {ours.size} differ; first event {event}, element {element}: "
        f"{ours[event, element]!r} instead of {recorded[event, element]!r}"
    )


def _onnx_difference(graph: Graph, inputs: Arrays) -> tuple[str, int]:
    """firmware.onnx against the NumPy engine at outputs and layers; how many were compared.

    Both get the inputs in the element types of firmware.onnx: float32 where the format fits in it.
    """
    from samebits.compile.emitters.onnx import input_dtype, to_onnx
    from samebits.sim.onnx_engine import LEVELS, OnnxEngine

    tensors = graph.tensors_of(graph.inputs)
    fed = [x.astype(input_dtype(y.format)) for x, y in zip(inputs, tensors, strict=True)]
    compared = 0
    for layers in (graph.layer_tensors, {}):  # without them operations are fused
        model = to_onnx(graph, layers=list(layers))
        expected = NumpyEngine(graph).run(fed, [*graph.outputs, *layers.values()])
        for level in LEVELS:
            found = OnnxEngine(model, level).run(fed)
            for (name, values), wanted in zip(found.items(), expected, strict=True):
                difference = _difference(values, wanted, exact=True)
                if difference:
                    return f"{level}, {name}: {difference}", 0
                compared += wanted.size
    return "", compared


def run_folder(folder: Path, onnxruntime: bool = False) -> Iterator[Result]:
    """All cases below a folder, in order of their names."""
    for path in sorted(folder.rglob("graph.fml")):
        yield run_case(path.parent, onnxruntime)


def summary(results: Sequence[Result]) -> str:
    """The counts, and the reasons for refusals, as a table."""
    counts = Counter(result.status for result in results)
    lines = [f"{counts[status]:5}  {status}" for status in (EXACT, UNSUPPORTED, MISMATCH, FAILED)]
    lines.append(f"{sum(result.compared for result in results):,} numbers compared")
    reasons = Counter(
        result.detail.split(";")[0] for result in results if result.status == UNSUPPORTED
    )
    lines += [f"{count:5}  {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--onnxruntime", action="store_true", help="firmware.onnx too")
    options = parser.parse_args(arguments)
    results = []
    for result in run_folder(options.folder, options.onnxruntime):
        results.append(result)
        print(f"{result.status:11}  {result.case}  {result.detail}", flush=True)
    print(summary(results))
    if not results:
        print(f"no case (a folder with graph.fml) below {options.folder}")
        return 2
    return 0 if all(result.good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
