"""Calibration at the command line: options, what was chosen, and what it costs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from samebits import errors
from samebits.calibration import BITS, MOST_BITS, Calibration

from .console import bar, err, line, out

__all__ = ["calibrated", "show"]

# names of the columns and of the scores, in the file's metadata
FEATURES, CLASSES = "samebits.features", "samebits.classes"
COARSE = 0.02  # of the spread: more than twice what the default width leaves
_SHOWN = 20  # columns in a table


def calibrated(
    model: Path,
    data: Path | None,
    bits: Sequence[str] | None,
    percentile: float | None,
    chosen: Sequence[str] = (),
    label: str | None = None,
) -> Calibration | None:
    """The model quantized on the data of a file, None without one.

    Args:
        bits: "N" for weights and activations, "KIND=N" or "TENSOR=N".
        chosen: columns of the file in the model's order, where it does not name them itself.
        label: the column of labels, "label" if not given.

    Raises:
        UsageError: options without data, or that make no sense.
    """
    from samebits.calibration import calibrate, input_shapes, read_events
    from samebits.compile.frontends.onnx import read_onnx
    from samebits.train.readers import split_tree

    if data is None:
        if bits or percentile is not None:
            raise errors.UsageError("--bits and --percentile choose formats from data: --calibrate")
        if chosen or label is not None:
            raise errors.UsageError("--columns and --label are of the file of --calibrate: give it")
        return None
    if model.suffix in (".keras", ".h5"):
        raise errors.UsageError(
            f"--calibrate is for float ONNX models, got {model.name}: export it as ONNX first"
        )
    table: dict[str, int] = {}
    for text in bits or []:
        name, _, value = text.rpartition("=")
        name = name or "default"
        if not value.isdecimal():
            raise errors.UsageError(f"--bits must be N, KIND=N or TENSOR=N, got {text!r}")
        if name in table:
            raise errors.UsageError(f"--bits: {name} is given twice")
        table[name] = int(value)
    proto = read_onnx(model)
    shapes = input_shapes(proto)
    known = json.loads(next((p.value for p in proto.metadata_props if p.key == FEATURES), "[]"))
    if chosen and known:
        raise errors.UsageError(
            f"--columns: {model.name} names its columns itself ({', '.join(known)}); leave it out"
        )
    flat = len(shapes) == 1 and len(next(iter(shapes.values()))) == 1
    if (chosen or label is not None) and not flat:
        raise errors.UsageError("--columns and --label are for models with one input of features")
    label = label or "label"
    events, labels, names = read_events(data, shapes, chosen, label)
    columns: list[str] = []
    if not isinstance(events, dict):
        events, columns = _in_order(data, known, chosen, label)
        size = math.prod(next(iter(shapes.values())))
        if flat and events.shape[1] != size:
            listed = f"({', '.join(columns[:20])})" if columns else "without names"
            raise errors.DataError(
                f"{data}: {events.shape[1]} columns {listed}, the input "
                f"{next(iter(shapes))} takes {size} numbers; choose them with --columns A,B,..."
            )
    total = 2 * len(next(iter(events.values())) if isinstance(events, dict) else events)
    with bar(f"calibrating on {split_tree(data)[0].name}", total) as advance:
        result = calibrate(
            proto,
            events,
            bits=table or BITS,
            percentile=100.0 if percentile is None else percentile,
            labels=labels,
            class_names=names,
            feature_names=tuple(known or columns),
            progress=advance,
        )
    result.model.graph.name = model.name
    if result.metrics and names and CLASSES not in {p.key for p in proto.metadata_props}:
        result.model.metadata_props.add(key=CLASSES, value=json.dumps(list(names)))
    if columns:
        result.model.metadata_props.add(key=FEATURES, value=json.dumps(columns))
    if columns and not chosen:
        line(
            f"the model names no columns: its {len(columns)} inputs are taken to be those of "
            f"{data.name}, in this order: {', '.join(columns)}",
            err,
        )
    _warn_of_coarse(result)
    return result


def _in_order(
    data: Path, known: list[str], chosen: Sequence[str], label: str
) -> tuple[Any, list[str]]:
    """The events in the order that the model names; if it names none, the file's own names."""
    from samebits.train.data import in_order, load_features

    events = in_order(load_features(data, features=chosen or None, label=label), known)
    named = list(events.feature_names)
    unnamed = named == [f"x{number}" for number in range(len(named))]
    return events.features, [] if known or unnamed else named


def show(calibration: Calibration) -> None:
    """Prints the formats and the loss."""
    table = Table(title="Formats from the data", title_justify="left")
    for column in ("tensor", "kind", "range", "format", "saturated"):
        table.add_column(column, overflow="fold")
    for row in calibration.formats:
        saturated = f"{100 * row.outside:.2g} %" if row.outside else ""
        span = f"{row.low:.4g} .. {row.high:.4g}"
        table.add_row(row.tensor, row.kind, span, row.format, saturated)
    out.print(table)
    _show_columns(calibration)
    loss = Table(
        title=f"Quantized against float, {calibration.events} events", title_justify="left"
    )
    for column in ("output", "largest difference", "mean", "outputs up to", "same decision"):
        loss.add_column(column, overflow="fold")
    for one in calibration.loss:
        equal = "" if one.equal_decisions is None else f"{100 * one.equal_decisions:.2f} %"
        loss.add_row(
            one.name,
            f"{one.largest_difference:.3g}",
            f"{one.mean_difference:.3g}",
            f"{one.largest_output:.3g}",
            equal,
        )
    out.print(loss)
    if calibration.metrics:
        metrics = Table(title="On the labels", title_justify="left")
        for column in ("metric", "float", "quantized", "change"):
            metrics.add_column(column, justify="left" if column == "metric" else "right")
        for name, before, after in calibration.metrics:
            change = round(after - before, 4) + 0.0  # a zero without a sign of its own
            metrics.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{change:+.4f}")
        out.print(metrics)
    for note in calibration.notes:
        line(f"note: {note}")


def _show_columns(calibration: Calibration) -> None:
    """What one format for all columns of an input costs each; the coarsest if there are many."""
    formats = {row.tensor: row.format for row in calibration.formats}
    for tensor in dict.fromkeys(row.tensor for row in calibration.columns):
        rows = [row for row in calibration.columns if row.tensor == tensor]
        title = f"Input {tensor}: {formats[tensor]} for every column"
        if len(rows) > _SHOWN:
            rows = sorted(rows, key=lambda row: -(row.error or 0.0))[:_SHOWN]
            title += f"; the {_SHOWN} that lose most"
        table = Table(title=title, title_justify="left")
        for column in ("column", "range", "spread", "rounding, share of the spread"):
            table.add_column(column, overflow="fold")
        for row in rows:
            error = "never varies" if row.error is None else _percent(row.error)
            table.add_row(
                row.column, f"{row.low:.4g} .. {row.high:.4g}", f"{row.spread:.3g}", error
            )
        out.print(table)


def _warn_of_coarse(calibration: Calibration) -> None:
    """Says on stderr which columns an input's one format rounds too much."""
    formats = {row.tensor: row.format for row in calibration.formats}
    for tensor in dict.fromkeys(row.tensor for row in calibration.columns):
        lost = {
            row.column: row.error
            for row in calibration.columns
            if row.tensor == tensor and row.error is not None and row.error > COARSE
        }
        if lost:
            line(
                f"warning: hls4ml gives an input one type, and {formats[tensor]} is coarse for "
                f"{', '.join(lost)}: rounding takes up to {_percent(max(lost.values()))} of the "
                f"spread; give --bits inputs=N with more bits (up to {MOST_BITS}), or train on "
                "columns in units of similar size",
                err,
            )


def _percent(share: float) -> str:
    return "under 0.01 %" if 0 < share < 1e-4 else f"{100 * share:.2g} %"
