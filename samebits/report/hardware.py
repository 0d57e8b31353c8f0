"""Plots of latency by layer and of resources against the part."""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from .facts import BUNCH_CROSSING_NS, LatencyEstimate, LatencyFacts, Quantity, ResourceFacts
from .plots import LIMIT_COLOUR, Plot, limit_line, plain_text
from .wording import format_number, format_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MAX_BARS", "resource_bars", "waterfalls"]

# Petroff's accessible colours without red, which is the limit. Source: Petroff, arXiv:2107.02270.
_COLOURS = ("#5790fc", "#f89c20", "#964a8b", "#9c9ca1", "#7a21dd")
MAX_BARS = 40  # the table shows all layers


def waterfalls(facts: LatencyFacts) -> list[Plot]:
    """For every tool that tells the layers: each starts where the one before it ends."""
    budget = facts.budget_ns.value if isinstance(facts.budget_ns, Quantity) else None
    return [
        _waterfall(f"waterfall-{k}", estimate, budget)
        for k, estimate in enumerate(facts.estimates)
        if estimate.layers
    ]


def _waterfall(name: str, estimate: LatencyEstimate, budget_ns: float | None) -> Plot:
    times = [layer.latency_ns.value for layer in estimate.layers]
    ends = list(accumulate(times))
    names = [layer.layer for layer in estimate.layers]
    shown = list(range(len(names)))
    if len(shown) > MAX_BARS:  # the slowest, in the order of the data
        shown = sorted(sorted(shown, key=lambda i: -times[i])[:MAX_BARS])

    def draw(ax: "Axes") -> None:
        for y, i in enumerate(shown):
            ax.barh(y, times[i], left=ends[i] - times[i], height=0.62, color=_COLOURS[0])
            ax.annotate(
                f"{times[i]:.3g}",
                (ends[i], y),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
            if y + 1 < len(shown):
                ax.plot([ends[i], ends[i]], [y, y + 1], color="#808080", linewidth=0.6)
        right = ends[-1]
        if budget_ns is not None:
            right = max(right, budget_ns)
            limit_line(ax, budget_ns, "budget")
        ax.set_xlim(0, 1.15 * right)
        _name_rows(ax, [names[i] for i in shown])
        ax.set_xlabel(f"latency [ns], {plain_text(estimate.source, 48)}")
        above = ax.secondary_xaxis("top", functions=(_to_bx, _to_ns))
        above.set_xlabel("bunch crossings of 25 ns")
        ax.tick_params(axis="x", which="both", top=False)

    told = "; ".join(f"{names[i]} {times[i]:.3g} ns" for i in shown)
    end = "" if budget_ns is None else f" Budget {format_number(budget_ns)} ns."
    alt = f"Latency by layer, {estimate.source}: {told}; together {ends[-1]:.4g} ns.{end}"
    return Plot(name, draw, alt, width=6.2, height=1.15 + 0.24 * len(shown))


def _to_bx(ns: Any) -> Any:
    return ns / BUNCH_CROSSING_NS


def _to_ns(bx: Any) -> Any:
    return bx * BUNCH_CROSSING_NS


def resource_bars(facts: ResourceFacts) -> list[Plot]:
    """Shares of the part by every tool that gave numbers, with the closure limits."""
    rows = [
        (estimate.source, name, share)
        for estimate in facts.estimates
        if not estimate.device
        for name in facts.totals
        if (share := facts.share(estimate, name)) is not None
    ]
    if not rows:
        return []
    sources = list(dict.fromkeys(source for source, _, _ in rows))
    rows.sort(key=lambda row: list(facts.totals).index(row[1]))

    def draw(ax: "Axes") -> None:
        for y, (source, name, share) in enumerate(rows):
            ax.barh(
                y, 100 * share, height=0.62, color=_COLOURS[sources.index(source) % len(_COLOURS)]
            )
            ax.annotate(
                format_share(share),
                (100 * share, y),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
            if name in facts.closure_limits:
                limit = 100 * facts.closure_limits[name]
                ax.plot([limit, limit], [y - 0.45, y + 0.45], color=LIMIT_COLOUR, linewidth=1.6)
        ax.set_xlim(0, max(100.0, 110 * max(share for _, _, share in rows)))
        _name_rows(ax, [f"{name}: {source}" for source, name, _ in rows], 44)
        ax.set_xlabel(f"share of {plain_text(facts.part, 40)} [%]; red: closure limit")

    told = "; ".join(f"{name} {format_share(share)} by {source}" for source, name, share in rows)
    alt = f"Resources as shares of {facts.part}: {told}."
    return [Plot("resources", draw, alt, width=6.2, height=0.75 + 0.24 * len(rows))]


def _name_rows(ax: "Axes", names: Sequence[str], longest: int = 26) -> None:
    ax.set_yticks(range(len(names)), [plain_text(name, longest) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", which="both", left=False, right=False)
    ax.grid(axis="x", alpha=0.35, linewidth=0.6)
    ax.set_axisbelow(True)
