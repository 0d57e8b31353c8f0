"""The closing table in the terminal."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .facts import BUNCH_CROSSING_NS, NotRun, Quantity, RegressionFacts, ReportFacts
from .wording import (
    budget_words,
    clock_caveat,
    failed_gates,
    format_number,
    format_points,
    format_quantity,
    format_share,
    loss_words,
    origin,
    turn_on_words,
    verdict_words,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["render_terminal"]

_Row = Callable[..., None]
_BAR_WIDTH = 40
_COLOURS = {"equal": "green", "MISMATCH": "bold red", "not run": "yellow"}


def render_terminal(facts: ReportFacts) -> "RenderableType":
    """Verdict, engines, accuracy, latency, resources, gates, for `rich.console.Console.print`."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head, tail = verdict_words(facts)
    colour = {True: "bold green", False: "bold red", None: "bold yellow"}[facts.same_bits]
    failed = failed_gates(facts)
    table = Table(
        title=Text(_clean(facts.design)), title_justify="left", show_header=False, box=None
    )
    table.add_column(style="bold", max_width=30, overflow="fold")
    table.add_column(overflow="fold")
    table.add_column(style="dim", overflow="fold")

    def row(name: str, value: str, source: str = "", style: str = "") -> None:
        # Text, not markup: names of models and layers may hold square brackets.
        table.add_row(Text(_clean(name)), Text(_clean(value), style=style), Text(_clean(source)))

    if isinstance(facts.verification, NotRun):
        row("bits", "not run", facts.verification.reason, "yellow")
    else:
        for e in facts.verification.engines:
            if e.status == "not run":
                row(e.engine, "not run", e.detail, _COLOURS[e.status])
            else:
                value = f"{e.status}: {e.mismatching_bits:,} of {e.bits_compared:,} bits differ"
                row(e.engine, value, f"measured, {e.tool}", _COLOURS[e.status])
    _add_accuracy(facts, row)
    _add_tuning(facts, row)
    _add_trigger(facts, row)
    _add_menu(facts, row)
    _add_bits(facts, row)
    _add_hardware(facts, row)
    for gate in facts.gates:
        state = "undecided" if gate.passed is None else "passed" if gate.passed else "FAILED"
        style = {"passed": "green", "FAILED": "bold red", "undecided": "yellow"}[state]
        row(f"gate {gate.name}", state, gate.detail, style)
    told = [Text(head, style=colour), Text(_clean(tail))]
    if failed:
        told.append(Text(_clean(failed), style="bold red"))
    return Group(table, *_bars(facts), *told)


def _bars(facts: ReportFacts) -> "list[RenderableType]":
    """Latency by layer against the budget, and resources against the part, as bars."""
    from rich.bar import Bar
    from rich.table import Table
    from rich.text import Text

    def begun(title: str, *columns: str) -> Table:
        table = Table(title=Text(_clean(title)), title_justify="left", box=None, pad_edge=True)
        table.add_column(columns[0], style="bold", max_width=30, overflow="fold")
        for column in columns[1:-1]:
            table.add_column(column, justify="right")
        table.add_column(columns[-1], no_wrap=True)
        return table

    tables: list[RenderableType] = []
    latency = facts.latency
    told = None if isinstance(latency, NotRun) else latency.headline
    if not isinstance(latency, NotRun) and told is not None and told.layers:
        whole = sum(layer.latency_ns.value for layer in told.layers)
        budget = latency.budget_ns
        size, scale = whole, "0 to the whole latency"
        if isinstance(budget, Quantity):
            size = max(whole, budget.value)
            scale = f"0 to {format_number(size)} ns; budget {format_quantity(budget)}"
        table = begun(f"Latency by layer: {told.source}", "layer", "ns", "BX", scale)
        end = 0.0
        for layer in told.layers:
            ns, start = layer.latency_ns.value, end
            end += ns
            over = isinstance(budget, Quantity) and end > budget.value
            bar = Bar(size, start, end, width=_BAR_WIDTH, color="red" if over else "blue")
            numbers = f"{ns:.3g}", f"{ns / BUNCH_CROSSING_NS:.3g}"
            table.add_row(Text(_clean(layer.layer)), *numbers, bar)
        tables.append(table)
    resources = facts.resources
    used_by = None if isinstance(resources, NotRun) else resources.headline
    if not isinstance(resources, NotRun) and used_by is not None:
        table = begun(f"Resources: {used_by.source}", "resource", "share", "limit", "0 to 100 %")
        for name in used_by.used:
            share = resources.share(used_by, name)
            if share is not None:
                limit = resources.closure_limits.get(name)
                over = share > (1 if limit is None else limit)
                bar = Bar(1, 0, min(share, 1), width=_BAR_WIDTH, color="red" if over else "blue")
                limit_text = "" if limit is None else format_share(limit, 0)
                table.add_row(Text(_clean(name)), format_share(share), limit_text, bar)
        tables.append(table)
    return tables


def _clean(text: str) -> str:
    """The text without control characters: names from a file must not steer the terminal."""
    return "".join(ch if ch.isprintable() else "?" for ch in text)


def _add_errors(facts: RegressionFacts, row: _Row) -> None:
    for name, targets in facts.comparison.models.items():
        for target, found in targets.items():
            value = (
                f"rms {found.rms.value:.4g} ({found.rms.low:.4g} to {found.rms.high:.4g} at 68 %), "
                f"bias {found.bias.value:+.3g}, resolution {found.resolution.value:.4g}"
            )
            for d in facts.comparison.differences:
                if (d.model, d.target, d.quantity) == (name, target, "rms"):
                    value += f"; rms {d.value:+.3g} to {facts.comparison.reference}, 95 %: "
                    value += f"{d.low_95:+.3g} to {d.high_95:+.3g}"
            row(f"{target}, {name}", value, f"measured, {facts.tool}")


def _add_accuracy(facts: ReportFacts, row: _Row) -> None:
    if not isinstance(facts.regression, NotRun):
        _add_errors(facts.regression, row)
        return
    if isinstance(facts.metrics, NotRun):
        row("accuracy", "not run", facts.metrics.reason, "yellow")
        return
    comparison = facts.metrics.comparison
    for name, metrics in facts.metrics.models.items():
        if facts.metrics.no_decision:
            value = ", ".join(f"{one.name} {one.auc:.4f}" for one in metrics.classes)
            row(f"AUC {name}", value, f"measured, {facts.metrics.tool}")
            continue
        value = format_share(metrics.accuracy)
        if not isinstance(comparison, NotRun):
            for d in comparison.differences:
                if d.model == name and d.class_name is None:
                    value += (
                        f"  {format_points(d.value)} points to {comparison.reference}, 95 %: "
                        f"{format_points(d.low_95)} to {format_points(d.high_95)}"
                    )
        row(f"accuracy {name}", value, f"measured, {facts.metrics.tool}")


def _add_tuning(facts: ReportFacts, row: _Row) -> None:
    found = facts.tuning
    if found is None:
        return
    before, after, told = found.before, found.after, found.confirmation
    value = f"{after.ebops:,} of {before.ebops:,} EBOPs"
    if isinstance(before.lut, Quantity) and isinstance(after.lut, Quantity):
        value += f", {after.lut.value:,.0f} of {before.lut.value:,.0f} LUT ({origin(after.lut)})"
    trained = "trained in its formats" if found.trained else "not trained"
    row(f"tuned from {found.network}", f"{value}; {trained}", budget_words(found))
    source = f"measured, {told.data}"
    for loss in told.losses:
        lost, interval = loss_words(loss)
        row(f"lost: {loss.quantity}", f"{lost} ({interval} at 95 %)", source)
        source = ""  # the same events
    if not told.within:
        row("limits of the quality", "EXCEEDED", told.data, "bold red")


def _add_trigger(facts: ReportFacts, row: _Row) -> None:
    found = facts.trigger
    if isinstance(found, NotRun):
        row("trigger", "not run", found.reason, "yellow")
        return
    model, one = list(found.models.items())[-1]
    source = f"measured, {found.unbiased_events:,} unbiased events, 68 % intervals"
    for i, point in enumerate(one.points):
        name = f"trigger {model}, {point.asked_khz:g} kHz"
        if point.threshold is None or point.rate_khz is None:
            row(name, "even the tightest cut exceeds this rate", source, "yellow")
            continue
        rate = point.rate_khz
        following = point.next_rate_khz
        value = (
            f"{format_number(rate.value)} kHz ({format_number(rate.low)} to "
            f"{format_number(rate.high)}) at {point.threshold:.6g}, next cut "
            f"{'none' if following is None else f'{format_number(following)} kHz'}, "
            f"{point.unbiased_at_cut:,} at the cut"
        )
        for signal, part in point.efficiency.items():
            value += (
                f"; {signal} {format_share(part.value)} ({format_share(part.low)} to "
                f"{format_share(part.high)})"
            )
            for d in found.differences:
                if (d.model, d.signal, d.asked_khz) == (model, signal, point.asked_khz):
                    value += (
                        f", {format_points(d.value)} points to {d.reference}, 95 %: "
                        f"{format_points(d.low_95)} to {format_points(d.high_95)}"
                    )
        row(name, value, source)
        for signal, curves in one.turn_ons.items():
            curve = curves[i]
            if curve is not None:
                words = curve.note if curve.fit is None else turn_on_words(curve.fit)
                row("", f"turn-on of {signal} in {found.offline}: {words}")


def _add_menu(facts: ReportFacts, row: _Row) -> None:
    if isinstance(facts.menu, NotRun):
        return
    model, one = list(facts.menu.models.items())[-1]
    source = f"measured, {facts.menu.unbiased_events:,} unbiased events, 68 % intervals"
    total = one.total_khz
    value = (
        f"{format_number(total.value)} kHz ({format_number(total.low)} to "
        f"{format_number(total.high)}); pure: "
    )
    value += ", ".join(f"{r.seed} {format_number(r.pure_khz.value)}" for r in one.rows)
    row(f"menu {model}", value, source)


def _add_bits(facts: ReportFacts, row: _Row) -> None:
    found = facts.bits
    if isinstance(found, NotRun):
        row("bits in use", "not run", found.reason, "yellow")
        return
    above = sum(layer.saturated_above for layer in found.layers)
    below = sum(layer.saturated_below for layer in found.layers if not layer.clips_at_zero)
    wrapped = sum(layer.wrapped for layer in found.layers)
    uncounted = sum(layer.not_counted for layer in found.layers)
    value = (
        f"{format_number(wrapped)} values wrap, {format_number(above)} saturate above, "
        f"{format_number(below)} below, besides ReLU's zeros"
    )
    if uncounted:
        value += f"; within {uncounted} accumulators not counted"
    row("bits in use", value, f"measured, {found.events:,} events", "yellow" if wrapped else "")
    if not isinstance(found.model, NotRun):
        first, source = found.model.first, f"measured, {found.model.events:,} events"
        if first is None:
            row("layers and model.onnx", "equal in every value", source)
        else:
            words = (
                f"first difference in {first.layer} ({first.tensor}): {first.different:,} of "
                f"{first.values:,} values, up to {format_number(first.largest_lsb)} LSB; event "
                f"{first.event}, element {list(first.element)}"
            )
            row("layers and model.onnx", words, source)
    if not isinstance(found.noise, NotRun):
        for noise in found.noise:
            row(
                f"noise {noise.name}",
                f"{format_number(noise.rms_difference)} rms to model.onnx, whose rms is "
                f"{format_number(noise.rms_output)}",
                f"measured, {found.events:,} events",
            )


def _add_hardware(facts: ReportFacts, row: _Row) -> None:
    if isinstance(facts.latency, NotRun):
        row("latency", "not run", facts.latency.reason, "yellow")
    elif (estimate := facts.latency.headline) is None:
        for e in facts.latency.estimates:
            row("latency", "not run", f"{e.source}: {origin(e.latency_ns)}", "yellow")
    else:
        parts = (estimate.latency_ns, estimate.cycles, estimate.bunch_crossings)
        values = ", ".join(map(format_quantity, parts))
        row("latency", f"{values}: {estimate.source}", origin(estimate.latency_ns))
        if caveat := clock_caveat(estimate):
            row("", f"caveat: {caveat}", style="yellow")
    resources = facts.resources
    if isinstance(resources, NotRun):
        row("resources", "not run", resources.reason, "yellow")
        return
    used_by = resources.headline
    if used_by is None:
        reasons = [f"{e.source}: {origin(u)}" for e in resources.estimates for u in e.used.values()]
        row("resources", "not run", "; ".join(dict.fromkeys(reasons)), "yellow")
        return
    for name, used in used_by.used.items():
        if not isinstance(used, Quantity):
            row(name, "not run", origin(used), "yellow")
            continue
        share = resources.share(used_by, name)
        of_part = "" if share is None else f", {format_share(share)} of {resources.part}"
        row(name, f"{format_quantity(used)}{of_part}: {used_by.source}", origin(used))
