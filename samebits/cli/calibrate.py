"""Calibration at the command line: options, what was chosen, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from samebits import errors
from samebits.calibration import BITS, Calibration

from .console import bar, err, line, out

__all__ = ["calibrated", "show"]

FEATURES = "samebits.features"  # names of the columns, in the file's metadata


def calibrated(
    model: Path, data: Path | None, bits: Sequence[str] | None, percentile: float | None
) -> Calibration | None:
    """The model quantized on the data of a file, None without one.

    Args:
        bits: "N" for weights and activations, "KIND=N" or "TENSOR=N".

    Raises:
        UsageError: options without data, or that make no sense.
    """
    from samebits.calibration import calibrate, input_shapes, read_events
    from samebits.compile.frontends.onnx import read_onnx

    if data is None:
        if bits or percentile is not None:
            raise errors.UsageError("--bits and --percentile choose formats from data: --calibrate")
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
    events, labels, names = read_events(data, shapes)
    columns: list[str] = []
    if not isinstance(events, dict):
        known = next((p.value for p in proto.metadata_props if p.key == FEATURES), "[]")
        events, columns = _in_order(data, json.loads(known))
    total = 2 * len(next(iter(events.values())) if isinstance(events, dict) else events)
    with bar(f"calibrating on {data.name}", total) as advance:
        result = calibrate(
            proto,
            events,
            bits=table or BITS,
            percentile=100.0 if percentile is None else percentile,
            labels=labels,
            class_names=names,
            progress=advance,
        )
    result.model.graph.name = model.name
    if columns:
        result.model.metadata_props.add(key=FEATURES, value=json.dumps(columns))
        line(
            f"the model names no columns: its {len(columns)} inputs are taken to be those of "
            f"{data.name}, in this order: {', '.join(columns)}",
            err,
        )
    return result


def _in_order(data: Path, known: list[str]) -> tuple[Any, list[str]]:
    """The events in the order that the model names; if it names none, the file's own names."""
    from samebits.train.data import in_order, load_features

    events = in_order(load_features(data), known)
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
            metrics.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
        out.print(metrics)
    for note in calibration.notes:
        line(f"note: {note}")
