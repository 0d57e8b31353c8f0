"""The plot of a sweep: accuracy against LUT and against ns, with the Pareto fronts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebits import storage
from samebits.sweep import Front, Row, Sweep

from .plots import Plot, _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["panels", "write_pareto"]

# Petroff's ten accessible colours. Source: Petroff, arXiv:2107.02270.
_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
_MARKERS = {"RTL": "o", "HLS": "s"}
_LIMIT, _DASHED = "#b3261e", (0, (4, 2))


def write_pareto(
    found: Sweep,
    folder: Path,
    budget_ns: float | None = None,
    max_lut_share: float | None = None,
) -> None:
    """Writes sweep.png and sweep.pdf; the limits are drawn as lines.

    Raises:
        MissingToolError: matplotlib or mplhep is not installed.
        BuildError: the folder cannot be written.
    """
    with _style("sweep"):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.2, 4.0))
        left, right = figure.subplots(1, 2, sharey=True)
        lut_limit = None if max_lut_share is None else max_lut_share * found.lut_total
        _panel(left, found, "LUT", lut_limit, f"LUT of {found.part}")
        _panel(right, found, "ns", budget_ns, "latency [ns]")
        left.set_ylabel("accuracy [%]")
        _legend(right, found, limits=budget_ns is not None or lut_limit is not None)
        for ending in ("png", "pdf"):
            empty = {"Software": None} if ending == "png" else {"CreationDate": None}
            with storage.replace_file(folder / f"sweep.{ending}") as temporary:
                figure.savefig(temporary, format=ending, dpi=160, metadata=empty)


def panels(found: Sweep, budget_ns: float | None = None) -> list[Plot]:
    """Accuracy against LUT and against ns, a plot for each."""
    plots = []
    costs: tuple[tuple[Front, str, float | None], ...] = (
        ("LUT", f"LUT of {found.part}", None),
        ("ns", "latency [ns]", budget_ns),
    )
    for name, label, limit in costs:

        def draw(ax: Axes, name: Front = name, label: str = label, limit: Any = limit) -> None:
            _panel(ax, found, name, limit, label)
            ax.set_ylabel("accuracy [%]")
            _legend(ax, found, limits=limit is not None)

        best = [row for row in found.rows if name in row.front]
        told = "; ".join(
            f"{row.accuracy.value:.2f} % at {row.number(name):.4g} {name}" for row in best
        )
        alt = f"Accuracy of the variants against {label}. On the Pareto front: {told or 'none'}."
        plots.append(Plot(f"variants-{name.lower()}", draw, alt, 5.6, 3.4))
    return plots


def _panel(ax: Axes, found: Sweep, name: Front, limit: float | None, label: str) -> None:
    rows = [(cost, row) for row in found.rows if (cost := row.number(name)) is not None]
    for cost, row in rows:
        on, colour = name in row.front, _colour(found, row)
        ax.errorbar(
            [cost],
            [row.accuracy.value],
            yerr=[row.accuracy_error.value],
            fmt=_MARKERS[row.implementation],
            color=colour,
            markersize=7 if on else 5,
            markerfacecolor="white" if row.clock_note and name == "ns" else colour,
            markeredgecolor=colour,
            markeredgewidth=1.4,
            alpha=1.0 if on else 0.5,
            elinewidth=0.6,
            zorder=4 if on else 3,
        )
    front = {(cost, float(row.accuracy.value)): row for cost, row in rows if name in row.front}
    if front:
        steps = sorted(front)
        for point in steps if name == "ns" else ():
            ax.annotate(
                f"{front[point].clock_mhz:g} MHz",
                point,
                xytext=(4, -11),
                textcoords="offset points",
                fontsize=7,
            )
        steps.append((max(cost for cost, _ in rows), steps[-1][1]))
        ax.step(*zip(*steps, strict=True), where="post", color="black", linewidth=0.9, zorder=2)
    if limit is not None:
        ax.axvline(limit, color=_LIMIT, linewidth=1.1, linestyle=_DASHED)
    if rows and max(cost for cost, _ in rows) > 5 * max(1.0, min(cost for cost, _ in rows)):
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.12)
    ax.set_xlabel(label)
    ax.grid(which="major", alpha=0.35, linewidth=0.6)
    if not rows:
        ax.text(0.5, 0.5, "not run", transform=ax.transAxes, ha="center")


def _widths(found: Sweep) -> list[int | None]:
    return list(dict.fromkeys(row.width_bits for row in found.rows))


def _colour(found: Sweep, row: Row) -> str:
    return _COLOURS[_widths(found).index(row.width_bits) % len(_COLOURS)]


def _legend(ax: Axes, found: Sweep, *, limits: bool) -> None:
    from matplotlib.lines import Line2D

    kinds = list(
        dict.fromkeys(row.implementation for row in found.rows if row.number("ns") is not None)
    )
    handles: list[Any] = [
        Line2D([], [], marker="o", linestyle="", color=_COLOURS[k % len(_COLOURS)], label=text)
        for k, text in enumerate("as is" if w is None else f"{w} bits" for w in _widths(found))
    ]
    handles += [
        Line2D([], [], marker=_MARKERS[kind], linestyle="", color="grey", label=kind)
        for kind in kinds
    ]
    handles.append(Line2D([], [], color="black", linewidth=0.9, label="Pareto front"))
    if any(row.clock_note for row in found.rows):
        open_marker: dict[str, Any] = {"marker": "o", "markerfacecolor": "white", "color": "grey"}
        handles.append(Line2D([], [], linestyle="", label="clock doubtful", **open_marker))
    if limits:
        handles.append(Line2D([], [], color=_LIMIT, linestyle=_DASHED, label="limit"))
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
