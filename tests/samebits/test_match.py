"""`samebits match`: rows joined by their keys, and known mistakes told by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from samebits import Design, errors
from samebits.cli import app
from samebits.compile.adapter import Adapter
from samebits.compile.adapter.raw import random_fields
from samebits.match import Answers, Match, match, read_answers

from ..models import quantized_mlp
from .test_adapter import ADAPTER


@pytest.fixture(scope="module")
def design() -> Design:
    return Design.from_onnx(quantized_mlp(softmax=False).model()).with_adapter(
        Adapter.parse(ADAPTER)
    )


@pytest.fixture(scope="module")
def raw(design: Design) -> dict[str, Any]:
    assert design.adapter is not None
    fields = random_fields(design.adapter, 250, np.random.default_rng(5))
    fields["jet_pt"] //= 8  # many below the input's largest number
    return fields


KEYS = {"event": np.repeat(np.arange(50) + 10**10, 5), "bx": np.tile(np.arange(-2, 3), 50)}


def against(
    design: Design, events: Any, values: Any, rows: Any = slice(None), **options: Any
) -> Match:
    keys = {name: column[rows] for name, column in KEYS.items()}
    return match(design, events, KEYS, Answers(values[rows], keys, (), "dump.csv"), **options)


def test_rows_are_joined_by_their_keys(design: Design, raw: Any) -> None:
    found = against(design, raw, design.simulate(raw), np.random.default_rng(1).permutation(250))
    assert (found.same, found.joined, found.joined_by) == (True, 250, ("event", "bx"))
    part = against(design, raw, design.simulate(raw), slice(0, 200))
    assert (part.only_events, part.only_answers, part.differing) == (50, 0, 0)
    assert part.unjoined == "the first event without an answer: event 10000000040, bx -2"


def changed(raw: Any, **changes: Any) -> dict[str, Any]:
    return {name: changes.get(name, lambda v: v)(values) for name, values in raw.items()}


@pytest.mark.parametrize(
    ("words", "spoil"),
    [
        ("the answer of BX 0 stands in every bunch crossing",
         lambda d, raw: np.repeat(d.simulate(raw)[2::5], 5, axis=0)),
        ("jet.pt truncated to an integer",
         lambda d, raw: d.simulate(changed(raw, jet_pt=lambda v: v // 16 * 16))),
        ("jet 0 and jet 1 swapped", lambda d, raw: d.engine.run(
            [raw["jet_pt"][:, ::-1] * 1.0, raw["jet_phi"][:, ::-1] * 1.0], d.graph.outputs)[0]),
        ("jet.phi with the other sign",
         lambda d, raw: d.simulate(changed(raw, jet_phi=lambda v: np.clip(-v, -128, 127)))),
        ("jet 1 lost", lambda d, raw: d.simulate(
            changed(raw, jet_pt=lambda v: v * [1, 0], jet_phi=lambda v: v * [1, 0]))),
        ("rows are off by one: the answer of the previous row of the events",
         lambda d, raw: np.roll(d.simulate(raw), 1, axis=0)),
        ("written with 3 significant digits",
         lambda d, raw: np.array([float(f"{v:.3g}") for v in d.simulate(raw).flat]).reshape(-1, 3)),
        ("outputs in reverse order", lambda d, raw: d.simulate(raw)[:, ::-1]),
    ],
)  # fmt: skip
def test_known_mistakes_are_told_by_name(design: Design, raw: Any, words: str, spoil: Any) -> None:
    found = against(design, raw, spoil(design, raw))
    assert not found.same
    assert found.explanations[0].words == words
    assert found.explanations[0].agreeing == found.explanations[0].tried
    assert sum(bad for _, bad, _ in found.by_bx) == found.differing


def test_late_by_one_bunch_crossing(design: Design, raw: Any) -> None:
    values = design.simulate(raw).reshape(50, 5, 3)
    late = np.concatenate([values[:, 1:], values[:, :1]], axis=1).reshape(250, 3)
    (first, *_) = against(design, raw, late).explanations
    assert first.words == "shifted in time: the answer of BX n is that of 1 bunch crossing later"
    assert first.explained == first.differing


def test_noise_has_no_explanation(design: Design, raw: Any) -> None:
    values = design.simulate(raw)
    values[7, 1] += 1.0
    found = against(design, raw, values)
    assert (found.differing, found.explanations) == (1, ())
    assert found.first.startswith("event 10000000001, bx 0, element 1: firmware ")


def test_mantissas_and_one_score(design: Design, raw: Any) -> None:
    values = design.simulate(raw)
    lsb = design.graph.tensors[design.graph.outputs[0]].format.lsb
    assert against(design, raw, values / lsb).explanations[0].words.endswith("give --raw")
    assert against(design, raw, values / lsb, raw=True).same
    assert against(design, raw, values[:, [2]], score=2).same


def test_keys_that_do_not_suffice(design: Design, raw: Any, tmp_path: Path) -> None:
    values, events = design.simulate(raw), {"event": KEYS["event"]}
    with pytest.raises(errors.DataError, match=r"by event alone: 50 keys .* is a column bx miss"):
        match(design, raw, KEYS, Answers(values, events, (), "dump.csv"))
    with pytest.raises(errors.DataError, match="nothing to join them by"):
        match(design, raw, KEYS, Answers(values, {}, (), "dump.csv"))
    np.savetxt(tmp_path / "a.csv", values, delimiter=",", header="x,y,z", comments="")
    with pytest.raises(
        errors.DataError, match="are 3 numbers per row, the firmware's answer has 1"
    ):
        read_answers(tmp_path / "a.csv")


def test_the_command(design: Design, raw: Any, tmp_path: Path) -> None:
    design.save(tmp_path / "build")
    np.savez(tmp_path / "events.npz", **raw, **KEYS)
    arguments = [str(tmp_path / name) for name in ("build", "events.npz", "scores.csv")]
    runner = CliRunner()
    ran = runner.invoke(app, ["simulate", *arguments[:2], "-o", arguments[2]])
    assert ran.exit_code == 0, ran.output
    lines = Path(arguments[2]).read_text().splitlines()
    assert lines[0].startswith("event,bx,")
    assert lines[1].startswith("10000000000,-2,")
    assert runner.invoke(app, ["match", *arguments]).exit_code == 0
    Path(arguments[2]).write_text("\n".join(lines[:-5]) + "\n")
    assert runner.invoke(app, ["match", *arguments]).exit_code == 1
    assert runner.invoke(app, ["match", *arguments, "--subset"]).exit_code == 0
    Path(arguments[2]).write_text("\n".join([*lines, lines[3]]) + "\n")
    twice = runner.invoke(app, ["match", *arguments])
    assert "keys are there more than once" in str(twice.exception or twice.output)


def test_emulated_scores_carry_the_keys(design: Design, raw: Any, tmp_path: Path) -> None:
    design.save(tmp_path / "build")
    np.savez(tmp_path / "events.npz", **raw, **KEYS)
    scores = tmp_path / "scores.csv"
    firmware, events = tmp_path / "build" / "firmware.onnx", tmp_path / "events.npz"
    ran = CliRunner().invoke(app, ["emulate", str(firmware), str(events), "-o", str(scores)])
    assert ran.exit_code == 0, ran.output
    answers = read_answers(scores, numbers=3)
    assert match(design, raw, KEYS, answers).same
    assert np.array_equal(answers.keys["event"], KEYS["event"])
