"""The trigger's numbers in the page, in the plots and in the terminal."""

import io
from math import sqrt

import pytest
from rich.console import Console

from samebits.report import ReportFacts, render_html, render_terminal
from samebits.report.html import plots_of
from samebits.report.wording import format_number, format_share
from samebits.trigger import TriggerFacts

for module in ("jinja2", "matplotlib", "mplhep", "scipy"):
    pytest.importorskip(module, reason=f"{module} is in the extra hep")


@pytest.fixture(scope="module")
def trigger(full_facts: ReportFacts) -> TriggerFacts:
    assert isinstance(full_facts.trigger, TriggerFacts)
    return full_facts.trigger


@pytest.fixture(scope="module")
def only_trigger(bare_facts: ReportFacts, trigger: TriggerFacts) -> ReportFacts:
    return bare_facts.model_copy(update={"trigger": trigger})


def cells(text: str, *words: str) -> list[str]:
    """The rows of the page's tables, cells joined by |, in which all words stand."""
    import re

    rows = []
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text, flags=re.DOTALL):
        found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)
        plain = [re.sub(r"<[^>]*>", "", cell).strip() for cell in found]
        if set(words) <= set(plain):
            rows.append("|".join(plain))
    return rows


def test_every_cut_is_a_row(only_trigger: ReportFacts, trigger: TriggerFacts) -> None:
    text = render_html(only_trigger)
    point = trigger.models["firmware"].points[1]
    assert point.threshold is not None
    assert point.rate_khz is not None
    assert point.next_rate_khz is not None
    rate, part = point.rate_khz, point.efficiency["t"]
    expected = (
        f"2000|firmware|{point.threshold:.6g}|{format_number(rate.value)}|"
        f"{format_number(rate.low)} to {format_number(rate.high)}|"
        f"{format_number(point.next_rate_khz)}|{point.unbiased_passed}|"
        f"{point.unbiased_at_cut}, {point.signal_at_cut['t']}|{format_share(part.value)}|"
        f"{format_share(part.low)} to {format_share(part.high)}"
    )
    assert expected in cells(text, "2000", "firmware")
    tightest = trigger.models["firmware"].points[0].next_rate_khz
    assert tightest is not None
    assert tightest > 100
    row = f"100|firmware|even the tightest cut exceeds this rate|{format_number(tightest)}||||"
    assert cells(text, "100", "firmware")[0] == row
    assert "2000|firmware|t|-1.25|-2.00 to -0.50|-3.00 to +1.00" in cells(text, "-1.25")
    assert "500 unbiased events (zb.root)" in text
    assert "26,315 kHz of crossings" in text
    assert "firmware 17, 0.0625." in text


def test_turn_ons_are_fitted_or_say_why_not(
    only_trigger: ReportFacts, trigger: TriggerFacts
) -> None:
    text = render_html(only_trigger)
    curve = trigger.models["firmware"].turn_ons["t"][1]
    assert curve is not None
    assert curve.fit is not None
    rows = cells(text, "t", "firmware", "2000")
    assert any(f"2000|firmware|{curve.fit.plateau:.3f} ±" in row for row in rows)
    assert "t|100|firmware|this rate cannot be reached" in cells(text, "t", "100", "firmware")
    bare = {
        name: model.model_copy(update={"turn_ons": {}}) for name, model in trigger.models.items()
    }
    without = trigger.model_copy(update={"models": bare, "offline": "", "differences": ()})
    page = render_html(only_trigger.model_copy(update={"trigger": without}))
    assert "<strong>Not run:</strong> no --offline column was given" in page
    assert "not run:</strong> no rate was reached" in page


def test_plots_draw_the_curves_as_recorded(
    only_trigger: ReportFacts, trigger: TriggerFacts
) -> None:
    from matplotlib.figure import Figure

    found = plots_of(only_trigger)
    assert [plot.name for plot in found["rates"]] == [
        "rate",
        "rate-efficiency-0",
        "difference-efficiency-0",
    ]
    assert [plot.name for plot in found["turn_on"]] == ["turn-on-0-0", "turn-on-0-1"]
    axes = Figure().add_subplot()
    found["rates"][0].draw(axes)
    curve = trigger.models["firmware"].curve
    drawn = next(line for line in axes.lines if line.get_label() == "firmware")
    assert drawn.get_drawstyle() == "steps-pre"  # all 17 levels are there
    assert list(drawn.get_xdata()) == sorted(curve.thresholds)
    assert list(drawn.get_ydata()) == sorted(curve.rates_khz, reverse=True)
    assert axes.get_yscale() == "log"
    axes = Figure().add_subplot()
    found["turn_on"][1].draw(axes)
    turn_on = trigger.models["firmware"].turn_ons["t"][1]
    assert turn_on is not None
    assert turn_on.fit is not None
    line = next(line for line in axes.lines if line.get_label() == "firmware, fit")
    half, width, plateau = turn_on.fit.half, turn_on.fit.width, turn_on.fit.plateau
    x, y = line.get_xdata(), line.get_ydata()
    nearest = min(range(len(x)), key=lambda i: abs(x[i] - half))
    slope = plateau / (width * sqrt(6.283185307179586))
    assert abs(y[nearest] - plateau / 2 - slope * (x[nearest] - half)) < 1e-3
    assert f"plateau {plateau:.3f}" in found["turn_on"][1].alt


def test_one_score_and_one_model(only_trigger: ReportFacts, trigger: TriggerFacts) -> None:
    from samebits.sim.trigger import Beam, point_at_rate, rate_curve

    beam = Beam(2340)
    model = trigger.models["firmware"].model_copy(
        update={
            "curve": rate_curve([1.0] * 20, beam),
            "points": (point_at_rate([1.0] * 20, {"t": [1.0]}, beam, 100),),
            "turn_ons": {},
        }
    )
    facts = trigger.model_copy(update={"models": {"firmware": model}, "differences": ()})
    page = render_html(only_trigger.model_copy(update={"trigger": facts}))
    assert "Differences between models, not run:</strong> there is one model" in page
    assert "no rate is reached" in page


def test_the_terminal_has_the_firmware_cuts(only_trigger: ReportFacts) -> None:
    stream = io.StringIO()
    Console(file=stream, width=300).print(render_terminal(only_trigger))
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    cut = next(line for line in lines if line.startswith("trigger firmware, 2000 kHz"))
    assert "-1.25 points to float, 95 %: -3.00 to +1.00" in cut
    assert any(line.startswith("turn-on of t in pt: plateau ") for line in lines)
    assert any("100 kHz even the tightest cut exceeds this rate" in line for line in lines)
