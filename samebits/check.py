"""Golden vectors checked: a design, a firmware.onnx or recorded answers against them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors, storage
from samebits.compile.emitters.interface import output_names
from samebits.compile.ir import Format
from samebits.golden import Golden, TensorFacts, digests
from samebits.inputs import GraphInputs
from samebits.sim.verification import (
    EngineReport,
    LayerRow,
    Verification,
    compare_bits,
    describe_mismatch,
)

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = [
    "check_answers",
    "check_design",
    "check_firmware",
    "compare_answers",
    "compile_again",
    "what_changed",
]

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]


def check_design(
    golden: Golden,
    design: Design,
    against: Sequence[str] = (),
    progress: Progress | None = None,
) -> Verification:
    """The NumPy engine against the golden vectors, and other engines against the NumPy engine.

    Equality carries over: an engine equal to the NumPy engine on these events, which is equal to
    the golden vectors, is equal to them.

    Raises:
        BuildError: a file of the design's folder is missing or was changed.
    """
    design.check_files()
    graph = design.graph
    wanted = {tensor.name: (tensor.shape, tensor.format) for tensor in golden.facts.inputs}
    found = {t.name: (t.shape, str(t.format)) for t in graph.tensors_of(graph.inputs)}
    if [shape for shape, _ in wanted.values()] != [shape for shape, _ in found.values()]:
        return _one(golden, _other_inputs("numpy", wanted, found))
    names = {
        name: graph.layer_tensors[tensor.name]
        for name, tensor in golden.tensors().items()
        if name.startswith("layer:") and tensor.name in graph.layer_tensors
    }
    names |= dict(zip(output_names(graph), graph.outputs, strict=True))
    started = time.perf_counter()
    values = design.engine.run(golden.inputs, list(names.values()))
    report = compare_answers(
        golden,
        "numpy",
        dict(zip(names, values, strict=True)),
        {name: graph.tensors[tensor].format for name, tensor in names.items()},
        tool=f"numpy {np.__version__}",
        seconds=time.perf_counter() - started,
    )
    if report.status == "equal" and wanted != found:
        report = replace(report, status="MISMATCH", detail=_inputs_in_words(wanted, found))
    others: tuple[EngineReport, ...] = ()
    if against:
        x = GraphInputs(zip(graph.inputs, golden.inputs, strict=True))
        others = design.verify(x, against, adversarial=False, progress=progress).engines
    return Verification((report, *others), dict(golden.facts.events))


def check_firmware(golden: Golden, path: Path) -> Verification:
    """A firmware.onnx under ONNX Runtime, with the layers that stand in it, against golden vectors.

    Raises:
        DataError, ModelError: no such file, or not a firmware.onnx of samebits.
    """
    from samebits.sim.firmware_diff import layer_values
    from samebits.sim.firmware_file import FirmwareFile

    file = FirmwareFile(path)
    wanted = {tensor.name: (tensor.shape, tensor.format) for tensor in golden.facts.inputs}
    found = {port.name: (port.shape, str(port.format)) for port in file.inputs}
    if [shape for shape, _ in wanted.values()] != [shape for shape, _ in found.values()]:
        return _one(golden, _other_inputs("firmware.onnx", wanted, found))
    started = time.perf_counter()
    answers = file.run(golden.inputs)
    formats = {port.name: port.format for port in file.outputs}
    layers = [layer for layer in file.layers if f"layer:{layer.name}" in golden.tensors()]
    for layer, values in zip(layers, layer_values(file, layers, golden.inputs), strict=True):
        answers[f"layer:{layer.name}"] = values
        formats[f"layer:{layer.name}"] = layer.format
    report = compare_answers(
        golden,
        "firmware.onnx",
        answers,
        formats,
        tool=file.engine.tool,
        seconds=time.perf_counter() - started,
    )
    if report.status == "equal" and wanted != found:
        report = replace(report, status="MISMATCH", detail=_inputs_in_words(wanted, found))
    return _one(golden, report)


def check_answers(golden: Golden, path: Path, *, raw: bool = False) -> Verification:
    """Answers recorded elsewhere (hardware, another emulator) against golden vectors.

    Args:
        path: .npz with one array per output ("layer:<name>" for layers), .npy, or .csv with one
            row per event, the outputs' elements side by side, with or without a header.
        raw: the answers are mantissas, not real numbers.

    Raises:
        DataError: a file that cannot be used.
    """
    arrays = _read_answers(golden, path)
    tensors, answers = golden.tensors(), {}
    for name, values in arrays.items():
        if name not in tensors:
            raise errors.DataError(
                f"{path}: no output or layer {name!r}; golden: {', '.join(tensors)}"
            )
        if values.dtype.kind not in "fiub":
            raise errors.DataError(f"{path}: {name} holds {values.dtype}, wanted numbers")
        if values.shape[:1] != (golden.events,):
            count = len(values) if values.ndim else "no"
            raise errors.DataError(
                f"{path}: {name} has {count} events, the golden vectors {golden.events}"
            )
        tensor = tensors[name]
        if values.shape[1:] != tensor.shape and values.size == golden.events * int(
            np.prod(tensor.shape)
        ):
            values = values.reshape(golden.events, *tensor.shape)
        values = values.astype(np.float64)
        answers[name] = np.ldexp(values, -Format.parse(tensor.format).fraction) if raw else values
    report = compare_answers(golden, path.name, answers)
    if report.status == "MISMATCH" and not raw and _look_like_mantissas(golden, answers):
        report = replace(report, detail=f"{report.detail}\n  are these mantissas? Then give --raw")
    return _one(golden, report)


def _look_like_mantissas(golden: Golden, answers: Mapping[str, Array]) -> bool:
    """True if every answer is the golden mantissa instead of the number."""
    return all(
        np.array_equal(
            np.ldexp(values, -Format.parse(golden.tensors()[name].format).fraction),
            golden.expected[name],
        )
        for name, values in answers.items()
        if name in golden.expected
    )


def _read_answers(golden: Golden, path: Path) -> dict[str, Array]:
    outputs = golden.facts.outputs
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored}
            if len(found) == 1 and len(outputs) == 1 and next(iter(found)) not in golden.tensors():
                found = {outputs[0].name: next(iter(found.values()))}
            return found
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
        elif path.suffix == ".csv":
            table = _csv(path)
        else:
            raise errors.DataError(f"{path}: unknown suffix; wanted .npz, .npy or .csv")
    except errors.SamebitsError:
        raise
    except FileNotFoundError:
        raise errors.DataError(f"{path}: there is no such file") from None
    except Exception as error:  # of zipfile, zlib, NumPy's readers, or no memory
        raise errors.DataError(f"{path}: cannot be read: {error}") from None
    sizes = [int(np.prod(tensor.shape)) for tensor in outputs]
    table = table.reshape(len(table), -1) if table.ndim and len(table) else table.reshape(1, -1)
    if table.shape[1] != sum(sizes):
        raise errors.DataError(
            f"{path}: has {table.shape[1]} numbers per event, the outputs have {sum(sizes)}: "
            + ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in outputs)
        )
    columns = np.split(table, np.cumsum(sizes)[:-1], axis=1)
    return {tensor.name: values for tensor, values in zip(outputs, columns, strict=True)}


def _csv(path: Path) -> Array:
    """The numbers of a .csv, without its header if it has one."""
    with path.open(encoding="utf-8") as stream:
        first = stream.readline()
    try:
        [float(text) for text in first.split(",")]
        header = 0
    except ValueError:
        header = 1
    return np.loadtxt(path, delimiter=",", ndmin=2, skiprows=header)


def compile_again(golden: Golden, model: Path) -> Design:
    """A design from an ONNX or Keras model for the golden vectors' target, by this version.

    Raises:
        ModelError, UnsupportedError: the model cannot be compiled.
        DataError: a target that this version does not have.
        UsageError: a folder instead of a model.
    """
    from samebits.compile.target import Target
    from samebits.design import Design

    try:
        target = Target(**golden.facts.target)
    except TypeError:
        raise errors.DataError(
            f"{golden.folder}: its target {golden.facts.target} is not one of this samebits"
        ) from None
    if model.is_dir():
        raise errors.UsageError(f"{model}: is a folder; give the {storage.MODEL} in it")
    from_file = Design.from_keras if model.suffix in (".keras", ".h5") else Design.from_onnx
    design = from_file(model, target)
    if golden.facts.adapter is None:
        return design
    from samebits.compile.adapter import Adapter

    return design.with_adapter(Adapter.parse(golden.facts.adapter, str(golden.folder)))


def what_changed(golden: Golden, design: Design) -> str:
    """Whether the design is the frozen one, and which versions are others, in one sentence."""
    from samebits.record import versions

    now, then = versions(), golden.facts.versions
    others = [
        f"{name} {then.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in ("samebits", "hls4ml", "numpy", "onnxruntime", "alkaid", "qonnx")
        if now.get(name) != then.get(name)
    ]
    if design.fingerprint == golden.facts.fingerprint:
        what = "the design is the one that was frozen: what runs it changed"
    else:
        what = "the design is another one than was frozen"
        if design.target.to_json() != golden.facts.target:
            what += ", and so is its target"
    return f"{what}; versions: {', '.join(others) or 'the same'}"


Signals = Mapping[str, tuple[tuple[int, ...], str]]


def _one(golden: Golden, report: EngineReport) -> Verification:
    return Verification((report,), dict(golden.facts.events))


def _other_inputs(engine: str, wanted: Signals, found: Signals) -> EngineReport:
    return EngineReport(engine, "MISMATCH", _inputs_in_words(wanted, found))


def _inputs_in_words(wanted: Signals, found: Signals) -> str:
    def words(signals: Signals) -> str:
        return ", ".join(f"{name} {list(shape)} {fmt}" for name, (shape, fmt) in signals.items())

    return f"inputs: {words(found)}; golden: {words(wanted)}"


def compare_answers(
    golden: Golden,
    engine: str,
    answers: Mapping[str, Array],
    formats: Mapping[str, Format] | None = None,
    *,
    tool: str = "",
    seconds: float = 0.0,
) -> EngineReport:
    """Answers to the golden inputs against the golden ones; no tolerance.

    The numbers of every output and of every layer that both have must be the same, and the outputs'
    formats where known. A layer in another format with the same numbers, or one that is not there,
    is only noted.

    Args:
        answers: real numbers (N, *shape) by name, layers as "layer:<name>".
    """
    rows: list[LayerRow] = []
    failures: list[str] = []
    absent: list[str] = []
    changed: list[str] = []
    outputs = {tensor.name for tensor in golden.facts.outputs}
    for name, tensor in golden.tensors().items():
        if name not in answers:
            if name in outputs:
                failures.append(f"output {name}: is not there; there are {', '.join(answers)}")
            elif any(other.startswith("layer:") for other in answers):
                absent.append(tensor.name)
            continue
        kind = "output" if name in outputs else "layer"
        found = np.asarray(answers[name], np.float64)
        if found.shape[1:] != tensor.shape:
            failures.append(
                f"{kind} {tensor.name}: shape {list(found.shape[1:])}, golden {list(tensor.shape)}"
            )
            continue
        row, failure = _compare(golden, name, tensor, found, engine)
        rows.append(row)
        other = str((formats or {}).get(name, tensor.format))
        if other != tensor.format:
            words = f"{kind} {tensor.name}: {other}, golden {tensor.format}"
            if failure:
                failure += f"\n  its format is {other} now"
            elif name in outputs:
                failure = f"{words}; the numbers are the same"
            else:
                changed.append(words)
        failures += [failure] if failure else []
    detail = "; ".join(
        [f"not compared, because not there: layers {', '.join(absent)}"] * bool(absent)
        + [f"the same numbers in another format: {text}" for text in changed]
    )
    if failures:
        return EngineReport(engine, "MISMATCH", failures[0], tool, tuple(rows), seconds)
    return EngineReport(engine, "equal", detail, tool, tuple(rows), seconds)


def _compare(
    golden: Golden, name: str, tensor: TensorFacts, found: Array, engine: str
) -> tuple[LayerRow, str]:
    """One tensor compared, and its first difference in words."""
    fmt = Format.parse(tensor.format)
    if name in golden.expected:
        wanted = golden.expected[name]
        row = compare_bits(name, fmt, wanted, found)
        if not row.mismatching_elements:
            return row, ""
        text = describe_mismatch(name, fmt, wanted, found, engine, reference="golden")
        event = int(np.argwhere(wanted != found)[0][0])
    else:
        different = golden.digests[name] != digests(found)
        count = int(np.count_nonzero(different))
        # at least one bit of one element of each of these events
        row = LayerRow(name, tensor.format, found.size, count, found.size * fmt.width, count)
        if not count:
            return row, ""
        event = int(np.argmax(different))
        text = (
            f"first difference in layer {tensor.name}, event {event}, {fmt}: another digest; "
            "freeze with --layers full to see the element"
        )
    return row, f"{text}\n  event {event} is of the kind: {golden.kind_of(event)}"
