"""Golden vectors: inputs and the firmware's answers, kept in git, and checked again later.

A folder of three files: golden.json (what a reviewer reads in a diff: formats, versions, one hash
per tensor), inputs.npz (an events file for every other command) and expected.npz. If asked for, the
mantissas as inputs.csv and expected.csv too.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from samebits import errors, storage
from samebits.compile.emitters.interface import output_names
from samebits.compile.ir import Carrier, Format, Tensor
from samebits.compile.ops.boundary import input_mantissas
from samebits.firmware.results import Facts, Text
from samebits.inputs import Events, GraphInputs
from samebits.sim.stimuli import as_finite
from samebits.verify import comparison_events

if TYPE_CHECKING:
    from samebits.design import Design

__all__ = ["Golden", "GoldenFacts", "TensorFacts", "digests", "freeze", "read_golden"]

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]
_log = logging.getLogger("samebits")
FACTS, INPUTS, EXPECTED = "golden.json", "inputs.npz", "expected.npz"
INPUT_WORDS, EXPECTED_WORDS = "inputs.csv", "expected.csv"
_INT64_BITS = 63
_FULL_ELEMENTS = 1_000_000  # of all layers and events: some hundred kB compressed
_WIDEST = 53  # bits that float64, in which all engines answer, holds
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class TensorFacts(Facts):
    """An input, output or layer; `sha256` of its real numbers as little-endian float64."""

    name: Text
    shape: tuple[Count, ...]
    format: Text
    sha256: Sha256


class GoldenFacts(Facts):
    """golden.json. `layer_values`: "full", or "digests" with 8 bytes per event and layer.

    `agreed`: the engines whose bits were equal to the NumPy engine's when it was written.
    """

    schema_version: Literal[1] = 1
    design: Text
    fingerprint: Sha256
    target: dict[str, Any]
    adapter: dict[str, Any] | None = None
    versions: dict[str, str]
    agreed: tuple[str, ...]
    seed: int
    data: str
    events: dict[str, Count]
    feature_names: tuple[str, ...]
    inputs: Annotated[tuple[TensorFacts, ...], Field(min_length=1)]
    layers: tuple[TensorFacts, ...]
    outputs: Annotated[tuple[TensorFacts, ...], Field(min_length=1)]
    layer_values: Literal["full", "digests"]
    files: dict[str, Sha256]


@dataclass(frozen=True)
class Golden:
    """Golden vectors in memory.

    `inputs`: float32 (N, *shape) as in `facts.inputs`. `expected`: real numbers (N, *shape) by
    name, layers as "layer:<name>". `digests`: uint64 (N,) of layers without numbers.
    """

    folder: Path
    facts: GoldenFacts
    inputs: list[Array]
    expected: dict[str, Array]
    digests: dict[str, Array]

    @property
    def events(self) -> int:
        """How many events there are."""
        return sum(self.facts.events.values())

    def kind_of(self, event: int) -> str:
        """Where an event comes from: "data" or a kind of adversarial input."""
        for kind, count in self.facts.events.items():
            if event < count:
                return kind
            event -= count
        return "unknown"

    def tensors(self) -> dict[str, TensorFacts]:
        """Layers, then outputs, in the order of the data flow, under the names of `expected`."""
        layers = {f"layer:{tensor.name}": tensor for tensor in self.facts.layers}
        return layers | {tensor.name: tensor for tensor in self.facts.outputs}


def digests(values: Array) -> Array:
    """8 bytes of BLAKE2b of every event's real numbers."""
    rows = (np.asarray(values, "<f8") + 0.0).reshape(len(values), -1)  # one zero, not two
    found = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return np.frombuffer(b"".join(found), "<u8")


def _sha256(values: Array) -> str:
    return hashlib.sha256((np.asarray(values, "<f8") + 0.0).tobytes()).hexdigest()


def _packed(values: Array, fmt: Format) -> Array:
    """Mantissas in the smallest integer type, or the numbers where float64 rounds the mantissas."""
    if fmt.width > _WIDEST:
        return np.asarray(values, np.float64)
    low, high = fmt.min_mantissa, fmt.max_mantissa
    smallest = next(
        dtype
        for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max
    )
    return np.ldexp(values, fmt.fraction).astype(smallest)


def _unpacked(stored: Array, fmt: Format) -> Array:
    if stored.dtype.kind == "f":
        return np.asarray(stored, np.float64)
    return np.ldexp(stored.astype(np.float64), -fmt.fraction)


def _npz(arrays: Mapping[str, Array]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def freeze(
    design: Design,
    folder: Path,
    x: Events | None = None,
    *,
    data: str = "",
    events: int = 200,
    adversarial: int = 32,
    seed: int = 0,
    layers: str = "auto",
    csv: bool = False,
    against: Sequence[str] = ("onnxruntime",),
    force: bool = False,
    progress: Progress | None = None,
) -> Golden:
    """Writes golden vectors of a design; the same design and arguments give the same bytes.

    Args:
        x: events as for `Design.simulate`, of which `events` are drawn; None: adversarial only.
        data: what they are, in words.
        adversarial: most events kept of each kind of adversarial input.
        layers: "full", "digests", or "auto": full up to a million numbers.
        csv: inputs.csv and expected.csv too, with the mantissas of inputs and outputs for test
            benches of hardware; always where the folder holds them already.
        against: engines that must give the same bits first; may be empty.

    Raises:
        MismatchError: an engine differs, so there is nothing golden.
        BuildError: the folder holds other golden vectors and `force` is not set.
        UsageError: no events at all.
    """
    from samebits.record import versions

    design.check_files()
    tell = progress or (lambda *_: None)
    tell("choosing events", 0, 1)
    inputs, counts = _chosen_events(design, x if events else None, events, adversarial, seed)
    tell("choosing events", 1, 1)
    agreed = _agreeing(design, inputs, against, progress)
    graph, names = design.graph, _names(design)
    values = dict(
        zip(names, design.engine.run(inputs, [t.name for t in names.values()]), strict=True)
    )
    hidden = {name: tensor for name, tensor in names.items() if name.startswith("layer:")}
    outputs = {name: tensor for name, tensor in names.items() if name not in hidden}
    full = layers == "full" or (
        layers == "auto" and sum(values[name].size for name in hidden) <= _FULL_ELEMENTS
    )
    expected = {}
    for name, tensor in names.items():
        if name in hidden and not full:
            expected[f"digest:{name}"] = digests(values[name])
        else:
            expected[name] = _packed(values[name], tensor.format)
    files = {INPUTS: _npz(_stored(design, inputs)), EXPECTED: _npz(expected)}
    if csv or (folder / INPUT_WORDS).exists():
        files |= {
            INPUT_WORDS: _csv({name: graph.tensors[name] for name in graph.inputs}, inputs),
            EXPECTED_WORDS: _csv(outputs, [values[name] for name in outputs]),
        }
    facts = GoldenFacts(
        design=(design.folder.resolve().name if design.folder else "") or "design",
        fingerprint=design.fingerprint,
        target=design.target.to_json(),
        adapter=None if design.adapter is None else design.adapter.to_json(),
        versions=versions(),
        agreed=agreed,
        seed=seed,
        data=data if x is not None and events else "",
        events=counts,
        feature_names=design.feature_names,
        inputs=tuple(
            _tensor_facts(name, graph.tensors[name], array)
            for name, array in zip(graph.inputs, inputs, strict=True)
        ),
        layers=tuple(
            _tensor_facts(name.removeprefix("layer:"), tensor, values[name])
            for name, tensor in hidden.items()
        ),
        outputs=tuple(
            _tensor_facts(name, tensor, values[name]) for name, tensor in outputs.items()
        ),
        layer_values="full" if full else "digests",
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    _write(folder, {**files, FACTS: _text(facts).encode()}, force)
    return read_golden(folder)


def _chosen_events(
    design: Design, x: Events | None, events: int, adversarial: int, seed: int
) -> tuple[list[Array], dict[str, int]]:
    """Float64 arrays of the graph's inputs, and how many events there are of each kind.

    Raises: UsageError where there are none at all.
    """
    from samebits.inputs import check_inputs, raw_events

    if x is None and not adversarial:
        raise errors.UsageError("freeze: no events: give data, or leave adversarial inputs on")
    rng = np.random.default_rng(seed)
    picked: Any = None
    if x is not None:
        arrays = check_inputs(design.graph, raw_events(design, x))
        keep = _pick(rng, len(arrays[0]), events)
        picked = GraphInputs(zip(design.graph.inputs, (a[keep] for a in arrays), strict=True))
    made, counts, _ = comparison_events(design, picked, adversarial > 0, seed)
    inputs, counts = _thinned(rng, made, counts, adversarial)
    # what every reader of events gives, whatever the width of the input format
    return [as_finite(array.astype(np.float64), np.float32) for array in inputs], counts


def _stored(design: Design, inputs: Sequence[Array]) -> dict[str, Array]:
    """The arrays of inputs.npz: a table of features, or every input by its name."""
    if len(inputs) > 1:
        return dict(zip(design.graph.inputs, inputs, strict=True))
    stored = {"features": inputs[0]}
    if design.feature_names:
        stored["feature_names"] = np.array(design.feature_names)
    return stored


def _csv(tensors: Mapping[str, Tensor], values: Sequence[Array]) -> bytes:
    """Mantissas, a row per event, under names such as x[3].

    Raises:
        UnsupportedError: a format beyond 63 bits.
    """
    head, columns = [], []
    for (name, tensor), array in zip(tensors.items(), values, strict=True):
        if tensor.format.width > _INT64_BITS:
            raise errors.UnsupportedError(
                f"freeze: {name} is {tensor.format}: .csv holds mantissas of up to 63 bits"
            )
        words = input_mantissas(array.astype(np.float64), tensor.format, Carrier.INT64)
        columns.append(words.reshape(len(words), -1))
        head += [f"{name}[{i}]" for i in range(columns[-1].shape[1])]
    stream = io.BytesIO()
    table = np.concatenate(columns, axis=1)
    np.savetxt(stream, table, fmt="%d", delimiter=",", header=",".join(head), comments="")
    return stream.getvalue()


def _text(facts: GoldenFacts) -> str:
    """JSON with a line for every tensor, so that a diff shows which of them changed."""
    parts = []
    for key, value in facts.model_dump(mode="json").items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            text = f"[\n  {rows}\n ]"
        elif isinstance(value, dict):
            text = json.dumps(value, indent=2).replace("\n}", "\n }")
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _pick(rng: np.random.Generator, available: int, wanted: int) -> Array:
    return np.sort(rng.permutation(available)[:wanted])


def _thinned(
    rng: np.random.Generator, inputs: list[Array], counts: Mapping[str, int], most: int
) -> tuple[list[Array], dict[str, int]]:
    """All data, and at most so many events of every other kind; four times of the last, which
    holds a few for every cast."""
    keep, start, kept = [], 0, {}
    for kind, count in counts.items():
        limit = {"data": count, "inner ties and overflows": 4 * most}.get(kind, most)
        positions = start + _pick(rng, count, limit)
        start += count
        if len(positions):
            keep.append(positions)
            kept[kind] = len(positions)
    chosen = np.concatenate(keep)
    return [array[chosen] for array in inputs], kept


def _agreeing(
    design: Design, inputs: list[Array], against: Sequence[str], progress: Progress | None
) -> tuple[str, ...]:
    if not against:
        return ()
    x = GraphInputs(zip(design.graph.inputs, inputs, strict=True))
    result = design.verify(x, against, adversarial=False, progress=progress)
    result.raise_on_mismatch()
    for engine in result.engines:
        if engine.status == "not run":
            _log.warning("%s was not asked: %s", engine.engine, engine.detail)
    return tuple(f"{e.engine}, {e.tool}" for e in result.engines if e.status == "equal")


def _names(design: Design) -> dict[str, Tensor]:
    """Layers that are no outputs, then outputs: name -> tensor."""
    graph = design.graph
    names = {
        f"layer:{layer}": graph.tensors[tensor]
        for layer, tensor in graph.layer_tensors.items()
        if tensor not in graph.outputs
    }
    outputs = zip(output_names(graph), graph.tensors_of(graph.outputs), strict=True)
    return names | dict(outputs)


def _tensor_facts(name: str, tensor: Tensor, values: Array) -> TensorFacts:
    return TensorFacts(
        name=name, shape=tensor.shape, format=str(tensor.format), sha256=_sha256(values)
    )


def _write(folder: Path, contents: Mapping[str, bytes], force: bool) -> None:
    """golden.json last: it names the hashes of the others."""
    if folder.exists() and not folder.is_dir():
        raise errors.BuildError(f"{folder}: is a file; give a folder")
    present = [name for name in contents if (folder / name).exists()]
    same = all(
        (folder / name).is_file() and (folder / name).read_bytes() == content
        for name, content in contents.items()
    )
    if present and not same and not force:
        raise errors.BuildError(
            f"{folder}: holds other golden vectors; `samebits check` says what differs, --force "
            "replaces them"
        )
    for name, content in contents.items():
        with storage.replace_file(folder / name) as temporary:
            temporary.write_bytes(content)


def read_golden(folder: Path) -> Golden:
    """The golden vectors of a folder.

    Raises:
        DataError: there are none, or they are damaged.
    """
    path = folder / FACTS
    try:
        facts = GoldenFacts.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise errors.DataError(
            f"{folder}: holds no golden vectors (no {FACTS}); make them with `samebits freeze`"
        ) from None
    except OSError as error:
        raise errors.DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise errors.DataError(
            f"{path}: is damaged, or of another version of samebits: {first['msg']} at {where}"
        ) from None
    inputs, expected = (_read(folder / name, facts.files.get(name)) for name in (INPUTS, EXPECTED))
    golden = Golden(folder, facts, [], {}, {})
    events = golden.events
    try:
        single = len(facts.inputs) == 1
        for one in facts.inputs:
            values = _numbers(inputs["features" if single else one.name], "f")
            golden.inputs.append(values.reshape(events, *one.shape))
        for name, one in golden.tensors().items():
            if f"digest:{name}" in expected:
                golden.digests[name] = _numbers(expected[f"digest:{name}"], "u").reshape(events)
            else:
                values = _unpacked(_numbers(expected[name], "iuf"), Format.parse(one.format))
                golden.expected[name] = values.reshape(events, *one.shape)
    except (KeyError, ValueError, errors.FormatError) as error:
        raise errors.DataError(f"{path}: does not fit its arrays: {error}") from None
    return golden


def _numbers(values: Array, kinds: str) -> Array:
    """The array, of these kinds of NumPy's types and finite. Raises ValueError."""
    if values.dtype.kind not in kinds or not np.isfinite(values).all():
        raise ValueError(f"{values.dtype} or NaN where finite numbers are wanted")
    return values


def _read(path: Path, wanted: str | None) -> dict[str, Array]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.DataError(f"{path}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != wanted:
        raise errors.DataError(
            f"{path}: is not the file that {FACTS} was written with; restore it from version "
            "control, or freeze again"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays}
    except Exception as error:  # of zipfile, zlib and NumPy's reader of headers
        raise errors.DataError(f"{path}: cannot be read as .npz: {error}") from None
