"""samebits check: golden vectors against a build, a file, or answers from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from samebits import errors
from samebits.design import Design
from samebits.report.facts import Gate
from samebits.sim.verification import Verification

from .console import counted, engine_bars, err, line, out, print_json
from .options import Json
from .outcome import GatesFile, Github, Junit, show_gates, tell_ci
from .verify import summary, table

NAME = "check"


def command(
    golden: Annotated[Path, typer.Argument(help="Folder that `samebits freeze` wrote.")],
    build: Annotated[
        Path | None, typer.Argument(help="Build directory of the design to check.")
    ] = None,
    firmware: Annotated[
        Path | None, typer.Option("--firmware", help="A firmware.onnx instead of a build.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="A model, compiled again for the golden vectors' target."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", help="Answers to the golden inputs recorded elsewhere: .npz, .npy, .csv."
        ),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="These answers are mantissas.")] = False,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            help="Engines besides NumPy, for a build or model: csim, onnxruntime, native, rtl.",
        ),
    ] = "",
    gates: GatesFile = None,
    junit: Junit = None,
    github: Github = False,
    json: Json = False,
) -> None:
    """Compare with golden vectors bit by bit; exit code 0 if nothing differs.

    --gates holds the limits against the build's report.json.
    """
    from samebits.gates import read_gates
    from samebits.golden import read_golden

    limits = read_gates(gates) if gates else None
    if limits is not None and build is None:
        raise errors.UsageError("--gates reads the report.json of a build: give BUILD")
    vectors = read_golden(golden)
    result, changed = _check(vectors, build, firmware, model, answers, raw, against)
    found: tuple[Gate, ...] = ()
    if limits is not None and build is not None:
        found = _gates(limits, build)
    from samebits.ci import gate_cases, verification_cases

    cases = [*verification_cases(result), *gate_cases(found)]
    tell_ci("samebits check", cases, junit, github, f"{golden}/golden.json")
    if json:
        extra = {"gates": [gate.model_dump() for gate in found]} if limits else {}
        print_json(summary(result) | extra)
    else:
        total = sum(result.events.values())
        out.print(table(result, f"Same bits as {golden}? {counted(total, 'event')}"))
    for engine in result.engines:
        if engine.detail:
            words = "not run: " if engine.status == "not run" else ""
            line(f"{engine.engine}: {words}{engine.detail}", err)
    if not result.passed and changed:
        line(changed, err)
    show_gates(found)
    passed = result.passed and all(gate.passed is not False for gate in found)
    raise typer.Exit(0 if passed else 1)


def _check(
    vectors: Any,
    build: Path | None,
    firmware: Path | None,
    model: Path | None,
    answers: Path | None,
    raw: bool,
    against: str,
) -> tuple[Verification, str]:
    """The outcome, and for a design what changed since the golden vectors were written."""
    from samebits import check

    given = [one for one in (build, firmware, model, answers) if one is not None]
    if len(given) != 1:
        raise errors.UsageError(
            "give one thing to check: a BUILD, --firmware firmware.onnx, --model model.onnx, or "
            "--answers answers.npz"
        )
    if raw and answers is None:
        raise errors.UsageError("--raw says what --answers holds: give --answers too")
    engines = [name.strip() for name in against.split(",") if name.strip()]
    if engines and build is None and model is None:
        raise errors.UsageError("--against needs a design: a BUILD or --model")
    if firmware is not None:
        return check.check_firmware(vectors, firmware), ""
    if answers is not None:
        return check.check_answers(vectors, answers, raw=raw), ""
    with engine_bars() as progress:
        if model is not None:
            design = check.compile_again(vectors, model)
        else:
            assert build is not None
            design = Design.load(build)
        result = check.check_design(vectors, design, engines, progress)
    return result, check.what_changed(vectors, design)


def _gates(limits: Any, build: Path) -> tuple[Gate, ...]:
    from samebits.gates import evaluate
    from samebits.stages import recorded_facts

    return evaluate(limits, recorded_facts(Design.load(build)))
