"""`Design`: one network on its way to firmware."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import __version__, errors, storage
from samebits.compile.ir import Graph
from samebits.compile.target import Target
from samebits.hls import project_folder, project_writer
from samebits.inputs import Events, check_inputs, raw_events
from samebits.model_graph import check_target, deviations, target_of
from samebits.sim.numpy_engine import NumpyEngine

if TYPE_CHECKING:
    import onnx

    from samebits.compile.adapter import Adapter
    from samebits.compile.emitters.cpp import CppSource
    from samebits.compile.frontends.hgq import KerasEngine
    from samebits.firmware.native import NativeEmulator
    from samebits.firmware.rtl import Rtl
    from samebits.ranges import TensorRange
    from samebits.sim.verification import Verification
    from samebits.tighten import Tightening

__all__ = ["Design"]

Progress = Callable[[str, int, int], None]
Values = NDArray[np.float64]


class Design:
    """A compiled network: the fixed-point graph and everything made from it.

    Make one with `from_onnx`, `from_keras`, `from_hls4ml` or `load`.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        *,
        model: bytes | None = None,
        model_graph: Any = None,
        weights: Mapping[str, NDArray[Any]] | None = None,
        folder: Path | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.graph = graph
        self.target = target
        self.folder = folder
        self._model = model
        self._model_graph = model_graph
        self._weights = weights
        self._facts = dict(facts or {})
        self.reference: KerasEngine | None = None  # what the design should answer, if not in a file

    def __repr__(self) -> str:
        return f"Design({self.graph!r}, {self.target!r})"

    @classmethod
    def from_onnx(
        cls, source: str | Path | onnx.ModelProto, target: Target | None = None
    ) -> Design:
        """A design from QONNX or plain ONNX: a path or a ModelProto.

        Raises:
            ModelError: the file or the model cannot be used; UnsupportedError lists the operators
                or layers that samebits does not have.
        """
        from samebits.compile.frontends.onnx import check_content, read_onnx, to_hls4ml
        from samebits.compile.passes.names import rename_inputs

        model = read_onnx(source) if isinstance(source, str | Path) else check_content(source)
        target = target or Target()
        name = Path(source).name if isinstance(source, str | Path) else model.graph.name
        converted = to_hls4ml(model, target)
        design = cls.from_hls4ml(converted.graph, converted.weights, target=target)
        design.graph = rename_inputs(design.graph, converted.inputs)
        design._model = model.SerializeToString()
        design._facts |= {"source": name, "notes": [*converted.notes, *design._facts["notes"]]}
        properties = {item.key: item.value for item in model.metadata_props}
        design._facts["features"] = json.loads(properties.get("samebits.features", "[]"))
        return design

    @classmethod
    def from_keras(cls, model: Any, target: Target | None = None) -> Design:
        """A design from a Keras model, or the path of a saved one.

        QKeras and Keras 2 (tf_keras) models are exported to QONNX first; HGQ2 and other Keras 3
        models go through hls4ml's own parser, and such a design has no model.onnx.

        Raises:
            ModelError: a file that cannot be read.
            UnsupportedError: layers or quantizers that cannot become firmware, all listed; steps on
                the inputs that stand outside of the network.
            MissingToolError: a file of QKeras, HGQ2 or Keras layers without that package.
        """
        from samebits.compile.frontends.hgq import (
            KerasEngine,
            built_model,
            is_keras_3,
            keras_3_to_hls4ml,
        )
        from samebits.compile.frontends.keras import export_keras
        from samebits.train.preprocessing import refuse_outside

        source = "Keras model"
        if isinstance(model, str | Path):
            from samebits.train.store import load_model

            source = Path(model).name
            model = load_model(model)
        if not is_keras_3(refuse_outside(model)):
            return cls.from_onnx(export_keras(model), target)
        target = target or Target()
        converted = keras_3_to_hls4ml(model, target)
        design = cls.from_hls4ml(converted.graph, converted.weights, target=target)
        notes = [*converted.notes, *design._facts["notes"]]
        design._facts |= {"source": source, "notes": notes}
        design.reference = KerasEngine(built_model(model))
        return design

    @classmethod
    def from_hls4ml(
        cls,
        model_graph: Any,
        weights: Mapping[str, NDArray[Any]] | None = None,
        *,
        target: Target | None = None,
    ) -> Design:
        """A design from any converted hls4ml `ModelGraph` or `MultiModelGraph`.

        Args:
            weights: {"layer/weight": array, "layer/bias": array}, as they stood in the graph
                before distributed arithmetic removed them; the generated code must agree.
            target: what the graph was converted for; None reads it from the graph.

        Raises:
            UnsupportedError: backend, io_type or layers that samebits does not have; weights that
                are in neither the graph nor `weights`.
            UsageError: a target of another backend, io_type or part than the graph's; weights of a
                layer that is not there.
        """
        from samebits.compile.lowering import lower
        from samebits.compile.passes import simplify

        graph = simplify(lower(model_graph, weights))
        found = target_of(model_graph)
        check_target(model_graph, target, found)
        target = target or found
        facts = {
            "versions": {"hls4ml": importlib.metadata.version("hls4ml")},
            "source": "hls4ml ModelGraph",
            "notes": deviations(model_graph, target),
        }
        return cls(graph, target, model_graph=model_graph, weights=weights, facts=facts)

    @classmethod
    def load(cls, folder: str | Path) -> Design:
        """A design from a build directory, without hls4ml.

        Raises:
            BuildError: no design there, or a damaged one.
        """
        folder = Path(folder)
        graph, target, facts = storage.read_design(folder)
        return cls(graph, target, folder=folder, facts=facts)

    @property
    def fingerprint(self) -> str:
        """A hash of the fixed-point graph and the target."""
        return storage.fingerprint(self.graph, self.target)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features that the network was trained on, in its order; empty if unknown."""
        return tuple(self._facts.get("features", ()))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Where the design comes from: source, versions."""
        return self._facts

    @cached_property
    def model_bytes(self) -> bytes | None:
        """The content of model.onnx, None for a design that came from an hls4ml graph.

        Raises:
            BuildError: the file of a loaded design is missing or was changed.
        """
        return self._artefact(storage.MODEL) if self._model is None else self._model

    def check_files(self) -> bytes | None:
        """The firmware.onnx of the design's folder, None if there is none.

        Raises:
            BuildError: model.onnx or firmware.onnx is missing there or was changed.
        """
        self._artefact(storage.MODEL)
        return self._artefact(storage.FIRMWARE)

    def _artefact(self, name: str) -> bytes | None:
        if self.folder is None:
            return None
        return storage.read_artefact(self.folder, name, self._facts.get("files", {}))

    @cached_property
    def engine(self) -> NumpyEngine:
        """The NumPy engine of the graph."""
        return NumpyEngine(self.graph)

    @cached_property
    def native(self) -> NativeEmulator:
        """The native emulator, compiled into the design's folder or a temporary one.

        Raises:
            MissingToolError: no C++ compiler; ToolError: it fails.
            UnsupportedError: integers beyond 127 bits.
        """
        from samebits.firmware.native import NativeEmulator
        from samebits.metadata import firmware_metadata

        facts = firmware_metadata(self)
        if self.folder is not None:
            return NativeEmulator(self.graph, self.folder / storage.EMULATOR, metadata=facts)
        with tempfile.TemporaryDirectory(prefix="samebits-") as folder:
            return NativeEmulator(self.graph, folder, metadata=facts)

    def emulator_source(self) -> CppSource:
        """The fixed-point graph as a C++17 header and source without dependencies.

        Raises:
            UnsupportedError: integers beyond 127 bits.
        """
        from samebits.compile.emitters.cpp import to_cpp
        from samebits.metadata import firmware_metadata

        return to_cpp(self.graph, firmware_metadata(self))

    def simulate(
        self,
        x: Events,
        progress: Callable[[int], None] | None = None,
        workers: int = 1,
        engine: str = "numpy",
    ) -> Values | list[Values]:
        """What the firmware answers to real inputs: float64 of shape (N, *output shape).

        Args:
            x: array (N, features), a list of arrays, or a dict by input name, cast to the input
                format; with an adapter raw integers, as `compile.adapter.raw.fields_of` takes them.
            progress: called with the number of events done.
            workers: threads that share the events; the bits do not depend on it. OpenBLAS has
                threads of its own: set OPENBLAS_NUM_THREADS=1 to leave the cores to the workers.
            engine: "numpy", or "native": compiled C++, on one thread.

        Returns:
            One array, or a list for several outputs. Exact for formats of up to 53 bits.

        Raises:
            DataError: wrong shape, NaN or infinity.
            UsageError: no such engine. MissingToolError: no C++ compiler for "native".
        """
        if workers < 1:
            raise errors.UsageError(f"simulate: workers must be 1 or more, got {workers}")
        if engine not in ("numpy", "native"):
            raise errors.UsageError(f"simulate: no engine {engine!r}; engines: numpy, native")
        inputs = check_inputs(self.graph, raw_events(self, x))
        if engine == "native":
            answers = list(self.native.run(inputs, progress).values())
            return answers[0] if len(answers) == 1 else answers
        outputs = self.engine.run(inputs, self.graph.outputs, progress, workers)
        return outputs[0] if len(outputs) == 1 else outputs

    def trace(self, x: Events) -> dict[str, Values]:
        """Every layer's output by layer name, as float64 of shape (N, *layer shape)."""
        layers = self.graph.layer_tensors
        inputs = check_inputs(self.graph, raw_events(self, x))
        arrays = self.engine.run(inputs, list(layers.values()))
        return dict(zip(layers, arrays, strict=True))

    def ranges(
        self, data: Any = None, *, seconds: float = 10.0, seed: int = 0
    ) -> dict[str, TensorRange]:
        """For every input, layer, cast and accumulator: proven range, spare bits, overflow.

        Where overflow is not excluded an input that causes it is searched and simulated.

        Args:
            data: what inputs to expect. None: all that the input formats hold. (low, high), or
                {input: (low, high)}: numbers, or arrays of the input's shape. Events as for
                `simulate`: from their minimum to their maximum, element by element.
            seconds: about how long to search; 0: proofs only.
            seed: of the search.

        Raises:
            UsageError: an input that does not exist, or bounds that are no range.
            DataError: events of wrong shape, NaN or infinity.
        """
        from samebits.ranges import tensor_ranges

        return tensor_ranges(
            self.graph, data, seconds=seconds, seed=seed, engine=lambda: self.engine
        )

    def tighten(self, x: Events | None = None, *, seed: int = 0) -> Tightening:
        """The same network in hls4ml types as narrow as proofs allow; this design stays as it is.

        Both fixed-point graphs are proved equal at every layer and output for every input, and
        simulated on adversarial and random events, and on the events x if there are any.

        Raises:
            BuildError: a design without its hls4ml model or model.onnx.
            UnsupportedError: a MultiModelGraph. UsageError: a design with an input adapter.
        """
        from samebits.tighten import tighten, with_model_graph

        design = with_model_graph(self, self._model_graph)
        return tighten(design, design._model_graph, design._weights, x, seed)

    def with_adapter(self, adapter: Adapter | str | Path) -> Design:
        """The design with raw detector integers as inputs: an `Adapter`, or its TOML file.

        Raises:
            UsageError: the adapter is wrong or does not fit the network.
        """
        from samebits.adapter import adapted

        graph, found = adapted(self, adapter)
        return self.with_graph(graph, self.model_graph, {"adapter": found.to_json()})

    @property
    def model_graph(self) -> Any:
        """hls4ml's graph, if the design was converted in this process."""
        return self._model_graph

    @cached_property
    def adapter(self) -> Adapter | None:
        """The input adapter, None if the inputs are the network's."""
        if self._facts.get("adapter") is None:
            return None
        from samebits.compile.adapter import Adapter

        return Adapter.parse(self._facts["adapter"])

    @cached_property
    def network(self) -> Design:
        """The design without its input adapter; itself if it has none."""
        from samebits.adapter import network_graph

        if self.adapter is None:
            return self
        design = self.with_graph(network_graph(self.graph), self.model_graph, {"adapter": None})
        design.folder = self.folder
        return design

    def with_graph(self, graph: Graph, model_graph: Any, facts: Mapping[str, Any]) -> Design:
        """The design with another fixed-point graph and the hls4ml graph it comes from."""
        design = Design(
            graph,
            self.target,
            model=self.model_bytes,
            model_graph=model_graph,
            weights=self._weights,
            facts={**self._facts, **facts},
        )
        design.reference = self.reference
        return design

    def verify(
        self,
        x: Events | None = None,
        against: Sequence[str] = ("csim", "onnxruntime"),
        *,
        adversarial: bool = True,
        seed: int = 0,
        progress: Progress | None = None,
        vcd: str | Path | None = None,
    ) -> Verification:
        """The other engines' bits against the NumPy engine's, at the output and every layer.

        Args:
            x: events as for `simulate`, rounded to float32 where the input format fits in it, for
                every engine alike. None: adversarial inputs only.
            against: "csim", "onnxruntime" (all optimisations on and off, at every layer; and the
                firmware.onnx of the design's folder as it is), "native", "rtl" (the outputs, clock
                by clock in Verilator; of the design's folder, or written for it).
            adversarial: add ties, saturation, extremes, zeros, subnormals, and random inputs chosen
                to reach ties and overflows inside the network.
            progress: called with (engine, events done, events).
            vcd: a file for the waveform of the RTL's first mismatch; FST if it ends in .fst.

        Raises:
            UsageError: an engine that does not exist.
            DataError: wrong shape, NaN or infinity in x; no events at all.
            BuildError: a file of the design's folder is missing, damaged or of another design.
        """
        from samebits.verify import verify

        return verify(self, x, against, adversarial, seed, progress, vcd)

    def firmware_onnx(self, layers: Sequence[str] = (), *, raw: bool = False) -> onnx.ModelProto:
        """The fixed-point graph as plain ONNX, bit for bit; `layers` become outputs as well, and
        with `raw` all outputs are int64 mantissas instead of real numbers."""
        from samebits.compile.emitters.onnx import to_onnx
        from samebits.metadata import firmware_metadata

        return to_onnx(self.graph, firmware_metadata(self), layers=layers, raw=raw)

    def export_onnx(self, path: str | Path, *, raw: bool = False) -> None:
        """Writes the firmware as an ONNX file that any ONNX Runtime runs; see `firmware_onnx`.

        Raises:
            UnsupportedError: formats beyond 63 bits.
            BuildError: the file cannot be written.
        """
        data = self.firmware_onnx(raw=raw).SerializeToString()
        with storage.replace_file(Path(path)) as temporary:
            temporary.write_bytes(data)

    def hls_project(self) -> AbstractContextManager[Path]:
        """The folder of the HLS project while the context lasts; a temporary one if not saved.

        Raises:
            BuildError: the design was loaded from a folder that holds no HLS project.
        """
        return project_folder(self)

    def rtl(
        self,
        folder: str | Path | None = None,
        *,
        language: str = "verilog",
        clock_mhz: float | None = None,
        latency_cycles: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rtl:
        """Writes the network as pipelined RTL into `folder`, or `rtl` in the design's folder.

        The clock is the target's unless given; arguments and errors: `firmware.rtl.write_rtl`.
        """
        from samebits.rtl import write

        return write(self, folder, language, clock_mhz, latency_cycles, progress)

    def save(self, folder: str | Path, *, force: bool = False, raw: bool = False) -> None:
        """Writes the build directory: model.onnx, firmware.onnx, design.json, hls/, emulator/.

        A loaded design takes the HLS project of its folder along. raw: as for `firmware_onnx`.

        Raises:
            BuildError: the folder holds another design and `force` is not set, or cannot be
                written; nothing is left half-written.
        """
        folder = Path(folder)
        try:
            firmware: bytes | None = self.firmware_onnx(raw=raw).SerializeToString()
        except errors.UnsupportedError as error:
            firmware = None
            self._facts["firmware_onnx"] = f"not written: {error}"

        folders: dict[str, Callable[[Path], object]] = {}
        if (project := project_writer(self)) is not None:
            folders[storage.HLS] = project
        try:
            emulator = self.emulator_source()
        except errors.UnsupportedError as error:
            self._facts["emulator"] = f"not written: {error}"
        else:
            folders[storage.EMULATOR] = emulator.write

        facts = {"samebits": __version__, **self._facts}
        for key in ("schema", "fingerprint", "target", "files"):
            facts.pop(key, None)
        self._facts["files"] = storage.write_design(
            folder,
            self.graph,
            self.target,
            facts,
            self.model_bytes,
            firmware,
            folders,
            force=force,
        )
        self.folder = folder
