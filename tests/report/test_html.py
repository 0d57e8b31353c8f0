"""The HTML page: self-contained, escaped, and what it says of the facts."""

import re

import pytest

from samebits.report import ReportFacts, render_html
from samebits.report.facts import (
    FidelityFacts,
    Gate,
    MetricsFacts,
    NotRun,
    OutputFidelityFacts,
    Quantity,
    VerificationFacts,
)
from samebits.report.plots import roc_curves

from .pages import Page, hostile

for module in ("jinja2", "matplotlib", "mplhep"):
    pytest.importorskip(module, reason=f"{module} is in the extra hep")


@pytest.fixture(scope="module")
def full_html(full_facts: ReportFacts) -> str:
    return render_html(full_facts)


def test_nothing_is_loaded_from_outside(full_html: str) -> None:
    page = Page(full_html)
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "img", "iframe"})
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [{}]
    for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
        assert all(value.startswith("#") for value in page.attributes(name))
    assert "://" not in full_html
    assert "@import" not in full_html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", full_html))


def test_the_legend_of_a_roc_curve_covers_no_curve(full_facts: ReportFacts) -> None:
    from matplotlib.figure import Figure

    assert isinstance(full_facts.metrics, MetricsFacts)
    plot = roc_curves(full_facts.metrics)[0]
    figure = Figure(figsize=(plot.width, plot.height), layout="constrained")
    ax = figure.add_subplot()
    plot.draw(ax)
    figure.draw_without_rendering()
    (legend,) = [*figure.legends, *filter(None, [ax.get_legend()])]
    assert not legend.get_window_extent().overlaps(ax.get_window_extent())


def test_ids_are_unique_and_references_resolve(full_html: str) -> None:
    page = Page(full_html)
    ids = list(page.attributes("id"))
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for value in page.attributes("href")}
    wanted |= set(re.findall(r"url\(#([^)]*)", full_html))
    assert wanted
    assert wanted <= set(ids)


def test_every_picture_is_told_in_words_and_every_table_has_headers(full_html: str) -> None:
    page = Page(full_html)
    figures = [a for tag, a in page.elements if tag == "figure"]
    # ROC and scores per class, two differences, three of rates, two turn-ons, the loss, the latency
    # by layer, two of variants
    assert len(figures) == 3 + 3 + 2 + 3 + 2 + 1 + 1 + 2
    assert all(a["role"] == "img" and len(str(a["aria-label"])) > 20 for a in figures)
    headers = [a for tag, a in page.elements if tag == "th"]
    assert headers
    assert all(a.get("scope") in {"col", "row"} for a in headers)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") > 10


def test_the_numbers_stand_in_the_page(full_html: str, full_facts: ReportFacts) -> None:
    words = Page(full_html).words
    assert isinstance(full_facts.metrics, MetricsFacts)
    accuracy = full_facts.metrics.models["firmware"].accuracy
    for expected in (
        "Same bits: yes 0 of 40,320 bits differ between NumPy simulator and csim, firmware.onnx. "
        "Not run: RTL.",
        "accuracy: passed 0.1 of 0.5 points lost",
        f"{100 * accuracy:.2f} %",
        "65 ns 13 cycles, 2.6 BX: RTL assumed, cycles measured by Verilator 5.48, "
        "clock assumed: the target",
        "Caveat: the clock of 200 MHz is above Fmax 160 MHz (estimated, alkaid's delay model): the "
        "worst stage takes 6.25 ns of 5 ns.",
        "fc1 47.5 1.9 9.5 47.5 4.8 % estimated, alkaid 0.8.2",
        "softmax 17.5 0.7 3.5 65 1.8 % estimated, alkaid 0.8.2",
        "RTL: shares add up.",
        "What 400 events (test split) do to the formats",
        "fc1 ap_fixed<4, 2> 4 of 4 4 0 0 0 1,234 77 0.289",
        "relu1 ap_fixed<4, 2> 3 of 4 3 1 5 9 * 0 4 none",
        "fc2 ap_fixed<4, 2> 0 of 4 0 2 0 0 0 proven none",
        "sum ap_fixed<4, 2> 0 of 4 0 2 not counted within an accumulator none",
        "root mean square: y 0.0025 (the model's answer 0.5).",
        "RTL 4 1 200 70.50 ± 0.50 900 0.05 % 40 LUT, ns estimated, alkaid 0.8.2",
        "HLS 6 1 200 74.50 ± 0.50 not run: no model of this layer",
        "fc1_out activation -1.5 3.25 ap_fixed<8, 3> 0.10 %",
        "y 0.125 0.01 4.5 99.50 %",
        "accuracy 0.7600 0.7550 -0.0050",
        "nextpnr, device LFE5U-85F",
        "LUT4 840 LUT4 synthesised, nextpnr 0.9 84,000 1.00 %",
        "LUT 75.00 %",
        "not run: no verilator found",
        "Vitis HLS, not run: no Vitis report in hls/",
        "3,100,000 events/s measured, numpy 2.4.1",
        "samebits demo --seed 7",
        "2026-03-14 15:09 UTC",
        "0 of 20,160",
    ):
        assert expected in words
    assert 'class="fill over" style="width:75.000%"' in full_html  # above the closure limit of 70 %
    assert 'style="left:70.0%"' in full_html
    assert 'aria-label="values that need 0 to 4 bits: 0, 3, 6, 12, 3"' in full_html
    bars = "<i></i>" + "".join(f'<i class="some" style="height:{n}%"></i>' for n in (25, 50, 100))
    assert bars in full_html


def test_names_cannot_inject(full_facts: ReportFacts) -> None:
    text = render_html(hostile(full_facts))
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert text.lower().count("<script") == 1
    assert page.words.count('<script>alert("1")</script>&amp;') > 10
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)


def test_what_was_not_run_says_so(bare_facts: ReportFacts) -> None:
    text = render_html(bare_facts)
    words = Page(text).words
    for reason in (
        "Bits not compared no verification in this run",
        "Metrics Not run: no labelled data in this run",
        "Trigger Not run: no rate measurement (samebits trigger) in this run",
        "Exported model Not run: no export check in this run",
        "Training Not run: no training in this run",
        "Bits in use Not run: no count of the bits in use in this run",
        "Calibration Not run: no calibration in this run",
        "Variants Not run: no sweep in this run",
        "Latency Not run: no latency estimate in this run",
        "Resources Not run: no resource estimate in this run",
    ):
        assert reason in words
    assert "<svg" not in text
    assert "Same bits" not in words


def test_a_mismatch_is_shouted(full_facts: ReportFacts) -> None:
    v = full_facts.verification
    assert isinstance(v, VerificationFacts)
    bad = v.engines[0].model_copy(
        update={"status": "MISMATCH", "mismatching_bits": 5, "detail": "layer fc1, event 3"}
    )
    verification = v.model_copy(update={"engines": (bad, *v.engines[1:])})
    unplotted = NotRun(reason="not needed here")
    changes = {"verification": verification, "metrics": unplotted, "training": unplotted}
    words = Page(render_html(full_facts.model_copy(update=changes))).words
    assert (
        "Same bits: NO Different from NumPy simulator: csim in 5 of 20,160 bits. "
        "Equal: firmware.onnx. Not run: RTL." in words
    )
    assert "First mismatch layer fc1, event 3" in words


def test_one_model_without_comparison(full_facts: ReportFacts) -> None:
    assert isinstance(full_facts.metrics, MetricsFacts)
    only = {"firmware": full_facts.metrics.models["firmware"]}
    metrics = MetricsFacts(split="test", tool="scikit-learn 1.9.1", models=only)
    words = Page(render_html(full_facts.model_copy(update={"metrics": metrics}))).words
    assert "Differences between models, not run: no comparison of several models" in words


def test_events_are_named_for_what_they_are(full_facts: ReportFacts) -> None:
    assert isinstance(full_facts.metrics, MetricsFacts)
    assert "All numbers are measured on the test split, " in Page(render_html(full_facts)).words
    models = {"firmware": full_facts.metrics.models["firmware"]}
    metrics = MetricsFacts(split="events of jets.npz", tool="scikit-learn 1.9.1", models=models)
    words = Page(render_html(full_facts.model_copy(update={"metrics": metrics}))).words
    assert "All numbers are measured on events of jets.npz, " in words
    assert f"{models['firmware'].events:,} events of jets.npz" in words


def test_fidelity_stands_with_the_exported_model(full_facts: ReportFacts) -> None:
    number = Quantity(value=0.25, unit="", kind="measured", tool="onnxruntime 1")
    row = OutputFidelityFacts(
        name="y", largest_difference=number, largest_output=number, equal_decisions=number
    )
    facts = full_facts.model_copy(update={"fidelity": FidelityFacts(events=2000, outputs=(row,))})
    assert "Firmware against model.onnx, 2,000 random events" in Page(render_html(facts)).words
    assert "no fidelity measurement in this run" in Page(render_html(full_facts)).words


def test_a_failed_gate_does_not_redden_the_bits(full_facts: ReportFacts) -> None:
    failed = Gate(name="latency budget", passed=False, detail="70 ns, budget 60 ns")
    good = [e for e in full_facts.verification.engines if e.status == "equal"]  # type: ignore[union-attr]
    same = VerificationFacts(reference="NumPy engine", engines=tuple(good))
    facts = full_facts.model_copy(update={"verification": same, "gates": (failed,)})
    page = render_html(facts)
    assert '<div class="verdict bad"' in page
    assert '<p class="head good">Same bits: yes</p>' in page
    assert '<p class="head bad">Gate failed: latency budget</p>' in page


def test_the_sections_can_be_jumped_to(full_facts: ReportFacts, bare_facts: ReportFacts) -> None:
    for facts in (full_facts, bare_facts):
        page = Page(render_html(facts))
        targets = [dict(a)["href"] for tag, a in page.elements if tag == "a"]
        ids = set(page.attributes("id"))
        assert targets
        assert all(target is not None and target[1:] in ids for target in targets)
