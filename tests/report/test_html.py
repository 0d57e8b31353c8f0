"""The HTML page: self-contained, escaped, the same bytes every time, right in a real browser."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from samebits import errors
from samebits.bits import BitFacts
from samebits.report import ReportFacts, plots, render_html, write_plots, write_report
from samebits.report.facts import (
    FidelityFacts,
    Gate,
    MetricsFacts,
    NotRun,
    OutputFidelityFacts,
    Quantity,
    VerificationFacts,
)
from samebits.report.html import _shade
from samebits.trigger import TriggerFacts

for module in ("jinja2", "matplotlib", "mplhep"):
    pytest.importorskip(module, reason=f"{module} is in the extra hep")

VOID = {"meta", "br", "wbr", "hr", "img", "link", "input"}
HOSTILE = '<script>alert("1")</script>&amp;\'$x_{$ --> _\\frac'


class Page(HTMLParser):
    """Elements with their attributes, the text, and a check that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "script"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def attributes(self, name: str) -> Iterator[str]:
        for _, attributes in self.elements:
            if attributes.get(name) is not None:
                yield str(attributes[name])


@pytest.fixture(scope="module")
def full_html(full_facts: ReportFacts) -> str:
    return render_html(full_facts)


def hostile(facts: ReportFacts) -> ReportFacts:
    """The same facts with every name that a file can bring replaced by a hostile one."""
    assert isinstance(facts.metrics, MetricsFacts)
    assert isinstance(facts.verification, VerificationFacts)
    models = {}
    for name, metrics in facts.metrics.models.items():
        names = (HOSTILE, *metrics.class_names[1:])
        classes = tuple(
            dataclasses.replace(c, name=n) for c, n in zip(metrics.classes, names, strict=True)
        )
        models[f"_{HOSTILE}{name}"] = dataclasses.replace(
            metrics, class_names=names, classes=classes
        )
    trigger = facts.trigger
    assert isinstance(trigger, TriggerFacts)
    assert isinstance(facts.bits, BitFacts)
    scores = {
        f"_{HOSTILE}{name}": model.model_copy(
            update={
                "turn_ons": {HOSTILE: model.turn_ons["t"]},
                "points": tuple(
                    dataclasses.replace(
                        point,
                        efficiency=dict.fromkeys([HOSTILE], point.efficiency.get("t")),
                        signal_at_cut=dict.fromkeys([HOSTILE], point.signal_at_cut.get("t")),
                    )
                    for point in model.points
                ),
            }
        )
        for name, model in trigger.models.items()
    }
    layers = tuple(
        layer.model_copy(update={"name": HOSTILE, "class_name": HOSTILE, "result_format": HOSTILE})
        for layer in facts.layers
    )
    return facts.model_copy(
        update={
            "design": HOSTILE,
            "commands": (HOSTILE,),
            "versions": {HOSTILE: HOSTILE},
            "layers": layers,
            "metrics": facts.metrics.model_copy(update={"models": models}),
            "verification": facts.verification.model_copy(
                update={
                    "engines": tuple(
                        e.model_copy(
                            update={
                                "detail": HOSTILE,
                                "status": "MISMATCH",
                                "mismatching_bits": 1,
                                "event_sets": tuple(
                                    s.model_copy(update={"kind": HOSTILE}) for s in e.event_sets
                                ),
                            }
                        )
                        for e in facts.verification.ran
                    )
                }
            ),
            "gates": (Gate(name=HOSTILE, passed=False, detail=HOSTILE),),
            "trigger": trigger.model_copy(
                update={
                    **dict.fromkeys(("score", "unbiased", "offline"), HOSTILE),
                    "signals": {HOSTILE: 400},
                    "models": scores,
                    "differences": tuple(
                        dataclasses.replace(d, model=HOSTILE, reference=HOSTILE, signal=HOSTILE)
                        for d in trigger.differences
                    ),
                }
            ),
            "latency": NotRun(reason=HOSTILE),
            "bits": facts.bits.model_copy(
                update={
                    "data": HOSTILE,
                    "layers": tuple(
                        dataclasses.replace(row, layer=HOSTILE, format=HOSTILE)
                        for row in facts.bits.layers
                    ),
                }
            ),
        }
    )


def test_nothing_is_loaded_from_outside(full_html: str) -> None:
    page = Page(full_html)
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "img", "iframe"})
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [{}]
    for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
        assert all(value.startswith("#") for value in page.attributes(name))
    assert "://" not in full_html
    assert "@import" not in full_html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", full_html))


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
        "65 ns 13 cycles, 2.6 BX: RTL measured, Verilator 5.48",
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


def luminance(colour: str) -> float:
    """Relative luminance. Source: WCAG 2.2, definition of relative luminance."""
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_text_has_enough_contrast_in_light_dark_and_print(full_html: str) -> None:
    schemes = re.findall(r":root \{([^}]*)\}", full_html)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", scheme))
        pairs = [(name, "paper") for name in ("ink", "soft", "good", "bad", "open", "accent")]
        pairs += [(name, f"{name}-tint") for name in ("good", "bad", "open")]
        pairs += [("ink", f"{name}-tint") for name in ("good", "bad", "open")] + [("ink", "tint")]
        for text, behind in pairs:
            one, other = sorted((luminance(colours[text]), luminance(colours[behind])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (text, behind)


def test_plots_as_files(full_facts: ReportFacts, tmp_path: Path) -> None:
    few = NotRun(reason="not needed here")
    facts = full_facts.model_copy(update={"metrics": few, "training": few, "trigger": few})
    old = tmp_path / "plots"
    old.mkdir()
    for name in ("roc-0.png", "mine.txt"):
        (old / name).write_text("of an earlier report")
    assert write_plots(facts, tmp_path) == old
    plots = ("resources", "variants-lut", "variants-ns", "waterfall-0")
    names = [f"{plot}.{kind}" for plot in plots for kind in ("pdf", "png")]
    assert sorted(path.name for path in old.iterdir()) == sorted(("mine.txt", *names))
    first = {name: (old / name).read_bytes() for name in names}
    assert first["resources.pdf"].startswith(b"%PDF-")
    assert first["resources.png"].startswith(b"\x89PNG")
    write_plots(facts, tmp_path)
    assert {name: (old / name).read_bytes() for name in names} == first


def test_same_facts_same_bytes(full_facts: ReportFacts, tmp_path: Path) -> None:
    first = write_report(full_facts, tmp_path / "a")
    # Another process with another hash seed starts from the JSON of the first.
    code = (
        "import sys; from samebits.report import read_facts, write_report;"
        "write_report(read_facts(sys.argv[1]), sys.argv[2])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(first.json), str(tmp_path / "b")],
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
    )
    for path in (first.html, first.json):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_interrupted_write_leaves_the_old_files(
    bare_facts: ReportFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_report(bare_facts, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert set(before) == {"report.html", "report.json"} == {files.html.name, files.json.name}

    def full_disk(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(errors.BuildError, match="No space left on device; give a folder"):
        write_report(bare_facts.model_copy(update={"design": "other"}), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made(bare_facts: ReportFacts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.BuildError, match=r"^cannot write the report into .*Not a directory"):
        write_report(bare_facts, tmp_path / "file" / "build")


def test_a_missing_package_names_the_extra(
    full_facts: ReportFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mplhep", None)
    with pytest.raises(
        errors.MissingToolError, match=r'need mplhep.*pip install "samebits\[hep\]"'
    ):
        render_html(full_facts)


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def chromium(folder: Path, page: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars"
    )
    result = subprocess.run(
        [
            CHROMIUM,
            *flags.split(),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder / 'profile'}",
            *arguments,
            page.as_uri(),
        ],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    return result.stdout


# A copy of the page in a frame of the width under test measures its layout, and sorts a table.
PROBE = """<script>
const all = (what) => [...document.querySelectorAll(what)];
const sorts = () => {
  const table = all("table").find((t) => t.caption.textContent.startsWith("Latency by layer"));
  if (!table) return null;
  const heading = table.tHead.rows[0].cells[1];
  return [1, 2, 3].map(() => {
    heading.querySelector("button").click();
    const names = [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
    return [heading.getAttribute("aria-sort"), ...names];
  });
};
parent.postMessage({
  name: location.pathname.split("/").pop() + " at " + innerWidth,
  sideways: document.documentElement.scrollWidth > innerWidth,
  tiny: all("svg").filter((s) => s.getBoundingClientRect().width < 200).length,
  sorts: sorts(),
  clipped: all(".card, .verdict, h1, dd").filter((c) => c.scrollWidth > c.clientWidth + 1).length,
}, "*");
</script></body>"""
COLLECT = """<!DOCTYPE html><title></title><pre></pre><script>
const got = [];
onmessage = (event) => {
  got.push(event.data);
  document.querySelector("pre").textContent = JSON.stringify(got);
};
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_it_without_sideways_scrolling(
    full_facts: ReportFacts, bare_facts: ReportFacts, tmp_path: Path
) -> None:
    pages = {"full": full_facts, "hostile": hostile(full_facts), "bare": bare_facts}
    widths = (1280, 390)
    frames = ""
    for name, facts in pages.items():
        text = render_html(facts).replace("</body>", PROBE)
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        for width in widths:
            style = f"width:{width}px;height:2000px;border:0"
            frames += f'<iframe src="{name}.html" style="{style}"></iframe>'
    top = tmp_path / "top.html"
    top.write_text(COLLECT + frames, encoding="utf-8")
    dom = chromium(
        tmp_path, top, "--window-size=1400,2000", "--virtual-time-budget=5000", "--dump-dom"
    )
    listed = re.search(r"<pre>(.*?)</pre>", dom)
    assert listed is not None
    results = {r.pop("name"): r for r in json.loads(html.unescape(listed.group(1)))}
    sorted_by_latency = [results[f"full.html at {width}"]["sorts"] for width in widths]
    assert sorted_by_latency == 2 * [
        [
            ["ascending", "relu1", "softmax", "fc1"],
            ["descending", "fc1", "softmax", "relu1"],
            [None, "fc1", "relu1", "softmax"],
        ]
    ]
    for result in results.values():
        del result["sorts"]
    fine = {"sideways": False, "tiny": 0, "clipped": 0}
    assert results == {f"{name}.html at {width}": fine for name in pages for width in widths}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_prints_it(full_facts: ReportFacts, tmp_path: Path) -> None:
    files = write_report(full_facts, tmp_path)
    target = tmp_path / "report.pdf"
    chromium(tmp_path, files.html, "--no-pdf-header-footer", f"--print-to-pdf={target}")
    pdf = target.read_bytes()
    assert pdf.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 2 <= pages <= 8
    # A4 in points, as the style sheet asks.
    boxes = set(re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf))
    assert {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}


def colours() -> dict[str, dict[str, str]]:
    """The custom properties of the style sheet, light and dark."""
    css = (Path(plots.__file__).parent / "report.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)[:2]
    return {
        name: dict(re.findall(r"--([\w-]+): (#\w+)", text))
        for name, text in (("light", light), ("dark", dark))
    }


def contrast(a: str, b: str) -> float:
    """Contrast ratio by WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_has_contrast_in_light_and_dark() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    texts = ("ink", "soft", "good", "bad", "open", "accent")
    tinted = ("ink", "good", "bad", "open")
    for palette in colours().values():
        pairs = [(text, "paper") for text in texts]
        pairs += [("ink", "tint"), ("soft", "tint")]
        pairs += [(text, f"{box}-tint") for text in tinted for box in ("good", "bad", "open")]
        poor = [pair for pair in pairs if contrast(palette[pair[0]], palette[pair[1]]) < 4.5]
        assert poor == []


def test_numbers_on_the_heat_map_have_contrast() -> None:
    for step in range(101):
        background, text = re.findall(r"#\w+", _shade(step / 100))
        assert contrast(background, text) >= 4.5


def test_lines_of_three_models_have_contrast_on_paper() -> None:
    assert all(contrast(plots.colour_of(k), "#ffffff") >= 3 for k in range(3))


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
