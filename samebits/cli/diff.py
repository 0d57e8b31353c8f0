"""samebits diff: do two firmware.onnx files give the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from samebits.compile.ir import Format
from samebits.sim.firmware_diff import Difference, FirmwareDiff

from .console import bar, counted, line, print_json
from .options import Columns, Json, Seed, Tree, column_names

NAME = "diff"
_SHOWN_NUMBERS = 64


def command(
    a: Annotated[Path, typer.Argument(help="A firmware.onnx.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Events; default: adversarial and random ones."),
    ] = None,
    columns: Columns = None,
    tree: Tree = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare two firmware.onnx files event by event; exit code 0 if they give the same bits."""
    from samebits.event_files import open_events
    from samebits.sim.firmware_diff import compare_firmware, made_events
    from samebits.sim.firmware_file import FirmwareFile

    files = FirmwareFile(a), FirmwareFile(b)
    if data is not None:
        with (
            open_events(data, files[0], tree, column_names(columns)) as source,
            bar("comparing", source.count) as advance,
        ):
            result = compare_firmware(*files, source.pieces(), advance)
    else:
        events = list(made_events(*files, seed))
        with bar("comparing", sum(len(arrays[0]) for _, arrays in events)) as advance:
            result = compare_firmware(*files, events, advance)
    source_words = str(data) if data else f"adversarial and random, seed {seed}"
    if json:
        print_json(_json(result, source_words))
    else:
        _show(result, a, b, source_words)
    raise typer.Exit(0 if result.same else 1)


def _show(result: FirmwareDiff, a: Path, b: Path, source: str) -> None:
    for difference in result.interface:
        line(f"different interface: {difference}")
    if not result.events:
        line(f"{a} and {b} cannot be compared event by event")
        return
    numbers = counted(result.numbers, "number")
    compared = f"{counted(result.events, 'event')} ({source}), {numbers} compared"
    if not result.outputs:
        same = "the same numbers, in other formats" if result.interface else "the same bits"
        line(f"{a} and {b} give {same}: {compared}")
        return
    line(f"{a} and {b} DIFFER in {result.different_events} of {compared}")
    for output in result.outputs:
        _describe(f"output {output.name}", output, a, b)
    if result.layer is not None:
        where = f"after {result.agreeing[-1]}" if result.agreeing else "from the first one on"
        line(f"first layer that differs, {where}:")
        _describe(f"layer {result.layer.name}", result.layer, a, b)
    elif result.agreeing:
        line(f"all shared layers agree: the difference arises behind {result.agreeing[-1]}")
    else:
        line("the files share no layer by name and shape")
    line("the first event that differs:")
    for port, values in result.example:
        shown = np.asarray(values, dtype=np.float64).reshape(-1)[:_SHOWN_NUMBERS]
        more = f" ... ({np.size(values)} numbers)" if np.size(values) > len(shown) else ""
        line(f"  input {port}: {' '.join(f'{value:.17g}' for value in shown)}{more}")


def _describe(what: str, one: Difference, a: Path, b: Path) -> None:
    line(
        f"{what}: {counted(one.numbers, 'number')} in {counted(one.events, 'event')}; "
        f"first in event {one.event}, element {list(one.element)}:"
    )
    width = max(len(str(a)), len(str(b)))
    for path, value, mantissa, fmt in zip(
        (a, b), one.values, one.mantissas, one.formats, strict=True
    ):
        line(f"  {path!s:<{width}}  {_binary(mantissa, fmt)} ({mantissa}, {value!r}) {fmt}")


def _binary(mantissa: int, fmt: Format) -> str:
    return format(mantissa & ((1 << fmt.width) - 1), f"0{fmt.width}b")


def _json(result: FirmwareDiff, source: str) -> dict[str, Any]:
    def plain(one: Difference | None) -> dict[str, Any] | None:
        if one is None:
            return None
        return {
            "name": one.name,
            "formats": [str(fmt) for fmt in one.formats],
            "event": one.event,
            "element": list(one.element),
            "values": list(one.values),
            "mantissas": list(one.mantissas),
            "events": one.events,
            "numbers": one.numbers,
        }

    return {
        "same": result.same,
        "interface": result.interface,
        "source": source,
        "events": result.events,
        "numbers": result.numbers,
        "different_events": result.different_events,
        "outputs": [plain(one) for one in result.outputs],
        "first_layer": plain(result.layer),
        "shared_layers": result.shared_layers,
        "example": {
            port.name: np.asarray(values, dtype=np.float64).tolist()
            for port, values in result.example
        },
    }
