"""samebits freeze: golden vectors of a design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from samebits import errors
from samebits.design import Design

from .console import counted, engine_bars, line, print_json
from .options import Build, Json, Seed, events_of

NAME = "freeze"
_LAYERS = ("auto", "full", "digests")


def command(
    build: Build,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write, to be kept in git.")
    ] = Path("golden"),
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Events; default: the test part of what the network was trained on."
        ),
    ] = None,
    events: Annotated[int, typer.Option(help="How many of them to draw.", min=0)] = 200,
    adversarial: Annotated[
        int,
        typer.Option(help="Most events of each adversarial kind; 0: none.", min=0),
    ] = 32,
    layers: Annotated[
        str,
        typer.Option(
            help="full: every layer's numbers; digests: 8 bytes per layer and event; auto: full up "
            "to a million numbers."
        ),
    ] = "auto",
    csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="inputs.csv and expected.csv too: mantissas, for test benches of hardware.",
        ),
    ] = False,
    against: Annotated[
        str,
        typer.Option(
            "--against", help="Engines that must agree first: csim, onnxruntime, native, rtl; none."
        ),
    ] = "onnxruntime",
    force: Annotated[bool, typer.Option("--force", help="Replace other golden vectors.")] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write golden vectors: inputs and the firmware's answers, for `samebits check`."""
    from samebits.golden import freeze
    from samebits.recipe import recipe_of

    if layers not in _LAYERS:
        raise errors.UsageError(f"--layers must be one of {', '.join(_LAYERS)}, got {layers!r}")
    design = Design.load(build)
    x: Any = None
    name = ""
    if data is not None:
        x, name = events_of(design, data), data.name
    else:
        recipe, _ = recipe_of(design)
        if recipe is not None:
            x, name = recipe.split().test.features, "test set"
    engines = [] if against == "none" else [part.strip() for part in against.split(",")]
    with engine_bars() as progress:
        golden = freeze(
            design,
            output,
            x,
            data=name,
            events=events,
            adversarial=adversarial,
            seed=seed,
            layers=layers,
            csv=csv,
            against=engines,
            force=force,
            progress=progress,
        )
    facts = golden.facts
    size = sum(path.stat().st_size for path in output.iterdir() if path.is_file())
    if json:
        print_json(facts.model_dump(mode="json"))
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts.events.items())
    line(f"{counted(golden.events, 'event')}: {kinds}")
    line(
        f"{counted(len(facts.outputs), 'output')} and {counted(len(facts.layers), 'layer')} "
        f"({'all numbers' if facts.layer_values == 'full' else 'digests'})"
    )
    line(f"agreed first: {'; '.join(facts.agreed) or 'no engine was asked'}")
    line(f"written to {output}: {size / 1000:.0f} kB")
