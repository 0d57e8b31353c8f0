"""samebits sweep: accuracy against LUT and ns over widths, clocks and reuse factors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from samebits import errors, record, storage
from samebits.design import Design
from samebits.firmware.parts import part_of
from samebits.firmware.results import Measured, NotRun
from samebits.stages import check_folder
from samebits.sweep import Grid, Row, Sweep, best, read_sweep, sweep, write
from samebits.sweep_network import labelled_events, network_of
from samebits.test_part import log_reading

from .console import bar, command_line, err, line, out, print_json
from .options import BudgetNs, Json, LabelledEvents

NAME = "sweep"
WIDTHS, REUSE, CLOCKS = (2, 24), (1, 1 << 20), (1, 2000)


def command(
    source: Annotated[Path, typer.Argument(help="Build directory, or an ONNX file.")],
    width: Annotated[
        str | None,
        typer.Option(
            "--width", help="Bits of weights and activations: 4..8, or 4,6; default: as trained."
        ),
    ] = None,
    reuse: Annotated[str, typer.Option("--reuse", help="Reuse factors, such as 1,2,4.")] = "1",
    clock: Annotated[
        str | None,
        typer.Option("--clock", help="Clocks in MHz, such as 200,320; default: the design's."),
    ] = None,
    data: LabelledEvents = None,
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", help="Events that a float ONNX model is quantized with."),
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train at every width, as the network was trained.")
    ] = False,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="hls4ml's: Latency, Resource; default: the design's."),
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="Full name of the FPGA; default: the design's.")
    ] = None,
    budget_ns: BudgetNs = None,
    max_lut_share: Annotated[
        float | None,
        typer.Option("--max-lut-share", help="Share of the part's LUTs that is free, 0 to 1."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder; default: sweep in the build directory."),
    ] = None,
    json: Json = False,
) -> None:
    """Accuracy against LUT and ns; exit code 1 if no configuration keeps the limits."""
    _check_limits(budget_ns, max_lut_share)
    widths = (None,) if width is None else whole_numbers("--width", width, *WIDTHS)
    factors = whole_numbers("--reuse", reuse, *REUSE)
    clocks = None if clock is None else clocks_of(clock)
    if train and width is None:
        raise errors.UsageError("--train trains at every --width: give widths")
    network = network_of(source, calibrate, train=train)
    own = network.target
    target = replace(
        own,
        part=part or own.part,
        strategy=strategy or own.strategy,
        reuse_factor=max(factors),
    )
    part_of(target.part)
    folder = output or (source if source.is_dir() else source.parent) / "sweep"
    check_folder(folder)
    events = labelled_events(network, data)
    if events.test_part:
        log_reading(source, network.recipe, "samebits sweep")
    grid = Grid(widths, factors, clocks or (target.clock_mhz,))

    def at_width(bits: int | None) -> Design:
        design = network.at_width(bits, target)
        if bits is not None and design.model_bytes is not None:
            with storage.replace_file(folder / f"{bits}-bits.onnx") as temporary:
                temporary.write_bytes(design.model_bytes)
        return design

    with bar("configurations", grid.steps) as advance:
        found = sweep(
            at_width,
            events,
            grid,
            target,
            network=source.name or str(source.resolve().name),
            model_sha256=network.sha256,
            widths_by=network.widths_by if width is not None else "",
            known=read_sweep(folder),
            save=lambda part_done: write(part_done, folder),
            progress=advance,
        )
    if source.is_dir():
        record.note(source, command_line())
    plots = _plot(found, folder, budget_ns, max_lut_share)
    chosen = best(found, budget_ns, max_lut_share)
    limits = _limits(budget_ns, max_lut_share)
    if json:
        names = ("best", "smallest_as_good")
        picked = dict.fromkeys(names) if chosen is None else dict(zip(names, chosen, strict=True))
        print_json(
            found.model_dump(mode="json")
            | {name: row and row.model_dump(mode="json") for name, row in picked.items()}
        )
    else:
        out.print(_table(found))
        for note in found.notes:
            line(note)
        if (earlier := len(found.rows) - len(grid.keys)) > 0:
            line(f"{earlier} rows are of earlier sweeps of the same network, data and versions")
        if chosen is not None:
            line(f"most accurate{limits}: {_words(found, chosen[0])}")
            if chosen[1].key != chosen[0].key:
                line(f"smallest within one standard deviation of it: {_words(found, chosen[1])}")
        line(f"{folder}: sweep.csv, sweep.json{plots}")
        if width is not None:
            line(f"the network of a width: samebits compile {folder / 'N-bits.onnx'} -o BUILD")
    if chosen is None and limits:
        line(f"error: no configuration{limits}", err)
        raise typer.Exit(1)


def whole_numbers(option: str, text: str, least: int, most: int) -> tuple[int, ...]:
    """Whole numbers given as "4..8", "1,2,4" or both, rising.

    >>> whole_numbers("--width", "4..6,8", 2, 24)
    (4, 5, 6, 8)

    Raises:
        UsageError: anything else, or a number outside least to most.
    """
    wanted = f"wanted whole numbers from {least} to {most}, such as 4..8 or 2,4"
    found: set[int] = set()
    for piece in text.split(","):
        first, dots, last = (part.strip() for part in piece.partition(".."))
        last = last if dots else first
        if not all(part.isascii() and part.isdecimal() for part in (first, last)):
            raise errors.UsageError(f"{option}: got {text!r}, {wanted}")
        low, high = int(first[:9]), int(last[:9])
        if low > high:
            raise errors.UsageError(
                f"{option}: got {piece.strip()!r}, the smaller number comes first "
                f"({high}..{low}); {wanted}"
            )
        if not (least <= low and high <= most):
            raise errors.UsageError(f"{option}: got {piece.strip()!r}, {wanted}")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def clocks_of(text: str) -> tuple[float, ...]:
    """Clocks in MHz given as "200,320,480", rising.

    Raises:
        UsageError: anything else, or a clock outside 1 to 2000 MHz.
    """
    least, most = CLOCKS
    found: set[float] = set()
    for piece in text.split(","):
        try:
            value = float(piece)
        except ValueError:
            value = 0.0
        if not least <= value <= most:  # NaN, too
            raise errors.UsageError(
                f"--clock: got {piece.strip()!r}, wanted clocks from {least} to {most} MHz, such "
                "as 200,320,480"
            )
        found.add(value)
    return tuple(sorted(found))


def _check_limits(budget_ns: float | None, max_lut_share: float | None) -> None:
    if budget_ns is not None and not 0 < budget_ns < float("inf"):
        raise errors.UsageError(f"--budget-ns must be above 0, got {budget_ns:g}")
    if max_lut_share is not None and not 0 < max_lut_share <= 1:
        raise errors.UsageError(
            f"--max-lut-share must be above 0 and up to 1 (1: the whole part), got "
            f"{max_lut_share:g}"
        )


def _limits(budget_ns: float | None, max_lut_share: float | None) -> str:
    parts = []
    if budget_ns is not None:
        parts.append(f"{budget_ns:g} ns")
    if max_lut_share is not None:
        parts.append(f"{100 * max_lut_share:g} % of the LUTs")
    return f" within {' and '.join(parts)}" if parts else ""


def _plot(found: Sweep, folder: Path, budget_ns: float | None, max_lut_share: float | None) -> str:
    from samebits.report.pareto import write_pareto

    try:
        write_pareto(found, folder, budget_ns, max_lut_share)
    except errors.MissingToolError as error:
        return f"; no plot: {error}"
    return ", sweep.png, sweep.pdf"


def _table(found: Sweep) -> Table:
    table = Table(
        title=f"{found.network} on {found.part}; accuracy: {found.data}", title_justify="left"
    )
    for column in ("bits", "as", "reuse", "MHz", "accuracy %", "cycles", "ns", "II"):
        table.add_column(column, justify="left" if column == "as" else "right")
    for column in ("LUT", "of part", "FF", "DSP", "BRAM36"):
        table.add_column(column, justify="right")
    table.add_column("front")
    for row in found.rows:
        latency, used, share = row.latency, row.resources.used, found.share(row)
        absent = NotRun(reason="not told")
        table.add_row(
            "as is" if row.width_bits is None else str(row.width_bits),
            row.implementation,
            str(row.reuse_factor),
            f"{row.clock_mhz:g}{' !' if row.clock_note else ''}",
            f"{row.accuracy.value:.2f} ± {row.accuracy_error.value:.2f}",
            _number(latency.cycles),
            _number(latency.latency_ns, ".1f"),
            _number(latency.initiation_interval),
            *(_number(used.get("LUT", absent)), "-" if share is None else f"{100 * share:.2f} %"),
            *(_number(used.get(name, absent)) for name in ("FF", "DSP", "BRAM36")),
            " ".join(row.front),
            style="bold" if row.front else None,
        )
    return table


def _number(value: Measured, digits: str = ",.0f") -> str:
    return "-" if isinstance(value, NotRun) else f"{value.value:{digits}}"


def _words(found: Sweep, row: Row) -> str:
    bits = "as it is" if row.width_bits is None else f"{row.width_bits} bits"
    return (
        f"{bits}, {row.implementation}, reuse {row.reuse_factor}, {row.clock_mhz:g} MHz: "
        f"{row.accuracy.value:.2f} %, {row.number('LUT'):,.0f} LUT "
        f"({100 * (found.share(row) or 0):.2f} % of the part), {row.number('ns'):.1f} ns"
        + (f" ({row.clock_note})" if row.clock_note else "")
    )
