"""A comparison of two designs as one self-contained HTML page, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samebits import __version__

from . import plots, rates
from .facts import MetricsFacts, NotRun, Quantity
from .html import template
from .wording import format_number, format_points, format_share

if TYPE_CHECKING:
    from samebits.compare import ComparisonFacts, NumberRow

__all__ = ["MetricRow", "change", "comparison_html", "metric_rows", "verdict"]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of both designs, written out; b minus a with its intervals."""

    what: str
    a: str
    b: str
    change: str
    interval_68: str
    interval_95: str


def verdict(facts: ComparisonFacts) -> tuple[str, str]:
    """Whether the two are the same firmware, in one short line, and a sentence."""
    if facts.same:
        return "The same firmware", "The fixed-point graphs and the targets are the same."
    if isinstance(facts.bits, NotRun):
        return "Different firmware", f"Bits not compared: {facts.bits.reason}."
    events, different = facts.bits.events, facts.bits.different_events
    if not different:
        return (
            "Different firmware, the same answers",
            f"All outputs agree on {events:,} events ({facts.bits.what}); no proof for others.",
        )
    decided = [o.decisions for o in facts.bits.outputs if o.decisions is not None]
    more = f"; {sum(decided):,} decisions differ" if decided else ""
    share = f"{format_share(different / events)}, {facts.bits.what}"
    return (
        "Different answers",
        f"{different:,} of {events:,} events ({share}) get another answer{more}.",
    )


def metric_rows(metrics: MetricsFacts) -> list[MetricRow]:
    """Accuracy in per cent and points, AUC per class as fractions."""
    comparison = metrics.comparison
    assert not isinstance(comparison, NotRun)
    first, second = metrics.models.values()
    rows = []
    for d in comparison.differences:
        if d.class_name is None:
            values = [format_share(model.accuracy) for model in (first, second)]
            numbers = [
                format_points(n) for n in (d.value, d.low_68, d.high_68, d.low_95, d.high_95)
            ]
            what, unit = "accuracy", " points"
        else:
            place = metrics.models[d.model].class_names.index(d.class_name)
            values = [f"{model.classes[place].auc:.4f}" for model in (first, second)]
            numbers = [_signed(n) for n in (d.value, d.low_68, d.high_68, d.low_95, d.high_95)]
            what, unit = f"AUC {d.class_name}", ""
        value, low_68, high_68, low_95, high_95 = numbers
        rows.append(
            MetricRow(
                what,
                values[0],
                values[1],
                value + unit,
                f"{low_68} to {high_68}",
                f"{low_95} to {high_95}",
            )
        )
    return rows


def _signed(value: float) -> str:
    """Five decimals with their sign; what rounds to zero has none."""
    text = f"{value:+.5f}"
    return text[1:] if float(text) == 0 else text


def change(row: NumberRow) -> str:
    """From a to b: the difference and per cent; empty where a number is missing."""
    if not (isinstance(row.a, Quantity) and isinstance(row.b, Quantity)):
        return ""
    difference = row.b.value - row.a.value
    if not difference:
        return "none"
    sign = "+" if difference > 0 else "-"
    text = f"{sign}{format_number(abs(difference))}"
    return f"{text} ({100 * difference / row.a.value:+.1f} %)" if row.a.value else text


def comparison_html(facts: ComparisonFacts) -> str:
    """The whole page; the same facts give the same text.

    Raises: MissingToolError without jinja2, matplotlib or mplhep.
    """
    names = "roc", "scores", "differences", "response", "rates", "turn_on", "menu"
    drawn: dict[str, list[plots.Plot]] = {name: [] for name in names}
    rows: list[MetricRow] = []
    if not isinstance(facts.metrics, NotRun):
        rows = metric_rows(facts.metrics)
        drawn["roc"] = plots.roc_curves(facts.metrics)
        drawn["scores"] = plots.score_histograms(facts.metrics)
        assert not isinstance(facts.metrics.comparison, NotRun)
        drawn["differences"] = plots.differences(facts.metrics.comparison)
    if not isinstance(facts.regression, NotRun):
        drawn["response"] = plots.responses(facts.regression)
    if not isinstance(facts.trigger, NotRun):
        drawn["rates"] = rates.rate_plots(facts.trigger)
        drawn["turn_on"] = rates.turn_on_plots(facts.trigger)
    if not isinstance(facts.menu, NotRun):
        drawn["menu"] = rates.menu_plots(facts.menu)
    text: str = template("compare.html.j2").render(
        c=facts,
        facts=facts,  # as the report's own sections call it
        max_turn_ons=rates.MAX_TURN_ONS,
        words=verdict(facts),
        metric_rows=rows,
        plots=drawn,
        zip=zip,
        change=change,
        version=__version__,
    )
    return text
