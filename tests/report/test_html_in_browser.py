"""The HTML page in a real browser, on screen and on paper; not run where there is no Chromium."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from samebits.report import ReportFacts, render_html, write_report

from .pages import hostile

for module in ("jinja2", "matplotlib", "mplhep"):
    pytest.importorskip(module, reason=f"{module} is in the extra hep")

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
