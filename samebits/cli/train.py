"""samebits train: a float and a quantized network, as options or a TOML file describe them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from samebits import errors

from .console import bar, command_line, line, out, print_json
from .options import Force, Json, Output, Seed

if TYPE_CHECKING:
    from samebits.report.facts import Measured

NAME = "train"
NETWORK = "Network"


def command(
    context: typer.Context,
    output: Output = Path("build"),
    network: Annotated[
        Path | None,
        typer.Option("--network", help="A TOML file that describes any network and its training."),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", help="'jets' for the shipped sample, or a file of events.")
    ] = "jets",
    hidden: Annotated[
        str,
        typer.Option(
            "--hidden",
            help="Units of the hidden layers, separated by commas.",
            rich_help_panel=NETWORK,
        ),
    ] = ("64,32,32"),
    weight_bits: Annotated[
        int, typer.Option("--weight-bits", help="Bits of the weights.", rich_help_panel=NETWORK)
    ] = 6,
    activation_bits: Annotated[
        int,
        typer.Option("--activation-bits", help="Bits of the activations.", rich_help_panel=NETWORK),
    ] = 6,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs", help="Passes of the quantized fit; the float one has twice as many."
        ),
    ] = 40,
    pruning: Annotated[
        float,
        typer.Option(
            "--pruning", help="Share of weights to set to zero, 0 to 0.99.", rich_help_panel=NETWORK
        ),
    ] = 0.0,
    scaling: Annotated[
        str,
        typer.Option(
            "--scaling",
            help="Input standardisation in hardware: po2 or fold.",
            rich_help_panel=NETWORK,
        ),
    ] = "po2",
    baselines: Annotated[
        bool,
        typer.Option("--baselines/--no-baselines", help="Fit simple models beside the networks."),
    ] = True,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train with quantization in the loop, beside a float network of the same shape.

    A multilayer perceptron on classes, or with --network whatever the file describes; the other
    options then change single numbers of it.
    """
    if network is not None:
        given = {
            name: value
            for name, value in context.params.items()
            if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        }
        _described(network, output, given, baselines, force, json)
        return
    from samebits.report.facts import NotRun, TrainingFacts
    from samebits.stages import train_models
    from samebits.train.config import training_config

    try:
        units = tuple(int(text) for text in hidden.split(","))
    except ValueError:
        raise errors.UsageError(f"--hidden: got {hidden!r}, wanted for example 64,32,32") from None
    config = training_config(
        hidden=units,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        epochs=epochs,
        pruning=pruning,
        scaling=scaling,
        seed=seed,
    )
    facts = train_models(
        output,
        data,
        config,
        baselines=baselines,
        force=force,
        command=command_line(),
        bar=bar,
    )
    training = facts.training
    assert isinstance(training, TrainingFacts)
    if json:
        print_json(training.model_dump(mode="json"))
        return
    table = Table(title="Training", title_justify="left")
    for column in ("model", "network", "bits", "validation accuracy", "zero weights", "time"):
        table.add_column(column, overflow="fold")
    for run in training.runs:
        losses = run.curve.validation_loss
        best = min(range(len(losses)), key=losses.__getitem__)
        table.add_row(
            run.model,
            run.network,
            "float" if run.bits is None else str(run.bits),
            f"{100 * run.curve.validation_accuracy[best]:.2f} %",
            _number(run.sparsity, ".1f"),
            _number(run.seconds, ".1f"),
        )
    out.print(table)
    if not isinstance(training.baselines, NotRun):
        for one in training.baselines:
            score, seconds = _number(one.score, ".2f"), _number(one.seconds, ".1f")
            line(f"simple fit: {one.name} {score} ({seconds})")
    for run in training.runs:
        for verdict in run.verdicts:
            line(f"loss curve of {run.model}: {verdict.kind}: {verdict.numbers}")
    for option in training.scaling_options:
        chosen = " (chosen)" if option.name == training.scaling_chosen else ""
        line(
            f"input scaling {option.name}{chosen}: costs the float network "
            f"{_number(option.cost_points, '+.2f')} of accuracy"
        )
    line(f"written to {output}: next, samebits export {output}/model.keras")


def _described(
    network: Path,
    output: Path,
    given: Mapping[str, Any],
    baselines: bool,
    force: bool,
    json: bool,
) -> None:
    """Trains what a file describes; `given` are the options on the command line."""
    from samebits.described import train_described
    from samebits.report.facts import NotRun

    for name in ("hidden", "scaling"):
        if name in given:
            raise errors.UsageError(f"--{name}: the network is the file's; change it there")
    sections = {
        "fit": ("epochs", "seed"),
        "quantized": ("weight_bits", "activation_bits", "pruning"),
    }
    facts = train_described(
        output,
        network,
        data=given.get("data"),
        changes={
            section: {name: given[name] for name in names if name in given}
            for section, names in sections.items()
        },
        baselines=baselines,
        force=force,
        command=command_line(),
        bar=bar,
    )
    training = facts.training
    if json:
        print_json(
            {
                **training.model_dump(mode="json"),
                "firmware": {"score": facts.firmware, "note": facts.note},
            }
        )
        return
    table = Table(title=f"Training: {network.name}", title_justify="left")
    for column in ("model", "bits", f"validation {training.score_name}", "zero weights", "time"):
        table.add_column(column, overflow="fold")
    accuracy = training.score_name == "accuracy"
    digits = ".2f" if accuracy else ".4g"
    for run in training.runs:
        table.add_row(
            run.model,
            "float" if run.bits is None else str(run.bits),
            _number(run.score, digits),
            _number(run.sparsity, ".1f"),
            _number(run.seconds, ".1f"),
        )
    if facts.firmware is not None:
        score = f"{100 * facts.firmware:.2f} %" if accuracy else f"{facts.firmware:.4g}"
        table.add_row("firmware", str(training.runs[-1].bits), score, "", "")
    out.print(table)
    if facts.note:
        line(f"no score of the firmware: {facts.note}")
    if not isinstance(training.baselines, NotRun):
        for one in training.baselines:
            line(f"simple fit: {one.name} {_number(one.score, digits)}")
    for verdict in training.runs[0].verdicts:
        line(f"loss curve: {verdict.kind}: {verdict.numbers}")
    line(f"written to {output}: next, samebits compile {output}/model.onnx -o {output}")


def _number(measured: Measured, digits: str) -> str:
    from samebits.report.facts import Quantity

    if isinstance(measured, Quantity):
        return f"{measured.value:{digits}} {measured.unit}"
    return f"not run: {measured.reason}"
