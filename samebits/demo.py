"""The demo: every stage on the shipped jets, in one call."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from samebits import errors, storage
from samebits.compile.target import Target
from samebits.recipe import FLOAT_MODEL, JETS, QAT_MODEL, RECIPE, Recipe
from samebits.stages import (
    Bar,
    Progress,
    build_report,
    check_folder,
    compile_model,
    export_model,
    fidelity_of,
    no_bar,
    train_models,
    verify_build,
)

if TYPE_CHECKING:
    from samebits.report import ReportFacts
    from samebits.train.config import TrainingConfig

__all__ = ["demo"]


def demo(
    folder: Path,
    *,
    fast: bool = False,
    seed: int = 0,
    target: Target | None = None,
    force: bool = False,
    command: str = "",
    bar: Bar = no_bar,
    engine_bars: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
    say: Callable[[str], None] = lambda text: None,
) -> ReportFacts:
    """From the shipped jets to verified firmware and its report in one call.

    The other stages' errors apply. An earlier demo in the folder is replaced; a design or a
    training that no demo made is not, unless `force` is set.

    Raises:
        BuildError: the folder holds what no demo made.
    """
    from samebits.train.config import training_config

    check_folder(folder)
    held = [
        name
        for name in (*storage.ARTEFACTS, QAT_MODEL, FLOAT_MODEL, RECIPE)
        if (folder / name).exists()
    ]
    if held and not force:
        recipe = Recipe.read(folder)
        if recipe is None or not recipe.demo:
            raise errors.BuildError(
                f"{folder}: holds what no demo made ({', '.join(held)}); give another folder with "
                "-o/--output, or replace it with --force"
            )
    config = training_config(seed=seed, **({"epochs": 12} if fast else {}))
    target = target or Target()
    model = folder / storage.MODEL
    commands = _demo_commands(folder, config, target)
    say("1/5 training on the shipped jets")
    train_models(
        folder,
        JETS,
        config,
        demo=True,
        baselines=False,
        force=True,  # said above what may be replaced
        command=(command, commands["train"]),
        bar=bar,
    )
    say("2/5 export to model.onnx")
    export_model(folder / QAT_MODEL, model, command=commands["export"])
    say("3/5 hls4ml project and fixed-point graph")
    design = compile_model(model, folder, target, force=True, command=commands["compile"])
    fidelity_of(design)
    say("4/5 verification, bit by bit")
    with engine_bars() as progress:
        verify_build(design, seed=seed, command=commands["verify"], progress=progress)
    say("5/5 metrics, latency, resources, report")
    return build_report(design, command=commands["report"], bar=bar)


def _demo_commands(folder: Path, config: TrainingConfig, target: Target) -> dict[str, str]:
    """The command of every stage that does again what the demo does."""
    precision = target.precision or {}
    if not isinstance(precision, Mapping):
        precision = {"default": precision}
    options: dict[str, list[object]] = {
        "train": ["-o", folder, "--data", JETS, "--hidden", ",".join(map(str, config.hidden)),
                  "--weight-bits", config.weight_bits, "--activation-bits", config.activation_bits,
                  "--epochs", config.epochs, "--pruning", config.pruning,
                  "--scaling", config.scaling, "--no-baselines", "--seed", config.seed],
        "export": [folder / QAT_MODEL, "-o", folder / storage.MODEL],
        "compile": [folder / storage.MODEL, "-o", folder, "--backend", target.backend,
                    "--io-type", target.io_type, "--part", target.part,
                    "--clock-mhz", target.clock_mhz, "--strategy", target.strategy,
                    "--reuse-factor", target.reuse_factor,
                    *(text for name, value in precision.items()
                      for text in ("--precision", f"{name}={value}"))],
        "verify": [folder, "--seed", config.seed],
        "report": [folder],
    }  # fmt: skip
    return {
        stage: shlex.join(["samebits", stage, *map(str, values)])
        for stage, values in options.items()
    }
