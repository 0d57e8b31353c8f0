"""Plots of a hyperparameter search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .search import Found, Trial

__all__ = ["draw"]

_BLUE, _GREY, _RED = "#1f5fa8", "#9aa5b1", "#c0392b"


def draw(found: Found, path: Path) -> None:
    """Writes the plot that fits: front, curve, heat map, or the scores of the trials in order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.9), layout="constrained")
    axes = figure.subplots()
    values = {name: sorted({t.values[name] for t in found.trials}, key=_order)
              for name in found.names}  # fmt: skip
    cells = 1
    for some in values.values():
        cells *= len(some)
    if found.has_cost:
        _front(axes, found)
    elif len(found.names) == 1 and found.done:
        _curve(axes, found)
    elif len(found.names) == 2 and cells == len(found.trials):
        _heat_map(figure, axes, found, values)
    else:
        _history(axes, found)
    figure.savefig(path, dpi=150)


def _score(found: Found) -> str:
    return "accuracy, validation part" if found.rising else "rms error, validation part"


def _front(axes: Any, found: Found) -> None:
    axes.plot([t.cost for t in found.done], [t.score for t in found.done], "o", color=_GREY,
              markersize=4, label="trials")  # fmt: skip
    front = found.front
    axes.plot([t.cost for t in front], [t.score for t in front], "o-", color=_BLUE, markersize=5,
              drawstyle="steps-post", label="front")  # fmt: skip
    axes.set(xlabel="cost", ylabel=_score(found), xscale="log")
    axes.legend(frameon=False)


def _curve(axes: Any, found: Found) -> None:
    (name,) = found.names
    trials = sorted(found.done, key=lambda t: _order(t.values[name]))
    places = [t.values[name] for t in trials]
    if not all(isinstance(p, int | float) and not isinstance(p, bool) for p in places):
        places = [str(p) for p in places]
    elif min(places) > 0 and max(places) / min(places) > 30:  # type: ignore[operator]  # numbers
        axes.set_xscale("log")
    axes.plot(places, [t.score for t in trials], "o-", color=_BLUE, markersize=4)
    best = found.best
    x = best.values[name] if places and not isinstance(places[0], str) else str(best.values[name])
    axes.plot([x], [best.score], "o", color=_RED, markersize=8, label="best")
    axes.set(xlabel=name, ylabel=_score(found))
    axes.legend(frameon=False)


def _heat_map(figure: Any, axes: Any, found: Found, values: dict[str, list[Any]]) -> None:
    first, second = found.names
    table = np.full((len(values[second]), len(values[first])), np.nan)
    for trial in found.done:
        row = values[second].index(trial.values[second])
        table[row, values[first].index(trial.values[first])] = trial.score
    image = axes.imshow(table, origin="lower", aspect="auto", cmap="viridis")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (row, column), score in np.ndenumerate(table):
        dark = np.isfinite(score) and score < middle
        text = f"{score:.3g}" if np.isfinite(score) else "failed"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black",
                  fontsize=8)  # fmt: skip
    for name, set_ticks in ((first, axes.set_xticks), (second, axes.set_yticks)):
        labels = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in values[name]]
        set_ticks(range(len(labels)), labels)
    axes.set(xlabel=first, ylabel=second)
    figure.colorbar(image, label=_score(found))


def _history(axes: Any, found: Found) -> None:
    axes.plot([t.number for t in found.done], [t.score for t in found.done], "o", color=_GREY,
              markersize=4, label="trials")  # fmt: skip
    best: list[Trial] = []
    for trial in found.done:
        better = not best or found.merit(trial) > found.merit(best[-1])
        best.append(trial if better else best[-1])
    axes.step([t.number for t in found.done], [t.score for t in best], where="post", color=_BLUE,
              label="best so far")  # fmt: skip
    axes.set(xlabel="trial", ylabel=_score(found))
    axes.legend(frameon=False)


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value
