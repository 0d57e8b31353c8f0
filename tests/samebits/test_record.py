"""report.json: every stage replaces its own section and drops what depended on it."""

import json
from pathlib import Path

import numpy as np
import pytest

from samebits import Design, Target, errors, record, sections
from samebits.fidelity import Fidelity, OutputFidelity
from samebits.recipe import Recipe
from samebits.report.facts import (
    ExportFacts,
    FidelityFacts,
    Gate,
    NotRun,
    Quantity,
    TargetFacts,
    VerificationFacts,
)
from samebits.sim.verification import EngineReport, LayerRow, Verification
from samebits.stages import compile_model, verify_build
from samebits.sweep import Sweep, write

from ..models import quantized_mlp


def verified(status: str = "equal", bad: int = 0) -> VerificationFacts:
    row = LayerRow("layer:fc1", "ap_fixed<6,2,TRN,WRAP>", 10, bad, 60, bad)
    detail = "first difference in layer fc1" if bad else ""
    engines = (
        EngineReport("csim", status, detail, "hls4ml 1.3", (row,)),
        EngineReport("rtl", "not run", "no RTL yet"),
    )
    return sections.verification_facts(Verification(engines, {"data": 7, "ties": 3}))


def exported() -> ExportFacts:
    return ExportFacts(
        file="m.onnx", sha256="0" * 64, provably_equal="all", only_rounding="none", checks=()
    )


def target() -> TargetFacts:
    return sections.target_facts(Target())


def test_stages_in_order_keep_each_other(tmp_path: Path) -> None:
    record.record(tmp_path, "samebits export", export=exported())
    record.record(tmp_path, "samebits compile", target=target())
    facts = record.record(tmp_path, "samebits verify", verification=verified())
    assert facts.commands == ("samebits export", "samebits compile", "samebits verify")
    assert isinstance(facts.export, ExportFacts)
    assert isinstance(facts.target, TargetFacts)
    assert facts.same_bits
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert record.load_record(tmp_path) == facts
    assert facts.versions["samebits"] == record.versions()["samebits"]


def test_an_earlier_stage_drops_the_later_ones(tmp_path: Path) -> None:
    record.record(tmp_path, "", export=exported(), target=target(), verification=verified())
    facts = record.record(tmp_path, "", target=target())
    assert isinstance(facts.verification, NotRun)
    assert isinstance(facts.export, ExportFacts)
    facts = record.record(tmp_path, "", export=exported())
    assert isinstance(facts.target, NotRun)
    assert facts.layers == ()


def test_a_command_stands_once_and_last(tmp_path: Path) -> None:
    for command in ("samebits verify build", "samebits report build", "samebits verify build"):
        facts = record.record(tmp_path, command, verification=verified())
    assert facts.commands == ("samebits report build", "samebits verify build")
    assert record.record(tmp_path, ("", "a", "b")).commands[2:] == ("a", "b")


def test_gates_and_the_page_do_not_outlive_what_they_show(tmp_path: Path) -> None:
    gate = Gate(name="same bits", passed=True, detail="0 mismatching bits")
    for changed in ({"verification": verified("MISMATCH", 2)}, {"metrics": NotRun(reason="no")}):
        facts = record.record(tmp_path, "", verification=verified(), gates=(gate,))
        assert facts.gates == (gate,)
        (tmp_path / "report.html").touch()
        assert record.record(tmp_path, "", **changed).gates == ()
        assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_broken_report_is_said_and_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = record.record(tmp_path, "", target=target())
    assert caplog.messages == []
    (tmp_path / "report.json").write_text("{")
    facts = record.record(tmp_path, "", target=target())
    assert isinstance(facts.target, TargetFacts)
    assert isinstance(facts.export, NotRun)
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path / 'report.json'} is not a report of this version of ")
    assert message.endswith("; what earlier stages recorded is lost")


def test_a_section_of_another_version_is_left_out_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record.record(tmp_path, "samebits compile", target=target(), verification=verified())
    path = tmp_path / "report.json"
    values = json.loads(path.read_text())
    values["verification"]["engines"][0]["reason"] = "of an older schema"
    path.write_text(json.dumps(values | {"schema_version": 1, "strange": 1}))
    facts = record.load_record(tmp_path)
    assert facts.target == target()
    assert isinstance(facts.verification, NotRun)
    assert facts.commands == ("samebits compile",)
    assert caplog.messages == [
        f"{path}: left out, as of another version of samebits: strange, verification"
    ]


def test_verification_as_the_report_shows_it() -> None:
    facts = verified("MISMATCH", 2)
    assert [(e.engine, e.status, e.events, e.mismatching_bits) for e in facts.engines] == [
        ("csim", "MISMATCH", 10, 2),
        ("rtl", "not run", 0, 0),
    ]
    assert facts.engines[1].detail == "no RTL yet"
    assert [(e.kind, e.events, e.is_adversarial) for e in facts.engines[0].event_sets] == [
        ("data", 7, False),
        ("ties", 3, True),
    ]
    assert facts.layers[0].layer == "fc1"
    assert facts.first_mismatch == "first difference in layer fc1"
    assert verified().first_mismatch is None


def test_engines_that_were_compared_earlier_stay() -> None:
    row = LayerRow("layer:fc1", "ap_fixed<6,2,TRN,WRAP>", 10, 0, 60, 0)

    def ran(*names: str, events: int) -> VerificationFacts:
        engines = tuple(EngineReport(name, "equal", "", "t 1", (row,)) for name in names)
        absent = EngineReport("onnxruntime", "not run", "not installed")
        return sections.verification_facts(Verification((*engines, absent), {"ties": events}))

    first, second = ran("csim", "native", events=5), ran("native", "rtl", events=9)
    both = record.merged(first, second)
    assert [(e.engine, e.status, e.events) for e in both.engines] == [
        ("csim", "equal", 5),
        ("native", "equal", 9),
        ("onnxruntime", "not run", 0),
        ("rtl", "equal", 9),
    ]
    assert sorted(layer.engine for layer in both.layers) == ["csim", "native", "rtl"]
    assert [len(engines) for engines in both.runs.values()] == [1, 2]
    assert record.merged(NotRun(reason="no"), first) == first
    # an engine that cannot run any more does not take back what it showed of the same design
    gone = EngineReport("csim", "not run", "no compiler")
    later = sections.verification_facts(Verification((gone,), {"ties": 5}))
    assert record.merged(both, later) == both
    worse = record.merged(both, verified("MISMATCH", 2))
    assert worse.first_mismatch == "first difference in layer fc1"
    assert record.merged(worse, second).mismatching_bits == 2


def test_fidelity_as_the_report_shows_it(tmp_path: Path) -> None:
    outputs = (OutputFidelity("y", 0.25, 8.0, 0.5), OutputFidelity("z", float("nan"), 1.0, None))
    facts = sections.fidelity_facts(Fidelity(outputs, 100, "onnxruntime 1"))
    assert isinstance(facts, FidelityFacts)
    assert facts.outputs[0].equal_decisions == Quantity(
        value=50.0, unit="%", kind="measured", tool="onnxruntime 1"
    )
    assert facts.outputs[1].largest_difference == NotRun(
        reason="the model's answer is not finite: nan"
    )
    assert facts.outputs[1].equal_decisions == NotRun(
        reason="one element per event decides nothing"
    )
    assert sections.fidelity_facts(Fidelity(reason="no file")) == NotRun(reason="no file")
    assert record.record(tmp_path, "", fidelity=facts).fidelity == facts
    dropped = record.record(tmp_path, "", target=target()).fidelity
    assert dropped == NotRun(reason="no fidelity measurement in this run")


def test_compile_and_verify_write_their_sections(tmp_path: Path) -> None:
    model, build = quantized_mlp().save(tmp_path / "m.onnx"), tmp_path / "build"
    compile_model(model, build, Target(clock_mhz=250), command="samebits compile m.onnx")
    result = verify_build(Design.load(build), np.ones((5, 4)), ("onnxruntime",))
    assert result.passed
    values = json.loads((build / "report.json").read_text())
    assert values["design"] == "build"
    assert values["target"]["clock_mhz"] == 250
    assert [layer["name"] for layer in values["layers"]] == [
        layer.name for layer in Design.load(build).graph.layers
    ]
    assert values["commands"] == ["samebits compile m.onnx"]
    verify_build(Design.load(build), np.ones((3, 4)), ("onnxruntime",), adversarial=False)
    assert values["fingerprint"] == Design.load(build).fingerprint
    compile_model(model, build, Target(clock_mhz=250))
    assert isinstance(record.load_record(build).verification, NotRun)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"data": "jets"}', '{"data": 1, "seed": "x"}'])
def test_a_damaged_recipe(tmp_path: Path, text: str) -> None:
    assert Recipe.read(tmp_path) is None
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(errors.BuildError) as caught:
        Recipe.read(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path / 'training.json'}: is damaged, or of an older "
    )
    assert str(caught.value).endswith("); train again")


def test_the_sweep_of_another_design_is_not_shown(tmp_path: Path) -> None:
    model, build = quantized_mlp().save(tmp_path / "m.onnx"), tmp_path / "build"
    design = compile_model(model, build, Target())
    none = "no sweep here: `samebits sweep` tries widths, clocks, reuse factors"
    assert sections.variant_facts(design) == NotRun(reason=none)
    sweep = Sweep(
        network="m",
        part=design.target.part,
        lut_total=1,
        events=1,
        data="made up",
        widths_by="",
        inputs={"model": design.fingerprint},
        rows=(),
    )
    write(sweep, build / "sweep")
    assert sections.variant_facts(design) == sweep
    assert record.record(build, "", variants=sweep).variants == sweep
    other = compile_model(model, build, Target(clock_mhz=300), force=True)
    assert isinstance(record.load_record(build).variants, NotRun)
    assert sections.variant_facts(other) == NotRun(
        reason="sweep/ is of another design: run `samebits sweep` again"
    )
