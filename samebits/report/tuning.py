"""The plots of a tuning: quality lost against bit operations, with the front and the choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samebits import storage

from .plots import Plot, _style, colour_of, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from samebits.tune_record import Point, Tuning

__all__ = ["panels", "write_front"]

_LIMIT, _DASHED = "#b3261e", (0, (4, 2))
_TOLD = 12  # configurations of the front in the alternative text, at most


def write_front(found: Tuning, folder: Path) -> None:
    """Writes tune.png and tune.pdf.

    Raises:
        MissingToolError: matplotlib or mplhep is not installed.
        BuildError: the folder cannot be written.
    """
    with _style("tune"):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.2, 3.9))
        left, right = figure.subplots(1, 2, sharex=True)
        for ax, (_, name, limit, label) in zip((left, right), _losses(found), strict=True):
            _panel(ax, found, name, limit, label)
        left.legend(loc="upper right", fontsize="small")
        for ending in ("png", "pdf"):
            empty = {"Software": None} if ending == "png" else {"CreationDate": None}
            with storage.replace_file(folder / f"tune.{ending}") as temporary:
                figure.savefig(temporary, format=ending, dpi=160, metadata=empty)


def panels(found: Tuning) -> list[Plot]:
    """AUC and accuracy lost against bit operations, a plot for each."""
    plots = []
    for short, name, limit, label in _losses(found):

        def draw(
            ax: Axes, name: str = name, limit: float | None = limit, label: str = label
        ) -> None:
            _panel(ax, found, name, limit, label)
            ax.legend(loc="upper right", fontsize="small")

        def told(point: Point, name: str = name) -> str:
            return f"{getattr(point, name):.4g} at {point.ebops:,}"

        every = max(1, -(-len(found.front) // _TOLD))
        front = "; ".join(told(point) for point in found.front[::every])
        alt = f"{label} against effective bit operations, on {found.data}. "
        alt += f"As trained: {told(found.before)}. Tuned: {told(found.after)}. "
        if limit is not None:
            alt += f"Limit: {limit:g}. "
        if found.max_ebops_share is not None:
            alt += f"Limit of the bit operations: {_most(found):,.0f}. "
        alt += f"Of the {len(found.front)} configurations of the front: {front}."
        plots.append(Plot(f"tuning-{short}", draw, alt, 5.6, 3.4))
    return plots


def _losses(found: Tuning) -> tuple[tuple[str, str, float | None, str], ...]:
    """Of each loss that is drawn: a short name, the field of a point, its limit, its label."""
    return (
        ("auc", "auc_drop", found.max_auc_drop, "AUC lost (worst class)"),
        (
            "accuracy",
            "accuracy_drop_points",
            found.max_accuracy_drop_points,
            "accuracy lost [points]",
        ),
    )


def _most(found: Tuning) -> float:
    """Bit operations left at most."""
    return (found.max_ebops_share or 1.0) * found.before.ebops


def _panel(ax: Axes, found: Tuning, name: str, limit: float | None, label: str) -> None:
    def place(point: Point) -> tuple[float, float]:
        return point.ebops / 1000, getattr(point, name)

    front = [place(point) for point in found.front]
    ax.plot(*zip(*front, strict=True), ".-", color=colour_of(1), markersize=4, label="searched")
    ax.plot(*place(found.before), "s", color=colour_of(0), label="as trained")
    ax.plot(
        *place(found.after),
        "o",
        color=colour_of(2),
        markersize=8,
        label=f"tuned{', trained' if found.trained else ''}",
    )
    if limit is not None:
        ax.axhline(limit, color=_LIMIT, linestyle=_DASHED, linewidth=1.1, label="limit")
    if found.max_ebops_share is not None:
        again = None if limit is not None else "limit"
        ax.axvline(_most(found) / 1000, color=_LIMIT, linestyle=_DASHED, linewidth=1.1, label=again)
    ax.set_xlabel("effective bit operations [thousands]")
    ax.set_ylabel(plain_text(label, 40))
    ax.grid(alpha=0.35, linewidth=0.6)
