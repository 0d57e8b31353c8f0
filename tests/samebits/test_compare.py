"""Two designs side by side: what differs is found, what cannot be compared says why."""

import html
import re
from pathlib import Path

import numpy as np
import pytest

from samebits import Design, Target
from samebits.compare import ComparisonFacts, NumberRow, TextRow, _no_report, compare
from samebits.compare_physics import TriggerEvents, both_triggers, measure_both
from samebits.compile.adapter import Adapter
from samebits.firmware.results import NotRun, Quantity, latency_estimate
from samebits.record import updated, write
from samebits.report.comparison import change, comparison_html, metric_rows, verdict
from samebits.report.facts import LatencyFacts, MetricsFacts, RegressionFacts
from samebits.sim.trigger import Beam
from samebits.stages import recorded_facts
from samebits.trigger import Signal, TriggerFacts, measure_trigger

from ..models import ModelWriter, quantized_mlp
from .test_adapter import ADAPTER


def save(folder: Path, writer: ModelWriter, target: Target | None = None) -> Design:
    design = Design.from_onnx(writer.model(), target)
    design.save(folder)
    return design


def narrower() -> ModelWriter:
    """`quantized_mlp` with 5 bits behind the first layer."""
    writer = ModelWriter(1)
    x = writer.quant(writer.input(), 8, 4)
    x = writer.quant(writer.node("Relu", writer.gemm(x, 4, 6, bits=6)), 5, 2, signed=False)
    x = writer.gemm(x, 6, 3, bits=6)
    writer.output(writer.node("Softmax", x, axis=-1), 3)
    return writer


@pytest.fixture(scope="module")
def designs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Design, Design]:
    folder = tmp_path_factory.mktemp("compare")
    return (
        save(folder / "wide", quantized_mlp()),
        save(folder / "narrow", narrower(), Target(clock_mhz=320)),
    )


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(5)
    x = rng.normal(0, 2, (600, 4)).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    np.savez(path, features=x, label=np.argmax(x[:, :3], axis=1))
    return path


@pytest.fixture(scope="module")
def facts(designs: tuple[Design, Design], labelled: Path) -> ComparisonFacts:
    pytest.importorskip("sklearn", reason="scikit-learn is in the extra hep")
    return compare(*designs, str(labelled))


def test_formats_target_and_layers(facts: ComparisonFacts) -> None:
    assert facts.names == ("wide", "narrow")
    assert not facts.same
    assert facts.settings == (TextRow(what="clock_mhz", a="200.0", b="320.0"),)
    assert facts.versions == ()
    assert facts.shared_layers > 3
    assert facts.layers[0] == TextRow(
        what="Relu_0: result", a="ap_ufixed<6,2,RND_CONV,SAT>", b="ap_ufixed<5,2,RND_CONV,SAT>"
    )


def test_bits_on_the_same_events(
    facts: ComparisonFacts, designs: tuple[Design, Design], labelled: Path
) -> None:
    with np.load(labelled) as data:
        answers = [design.simulate(data["features"]) for design in designs]
    a, b = (np.asarray(answer) for answer in answers)
    bits = facts.bits
    assert not isinstance(bits, NotRun)
    (output,) = bits.outputs
    assert (bits.events, output.numbers) == (600, 1800)
    assert output.different_numbers == np.count_nonzero(a != b) > 0
    assert bits.different_events == np.count_nonzero((a != b).any(axis=1))
    assert output.decisions == np.count_nonzero(a.argmax(axis=1) != b.argmax(axis=1))
    assert output.largest_difference == np.abs(a - b).max()
    assert bits.first_layer == "Relu_0"
    head, tail = verdict(facts)
    assert head == "Different answers"
    assert tail.startswith(f"{bits.different_events} of 600 events (")
    assert tail.endswith(
        f"events of toy.npz) get another answer; {output.decisions} decisions differ."
    )


def test_metrics_are_paired(facts: ComparisonFacts) -> None:
    assert not isinstance(facts.metrics, NotRun)
    rows = metric_rows(facts.metrics)
    assert [row.what for row in rows] == ["accuracy", "AUC 0", "AUC 1", "AUC 2"]
    wide, narrow = facts.metrics.models.values()
    assert rows[0].a == f"{100 * wide.accuracy:.2f} %"
    assert rows[0].change.removesuffix(" points") in (
        f"{100 * (narrow.accuracy - wide.accuracy):+.2f}",
        "0.00",
    )
    assert facts.metrics.split == "events of toy.npz"


def test_labels_of_another_name(
    facts: ComparisonFacts, designs: tuple[Design, Design], labelled: Path, tmp_path: Path
) -> None:
    with np.load(labelled) as arrays:
        np.savez(tmp_path / "named.npz", features=arrays["features"], isTau=arrays["label"])
    again = compare(*designs, str(tmp_path / "named.npz"), label="isTau").metrics
    assert isinstance(again, MetricsFacts)
    assert isinstance(facts.metrics, MetricsFacts)
    assert again.models == facts.metrics.models


def test_the_same_design_and_the_same_answers(
    designs: tuple[Design, Design], tmp_path: Path
) -> None:
    same = compare(designs[0], designs[0])
    assert same.names == ("wide (a)", "wide (b)")
    assert same.same
    assert verdict(same)[0] == "The same firmware"
    assert same.layers == same.settings == same.versions == ()
    assert same.metrics == NotRun(reason="no labelled data: give --data")
    assert same.latency == NotRun(reason="run `samebits report` on both first")
    absent = NotRun(reason="no report")
    for sides, which in (((absent, 1), "a"), ((1, absent), "b"), ((absent, absent), "both")):
        assert which in _no_report(("a", "b"), sides).reason.split()
    other = save(tmp_path / "wide", quantized_mlp(), Target(clock_mhz=320))
    found = compare(designs[0], other, x=np.zeros((5, 4)))
    assert found.names[1] == f"{tmp_path.name}/wide"
    assert verdict(found) == (
        "Different firmware, the same answers",
        "All outputs agree on 5 events (events); no proof for others.",
    )


def test_networks_that_answer_other_questions(
    designs: tuple[Design, Design], labelled: Path, tmp_path: Path
) -> None:
    writer = ModelWriter()
    writer.output(writer.gemm(writer.quant(writer.input(), 8, 4), 4, 2, bits=6), 2)
    other = save(tmp_path / "other", writer)
    facts = compare(designs[0], other, str(labelled))
    assert facts.bits == NotRun(reason="other outputs: 3 against 2")
    assert facts.metrics == NotRun(reason="other outputs: 3 against 2")
    assert verdict(facts) == (
        "Different firmware",
        "Bits not compared: other outputs: 3 against 2.",
    )
    assert {row.what: row.b for row in facts.layers}["Softmax_0"] == "absent"


def test_numbers_of_the_same_tool_stand_together(
    designs: tuple[Design, Design], tmp_path: Path
) -> None:
    folders = []
    for design, cycles in zip(designs, (10, 12), strict=True):
        assert design.folder is not None
        copy = tmp_path / design.folder.name
        design_copy = Design(design.graph, design.target)
        design_copy.save(copy)
        estimate = latency_estimate("RTL", cycles, 200, 1, "estimated", "alkaid 0.8")
        latency = LatencyFacts(estimates=(estimate,))
        write(copy, updated(recorded_facts(design_copy), "", latency=latency))
        folders.append(copy)
    facts = compare(*(Design.load(folder) for folder in folders))
    assert not isinstance(facts.latency, NotRun)
    found = {row.what: change(row) for row in facts.latency}
    assert found == {
        "latency": "+2 (+20.0 %)",
        "initiation interval": "none",
        "latency in time": "+10 (+20.0 %)",
    }
    absent = NotRun(reason="this tool was not run")
    one = Quantity(value=1, unit="LUT", kind="estimated", tool="x")
    assert change(NumberRow(what="LUT", source="x", a=one, b=absent)) == ""


def test_the_page(facts: ComparisonFacts) -> None:
    pytest.importorskip("mplhep", reason="mplhep is in the extra hep")
    pytest.importorskip("jinja2", reason="jinja2 is in the extra hep")
    page = comparison_html(facts)
    assert "Different answers" in page
    assert page.count("<figure") == 2 + 3 + 3
    assert page.count('role="img"') == page.count("<figure") == page.count("aria-label=") - 4
    assert "ap_ufixed&lt;5,<wbr>2,<wbr>RND_CONV,<wbr>SAT&gt;" in page
    assert not re.search(r'(src|href)="http', page)
    hostile = facts.model_copy(update={"names": ("<script>", "a & b")})
    text = comparison_html(hostile.model_copy(update={"metrics": NotRun(reason="<b>")}))
    assert "<script>" not in text.split("</main>")[0]
    assert html.escape("<script>") in text
    assert "<b>" not in text


@pytest.fixture(scope="module")
def given(designs: tuple[Design, Design]) -> TriggerEvents:
    rng = np.random.default_rng(9)
    noise, peak = rng.normal(0, 2, (500, 4)), rng.normal(1, 2, (300, 4))
    signals = {"H": Signal(peak, peak[:, 0])}
    edges = [-4.0, 0.0, 4.0]
    return TriggerEvents(
        (noise, noise), (signals, signals), Beam(2000), [9000.0], "1", None, edges, offline_name="x"
    )


def test_rates_are_those_of_both_on_the_same_events(
    designs: tuple[Design, Design], facts: ComparisonFacts, given: TriggerEvents
) -> None:
    trigger = measure_both(facts.names, designs, given)
    assert list(trigger.models) == ["wide", "narrow"]
    kept = []
    for design, model in zip(designs, trigger.models.values(), strict=True):
        noise, peak = (
            np.asarray(design.simulate(x))[:, 1]
            for x in (given.unbiased[0], given.signals[0]["H"].events)
        )
        (point,) = model.points
        assert point.threshold is not None
        assert point.unbiased_passed == (noise >= point.threshold).sum()
        assert point.efficiency["H"].value == (peak >= point.threshold).mean()
        kept.append(point.efficiency["H"].value)
    (difference,) = trigger.differences
    assert (difference.model, difference.reference) == ("narrow", "wide")
    assert difference.value == kept[1] - kept[0]
    absent = NotRun(reason="drawn elsewhere")
    page = comparison_html(facts.model_copy(update={"trigger": trigger, "metrics": absent}))
    assert "Efficiency at the same rate, minus wide" in page
    assert 'aria-label="Turn-on curve of H at 9000 kHz in x.' in page


def test_recorded_rates_stand_together_if_their_conditions_are_the_same(
    designs: tuple[Design, Design], given: TriggerEvents
) -> None:
    recorded = []
    for design in designs:
        trigger = measure_trigger(
            design,
            given.unbiased[0],
            {"H": Signal(given.signals[0]["H"].events)},
            given.beam,
            [9000.0],
            score="1",
        )
        recorded.append(updated(recorded_facts(design), "", trigger=trigger))
    found = both_triggers(("a", "b"), *recorded)
    assert isinstance(found, TriggerFacts)
    firmware = [facts.trigger.models["firmware"] for facts in recorded]  # type: ignore[union-attr]
    assert found.models == dict(zip("ab", firmware, strict=True))
    assert found.differences == ()
    assert found.no_differences.startswith("the numbers are those that each design recorded")
    trigger = recorded[1].trigger
    assert isinstance(trigger, TriggerFacts)
    other = updated(recorded[1], "", trigger=trigger.model_copy(update={"bunches": 1}))
    assert both_triggers(("a", "b"), recorded[0], other) == NotRun(
        reason="measured under other conditions: bunches"
    )
    assert both_triggers(("a", "b"), recorded[0], recorded_facts(designs[1])) == NotRun(
        reason="not measured for b: run `samebits trigger` on both"
    )


def test_regressions_have_their_errors_side_by_side(tmp_path: Path) -> None:
    designs = []
    for name, bits in (("fine", 12), ("coarse", 6)):
        writer = ModelWriter(2)
        x = writer.quant(writer.input(), 10, 4)
        writer.output(writer.quant(writer.gemm(x, 4, 1, 6), bits, 4), 1)
        designs.append(save(tmp_path / name, writer))
    x = np.random.default_rng(6).normal(0, 1, (400, 4)).astype(np.float32)
    y = np.asarray(designs[0].simulate(x))[:, 0]
    np.savez(tmp_path / "d.npz", features=x, feature_names=list("abcd"), y=y)
    facts = compare(designs[0], designs[1], str(tmp_path / "d.npz"), target="y")
    assert isinstance(facts.regression, RegressionFacts)
    fine, coarse = facts.regression.comparison.models.values()
    assert fine["y"].rms.value == 0
    other = np.asarray(designs[1].simulate(x))[:, 0]
    assert coarse["y"].rms.value == pytest.approx(np.sqrt(np.mean((other - y) ** 2)))
    assert facts.metrics == NotRun(reason="the events have no class labels")
    page = comparison_html(facts)
    assert '<section id="regression">' in page
    assert '<section id="metrics">' not in page


def test_metrics_are_those_of_the_networks_behind_adapters(tmp_path: Path, labelled: Path) -> None:
    designs = []
    for name, writer in (("wide", quantized_mlp()), ("narrow", narrower())):
        plain = save(tmp_path / f"plain_{name}", writer)
        behind = plain.with_adapter(Adapter.parse(ADAPTER))
        behind.save(tmp_path / name)
        designs += [plain, behind]
    plain_facts = compare(designs[0], designs[2], str(labelled)).metrics
    facts = compare(designs[1], designs[3], str(labelled)).metrics
    assert isinstance(plain_facts, MetricsFacts)
    assert isinstance(facts, MetricsFacts)
    assert list(facts.models.values()) == list(plain_facts.models.values())
