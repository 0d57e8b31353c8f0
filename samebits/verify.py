"""`Design.verify`: every engine on the same events, its bits against the NumPy engine's."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.compile.emitters.interface import input_dtype, output_names
from samebits.compile.ir import Carrier, Graph
from samebits.compile.ops.boundary import input_mantissas, to_values
from samebits.inputs import Events, check_inputs, design_words, raw_events
from samebits.sim.stimuli import CastCoverage, adversarial_inputs, as_finite, cover_casts
from samebits.sim.verification import (
    EngineReport,
    LayerRow,
    Verification,
    compare_bits,
    describe_mismatch,
)

if TYPE_CHECKING:
    from samebits.design import Design
    from samebits.firmware.hls_project import HlsProject

__all__ = ["ENGINES", "comparison_events", "verify"]

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
Run = Callable[[list[Array]], dict[str, Array]]
_CHUNK_EVENTS = 8192
_POOL_EVENTS = 20_000


def verify(
    design: Design,
    x: Events | None,
    against: Sequence[str],
    adversarial: bool,
    seed: int,
    progress: Progress | None,
    vcd: str | Path | None,
    words: Callable[[int], str] = lambda event: "",
) -> Verification:
    """See `Design.verify`; `words` says what is known of an event of the data."""
    unknown = [name for name in against if name not in ENGINES]
    if unknown or not against:
        raise errors.UsageError(
            f"verify: no engine {', '.join(map(repr, unknown)) or 'given'}; engines: "
            f"{', '.join(ENGINES)}"
        )
    if x is None and not adversarial:
        raise errors.UsageError("verify: give events, or leave the adversarial inputs on")
    if vcd is not None and "rtl" not in against:
        raise errors.UsageError("verify: a waveform is of the RTL: verify against rtl too")
    if vcd is not None:
        from samebits.firmware.waveform import check_waveform

        check_waveform(Path(vcd))
    design.check_files()
    inputs, events, coverage = comparison_events(design, x, adversarial, seed)
    reports: list[EngineReport] = []
    for name in against:
        options = {"vcd": Path(vcd)} if vcd is not None and name == "rtl" else {}
        reports += ENGINES[name](design, inputs, progress, **options)
    return Verification(tuple(reports), events, tuple(coverage)).placed(words)


def comparison_events(
    design: Design, x: Events | None, adversarial: bool, seed: int
) -> tuple[list[Array], dict[str, int], list[CastCoverage]]:
    """All events in the element type that every engine takes, their counts by kind, coverage.

    Raises:
        DataError: no events at all.
    """
    graph = design.graph
    dtypes = [input_dtype(tensor.format) for tensor in graph.tensors_of(graph.inputs)]

    def rounded(arrays: Sequence[Array]) -> list[Array]:
        with np.errstate(over="ignore"):
            return [a.astype(dtype) for a, dtype in zip(arrays, dtypes, strict=True)]

    parts: dict[str, list[Array]] = {}
    if x is not None:
        x = raw_events(design, x)
        # a float64 beyond float32 would become infinite: checked again after rounding
        parts["data"] = check_inputs(graph, rounded(check_inputs(graph, x)))
    coverage: list[CastCoverage] = []
    if adversarial:
        for kind, arrays in adversarial_inputs(graph, dtypes, seed).items():
            parts[kind] = rounded(arrays)
        if design.adapter is not None:
            from samebits.compile.adapter.raw import all_codes

            codes = all_codes(design.adapter, np.random.default_rng([seed, 2]))
            parts["all codes of every field"] = rounded(list(codes.values()))
        pool = [
            as_finite(array, dtype)
            for array, dtype in zip(_pool(design, parts, seed), dtypes, strict=True)
        ]
        keep, coverage = cover_casts(graph, design.engine, pool)
        parts["inner ties and overflows"] = [array[keep] for array in pool]
    events = {kind: len(arrays[0]) for kind, arrays in parts.items()}
    if not sum(events.values()):
        raise errors.DataError("verify: the data hold no events, so nothing would be compared")
    inputs = [np.concatenate(arrays) for arrays in zip(*parts.values(), strict=True)]
    return inputs, events, coverage


def _pool(design: Design, parts: dict[str, list[Array]], seed: int) -> list[Array]:
    """Random events on many scales: data stretched, and uniform on fractions of the range."""
    rng = np.random.default_rng([seed, 1])
    pool = []
    for position, tensor in enumerate(design.graph.tensors_of(design.graph.inputs)):
        fmt, shape = tensor.format, (_POOL_EVENTS // 2, *tensor.shape)
        scale = 2.0 ** rng.uniform(-fmt.width, 0, (shape[0], *(1,) * len(tensor.shape)))
        span = max(fmt.max_mantissa, -fmt.min_mantissa) * fmt.lsb
        low = -1.0 if fmt.signed else 0.0
        arrays = [rng.uniform(low, 1.0, shape) * span * scale]
        source = parts.get("data", parts["uniform"])[position]
        if len(source):
            picked = source[rng.integers(0, len(source), shape[0])].astype(np.float64)
            # beyond float64 it becomes infinite, and the largest number afterwards
            with np.errstate(over="ignore"):
                arrays.append(picked * rng.uniform(0.0, 2.0, shape))
        pool.append(np.concatenate(arrays))
    return pool


def _chunks(inputs: list[Array]) -> Iterator[tuple[int, list[Array]]]:
    for start in range(0, len(inputs[0]), _CHUNK_EVENTS):
        yield start, [array[start : start + _CHUNK_EVENTS] for array in inputs]


class _Comparison:
    """One engine compared chunk by chunk."""

    def __init__(self, design: Design, engine: str, names: dict[str, str]) -> None:
        self._design, self._engine, self._names = design, engine, names
        self._rows: dict[str, LayerRow] = {}
        self.first = ""
        self.first_event: int | None = None
        self._first_order: int | None = None

    def add(self, start: int, inputs: list[Array], got: dict[str, Array]) -> None:
        """Compares one chunk; `got` holds the engine's arrays under the names of `names`."""
        graph = self._design.graph
        tensors = list(self._names.values())
        expected = self._design.engine.run(inputs, tensors)
        for order, (name, tensor) in enumerate(self._names.items()):
            fmt, wanted = graph.tensors[tensor].format, expected[order]
            found = got[name].reshape(wanted.shape)
            row = compare_bits(name, fmt, wanted, found)
            old = self._rows.get(name)
            self._rows[name] = row if old is None else _sum(old, row)
            if row.mismatching_elements and (
                self._first_order is None or order < self._first_order
            ):
                self._first_order = order
                self.first = describe_mismatch(name, fmt, wanted, found, self._engine, start)
                self.first_event = start + int(np.argwhere(wanted != found)[0][0])

    def report(self, tool: str, seconds: float, note: str) -> EngineReport:
        """The engine's report; `note` stands in it unless there is a mismatch to describe."""
        rows = tuple(self._rows.values())
        if not any(row.elements for row in rows):
            return EngineReport(self._engine, "not run", "there was nothing to compare", tool)
        status = "MISMATCH" if self.first else "equal"
        detail, event = self.first or note, self.first_event
        return EngineReport(self._engine, status, detail, tool, rows, seconds, first_event=event)

    def stopped(self, tool: str, seconds: float, failure: str) -> EngineReport:
        """The report of an engine that was stopped at its first failure."""
        rows = tuple(self._rows.values())
        event = self.first_event if self.first else None
        return EngineReport(
            self._engine, "MISMATCH", failure, tool, rows, seconds, first_event=event
        )


def _sum(a: LayerRow, b: LayerRow) -> LayerRow:
    return LayerRow(
        a.name,
        a.format,
        a.elements + b.elements,
        a.mismatching_elements + b.mismatching_elements,
        a.bits + b.bits,
        a.mismatching_bits + b.mismatching_bits,
    )


def _names(design: Design, layers: Sequence[str]) -> dict[str, str]:
    """What is compared, in the order of the data flow: name -> tensor."""
    tensors = design.graph.layer_tensors
    names = {f"layer:{layer}": tensors[layer] for layer in layers}
    outputs = zip(output_names(design.graph), design.graph.outputs, strict=True)
    return names | dict(outputs)


def _compare(
    design: Design,
    engine: str,
    tool: str,
    layers: Sequence[str],
    inputs: list[Array],
    run: Run,
    progress: Progress | None,
    note: str = "",
) -> EngineReport:
    started = time.perf_counter()
    comparison = _Comparison(design, engine, _names(design, layers))
    for start, chunk in _chunks(inputs):
        comparison.add(start, chunk, run(chunk))
        if progress:
            progress(engine, min(start + _CHUNK_EVENTS, len(inputs[0])), len(inputs[0]))
    return comparison.report(tool, time.perf_counter() - started, note)


def _csim(design: Design, inputs: list[Array], progress: Progress | None) -> list[EngineReport]:
    from samebits.firmware.csim import CSimulation

    with ExitStack() as stack:
        # without project or compiler there is nothing to run; whatever else fails is an error
        try:
            context = design.hls_project()
        except errors.BuildError as error:
            return [EngineReport("csim", "not run", str(error))]
        try:
            folder = stack.enter_context(context)
        except errors.UnsupportedError as error:
            return [EngineReport("csim", "not run", str(error))]
        simulation = CSimulation(folder, raw=design.adapter is not None)
        project = simulation.project
        _check_project(design, project)
        try:
            compiler = simulation.compiler
        except errors.MissingToolError as error:
            return [EngineReport("csim", "not run", str(error))]
        first = [layer.name for layer in design.graph.layers[:1] if design.adapter is not None]
        layers = [*first, *(layer.name for layer in project.layers)]
        untraced = ", ".join(project.untraced)
        note = f"not traced, because they are no code: {untraced}" if untraced else ""
        if progress:
            progress("csim (compiling)", 0, len(inputs[0]))
        simulation.build()
        outputs = output_names(design.graph)

        def run(chunk: list[Array]) -> dict[str, Array]:
            result = simulation.run(design_words(design, chunk), trace=True)
            found = {f"layer:{name}": values for name, values in result.layers.items()}
            names = [*(f"layer:{name}" for name in first), *outputs]
            return found | dict(zip(names, result.outputs, strict=True))

        tool = f"hls4ml {project.hls4ml_version}, {compiler.tool}"
        return [_compare(design, "csim", tool, layers, inputs, run, progress, note)]


def _check_project(design: Design, project: HlsProject) -> None:
    """Raises BuildError if the HLS project has other layers, signals or settings than the design.

    The layers must be all that can be traced, or the comparison would silently be a smaller one.
    """
    graph, target = design.network.graph, design.target
    period_ns, part = project.clock_period_ns, project.part
    sizes = [[signal.size for signal in signals] for signals in (project.inputs, project.outputs)]
    wanted = [_sizes(graph, names) for names in (graph.inputs, graph.outputs)]
    if project.raw is not None and design.adapter is not None:  # the first output are the columns
        sizes = [sizes[1][:1], sizes[1][1:]]
    pairs: dict[str, tuple[object, object]] = {
        "layers": (
            {layer.name: layer.shape for layer in project.layers},
            {
                layer.name: graph.tensors[layer.tensor].shape
                for layer in graph.layers
                if layer.name not in project.untraced
            },
        ),
        "inputs": (sizes[0], wanted[0]),
        "outputs": (sizes[1], wanted[1]),
        "backend": (project.backend, target.backend),
        "io_type": (project.io_type, target.io_type),
        # a converted model without them has samebits' defaults as its target
        "part": (part or target.part, target.part),
        "clock": (
            period_ns is None or math.isclose(period_ns, target.clock_ns, rel_tol=1e-9),
            True,
        ),
    }
    other = [name for name, (found, wanted) in pairs.items() if found != wanted]
    if other:
        raise errors.BuildError(
            f"{design.folder or 'the design'}: its HLS project belongs to another design (other "
            f"{', '.join(other)}); compile the model again"
        )


def _sizes(graph: Graph, names: tuple[str, ...]) -> list[int]:
    return [math.prod(tensor.shape) for tensor in graph.tensors_of(names)]


def _onnxruntime(
    design: Design, inputs: list[Array], progress: Progress | None
) -> list[EngineReport]:
    from samebits.sim.onnx_engine import OnnxEngine

    layers = [layer.name for layer in design.graph.layers]
    reports = []
    for level in ("disabled", "all"):
        name = f"firmware.onnx (optimisations {'off' if level == 'disabled' else 'on'})"
        try:
            engine = OnnxEngine(design.firmware_onnx(layers), level)
        except (errors.MissingToolError, errors.UnsupportedError) as error:
            reports.append(EngineReport(name, "not run", str(error)))
            continue
        reports.append(_compare(design, name, engine.tool, layers, inputs, engine.run, progress))
    shipped = design.check_files()
    if shipped is None:  # not saved, or impossible to write: then nothing above has run either
        return reports
    name = "firmware.onnx (the file)"
    try:
        engine = OnnxEngine(shipped)
    except errors.MissingToolError as error:
        return [*reports, EngineReport(name, "not run", str(error))]
    return [*reports, _compare(design, name, engine.tool, (), inputs, engine.run, progress)]


def _native(design: Design, inputs: list[Array], progress: Progress | None) -> list[EngineReport]:
    """With every layer as an output, and as it is."""
    from samebits.firmware.native import NativeEmulator

    layers = [layer.name for layer in design.graph.layers]
    names = _names(design, layers)
    traced = replace(design.graph, outputs=tuple(names.values()))
    reports = []
    with tempfile.TemporaryDirectory(prefix="samebits-") as folder:
        for what, shown in (("native (every layer)", layers), ("native", [])):
            if progress:
                progress(f"{what} (compiling)", 0, len(inputs[0]))
            try:
                emulator = NativeEmulator(traced, folder) if shown else design.native
            except (errors.MissingToolError, errors.UnsupportedError) as error:
                reports.append(EngineReport(what, "not run", str(error)))
                continue
            compared = _names(design, shown)

            def run(
                chunk: list[Array],
                emulator: NativeEmulator = emulator,
                compared: dict[str, str] = compared,
            ) -> dict[str, Array]:
                return dict(zip(compared, emulator.run(chunk).values(), strict=True))

            reports.append(_compare(design, what, emulator.tool, shown, inputs, run, progress))
    return reports


def _rtl(
    design: Design, inputs: list[Array], progress: Progress | None, vcd: Path | None = None
) -> list[EngineReport]:
    """Clock by clock: back to back, with bubbles, across resets; `out_valid` in every cycle."""
    from samebits.firmware.rtl_stream import StreamFacts, record, stream
    from samebits.firmware.toolchain import find_cxx
    from samebits.firmware.verilator import RtlSimulation, find_verilator
    from samebits.rtl import present

    events = len(inputs[0])

    def tell(what: str, done: int, total: int = events) -> None:
        if progress:
            progress(what, done, total)

    with tempfile.TemporaryDirectory(prefix="samebits-") as folder:
        try:
            tool = find_verilator().tool
            find_cxx()
            rtl = present(design)
            if rtl is None:
                place = None if design.folder else Path(folder) / "rtl"
                rtl = design.rtl(place, progress=partial(tell, "rtl (writing)"))
            tell("rtl (compiling)", 0)
            simulation = RtlSimulation(rtl, rtl.folder / "simulation")
        except (errors.MissingToolError, errors.UnsupportedError) as error:
            return [EngineReport("rtl", "not run", str(error))]
        tool, started, facts = (
            f"{tool}, alkaid {rtl.tools['alkaid']}",
            time.perf_counter(),
            StreamFacts(),
        )
        names = _names(design, [])
        comparison = _Comparison(design, "rtl", names)
        for start, chunk in _chunks(inputs):
            mantissas = [
                input_mantissas(x, port.format, Carrier.INT64)
                for x, port in zip(chunk, rtl.inputs, strict=True)
            ]
            event = 0
            try:
                found = stream(simulation, mantissas, start, facts)
                answers = [
                    to_values(m, port.format) for m, port in zip(found, rtl.outputs, strict=True)
                ]
                comparison.add(start, chunk, dict(zip(names, answers, strict=True)))
                failure = comparison.first
                if failure and vcd is not None:
                    event = _first_event(design.engine.run(chunk, design.graph.outputs), answers)
            except errors.MismatchError as error:
                failure = str(error)
            if failure:
                if vcd is not None:
                    tell("rtl (waveform)", 0, 1)
                    traced = RtlSimulation(rtl, rtl.folder / "simulation", trace=True)
                    end = record(traced, mantissas, start, event, vcd)
                    failure += f"; {vcd}: its waveform, with the answer after time {end}"
                stopped = comparison.stopped(tool, time.perf_counter() - started, failure)
                return [replace(stopped, files_sha256=rtl.files_sha256)]
            tell("rtl", start + len(chunk[0]))
        cycles = "cycle" if facts.latency_cycles == 1 else "cycles"
        note = (
            f"answers {facts.latency_cycles} {cycles} after every event, one event per clock: "
            f"{facts.cycles:,} cycles with {facts.bubbles:,} bubbles and {facts.resets} resets"
        )
        report = comparison.report(tool, time.perf_counter() - started, note)
        return [replace(report, latency_cycles=facts.latency_cycles, files_sha256=rtl.files_sha256)]


def _first_event(wanted: list[Array], found: list[Array]) -> int:
    differ = [(a != b).reshape(len(a), -1).any(axis=1) for a, b in zip(wanted, found, strict=True)]
    return int(np.argmax(np.any(differ, axis=0)))


ENGINES: dict[str, Callable[..., list[EngineReport]]] = {
    "csim": _csim,
    "onnxruntime": _onnxruntime,
    "native": _native,
    "rtl": _rtl,
}
