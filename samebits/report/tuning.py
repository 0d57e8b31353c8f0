"""The plot of a tuning: quality lost against bit operations, with the front and the choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samebits import storage

from .plots import _style, colour_of, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from samebits.tune_record import Point, Tuning

__all__ = ["write_front"]

_LIMIT, _DASHED = "#b3261e", (0, (4, 2))


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
        _panel(left, found, "auc_drop", found.max_auc_drop, "AUC lost (worst class)")
        _panel(
            right,
            found,
            "accuracy_drop_points",
            found.max_accuracy_drop_points,
            "accuracy lost [points]",
        )
        left.legend(loc="upper right", fontsize="small")
        for ending in ("png", "pdf"):
            empty = {"Software": None} if ending == "png" else {"CreationDate": None}
            with storage.replace_file(folder / f"tune.{ending}") as temporary:
                figure.savefig(temporary, format=ending, dpi=160, metadata=empty)


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
    ax.set_xlabel("effective bit operations [thousands]")
    ax.set_ylabel(plain_text(label, 40))
    ax.grid(alpha=0.35, linewidth=0.6)
