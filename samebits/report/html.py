"""The report as one self-contained HTML page."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from samebits import errors
from samebits.trigger import TriggerFacts

from . import hardware, pareto, plots, rates, tuning
from .facts import (
    BUNCH_CROSSING_NS,
    LatencyEstimate,
    MetricsFacts,
    NotRun,
    Quantity,
    RegressionFacts,
    ReportFacts,
    ResourceEstimate,
)
from .wording import (
    budget_words,
    chi_words,
    clock_caveat,
    failed_gates,
    format_number,
    format_points,
    format_quantity,
    format_share,
    loss_words,
    origin,
    verdict_words,
)

__all__ = ["plots_of", "render_html", "template"]

_FOLDER = Path(__file__).parent
_WHITE_TEXT = 0.765  # of the heat map


@dataclass(frozen=True)
class Card:
    """One key figure of the head of the page."""

    title: str
    value: str
    detail: str
    origin: str
    is_run: bool = True
    caveat: str = ""


@dataclass(frozen=True)
class Bar:
    """A share of something, drawn as a bar from 0 to 100 % with an optional mark."""

    share: float
    limit: float | None

    @property
    def width(self) -> str:
        return f"{min(max(100 * self.share, 0), 100):.3f}%"

    @property
    def mark(self) -> str | None:
        return None if self.limit is None else f"{100 * self.limit:.1f}%"

    @property
    def is_over(self) -> bool:
        return self.share > (1 if self.limit is None else self.limit)


def render_html(facts: ReportFacts) -> str:
    """The whole page; the same facts give the same text.

    Raises: MissingToolError without jinja2, or without matplotlib or mplhep where there is
    something to plot.
    """
    text: str = template("report.html.j2").render(
        facts=facts,
        verdict=_verdict(facts),
        cards=_cards(facts),
        sections=_sections(facts),
        plots=plots_of(facts),
        max_classes=plots.MAX_CLASSES,
        max_turn_ons=rates.MAX_TURN_ONS,
    )
    return text


def _sections(facts: ReportFacts) -> list[tuple[str, str, Any]]:
    """The sections of the page in its order: id, title, and what they hold."""
    found: list[tuple[str, str, Any]] = [
        ("metrics", "Metrics", facts.metrics),
        ("trigger", "Trigger", facts.trigger),
        ("verification", "Verification", facts.verification),
        ("layers", "Formats", facts.layers),
        ("bits", "Bits in use", facts.bits),
        ("export", "Exported model", facts.export),
        ("calibration", "Calibration", facts.calibration),
        ("latency", "Latency", facts.latency),
        ("resources", "Resources", facts.resources),
        ("variants", "Variants", facts.variants),
        ("training", "Training", facts.training),
        ("performance", "Speed", facts.performance),
        ("provenance", "Provenance", facts.commands),
    ]
    if not isinstance(facts.regression, NotRun):
        found[0] = ("regression", "Regression", facts.regression)
    if facts.adapter is not None:
        found.insert(3, ("adapter", "Input adapter", facts.adapter))
    if facts.tuning is not None:
        found.insert(-3, ("tuning", "Tuning", facts.tuning))  # before the training
    if isinstance(facts.trigger, NotRun) and not isinstance(facts.menu, NotRun):
        found[1] = ("trigger", "Trigger", facts.menu)
    return found


def plots_of(facts: ReportFacts) -> dict[str, list[plots.Plot]]:
    """All plots of a report by what they show; an empty list where there is nothing to plot."""
    names = (
        *("roc", "scores", "differences", "response", "rates", "turn_on", "menu"),
        *("training", "latency", "resources", "variants", "tuning"),
    )
    found: dict[str, list[plots.Plot]] = {name: [] for name in names}
    if not isinstance(facts.metrics, NotRun):
        found["roc"] = plots.roc_curves(facts.metrics)
        found["scores"] = plots.score_histograms(facts.metrics)
        if not isinstance(facts.metrics.comparison, NotRun):
            found["differences"] = plots.differences(facts.metrics.comparison)
    if not isinstance(facts.regression, NotRun):
        found["response"] = plots.responses(facts.regression)
    if not isinstance(facts.trigger, NotRun):
        found["rates"] = rates.rate_plots(facts.trigger)
        found["turn_on"] = rates.turn_on_plots(facts.trigger)
    if not isinstance(facts.menu, NotRun):
        found["menu"] = rates.menu_plots(facts.menu)
    if not isinstance(facts.training, NotRun):
        found["training"] = plots.training_curves(facts.training)
    if not isinstance(facts.latency, NotRun):
        found["latency"] = hardware.waterfalls(facts.latency)
    if not isinstance(facts.resources, NotRun):
        found["resources"] = hardware.resource_bars(facts.resources)
    if not isinstance(facts.variants, NotRun):
        budget = getattr(facts.latency, "budget_ns", None)
        limit = budget.value if isinstance(budget, Quantity) else None
        found["variants"] = pareto.panels(facts.variants, limit)
    if facts.tuning is not None:
        found["tuning"] = tuning.panels(facts.tuning)
    return found


def _verdict(facts: ReportFacts) -> dict[str, Any]:
    """The verdict on the bits and, apart from it, on the gates; the box has the worse colour."""
    head, tail = verdict_words(facts)
    bits = {True: "good", False: "bad", None: "open"}[facts.same_bits]
    return {
        "head": head,
        "tail": tail,
        "bits": bits,
        "failed": failed_gates(facts),
        "state": bits if facts.passed else "bad",
    }


def _cards(facts: ReportFacts) -> list[Card]:
    physics = [_accuracy_card(facts)]
    if isinstance(facts.trigger, TriggerFacts):
        physics.append(_trigger_card(facts.trigger))
    return [_bits_card(facts), *physics, _latency_card(facts), _resource_card(facts)]


def _bits_card(facts: ReportFacts) -> Card:
    v = facts.verification
    if isinstance(v, NotRun) or not v.ran:
        return Card("Mismatching bits", "not run", verdict_words(facts)[1], "", is_run=False)
    events = max(e.events for e in v.ran)
    return Card(
        "Mismatching bits",
        f"{v.mismatching_bits:,}",
        f"of {v.bits_compared:,} compared, {events:,} events",
        "measured, " + ", ".join(dict.fromkeys(e.tool for e in v.ran)),
    )


def _error_card(facts: RegressionFacts) -> Card:
    comparison = facts.comparison
    name, targets = list(comparison.models.items())[-1]
    target, found = next(iter(targets.items()))
    detail = f"{comparison.events:,} events, {target}"
    for d in comparison.differences:
        if (d.model, d.target, d.quantity) == (name, target, "rms"):
            detail = (
                f"{target}: {d.value:+.3g} to {comparison.reference} "
                f"({d.low_95:+.3g} to {d.high_95:+.3g} at 95 %)"
            )
    return Card(f"RMS error, {name}", f"{found.rms.value:.4g}", detail, f"measured, {facts.tool}")


def _accuracy_card(facts: ReportFacts) -> Card:
    if not isinstance(facts.regression, NotRun):
        return _error_card(facts.regression)
    if isinstance(facts.metrics, NotRun):
        return Card("Accuracy", "not run", facts.metrics.reason, "", is_run=False)
    name, metrics = list(facts.metrics.models.items())[-1]
    if facts.metrics.no_decision:
        return _auc_card(facts.metrics)
    split = facts.metrics.split
    detail = f"{metrics.events:,} {'test events' if split == 'test' else split}"
    comparison = facts.metrics.comparison
    if not isinstance(comparison, NotRun):
        for d in comparison.differences:
            if d.model == name and d.class_name is None:
                detail = (
                    f"{format_points(d.value)} points to {comparison.reference} "
                    f"({format_points(d.low_95)} to {format_points(d.high_95)} at 95 %)"
                )
    return Card(
        f"Accuracy, {name}",
        format_share(metrics.accuracy),
        detail,
        f"measured, {facts.metrics.tool}",
    )


def _auc_card(facts: MetricsFacts) -> Card:
    """The last class against the rest, where no score decides."""
    name, metrics = list(facts.models.items())[-1]
    last = metrics.classes[-1]
    detail = f"{last.name}, {metrics.events:,} events"
    if not isinstance(facts.comparison, NotRun):
        for d in facts.comparison.differences:
            if (d.model, d.class_name) == (name, last.name):
                detail = (
                    f"{last.name}: {d.value:+.4f} to {facts.comparison.reference} "
                    f"({d.low_95:+.4f} to {d.high_95:+.4f} at 95 %)"
                )
    return Card(f"AUC, {name}", f"{last.auc:.4f}", detail, f"measured, {facts.tool}")


def _trigger_card(facts: TriggerFacts) -> Card:
    """The first signal at the tightest of the asked rates that the last model reaches."""
    name, model = list(facts.models.items())[-1]
    signal = next(iter(facts.signals))
    reached = [point for point in model.points if point.rate_khz is not None]
    if not reached:
        return Card("Trigger", "not run", "no cut is tight enough for the rates", "", is_run=False)
    point = min(reached, key=lambda one: one.asked_khz)
    found = point.efficiency[signal]
    detail = f"{format_share(found.low)} to {format_share(found.high)} at 68 %"
    for d in facts.differences:
        if (d.model, d.signal, d.asked_khz) == (name, signal, point.asked_khz):
            detail = (
                f"{format_points(d.value)} points to {d.reference} "
                f"({format_points(d.low_95)} to {format_points(d.high_95)} at 95 %)"
            )
    return Card(
        f"Efficiency of {signal} at {point.asked_khz:g} kHz, {name}",
        format_share(found.value),
        detail,
        f"measured on {facts.unbiased_events:,} unbiased events, assumed beam",
    )


def _latency_card(facts: ReportFacts) -> Card:
    if isinstance(facts.latency, NotRun):
        return Card("Latency", "not run", facts.latency.reason, "", is_run=False)
    estimate = facts.latency.headline
    if estimate is None:
        first = facts.latency.estimates[:2]  # the table has all
        reasons = "; ".join(f"{e.source}: {origin(e.latency_ns)}" for e in first)
        return Card("Latency", "not run", reasons, "", is_run=False)
    parts = (estimate.cycles, estimate.bunch_crossings)
    detail = f"{', '.join(map(format_quantity, parts))}: {estimate.source}"
    return Card(
        "Latency",
        format_quantity(estimate.latency_ns),
        detail,
        origin(estimate.latency_ns),
        caveat=clock_caveat(estimate),
    )


def _resource_card(facts: ReportFacts) -> Card:
    resources = facts.resources
    if isinstance(resources, NotRun):
        return Card("Logic", "not run", resources.reason, "", is_run=False)
    estimate = resources.headline
    used = estimate.used.get("LUT") if estimate else None
    if estimate is None or not isinstance(used, Quantity):
        reason = origin(used) if used else "no tool gave a number of LUTs"
        return Card("Logic", "not run", reason, "", is_run=False)
    shares = [
        f"{name} {format_share(share)}"
        for name in ("LUT", "FF")
        if (share := resources.share(estimate, name)) is not None
    ]
    detail = f"{', '.join(shares)} of {resources.part}" if shares else resources.part
    return Card("Logic", format_quantity(used), detail, origin(used))


def _resource_bar(facts: Any, estimate: Any, name: str) -> Bar | None:
    share = facts.share(estimate, name)
    limits = {} if estimate.device else facts.closure_limits  # they are of AMD's parts
    return None if share is None else Bar(share, limits.get(name))


def _has_numbers(estimate: ResourceEstimate) -> bool:
    return not estimate.device and any(isinstance(u, Quantity) for u in estimate.used.values())


def _budget_bar(estimate: LatencyEstimate, budget: Any) -> Bar | None:
    if not (isinstance(estimate.latency_ns, Quantity) and isinstance(budget, Quantity)):
        return None
    return Bar(estimate.latency_ns.value / budget.value, None) if budget.value else None


def _shade(fraction: float) -> str:
    """Inline colours of a cell of the heat map: white to dark blue, text with enough contrast."""
    low, high = (255, 255, 255), (24, 78, 151)
    r, g, b = (
        round(a + (z - a) * min(max(fraction, 0.0), 1.0)) for a, z in zip(low, high, strict=True)
    )
    # black and white have at least 4.5 to 1 on either side of this shade
    return f"background:#{r:02x}{g:02x}{b:02x};color:{'#fff' if fraction > _WHITE_TEXT else '#000'}"


def _breakable(text: str, after: str = ",") -> Any:
    """Escaped text in which a line may break after a comma as in formats, or after `after`."""
    from markupsafe import Markup, escape

    parts = text.replace(after, f"{after}\0").split("\0")
    return Markup("<wbr>").join(escape(part) for part in parts)


def _bit_heights(used: tuple[int, ...]) -> list[str]:
    """Heights of a histogram's bars: of the most frequent number of bits, and no bar for none."""
    most = max((*used, 1))
    return [f"{100 * count / most:.0f}%" if count else "" for count in used]


def _decibels(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape) or "scalar"


@cache
def template(name: str) -> Any:
    """A template of this folder, with the filters, styles and script of every page."""
    try:
        import jinja2
    except ImportError as error:
        raise errors.MissingToolError(
            'the report needs jinja2, which is not installed: pip install "samebits[hep]"'
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["not_run"] = lambda value: isinstance(value, NotRun)
    environment.filters.update(
        has_numbers=_has_numbers,
        number=format_number,
        share=format_share,
        points=format_points,
        quantity=format_quantity,
        origin=origin,
        shade=_shade,
        shape=_shape,
        decibels=_decibels,
        bit_heights=_bit_heights,
        breakable=_breakable,
    )
    environment.globals.update(
        css=(_FOLDER / "report.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "report.js").read_text(encoding="utf-8"),
        budget_words=budget_words,
        chi_words=chi_words,
        clock_caveat=clock_caveat,
        loss_words=loss_words,
        bx_ns=BUNCH_CROSSING_NS,
        resource_bar=_resource_bar,
        budget_bar=_budget_bar,
    )
    return environment.get_template(name)
