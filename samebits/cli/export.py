"""samebits export: a Keras model as QONNX."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from samebits import errors

from .console import bar, command_line, counted, line, out, print_json
from .options import Force, Json

NAME = "export"


def command(
    model: Annotated[Path, typer.Argument(help="QKeras or HGQ2 model: .keras, .h5.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: model.onnx beside the model.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Compare with Keras, event by event.")] = True,
    force: Force = False,
    json: Json = False,
) -> None:
    """Export to model.onnx: runs under a stock ONNX Runtime and compiles with hls4ml."""
    from samebits.stages import export_model

    path = output or model.with_name("model.onnx")
    if not force:
        _refuse_to_replace(path, model)
    with bar("exporting", 1) as advance:
        result = export_model(model, path, check=check, command=command_line())
        advance(1)
    if json:
        print_json({"output": str(path), "check": dataclasses.asdict(result) if result else None})
        return
    if result:
        table = Table(title=f"Keras against ONNX Runtime, {counted(result.events, 'event')}")
        for column in ("tensor", "promise", "differing values", "largest difference"):
            table.add_column(column, overflow="fold")
        for tensor in result.tensors:
            table.add_row(
                tensor.name,
                _promise(tensor.provable, tensor.reason),
                f"{tensor.different} of {tensor.values}",
                f"{tensor.largest_difference:.2g}",
            )
        out.print(table)
    source = model if result and result.outputs[0].reason == "compared" else path
    line(f"written to {path}: next, samebits compile {source} -o build")


def _refuse_to_replace(path: Path, model: Path) -> None:
    """Raises UsageError for a file that is there and was not exported from this model.

    What was exported from an earlier training in the model's own folder may be replaced.
    """
    import onnx

    from samebits.recipe import KERAS_SHA256, Recipe, network_sha256

    if not path.is_file():
        return
    try:
        found = onnx.load(path, load_external_data=False).metadata_props
    except Exception:  # protobuf's, the checker's and the system's: it is no model of ours
        found = []
    digests = [item.value for item in found if item.key == KERAS_SHA256]
    earlier = bool(digests) and path.parent.resolve() == model.parent.resolve()
    if network_sha256(model) not in digests and not (earlier and Recipe.read(model.parent)):
        raise errors.UsageError(
            f"{path}: is there already and was not exported from {model}; choose another file "
            "with -o, or replace it with --force"
        )


def _promise(provable: bool, reason: str) -> str:
    if provable:
        return "equal (proven)"
    return "none: compared" if reason == "compared" else "float rounding"
