"""samebits tune: the smallest firmware within a budget of quality."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.table import Table

from samebits import errors, storage
from samebits.firmware.results import NotRun
from samebits.stages import check_folder, compile_model, verify_build
from samebits.sweep_network import Network, network_of
from samebits.test_part import log_reading
from samebits.tune import OF_SIZE, TRAININGS, Tuned, parts_of, tune
from samebits.tune_record import JSON, SUBFOLDER, Objective, Point, Tuning
from samebits.tune_search import Budget
from samebits.tune_training import trainer_of

from .console import bar, command_line, engine_bars, err, line, out, print_json
from .options import Force, Json, Seed
from .verify import summary, table

if TYPE_CHECKING:
    import onnx

NAME = "tune"
_HINTED_POINTS = 0.5  # of accuracy, lost within a budget of AUC alone


def command(
    source: Annotated[Path, typer.Argument(help="Build directory, or a quantized ONNX file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Build directory of the tuned network.")
    ] = Path("build/tuned"),
    max_auc_drop: Annotated[
        float | None,
        typer.Option("--max-auc-drop", help="AUC that each class may lose, such as 0.002."),
    ] = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option("--max-accuracy-drop", help="Percentage points of accuracy, such as 0.5."),
    ] = None,
    max_ebops_share: Annotated[
        float | None,
        typer.Option(
            "--max-ebops-share",
            help="Bit operations left at most, such as 0.5: the best network of that size.",
        ),
    ] = None,
    objective: Annotated[
        str, typer.Option("--objective", help="What becomes small: bit-operations or lut.")
    ] = "bit-operations",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Labelled events, a file or 'jets'; default: those that the network was trained "
            "with (validation part to search, test part to confirm).",
        ),
    ] = None,
    evaluations: Annotated[
        int, typer.Option("--evaluations", help="New configurations at most.")
    ] = 4000,
    train: Annotated[
        bool,
        typer.Option("--train", help="Train in the chosen formats, as samebits train made it."),
    ] = False,
    against: Annotated[
        str, typer.Option("--against", help="Engines that the tuned network is verified against.")
    ] = "csim,onnxruntime",
    force: Force = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Fewer bits for weights and activations within a quality budget; exit code 1 if it is not
    kept on events that the search has not seen, or a bit differs."""
    budget = Budget(max_auc_drop, max_accuracy_drop, max_ebops_share)
    if objective not in get_args(Objective):
        raise errors.UsageError(
            f"--objective: got {objective!r}, wanted {' or '.join(get_args(Objective))}"
        )
    if objective == "lut" and max_ebops_share is not None:
        raise errors.UsageError("--objective lut: give a quality budget, not --max-ebops-share")
    if evaluations < 1:
        raise errors.UsageError(f"--evaluations must be 1 or more, got {evaluations}")
    if output.resolve() == source.resolve():
        raise errors.UsageError(f"-o {output}: is the network's own folder; give another one")
    network = network_of(source)
    model = _model_of(network)
    trainer = trainer_of(network) if train else None
    folder = output / SUBFOLDER
    check_folder(folder)
    own = (folder / JSON).is_file()
    if (output / storage.DESIGN).exists() and not (own or force):
        raise errors.BuildError(
            f"{output}: already holds another design, which tune did not make; choose another "
            "folder with -o, or replace it with --force"
        )
    parts = parts_of(network, data)
    with contextlib.ExitStack() as bars:
        looked = bars.enter_context(bar("quantizers", 1))
        tried = bars.enter_context(bar("configurations, at most", evaluations))
        estimated = bars.enter_context(bar("estimates of LUT", 2))
        trainings = OF_SIZE if max_ebops_share is not None else TRAININGS
        training = bars.enter_context(bar("trainings", trainings)) if train else None

        def on_quantizer(done: int, total: int) -> None:
            looked(done / max(1, total))

        tuned = tune(
            model,
            network.target,
            parts,
            budget,
            network=source.name or str(source.resolve().name),
            objective="lut" if objective == "lut" else "bit-operations",
            most=evaluations,
            folder=folder,
            trainer=trainer,
            on_training=training,
            on_quantizer=on_quantizer,
            on_configuration=tried,
            on_estimate=estimated,
        )
    if parts[1].test_part:
        log_reading(source, network.recipe, "samebits tune")
    with bar(f"compiling {output.name}", 1) as advance:
        design = compile_model(
            source,
            output,
            network.target,
            calibrated=tuned.model,
            force=force or own,
            command=command_line(),
        )
        advance(1)
    with engine_bars() as progress:
        verified = verify_build(
            design,
            parts[1].x,
            tuple(name.strip() for name in against.split(",") if name.strip()),
            seed=seed,
            command=command_line(),
            progress=progress,
        )
    plots = _plot(tuned.tuning, folder)
    if json:
        print_json(tuned.tuning.model_dump(mode="json") | {"verification": summary(verified)})
    else:
        _show(tuned)
        out.print(table(verified, f"Same bits? {sum(verified.events.values())} events"))
        line(f"{folder}: tune.json, tune.csv (every configuration){plots}")
        line(f"the tuned network: {output}, also as {output}/model.onnx")
    for engine in verified.engines:
        if engine.status == "not run":
            line(f"{engine.engine}: not run: {engine.detail}", err)
    if train and not tuned.tuning.trained:
        line("no trained configuration kept the budget or the size; this one is not trained", err)
    hint = accuracy_hint(tuned.tuning)
    if hint:
        line(hint, err)
    within = tuned.tuning.confirmation.within
    if not within:
        line(
            f"error: the budget is exceeded on {tuned.tuning.confirmation.data}, which the search "
            "has not seen: search with more events, or with a smaller budget",
            err,
        )
    raise typer.Exit(0 if verified.passed and within else 1)


def _model_of(network: Network) -> onnx.ModelProto:
    from samebits.compile.frontends.onnx import read_onnx

    if network.design is None:
        return read_onnx(network.source)
    if network.design.model_bytes is None:
        raise errors.UnsupportedError(
            f"{network.source}: holds no model.onnx whose formats could be changed: designs of "
            "HGQ2 and of hls4ml graphs have formats of their own for single elements"
        )
    import onnx as library

    return library.load_model_from_string(network.design.model_bytes)


def accuracy_hint(found: Tuning) -> str:
    """That accuracy fell while AUC alone was limited; empty if it did not, or was limited."""
    told = found.confirmation
    lost = told.accuracy_before - told.accuracy_after
    limited = found.max_accuracy_drop_points is not None
    if limited or found.max_auc_drop is None or lost <= _HINTED_POINTS:
        return ""
    return (
        f"hint: accuracy fell by {lost:.2f} points on {told.data}: --max-auc-drop limits AUC "
        f"alone; --max-accuracy-drop {_HINTED_POINTS:g} limits the points of accuracy too"
    )


def _plot(found: Tuning, folder: Path) -> str:
    from samebits.report.tuning import write_front

    try:
        write_front(found, folder)
    except errors.MissingToolError as error:
        return f"; no plot: {error}"
    return ", tune.png, tune.pdf"


def _show(tuned: Tuned) -> None:
    found = tuned.tuning
    formats = Table(title="Formats", title_justify="left")
    for column in ("quantizer", "before", "after"):
        formats.add_column(column, overflow="fold")
    for one in found.quantizers:
        after = one.after if one.after != one.before else "as before"
        formats.add_row(one.name, one.before or "-", (one.fixed and f"stays: {one.fixed}") or after)
    out.print(formats)
    rows = Table(title=f"{found.network}; quality: {found.data}", title_justify="left")
    rows.add_column("")
    for column in ("EBOPs", "BOPs", "LUT", "accuracy %", "AUC lost", "points lost"):
        rows.add_column(column, justify="right")
    for name, point in (("before", found.before), ("after", found.after)):
        rows.add_row(name, *_cells(point))
    out.print(rows)
    for name, point in (("before", found.before), ("after", found.after)):
        if isinstance(point.lut, NotRun):
            line(f"LUT {name}: not run: {point.lut.reason}")
    if found.trained:
        line("after: trained in these formats")
    saved = 100 * (1 - found.after.ebops / max(1, found.before.ebops))
    speed = found.per_minute
    line(
        f"{saved:.1f} % of the bit operations (EBOPs) saved; {found.configurations:,} "
        "configurations known"
        + (
            f" ({speed.reason})"
            if isinstance(speed, NotRun)
            else f", {found.evaluated_now:,} of them now, {speed.value:,.0f} a minute, each on "
            f"{found.events:,} events"
        )
    )
    told = found.confirmation
    line(
        f"Lost on {told.data}, not used for the search (95 %: paired bootstrap, {told.resamples} "
        "resamples)"
    )
    losses = Table()
    losses.add_column("")
    losses.add_column("lost", justify="right")
    losses.add_column("95 % interval", justify="right")
    for loss in told.losses:
        digits = 2 if "points" in loss.quantity else 5
        losses.add_row(
            loss.quantity,
            f"{loss.value:.{digits}f}",
            f"{loss.low_95:.{digits}f} .. {loss.high_95:.{digits}f}",
        )
    out.print(losses)
    line(f"accuracy there: {told.accuracy_before:.2f} % before, {told.accuracy_after:.2f} % after")


def _cells(point: Point) -> tuple[str, ...]:
    lut = "-" if isinstance(point.lut, NotRun) else f"{point.lut.value:,.0f}"
    return (
        f"{point.ebops:,}",
        f"{point.bops:,.0f}",
        lut,
        f"{point.accuracy:.2f}",
        f"{point.auc_drop:.5f}",
        f"{point.accuracy_drop_points:.2f}",
    )
