"""Float ONNX models quantized after training: formats from the ranges that data reach."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samebits import errors
from samebits.inputs import Events, check_arrays

if TYPE_CHECKING:
    import onnx

    from samebits.compile.frontends.onnx.quantize import Site
    from samebits.compile.frontends.quant import QuantGrid

__all__ = [
    "Calibration",
    "InputColumn",
    "OutputLoss",
    "TensorFormat",
    "calibrate",
    "input_shapes",
    "read_events",
]

BITS, WIDE_BITS, LOGIT_BITS, MOST_BITS = 8, 16, 10, 24
RESOLUTION = 1 / 32
"""The step of an input is at most so much of the standard deviation of its finest column."""
FEWEST_EVENTS = 100
_KINDS = {"inputs": "input", "activations": "activation", "weights": "weight", "biases": "bias"}
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class TensorFormat:
    """One tensor: the range on the data (of constants: of their values) and its fixed-point type.

    `kind` is input, activation, weight or bias; `outside` the share of events, or of a constant's
    values, of which a number saturates.
    """

    tensor: str
    kind: str
    low: float
    high: float
    format: str
    outside: float


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One column of an input, all of which share a type: its range and what rounding takes of it.

    `spread` is the standard deviation over the events, `error` the root mean square of what
    rounding changes, as a share of the spread; None of a column that never varies.
    """

    tensor: str
    column: str
    low: float
    high: float
    spread: float
    error: float | None


@dataclass(frozen=True, slots=True)
class OutputLoss:
    """One output of the quantized model against the float one, on the same events.

    `equal_decisions` is the share of events with the same largest element, None for one element.
    """

    name: str
    largest_difference: float
    mean_difference: float
    largest_output: float
    equal_decisions: float | None


@dataclass(frozen=True)
class Calibration:
    """The quantized model, the formats chosen, and what rounding costs on the same events.

    `columns` are those of inputs of features; `metrics` holds accuracy and AUC per class, before
    and after, where labels were given. `inputs` holds the events, one array per input.
    """

    model: onnx.ModelProto
    events: int
    formats: tuple[TensorFormat, ...]
    columns: tuple[InputColumn, ...]
    loss: tuple[OutputLoss, ...]
    metrics: tuple[tuple[str, float, float], ...]
    notes: tuple[str, ...]
    inputs: tuple[NDArray[Any], ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Everything but the model as JSON values."""
        return {
            "events": self.events,
            "formats": [asdict(row) for row in self.formats],
            "columns": [asdict(row) for row in self.columns],
            "loss": [asdict(row) for row in self.loss],
            "metrics": [list(row) for row in self.metrics],
        }


def calibrate(
    source: str | Path | onnx.ModelProto,
    x: Events,
    *,
    bits: int | Mapping[str, int] = BITS,
    percentile: float = 100.0,
    labels: Any = None,
    class_names: tuple[str, ...] = (),
    feature_names: tuple[str, ...] = (),
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """A float ONNX model with Quant nodes, their formats taken from the ranges of its tensors.

    All steps are powers of two. Every sum stays as wide as it is, and so do the outputs.

    Args:
        x: events as for `Design.simulate`; 100 or more, as the network meets them.
        bits: of weights and activations; biases and final scores have 16 or more, what enters a
            softmax 10 or more, and an input as many as its largest column needs before the point
            and its finest one behind it, 16 to 24. Or {"default", "inputs", "activations",
            "weights", "biases" or a tensor's name: bits}.
        percentile: so many percent of the events keep all their activations inside the format;
            100: all of them.
        labels: (N,) class indices of the events, for metrics before and after.
        feature_names: of the columns, if the input is a vector of features.
        progress: called with the number of events done, of twice as many as there are.

    Returns:
        A model that ONNX Runtime runs and `Design.from_onnx` compiles.

    Raises:
        DataError: events of wrong shape or number, NaN or infinity; an activation that is always 0.
        UsageError: bits or names that make no sense; a model with quantizers.
        UnsupportedError: operators that samebits does not have.
    """
    from samebits.compile.frontends.onnx import read_onnx, runnable
    from samebits.compile.frontends.onnx.constants import constants_of
    from samebits.compile.frontends.onnx.quantize import (
        CALIBRATION,
        prepared,
        quantized,
        sites_of,
    )

    model = read_onnx(source) if isinstance(source, str | Path) else source
    if not 50 < percentile <= 100:
        raise errors.UsageError(f"percentile must be above 50 and up to 100, got {percentile:g}")
    inputs = check_arrays(input_shapes(model), x)
    if len(inputs[0]) < FEWEST_EVENTS:
        raise errors.DataError(
            f"calibration: got {len(inputs[0])} events, wanted {FEWEST_EVENTS} or more that are "
            "like those the network will meet"
        )
    plain, notes = prepared(model)
    sites = sites_of(plain)
    constants = constants_of(plain)
    chosen, default = _bits_of(bits, sites)
    outputs = [value.name for value in plain.graph.output]
    computed = [site.tensor for site in sites if site.kind == "activation"]
    found = _answers(runnable(_with_outputs(plain, computed)), inputs, outputs, progress)
    rows, grids, columns = [], {}, []
    own = dict(zip((value.name for value in plain.graph.input), inputs, strict=False))
    for site in sites:
        if site.kind == "activation":
            ends = found[site.tensor]
        else:
            flat = own[site.tensor] if site.kind == "input" else constants[site.tensor]
            ends = _ends(flat.reshape(len(flat) if site.kind == "input" else flat.size, -1))
        cut = percentile if site.kind == "activation" else 100.0
        width = chosen[site.tensor]
        if width is None:
            width = max(WIDE_BITS, default, _bits_to_resolve(own[site.tensor]))
        row, grids[site.tensor] = _format(site, ends, width, cut)
        rows.append(row)
        if site.kind == "input":
            columns += _columns(site.tensor, own[site.tensor], grids[site.tensor], feature_names)
    fresh = runnable(quantized(plain, grids).SerializeToString())
    events = len(inputs[0])
    after = _answers(
        fresh, inputs, outputs, None if progress is None else lambda done: progress(events + done)
    )
    before = {name: found[name] for name in outputs}
    loss = tuple(_loss(name, before[name], after[name]) for name in outputs)
    metrics: tuple[tuple[str, float, float], ...] = ()
    if labels is not None and len(outputs) == 1:
        metrics, note = _metrics(before[outputs[0]], after[outputs[0]], labels, class_names)
        notes += [note] if note else []
    result = Calibration(
        fresh,
        events,
        tuple(rows),
        tuple(columns),
        loss,
        metrics,
        tuple(notes),
        tuple(inputs),
    )
    fresh.metadata_props.add(key=CALIBRATION, value=json.dumps(result.to_json()))
    return result


def _answers(
    model: onnx.ModelProto,
    inputs: list[NDArray[Any]],
    whole: list[str],
    progress: Callable[[int], None] | None,
) -> dict[str, NDArray[np.float64]]:
    """The outputs named in `whole` (N, *shape); of all others lowest and highest value (2, N)."""
    from samebits.sim.onnx_engine import OnnxEngine

    engine = OnnxEngine(model, "disabled")
    found: dict[str, list[NDArray[np.float64]]] = {}
    for done, part in _chunks(inputs):
        for name, values in engine.run(part).items():
            found.setdefault(name, []).append(values if name in whole else _ends(values))
        if progress:
            progress(done)
    return {
        name: np.concatenate(parts, axis=0 if name in whole else 1) for name, parts in found.items()
    }


def _ends(values: NDArray[Any]) -> NDArray[np.float64]:
    """Lowest and highest number of every row (2, N)."""
    flat = values.reshape(len(values), -1)
    return np.stack([flat.min(axis=1), flat.max(axis=1)]).astype(np.float64)


def input_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of one event of every input.

    Raises:
        ModelError: one that is not fixed.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for value in model.graph.input:
        if value.name not in constants:
            dims = value.type.tensor_type.shape.dim[1:]
            if not dims or not all(dim.dim_value > 0 for dim in dims):
                raise errors.ModelError(
                    f"input {value.name} has a dynamic shape; firmware needs fixed sizes: only the "
                    "first (batch) axis may be open. Export the model with static shapes"
                )
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def read_events(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    columns: Sequence[str] = (),
    label: str = "label",
) -> tuple[Any, NDArray[Any] | None, tuple[str, ...]]:
    """The events of a file for these inputs, class indices or None, class names.

    One input of features takes every file that training takes. Images and several inputs are arrays
    of a .npz file, named like the inputs (one input: or `features`), with labels in `label`.

    Args:
        columns: names of the features in the input's order; without them all columns but the label.
        label: name of the column of labels.

    Raises:
        DataError: a file that cannot be used.
    """
    from samebits.train.data import load, load_features

    if len(shapes) == 1 and len(next(iter(shapes.values()))) == 1:
        chosen = columns or None
        try:
            dataset = load(path, features=chosen, label=label)
        except errors.DataError:  # without labels, or unreadable, which the next line says
            if label != "label":
                raise
            return load_features(path, features=chosen).features, None, ()
        return dataset.features, dataset.labels, dataset.class_names
    wanted = f"a .npz file with arrays {', '.join(shapes)}"
    if path.suffix != ".npz":
        raise errors.DataError(f"{path}: wanted {wanted}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = {name: name for name in shapes}
            if len(shapes) == 1 and next(iter(shapes)) not in arrays:
                names = {next(iter(shapes)): "features"}
            if missing := [name for name in names.values() if name not in arrays]:
                raise errors.DataError(
                    f"{path}: has no array {', '.join(missing)}, only {', '.join(arrays)}; wanted "
                    f"{wanted}"
                )
            events = {name: arrays[source] for name, source in names.items()}
            labels = arrays.get("label")
            classes = arrays.get("class_names", ())
            return events, labels, tuple(str(name) for name in classes)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise errors.DataError(f"{path}: cannot be read as .npz: {error}") from None


def _bits_of(bits: int | Mapping[str, int], sites: list[Site]) -> tuple[dict[str, int | None], int]:
    """The width of every site, None where the data choose it, and the default width."""
    table = {"default": bits} if isinstance(bits, int) else dict(bits)
    default = table.get("default", BITS)
    names = {site.tensor for site in sites}
    for name, value in table.items():
        if not isinstance(value, int) or not 2 <= value <= MOST_BITS:
            what = "bits" if name == "default" else f"bits of {name}"
            raise errors.UsageError(
                f"{what} must be a whole number 2 to {MOST_BITS}, got {value!r}"
            )
        if name not in ("default", *_KINDS) and name not in names:
            raise errors.UsageError(
                f"bits: there is no tensor {name!r} to round; give a number, "
                f"{', '.join(f'{kind}=N' for kind in _KINDS)}, or one of: "
                f"{', '.join(site.tensor for site in sites)}"
            )
    scaled = table.get("inputs", max(WIDE_BITS, default))
    of_kind = {
        "input": table.get("inputs"),
        "bias": table.get("biases", max(WIDE_BITS, default)),
        "weight": table.get("weights", default),
        "activation": table.get("activations", default),
    }
    chosen: dict[str, int | None] = {}
    for site in sites:
        width = of_kind[site.kind] if site.inner else scaled
        if site.logits:  # hls4ml's softmax tables look at no more bits
            width = max(LOGIT_BITS, table.get("activations", default))
        chosen[site.tensor] = table.get(site.tensor, width)
    return chosen, default


def _bits_to_resolve(values: NDArray[Any]) -> int:
    """The bits that hold all events of an input and resolve each of its columns, 24 at most.

    A column is the last axis. Its step is fine enough at `RESOLUTION` of its standard deviation,
    or where all its numbers are multiples of it.
    """
    rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
    largest, signed = float(np.abs(rows).max()), bool(rows.min() < 0)
    integer = int(np.frexp(largest)[1]) + signed
    for bits in range(WIDE_BITS, MOST_BITS):
        step = 2.0 ** (integer - bits)
        fine = step <= RESOLUTION * rows.std(axis=0)
        if np.all(fine | (rows % step == 0).all(axis=0) | (np.ptp(rows, axis=0) == 0)):
            return bits
    return MOST_BITS


def _columns(
    tensor: str, values: NDArray[Any], grid: QuantGrid, names: tuple[str, ...]
) -> list[InputColumn]:
    """What an input's format does to each of its features; nothing for images and sequences."""
    if values.ndim != 2:
        return []
    rows, step = values.astype(np.float64), 2.0 ** (grid.integer - grid.width)
    spreads, wrong = rows.std(axis=0), np.rint(rows / step) * step - rows
    found = []
    for number, spread in enumerate(spreads):
        column = rows[:, number]
        error = float(np.sqrt(np.mean(wrong[:, number] ** 2)) / spread) if spread else None
        name = names[number] if len(names) == len(spreads) else str(number)
        ends = float(column.min()), float(column.max())
        found.append(InputColumn(tensor, name, *ends, float(spread), error))
    return found


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> bytes:
    from onnx import helper

    fresh = type(model)()
    fresh.CopyFrom(model)
    known = {value.name for value in fresh.graph.output}
    fresh.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    return bytes(fresh.SerializeToString())


def _chunks(inputs: list[NDArray[Any]]) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    events = len(inputs[0])
    for start in range(0, events, _CHUNK):
        yield min(start + _CHUNK, events), [x[start : start + _CHUNK] for x in inputs]


def _format(
    site: Site, ends: NDArray[np.float64], bits: int, percentile: float
) -> tuple[TensorFormat, QuantGrid]:
    """The format for the lowest and highest numbers (2, N) of every event or row."""
    from samebits.compile.frontends.onnx.quantize import fixed_format

    low, high = float(ends[0].min()), float(ends[1].max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise errors.DataError(
            f"{site.kind} {site.tensor}: is NaN or infinite; the float model overflows on these "
            "events, or its weights are broken"
        )
    if percentile < 100:
        side = (100 - percentile) / 2
        low = float(np.percentile(ends[0], side))
        high = float(np.percentile(ends[1], 100 - side))
    if low == high == 0:
        if site.kind in ("input", "activation"):
            raise errors.DataError(
                f"{site.kind} {site.tensor}: is 0 in all {ends.shape[1]} events, so that no format "
                "can be chosen; give events that reach it, or take the layer out"
            )
        high = 1.0
    signed = True if site.kind in ("weight", "bias") else bool(ends[0].min() < 0)
    grid = fixed_format(low, high, bits, signed)
    step = 2.0 ** (grid.integer - grid.width)
    largest = (2.0 ** (grid.width - signed) - 0.5) * step
    smallest = -(2.0 ** (grid.width - 1) + 0.5) * step if signed else -0.5 * step
    outside = float(((ends[0] < smallest) | (ends[1] > largest)).mean())
    row = TensorFormat(site.tensor, site.kind, low, high, f"ap_{grid.precision}", outside)
    return row, grid


def _loss(name: str, before: NDArray[Any], after: NDArray[Any]) -> OutputLoss:
    rows = before.reshape(len(before), -1), after.reshape(len(after), -1)
    difference = np.abs(rows[0] - rows[1])
    equal = None
    if rows[0].shape[1] > 1:
        equal = float((rows[0].argmax(axis=1) == rows[1].argmax(axis=1)).mean())
    largest = float(np.abs(rows[0]).max())
    return OutputLoss(name, float(difference.max()), float(difference.mean()), largest, equal)


def _metrics(
    before: NDArray[Any], after: NDArray[Any], labels: Any, class_names: tuple[str, ...]
) -> tuple[tuple[tuple[str, float, float], ...], str]:
    """(name, float, quantized) of accuracy and AUCs, or none and why."""
    from samebits.sim.metrics import classification_metrics

    labels = np.asarray(labels)
    names = class_names or tuple(str(i) for i in range(int(labels.max(initial=0)) + 1))
    scores = [rows.reshape(len(rows), -1) for rows in (before, after)]
    if scores[0].shape[1] == 1 and len(names) == 2:
        unit = 1.0 if scores[0].min() >= 0 and scores[0].max() <= 1 else 0.0
        scores = [np.concatenate([unit - rows, rows], axis=1) for rows in scores]
    if scores[0].shape[1] != len(names):
        return (), (
            f"no metrics: outputs of {scores[0].shape[1]} numbers are not scores of "
            f"{len(names)} classes"
        )
    one, other = (classification_metrics(rows, labels, names) for rows in scores)
    rows = [("accuracy", one.accuracy, other.accuracy)]
    for first, second in zip(one.classes, other.classes, strict=True):
        rows.append((f"AUC {first.name}", first.auc, second.auc))
    return tuple(rows), ""
