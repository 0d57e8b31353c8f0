"""hls4ml's HLS project of a converted model, written so that it can be moved and simulated later.

hls4ml's own writer writes it, with the trace of every layer switched on (inside
`#ifndef __SYNTHESIS__`, so synthesis never sees it). Beside it stands `samebits.json`: what the C
simulation and the report readers must know, so that neither imports hls4ml.
"""

import contextlib
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from samebits import errors

__all__ = ["HlsProject", "Signal", "read_project", "write_project"]

FACTS_FILE = "samebits.json"
_REMOVED = "product"
_FACTS_VERSION = 2
_BACKENDS = ("Vivado", "Vitis")
# hls4ml puts a random stamp into the name of the library that its own script builds.
_STAMP = "samebits"
_INPUTS = ("Input", "InputLayer")


@dataclass(frozen=True)
class Signal:
    """An input, an output or a layer's output: its shape without the sample axis, its C++ type."""

    name: str
    shape: tuple[int, ...]
    ctype: str

    @property
    def size(self) -> int:
        """The number of elements of one sample."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class HlsProject:
    """The facts of a written HLS project; `layers` are the traced ones, in graph order.

    `untraced` are the others by name: those for which hls4ml writes no code, such as a reshape.
    `part` and `clock_period_ns` are None where the model graph's configuration names none. `raw`:
    words of an event and columns of the input adapter, None if there is none.
    """

    project_name: str
    backend: str
    io_type: str
    part: str | None
    clock_period_ns: float | None
    hls4ml_version: str
    inputs: tuple[Signal, ...]
    outputs: tuple[Signal, ...]
    layers: tuple[Signal, ...]
    untraced: tuple[str, ...] = ()
    raw: tuple[int, int] | None = None


class RawSources(Protocol):
    """C++ in front of the network: files by path, 64-bit words of an event, columns made of it."""

    @property
    def files(self) -> Mapping[str, str]: ...

    @property
    def words(self) -> int: ...

    @property
    def columns(self) -> int: ...


def write_project(
    model_graph: Any,
    folder: str | os.PathLike[str],
    raw: Callable[[str, str, str], RawSources] | None = None,
) -> HlsProject:
    """Writes the HLS project of a converted hls4ml ModelGraph to `folder`; gives its facts.

    `raw`: gives what is added in front, for the project's name, header and source.

    The model graph is as before afterwards. The project appears whole or not at all; an earlier
    project of samebits in `folder` is replaced, anything else there is left alone and an error.
    Nothing in the project depends on where it was written.

    Raises UnsupportedError for a MultiModelGraph, for a backend that is neither Vivado nor Vitis
    and for a layer whose name C++ cannot take, BuildError if `folder` holds something else or
    cannot be written, ToolError if hls4ml's writer fails.
    """
    target = Path(folder)
    backend = str(model_graph.config.backend.name)
    if backend not in _BACKENDS:
        raise errors.UnsupportedError(
            f"HLS project: unsupported backend {backend!r}; supported: {', '.join(_BACKENDS)}"
        )
    if hasattr(model_graph, "graphs"):
        raise errors.UnsupportedError(
            "HLS project: a MultiModelGraph is several HLS projects, which samebits does not "
            "write; write it with hls4ml, or give the model before it was split"
        )
    for layer in model_graph.get_layers():
        _check_names(layer)
    _check_replaceable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise errors.BuildError(f"cannot write the HLS project {target}: {error}") from error
    try:
        traced = _write_with_hls4ml(model_graph, temporary)
        project = _facts(model_graph, backend, traced)
        if raw is not None:
            name = project.project_name
            texts = [(temporary / "firmware" / f"{name}.{end}").read_text() for end in ("h", "cpp")]
            sources = raw(name, *texts)
            for path, content in sources.files.items():
                (temporary / path).write_text(content, encoding="utf-8")
            project = replace(project, raw=(sources.words, sources.columns))
        text = json.dumps({"version": _FACTS_VERSION, **asdict(project)}, indent=1)
        (temporary / FACTS_FILE).write_text(text + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        raise errors.BuildError(f"cannot write the HLS project {target}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return project


def read_project(folder: str | os.PathLike[str]) -> HlsProject:
    """The facts of the HLS project in `folder`.

    Raises BuildError if `folder` is not a project that `write_project` wrote.
    """
    path = Path(folder) / FACTS_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.BuildError(
            f"{folder} is not an HLS project of samebits: cannot read {FACTS_FILE}: "
            f"{error.strerror}; write it again with `samebits compile`"
        ) from error
    except (RecursionError, ValueError) as error:
        raise errors.BuildError(
            f"{path} is damaged ({error}); write the project again with `samebits compile`"
        ) from error
    try:
        if facts["version"] != _FACTS_VERSION:
            raise errors.BuildError(
                f"{path} has version {facts['version']}, this samebits reads {_FACTS_VERSION}; "
                "write the project again with `samebits compile`"
            )
        return HlsProject(
            project_name=facts["project_name"],
            backend=facts["backend"],
            io_type=facts["io_type"],
            part=facts["part"],
            clock_period_ns=facts["clock_period_ns"],
            hls4ml_version=facts["hls4ml_version"],
            inputs=_signals(facts["inputs"]),
            outputs=_signals(facts["outputs"]),
            layers=_signals(facts["layers"]),
            untraced=tuple(facts["untraced"]),
            raw=_pair(facts.get("raw")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise errors.BuildError(
            f"{path} is damaged (missing or wrong entry: {error}); "
            "write the project again with `samebits compile`"
        ) from error


def _signals(entries: list[dict[str, Any]]) -> tuple[Signal, ...]:
    return tuple(Signal(e["name"], tuple(e["shape"]), e["ctype"]) for e in entries)


def _pair(values: list[int] | None) -> tuple[int, int] | None:
    return None if values is None else (int(values[0]), int(values[1]))


def _check_names(layer: Any) -> None:
    """hls4ml writes a layer's name into C++ strings, and some types are named after their layer.

    A name such as "a; rm -rf" or "reg" is no harm in a string. Names that came through ONNX are
    always fine: qonnx numbers the layers.
    """
    name = str(layer.name)
    what = None
    if not name.isprintable() or '"' in name or "\\" in name:
        what = "a name without quotes, backslashes and line breaks"
    elif any(
        re.search(r"\W", str(value.name))
        for value in layer.attributes.values()
        if hasattr(value, "precision") and hasattr(value, "name")
    ):
        what = "letters, digits and _ only: a C++ type is named after this layer"
    if what is not None:
        raise errors.UnsupportedError(
            f"HLS project: layer {name!r}: hls4ml writes its name into C++; wanted: {what}; rename "
            "the layer"
        )


def _check_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise errors.BuildError(
            f"cannot write the HLS project {target}: a file of that name exists"
        )
    if any(target.iterdir()) and not (target / FACTS_FILE).is_file():
        raise errors.BuildError(
            f"cannot write the HLS project {target}: the folder holds something else "
            f"(no {FACTS_FILE} in it); choose another folder or empty it"
        )


def _traceable(model_graph: Any) -> list[Any]:
    """The layers that write C++ code of their own.

    One that makes several variables (Clone) traces them under one name, so that the last one's
    numbers are kept; they must have one shape.
    """
    return [
        layer
        for layer in model_graph.get_layers()
        if layer.get_attr("function_cpp", None)
        and len({tuple(variable.shape) for variable in layer.get_variables()}) == 1
    ]


def _write_with_hls4ml(model_graph: Any, folder: Path) -> list[Any]:
    """Lets hls4ml write into the empty `folder`; gives the traced layers.

    function_cpp, by which a layer is known to have code, exists only after hls4ml's backend flow,
    which conversion has run.
    """
    import yaml  # type: ignore[import-untyped]

    # The noise matters only if the writer fails.
    noise = io.StringIO()
    with _settings(model_graph, folder) as traced:
        try:
            with (
                contextlib.redirect_stdout(noise),
                contextlib.redirect_stderr(noise),
                _without_keras(),
                _with_numpy_product(),
            ):
                model_graph.write()
        except Exception as error:  # hls4ml raises bare Exception
            said = noise.getvalue().strip()[-1000:]
            raise errors.ToolError(
                f"hls4ml could not write the HLS project: {type(error).__name__}: {error}"
                + (f"\nhls4ml said: {said}" if said else "")
            ) from error
        config = dict(model_graph.config.config)
    stamp = str(config["Stamp"])
    script = folder / "build_lib.sh"
    script.write_text(script.read_text(encoding="utf-8").replace(stamp, _STAMP), encoding="utf-8")
    config.update(OutputDir=".", Stamp=_STAMP)
    (folder / "hls4ml_config.yml").write_text(yaml.dump(config), encoding="utf-8")
    return traced


@contextlib.contextmanager
def _settings(model_graph: Any, folder: Path) -> Iterator[list[Any]]:
    """Points the graph to `folder` with every traceable layer traced, and puts all back after."""
    config = model_graph.config
    saved_config = dict(config.config)
    saved_trace_output = config.trace_output
    layers = _traceable(model_graph)
    saved_trace = {layer.name: layer.get_attr("trace", None) for layer in model_graph.get_layers()}
    # Test data and models would be copied into the project, or named by the path where they stand.
    for key in [k for k in config.config if k.endswith("Model")]:
        del config.config[key]
    writer = {**(config.config.get("WriterConfig") or {}), "WriteTar": False}
    config.config.update(
        OutputDir=str(folder), InputData=None, OutputPredictions=None, WriterConfig=writer
    )
    config.trace_output = True
    try:
        for layer in model_graph.get_layers():
            layer.set_attr("trace", layer in layers)
        yield layers
    finally:
        config.config.clear()
        config.config.update(saved_config)
        config.trace_output = saved_trace_output
        for layer in model_graph.get_layers():
            if layer.name in saved_trace:
                layer.set_attr("trace", saved_trace[layer.name])


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Hides Keras if nobody imported it: the writer imports it (and TensorFlow) to save a model."""
    if "keras" in sys.modules:
        yield
        return
    sys.modules["keras"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["keras"]


@contextlib.contextmanager
def _with_numpy_product() -> Iterator[None]:
    """Gives back `np.product`, which NumPy 2 removed and hls4ml 1.3 calls for exponent weights."""
    import numpy as np

    if hasattr(np, _REMOVED):
        yield
        return
    setattr(np, _REMOVED, np.prod)
    try:
        yield
    finally:
        delattr(np, _REMOVED)


def _facts(model_graph: Any, backend: str, traced: list[Any]) -> HlsProject:
    import importlib.metadata

    config = model_graph.config
    part, period = config.get_config_value("Part"), config.get_config_value("ClockPeriod")

    def signal(name: str, variable: Any) -> Signal:
        shape = tuple(int(n) for n in variable.shape)
        return Signal(str(name), shape, variable.type.precision.definition_cpp())

    untraced = (layer for layer in model_graph.get_layers() if layer not in traced)
    return HlsProject(
        project_name=str(config.get_project_name()),
        backend=backend,
        io_type=str(config.get_config_value("IOType")),
        part=None if part is None else str(part),
        clock_period_ns=None if period is None else float(period),
        hls4ml_version=importlib.metadata.version("hls4ml"),
        inputs=tuple(signal(v.name, v) for v in model_graph.get_input_variables()),
        outputs=tuple(signal(v.name, v) for v in model_graph.get_output_variables()),
        layers=tuple(signal(layer.name, layer.get_output_variable()) for layer in traced),
        untraced=tuple(str(layer.name) for layer in untraced if layer.class_name not in _INPUTS),
    )
