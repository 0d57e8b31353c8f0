"""samebits compile: an ONNX or Keras model into a build directory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from samebits import errors, storage
from samebits.bit_operations import bit_operations, total
from samebits.design import Design

from .calibrate import calibrated, show
from .console import bar, command_line, err, line, out, print_json
from .options import (
    Backend,
    Clock,
    Force,
    IoType,
    Json,
    Output,
    Part,
    Precision,
    Reuse,
    Strategy,
    TableSize,
    column_names,
    target_of,
)

NAME = "compile"
CALIBRATION = "Float models: formats from data"


def command(
    model: Annotated[
        Path, typer.Argument(help="ONNX file, quantized or float; .keras of QKeras or HGQ2.")
    ],
    output: Output = Path("build"),
    backend: Backend = "Vitis",
    io_type: IoType = "io_parallel",
    part: Part = "xcvu13p-flga2577-2-e",
    clock_mhz: Clock = 200.0,
    strategy: Strategy = "Latency",
    reuse_factor: Reuse = 1,
    precision: Precision = None,
    table_size: TableSize = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Events that a float ONNX model is quantized with.",
            rich_help_panel=CALIBRATION,
        ),
    ] = None,
    bits: Annotated[
        list[str] | None,
        typer.Option(
            "--bits",
            help="N (8), or inputs=N, activations=N, weights=N, biases=N, TENSOR=N; repeatable.",
            rich_help_panel=CALIBRATION,
        ),
    ] = None,
    percentile: Annotated[
        float | None,
        typer.Option(
            "--percentile",
            help="Percent of events whose activations all stay inside (default 100).",
            rich_help_panel=CALIBRATION,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="Columns of these events in the model's order: A,B,... (all but the label).",
            rich_help_panel=CALIBRATION,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column of these events with labels (label).",
            rich_help_panel=CALIBRATION,
        ),
    ] = None,
    tighten: Annotated[
        bool, typer.Option("--tighten", help="Types as narrow as proofs allow; the bits stay.")
    ] = False,
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", help="TOML file: raw detector integers in front of the network."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="firmware.onnx returns int64 mantissas, not real numbers.")
    ] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compile an ONNX or Keras model: fixed-point graph, firmware.onnx and the HLS project."""
    from samebits.stages import compile_model, fidelity_of

    if not force:
        _refuse_foreign(output, model)
    target = target_of(
        backend, io_type, part, clock_mhz, strategy, reuse_factor, precision, table_size
    )
    calibration = calibrated(model, calibrate, bits, percentile, column_names(columns), label)
    with bar(f"compiling {model.name}", 1) as advance:
        design = compile_model(
            model,
            output,
            target,
            calibrated=None if calibration is None else calibration.model,
            tighten=tighten,
            adapter=adapter,
            raw=raw,
            force=force,
            command=command_line(),
        )
        fidelity = fidelity_of(design, () if calibration is None else calibration.inputs)
        advance(1)
    if fidelity.warning:
        line(f"warning: {fidelity.warning}", err)
    if json:
        done = None if calibration is None else calibration.to_json()
        added = {"calibration": done, "fidelity": dataclasses.asdict(fidelity)}
        print_json(_summary(design, output) | added)
    else:
        if calibration is not None:
            show(calibration)
        out.print(_table(design))
        line(_operations(design))
        if tighten:
            _show_tightened(design)
        for note in design.facts.get("notes", ()):
            line(f"note: {note}")
        if "firmware_onnx" in design.facts:
            line(f"firmware.onnx: {design.facts['firmware_onnx']}")
        compared = model.name if calibration is None else "the quantized model.onnx"
        line(f"fidelity to {compared}: {fidelity}")
        line(f"written to {output}: next, samebits verify {output}")


def _refuse_foreign(folder: Path, model: Path) -> None:
    """Raises UsageError for a folder that holds files, and none of samebits or the model itself."""
    from samebits.recipe import FLOAT_MODEL, QAT_MODEL, RECIPE

    known = (*storage.ARTEFACTS, RECIPE, QAT_MODEL, FLOAT_MODEL, "report.json", model.name)
    if not folder.is_dir() or any((folder / name).exists() for name in known):
        return
    held = sorted(path.name for path in folder.iterdir())
    if held:
        more = f" and {len(held) - 3} more" if len(held) > 3 else ""
        raise errors.UsageError(
            f"{folder}: holds other files ({', '.join(held[:3])}{more}) and no design; choose "
            "another folder with -o, or build there with --force"
        )


def _summary(design: Design, output: Path) -> dict[str, object]:
    return {
        "output": str(output),
        "fingerprint": design.fingerprint,
        "target": design.target.to_json(),
        "notes": design.facts.get("notes", []),
        "tightened": design.facts.get("tightened"),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "shape": list(design.graph.tensors[layer.tensor].shape),
                "format": str(design.graph.tensors[layer.tensor].format),
            }
            for layer in design.graph.layers
        ],
        "bit_operations": [dataclasses.asdict(one) for one in bit_operations(design.graph)],
    }


def _operations(design: Design) -> str:
    whole = total(bit_operations(design.graph))
    return (
        f"bit operations of an event: {whole.ebops:,} effective (EBOPs of HGQ), {whole.bops:,.0f} "
        f"(BOPs of UNIQ), in {whole.multiplications:,} multiplications, "
        f"{whole.multiplications - whole.nonzero:,} of them by 0"
    )


def _table(design: Design) -> Table:
    table = Table(title="Fixed-point graph", title_justify="left")
    for column in ("layer", "hls4ml class", "shape", "format", "proven range", "overflow"):
        table.add_column(column, overflow="fold")
    table.add_column("EBOPs", justify="right")
    operations = {one.layer: f"{one.ebops:,}" for one in bit_operations(design.graph)}
    ranges = design.ranges(seconds=0)
    for name in design.graph.inputs:
        tensor = design.graph.tensors[name]
        table.add_row(name, "Input", str(tensor.shape), str(tensor.format), "any", "", "")
    for layer in design.graph.layers:
        tensor, proven = design.graph.tensors[layer.tensor], ranges[layer.name]
        table.add_row(
            layer.name,
            layer.kind,
            str(tensor.shape),
            str(tensor.format),
            f"{proven.low:g} .. {proven.high:g}",
            _overflow_word(design, proven.can_overflow, layer.tensor),
            operations.get(layer.name, ""),
        )
    return table


def _overflow_word(design: Design, can_overflow: bool, tensor: str) -> str:
    if not can_overflow:
        return "cannot"
    return f"may {design.graph.tensors[tensor].format.overflow.value}"


def _show_tightened(design: Design) -> None:
    """What became narrower, and what could not."""
    facts = design.facts["tightened"]
    changes = facts["changes"]
    table = Table(title="Types tightened: the same bits", title_justify="left")
    for column in ("layer", "type", "before", "after"):
        table.add_column(column, overflow="fold")
    for column in ("bits saved", "numbers"):
        table.add_column(column, justify="right")
    for change in changes:
        if not change["kept"]:
            table.add_row(
                *(change[key] for key in ("layer", "type", "before", "after")),
                f"{change['saved_bits']}",
                f"{change['numbers']}",
            )
    if any(not change["kept"] for change in changes):
        out.print(table)
    for change in changes:
        if change["kept"]:
            line(
                f"{change['layer']}: {change['type']} stays {change['before']}, although "
                f"{change['narrowest']} would hold its numbers: {change['kept']}"
            )
    saved = sum(change["saved_bits"] * change["numbers"] for change in changes)
    line(
        f"{saved} bits saved in the numbers of one event; proved equal at every layer, and equal "
        f"on {facts['events']} simulated events"
    )
